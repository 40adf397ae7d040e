//! The upstream's own lists of models, by what they make: what the key may use of them.

use std::borrow::Cow;
use std::sync::Arc;

use grok2api_actors::clients::Identity;
use grok2api_schemas::config::glob_matches;
use http::Method;
use poem::{Request, Response};
use serde_json::Value;

use super::{ServiceDialect, json_response, must_be_open};
use crate::app::App;
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::answering::respond;
use crate::fronts::asking;
use crate::fronts::openai::error::error_response;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// The lists, each with the label of its members.
pub const LISTINGS: [(&str, &str); 4] = [
    ("/v1/language-models", "/v1/language-models/{id}"),
    ("/v1/image-generation-models", "/v1/image-generation-models/{id}"),
    ("/v1/video-generation-models", "/v1/video-generation-models/{id}"),
    ("/v1/embedding-models", "/v1/embedding-models/{id}"),
];

/// Answers `GET` of a list.
pub async fn list(app: &Arc<App>, request: Request, label: &'static str) -> Response {
    let arrival = Arrival::of(&request, app);
    match listed(app, &request, &arrival, label).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn listed(
    app: &Arc<App>,
    request: &Request,
    arrival: &Arrival,
    label: &'static str,
) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, label, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    must_be_open(&app.config(), label).inspect_err(refused)?;
    let route = Route {
        label,
        method: Method::GET,
        path: Cow::Borrowed(label.trim_start_matches("/v1")),
    };
    let ask = Ask::of_service(
        route,
        arrival,
        caller.clone(),
        "models",
        Arc::new(ServiceDialect::default()),
    );
    match app.engine.run(ask).await? {
        Answer::Whole { body, .. } => Ok(json_response(of_key(app, &caller, body), arrival)),
        stream @ Answer::Stream { .. } => Ok(respond(stream, arrival)),
    }
}

/// The list without what the key may not use.
fn of_key(app: &App, caller: &Caller, body: bytes::Bytes) -> bytes::Bytes {
    let Caller::Key(Identity::Key(key)) = caller else {
        return body;
    };
    if key.allowed_models.is_empty() {
        return body;
    }
    let Ok(mut list) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    let catalogue = app.catalogue.load();
    if let Some(models) = list.get_mut("models").and_then(Value::as_array_mut) {
        models.retain(|model| {
            let id = model["id"].as_str().unwrap_or_default();
            let upstream = catalogue.resolve(id).upstream_name;
            key.allowed_models
                .iter()
                .any(|pattern| glob_matches(pattern, id) || glob_matches(pattern, upstream))
        });
    }
    list.to_string().into()
}

/// Answers `GET` of one model of a list; `id` is percent-decoded.
pub async fn one(app: &Arc<App>, request: Request, label: &'static str, id: &str) -> Response {
    let arrival = Arrival::of(&request, app);
    match found(app, &request, &arrival, label, id).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn found(
    app: &Arc<App>,
    request: &Request,
    arrival: &Arrival,
    label: &'static str,
    id: &str,
) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, label, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    must_be_open(&app.config(), label).inspect_err(refused)?;
    let not_found = || {
        let shown = crate::fronts::members::clip(id);
        GatewayError::new(ErrorKind::UnknownModel, format!("Model '{shown}' not found")).with_param("model")
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= 256
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:@".contains(&b))
    };
    let ask = {
        let catalogue = app.catalogue.load();
        let resolved = catalogue.resolve(id);
        if !is_name(resolved.upstream_name) || asking::may_use(&caller, id, resolved.upstream_name).is_err() {
            let error = not_found();
            refused(&error);
            return Err(error);
        }
        let root = label.trim_start_matches("/v1").trim_end_matches("{id}");
        let route = Route {
            label,
            method: Method::GET,
            path: Cow::Owned(format!("{root}{}", resolved.upstream_name)),
        };
        Ask {
            is_metered: false,
            expected_ticks: Some(0),
            ..Ask::new(
                route,
                arrival,
                caller,
                id,
                &resolved,
                Arc::new(ServiceDialect::default()),
            )
        }
    };
    Ok(respond(app.engine.run(ask).await?, arrival))
}
