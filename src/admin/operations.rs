//! Every operation of the table under one route, in and out as over NATS: what the command line uses.

use poem::Response;

use super::body;
use super::call::{Answer, Guarded};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::table::operation;

/// `POST /operations/{name}`.
pub async fn run(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let operation = operation(&call.path_id).ok_or_else(|| {
        GatewayError::new(
            ErrorKind::NotFound,
            "No such operation. GET /api/v1/admin/operations lists them.",
        )
    })?;
    let sent = body::read(call.body, call.admin.limits.list).await?;
    let answer = operation.run(call.admin.ops.clone(), actor, sent).await?;
    Ok(Response::builder().content_type("application/json").body(answer))
}

/// `GET /operations`.
pub async fn list(_: Guarded) -> Answer {
    let all: Vec<_> = crate::ops::table::operations()
        .iter()
        .map(|operation| {
            let about = &operation.about;
            let (method, path) = about.http;
            serde_json::json!({
                "name": about.name(), "description": about.doc, "role": about.role,
                "http": format!("{method} /api/v1/admin{path}"), "subject": about.subject,
            })
        })
        .collect();
    super::call::json(&serde_json::json!({"items": all}))
}
