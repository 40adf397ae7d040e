//! Answers that are given where no handler is reached: raw HTTP/1.1 with the error shape of the API, and `Connection: close`.

use bytes::Bytes;
use grok2api_schemas::ids::RequestId;
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::engine::error::ErrorKind;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Seconds after which a client that found the node full may come back.
const RETRY_AFTER_SECS: u64 = 1;

/// Why no handler was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not HTTP (400).
    Malformed,
    /// The target is too long (414).
    TargetTooLong,
    /// Too many or too large headers (431).
    HeadersTooLarge,
    /// The head did not arrive in time (408).
    HeadOverdue,
    /// The connection limit is reached (503).
    Full,
    /// A handler panicked (500).
    Panicked,
}

impl Refusal {
    /// The refusal that stands for an answer that hyper gave on its own.
    pub fn of_status(status: u16) -> Option<Refusal> {
        match status {
            400 => Some(Refusal::Malformed),
            414 => Some(Refusal::TargetTooLong),
            431 => Some(Refusal::HeadersTooLarge),
            _ => None,
        }
    }

    fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        let client = "invalid_request_error";
        match self {
            Refusal::Malformed => (
                StatusCode::BAD_REQUEST,
                client,
                "malformed_request",
                "What was sent is not a valid HTTP request.",
            ),
            Refusal::TargetTooLong => (
                StatusCode::URI_TOO_LONG,
                client,
                "uri_too_long",
                "The request's URL is too long.",
            ),
            Refusal::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                client,
                "headers_too_large",
                "The request's headers are too many or too large.",
            ),
            Refusal::HeadOverdue => (
                StatusCode::REQUEST_TIMEOUT,
                client,
                "request_timeout",
                "The request's headers took too long to arrive.",
            ),
            Refusal::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Overloaded.openai_type(),
                ErrorKind::Overloaded.code(),
                "This node has no free connection. Try again shortly.",
            ),
            Refusal::Panicked => (
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorKind::Internal.openai_type(),
                ErrorKind::Internal.code(),
                "The gateway failed on its own account. The request id names the line in its log.",
            ),
        }
    }

    fn json(self) -> String {
        let (_, kind, code, message) = self.parts();
        serde_json::json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
    }

    /// The whole answer as it goes over the wire.
    pub fn raw(self) -> Bytes {
        let (status, ..) = self.parts();
        let body = self.json();
        let retry = match self {
            Refusal::Full => format!("retry-after: {RETRY_AFTER_SECS}\r\n"),
            _ => String::new(),
        };
        Bytes::from(format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {}\r\n{retry}connection: close\r\n\r\n{body}",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
            RequestId::generate(),
        ))
    }

    /// The answer from inside a request.
    pub fn response(self) -> poem::Response {
        let (status, ..) = self.parts();
        poem::Response::builder()
            .status(status)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(CONNECTION, HeaderValue::from_static("close"))
            .body(self.json())
    }
}
