//! One call upstream: connect, check the lease on the connected socket, send, and read up to the point from which on
//! nothing can be retried.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use grok2api_actors::egress::{
    ConnectError, ConnectErrorKind, Connected, Exchange, ProxySpec, SendFailure, UpstreamBody,
};
use http::HeaderMap;
use tokio::time::Instant;

use super::Engine;
use super::ask::Ask;
use super::call::Call;
use super::dialect::{Relay, Step, Told};
use super::settings::Timeouts;
use crate::providers::{UpstreamCall, Verdict};

/// The largest error body that is read.
const ERROR_BODY: usize = 64 << 10;
/// How long an error body may take.
const ERROR_BODY_WITHIN: Duration = Duration::from_secs(10);
/// The least time between two looks at whether a request head is written.
const LOOK_LEAST: Duration = Duration::from_millis(5);
/// The largest answer in one piece.
const ANSWER_BODY: usize = 256 << 20;

/// An answer that has begun.
pub(super) enum Begun {
    /// All of it.
    Whole {
        status: u16,
        headers: HeaderMap,
        body: Bytes,
        told: Told,
    },
    /// Its first events; the rest follows.
    Stream {
        status: u16,
        headers: HeaderMap,
        body: UpstreamBody,
        relay: Box<dyn Relay>,
        first: Vec<Step>,
    },
}

/// An attempt that came to nothing before the answer began.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection: nothing was sent.
    NoConnection(ConnectError),
    /// The lease ran out before it could be used: nothing was sent.
    Lapsed,
    /// The request cannot be put on the wire.
    Unsendable(String),
    /// The upstream said no.
    Refused { status: Option<u16>, verdict: Box<Verdict> },
    /// No answer in time. It may have been billed.
    TimedOut(&'static str),
    /// The connection broke, or the answer makes no sense. It may have been billed.
    Broken { status: Option<u16>, what: String },
    /// A kept connection broke before anything came back: most likely the upstream closed it in the moment that the
    /// request was written. It may have been billed.
    Stale(String),
    /// The upstream says that it did not act on what it was sent: it cost nothing, and may be sent again as a new call.
    Unprocessed(String),
}

impl Engine {
    /// Makes the call of `call.pick` under `call.team_lease`.
    pub(super) async fn attempt(&self, call: &mut Call, ask: &Ask, timeouts: &Timeouts) -> Result<Begun, Failure> {
        let Some(token) = call.pick.as_ref().map(|pick| pick.token.clone()) else {
            return Err(Failure::Unsendable("no token was chosen".to_owned()));
        };
        let proxy = token
            .record()
            .proxy
            .as_deref()
            .and_then(|url| ProxySpec::parse(url).ok());
        let connections = self.provider.connections(proxy.as_ref());
        let id = ask.arrival.id.to_string();
        let is_kept = |call: &Call| call.pick.as_ref().is_none_or(|pick| !pick.team.record().zdr);
        let body = match ask.unkept {
            Some(edit) if !is_kept(call) => edit(&ask.body),
            _ => ask.body.clone(),
        };
        let upstream = UpstreamCall {
            path: &ask.path,
            method: &ask.method,
            body,
            content_type: ask.content_type.as_ref(),
            headers: &ask.headers,
            stream: ask.stream,
            request_id: &id,
        };
        let request = self.provider.request(&upstream, &token).map_err(Failure::Unsendable)?;
        let silence = if ask.stream {
            timeouts.first_byte
        } else {
            timeouts.answer
        };
        let began = Instant::now();
        let answer_by = began + silence;

        let connected = connections.connect().await.map_err(Failure::NoConnection)?;
        let connected = self.check_leases(call, connected)?;
        let confirmed = Instant::now();
        let exchange = match self.head(call, connected, request, confirmed, answer_by).await {
            Ok(exchange) => exchange,
            Err(Unanswered::NotSent(request)) => {
                // A kept connection had gone stale; the same lease is good for a new one, for nothing was written. But it
                // counts from the moment it was confirmed: what comes to the upstream later than D needs another.
                let connected = connections.connect_anew().await.map_err(Failure::NoConnection)?;
                if confirmed.elapsed() > self.settings().delivery_slack {
                    return Err(Failure::Lapsed);
                }
                match self.head(call, connected, *request, confirmed, answer_by).await {
                    Ok(exchange) => exchange,
                    Err(Unanswered::NotSent(_)) => {
                        return Err(Failure::NoConnection(ConnectError {
                            kind: ConnectErrorKind::Refused,
                            message: "the upstream closed a new connection before the request".to_owned(),
                        }));
                    }
                    Err(Unanswered::Failed(failure)) => return Err(failure),
                }
            }
            Err(Unanswered::Failed(failure)) => return Err(failure),
        };
        self.read_on(ask, exchange, answer_by, timeouts).await
    }

