//! Responses over a WebSocket: each `response.create` is a call like any other, with the key's limits, over whichever token
//! can serve, and its events come as messages. What a response that is not kept builds on is remembered as long as the
//! socket is open.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use grok2api_schemas::ids::RequestId;
use http::HeaderMap;
use poem::web::websocket::{CloseCode, Message, WebSocketStream};
use poem::{IntoResponse, Request, Response};
use serde_json::{Map, Value, json};

use super::{Making, Prepared, prepare};
use crate::app::App;
use crate::engine::answer::Answer;
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::engine::socket::SEND_WITHIN;
use crate::fronts::openai::error::{error_json, error_response};
use crate::fronts::sse::Splitter;
use crate::fronts::voice::realtime::{client_end, with_key};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// A socket is closed after so long without a turn.
const IDLE: Duration = Duration::from_secs(25 * 60);
/// The largest event of a response, as for streams over HTTP.
const MAX_EVENT: usize = 64 << 20;
/// What is remembered of one conversation, at most, bytes of JSON.
const MAX_REMEMBERED: usize = 8 << 20;

/// Answers the request that opens one.
pub async fn responses_socket(app: &Arc<App>, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    let opened = async {
        let caller = authenticate(app, &with_key(request.headers()))?;
        Ok((client_end(&request).await?, caller))
    };
    match opened.await {
        Ok((client, caller)) => {
            let talk = Talk {
                app: app.clone(),
                caller,
                headers: request.headers().clone(),
                arrival: arrival.clone(),
                last: None,
            };
            let mut response = client
                .on_upgrade(move |client| async move { talk.carry(client).await })
                .into_response();
            arrival.sign(&mut response);
            response
        }
        Err(error) => {
            app.refused(&arrival, Making::Response.label(), &error);
            error_response(&error, &arrival.id.to_string())
        }
    }
}

/// A response that the upstream did not keep, with everything before it.
struct Remembered {
    id: String,
    items: Vec<Value>,
}

struct Talk {
    app: Arc<App>,
    caller: Caller,
    headers: HeaderMap,
    arrival: Arrival,
    last: Option<Remembered>,
}

/// The client is gone.
struct Gone;

