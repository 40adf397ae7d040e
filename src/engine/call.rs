//! The state of one request on its way, and the one place where it ends: leases settled, metrics counted, the record
//! written — whatever happened, a dropped future included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use grok2api_actors::clients::Identity;
use grok2api_actors::clock::Mono;
use grok2api_actors::ledger::{Actual, CallLease, HardSlots};
use grok2api_actors::token::cooling::{Penalty, SoftFailure};
use grok2api_actors::token::{Pick, Token};
use grok2api_schemas::admin::requests::{
    AttemptView, CandidateView, MAX_CANDIDATES, Outcome, PassedOver, RequestRecord, UsageView,
};
use grok2api_schemas::client_key::DisconnectPolicy;
use tokio::time::Instant;

use super::Engine;
use super::ask::{Ask, Caller, Notes};
use super::dialect::Told;
use super::error::{ErrorKind, GatewayError};
use super::failed::scope_of;
use super::record::{blank, named, nothing};
use super::refused::cut_off;
use crate::providers::Verdict;
use crate::telemetry::AttemptOutcome;

/// A call that cost nothing.
const FREE: Actual = Actual {
    tokens: Some(0),
    usd_ticks: Some(0),
};

/// One request on its way.
pub(super) struct Call {
    pub(super) engine: Arc<Engine>,
    record: Box<RequestRecord>,
    pub(super) received: Mono,
    /// The whole call ends by then, whatever is under way.
    pub(super) deadline: Instant,
    /// Microseconds spent waiting for room.
    pub(super) queued_us: u64,
    /// Microseconds spent waiting for the upstream, before the answer began.
    pub(super) upstream_us: u64,
    /// What the client key was charged.
    pub(super) key_lease: Option<CallLease>,
    /// Apart from that: its budget, where the cost becomes known later than the answer.
    pub(super) spend_lease: Option<CallLease>,
    /// What the team was charged for the attempt under way.
    pub(super) team_lease: Option<CallLease>,
    /// The token of the attempt under way.
    pub(super) pick: Option<Pick>,
    /// Something was sent upstream under the key's lease.
    pub(super) sent: bool,
    /// Who waits for the answer.
    pub(super) reader: Arc<Reader>,
    /// The policy for a hang-up.
    pub(super) on_disconnect: DisconnectPolicy,
    /// Reserved per call.
    pub(super) reserved: Reservation,
    /// Bytes handed to the client.
    pub(super) bytes_out: u64,
    /// What was charged beside the call's own leases, USD ticks.
    pub(super) paid_beside: u64,
    /// Takes note of what the call makes.
    notes: Option<Arc<dyn Notes>>,
    finished: bool,
}

/// Whoever waits for an answer, as the call and its waiter both see it.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) is_sent: AtomicBool,
    is_gone: AtomicBool,
}

impl Reader {
    /// The client hung up; answers whether nothing was sent upstream until now: then there is nothing to be read, and
    /// nothing is to be sent for nobody.
    pub(super) fn leaves_unsent(&self) -> bool {
        self.is_gone.store(true, Ordering::Release);
        !self.is_sent.load(Ordering::Acquire)
    }
}

/// What a call is expected to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reservation {
    pub(super) tokens: u64,
    pub(super) usd_ticks: u64,
}

impl Call {
    pub(super) fn begin(engine: Arc<Engine>, ask: &Ask) -> Call {
        let settings = engine.settings();
        let (key_id, key_name) = named(&ask.caller);
        let on_disconnect = match &ask.caller {
            Caller::Key(Identity::Key(key)) => key.on_disconnect,
            Caller::Key(Identity::Config) | Caller::Anonymous => settings.on_disconnect,
        };
        let record = Box::new(RequestRecord {
            key_id,
            key_name,
            model: ask.model.clone(),
            upstream_model: ask.upstream_model.clone(),
            stream: ask.stream,
            bytes_in: ask.bytes_in,
            ..blank(&ask.arrival, ask.route)
        });
        Call {
            record,
            received: ask.arrival.received,
            deadline: Instant::now() + settings.timeouts.request,
            queued_us: 0,
            upstream_us: 0,
            key_lease: None,
            spend_lease: None,
            team_lease: None,
            pick: None,
            sent: false,
            reader: Arc::default(),
            on_disconnect,
            reserved: Reservation::default(),
            bytes_out: 0,
            paid_beside: 0,
            notes: ask.notes.clone(),
            finished: false,
            engine,
        }
    }

    /// From here on the request counts for its key, whatever becomes of it.
    pub(super) fn count_for_key(&mut self) {
        for lease in [&mut self.key_lease, &mut self.spend_lease].into_iter().flatten() {
            // A key's own units are counted here, not upstream: late ones stay charged by presumption.
            let _ = lease.confirm_send();
        }
        self.sent = true;
        self.reader.is_sent.store(true, Ordering::Release);
    }

    /// Microseconds since the request arrived.
    pub(super) fn elapsed_us(&self) -> u64 {
        self.engine.clock.now().us_since(self.received)
    }

