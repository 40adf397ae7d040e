//! `POST /v1/documents/search`: collections are made outside of this gateway and lie with one team each. Where one lies is
//! found out by asking, and remembered.

use std::sync::Arc;

use http::Method;
use poem::{Request, Response};
use serde_json::Value;

use super::{ServiceDialect, json_response, must_be_open};
use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::door::body::read_body;
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Route};
use crate::engine::direct::Direct;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::answering::respond;
use crate::fronts::json::Kind;
use crate::fronts::members::{Members, missing};
use crate::fronts::openai::error::error_response;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const ROUTE: &str = "/v1/documents/search";
/// Whoever may search at all may search every collection: they belong to the operator.
const EVERYBODY: &str = "*";
/// How long it is remembered where a collection lies.
const LIFE_MS: u64 = 24 * 60 * 60 * 1000;
/// What a search costs, USD ticks of 1e-10: xAI's list price of $2.50 for a thousand.
const TICKS_A_SEARCH: u64 = 25_000_000;
/// Teams that are asked for a collection that nobody knows, at most.
const TEAMS: usize = 16;

/// Answers a search.
pub async fn search(app: &Arc<App>, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(app: &Arc<App>, mut request: Request, arrival: &Arrival) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, ROUTE, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        must_be_open(&app.config(), ROUTE)?;
        let body = read_body(&mut request, &app.body_limits()).await?;
        let members = Members::read(&body)?;
        members.must_be("query", &[Kind::String])?;
        members.must_be("source", &[Kind::Object])?;
        if members.kind("query").is_none() {
            return Err(missing("query", "`query` is required."));
        }
        let source: Value = members
            .raw("source")
            .and_then(|raw| serde_json::from_str(raw).ok())
            .ok_or_else(|| missing("source", "`source` is required: it names the collections."))?;
        let collections: Vec<String> = source["collection_ids"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect();
        Ok((body, collections))
    };
    let (body, collections) = made.await.inspect_err(refused)?;
    let known = match collections.first() {
        Some(id) => app
            .bindings
            .get(ObjectKind::Collection, id)
            .await
            .map_err(|error| GatewayError::internal(error.to_string()))?
            .filter(|binding| binding.expires_ms > arrival.time_ms && app.pool.find(binding.token).is_some()),
        None => None,
    };
    let ask = Ask {
        bytes_in: body.len() as u64,
        body: body.clone(),
        pin: known.as_ref().map(|binding| binding.token),
        expected_ticks: Some(TICKS_A_SEARCH),
        ..Ask::of_service(
            Route::post(ROUTE, "/documents/search"),
            arrival,
            caller,
            "documents",
            Arc::new(ServiceDialect::default()),
        )
    };
    match app.engine.run(ask).await {
        Ok(answer) => {
            if let Answer::Whole {
                served_by: Some(token), ..
            } = &answer
                && known.is_none()
            {
                remember(app, arrival, &collections, *token).await;
            }
            Ok(respond(answer, arrival))
        }
        Err(error) if error.kind == ErrorKind::NotFound && !collections.is_empty() => {
            let ask = Direct {
                method: Method::POST,
                body,
                ..Direct::get("/documents/search")
            };
            for token in app.pool.of_teams(TEAMS) {
                if let Ok(found) = app.engine.direct(token, &ask, arrival.id).await {
                    remember(app, arrival, &collections, token).await;
                    return Ok(json_response(found.body, arrival));
                }
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

async fn remember(app: &App, arrival: &Arrival, collections: &[String], token: grok2api_schemas::ids::TokenId) {
    for id in collections {
        let binding = Binding {
            token,
            owner: EVERYBODY.to_owned(),
            expires_ms: arrival.time_ms + LIFE_MS,
            answer: None,
        };
        if let Err(error) = app.bindings.put(ObjectKind::Collection, id, binding).await {
            tracing::debug!(%error, "where a collection lies is not remembered");
        }
    }
}
