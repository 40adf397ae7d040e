//! One call of the service: done, and answered in the words of the HTTP admin API.

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, error};
use async_nats::{Client, HeaderMap};
use grok2api_schemas::ids::RequestId;

use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::openai::error::error_json;
use crate::ops::Ops;
use crate::ops::audit::Actor;
use crate::ops::table::Operation;

/// Largest request, bytes, where the server would carry more.
const LARGEST: usize = 1024 * 1024;
/// Room for headers beside the body of an answer, bytes.
const HEADERS: usize = 1024;
/// Longest `Nats-Service-Error`, characters; the body says all of it.
const LONGEST_STATUS: usize = 200;

/// Does what a call asks for and answers it.
pub(super) async fn answer(client: &Client, operation: &'static Operation, request: Request, ops: Ops) {
    let about = &operation.about;
    if request.message.reply.is_none() {
        // An error could reach nobody, and neither could a secret that is told once.
        tracing::warn!(
            operation = about.name(),
            "an admin call over NATS without a reply subject was not done"
        );
        return;
    }
    let body = request.message.payload.clone();
    let done = if body.len() > LARGEST {
        Err(GatewayError::new(
            ErrorKind::TooLarge,
            format!("The request is larger than {} KiB.", LARGEST / 1024),
        ))
    } else {
        let actor = Actor::over_nats(ops.audit.clone());
        operation.run(ops, actor, body).await
    };
    let most = client.server_info().max_payload.saturating_sub(HEADERS);
    match done {
        Ok(body) if body.len() > most => refuse(client, request, &too_much(body.len(), most)).await,
        Ok(body) => {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", RequestId::generate().to_string());
            if let Err(error) = request.respond_with_headers(Ok(body), headers).await {
                tracing::warn!(operation = about.name(), %error, "an admin call over NATS could not be answered");
            }
        }
        Err(error) => refuse(client, request, &error).await,
    }
}

/// Answers with an error.
pub(super) async fn refuse(client: &Client, mut request: Request, why: &GatewayError) {
    let id = RequestId::generate();
    if let Some(detail) = &why.detail {
        tracing::warn!(request = %id, code = why.public_code(), detail, "admin call over NATS failed");
    }
    let status = one_line(&why.message);
    let code = usize::from(why.http_status());
    // The service API sends errors without a body. So the answer goes out here, and the API is told of an error on a
    // request without an address: that counts it in STATS and sends nothing.
    if let Some(reply) = request.message.reply.replace("".into()) {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_SERVICE_ERROR, status.as_str());
        headers.insert(NATS_SERVICE_ERROR_CODE, code.to_string());
        headers.insert("x-request-id", id.to_string());
        if let Err(error) = client.publish_with_headers(reply, headers, error_json(why)).await {
            tracing::warn!(%error, "an admin call over NATS could not be answered");
        }
    }
    let _ = request.respond(Err(error::Error { status, code })).await;
}

/// Words for a header. They may quote what the caller sent, and the NATS client writes header values as they are: a line
/// break would begin a header of the caller's choice.
fn one_line(words: &str) -> String {
    words
        .chars()
        .take(LONGEST_STATUS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn too_much(bytes: usize, most: usize) -> GatewayError {
    GatewayError::new(
        ErrorKind::TooLarge,
        format!("The answer has {bytes} bytes, and this NATS carries {most}. Ask for fewer rows with `limit`."),
    )
    .with_code("answer_too_large")
    .with_param("limit")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn words_of_a_caller_begin_no_header() {
        assert_eq!(one_line("`a\r\nX-Evil: 1`\0\u{85}"), "`a  X-Evil: 1`  ");
        assert_eq!(one_line(&"ü".repeat(500)).chars().count(), 200);
    }
}
