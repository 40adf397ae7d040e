//! Everything the simulated upstream can refuse with, by name: the five shapes of xAI's error bodies and both
//! generations of its wording.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use super::body::SimBody;

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

/// The five shapes.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// `{"code":"…","error":"…"}`
    Flat(&'static str, &'static str),
    /// `{"error":{"code":404,"message":"…"}}`, the status as number
    Nested(&'static str),
    /// `{"error":"…"}`
    Only(&'static str),
    /// Plain text
    Text(&'static str),
    /// An edge server's page
    Html,
    /// Nothing
    Empty,
}

struct Case {
    id: &'static str,
    status: u16,
    shape: Shape,
}

const fn case(id: &'static str, status: u16, shape: Shape) -> Case {
    Case { id, status, shape }
}

const OLD_INVALID: &str = "Client specified an invalid argument";
const OLD_EXHAUSTED: &str = "Some resource has been exhausted";
const OLD_DENIED: &str = "The caller does not have permission to execute the specified operation";
const OLD_MISSING: &str = "Some requested entity was not found";
const OLD_UNAVAILABLE: &str = "The service is currently unavailable";

const BAD_KEY: &str = "Incorrect API key provided: {key}. You can obtain an API key from https://console.x.ai.";
const NO_CREDIT: &str = "Your newly created team doesn't have any credits or licenses yet. You can purchase those on https://console.x.ai/team/{team}.";
const EXHAUSTED: &str = "Your team {team} has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit.";
const RATE: &str = "Too many requests for team {team} and model {model}. Your team's rate limit is — {detail}.";
const CAPACITY: &str = "The model is currently at capacity due to high demand. Please try again in a few minutes or use a different model.";
const UNAVAILABLE: &str = "Service temporarily unavailable. The model did not respond to this request.";

/// Sources: docs.x.ai, the official SDKs, public issue threads and live probes of August to October 2026. Where the
/// wording is not public (disabled and expired keys, missing ACLs, a key's own ceilings) it is a guess in their style.
const CASES: &[Case] = &[
    case("bad-key-old", 400, Shape::Flat(OLD_INVALID, BAD_KEY)),
    case("bad-key-new", 400, Shape::Flat("invalid-argument", BAD_KEY)),
    case(
        "no-credentials-new",
        401,
        Shape::Flat("unauthenticated:no-credentials", "No credentials provided"),
    ),
    case(
        "no-credentials-old",
        401,
        Shape::Nested("No or an invalid authentication header was provided."),
    ),
    case(
        "oauth-bad",
        403,
        Shape::Flat(
            "unauthenticated:bad-credentials",
            "The OAuth2 access token could not be validated.",
        ),
    ),
    case("team-no-credit-old", 403, Shape::Flat(OLD_DENIED, NO_CREDIT)),
    case("team-no-credit-new", 403, Shape::Flat("permission-denied", NO_CREDIT)),
    case("credits-exhausted-429", 429, Shape::Flat(OLD_EXHAUSTED, EXHAUSTED)),
    case(
        "credits-exhausted-403",
        403,
        Shape::Flat("permission-denied", EXHAUSTED),
    ),
    case(
        "key-blocked-leak",
        403,
        Shape::Flat(
            "permission-denied",
            "API key is currently blocked: Blocked due to API key leak",
        ),
    ),
    case(
        "key-disabled",
        403,
        Shape::Flat("permission-denied", "API key is currently disabled."),
    ),
    case(
        "key-expired",
        403,
        Shape::Flat("permission-denied", "API key has expired."),
    ),
    case(
        "team-blocked",
        403,
        Shape::Flat("permission-denied", "Team {team} is currently blocked."),
    ),
    case(
        "acl-denied",
        403,
        Shape::Flat(
            "permission-denied",
            "API key does not have permission to access {detail}.",
        ),
    ),
    case(
        "safety-403",
        403,
        Shape::Flat(
            "The caller does not have permission to execute the specified operation",
            "Content violates usage guidelines. Team: {team}, API key ID: {key}, Model: {model}, Failed check: SAFETY_CHECK_TYPE_BIO",
        ),
    ),
    case(
        "model-missing-404",
        404,
        Shape::Flat(
            "not-found",
            "The model {model} does not exist or your team {team} does not have access to it. Please ensure you're using the correct model name.",
        ),
    ),
    case(
        "model-missing-400",
        400,
        Shape::Flat(OLD_INVALID, "Model not found: {model}"),
    ),
    case(
        "path-missing",
        404,
        Shape::Nested("The requested resource was not found. Please check the URL and try again."),
    ),
    case(
        "path-missing-flat",
        404,
        Shape::Flat(
            OLD_MISSING,
            "No handler found on route. Please double check your URL and consult https://api.x.ai/docs for more information.",
        ),
    ),
    case("rate-rps", 429, Shape::Flat("resource-exhausted", RATE)),
    case("rate-rps-rpm", 429, Shape::Flat("resource-exhausted", RATE)),
    case("rate-tpm", 429, Shape::Flat("resource-exhausted", RATE)),
    case("rate-old", 429, Shape::Flat(OLD_EXHAUSTED, RATE)),
    case(
        "rate-key",
        429,
        Shape::Flat(
            "resource-exhausted",
            "Too many requests for API key {key}. The key's rate limit is — {detail}.",
        ),
    ),
    case("capacity-429", 429, Shape::Flat("resource-exhausted", CAPACITY)),
    case("internal-500", 500, Shape::Flat("internal", "Internal server error.")),
    case("bad-gateway-502", 502, Shape::Empty),
    case("unavailable-503", 503, Shape::Flat(OLD_UNAVAILABLE, UNAVAILABLE)),
    case(
        "timeout-504",
        504,
        Shape::Flat("deadline-exceeded", "The request timed out."),
    ),
    case("overloaded-529", 529, Shape::Empty),
    case("cloudflare-52x", 522, Shape::Html),
    case("cloudflare-525", 525, Shape::Html),
    case(
        "deser-chat-422",
        422,
        Shape::Text("Failed to deserialize the JSON body into the target type: {detail}"),
    ),
    case(
        "deser-resp-422",
        422,
        Shape::Flat(
            "invalid-argument",
            "Failed to deserialize the JSON body into the target type: {detail}",
        ),
    ),
    case(
        "json-parse-400",
        400,
        Shape::Text("Failed to parse the request body as JSON: {detail}"),
    ),
    case(
        "wrong-ct-415",
        415,
        Shape::Text("Expected request with `Content-Type: application/json`"),
    ),
    case("too-large-413", 413, Shape::Text("length limit exceeded")),
    case("method-405", 405, Shape::Empty),
    case(
        "arg-unsupported",
        400,
        Shape::Flat(OLD_INVALID, "Argument not supported on this model: {detail}"),
    ),
    case(
        "arg-invalid",
        400,
        Shape::Flat(OLD_INVALID, "Invalid request content: {detail}"),
    ),
    case(
        "empty-message",
        400,
        Shape::Flat(
            OLD_INVALID,
            "Invalid request content: Each message must have at least one content element.",
        ),
    ),
    case(
        "ctx-too-long",
        400,
        Shape::Flat(OLD_INVALID, "This model's maximum prompt length is {detail} tokens."),
    ),
    case(
        "live-search-gone",
        410,
        Shape::Flat(
            "Gone",
            "Live search is deprecated. Please switch to the Agent Tools API: https://docs.x.ai/docs/guides/tools/overview",
        ),
    ),
    case(
        "file-other-team",
        404,
        Shape::Flat("not-found", "File {detail} not found."),
    ),
    case(
        "deferred-missing",
        404,
        Shape::Flat("not-found", "Deferred completion {detail} not found."),
    ),
    case("tts-shape", 400, Shape::Only("speed must be between 0.7 and 1.5")),
];

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
            return Bytes::from(format!("event: error\ndata: {data}\n\n"));
        }
        "responses-error-numeric" => {
            json!({"type": "error", "code": 503, "message": "Service temporarily unavailable"}).to_string()
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
        "chat-midstream-flat" | "responses-error-event" | "responses-error-numeric"
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
