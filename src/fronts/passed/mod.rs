//! The upstream's own API, as far as the operator lets it through (`xai.pass_through`): bytes pass, the model's name and
//! the credential are replaced, a client key's limits and budget hold, and what a call makes belongs to who made it.

pub mod about_key;
pub mod anything;
pub mod listings;
pub mod modelled;
mod multipart;
pub mod objects;
pub mod search;
mod service;

use grok2api_schemas::config::{Config, glob_matches};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::Response;

use crate::engine::answer::Answer;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::answering::respond;
use crate::http::arrival::Arrival;

pub use multipart::{Part, Parts};
pub use service::ServiceDialect;

/// What `documented` stands for in `xai.pass_through`: the paths of xAI's documentation (`xai-api.md` §1) that are served as
/// they come.
const DOCUMENTED: [&str; 15] = [
    "/v1/batches*",
    "/v1/complete",
    "/v1/completions",
    "/v1/custom-voices*",
    "/v1/documents/search",
    "/v1/embedding-models*",
    "/v1/embeddings",
    "/v1/files*",
    "/v1/image-generation-models*",
    "/v1/language-models*",
    "/v1/skills*",
    "/v1/stt",
    "/v1/tokenize-text",
    "/v1/tts*",
    "/v1/video-generation-models*",
];

/// Refuses what the operator does not let through.
///
/// # Errors
/// 404, as for a path that there is not.
pub fn must_be_open(config: &Config, path: &str) -> Result<(), GatewayError> {
    let is_open = |open: &String| match open.as_str() {
        "documented" => DOCUMENTED.iter().any(|open| glob_matches(open, path)),
        open => glob_matches(open, path),
    };
    if config.xai.pass_through.iter().any(is_open) {
        return Ok(());
    }
    Err(GatewayError::new(
        ErrorKind::NotFound,
        format!("There is no {path} here."),
    ))
}

/// An answer of our own, in JSON.
pub fn json_response(body: impl Into<poem::Body>, arrival: &Arrival) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body);
    arrival.sign(&mut response);
    response
}

/// An answer as it came, whatever it is. What a client uploaded comes back as what it was, and a browser that shows it
/// must not run it: the panel lives at this address.
pub fn respond_as_it_is(answer: Answer, arrival: &Arrival) -> Response {
    let kind = match &answer {
        Answer::Whole { headers, .. } => headers.get(header::CONTENT_TYPE).cloned(),
        Answer::Stream { .. } => None,
    };
    let mut response = respond(answer, arrival);
    let headers = response.headers_mut();
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, harmless(kind));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    response
}

/// The type, unless a browser would run what is of it.
fn harmless(kind: HeaderValue) -> HeaderValue {
    let text = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
    let runs = ["html", "xml", "svg", "script", "pdf"]
        .iter()
        .any(|word| text.contains(word));
    if runs {
        return HeaderValue::from_static("application/octet-stream");
    }
    kind
}

/// What a request's body says it is.
fn content_type_of(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(header::CONTENT_TYPE).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_run_comes_as_bytes() {
        for (said, told) in [
            ("text/html; charset=utf-8", "application/octet-stream"),
            ("IMAGE/SVG+XML", "application/octet-stream"),
            ("application/xhtml+xml", "application/octet-stream"),
            ("text/javascript", "application/octet-stream"),
            ("application/zip", "application/zip"),
            ("text/plain", "text/plain"),
        ] {
            assert_eq!(harmless(HeaderValue::from_static(said)), told, "{said}");
        }
    }

    #[test]
    fn the_list_of_open_paths_is_the_operators() {
        let mut config = Config::default();
        for open in [
            "/v1/files",
            "/v1/files/file_1/content",
            "/v1/embeddings",
            "/v1/tts/voices",
        ] {
            assert!(must_be_open(&config, open).is_ok(), "{open}");
        }
        for shut in ["/v1/moderations", "/v1/embeddings/x", "/v1/fine_tuning/jobs"] {
            assert_eq!(must_be_open(&config, shut).unwrap_err().http_status(), 404, "{shut}");
        }
        config.xai.pass_through = vec!["/v1/mode*".into()];
        assert!(must_be_open(&config, "/v1/moderations").is_ok());
        assert!(must_be_open(&config, "/v1/files").is_err());
    }
}