    /// The last check before the head of the request is handed over.
    fn check_leases(&self, call: &mut Call, connected: Connected) -> Result<Connected, Failure> {
        let Some(lease) = call.team_lease.as_mut() else {
            return Err(Failure::Lapsed);
        };
        lease.confirm_send().map_err(|_| Failure::Lapsed)?;
        if !call.sent {
            call.count_for_key();
        }
        Ok(connected)
    }

    async fn head(
        &self,
        call: &mut Call,
        connected: Connected,
        request: http::Request<http_body_util::Full<Bytes>>,
        confirmed: Instant,
        answer_by: Instant,
    ) -> Result<Exchange, Unanswered> {
        let (reused, written) = (connected.is_reused(), connected.written());
        let slack = self.settings().delivery_slack.max(LOOK_LEAST);
        let mut sending = std::pin::pin!(connected.send(request));
        let mut look_at = Some(confirmed + slack);
        let answered = loop {
            let until = look_at.map_or(answer_by, |look_at| look_at.min(answer_by));
            let answered = tokio::time::timeout_at(until, &mut sending).await;
            if let (Some(at), true) = (written.at(), look_at.is_some()) {
                look_at = None;
                if let Some(lease) = call.team_lease.as_mut() {
                    lease.written(at);
                }
            }
            if answered.is_ok() || until >= answer_by {
                break answered;
            }
            // A head that is still in our hands is looked at again: once it goes out, it counts anew.
            look_at = look_at.map(|look_at| look_at + slack);
        };
        match answered {
            Err(_) => Err(Unanswered::Failed(Failure::TimedOut("no answer"))),
            Ok(Ok(exchange)) => Ok(exchange),
            Ok(Err(SendFailure::NotSent(request))) => Err(Unanswered::NotSent(request)),
            Ok(Err(SendFailure::Unprocessed(what))) => Err(Unanswered::Failed(Failure::Unprocessed(what))),
            Ok(Err(SendFailure::Broken(what))) if reused => Err(Unanswered::Failed(Failure::Stale(format!(
                "a kept connection broke: {what}"
            )))),
            Ok(Err(SendFailure::Broken(what))) => Err(Unanswered::Failed(Failure::Broken {
                status: None,
                what: format!("the connection broke: {what}"),
            })),
        }
    }

