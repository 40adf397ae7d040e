//! The answer on its way to the client. A stream is driven by whoever reads it: no task, no channel. When the reader goes
//! away, what is left is cancelled or drained as the client key says.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use grok2api_actors::egress::UpstreamBody;
use grok2api_actors::ledger::{CallLease, HardSlots};
use grok2api_actors::token::cooling::SoftFailure;
use grok2api_schemas::admin::requests::Outcome;
use grok2api_schemas::client_key::DisconnectPolicy;
use grok2api_schemas::ids::TokenId;
use http::HeaderMap;
use tokio::time::{Instant, Sleep};

use super::call::Call;
use super::dialect::{Dialect, Relay, Step};
use super::error::{ErrorKind, GatewayError, RefusalReason};
use super::refused::cut_off;
use super::settings::Timeouts;

/// What the front sends.
pub enum Answer {
    /// An answer in one piece.
    Whole {
        /// The upstream's status, a success.
        status: u16,
        /// The upstream's headers.
        headers: HeaderMap,
        /// The body, as it came.
        body: Bytes,
        /// The token that served it.
        served_by: Option<TokenId>,
        /// What the client key's budget was reserved, where the cost is not known yet.
        unsettled: Option<Box<CallLease>>,
        /// Our own share of the time, microseconds.
        overhead_us: u64,
    },
    /// Events.
    Stream {
        /// The upstream's status, a success.
        status: u16,
        /// The upstream's headers.
        headers: HeaderMap,
        /// The events.
        body: AnswerStream,
        /// Our own share of the time until the first event, microseconds.
        overhead_us: u64,
    },
}

/// A stream that is being answered.
pub struct AnswerStream(Option<Box<LiveStream>>);

impl AnswerStream {
    pub(super) fn new(live: LiveStream) -> AnswerStream {
        AnswerStream(Some(Box::new(live)))
    }
}

impl Stream for AnswerStream {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(live) = &mut self.0 else {
            return Poll::Ready(None);
        };
        match live.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(bytes)) => {
                live.call.bytes_out += bytes.len() as u64;
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(None) => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        let Some(mut live) = self.0.take() else { return };
        if live.ended {
            return;
        }
        let limit = match live.call.on_disconnect {
            DisconnectPolicy::Cancel => {
                live.leave();
                return;
            }
            DisconnectPolicy::Drain => None,
            DisconnectPolicy::DrainUpTo(secs) => Some(Duration::from_secs(u64::from(secs))),
        };
        if tokio::runtime::Handle::try_current().is_err() {
            // The process is ending, and nothing can be read any more.
            live.leave();
            return;
        }
        live.unread = true;
        let engine = live.call.engine.clone();
        let mut reading = engine.unread.hold();
        reading.abandon();
        engine.tracker.spawn(async move {
            let drain = async { while std::future::poll_fn(|cx| live.poll(cx)).await.is_some() {} };
            let _ = reading.within(limit, drain).await;
            live.leave();
            drop(reading);
        });
    }
}

/// An upstream's stream and what becomes of it.
pub struct LiveStream {
    call: Call,
    dialect: Arc<dyn Dialect>,
    body: UpstreamBody,
    relay: Box<dyn Relay>,
    /// Steps not yet taken, in order, and how many of them were.
    steps: Vec<Step>,
    next_step: usize,
    idle_after: Duration,
    keep_alive: Duration,
    deadline: Instant,
    last_data: Instant,
    last_sent: Instant,
    /// Wakes at the earliest of the three, or to look at the slots; moved only when it fires, so that a chunk costs no timer.
    alarm: Pin<Box<Sleep>>,
    began: Instant,
    /// The stream has ended, and the call is finished.
    ended: bool,
    /// Nobody reads any more.
    unread: bool,
    /// What of its lease must not outlive the count of it.
    slots: Option<HardSlots>,
}

/// What is due where nothing came.
enum Alarm {
    /// A sign of life for the reader.
    KeepAlive,
    /// Nothing came for too long.
    Stalled,
    /// The whole call took too long; the upstream may be well.
    Overdue,
    /// It must not go on, for nobody may count it any more.
    CutOff,
}

