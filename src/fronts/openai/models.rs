//! `GET /v1/models` and `GET /v1/models/{id}`: what the pool offers and the key may use.

use std::sync::Arc;

use grok2api_actors::clients::Identity;
use grok2api_schemas::config::glob_matches;
use http::{StatusCode, header};
use poem::{Request, Response};
use serde_json::{Value, json};

use super::error::error_response;
use crate::app::App;
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::anthropic::models as anthropic;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// Answers `GET /v1/models`.
pub fn list(app: &Arc<App>, request: &Request) -> Response {
    let arrival = Arrival::of(request, app);
    match authenticate(app, request.headers()) {
        Ok(caller) if anthropic::is_asked_for(request.headers()) => {
            anthropic::list(app, &caller, request.uri().query(), &arrival)
        }
        Ok(caller) => {
            let data: Vec<Value> = offered(app, &caller).iter().map(|name| view(app, name)).collect();
            json_response(&json!({ "object": "list", "data": data }), &arrival)
        }
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

/// Answers `GET /v1/models/{id}`; `id` is percent-decoded.
pub fn one(app: &Arc<App>, request: &Request, id: &str) -> Response {
    let arrival = Arrival::of(request, app);
    let caller = authenticate(app, request.headers());
    if let Ok(caller) = &caller
        && anthropic::is_asked_for(request.headers())
    {
        return anthropic::one(app, caller, id, &arrival);
    }
    let found = caller.and_then(|caller| {
        if offered(app, &caller).iter().any(|name| name == id) {
            return Ok(view(app, id));
        }
        Err(GatewayError::new(ErrorKind::UnknownModel, format!("Model '{id}' not found")).with_param("model"))
    });
    match found {
        Ok(model) => json_response(&model, &arrival),
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

/// Names that can be asked for: what teams list, and our aliases of it; in order of name.
pub(in crate::fronts) fn offered(app: &App, caller: &Caller) -> Vec<String> {
    let listed = app.engine.pool().offered_models();
    let mut names: Vec<String> = listed.iter().map(|name| name.to_string()).collect();
    let catalogue = app.catalogue.load();
    let is_listed = |model: &str| listed.iter().any(|name| **name == *model);
    names.extend(
        catalogue
            .aliases()
            .iter()
            .filter(|(_, model)| is_listed(model))
            .map(|(alias, _)| alias.clone()),
    );
    names.sort();
    names.dedup();
    if let Caller::Key(Identity::Key(key)) = caller
        && !key.allowed_models.is_empty()
    {
        names.retain(|name| {
            let upstream = catalogue.resolve(name).upstream_name;
            key.allowed_models
                .iter()
                .any(|pattern| glob_matches(pattern, name) || glob_matches(pattern, upstream))
        });
    }
    names
}

fn view(app: &App, name: &str) -> Value {
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(name);
    let aliases: Vec<&String> = catalogue
        .aliases()
        .iter()
        .filter(|(_, model)| model == name)
        .map(|(alias, _)| alias)
        .collect();
    let mut model = json!({
        "id": name,
        "object": "model",
        "created": app.started_secs,
        "owned_by": "xai",
        "aliases": aliases,
    });
    if let (Some(entry), Some(fields)) = (resolved.entry, model.as_object_mut()) {
        fields.insert("display_name".to_owned(), entry.display_name.clone().into());
        fields.insert("description".to_owned(), entry.description.clone().into());
    }
    model
}

fn json_response(body: &Value, arrival: &Arrival) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string());
    arrival.sign(&mut response);
    response
}
