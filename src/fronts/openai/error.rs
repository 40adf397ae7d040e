//! Errors in OpenAI's shape: the body, the headers that its SDKs obey, and the event that ends a stream that failed.

use bytes::Bytes;
use grok2api_actors::clock::{Clock, WallMs};
use grok2api_schemas::openai::error::{ErrorBody, ErrorObject};
use http::{HeaderValue, StatusCode};
use poem::Response;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::error::GatewayError;

/// The longest `Retry-After` we send. openai-python does not retry at all above 120 s, openai-node sleeps whatever it is
/// told; where the truth is later, the body says it and the SDKs are told not to retry.
pub const MAX_RETRY_AFTER_SECS: u64 = 120;

/// The answer to a request that failed.
pub fn error_response(err: &GatewayError, request_id: &str) -> Response {
    render(err, request_id, Clock::system().wall())
}

/// [`error_response`] at a given time.
pub fn render(err: &GatewayError, request_id: &str, now: WallMs) -> Response {
    let status = StatusCode::from_u16(err.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder()
        .status(status)
        .content_type("application/json")
        .body(body(err, now));
    sign_refusal(&mut response, err, request_id);
    response
}

/// The headers of a refusal, which the SDKs of every dialect obey.
pub(in crate::fronts) fn sign_refusal(response: &mut Response, err: &GatewayError, request_id: &str) {
    let status = response.status();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", value);
    }
    let wait = seconds(err);
    if let Some(seconds) = wait {
        headers.insert("retry-after", HeaderValue::from(seconds.min(MAX_RETRY_AFTER_SECS)));
    }
    if would_retry(status.as_u16()) && !worth_retrying(err, wait) {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    if let Some(reason) = err.reason {
        headers.insert("x-grok2api-reason", HeaderValue::from_static(reason.as_str()));
    }
}

/// When trying again makes sense, as a moment and in seconds, where that is later than `Retry-After` may say.
pub(in crate::fronts) fn available_later(err: &GatewayError, now: WallMs) -> Option<(String, u64)> {
    let seconds = seconds(err).filter(|&seconds| seconds > MAX_RETRY_AFTER_SECS)?;
    Some((moment(now, seconds)?, seconds))
}

/// The last event of a stream that failed after its first byte. No `[DONE]` follows it.
pub fn error_event(err: &GatewayError) -> Bytes {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&body(err, Clock::system().wall()));
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}

/// The error's body alone, where it does not travel over HTTP.
pub fn error_json(err: &GatewayError) -> Bytes {
    body(err, Clock::system().wall()).into()
}

/// Seconds until trying again makes sense, rounded up, at least 1.
fn seconds(err: &GatewayError) -> Option<u64> {
    err.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1))
}

/// Whether the SDKs retry this status on their own account.
fn would_retry(status: u16) -> bool {
    matches!(status, 408 | 409 | 429) || status >= 500
}

fn worth_retrying(err: &GatewayError, wait: Option<u64>) -> bool {
    match wait {
        _ if err.is_final => false,
        Some(seconds) => seconds <= MAX_RETRY_AFTER_SECS,
        None => err.kind.is_retryable(),
    }
}

fn body(err: &GatewayError, now: WallMs) -> Vec<u8> {
    let later = seconds(err).filter(|&seconds| seconds > MAX_RETRY_AFTER_SECS);
    let object = ErrorObject {
        message: err.message.as_ref().into(),
        kind: err.kind.openai_type().into(),
        param: err.param.as_deref().map(Into::into),
        code: Some(err.public_code().into()),
        available_at: later.and_then(|seconds| moment(now, seconds)).map(Into::into),
        retry_after_seconds: later,
    };
    // Strings and numbers only: this cannot fail.
    serde_json::to_vec(&ErrorBody { error: object }).unwrap_or_default()
}

fn moment(now: WallMs, seconds: u64) -> Option<String> {
    let at = (now.0 / 1000).saturating_add(seconds);
    OffsetDateTime::from_unix_timestamp(i64::try_from(at).ok()?)
        .ok()?
        .format(&Rfc3339)
        .ok()
}

#[cfg(test)]
mod tests;
