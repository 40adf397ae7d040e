//! Probing in the background: who is asked at a start, how often, and how the log hears of an upstream that is away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{Cooling, CoolingCause, TokenSwitch};

use super::cooling;
use super::entry::Token;
use super::pool::Pool;
use super::probe::ProbeReport;

/// First retry of a probe that found the upstream away; doubles up to a minute.
const PROBE_RETRY_MS: u64 = 1_000;
const PROBE_RETRY_CAP_MS: u64 = 60_000;
/// The log is told this often that the upstream is away, microseconds.
const TELL_AWAY_EVERY_US: u64 = 30_000_000;

impl Pool {
    /// Plans the first probes of this process: at once of those that cannot serve for want of facts, soon of teams that
    /// wait for credit, in their turn of all others.
    pub(super) fn plan_probes(&self) {
        let now = self.0.clock.wall();
        let every = self.0.options.refresh_every_ms;
        let mut parked: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut asked: BTreeSet<Arc<str>> = BTreeSet::new();
        for token in self.0.tokens.read().values() {
            let record = token.record();
            let waits = |cooling: Option<&Cooling>| {
                cooling.is_some_and(|c| c.cause == CoolingCause::OutOfCredit && !cooling::is_over(c, now))
            };
            let Some(team) = token.team() else {
                // One that the upstream refused before it told a team stays refused until an operator asks again.
                if record.cooling.is_none() && record.switch == TokenSwitch::On {
                    self.plan_probe(token, 0);
                }
                continue;
            };
            let of_team = team.record();
            let is_on = record.switch == TokenSwitch::On;
            if waits(record.cooling.as_ref())
                || (is_on && waits(of_team.cooling.as_ref()) && parked.insert(team.id.clone()))
            {
                self.plan_probe(token, self.0.options.parked_probe_ms);
            } else if of_team.models.is_none() && is_on && record.cooling.is_none() && asked.insert(team.id.clone()) {
                // What it may serve was not written when the last process ended.
                self.plan_probe(token, 0);
            } else if every > 0 {
                self.plan_probe(token, fastrand::u64(..every));
            }
        }
    }

    /// Probes a token as soon as probes are welcome, and rests where the upstream is away.
    pub(super) async fn probe_in_turn(&self, id: TokenId) {
        let pace = &self.0.probe_pace;
        while let Some(wait) = pace.waits_for_import(self.0.clock.now()) {
            tokio::time::sleep(wait).await;
        }
        let Some(token) = self.find(id) else { return };
        let is_away = self.probe_and_plan(&token).await;
        if let Some(pause) = pace.found(is_away) {
            pace.rest(pause).await;
        }
    }

    /// Probes a token and plans its next probe; answers whether the upstream was away.
    async fn probe_and_plan(&self, token: &Arc<Token>) -> bool {
        let report = self.0.actors.probe(self, token).await;
        let is_away = matches!(report, Some(ProbeReport::Unreachable(_)));
        if token.is_gone() {
            return is_away;
        }
        let fails = u32::from(token.probe_failures.load(Ordering::Relaxed));
        let next = match report {
            Some(ProbeReport::Unreachable(reason)) => {
                let more = |fails: u8| Some(fails.saturating_add(1));
                token
                    .probe_failures
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
                    .ok();
                self.tell_away(&reason);
                Some(
                    PROBE_RETRY_MS
                        .saturating_mul(1 << fails.min(10))
                        .min(PROBE_RETRY_CAP_MS),
                )
            }
            // Nobody answered, for the actor is gone or overrun: soon again.
            None => Some(PROBE_RETRY_CAP_MS),
            Some(_) => {
                token.probe_failures.store(0, Ordering::Relaxed);
                // A jitter of a tenth keeps a hundred thousand tokens from being probed in one breath for ever.
                let every = self.0.options.refresh_every_ms;
                (every > 0).then(|| every + fastrand::u64(..every / 10 + 1))
            }
        };
        if let Some(in_ms) = next {
            self.plan_probe(token, in_ms);
        }
        is_away
    }

    /// One line for an upstream that is away, however many tokens find it so.
    fn tell_away(&self, reason: &str) {
        let now = self.0.clock.now().0;
        let last = self.0.told_away.load(Ordering::Relaxed);
        let is_due = last == 0 || now.saturating_sub(last) >= TELL_AWAY_EVERY_US;
        if is_due
            && self
                .0
                .told_away
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let probes = self.0.counters.probes_unreachable.load(Ordering::Relaxed);
            tracing::warn!(%reason, probes, "the upstream does not answer probes; tokens keep their state, and are asked again");
        }
    }
}