impl LiveStream {
    pub(super) fn new(
        call: Call,
        dialect: Arc<dyn Dialect>,
        body: UpstreamBody,
        relay: Box<dyn Relay>,
        first: Vec<Step>,
        timeouts: &Timeouts,
        keep_alive: Duration,
    ) -> LiveStream {
        let now = Instant::now();
        let deadline = call.deadline;
        let keep_alive = if keep_alive.is_zero() {
            timeouts.request
        } else {
            keep_alive
        };
        let slots = call.hard_slots();
        let quiet = timeouts.idle.min(keep_alive);
        let look = slots.as_ref().map_or(quiet, |_| quiet.min(HardSlots::LOOK_EVERY));
        LiveStream {
            call,
            dialect,
            body,
            relay,
            steps: first,
            next_step: 0,
            idle_after: timeouts.idle,
            keep_alive,
            deadline,
            last_data: now,
            last_sent: now,
            alarm: Box::pin(tokio::time::sleep_until((now + look).min(deadline))),
            began: now,
            ended: false,
            unread: false,
            slots,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            while self.next_step < self.steps.len() {
                let step = std::mem::replace(&mut self.steps[self.next_step], Step::Cut);
                self.next_step += 1;
                match step {
                    Step::Send(bytes) if bytes.is_empty() => {}
                    Step::Send(bytes) => return self.send(bytes),
                    Step::Done(bytes) => {
                        self.finish(Outcome::Success);
                        return Poll::Ready(Some(bytes));
                    }
                    Step::Fault(verdict) => {
                        self.call.blame(Ok(&verdict));
                        return self.fail(verdict.client);
                    }
                    Step::Cut => {
                        self.call.blame(Err(SoftFailure::ServerError));
                        return self.fail(broken("The upstream broke off in the middle of its answer."));
                    }
                    Step::TooLarge(limit) => {
                        self.call.blame(Err(SoftFailure::ServerError));
                        return self.fail(
                            broken("The upstream sent more in one event than is accepted.")
                                .with_detail(format!("over {limit} bytes")),
                        );
                    }
                }
            }
            self.steps.clear();
            self.next_step = 0;
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    self.last_data = Instant::now();
                    self.relay.push(chunk, &mut self.steps);
                }
                Poll::Ready(Some(Err(_))) => self.relay.end(false, &mut self.steps),
                Poll::Ready(None) => self.relay.end(true, &mut self.steps),
                Poll::Pending => match self.poll_alarm(cx) {
                    Poll::Ready(Alarm::KeepAlive) => {
                        let comment = self.dialect.keep_alive();
                        return self.send(comment);
                    }
                    Poll::Ready(Alarm::Stalled) => {
                        self.call.blame(Err(SoftFailure::Timeout));
                        return self.fail(timed_out("The upstream stalled in the middle of its answer."));
                    }
                    Poll::Ready(Alarm::Overdue) => {
                        return self.fail(timed_out("The answer took longer than a whole call may take."));
                    }
                    Poll::Ready(Alarm::CutOff) => return self.fail(cut_off()),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    fn send(&mut self, bytes: Bytes) -> Poll<Option<Bytes>> {
        self.last_sent = Instant::now();
        Poll::Ready(Some(bytes))
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Alarm> {
        loop {
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(Alarm::Overdue);
            }
            if now.duration_since(self.last_data) >= self.idle_after {
                return Poll::Ready(Alarm::Stalled);
            }
            if self.slots.as_ref().is_some_and(HardSlots::is_cut_off) {
                return Poll::Ready(Alarm::CutOff);
            }
            let comment_due = now.duration_since(self.last_sent) >= self.keep_alive;
            let last_sent = if comment_due { now } else { self.last_sent };
            let next = (last_sent + self.keep_alive)
                .min(self.last_data + self.idle_after)
                .min(self.deadline);
            let next = match &self.slots {
                Some(_) => next.min(now + HardSlots::LOOK_EVERY),
                None => next,
            };
            self.alarm.as_mut().reset(next);
            if comment_due && !self.unread {
                return Poll::Ready(Alarm::KeepAlive);
            }
        }
    }

    fn fail(&mut self, error: GatewayError) -> Poll<Option<Bytes>> {
        let event = self
            .relay
            .error_event(&error)
            .unwrap_or_else(|| self.dialect.error_event(&error));
        self.call.note_error(&error);
        self.finish(match Outcome::from(error.kind) {
            Outcome::UpstreamTimeout => Outcome::UpstreamTimeout,
            _ => Outcome::StreamBroken,
        });
        Poll::Ready(Some(event))
    }

    fn finish(&mut self, outcome: Outcome) {
        self.ended = true;
        self.call.upstream_us += self.began.elapsed().as_micros() as u64;
        let outcome = if self.unread && outcome == Outcome::Success {
            Outcome::ClientGone
        } else {
            outcome
        };
        self.call.finish(outcome, self.relay.told());
    }

    /// Nobody reads and nothing more is read: the call ends with what was seen.
    fn leave(&mut self) {
        if !self.ended {
            self.finish(Outcome::ClientGone);
        }
    }
}

fn broken(message: &'static str) -> GatewayError {
    GatewayError::new(ErrorKind::UpstreamFailed, message).because(RefusalReason::Upstream)
}

fn timed_out(message: &'static str) -> GatewayError {
    GatewayError::new(ErrorKind::UpstreamTimeout, message).because(RefusalReason::Upstream)
}
