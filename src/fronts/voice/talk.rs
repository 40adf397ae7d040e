//! A conversation over two WebSockets, the client's and the upstream's.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use grok2api_schemas::admin::requests::Outcome;
use poem::web::websocket::{CloseCode, Message, WebSocketStream};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use super::Shared;
use crate::bindings::{Binding, ObjectKind};
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::engine::socket::{SEND_WITHIN, Session, UpstreamSocket};
use crate::fronts::openai::error::error_json;

/// USD ticks for a minute: $0.08 (`xai-api.md` §13).
pub(super) const TICKS_A_MINUTE: u64 = 800_000_000;
const MINUTE: Duration = Duration::from_secs(60);
/// A socket over which nothing goes for so long is closed: the upstream forgets the conversation then.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// How long a conversation can be taken up again.
const CONVERSATION_LIFE_MS: u64 = 60 * 60 * 1000;

/// A conversation under way.
pub(super) struct Talk {
    pub app: Shared,
    pub caller: Caller,
    pub upstream: UpstreamSocket,
    pub session: Session,
}

/// How it ended.
struct End {
    outcome: Outcome,
    error: Option<GatewayError>,
    code: CloseCode,
}

impl End {
    fn well() -> End {
        End {
            outcome: Outcome::Success,
            error: None,
            code: CloseCode::Normal,
        }
    }

    fn gone() -> End {
        End {
            outcome: Outcome::ClientGone,
            error: None,
            code: CloseCode::Away,
        }
    }

    fn failed(outcome: Outcome, error: GatewayError, code: CloseCode) -> End {
        End {
            outcome,
            error: Some(error),
            code,
        }
    }
}

/// What of an event counts here.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    response: Option<Answered>,
    #[serde(default)]
    conversation: Option<Named>,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    usage: Option<Used>,
}

#[derive(Deserialize)]
struct Used {
    #[serde(default)]
    total_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    id: Option<String>,
}

impl Talk {
    /// Carries messages until either end closes, the key can pay no more, or this node stops.
    pub async fn carry(mut self, client: WebSocketStream) {
        let (mut out, mut from) = client.split();
        let began = Instant::now();
        let mut paid_until = began + MINUTE;
        let mut last = began;
        let mut tokens = 0_u64;
        let mut cut_off = std::pin::pin!(self.session.cut_off());
        let end = loop {
            let due = paid_until.min(last + IDLE);
            tokio::select! {
                () = self.app.leaving.cancelled() => {
                    let error = GatewayError::new(ErrorKind::ShuttingDown, "This node is shutting down.");
                    break End::failed(Outcome::ShuttingDown, error, CloseCode::Restart);
                }
                error = &mut cut_off => {
                    break End::failed(Outcome::StreamBroken, error, CloseCode::Again);
                }
                message = from.next() => {
                    last = Instant::now();
                    match message {
                        None => break End::gone(),
                        Some(Err(error)) => {
                            let error = GatewayError::new(ErrorKind::InvalidBody, "The WebSocket's client broke its rules or sent too much.")
                                .with_detail(error.to_string());
                            break End::failed(Outcome::BadRequest, error, CloseCode::Protocol);
                        }
                        Some(Ok(Message::Close(_))) => break End::well(),
                        Some(Ok(message)) => {
                            let Some(message) = to_upstream(message) else { continue };
                            match tokio::time::timeout(SEND_WITHIN, self.upstream.send(message)).await {
                                Ok(Ok(())) => {}
                                _ => break broken("The upstream takes no more messages."),
                            }
                        }
                    }
                }
                message = self.upstream.next() => {
                    last = Instant::now();
                    match message {
                        None | Some(Ok(tungstenite::Message::Close(_))) => break End::well(),
                        Some(Err(error)) => {
                            let mut end = broken("The upstream's WebSocket broke.");
                            end.error = end.error.map(|told| told.with_detail(error.to_string()));
                            break end;
                        }
                        Some(Ok(message)) => {
                            if let tungstenite::Message::Text(text) = &message {
                                tokens = tokens.saturating_add(self.note(text).await);
                            }
                            let Some((message, bytes)) = to_client(message) else { continue };
                            self.session.sent(bytes);
                            match tokio::time::timeout(SEND_WITHIN, out.send(message)).await {
                                Ok(Ok(())) => {}
                                _ => break End::gone(),
                            }
                        }
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    let now = Instant::now();
                    if now >= last + IDLE {
                        break End::well();
                    }
                    if now >= paid_until {
                        if !self.session.pay(TICKS_A_MINUTE).await {
                            let error = GatewayError::new(ErrorKind::ClientBudget, "This key's budget for the day is used up.");
                            break End::failed(Outcome::ClientBudget, error, CloseCode::Policy);
                        }
                        paid_until += MINUTE;
                    }
                }
            }
        };
        // The first minute was reserved: what of it was used is what it cost.
        let first = began.elapsed().min(MINUTE).as_millis() as u64;
        let ticks = TICKS_A_MINUTE * first / 60_000;
        let goodbye = async {
            if let Some(error) = &end.error {
                let told = String::from_utf8_lossy(&error_json(error)).into_owned();
                let event = format!("{{\"type\":\"error\",{}", told.strip_prefix('{').unwrap_or("}"));
                let _ = out.send(Message::Text(event)).await;
            }
            let _ = out.send(Message::close_with(end.code, "")).await;
            let _ = out.close().await;
            let _ = self.upstream.close(None).await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), goodbye).await;
        self.session.end(end.outcome, end.error.as_ref(), tokens, ticks);
    }

    /// Takes note of an event of the upstream: tokens it tells of, and the conversation that may be taken up again.
    async fn note(&mut self, text: &str) -> u64 {
        if !text.contains("response.done") && !text.contains("conversation.created") {
            return 0;
        }
        let Ok(event) = serde_json::from_str::<Event>(text) else {
            return 0;
        };
        if event.kind == "conversation.created"
            && let (Some(id), Some(token)) = (event.conversation.and_then(|named| named.id), self.session.token())
        {
            let binding = Binding {
                token,
                owner: self.caller.owner(),
                expires_ms: self.app.clock.wall().0 + CONVERSATION_LIFE_MS,
                answer: None,
            };
            if let Err(error) = self.app.bindings.put(ObjectKind::Conversation, &id, binding).await {
                tracing::debug!(%error, "a conversation is not remembered");
            }
        }
        let used = event.response.and_then(|response| response.usage);
        used.and_then(|used| used.total_tokens).unwrap_or(0)
    }
}

fn broken(message: &'static str) -> End {
    End::failed(
        Outcome::StreamBroken,
        GatewayError::new(ErrorKind::UpstreamFailed, message),
        CloseCode::Error,
    )
}

/// Pings are answered on either side for itself.
fn to_upstream(message: Message) -> Option<tungstenite::Message> {
    match message {
        Message::Text(text) => Some(tungstenite::Message::text(text)),
        Message::Binary(bytes) => Some(tungstenite::Message::binary(bytes)),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
    }
}

fn to_client(message: tungstenite::Message) -> Option<(Message, usize)> {
    match message {
        tungstenite::Message::Text(text) => {
            let bytes = text.len();
            Some((Message::Text(text.to_string()), bytes))
        }
        tungstenite::Message::Binary(binary) => {
            let bytes = binary.len();
            Some((Message::Binary(binary.to_vec()), bytes))
        }
        _ => None,
    }
}
