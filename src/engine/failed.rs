//! After an attempt that came to nothing: who is at fault and rests, and whether to go on.

use std::time::Duration;

use grok2api_actors::token::Tried;
use grok2api_actors::token::cooling::{Penalty, Scope, SoftFailure};
use grok2api_schemas::admin::requests::Outcome;
use grok2api_schemas::token::{CoolingCause, LearnedLimits};
use tokio::time::Instant;

use super::Engine;
use super::ask::Ask;
use super::attempt::Failure;
use super::call::Call;
use super::error::{ErrorKind, GatewayError, RefusalReason};
use super::settings::EngineSettings;
use super::telemetry::attempt_outcome;
use crate::providers::xai::classify::{Class, CoolScope, Retry};
use crate::providers::xai::ratelimit;
use crate::telemetry::AttemptOutcome;

/// Attempts that the upstream refuses at no cost (dead keys, used-up teams) do not count as attempts, up to this many.
const FREE_REFUSALS: u32 = 16;
/// First pause before trying again what failed upstream-wide; doubles.
const BACKOFF: Duration = Duration::from_millis(150);

/// What has been tried for one request.
#[derive(Default)]
pub(super) struct Effort {
    pub(super) tried: Tried,
    /// Attempts that may have cost something, or found nobody.
    attempts: u32,
    /// Attempts refused for free.
    refusals: u32,
    /// Rests caused.
    penalties: u32,
    /// Timeouts after the body was sent: the call may have been billed.
    timeouts: u32,
    /// Pauses made.
    pauses: u32,
    /// What the client is told if nothing works.
    pub(super) last: Option<GatewayError>,
    /// Nothing was ever sent: there are no words of the upstream to pass on.
    only_lapsed: bool,
}

impl Effort {
    /// What the client is told when nobody is left to ask. The upstream's own words say more than that; but when there
    /// will be room again is known better now than when they were said.
    pub(super) fn told(&mut self, nowhere: GatewayError) -> GatewayError {
        match self.last.take() {
            // A lease that ran out before it was used says less than why there is no other.
            Some(_) if self.only_lapsed => nowhere,
            Some(mut said) => {
                if said.retry_after_ms.is_some() && nowhere.retry_after_ms.is_some() {
                    said.retry_after_ms = nowhere.retry_after_ms;
                }
                said
            }
            None => nowhere,
        }
    }
}

