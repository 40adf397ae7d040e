//! An answer of the engine as the client gets it, with the headers that every answer bears. The body is the dialect's.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::Response;

use crate::engine::answer::Answer;
use crate::http::arrival::Arrival;

/// The answer, signed.
pub fn respond(answer: Answer, arrival: &Arrival) -> Response {
    let (mut response, overhead_us) = match answer {
        Answer::Whole {
            status,
            body,
            headers,
            overhead_us,
            ..
        } => {
            let response = Response::builder()
                .status(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
                .header(header::CONTENT_TYPE, content_type(&headers))
                .body(body);
            (response, overhead_us)
        }
        Answer::Stream {
            status,
            body,
            overhead_us,
            ..
        } => {
            let response = Response::builder()
                .status(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
                .header(header::CONTENT_TYPE, "text/event-stream")
                .header(header::CACHE_CONTROL, "no-cache")
                // Proxies of nginx's kind hold back small chunks unless they are told not to.
                .header("x-accel-buffering", "no")
                .body(poem::Body::from_bytes_stream(body));
            (response, overhead_us)
        }
    };
    arrival.sign(&mut response);
    if let Ok(value) = HeaderValue::from_str(&format!("{:.3}", overhead_us as f64 / 1000.0)) {
        response.headers_mut().insert("x-grok2api-overhead-ms", value);
    }
    response
}

/// What an answer in one piece is; JSON where the upstream calls it anything that JSON is called.
fn content_type(upstream: &HeaderMap) -> HeaderValue {
    let said = upstream.get(header::CONTENT_TYPE).filter(|value| {
        ["audio/", "image/", "video/", "application/octet-stream"]
            .iter()
            .any(|kind| value.as_bytes().starts_with(kind.as_bytes()))
    });
    said.cloned().unwrap_or(HeaderValue::from_static("application/json"))
}