    /// Notes that a token was looked at.
    pub(super) fn considered(&mut self, token: &Token, reason: PassedOver, detail: String) {
        if self.record.candidates.len() >= MAX_CANDIDATES {
            self.record.candidates_left_out += 1;
            return;
        }
        self.record.candidates.push(CandidateView {
            token_id: token.id,
            token: token.record().masked.clone(),
            reason,
            detail,
        });
    }

    /// How many tokens are noted.
    pub(super) fn candidates(&self) -> usize {
        self.record.candidates.len()
    }

    /// Notes that so many more tokens were looked at.
    pub(super) fn left_out(&mut self, more: u32) {
        self.record.candidates_left_out = self.record.candidates_left_out.saturating_add(more);
    }

    /// Notes how an attempt ended.
    pub(super) fn attempted(
        &mut self,
        began_us: u64,
        status: Option<u16>,
        outcome: Outcome,
        label: AttemptOutcome,
        message: Option<String>,
    ) {
        let Some(pick) = &self.pick else { return };
        let took_us = self.elapsed_us().saturating_sub(began_us);
        self.record.attempts.push(AttemptView {
            token_id: pick.token.id,
            token: pick.token.record().masked.clone(),
            team: Some(pick.team.id.to_string()),
            status,
            outcome,
            message,
            started_ms: (began_us / 1000) as u32,
            took_ms: (took_us / 1000) as u32,
        });
        self.engine.telemetry.attempt(label);
    }

    /// What of the attempt's lease must not outlive the count of it.
    pub(super) fn hard_slots(&self) -> Option<HardSlots> {
        self.team_lease.as_ref().and_then(CallLease::hard_slots)
    }

    /// The attempt that began then is broken off before its answer began, so that it does not go on uncounted.
    pub(super) fn broken_off(&mut self, began_us: u64) -> GatewayError {
        let error = cut_off();
        self.upstream_us += self.elapsed_us().saturating_sub(began_us);
        let message = Some(error.message.clone().into_owned());
        self.attempted(began_us, None, Outcome::Overloaded, AttemptOutcome::Cancelled, message);
        error
    }

    /// The attempt under way is given up. Its lease goes back if it was not sent; if it was, it counts as a request, and
    /// its amounts stay charged as reserved unless the upstream refused it (`free`).
    pub(super) fn give_up_attempt(&mut self, free: bool) {
        if let Some(lease) = self.team_lease.take()
            && free
            && lease.is_sent()
        {
            lease.settle(FREE);
        }
        self.pick = None;
    }

    /// The upstream failed in the middle of its answer: whoever is at fault rests, as far as one request may decide.
    pub(super) fn blame(&self, fault: Result<&Verdict, SoftFailure>) {
        let Some(pick) = &self.pick else { return };
        let pool = &self.engine.pool;
        match fault {
            Ok(Verdict {
                cool: Some(cool),
                detail,
                ..
            }) => {
                let penalty = Penalty {
                    scope: scope_of(cool.scope),
                    cause: cool.cause,
                    for_ms: cool.for_ms,
                    detail: detail.clone(),
                };
                pool.penalise(&pick.token, &pick.team, &pick.at.model, &penalty);
            }
            Ok(_) => {
                pool.failed_softly(pick, SoftFailure::ServerError);
            }
            Err(failure) => {
                pool.failed_softly(pick, failure);
            }
        }
    }

    /// Our own share of the time so far, microseconds.
    pub(super) fn overhead_us(&self) -> u64 {
        self.elapsed_us()
            .saturating_sub(self.queued_us)
            .saturating_sub(self.upstream_us)
    }

    /// Notes that the answer has begun.
    pub(super) fn answered(&mut self, status: u16, first_byte_us: u64) {
        self.record.status = status;
        self.record.timing.upstream_first_byte_ms = Some((first_byte_us / 1000) as u32);
        self.record.timing.overhead_us = self.overhead_us() as u32;
        self.engine
            .telemetry
            .first_byte(&self.record.upstream_model, first_byte_us);
    }

    /// The request failed before its answer began.
    pub(super) fn fail(&mut self, error: &GatewayError) {
        self.record.status = error.http_status();
        self.note_error(error);
        self.finish(Outcome::from(error.kind), Told::default());
    }

    /// Passes on what the answer says about itself.
    pub(super) fn note_told(&self, told: &Told) {
        if let (Some(notes), Some(pick)) = (&self.notes, &self.pick)
            && (told.object_id.is_some() || !told.sealed.is_empty())
        {
            notes.told(told, pick.token.id);
        }
    }

    /// Notes the error that the client is told.
    pub(super) fn note_error(&mut self, error: &GatewayError) {
        self.record.error_code = Some(error.public_code().to_owned());
        self.record.error_message = Some(error.message.chars().take(300).collect());
        if let Some(detail) = &error.detail
            && error.kind == ErrorKind::Internal
        {
            // The client was told that this line says more.
            tracing::error!(request = %self.record.id, %detail, "a fault of this gateway");
        } else if let Some(detail) = &error.detail {
            tracing::debug!(request = %self.record.id, kind = ?error.kind, %detail, "{}", error.message);
        }
    }

