//! Who asks on `/v1`: the bearer (or `x-api-key`) to an identity.

use grok2api_actors::clients::NotTaken;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::app::App;
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError};

/// The caller behind a request's credential.
///
/// # Errors
/// 401 when there is none and none is needed to be, or when it is not one of ours.
pub fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, GatewayError> {
    let Some(presented) = presented(headers) else {
        if app.config().security.allow_anonymous {
            return Ok(Caller::Anonymous);
        }
        return Err(GatewayError::new(
            ErrorKind::Unauthenticated,
            "No API key. Send one of this gateway's client keys as `Authorization: Bearer <key>`.",
        ));
    };
    app.keys.identify(presented).map(Caller::Key).map_err(|why| {
        let message = match why {
            NotTaken::Unknown => "This API key is not one of this gateway's client keys.",
            NotTaken::Inactive => "This API key has been switched off.",
            NotTaken::Expired => "This API key has expired.",
        };
        GatewayError::new(ErrorKind::Unauthenticated, message)
    })
}

/// The key that a request presents: OpenAI's SDKs send a bearer, older Anthropic SDKs `x-api-key`.
pub fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (scheme, key) = value.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
    bearer
        .or_else(|| {
            headers
                .get("x-api-key")
                .and_then(|value| value.to_str().ok())
                .map(str::trim)
        })
        .filter(|key| !key.is_empty())
}
