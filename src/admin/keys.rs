//! Client keys: the older project's routes and a form by id.

use grok2api_schemas::admin::keys::{KeyBody, KeyView};
use grok2api_schemas::ids::KeyId;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::body;
use super::call::{Answer, Call, Guarded, json as answer};
use crate::engine::error::GatewayError;

/// What names a key in the older routes: an id or a full secret, under either name.
#[derive(Deserialize)]
struct Name {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    id: Option<String>,
}

impl Name {
    fn of(self) -> (String, &'static str) {
        match (self.id, self.key) {
            (Some(id), _) => (id, "id"),
            (None, key) => (key.unwrap_or_default(), "key"),
        }
    }
}

/// A secret that an operator chose.
#[derive(Deserialize)]
struct Chosen {
    #[serde(default)]
    key: Option<String>,
}

impl Chosen {
    fn secret(self) -> Option<Zeroizing<String>> {
        self.key.map(Zeroizing::new)
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
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let chosen: Chosen = body::json(&bytes)?;
    let fields: KeyBody = body::json(&bytes)?;
    data(&call.admin.keys.create(&actor, chosen.secret(), &fields).await?)
}

/// `POST /keys/update`: the older form.
pub async fn update_older(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let (name, param) = body::json::<Name>(&bytes)?.of();
    let id = call.admin.keys.named(&name, param)?;
    let fields: KeyBody = body::json(&bytes)?;
    data(&call.admin.keys.update(&actor, id, &fields).await?)
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
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let (name, param) = body::json::<Name>(&bytes)?.of();
    let id = call.admin.keys.named(&name, param)?;
    call.admin.keys.delete(&actor, id).await?;
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
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let chosen: Chosen = body::json(&bytes)?;
    data(&call.admin.keys.rotate(&actor, id, chosen.secret()).await?)
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
