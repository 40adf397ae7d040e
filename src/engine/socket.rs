//! A WebSocket to the upstream on behalf of a client: found room for, paid for and written down like any other call, for as
//! long as it is open.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::egress::{ProxySpec, RawSocket};
use grok2api_schemas::admin::requests::Outcome;
use grok2api_schemas::ids::TokenId;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::Engine;
use super::ask::{Ask, Caller};
use super::attempt::Failure;
use super::call::Call;
use super::dialect::Told;
use super::error::GatewayError;
use super::failed::Effort;
use super::refused::cut_off;
use super::room::Room;
use super::run::{too_long, unless_cut_off};
use super::usage::Usage;
use crate::providers::UpstreamCall;
use crate::telemetry::AttemptOutcome;

/// The upstream's end.
pub type UpstreamSocket = WebSocketStream<RawSocket>;

/// The largest message in either direction, bytes.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Limits of a WebSocket's messages.
pub fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// An open WebSocket's account.
pub struct Session {
    call: Call,
    caller: Caller,
    engine: Arc<Engine>,
}

impl Session {
    /// Pays for what goes on; answers whether the key could.
    pub async fn pay(&mut self, ticks: u64) -> bool {
        let is_paid = self.engine.pay(&self.caller, ticks).await;
        if is_paid {
            self.call.paid_beside = self.call.paid_beside.saturating_add(ticks);
        }
        is_paid
    }

    /// Waits until it has to be broken off, and says why: its slots are of a hard limit, and nobody may count them any more.
    pub fn cut_off(&self) -> impl Future<Output = GatewayError> + use<> {
        let slots = self.call.hard_slots();
        async move {
            match slots {
                Some(slots) => slots.cut_off().await,
                None => std::future::pending().await,
            }
            cut_off()
        }
    }

    /// The token that serves it.
    pub fn token(&self) -> Option<TokenId> {
        self.call.pick.as_ref().map(|pick| pick.token.id)
    }

    /// Bytes went to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.call.bytes_out += bytes as u64;
    }

    /// It is over: `ticks` is what it cost beside what was paid, `tokens` what it used.
    pub fn end(mut self, outcome: Outcome, error: Option<&GatewayError>, tokens: u64, ticks: u64) {
        if let Some(error) = error {
            self.call.note_error(error);
        }
        let told = Told {
            usage: Some(Usage {
                total: Some(tokens),
                cost_in_usd_ticks: Some(ticks),
                ..Usage::default()
            }),
            ..Told::default()
        };
        self.call.finish(outcome, told);
    }
}

impl Engine {
    /// Opens a WebSocket.
    ///
    /// # Errors
    /// What the client is told instead.
    pub async fn open(self: &Arc<Self>, ask: Ask) -> Result<(UpstreamSocket, Session), GatewayError> {
        let mut call = Call::begin(self.clone(), &ask);
        match self.open_any(&mut call, &ask).await {
            Ok(socket) => {
                let session = Session {
                    call,
                    caller: ask.caller,
                    engine: self.clone(),
                };
                Ok((socket, session))
            }
            Err(error) => {
                call.fail(&error);
                Err(error)
            }
        }
    }

    async fn open_any(self: &Arc<Self>, call: &mut Call, ask: &Ask) -> Result<UpstreamSocket, GatewayError> {
        let settings = self.settings();
        let first_byte = self.timeouts(&ask.upstream_model, &settings.timeouts).first_byte;
        call.deadline = Instant::now() + first_byte;
        let model = self.offered_model(call, ask, settings.max_wait).await?;
        call.reserved = self.reservation(ask, &settings);
        (call.key_lease, call.spend_lease) = self.take_from_key(call, ask).await?;
        let mut effort = Effort::default();
        loop {
            let Room { pick, lease } = match self.find_room(call, ask, model, &effort.tried).await {
                Ok(room) => room,
                Err(nowhere) => return Err(effort.told(nowhere)),
            };
            let left = call.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(effort.last.take().unwrap_or_else(too_long));
            }
            call.pick = Some(pick);
            call.team_lease = Some(lease);
            let began_us = call.elapsed_us();
            let slots = call.hard_slots();
            let attempt = tokio::time::timeout(left, self.open_one(call, ask));
            let Some(tried) = unless_cut_off(slots.as_ref(), attempt).await else {
                return Err(call.broken_off(began_us));
            };
            let tried = tried.unwrap_or(Err(Failure::TimedOut("no WebSocket in time")));
            let took_us = call.elapsed_us().saturating_sub(began_us);
            call.upstream_us += took_us;
            match tried {
                Ok(socket) => {
                    let status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
                    call.attempted(began_us, Some(status), Outcome::Success, AttemptOutcome::Ok, None);
                    call.answered(status, took_us);
                    return Ok(socket);
                }
                Err(failure) => {
                    self.after_failure(call, ask, &mut effort, failure, began_us, &settings)
                        .await?
                }
            }
        }
    }

    async fn open_one(&self, call: &mut Call, ask: &Ask) -> Result<UpstreamSocket, Failure> {
        let Some(token) = call.pick.as_ref().map(|pick| pick.token.clone()) else {
            return Err(Failure::Unsendable("no token was chosen".to_owned()));
        };
        let proxy = token
            .record()
            .proxy
            .as_deref()
            .and_then(|url| ProxySpec::parse(url).ok());
        let id = ask.arrival.id.to_string();
        let upstream = UpstreamCall {
            path: &ask.path,
            method: &ask.method,
            body: bytes::Bytes::new(),
            content_type: None,
            headers: &ask.headers,
            stream: false,
            request_id: &id,
        };
        let mut opening = self.provider.opening(&upstream, &token).map_err(Failure::Unsendable)?;
        let headers = opening.headers_mut();
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(http::header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if let Ok(key) = HeaderValue::try_from(generate_key()) {
            headers.insert(http::header::SEC_WEBSOCKET_KEY, key);
        }
        let socket = self
            .provider
            .socket(proxy.as_ref())
            .await
            .map_err(Failure::NoConnection)?;
        if !self.confirm(call) {
            return Err(Failure::Lapsed);
        }
        match client_async_with_config(opening, socket, Some(limits())).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(self.refused_opening(ask, &response)),
            Err(error) => Err(Failure::Broken {
                status: None,
                what: format!("no WebSocket: {error}"),
            }),
        }
    }

    /// Both leases count from here on; answers whether they are still good.
    fn confirm(&self, call: &mut Call) -> bool {
        let is_good = call
            .team_lease
            .as_mut()
            .is_some_and(|lease| lease.confirm_send().is_ok());
        if is_good && !call.sent {
            call.count_for_key();
        }
        is_good
    }

    fn refused_opening(&self, ask: &Ask, response: &http::Response<Option<Vec<u8>>>) -> Failure {
        let status = response.status().as_u16();
        let none = HeaderMap::new();
        let headers = if response.headers().is_empty() {
            &none
        } else {
            response.headers()
        };
        let body = response.body().as_deref().unwrap_or_default();
        let verdict = self
            .provider
            .classify(status, headers, body, &ask.model, &ask.upstream_model);
        Failure::Refused {
            status: Some(status),
            verdict: Box::new(verdict),
        }
    }
}

/// How long a message may take to be handed over, in either direction.
pub const SEND_WITHIN: Duration = Duration::from_secs(30);
