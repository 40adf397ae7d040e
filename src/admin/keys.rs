//! Client keys: the older project's routes and a form by id.

use grok2api_schemas::admin::keys::{KeyBody, KeyView};
use grok2api_schemas::ids::KeyId;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::body;
use super::call::{Answer, Call, Guarded, json as answer};
use crate::engine::error::GatewayError;

/// A body in two parts: what names the key or is its secret, and the fields.
struct Parts {
    id: Option<String>,
    key: Option<String>,
    fields: Map<String, Value>,
}

impl Parts {
    async fn read(call: Call) -> Result<Parts, GatewayError> {
        let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
        let mut fields = body::object(&bytes)?;
        Ok(Parts {
            id: text(&mut fields, "id")?,
            key: text(&mut fields, "key")?,
            fields,
        })
    }

    /// What names the key in the older routes: an id or a full secret, under either name.
    fn name(&self) -> (&str, &'static str) {
        match (&self.id, &self.key) {
            (Some(id), _) => (id, "id"),
            (None, Some(key)) => (key, "key"),
            (None, None) => ("", "key"),
        }
    }

    /// A secret that an operator chose.
    fn secret(&mut self) -> Option<Zeroizing<String>> {
        self.key.take().map(Zeroizing::new)
    }

    fn fields(self) -> Result<KeyBody, GatewayError> {
        body::of_object(self.fields)
    }
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, GatewayError> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(GatewayError::field(name, format!("`{name}` must be a text."))),
    }
}

/// `GET /keys`.
pub async fn list(guarded: Guarded) -> Answer {
    let keys = guarded.call.admin.keys.list().await;
    answer(&json!({"success": true, "data": keys}))
}

/// `GET /keys/{id}`.
pub async fn get(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    data(&guarded.call.admin.keys.get(id).await?)
}

/// `POST /keys`: the one answer but that of rotate that holds the secret.
pub async fn create(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let admin = call.admin.clone();
    let mut parts = Parts::read(call).await?;
    let secret = parts.secret();
    data(&admin.keys.create(&actor, secret, &parts.fields()?).await?)
}

/// `POST /keys/update`: the older form.
pub async fn update_older(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let admin = call.admin.clone();
    let parts = Parts::read(call).await?;
    let (name, param) = parts.name();
    let id = admin.keys.named(name, param)?;
    data(&admin.keys.update(&actor, id, &parts.fields()?).await?)
}

/// `PATCH /keys/{id}`.
pub async fn update(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let fields: KeyBody = body::json(&bytes)?;
    data(&call.admin.keys.update(&actor, id, &fields).await?)
}

/// `POST /keys/delete`: the older form.
pub async fn delete_older(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let admin = call.admin.clone();
    let parts = Parts::read(call).await?;
    let (name, param) = parts.name();
    let id = admin.keys.named(name, param)?;
    admin.keys.delete(&actor, id).await?;
    answer(&json!({"success": true}))
}

/// `DELETE /keys/{id}`.
pub async fn delete(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    guarded.call.admin.keys.delete(&guarded.actor, id).await?;
    answer(&json!({"success": true}))
}

/// `POST /keys/{id}/rotate`.
pub async fn rotate(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    let Guarded { call, actor, .. } = guarded;
    let admin = call.admin.clone();
    let secret = Parts::read(call).await?.secret();
    data(&admin.keys.rotate(&actor, id, secret).await?)
}

fn data(key: &KeyView) -> Answer {
    answer(&json!({"success": true, "data": key}))
}

/// The id in the path. A secret has no place there: paths are logged.
fn id_of(call: &Call) -> Result<KeyId, GatewayError> {
    call.path_id.parse().map_err(|_| {
        GatewayError::field(
            "id",
            "The path must name a key's id, such as key_0190…, never a secret.",
        )
    })
}
