//! Errors in Anthropic's shape (`xai-api.md` §19): the body, the headers its SDKs read, the event that ends a stream.

use bytes::Bytes;
use grok2api_actors::clock::{Clock, WallMs};
use http::{HeaderValue, StatusCode};
use poem::Response;
use serde_json::json;

use crate::engine::error::GatewayError;
use crate::fronts::openai::error::{available_later, sign_refusal};

/// The status that Anthropic gives to overload, which its clients back off for.
const OVERLOADED: u16 = 529;

/// The answer to a request that failed.
pub fn error_response(err: &GatewayError, request_id: &str) -> Response {
    render(err, request_id, Clock::system().wall())
}

fn render(err: &GatewayError, request_id: &str, now: WallMs) -> Response {
    let status = match err.kind.anthropic_type() {
        "overloaded_error" => OVERLOADED,
        // The API has no other status for a request it cannot take; the upstream's finer ones mean nothing to its clients.
        "invalid_request_error" if err.http_status() == 422 => 400,
        _ => err.http_status(),
    };
    let mut error = json!({ "type": err.kind.anthropic_type(), "message": message(err) });
    if let (Some((at, seconds)), Some(members)) = (available_later(err, now), error.as_object_mut()) {
        members.insert(
            "details".to_owned(),
            json!({ "available_at": at, "retry_after_seconds": seconds }),
        );
    }
    let body = json!({ "type": "error", "error": error, "request_id": request_id });
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .content_type("application/json")
        .body(body.to_string());
    sign_refusal(&mut response, err, request_id);
    sign(&mut response, request_id);
    response
}

/// Puts the id where clients of this dialect look for it.
pub fn sign(response: &mut Response, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("request-id", value);
    }
}

/// The last event of a stream that failed after its first byte.
pub fn error_event(err: &GatewayError) -> Bytes {
    let event = json!({
        "type": "error",
        "error": { "type": err.kind.anthropic_type(), "message": message(err) },
    });
    Bytes::from(format!("event: error\ndata: {event}\n\n"))
}

/// Anthropic names the field at fault in the message.
fn message(err: &GatewayError) -> String {
    match &err.param {
        Some(param) if !err.message.contains(param.as_str()) => format!("{param}: {}", err.message),
        _ => err.message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::error::ErrorKind;

    async fn rendered(err: &GatewayError) -> (u16, serde_json::Value, Response) {
        let mut response = render(err, "req-1", WallMs(0));
        let body = response.take_body().into_bytes().await.unwrap();
        (
            response.status().as_u16(),
            serde_json::from_slice(&body).unwrap(),
            response,
        )
    }

    #[tokio::test]
    async fn every_kind_has_a_type_that_the_sdks_know_and_both_ids() {
        let known = [
            "invalid_request_error",
            "authentication_error",
            "billing_error",
            "permission_error",
            "not_found_error",
            "request_too_large",
            "rate_limit_error",
            "api_error",
            "timeout_error",
            "overloaded_error",
        ];
        for kind in ErrorKind::ALL {
            let (status, body, response) = rendered(&GatewayError::new(kind, "words")).await;
            assert_eq!(body["type"], "error");
            assert_eq!(body["request_id"], "req-1");
            assert!(known.contains(&body["error"]["type"].as_str().unwrap()), "{kind:?}");
            assert_eq!(response.headers()["request-id"], "req-1");
            assert_eq!(response.headers()["x-request-id"], "req-1");
            assert!((400..600).contains(&status));
        }
        let busy = GatewayError::new(ErrorKind::UpstreamBusy, "busy").retry_after(Some(500_000));
        let (status, body, response) = rendered(&busy).await;
        assert_eq!(status, 529);
        assert_eq!(response.headers()["retry-after"], "120");
        assert_eq!(body["error"]["details"]["retry_after_seconds"], 500);
    }

    #[tokio::test]
    async fn the_field_at_fault_is_named_in_the_message() {
        let (_, body, _) = rendered(&GatewayError::field("max_tokens", "Field required")).await;
        assert_eq!(body["error"]["message"], "max_tokens: Field required");
    }
}
