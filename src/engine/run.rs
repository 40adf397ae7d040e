//! The life of a request: the client key's room, then attempts with one token after another until one answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::clock::Mono;
use grok2api_actors::ledger::HardSlots;
use grok2api_actors::token::ModelId;
use grok2api_schemas::admin::requests::Outcome;
use grok2api_schemas::client_key::DisconnectPolicy;
use tokio::time::Instant;

use super::Engine;
use super::answer::{Answer, AnswerStream, LiveStream};
use super::ask::{Ask, Caller};
use super::attempt::{Begun, Failure};
use super::call::{Call, Reservation};
use super::error::{ErrorKind, GatewayError, RefusalReason};
use super::expectations::input_tokens;
use super::failed::Effort;
use super::room::Room;
use super::settings::{EngineSettings, Timeouts};
use crate::telemetry::AttemptOutcome;

impl Engine {
    /// Answers a request. Dropping the future before it resolves is a hang-up; the key's policy says what that means.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn run(self: &Arc<Self>, ask: Ask) -> Result<Answer, GatewayError> {
        let call = Call::begin(self.clone(), &ask);
        let policy = call.on_disconnect;
        if policy == DisconnectPolicy::Cancel {
            return self.serve(call, ask).await;
        }
        // What was sent is read to its end even if nobody waits for it any more; a stream that has begun then sees to
        // that itself.
        let reader = call.reader.clone();
        let engine = self.clone();
        let mut reading = self.unread.hold();
        let (mut send, receive) = tokio::sync::oneshot::channel();
        self.tracker.spawn(async move {
            let serve = engine.serve(call, ask);
            tokio::pin!(serve);
            let result = tokio::select! {
                result = &mut serve => result,
                () = send.closed() => {
                    if reader.leaves_unsent() {
                        return;
                    }
                    reading.abandon();
                    let limit = match policy {
                        DisconnectPolicy::DrainUpTo(secs) => Some(Duration::from_secs(u64::from(secs))),
                        _ => None,
                    };
                    match reading.within(limit, &mut serve).await {
                        Some(result) => result,
                        None => return,
                    }
                }
            };
            let _ = send.send(result);
            drop(reading);
        });
        match receive.await {
            Ok(result) => result,
            Err(_) => Err(GatewayError::internal("a call ended without a result")),
        }
    }

    async fn serve(self: &Arc<Self>, mut call: Call, ask: Ask) -> Result<Answer, GatewayError> {
        match self.try_all(&mut call, &ask).await {
            Ok(begun) => Ok(self.answer(call, ask, begun)),
            Err(error) => {
                call.fail(&error);
                Err(error)
            }
        }
    }

    async fn try_all(self: &Arc<Self>, call: &mut Call, ask: &Ask) -> Result<Begun, GatewayError> {
        let settings = self.settings();
        let timeouts = self.timeouts(&ask.upstream_model, &settings.timeouts);
        call.deadline = Instant::now() + timeouts.request;
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
                // Even one look at an attempt could send it.
                return Err(effort.last.take().unwrap_or_else(too_long));
            }
            call.pick = Some(pick);
            call.team_lease = Some(lease);
            let began_us = call.elapsed_us();
            let slots = call.hard_slots();
            let attempt = tokio::time::timeout(left, self.attempt(call, ask, &timeouts));
            let Some(tried) = unless_cut_off(slots.as_ref(), attempt).await else {
                return Err(call.broken_off(began_us));
            };
            let tried = tried.unwrap_or(Err(Failure::TimedOut("the whole call took too long")));
            let took_us = call.elapsed_us().saturating_sub(began_us);
            call.upstream_us += took_us;
            match tried {
                Ok(begun) => {
                    let (status, headers) = match &begun {
                        Begun::Whole { status, headers, .. } | Begun::Stream { status, headers, .. } => {
                            (*status, headers)
                        }
                    };
                    if let Some(pick) = &call.pick {
                        let told = self.provider.learn(headers);
                        self.pool.note_answer(&pick.team, &pick.at, told);
                        if let Some((limit, remaining)) = self.provider.remaining(headers) {
                            let sent = Mono(call.received.0.saturating_add(began_us));
                            self.pool.note_remaining(&pick.at, sent, limit, remaining);
                        }
                    }
                    call.attempted(began_us, Some(status), Outcome::Success, AttemptOutcome::Ok, None);
                    call.answered(status, took_us);
                    return Ok(begun);
                }
                Err(failure) => {
                    self.after_failure(call, ask, &mut effort, failure, began_us, &settings)
                        .await?
                }
            }
        }
    }

    /// The model, once some team is known to offer it. Credentials that were added a moment ago are still being asked what
    /// they may use: that is worth waiting for.
    pub(super) async fn offered_model(
        &self,
        call: &mut Call,
        ask: &Ask,
        max_wait: Duration,
    ) -> Result<ModelId, GatewayError> {
        let began = Instant::now();
        let known = loop {
            // Looked for first, so that no change between the look and the wait is missed.
            let changed = self.pool.changed();
            if let Some(service) = ask.service
                && (self.pool.is_empty() || self.pool.has_usable())
            {
                break Some(self.pool.service(service));
            }
            if ask.service.is_none()
                && let Some(model) = self.pool.model(&ask.upstream_model)
                && (self.pool.is_offered(model) || self.pool.is_empty())
            {
                break Some(model);
            }
            let left = max_wait.saturating_sub(began.elapsed());
            if left.is_zero() || !self.has_unprobed() {
                break None;
            }
            let _ = tokio::time::timeout(left.min(Duration::from_millis(100)), changed).await;
        };
        call.queued_us += began.elapsed().as_micros() as u64;
        match known {
            Some(model) => Ok(model),
            None if self.has_unprobed() => Err(GatewayError::new(
                ErrorKind::UpstreamBusy,
                "The upstream has not told yet what the enrolled credentials may use. Try again in a moment.",
            )
            .retry_after(Some(1_000))
            .because(RefusalReason::Pool)),
            None if ask.service.is_some() || self.pool.offered_models().is_empty() => {
                Err(self.nothing_listed(call, ask))
            }
            None => Err(self.unknown_model(ask)),
        }
    }

    fn answer(self: &Arc<Self>, mut call: Call, ask: Ask, begun: Begun) -> Answer {
        let overhead_us = call.overhead_us();
        match begun {
            Begun::Whole {
                status,
                headers,
                body,
                told,
            } => {
                call.bytes_out = body.len() as u64;
                let served_by = call.pick.as_ref().map(|pick| pick.token.id);
                let unsettled = call.spend_lease.take().map(Box::new);
                call.finish(Outcome::Success, told);
                Answer::Whole {
                    status,
                    headers,
                    body,
                    served_by,
                    unsettled,
                    overhead_us,
                }
            }
            Begun::Stream {
                status,
                headers,
                body,
                relay,
                first,
            } => {
                // Known from the first event on, so that a client that breaks off can come back to it.
                call.note_told(&relay.told());
                let settings = self.settings();
                let timeouts: Timeouts = self.timeouts(&ask.upstream_model, &settings.timeouts);
                let live = LiveStream::new(call, ask.dialect, body, relay, first, &timeouts, settings.keep_alive);
                Answer::Stream {
                    status,
                    headers,
                    body: AnswerStream::new(live),
                    overhead_us,
                }
            }
        }
    }

    /// What the call is expected to use: the bound where the key is strict, else what is likely.
    pub(super) fn reservation(&self, ask: &Ask, settings: &EngineSettings) -> Reservation {
        let strict =
            matches!(&ask.caller, Caller::Key(grok2api_actors::clients::Identity::Key(key)) if key.limits.strict);
        let input = input_tokens(ask.input_bytes);
        if let Some(usd_ticks) = ask.expected_ticks {
            return Reservation {
                tokens: input_tokens(ask.input_bytes),
                usd_ticks,
            };
        }
        if ask.service.is_some() {
            return Reservation::default();
        }
        let default = settings.default_reservation_tokens;
        let output =
            self.expectations
                .output_tokens(&ask.upstream_model, ask.max_output, ask.output_cap, strict, default);
        let thought = match strict && ask.reasons {
            true => self.reasoning_allowance(&ask.upstream_model),
            false => 0,
        };
        let output = output.saturating_add(thought).saturating_mul(ask.answers.max(1));
        let usd_ticks = ask
            .price
            .or_else(|| self.estimate(&ask.upstream_model, input, output))
            .unwrap_or(settings.default_reservation_ticks);
        Reservation {
            tokens: input.saturating_add(output),
            usd_ticks,
        }
    }

    fn unknown_model(&self, ask: &Ask) -> GatewayError {
        if self.pool.is_empty() {
            return GatewayError::new(
                ErrorKind::PoolUnusable,
                "No upstream credential is enrolled. Add one in the panel, with XAI_API_KEY, or over the admin API.",
            )
            .because(RefusalReason::Pool);
        }
        let offered = self.pool.offered_models();
        let catalogue = self.catalogue.load();
        let resolved = catalogue.resolve(&ask.model);
        let successor = resolved.canonical;
        let hint = match self.suggest(&ask.model, &offered) {
            _ if resolved.retired && offered.iter().any(|name| **name == *successor) => {
                format!(" It was retired; its successor is {successor}.")
            }
            Some(name) => format!(" Did you mean {name}?"),
            None => String::new(),
        };
        GatewayError::new(
            ErrorKind::UnknownModel,
            format!(
                "The model {} is not offered here.{hint} GET /v1/models lists what is.",
                ask.model
            ),
        )
        .with_param("model")
    }
}

/// Does this, unless slots that it uses may not be counted any more before it is done: `None` then.
pub(super) async fn unless_cut_off<T>(slots: Option<&HardSlots>, work: impl Future<Output = T>) -> Option<T> {
    let Some(slots) = slots else {
        return Some(work.await);
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = slots.cut_off() => None,
    }
}

pub(super) fn too_long() -> GatewayError {
    GatewayError::new(ErrorKind::UpstreamTimeout, "The upstream did not answer in time.")
        .with_detail("the whole call took too long".to_owned())
        .because(RefusalReason::Upstream)
}