    async fn read_on(
        &self,
        ask: &Ask,
        exchange: Exchange,
        answer_by: Instant,
        timeouts: &Timeouts,
    ) -> Result<Begun, Failure> {
        let Exchange { head, mut body, .. } = exchange;
        let status = head.status.as_u16();
        if !head.status.is_success() {
            let text = read_error(&mut body).await;
            let verdict = self
                .provider
                .classify(status, &head.headers, &text, &ask.model, &ask.upstream_model);
            return Err(Failure::Refused {
                status: Some(status),
                verdict: Box::new(verdict),
            });
        }
        let is_events = head
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        if ask.stream && is_events {
            return self.first_events(ask, status, head.headers, body, answer_by).await;
        }
        let text = read_whole(&mut body, timeouts.idle, status).await?;
        if ask.is_binary {
            let told = ask.dialect.read_answer(&text);
            return Ok(Begun::Whole {
                status,
                headers: head.headers,
                body: text,
                told,
            });
        }
        let looks_like_json = text.trim_ascii_start().first() == Some(&b'{');
        if looks_like_json
            && let Some(verdict) = self
                .provider
                .classify_event(None, &text, &ask.model, &ask.upstream_model)
        {
            return Err(Failure::Refused {
                status: Some(status),
                verdict: Box::new(verdict),
            });
        }
        if ask.stream && !ask.deferred {
            return Err(Failure::Broken {
                status: Some(status),
                what: "a stream was asked for, and none came".to_owned(),
            });
        }
        if !looks_like_json {
            return Err(Failure::Broken {
                status: Some(status),
                what: "the answer is not a JSON object".to_owned(),
            });
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err() {
            return Err(Failure::Broken {
                status: Some(status),
                what: "the answer is broken JSON".to_owned(),
            });
        }
        let told = ask.dialect.read_answer(&text);
        Ok(Begun::Whole {
            status,
            headers: head.headers,
            body: text,
            told,
        })
    }

    /// Reads until the answer itself begins: a failure that the upstream reports inside a 200 can still be retried then.
    async fn first_events(
        &self,
        ask: &Ask,
        status: u16,
        headers: HeaderMap,
        mut body: UpstreamBody,
        answer_by: Instant,
    ) -> Result<Begun, Failure> {
        let provider = self.provider.clone();
        let (model, upstream_model) = (ask.model.clone(), ask.upstream_model.clone());
        let mut relay = ask.dialect.relay(Box::new(move |name, data| {
            provider.classify_event(name, data, &model, &upstream_model)
        }));
        let mut steps = Vec::new();
        loop {
            match tokio::time::timeout_at(answer_by, body.data()).await {
                Err(_) => return Err(Failure::TimedOut("no event")),
                Ok(Some(Ok(chunk))) => relay.push(chunk, &mut steps),
                Ok(Some(Err(_))) => relay.end(false, &mut steps),
                Ok(None) => relay.end(true, &mut steps),
            }
            if relay.has_begun() {
                return Ok(Begun::Stream {
                    status,
                    headers,
                    body,
                    relay,
                    first: steps,
                });
            }
            match steps.pop() {
                Some(Step::Fault(verdict)) => {
                    return Err(Failure::Refused {
                        status: Some(status),
                        verdict,
                    });
                }
                Some(Step::Cut) => {
                    return Err(Failure::Broken {
                        status: Some(status),
                        what: "the stream ended before it began".to_owned(),
                    });
                }
                Some(Step::TooLarge(limit)) => {
                    return Err(Failure::Broken {
                        status: Some(status),
                        what: format!("an event of more than {limit} bytes"),
                    });
                }
                Some(Step::Done(_)) => {
                    return Err(Failure::Broken {
                        status: Some(status),
                        what: "the stream was empty".to_owned(),
                    });
                }
                Some(step) => steps.push(step),
                None => {}
            }
        }
    }
}

enum Unanswered {
    NotSent(Box<http::Request<http_body_util::Full<Bytes>>>),
    Failed(Failure),
}

async fn read_error(body: &mut UpstreamBody) -> Bytes {
    let mut text = BytesMut::new();
    let _ = tokio::time::timeout(ERROR_BODY_WITHIN, async {
        while let Some(Ok(chunk)) = body.data().await {
            let room = ERROR_BODY.saturating_sub(text.len());
            text.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if text.len() >= ERROR_BODY {
                break;
            }
        }
    })
    .await;
    text.freeze()
}

async fn read_whole(body: &mut UpstreamBody, idle: Duration, status: u16) -> Result<Bytes, Failure> {
    let broken = |what: String| Failure::Broken {
        status: Some(status),
        what,
    };
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        match tokio::time::timeout(idle, body.data()).await {
            Err(_) => return Err(Failure::TimedOut("the answer stalled")),
            Ok(Some(Err(error))) => return Err(broken(format!("the answer broke off: {error}"))),
            Ok(None) => break,
            Ok(Some(Ok(chunk))) => match &first {
                None => first = Some(chunk),
                Some(head) => {
                    if rest.is_empty() {
                        rest.extend_from_slice(head);
                    }
                    rest.extend_from_slice(&chunk);
                    if rest.len() > ANSWER_BODY {
                        return Err(broken(format!("the answer is over {ANSWER_BODY} bytes")));
                    }
                }
            },
        }
    }
    Ok(if rest.is_empty() {
        first.unwrap_or_default()
    } else {
        rest.freeze()
    })
}
