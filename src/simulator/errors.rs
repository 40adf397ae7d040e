//! Everything the simulated upstream can refuse with, by name: the five shapes of xAI's error bodies and both
//! generations of its wording.

mod cases;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use self::cases::{CAPACITY, CASES, OLD_UNAVAILABLE, Shape, UNAVAILABLE};
use super::body::SimBody;
use super::pacing::named_event;

/// What a case may mention.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mention<'a> {
    /// The id of the caller's team.
    pub team: &'a str,
    /// The model asked for.
    pub model: &'a str,
    /// The caller's secret; only ever shown redacted.
    pub key: &'a str,
    /// Free text: the limits reached, the argument refused, the parser's words.
    pub detail: &'a str,
}

/// Whether a case of this name exists.
pub fn known(id: &str) -> bool {
    CASES.iter().any(|case| case.id == id)
}

/// Every name.
pub fn ids() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.id)
}

/// Default detail of a case that a script asks for without one.
fn usual_detail(id: &str) -> &'static str {
    match id {
        "rate-rps" | "rate-key" => "Requests per Second (actual/limit): 2/2",
        "rate-rps-rpm" | "rate-old" => {
            "Requests per Second (actual/limit): 2/2, Requests per Minute (actual/limit): 1922/60"
        }
        "rate-tpm" => "Tokens per Minute (actual/limit): 100312/100000",
        "deser-chat-422" => "messages[0]: missing field `role` at line 1 column 40",
        "deser-resp-422" => "input: data did not match any variant",
        "json-parse-400" => "expected value at line 1 column 1",
        "arg-unsupported" => "presencePenalty",
        "ctx-too-long" => "500000 but the request contains 612345",
        _ => "it",
    }
}

/// The answer for a case; an unknown name is a 500 that says so.
pub fn respond(id: &str, mention: &Mention<'_>) -> Response<SimBody> {
    let Some(case) = CASES.iter().find(|case| case.id == id) else {
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            format!("the simulator knows no error `{id}`"),
        );
    };
    let detail = if mention.detail.is_empty() {
        usual_detail(id)
    } else {
        mention.detail
    };
    let fill = |template: &str| {
        template
            .replace("{team}", mention.team)
            .replace("{model}", mention.model)
            .replace("{key}", &redacted(mention.key))
            .replace("{detail}", detail)
    };
    let status = StatusCode::from_u16(case.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match case.shape {
        Shape::Flat(code, error) => json_body(status, &json!({"code": code, "error": fill(error)})),
        Shape::Nested(message) => json_body(
            status,
            &json!({"error": {"code": case.status, "message": fill(message)}}),
        ),
        Shape::Only(error) => json_body(status, &json!({"error": fill(error)})),
        Shape::Text(text) => plain(status, "text/plain; charset=utf-8", fill(text)),
        Shape::Html => {
            let title = if case.status == 522 {
                "522: Connection timed out"
            } else {
                "525: SSL handshake failed"
            };
            let page = format!(
                "<!DOCTYPE html>\n<html lang=\"en-US\"><head><title>api.x.ai | {title}</title></head>\n<body><h1>{title}</h1><p>Cloudflare Ray ID: 0</p></body></html>\n"
            );
            let mut response = plain(status, "text/html; charset=UTF-8", page);
            response
                .headers_mut()
                .insert(http::header::RETRY_AFTER, HeaderValue::from_static("60"));
            response
        }
        Shape::Empty => {
            let mut response = Response::new(SimBody::empty());
            *response.status_mut() = status;
            response
        }
    }
}

/// The same refusal as an event inside a stream.
pub fn as_event(id: &str, mention: &Mention<'_>) -> Bytes {
    let text = match id {
        "chat-midstream-flat" => json!({"code": OLD_UNAVAILABLE, "error": UNAVAILABLE}).to_string(),
        "responses-error-event" => {
            let data = json!({"sequence_number": 0, "type": "error", "code": null, "message": CAPACITY, "param": null});
            return named_event("error", &data);
        }
        "responses-error-numeric" => {
            json!({"type": "error", "code": 503, "message": "Service temporarily unavailable"}).to_string()
        }
        "messages-error-event" => {
            let error = json!({"type": "overloaded_error", "message": "Overloaded"});
            return named_event("error", &json!({"type": "error", "error": error}));
        }
        other => {
            let answer = respond(other, mention).into_body().into_bytes();
            String::from_utf8_lossy(&answer).into_owned()
        }
    };
    Bytes::from(format!("data: {text}\n\n"))
}

/// Whether [`as_event`] knows the name.
pub fn known_event(id: &str) -> bool {
    matches!(
        id,
        "chat-midstream-flat" | "responses-error-event" | "responses-error-numeric" | "messages-error-event"
    ) || known(id)
}

/// A JSON answer.
pub fn json_body(status: StatusCode, value: &serde_json::Value) -> Response<SimBody> {
    let mut response = Response::new(SimBody::full(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer with any other text.
pub fn plain(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<SimBody> {
    let mut response = Response::new(SimBody::full(text.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A secret as error messages show it: `xa***yz`.
pub fn redacted(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    if chars.len() < 5 {
        return "***".to_owned();
    }
    let head: String = chars[..2].iter().collect();
    let tail: String = chars[chars.len() - 2..].iter().collect();
    format!("{head}***{tail}")
}
