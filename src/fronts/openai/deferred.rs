//! Deferred completions: a request id now, the completion later, once. The id leads to the token that made it and belongs
//! to the client key that asked; what the upstream gives out only once is kept for the rest of its day.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;

use super::error::error_response;
use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::engine::answer::Answer;
use crate::engine::ask::Caller;
use crate::engine::direct::Direct;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::answering::respond;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const ROUTE: &str = "/v1/chat/deferred-completion/{id}";
/// A completion can be fetched for that long (`xai-api.md` §4).
const LIFE_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Deserialize)]
struct Accepted {
    request_id: String,
}

/// Remembers the id before the client learns it.
pub(super) async fn accepted(
    app: &Arc<App>,
    arrival: &Arrival,
    caller: &Caller,
    answer: Answer,
) -> Result<Response, GatewayError> {
    if let Answer::Whole {
        body,
        served_by: Some(token),
        ..
    } = &answer
        && let Ok(accepted) = serde_json::from_slice::<Accepted>(body)
    {
        let binding = Binding {
            token: *token,
            owner: caller.owner(),
            expires_ms: arrival.time_ms + LIFE_MS,
            answer: None,
        };
        app.bindings
            .put(ObjectKind::DeferredCompletion, &accepted.request_id, binding)
            .await
            .map_err(|error| GatewayError::internal(error.to_string()))?;
    }
    Ok(respond(answer, arrival))
}

/// Answers `GET /v1/chat/deferred-completion/{id}`.
pub async fn completion(app: &Arc<App>, request: Request, id: &str) -> Response {
    let arrival = Arrival::of(&request, app);
    match fetch(app, &request, &arrival, id).await {
        Ok(mut response) => {
            arrival.sign(&mut response);
            response
        }
        Err(error) => {
            app.refused(&arrival, ROUTE, &error);
            error_response(&error, &arrival.id.to_string())
        }
    }
}

async fn fetch(app: &Arc<App>, request: &Request, arrival: &Arrival, id: &str) -> Result<Response, GatewayError> {
    let caller = authenticate(app, request.headers())?;
    let not_found = || {
        GatewayError::new(ErrorKind::NotFound, format!("There is no deferred completion {id}."))
            .with_code("deferred_completion_not_found")
    };
    let internal = |error: grok2api_actors::bus::BusError| GatewayError::internal(error.to_string());
    let mut binding = app
        .bindings
        .get(ObjectKind::DeferredCompletion, id)
        .await
        .map_err(internal)?
        .filter(|binding| binding.owner == caller.owner() && binding.expires_ms > arrival.time_ms)
        .ok_or_else(not_found)?;
    if let Some(body) = binding.answer.take() {
        return Ok(json(StatusCode::OK, Bytes::from(body)));
    }
    let path = format!("/chat/deferred-completion/{id}");
    let fetched = app
        .engine
        .direct(binding.token, &Direct::get(&path), arrival.id)
        .await?;
    if fetched.status == StatusCode::ACCEPTED.as_u16() {
        let body = serde_json::json!({ "request_id": id, "status": "pending" }).to_string();
        return Ok(json(StatusCode::ACCEPTED, Bytes::from(body)));
    }
    // The upstream does not give it out a second time.
    let kept = Binding {
        answer: Some(fetched.body.to_vec()),
        ..binding
    };
    app.bindings
        .put(ObjectKind::DeferredCompletion, id, kept)
        .await
        .map_err(internal)?;
    Ok(json(StatusCode::OK, fetched.body))
}

fn json(status: StatusCode, body: Bytes) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
}
