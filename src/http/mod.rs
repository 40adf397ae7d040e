//! The URL map of the public surface, on one screen, and what every answer has in common.

pub mod arrival;
pub mod auth;

use std::sync::Arc;

use http::StatusCode;
use poem::endpoint::{BoxEndpoint, make};
use poem::{Endpoint, EndpointExt, Request, Response, Route, RouteMethod};

use crate::app::App;
use crate::door::health;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::openai::error::error_response;
use crate::fronts::openai::{chat, deferred, models};
use crate::telemetry::metrics;
use arrival::Arrival;

/// Every route there is.
pub fn routes(app: &Arc<App>) -> BoxEndpoint<'static, Response> {
    let chat_app = app.clone();
    let chat = make(move |request: Request| {
        let app = chat_app.clone();
        async move { chat::chat(&app, request).await }
    });
    let deferred_app = app.clone();
    let deferred = make(move |request: Request| {
        let app = deferred_app.clone();
        async move {
            let id = request.raw_path_param("id").unwrap_or_default().to_owned();
            deferred::completion(&app, request, &id).await
        }
    });
    let list_app = app.clone();
    let list = make(move |request: Request| {
        let app = list_app.clone();
        async move { models::list(&app, request).await }
    });
    let model_app = app.clone();
    let model = make(move |request: Request| {
        let app = model_app.clone();
        async move {
            let id = request.raw_path_param("id").map(decode).unwrap_or_default();
            models::one(&app, request, &id).await
        }
    });
    let fallback = app.clone();
    Route::new()
        .at("/v1/chat/completions", RouteMethod::new().post(chat))
        .at("/v1/chat/deferred-completion/:id", RouteMethod::new().get(deferred))
        .at("/v1/models", RouteMethod::new().get(list))
        .at("/v1/models/*id", RouteMethod::new().get(model))
        .at("/livez", health::livez())
        .at("/readyz", health::readyz(app.readiness.clone()))
        .at("/health", health::health())
        .at("/metrics", metrics::endpoint(app.metrics.clone()))
        .around(move |endpoint, request| {
            let app = fallback.clone();
            async move {
                let arrival = Arrival::of(&request, &app);
                let path = request.uri().path().to_owned();
                match endpoint.call(request).await {
                    Ok(response) => Ok(response),
                    Err(error) => Ok(misdirected(&error, &path, &arrival)),
                }
            }
        })
        .map_to_response()
        .boxed()
}

/// The answer to a path or method that there is not.
fn misdirected(error: &poem::Error, path: &str, arrival: &Arrival) -> Response {
    let error = match error.status() {
        StatusCode::NOT_FOUND => GatewayError::new(ErrorKind::NotFound, format!("There is no {path} here.")),
        StatusCode::METHOD_NOT_ALLOWED => GatewayError::new(
            ErrorKind::MethodNotAllowed,
            format!("{path} does not take this method."),
        ),
        status => GatewayError::internal(format!("{path}: {status}: {error}")),
    };
    error_response(&error, &arrival.id.to_string())
}

/// A path segment without its percent-encoding; what does not decode stays as it came.
fn decode(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| raw.to_owned())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn a_model_id_may_come_encoded() {
        assert_eq!(decode("org%2Fmodel-1"), "org/model-1");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%ff"), "%ff");
    }
}
