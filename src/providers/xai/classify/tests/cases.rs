//! Every refusal of xAI that is known.

use super::super::{Class, CoolScope, Retry};

/// Our own restatement of every refusal of xAI that is known: what comes, what it means, what the client sees.
pub(super) struct Case {
    pub(super) id: &'static str,
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: &'static str,
    pub(super) class: Class,
    pub(super) retry: Retry,
    pub(super) scope: Option<CoolScope>,
    pub(super) client: (u16, &'static str),
}

pub(super) const JSON: &str = "application/json";
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";
pub(super) const TEAM_ID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

const fn case(
    id: &'static str,
    (status, content_type, body): (u16, &'static str, &'static str),
    class: Class,
    retry: Retry,
    scope: Option<CoolScope>,
    client: (u16, &'static str),
) -> Case {
    Case {
        id,
        status,
        content_type,
        body,
        class,
        retry,
        scope,
        client,
    }
}

pub(super) fn cases() -> Vec<Case> {
    use Class::*;
    use CoolScope::{Team, TeamModel, Token};
    use Retry::{Backoff, No, OtherTeam, OtherToken};
    let refused = (502, "upstream_error");
    let broke = (503, "no_usable_token");
    let no_model = (404, "model_not_found");
    vec![
        case(
            "bad-key-old",
            (
                400,
                JSON,
                r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***yz. You can obtain an API key from https://console.x.ai."}"#,
            ),
            KeyDead,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "bad-key-new",
            (
                400,
                JSON,
                r#"{"code":"invalid-argument","error":"Incorrect API key provided: xa***yz. You can obtain an API key from https://console.x.ai."}"#,
            ),
            KeyDead,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "no-credentials-new",
            (
                401,
                JSON,
                r#"{"code":"unauthenticated:no-credentials","error":"No credentials provided"}"#,
            ),
            GatewayFault,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "no-credentials-old",
            (
                401,
                JSON,
                r#"{"error":{"code":401,"message":"No or an invalid authentication header was provided."}}"#,
            ),
            GatewayFault,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "oauth-bad",
            (
                403,
                JSON,
                r#"{"code":"unauthenticated:bad-credentials","error":"The OAuth2 access token could not be validated."}"#,
            ),
            KeyDead,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "team-no-credit-old",
            (
                403,
                JSON,
                r#"{"code":"The caller does not have permission to execute the specified operation","error":"Your newly created team doesn't have any credits or licenses yet. You can purchase those on https://console.x.ai/team/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0."}"#,
            ),
            TeamBroke,
            OtherTeam,
            Some(Team),
            broke,
        ),
        case(
            "team-no-credit-new",
            (
                403,
                JSON,
                r#"{"code":"permission-denied","error":"Your newly created team doesn't have any credits or licenses yet. You can purchase those on https://console.x.ai/team/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0."}"#,
            ),
            TeamBroke,
            OtherTeam,
            Some(Team),
            broke,
        ),
        case(
            "credits-exhausted-429",
            (
                429,
                JSON,
                r#"{"code":"Some resource has been exhausted","error":"Your team 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit."}"#,
            ),
            TeamBroke,
            OtherTeam,
            Some(Team),
            broke,
        ),
        case(
            "credits-exhausted-403",
            (
                403,
                JSON,
                r#"{"code":"permission-denied","error":"Your team 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit."}"#,
            ),
            TeamBroke,
            OtherTeam,
            Some(Team),
            broke,
        ),
        case(
            "key-blocked-leak",
            (
                403,
                JSON,
                r#"{"code":"permission-denied","error":"API key is currently blocked: Blocked due to API key leak"}"#,
            ),
            KeyDead,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "model-missing-404",
            (
                404,
                JSON,
                r#"{"code":"not-found","error":"The model grok-x does not exist or your team 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 does not have access to it. Please ensure you're using the correct model name."}"#,
            ),
            ModelUnavailable,
            OtherTeam,
            Some(TeamModel),
            no_model,
        ),
        case(
            "model-missing-400",
            (
                400,
                JSON,
                r#"{"code":"Client specified an invalid argument","error":"Model not found: grok-x"}"#,
            ),
            ModelUnavailable,
            OtherTeam,
            Some(TeamModel),
            no_model,
        ),
        case(
            "path-missing",
            (
                404,
                JSON,
                r#"{"error":{"code":404,"message":"The requested resource was not found. Please check the URL and try again."}}"#,
            ),
            ClientError,
            No,
            None,
            (404, "not_found"),
        ),
        case(
            "path-missing-flat",
            (
                404,
                JSON,
                r#"{"code":"Some requested entity was not found","error":"No handler found on route. Please double check your URL and consult https://api.x.ai/docs for more information."}"#,
            ),
            ClientError,
            No,
            None,
            (404, "not_found"),
        ),
        case(
            "rate-rps",
            (
                429,
                JSON,
                r#"{"code":"resource-exhausted","error":"Too many requests for team 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 and model grok-4.6. Your team's rate limit is — Requests per Second (actual/limit): 2/2. Your rate limit tier is determined by your cumulative spend."}"#,
            ),
            RateLimited,
            OtherTeam,
            Some(TeamModel),
            (429, "rate_limit_exceeded"),
        ),
        case(
            "rate-rps-rpm",
            (
                429,
                JSON,
                r#"{"code":"resource-exhausted","error":"Too many requests for team 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 and model grok-4.6. Your team's rate limit is — Requests per Second (actual/limit): 2/2, Requests per Minute (actual/limit): 1922/60."}"#,
            ),
            RateLimited,
            OtherTeam,
            Some(TeamModel),
            (429, "rate_limit_exceeded"),
        ),
        case(
            "capacity-429",
            (
                429,
                JSON,
                r#"{"code":"resource-exhausted","error":"The model is currently at capacity due to high demand. Please try again in a few minutes or use a different model."}"#,
            ),
            Capacity,
            Backoff,
            Some(TeamModel),
            (503, "upstream_busy"),
        ),
        case(
            "unavailable-503",
            (
                503,
                JSON,
                r#"{"code":"The service is currently unavailable","error":"Service temporarily unavailable. The model did not respond to this request."}"#,
            ),
            Transient,
            OtherToken,
            None,
            (503, "upstream_busy"),
        ),
        case(
            "overloaded-529",
            (529, "", ""),
            Transient,
            OtherToken,
            None,
            (503, "upstream_busy"),
        ),
        case(
            "cloudflare-52x",
            (
                522,
                "text/html",
                "<!DOCTYPE html><html><head><title>api.x.ai | 522: Connection timed out</title></head></html>",
            ),
            Transient,
            OtherToken,
            None,
            (504, "upstream_timeout"),
        ),
        case(
            "deser-chat-422",
            (
                422,
                PLAIN,
                "Failed to deserialize the JSON body into the target type: messages[0]: missing field `role` at line 1 column 40",
            ),
            ClientError,
            No,
            None,
            (422, "invalid_value"),
        ),
        case(
            "deser-resp-422",
            (
                422,
                JSON,
                r#"{"code":"invalid-argument","error":"Failed to deserialize the JSON body into the target type: input: data did not match any variant"}"#,
            ),
            ClientError,
            No,
            None,
            (422, "invalid_value"),
        ),
        case(
            "json-parse-400",
            (
                400,
                PLAIN,
                "Failed to parse the request body as JSON: expected value at line 1 column 1",
            ),
            ClientError,
            No,
            None,
            (400, "invalid_json"),
        ),
        case(
            "wrong-ct-415",
            (415, PLAIN, "Expected request with `Content-Type: application/json`"),
            ClientError,
            No,
            None,
            (415, "unsupported_media_type"),
        ),
        case(
            "arg-unsupported",
            (
                400,
                JSON,
                r#"{"code":"Client specified an invalid argument","error":"Argument not supported on this model: presencePenalty"}"#,
            ),
            ClientError,
            No,
            None,
            (400, "unsupported_parameter"),
        ),
        case(
            "empty-message",
            (
                400,
                JSON,
                r#"{"code":"Client specified an invalid argument","error":"Invalid request content: Each message must have at least one content element."}"#,
            ),
            ClientError,
            No,
            None,
            (400, "invalid_value"),
        ),
        case(
            "ctx-too-long",
            (
                400,
                JSON,
                r#"{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 500000 but the request contains 612345 tokens."}"#,
            ),
            ClientError,
            No,
            None,
            (400, "context_length_exceeded"),
        ),
        case(
            "live-search-gone",
            (
                410,
                JSON,
                r#"{"code":"Gone","error":"Live search is deprecated. Please switch to the Agent Tools API: https://docs.x.ai/docs/guides/tools/overview"}"#,
            ),
            ClientError,
            No,
            None,
            (410, "gone"),
        ),
        case(
            "file-other-team",
            (404, JSON, r#"{"code":"not-found","error":"File file_x not found."}"#),
            ClientError,
            No,
            None,
            (404, "not_found"),
        ),
        case(
            "tts-shape",
            (400, JSON, r#"{"error":"speed must be between 0.7 and 1.5"}"#),
            ClientError,
            No,
            None,
            (400, "invalid_value"),
        ),
        // Not in the collection, and seen in public reports: refused for the prompt, with a fee for each attempt.
        case(
            "content-policy",
            (
                403,
                JSON,
                r#"{"code":"The caller does not have permission to execute the specified operation","error":"Content violates usage guidelines. Team: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0, API key ID: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0, Model: grok-x, Failed check: SAFETY_CHECK_TYPE_BIO"}"#,
            ),
            ClientError,
            No,
            None,
            (400, "content_policy_violation"),
        ),
        case(
            "unknown-403",
            (403, JSON, r#"{"code":"permission-denied","error":"Something new."}"#),
            KeyRefused,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "edge-403",
            (403, "text/html", "<html>Attention Required!</html>"),
            Transient,
            OtherToken,
            None,
            refused,
        ),
        case(
            "key-disabled",
            (
                403,
                JSON,
                r#"{"code":"permission-denied","error":"Your API key has been disabled."}"#,
            ),
            KeyDead,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "user-blocked",
            (
                403,
                JSON,
                r#"{"code":"permission-denied:blocked-user","error":"User is blocked"}"#,
            ),
            KeyDead,
            OtherToken,
            Some(Token),
            refused,
        ),
        case(
            "key-without-model",
            (
                403,
                JSON,
                r#"{"code":"permission-denied","error":"This API key is not allowed to access the model."}"#,
            ),
            ModelUnavailable,
            OtherToken,
            Some(CoolScope::TokenModel),
            no_model,
        ),
        case("payment", (402, "", ""), TeamBroke, OtherTeam, Some(Team), broke),
        case(
            "bare-429",
            (429, "", ""),
            RateLimited,
            OtherTeam,
            Some(TeamModel),
            (429, "rate_limit_exceeded"),
        ),
        case("bare-500", (500, "", ""), Transient, OtherToken, None, refused),
        case("conflict", (409, "", ""), Transient, OtherToken, None, refused),
        case("redirect", (302, "text/html", ""), Transient, OtherToken, None, refused),
        case("nonsense-200", (200, JSON, "[]"), Transient, OtherToken, None, refused),
    ]
}