impl Engine {
    /// Decides after a failed attempt: penalises whoever is at fault, and answers whether to go on.
    pub(super) async fn after_failure(
        &self,
        call: &mut Call,
        ask: &Ask,
        effort: &mut Effort,
        failure: Failure,
        began_us: u64,
        settings: &EngineSettings,
    ) -> Result<(), GatewayError> {
        let (token, team, at) = match &call.pick {
            Some(pick) => (pick.token.clone(), pick.team.clone(), pick.at.clone()),
            None => return Err(GatewayError::internal("an attempt without a token")),
        };
        let upstream = |kind: ErrorKind, message: &'static str, detail: String| {
            GatewayError::new(kind, message)
                .with_detail(detail)
                .because(RefusalReason::Upstream)
        };
        let mut pause = false;
        let mut free = false;
        effort.only_lapsed = matches!(failure, Failure::Lapsed) && (effort.only_lapsed || effort.last.is_none());
        match failure {
            Failure::Lapsed => {
                // Waiting for a connection took longer than the lease lives: nothing was sent, nobody is to blame.
                free = true;
                effort.refusals += 1;
                effort.last = Some(upstream(
                    ErrorKind::UpstreamBusy,
                    "The upstream could not be reached before the right to call it ran out.",
                    "lease lapsed before the send".to_owned(),
                ));
            }
            Failure::Unsendable(what) => {
                effort.refusals += 1;
                effort.tried.token(&token);
                effort.last = Some(GatewayError::internal(what));
            }
            Failure::NoConnection(error) => {
                call.attempted(
                    began_us,
                    None,
                    Outcome::UpstreamFailed,
                    AttemptOutcome::ConnectFailed,
                    Some(error.message.clone()),
                );
                effort.attempts += 1;
                pause = true;
                // Where a kept connection was found dead first, the lease counts as sent, but nothing was.
                free = true;
                if error.kind == grok2api_actors::egress::ConnectErrorKind::Proxy {
                    self.fail_softly(call, effort, SoftFailure::ServerError, settings);
                    effort.tried.token(&token);
                }
                effort.last = Some(upstream(
                    ErrorKind::UpstreamFailed,
                    "The upstream cannot be reached.",
                    error.message,
                ));
            }
            Failure::TimedOut(what) => {
                call.attempted(
                    began_us,
                    None,
                    Outcome::UpstreamTimeout,
                    AttemptOutcome::Timeout,
                    Some(what.to_owned()),
                );
                effort.attempts += 1;
                effort.timeouts += 1;
                self.fail_softly(call, effort, SoftFailure::Timeout, settings);
                effort.tried.token(&token);
                effort.last = Some(upstream(
                    ErrorKind::UpstreamTimeout,
                    "The upstream did not answer in time.",
                    what.to_owned(),
                ));
            }
            Failure::Broken { status, what } => {
                call.attempted(
                    began_us,
                    status,
                    Outcome::UpstreamFailed,
                    AttemptOutcome::ServerError,
                    Some(what.clone()),
                );
                effort.attempts += 1;
                self.fail_softly(call, effort, SoftFailure::ServerError, settings);
                effort.tried.token(&token);
                effort.last = Some(upstream(
                    ErrorKind::UpstreamFailed,
                    "The upstream's answer broke off or made no sense.",
                    what,
                ));
            }
            Failure::Stale(what) => {
                // Nobody's fault, and the same token may be asked again: with one key there is no other.
                call.attempted(
                    began_us,
                    None,
                    Outcome::UpstreamFailed,
                    AttemptOutcome::ConnectFailed,
                    Some(what.clone()),
                );
                effort.attempts += 1;
                effort.last = Some(upstream(
                    ErrorKind::UpstreamFailed,
                    "The upstream's answer broke off or made no sense.",
                    what,
                ));
            }
            Failure::Unprocessed(what) => {
                // An upstream that winds up its connection says so for every call on it: nobody's fault. It takes a
                // lease of its own to send it again, for the upstream may have counted this one.
                call.attempted(
                    began_us,
                    None,
                    Outcome::UpstreamBusy,
                    AttemptOutcome::ConnectFailed,
                    Some(what.clone()),
                );
                free = true;
                effort.refusals += 1;
                effort.last = Some(upstream(
                    ErrorKind::UpstreamBusy,
                    "The upstream takes no more calls at the moment.",
                    what,
                ));
            }
            Failure::Refused { status, verdict } => {
                let outcome = Outcome::from(verdict.client.kind);
                let detail = verdict.detail.clone();
                call.attempted(
                    began_us,
                    status,
                    outcome,
                    attempt_outcome(verdict.class),
                    Some(detail.clone()),
                );
                if let Some(told) = &verdict.learned {
                    self.pool.learn(&team, &at, told_limits(told));
                }
                let mut blamed = false;
                let mut rests = false;
                if let Some(cool) = &verdict.cool {
                    blamed = true;
                    let scope = scope_of(cool.scope);
                    let penalty = Penalty {
                        scope,
                        cause: cool.cause,
                        for_ms: cool.for_ms,
                        detail: detail.clone(),
                    };
                    if effort.penalties < settings.max_penalties {
                        self.pool.penalise(&token, &team, &at.model, &penalty);
                        effort.penalties += 1;
                        self.forget_hindrances();
                        // Whoever has no room for a moment serves after that moment, if this request can wait for it:
                        // the rest keeps it from being chosen before.
                        rests = matches!(cool.cause, CoolingCause::RateLimited | CoolingCause::Capacity);
                    }
                    match scope {
                        _ if rests => {}
                        Scope::Token | Scope::TokenModel => effort.tried.token(&token),
                        Scope::TeamModel | Scope::Team => effort.tried.team(&team),
                    }
                }
                match verdict.retry {
                    Retry::No => {
                        call.give_up_attempt(true);
                        return Err(verdict.client);
                    }
                    Retry::OtherToken | Retry::OtherTeam if rests => {}
                    Retry::OtherToken => effort.tried.token(&token),
                    Retry::OtherTeam => effort.tried.team(&team),
                    Retry::Backoff => {
                        pause = true;
                        if !blamed {
                            effort.tried.token(&token);
                        }
                    }
                }
                if verdict.class == Class::Transient || verdict.maybe_executed {
                    effort.attempts += 1;
                    if !blamed {
                        self.fail_softly(call, effort, SoftFailure::ServerError, settings);
                    }
                } else {
                    free = true;
                    effort.refusals += 1;
                }
                effort.last = Some(verdict.client);
            }
        }
        call.give_up_attempt(free);
        // What may have been carried out is paid for by the piece, and must not be ordered twice.
        let is_spent = !ask.is_repeatable && !free && call.sent;
        let exhausted = is_spent
            || effort.attempts >= settings.max_attempts
            || effort.refusals >= FREE_REFUSALS
            || effort.timeouts > 1;
        if exhausted && let Some(error) = effort.last.take() {
            return Err(error);
        }
        if pause {
            let longest = BACKOFF.saturating_mul(1 << effort.pauses.min(6));
            effort.pauses += 1;
            let jitter = fastrand::u64(..longest.as_micros() as u64 / 2 + 1);
            let began = Instant::now();
            tokio::time::sleep(longest / 2 + Duration::from_micros(jitter)).await;
            call.queued_us += began.elapsed().as_micros() as u64;
        }
        Ok(())
    }

    /// Counts a failure that blames nobody by itself; a rest that it leads to counts like any other.
    fn fail_softly(&self, call: &Call, effort: &mut Effort, failure: SoftFailure, settings: &EngineSettings) {
        if effort.penalties < settings.max_penalties
            && let Some(pick) = &call.pick
            && self.pool.failed_softly(pick, failure).is_some()
        {
            effort.penalties += 1;
        }
    }
}

pub(super) fn scope_of(scope: CoolScope) -> Scope {
    match scope {
        CoolScope::Token => Scope::Token,
        CoolScope::TokenModel => Scope::TokenModel,
        CoolScope::TeamModel => Scope::TeamModel,
        CoolScope::Team => Scope::Team,
    }
}

fn told_limits(told: &ratelimit::LearnedLimits) -> LearnedLimits {
    LearnedLimits {
        rps: told.rps,
        rpm: told.rpm,
        rph: told.rph,
        rpd: told.rpd,
        tpm: told.tpm,
    }
}