    /// The request is over. Whoever comes first decides; later calls change nothing.
    pub(super) fn finish(&mut self, outcome: Outcome, told: Told) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.note_told(&told);
        let engine = self.engine.clone();
        let outcome = match outcome {
            Outcome::Success if self.reader.is_gone.load(Ordering::Acquire) => Outcome::ClientGone,
            outcome => outcome,
        };
        let usage = told.usage;
        let model = told.model.as_deref().unwrap_or(&self.record.upstream_model);
        let cost = usage.and_then(|usage| usage.cost_in_usd_ticks.or_else(|| engine.price(model, &usage)));
        let tokens = usage.and_then(|usage| usage.total_tokens());
        if let Some(usage) = &usage
            && let Some(completion) = usage.completion
        {
            engine
                .expectations
                .observe(&self.record.upstream_model, completion, usage.reasoning.unwrap_or(0));
        }
        let presumed = self.sent && tokens.is_none() && may_be_billed(outcome);
        let actual = Actual {
            tokens,
            usd_ticks: cost,
        };
        if let Some(lease) = self.team_lease.take() {
            lease.settle(actual);
        }
        for lease in [self.key_lease.take(), self.spend_lease.take()].into_iter().flatten() {
            // Sent and refused: it counts as a request, and cost nothing. Never sent: dropping the lease returns it.
            if self.sent {
                lease.settle(if may_be_billed(outcome) { actual } else { FREE });
            }
        }
        if let Some(pick) = self.pick.take()
            && matches!(outcome, Outcome::Success | Outcome::ClientGone)
            && self.record.timing.upstream_first_byte_ms.is_some()
        {
            engine.pool.succeeded(&pick);
        }
        let record = &mut self.record;
        record.outcome = outcome;
        record.presumed = presumed;
        record.cost_ticks = match self.paid_beside {
            0 => cost,
            more => Some(cost.unwrap_or(0).saturating_add(more)),
        };
        record.bytes_out = self.bytes_out;
        if let Some(usage) = usage {
            record.usage = UsageView {
                prompt_tokens: usage.prompt,
                cached_tokens: usage.cached,
                completion_tokens: usage.completion,
                reasoning_tokens: usage.reasoning,
                total_tokens: usage.total,
            };
        }
        if let Some(model) = told.model {
            record.upstream_model = model;
        }
        let total_us = engine.clock.now().us_since(self.received);
        record.timing.queue_ms = (self.queued_us / 1000) as u32;
        record.timing.total_ms = (total_us / 1000) as u32;
        if record.timing.overhead_us == 0 {
            record.timing.overhead_us = total_us.saturating_sub(self.queued_us).saturating_sub(self.upstream_us) as u32;
        }
        engine.telemetry.finished(record, total_us);
        tell(&engine, record);
        // Nobody reads it here any more: the call is over.
        engine.log.offer(std::mem::replace(&mut *self.record, nothing()));
    }
}

/// One line for what the operator should know of; what clients do to themselves is in the request log and the metrics.
fn tell(engine: &Engine, record: &RequestRecord) {
    let is_ours = matches!(
        record.outcome,
        Outcome::UpstreamFailed
            | Outcome::UpstreamTimeout
            | Outcome::UpstreamBusy
            | Outcome::StreamBroken
            | Outcome::PoolLimit
            | Outcome::PoolUnusable
            | Outcome::Internal
    );
    // An outage refuses thousands a second: a line for each would be a second outage.
    let untold = if is_ours {
        engine.lines.admit(record.outcome, engine.clock.now())
    } else {
        None
    };
    match untold {
        Some(untold) => tracing::warn!(
            request = %record.id, model = %record.model, key = %record.key_name, outcome = record.outcome.as_str(),
            status = record.status, attempts = record.attempts.len(), total_ms = record.timing.total_ms,
            error = record.error_message.as_deref().unwrap_or(""),
            // What the upstream or the network said last: the client is told less.
            last_attempt = record.attempts.last().and_then(|attempt| attempt.message.as_deref()).unwrap_or(""),
            credential = record.attempts.last().map_or("", |attempt| attempt.token.as_str()),
            untold, "a request was not answered"
        ),
        None => tracing::debug!(
            request = %record.id, model = %record.model, outcome = record.outcome.as_str(), status = record.status,
            total_ms = record.timing.total_ms, "a request ended"
        ),
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Nobody finished it, so its future was dropped: the client hung up.
        self.finish(Outcome::ClientGone, Told::default());
    }
}

/// Whether a request that ended so, once sent, may have cost something.
fn may_be_billed(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Success | Outcome::ClientGone | Outcome::StreamBroken | Outcome::UpstreamTimeout
    )
}
