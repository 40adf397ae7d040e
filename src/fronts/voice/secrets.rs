//! `POST /v1/realtime/client_secrets`: a short-lived key that opens a WebSocket here and nothing else, for browsers. The
//! upstream's own would let a client talk past its key's limits; these stand for the key that asked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grok2api_actors::clients::Identity;
use grok2api_schemas::ids::KeyId;
use poem::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use crate::app::App;
use crate::door::body::read_body;
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::json::Kind;
use crate::fronts::members::Members;
use crate::fronts::openai::error::error_response;
use crate::fronts::passed::{ServiceDialect, json_response};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const ROUTE: &str = "/v1/realtime/client_secrets";
/// What such a secret begins with.
const PREFIX: &str = "ek-";
const CONTEXT: &[u8] = b"realtime client secret";
/// How long one is good, seconds: unless asked otherwise, and the bounds.
const LIFE: u64 = 600;
const SHORTEST: u64 = 10;
const LONGEST: u64 = 3_600;

/// What is sealed in a secret.
#[derive(Serialize, Deserialize)]
struct Inside {
    /// The key that asked; nothing: the configured one.
    key: Option<KeyId>,
    expires_ms: u64,
}

/// Answers a request for one.
pub async fn client_secrets(app: &Shared, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival).await {
        Ok(body) => json_response(body.to_string(), &arrival),
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(app: &Shared, mut request: Request, arrival: &Arrival) -> Result<Value, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, ROUTE, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        let body = read_body(&mut request, &app.body_limits()).await?;
        if body.trim_ascii().is_empty() {
            return Ok((LIFE, None));
        }
        let members = Members::read(&body)?;
        members.must_be("expires_after", &[Kind::Object])?;
        members.must_be("session", &[Kind::Object])?;
        let session: Option<Value> = members.raw("session").and_then(|raw| serde_json::from_str(raw).ok());
        let seconds = match members.raw("expires_after") {
            None => LIFE,
            Some(raw) => Members::read(raw.as_bytes())?
                .integer("seconds", SHORTEST, LONGEST)?
                .unwrap_or(LIFE),
        };
        Ok((seconds, session))
    };
    let (seconds, session) = made.await.inspect_err(refused)?;
    let expires_ms = arrival.time_ms + seconds * 1000;
    let key = match &caller {
        Caller::Key(Identity::Key(key)) => Some(key.id),
        Caller::Key(Identity::Config) => None,
        Caller::Anonymous => {
            let error = GatewayError::new(ErrorKind::Unauthenticated, "A secret stands for a key: send one.");
            refused(&error);
            return Err(error);
        }
    };
    let inside =
        serde_json::to_vec(&Inside { key, expires_ms }).map_err(|error| GatewayError::internal(error.to_string()))?;
    let value = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(app.vault.seal(CONTEXT, &inside)));
    let mut told = json!({ "value": value, "expires_at": expires_ms / 1000 });
    if let Some(session) = session {
        told["session"] = session;
    }
    let ask = Ask::of_service(
        Route::post(ROUTE, ""),
        arrival,
        caller,
        "client-secrets",
        std::sync::Arc::new(ServiceDialect::default()),
    );
    app.engine.answer_here(ask, async { Ok(told) }).await
}

/// The caller that a secret stands for; nothing if the text is no secret of this kind.
///
/// # Errors
/// 401 when it is one, and no longer good.
pub(super) fn caller_of(app: &App, presented: &str) -> Result<Option<Caller>, GatewayError> {
    let Some(sealed) = presented.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    let inside = URL_SAFE_NO_PAD
        .decode(sealed)
        .ok()
        .and_then(|sealed| app.vault.open_sealed(CONTEXT, &sealed).ok())
        .and_then(|inside| serde_json::from_slice::<Inside>(&inside).ok());
    // A key of a client may begin like one.
    let Some(inside) = inside else { return Ok(None) };
    let now = app.clock.wall();
    let gone = || {
        GatewayError::new(
            ErrorKind::Unauthenticated,
            "This client secret has expired, or its key is no longer taken.",
        )
    };
    if inside.expires_ms <= now.0 {
        return Err(gone());
    }
    match inside.key {
        None => Ok(Some(Caller::Key(Identity::Config))),
        Some(id) => app
            .keys
            .get(id)
            .filter(|key| key.is_active && key.expires_ms.is_none_or(|ends| ends > now.0))
            .map(|key| Some(Caller::Key(Identity::Key(key))))
            .ok_or_else(gone),
    }
}
