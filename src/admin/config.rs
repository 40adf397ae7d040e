//! The configuration.

use grok2api_schemas::admin::config::ConfigChange;
use http::HeaderValue;
use http::header::{ETAG, IF_MATCH};
use serde_json::{Map, Value};

use super::body;
use super::call::{Answer, Guarded, json as answer};
use crate::engine::error::GatewayError;

/// `GET /config`: the sections with their values, as in the older project but for the secrets, which are masked; with
/// `view=full` every key with default, source, type and what it does.
pub async fn get(guarded: Guarded) -> Answer {
    let call = &guarded.call;
    let config = &call.admin.ops.config;
    match call.query.text("view") {
        Some("full") => answer(&config.get()),
        Some(_) => Err(GatewayError::field("view", "`view` is full, or left out.")),
        None => {
            let (sections, revision) = config.sections();
            let mut response = answer(&sections)?;
            if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
                response.headers_mut().insert(ETAG, tag);
            }
            Ok(response)
        }
    }
}

/// `POST /config`: sections with keys to change, as in the older project, or `{revision, values}` with dotted keys. What
/// is not named stays as it is. `If-Match` stands for `revision`.
pub async fn set(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let mut sent = body::object(&bytes)?;
    let if_match = call
        .headers
        .get(IF_MATCH)
        .and_then(|tag| tag.to_str().ok())
        .map(|tag| tag.trim().trim_matches('"').to_owned())
        .filter(|tag| tag != "*");
    let mut change = if sent.contains_key("values") {
        body::of_object::<ConfigChange>(sent)?
    } else {
        let revision = match sent.remove("revision") {
            None | Some(Value::Null) => None,
            Some(Value::String(revision)) => Some(revision),
            Some(_) => return Err(GatewayError::field("revision", "`revision` must be a text.")),
        };
        ConfigChange {
            revision,
            values: dotted(sent)?,
        }
    };
    if if_match.is_some() {
        change.revision = if_match;
    }
    answer(&call.admin.ops.config.set(&actor, change).await?)
}

fn dotted(sections: Map<String, Value>) -> Result<Map<String, Value>, GatewayError> {
    let mut values = Map::new();
    for (section, keys) in sections {
        let Value::Object(keys) = keys else {
            return Err(GatewayError::field(
                section.clone(),
                format!("`{section}` must be an object of keys."),
            ));
        };
        for (key, value) in keys {
            values.insert(format!("{section}.{key}"), value);
        }
    }
    Ok(values)
}
