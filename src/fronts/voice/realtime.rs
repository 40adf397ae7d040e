//! `/v1/realtime`: a conversation in sound over a WebSocket. Messages pass both ways as they come, text and binary; the key
//! pays by the minute, and what was said of usage is counted.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use parking_lot::Mutex;
use poem::web::websocket::WebSocket;
use poem::{IntoResponse, Request, Response};

use super::Shared;
use super::secrets::caller_of;
use super::talk::{TICKS_A_MINUTE, Talk};
use crate::bindings::ObjectKind;
use crate::engine::ask::{Ask, Route};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::engine::socket::limits;
use crate::fronts::asking::{self, Use};
use crate::fronts::openai::error::error_response;
use crate::fronts::passed::ServiceDialect;
use crate::fronts::pins;
use crate::http::arrival::Arrival;
use crate::http::auth::{authenticate, presented};

const ROUTE: &str = "/v1/realtime";
/// Subprotocols that carry a key, from clients that cannot send headers.
const KEY_PROTOCOLS: [&str; 2] = ["openai-insecure-api-key.", "xai-client-secret."];

/// Answers the request that opens one.
pub async fn realtime(app: &Shared, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    match open(app, &request, &arrival).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

/// The headers with the key that a subprotocol carries, where there is no other.
pub(in crate::fronts) fn with_key(headers: &HeaderMap) -> Cow<'_, HeaderMap> {
    if headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key") {
        return Cow::Borrowed(headers);
    }
    let offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    let key = offered
        .filter_map(|protocol| KEY_PROTOCOLS.iter().find_map(|prefix| protocol.strip_prefix(prefix)))
        .find_map(|key| HeaderValue::try_from(format!("Bearer {key}")).ok());
    match key {
        None => Cow::Borrowed(headers),
        Some(key) => {
            let mut headers = headers.clone();
            headers.insert(header::AUTHORIZATION, key);
            Cow::Owned(headers)
        }
    }
}

/// The client's end, before anything is answered.
///
/// # Errors
/// 400 when the request opens no WebSocket.
pub(in crate::fronts) async fn client_end(request: &Request) -> Result<WebSocket, GatewayError> {
    use poem::FromRequest;
    let socket = WebSocket::from_request_without_body(request).await.map_err(|_| {
        GatewayError::new(
            ErrorKind::InvalidBody,
            format!("{} is a WebSocket: open it with an upgrade.", request.uri().path()),
        )
        .with_code("websocket_expected")
    })?;
    Ok(socket.config(limits()).protocols(["realtime"]))
}

async fn open(app: &Shared, request: &Request, arrival: &Arrival) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, ROUTE, error);
    let config = app.config();
    let headers = with_key(request.headers());
    let of_secret = presented(&headers).map_or(Ok(None), |presented| caller_of(app, presented));
    let caller = match of_secret.inspect_err(refused)? {
        Some(caller) => caller,
        None => authenticate(app, &headers).inspect_err(refused)?,
    };
    let made = async {
        let client = client_end(request).await?;
        let query = Query::of(request.uri().query().unwrap_or_default())?;
        let pin = match &query.conversation {
            None => None,
            Some(id) => {
                let not_found = || {
                    let shown = crate::fronts::members::clip(id);
                    GatewayError::new(ErrorKind::NotFound, format!("Conversation '{shown}' not found."))
                        .with_code("object_not_found")
                        .with_param("conversation_id")
                };
                Some(
                    pins::of_caller(app, &caller, ObjectKind::Conversation, id, not_found)
                        .await?
                        .token,
                )
            }
        };
        let catalogue = app.catalogue.load();
        let resolved = catalogue.resolve(&query.model);
        asking::may_use(&caller, &query.model, resolved.upstream_name)?;
        asking::must_make(&resolved, Use::Realtime)?;
        let route = Route {
            label: ROUTE,
            method: Method::GET,
            path: Cow::Owned(format!(
                "/realtime?model={}{}",
                escaped(resolved.upstream_name),
                query.rest
            )),
        };
        let ask = Ask {
            stream: true,
            expected_ticks: Some(TICKS_A_MINUTE),
            is_repeatable: false,
            headers: asking::forwarded(request.headers(), &config),
            pin,
            ..Ask::new(
                route,
                arrival,
                caller.clone(),
                &query.model,
                &resolved,
                Arc::new(ServiceDialect::default()),
            )
        };
        Ok((client, ask))
    };
    let (client, ask) = made.await.inspect_err(refused)?;
    let (upstream, session) = app.engine.open(ask).await?;
    let talk = Mutex::new(Some(Talk {
        app: app.clone(),
        caller,
        upstream,
        session,
    }));
    let upgraded = client.on_upgrade(move |client| async move {
        let talk = talk.lock().take();
        if let Some(talk) = talk {
            talk.carry(client).await;
        }
    });
    let mut response = upgraded.into_response();
    arrival.sign(&mut response);
    Ok(response)
}

/// What the address says.
struct Query {
    model: String,
    conversation: Option<String>,
    /// Whatever else, to go on.
    rest: String,
}

impl Query {
    fn of(text: &str) -> Result<Query, GatewayError> {
        let mut query = Query {
            model: String::new(),
            conversation: None,
            rest: String::new(),
        };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "model" => query.model = crate::http::decode(value),
                "conversation_id" => {
                    query.conversation = Some(crate::http::decode(value));
                    query.rest.push_str(&format!("&{pair}"));
                }
                _ => query.rest.push_str(&format!("&{pair}")),
            }
        }
        if query.model.is_empty() || query.model.len() > 256 {
            return Err(
                GatewayError::field("model", "Name a model in the address: `?model=grok-voice-latest`.")
                    .with_code("missing"),
            );
        }
        Ok(query)
    }
}

/// A text as it may stand in a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_names_a_model_and_everything_else_goes_on() {
        let query = Query::of("model=grok%2Dvoice&reasoning.effort=low&conversation_id=c1").unwrap();
        assert_eq!(
            (query.model.as_str(), query.conversation.as_deref()),
            ("grok-voice", Some("c1"))
        );
        assert_eq!(query.rest, "&reasoning.effort=low&conversation_id=c1");
        for wrong in ["", "model=", "reasoning.effort=low"] {
            assert_eq!(Query::of(wrong).err().unwrap().http_status(), 400, "{wrong}");
        }
        assert_eq!(escaped("a b&c"), "a%20b%26c");
    }

    #[test]
    fn a_key_may_come_as_a_subprotocol() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("realtime, openai-insecure-api-key.sk-1"),
        );
        assert_eq!(with_key(&headers)[header::AUTHORIZATION], "Bearer sk-1");
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer sk-2"));
        assert_eq!(with_key(&headers)[header::AUTHORIZATION], "Bearer sk-2");
    }
}