impl Talk {
    async fn carry(mut self, mut client: WebSocketStream) {
        let code = loop {
            let message = tokio::select! {
                () = self.app.leaving.cancelled() => break CloseCode::Restart,
                () = tokio::time::sleep(IDLE) => break CloseCode::Normal,
                message = client.next() => message,
            };
            let done = match message {
                None | Some(Ok(Message::Close(_))) => return,
                Some(Err(_)) => break CloseCode::Protocol,
                Some(Ok(Message::Text(text))) => self.turn(text, &mut client).await,
                Some(Ok(Message::Binary(_))) => {
                    let error = GatewayError::new(ErrorKind::InvalidBody, "Send text: events in JSON.");
                    send(&mut client, fault(&error)).await
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            };
            if done.is_err() {
                return;
            }
        };
        let goodbye = client.send(Message::close_with(code, ""));
        let _ = tokio::time::timeout(SEND_WITHIN, goodbye).await;
    }

    async fn turn(&mut self, text: String, client: &mut WebSocketStream) -> Result<(), Gone> {
        // Each turn is a request of its own in the log.
        let arrival = Arrival {
            id: RequestId::generate(),
            received: self.app.clock.now(),
            time_ms: self.app.clock.wall().0,
            ..self.arrival.clone()
        };
        let refused = |error: &GatewayError| self.app.refused(&arrival, Making::Response.label(), error);
        let (body, input) = match self.body_of(&text) {
            Ok(made) => made,
            Err(error) => {
                refused(&error);
                return send(client, fault(&error)).await;
            }
        };
        let prepared = prepare(&self.app, &self.caller, &self.headers, &arrival, Making::Response, body).await;
        let Prepared { ask, .. } = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                refused(&error);
                return send(client, fault(&error)).await;
            }
        };
        match self.app.engine.run(ask).await {
            Ok(Answer::Stream { mut body, .. }) => {
                let mut splitter = Splitter::new(MAX_EVENT);
                while let Some(Ok(chunk)) = body.next().await {
                    splitter.feed(chunk);
                    while let Ok(Some(event)) = splitter.next_event() {
                        if let Some(data) = event.data() {
                            self.remember(data, &input);
                            let text = String::from_utf8_lossy(data).into_owned();
                            send(client, text).await?;
                        }
                    }
                }
                Ok(())
            }
            Ok(Answer::Whole { .. }) => {
                let error = GatewayError::internal("a stream was asked for, and none came");
                send(client, fault(&error)).await
            }
            Err(error) => send(client, fault(&error)).await,
        }
    }

    /// The request of an event, and its whole input where the upstream is to keep nothing.
    fn body_of(&self, text: &str) -> Result<(Bytes, Option<Vec<Value>>), GatewayError> {
        let malformed = |what: String| GatewayError::new(ErrorKind::InvalidBody, what);
        let event: Value = serde_json::from_str(text)
            .map_err(|error| malformed(format!("The message is not valid JSON: {error}.")))?;
        let Value::Object(mut event) = event else {
            return Err(malformed("The message must be a JSON object.".to_owned()));
        };
        match event.remove("type") {
            Some(Value::String(kind)) if kind == "response.create" => {}
            _ => {
                return Err(GatewayError::field(
                    "type",
                    "`type` must be response.create: nothing else is taken here.",
                ));
            }
        }
        // Either form is in use.
        let mut request: Map<String, Value> = match event.remove("response") {
            Some(Value::Object(inner)) => inner,
            _ => event,
        };
        if request.get("generate") == Some(&Value::Bool(false)) {
            return Err(GatewayError::field(
                "generate",
                "Nothing is loaded ahead here: leave `generate` out.",
            ));
        }
        request.insert("stream".to_owned(), true.into());
        if request.get("store") != Some(&Value::Bool(false)) {
            return Ok((Bytes::from(Value::Object(request).to_string()), None));
        }
        let mut items = Vec::new();
        let previous = request.get("previous_response_id").and_then(Value::as_str);
        if let (Some(last), Some(previous)) = (&self.last, previous)
            && last.id == previous
        {
            items.clone_from(&last.items);
            request.remove("previous_response_id");
        }
        match request.remove("input") {
            Some(Value::String(text)) => items.push(json!({"role": "user", "content": text})),
            Some(Value::Array(more)) => items.extend(more),
            Some(other) => {
                request.insert("input".to_owned(), other);
                return Ok((Bytes::from(Value::Object(request).to_string()), None));
            }
            None => {}
        }
        request.insert("input".to_owned(), items.clone().into());
        Ok((Bytes::from(Value::Object(request).to_string()), Some(items)))
    }

    /// Remembers a response that is complete, and what it was asked.
    fn remember(&mut self, data: &[u8], input: &Option<Vec<Value>>) {
        let Some(input) = input else { return };
        let named = |word: &[u8]| memchr::memmem::find(data, word).is_some();
        if !named(b"\"response.completed\"") && !named(b"\"response.incomplete\"") {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Value>(data) else {
            return;
        };
        if !matches!(
            event["type"].as_str(),
            Some("response.completed" | "response.incomplete")
        ) {
            return;
        }
        let response = &event["response"];
        let (Some(id), Some(output)) = (response["id"].as_str(), response["output"].as_array()) else {
            return;
        };
        let items: Vec<Value> = input.iter().chain(output).cloned().collect();
        let size: usize = items.iter().map(|item| item.to_string().len()).sum();
        self.last = (size <= MAX_REMEMBERED).then(|| Remembered {
            id: id.to_owned(),
            items,
        });
    }
}

async fn send(client: &mut WebSocketStream, text: String) -> Result<(), Gone> {
    match tokio::time::timeout(SEND_WITHIN, client.send(Message::Text(text))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

/// The message that a turn ends with when it fails.
fn fault(error: &GatewayError) -> String {
    let told: Value = serde_json::from_slice(&error_json(error)).unwrap_or_default();
    json!({"type": "error", "status": error.http_status(), "error": told["error"]}).to_string()
}
