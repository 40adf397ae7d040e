//! The life of a request: the client key's room, then attempts with one token after another until one answers.

use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::token::cooling::{Penalty, Scope, SoftFailure};
use grok2api_actors::token::{ModelId, Tried};
use grok2api_schemas::admin::requests::Outcome;
use grok2api_schemas::client_key::DisconnectPolicy;
use tokio::time::Instant;

use super::Engine;
use super::answer::{Answer, AnswerStream, LiveStream};
use super::ask::{Ask, Caller};
use super::attempt::{Begun, Failure};
use super::call::{Call, Reservation, outcome_of};
use super::error::{ErrorKind, GatewayError, RefusalReason};
use super::expectations::input_tokens;
use super::room::Room;
use super::settings::{EngineSettings, Timeouts};
use super::telemetry::attempt_outcome;
use crate::providers::xai::classify::{Class, CoolScope, Retry};
use crate::providers::xai::ratelimit;
use crate::telemetry::AttemptOutcome;
use grok2api_schemas::token::LearnedLimits;

/// Attempts that the upstream refuses at no cost (dead keys, used-up teams) do not count as attempts, up to this many.
const FREE_REFUSALS: u32 = 16;
/// First pause before trying again what failed upstream-wide; doubles.
const BACKOFF: Duration = Duration::from_millis(150);

/// What has been tried for one request.
struct Effort {
    tried: Tried,
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
    last: Option<GatewayError>,
}

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
        let (mut send, receive) = tokio::sync::oneshot::channel();
        self.tracker.spawn(async move {
            let serve = engine.serve(call, ask);
            tokio::pin!(serve);
            let result = tokio::select! {
                result = &mut serve => result,
                () = send.closed() => match policy {
                    _ if reader.leaves_unsent() => return,
                    DisconnectPolicy::DrainUpTo(secs) => {
                        match tokio::time::timeout(Duration::from_secs(u64::from(secs)), &mut serve).await {
                            Ok(result) => result,
                            Err(_) => return,
                        }
                    }
                    _ => serve.await,
                },
            };
            let _ = send.send(result);
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
        let model = self.offered_model(call, ask, settings.max_wait).await?;
        call.reserved = self.reservation(ask, &settings);
        call.key_lease = self.take_from_key(call, ask).await?;
        let deadline = Instant::now() + timeouts.request;
        let mut effort = Effort {
            tried: Tried::default(),
            attempts: 0,
            refusals: 0,
            penalties: 0,
            timeouts: 0,
            pauses: 0,
            last: None,
        };
        loop {
            let Room { pick, lease } = match self.find_room(call, ask, model, &effort.tried).await {
                Ok(room) => room,
                // What the upstream said says more than that nobody else is left.
                Err(nowhere) => return Err(effort.last.take().unwrap_or(nowhere)),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Even one look at an attempt could send it.
                return Err(effort.last.take().unwrap_or_else(too_long));
            }
            call.pick = Some(pick);
            call.team_lease = Some(lease);
            let began_us = call.elapsed_us();
            let tried = match tokio::time::timeout(left, self.attempt(call, ask, &timeouts)).await {
                Ok(tried) => tried,
                Err(_) => Err(Failure::TimedOut("the whole call took too long")),
            };
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
    async fn offered_model(&self, call: &mut Call, ask: &Ask, max_wait: Duration) -> Result<ModelId, GatewayError> {
        let began = Instant::now();
        let known = loop {
            // Looked for first, so that no change between the look and the wait is missed.
            let changed = self.pool.changed();
            if let Some(model) = self.pool.model(&ask.upstream_model)
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
            None if self.pool.offered_models().is_empty() => Err(self.nothing_listed(ask)),
            None => Err(self.unknown_model(ask)),
        }
    }

    /// Decides after a failed attempt: penalises whoever is at fault, and answers whether to go on.
    async fn after_failure(
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
            Failure::Refused { status, verdict } => {
                let outcome = outcome_of(verdict.client.kind);
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
                    }
                    match scope {
                        Scope::Token | Scope::TokenModel => effort.tried.token(&token),
                        Scope::TeamModel | Scope::Team => effort.tried.team(&team),
                    }
                }
                match verdict.retry {
                    Retry::No => {
                        call.give_up_attempt(true);
                        return Err(verdict.client);
                    }
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
                call.finish(Outcome::Success, told);
                Answer::Whole {
                    status,
                    headers,
                    body,
                    served_by,
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
    fn reservation(&self, ask: &Ask, settings: &EngineSettings) -> Reservation {
        let strict =
            matches!(&ask.caller, Caller::Key(grok2api_actors::clients::Identity::Key(key)) if key.limits.strict);
        let input = input_tokens(ask.input_bytes);
        let default = settings.default_reservation_tokens;
        let output =
            self.expectations
                .output_tokens(&ask.upstream_model, ask.max_output, ask.output_cap, strict, default);
        let output = output.saturating_mul(ask.answers.max(1));
        let usd_ticks = self
            .estimate(&ask.upstream_model, input, output)
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
        let hint = match self.suggest(&ask.model, &offered) {
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

fn too_long() -> GatewayError {
    GatewayError::new(ErrorKind::UpstreamTimeout, "The upstream did not answer in time.")
        .with_detail("the whole call took too long".to_owned())
        .because(RefusalReason::Upstream)
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
