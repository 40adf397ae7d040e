//! The table of refusals.

/// The five shapes.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
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

/// A refusal.
pub struct Case {
    pub id: &'static str,
    pub status: u16,
    pub shape: Shape,
}

const fn case(id: &'static str, status: u16, shape: Shape) -> Case {
    Case { id, status, shape }
}

const OLD_INVALID: &str = "Client specified an invalid argument";
const OLD_EXHAUSTED: &str = "Some resource has been exhausted";
const OLD_DENIED: &str = "The caller does not have permission to execute the specified operation";
const OLD_MISSING: &str = "Some requested entity was not found";
pub const OLD_UNAVAILABLE: &str = "The service is currently unavailable";

const BAD_KEY: &str = "Incorrect API key provided: {key}. You can obtain an API key from https://console.x.ai.";
const NO_CREDIT: &str = "Your newly created team doesn't have any credits or licenses yet. You can purchase those on https://console.x.ai/team/{team}.";
const EXHAUSTED: &str = "Your team {team} has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit.";
const RATE: &str = "Too many requests for team {team} and model {model}. Your team's rate limit is — {detail}.";
pub const CAPACITY: &str = "The model is currently at capacity due to high demand. Please try again in a few minutes or use a different model.";
pub const UNAVAILABLE: &str = "Service temporarily unavailable. The model did not respond to this request.";

/// Sources: docs.x.ai, the official SDKs, public issue threads and live probes of August to October 2026. Where the
/// wording is not public (disabled and expired keys, missing ACLs, a key's own ceilings) it is a guess in their style.
pub const CASES: &[Case] = &[
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
    case(
        "response-missing",
        404,
        Shape::Flat("not-found", "Response with id={detail} not found."),
    ),
    case(
        "zdr-store",
        400,
        Shape::Flat(
            "invalid-argument",
            "Storing responses is not available for teams with zero data retention: set `store` to false.",
        ),
    ),
    case(
        "sealed-foreign",
        400,
        Shape::Flat("invalid-argument", "Could not decrypt the provided encrypted_content."),
    ),
    case(
        "compaction-foreign",
        400,
        Shape::Flat("invalid_compaction_blob", "The compaction item could not be read."),
    ),
    case(
        "request-missing",
        404,
        Shape::Flat("not-found", "Request {detail} not found."),
    ),
    case("tts-shape", 400, Shape::Only("speed must be between 0.7 and 1.5")),
];
