//! Upstream credentials in bulk: the older whole list, import, export.

use futures::StreamExt;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::PoolName;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use poem::Response;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::body;
use super::call::{Answer, Guarded, json as answer};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::export::{Exported, Seal, export as export_secrets};
use crate::ops::import::{Import, Lines};
use crate::ops::replace::replace;

/// `POST /tokens`: rows with an id change that credential, rows with a full secret add one; what is missing is deleted
/// only with `replace=true` (in the query or the body).
pub async fn whole_list(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.list).await?;
    let delete_missing = replace_in_body(&bytes)? || call.query.flag("replace")?;
    let report = replace(&call.admin.tokens, &actor, &bytes, delete_missing).await?;
    answer(&json!({
        "status": "success",
        "message": "Token updated",
        "added": report.added,
        "changed": report.changed,
        "deleted": report.deleted,
        "invalid": report.invalid,
        "nsfw_refresh": {"mode": "off", "triggered": 0, "concurrency": 0, "retries": 0},
    }))
}

#[derive(Deserialize)]
struct ReplaceFlag {
    #[serde(default)]
    replace: bool,
}

fn replace_in_body(bytes: &[u8]) -> Result<bool, GatewayError> {
    match serde_json::from_slice::<ReplaceFlag>(bytes) {
        Ok(flag) => Ok(flag.replace),
        Err(error) if error.classify() == serde_json::error::Category::Data && bytes.trim_ascii().starts_with(b"{") => {
            Err(GatewayError::field("replace", "`replace` must be true or false."))
        }
        // The list itself is read next, and says what is wrong.
        Err(_) => Ok(false),
    }
}

/// `POST /tokens/import`: one credential or JSON object a line, read as it arrives. `pool=` where the lines do not say;
/// `report=all` names added lines as well.
pub async fn import(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    refuse_forms(&call.headers)?;
    let pool = call
        .query
        .words("pool", "one of apiKey, ssoBasic, ssoSuper", PoolName::parse)?;
    let report_all = match call.query.text("report") {
        None | Some("problems") => false,
        Some("all") => true,
        Some(_) => return Err(super::query::wrong("report", "all or problems")),
    };
    let mut import = Import::new(&call.admin.tokens, &actor, pool.first().copied(), report_all);
    let mut lines = Lines::default();
    let mut received = 0u64;
    let mut chunks = Box::pin(call.body.into_bytes_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            GatewayError::new(
                ErrorKind::InvalidBody,
                "The body broke off before its end. Lines before that are enrolled; sending all of it again is safe.",
            )
        })?;
        received += chunk.len() as u64;
        if received > call.admin.limits.import {
            return Err(body::too_large(call.admin.limits.import));
        }
        lines.push(chunk);
        while let Some(line) = lines.whole() {
            import.take(line).await?;
        }
    }
    if let Some(line) = lines.last() {
        import.take(line).await?;
    }
    let report = import.finish().await?;
    let mut value = serde_json::to_value(&report).map_err(|error| GatewayError::internal(error.to_string()))?;
    if let Some(object) = value.as_object_mut() {
        object.insert("status".to_owned(), json!("success"));
    }
    answer(&value)
}

/// A browser's file form would have its own lines around the credentials.
fn refuse_forms(headers: &HeaderMap) -> Result<(), GatewayError> {
    let form = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("multipart/"));
    if form {
        return Err(GatewayError::new(
            ErrorKind::UnsupportedMediaType,
            "Send the lines as the body itself (text/plain or application/x-ndjson), not as a form.",
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
struct ExportBody {
    password: String,
    #[serde(default)]
    passphrase: Option<String>,
    #[serde(default)]
    plain: bool,
    #[serde(default)]
    ids: Option<Vec<String>>,
}

/// `POST /tokens/export`: secrets, after the password is asked again; sealed with a passphrase unless `plain` says no.
pub async fn export(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = Zeroizing::new(body::read(call.body, call.admin.limits.ordinary * 4).await?.to_vec());
    let sent: ExportBody = body::json(&bytes)?;
    let tokens = &call.admin.tokens;
    let ids = sent
        .ids
        .map(|texts| {
            texts
                .iter()
                .map(|text| tokens.named(text, "ids"))
                .collect::<Result<Vec<TokenId>, GatewayError>>()
        })
        .transpose()?;
    let seal = if sent.plain {
        Seal::Plain
    } else {
        Seal::Passphrase(Zeroizing::new(sent.passphrase.unwrap_or_default()))
    };
    let now = call.admin.clock.wall();
    let password = Zeroizing::new(sent.password);
    match export_secrets(tokens, &call.admin.accounts, &actor, password, ids, seal, now).await? {
        Exported::Sealed(envelope) => Ok(attachment(answer(&envelope)?, "grok2api-export.json")),
        Exported::Plain(lines) => {
            let response = Response::builder()
                .content_type("application/x-ndjson")
                .body(lines.to_vec());
            Ok(attachment(response, "grok2api-export.ndjson"))
        }
    }
}

fn attachment(mut response: Response, name: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    response
}
