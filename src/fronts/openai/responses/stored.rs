//! Responses that the upstream keeps: read, listed by their input, deleted — by whoever made them, through any node.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use poem::{Request, Response};

use super::not_found;
use crate::app::App;
use crate::bindings::ObjectKind;
use crate::engine::direct::Direct;
use crate::engine::error::GatewayError;
use crate::fronts::openai::error::error_response;
use crate::fronts::pins;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// What is asked of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// All of it.
    Read,
    /// What it was asked.
    InputItems,
    /// To forget it.
    Delete,
}

impl Stored {
    const fn label(self) -> &'static str {
        match self {
            Stored::Read | Stored::Delete => "/v1/responses/{id}",
            Stored::InputItems => "/v1/responses/{id}/input_items",
        }
    }
}

/// Answers `GET` and `DELETE /v1/responses/{id}` and `GET /v1/responses/{id}/input_items`.
pub async fn stored(app: &Arc<App>, request: Request, id: &str, wanted: Stored) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request.headers(), request.uri().query(), &arrival, id, wanted).await {
        Ok(body) => {
            let mut response = Response::builder()
                .status(StatusCode::OK)
                .header(header::CONTENT_TYPE, "application/json")
                .body(body);
            arrival.sign(&mut response);
            response
        }
        Err(error) => {
            app.refused(&arrival, wanted.label(), &error);
            error_response(&error, &arrival.id.to_string())
        }
    }
}

async fn answer(
    app: &Arc<App>,
    headers: &HeaderMap,
    query: Option<&str>,
    arrival: &Arrival,
    id: &str,
    wanted: Stored,
) -> Result<Bytes, GatewayError> {
    let caller = authenticate(app, headers)?;
    let binding = pins::of_caller(app, &caller, ObjectKind::Response, id, || not_found(id)).await?;
    let mut path = format!("/responses/{id}");
    if wanted == Stored::InputItems {
        path.push_str("/input_items");
    }
    if let Some(query) = query.filter(|query| !query.is_empty() && wanted != Stored::Delete) {
        path.push('?');
        path.push_str(query);
    }
    let ask = Direct {
        method: match wanted {
            Stored::Delete => Method::DELETE,
            Stored::Read | Stored::InputItems => Method::GET,
        },
        ..Direct::get(&path)
    };
    Ok(app.engine.direct(binding.token, &ask, arrival.id).await?.body)
}
