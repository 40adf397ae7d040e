//! What a call that ended means for its token and team.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grok2api_schemas::token::{Cooling, CoolingCause};

use super::choice::Pick;
use super::cooling::{self, Penalty, Scope, SoftFailure};
use super::entry::{Team, Token};
use super::pool::Pool;
use super::timers::Resting;
use crate::clock::WallMs;

/// Whether it rests for want of credit.
fn is_parked(cooling: Option<&Cooling>, now: WallMs) -> bool {
    cooling.is_some_and(|cooling| cooling.cause == CoolingCause::OutOfCredit && !cooling::is_over(cooling, now))
}

impl Pool {
    /// A call succeeded.
    pub fn succeeded(&self, pick: &Pick) {
        let token = &pick.token;
        token.streaks.succeed(&pick.at.model);
        token.last_used_ms.store(self.0.clock.wall().0, Ordering::Relaxed);
        self.0.actors.used(self, token);
    }

    /// A call failed in a way that blames nobody by itself.
    pub fn failed_softly(&self, pick: &Pick, failure: SoftFailure) -> Option<Penalty> {
        let policy = &*self.0.cooling.load();
        let now = self.0.clock.wall();
        let rests_already = pick
            .token
            .record()
            .model_cooling
            .iter()
            .any(|(model, cooling)| **model == *pick.at.model && !cooling::is_over(cooling, now));
        if rests_already {
            // One outage breaks all calls that are under way: that is one failure, not a row that doubles the rest.
            return None;
        }
        let penalty = pick.token.streaks.fail(&pick.at.model, failure, policy)?;
        self.penalise(&pick.token, &pick.team, &pick.at.model, &penalty);
        Some(penalty)
    }

    /// A call failed and somebody is to blame: they rest, at once, on this node; the actor writes and tells.
    pub fn penalise(&self, token: &Arc<Token>, team: &Arc<Team>, model: &str, penalty: &Penalty) {
        self.penalise_as(token, team, model, penalty, false);
    }

    /// `by_probe`: a probe found it, not a call.
    pub(super) fn penalise_as(
        &self,
        token: &Arc<Token>,
        team: &Arc<Team>,
        model: &str,
        penalty: &Penalty,
        by_probe: bool,
    ) {
        let now = self.0.clock.wall();
        let policy = &*self.0.cooling.load();
        // A hundred calls that were under way when the credit ran out park the team once.
        let was_parked = match penalty.scope {
            Scope::Token | Scope::TokenModel => is_parked(token.record().cooling.as_ref(), now),
            Scope::Team | Scope::TeamModel => is_parked(team.record().cooling.as_ref(), now),
        };
        let parks = penalty.cause == CoolingCause::OutOfCredit && (by_probe || !was_parked);
        let until = {
            let _writer = self.0.writer.lock();
            match penalty.scope {
                Scope::Token => {
                    let record = token.change(|record| {
                        record.cooling = Some(cooling::rest(record.cooling.as_ref(), penalty, now, policy));
                        record.fail_count = record.fail_count.saturating_add(1);
                    });
                    self.dismiss_token(token);
                    record
                        .cooling
                        .as_ref()
                        .and_then(|c| c.until_ms)
                        .map(|until| (until, Resting::Token(token.id)))
                }
                Scope::TokenModel => {
                    let mut until = None;
                    token.change(|record| {
                        record
                            .model_cooling
                            .retain(|(_, cooling)| !cooling::is_over(cooling, now));
                        let running = record
                            .model_cooling
                            .iter()
                            .find(|(name, _)| name == model)
                            .map(|(_, c)| c.clone());
                        let rest = cooling::rest(running.as_ref(), penalty, now, policy);
                        until = rest.until_ms;
                        record.model_cooling.retain(|(name, _)| name != model);
                        record.model_cooling.push((model.to_owned(), rest));
                    });
                    until.map(|until| (until, Resting::Token(token.id)))
                }
                Scope::TeamModel => {
                    let mut until = None;
                    team.change(|record| {
                        record
                            .model_cooling
                            .retain(|(_, cooling)| !cooling::is_over(cooling, now));
                        let running = record
                            .model_cooling
                            .iter()
                            .find(|(name, _)| name == model)
                            .map(|(_, c)| c.clone());
                        let rest = cooling::rest(running.as_ref(), penalty, now, policy);
                        until = rest.until_ms;
                        record.model_cooling.retain(|(name, _)| name != model);
                        record.model_cooling.push((model.to_owned(), rest));
                    });
                    if let Some(id) = self.0.eligible.find(model) {
                        self.0.eligible.dismiss(team, id);
                    }
                    until.map(|until| (until, Resting::Team(team.id.clone())))
                }
                Scope::Team => {
                    let record = team.change(|record| {
                        record.cooling = Some(cooling::rest(record.cooling.as_ref(), penalty, now, policy));
                    });
                    self.dismiss_team(team);
                    record
                        .cooling
                        .as_ref()
                        .and_then(|c| c.until_ms)
                        .map(|until| (until, Resting::Team(team.id.clone())))
                }
            }
        };
        if let Some((until, resting)) = until {
            self.0.timers.add(until, resting);
        }
        self.count_event(penalty.scope.as_str(), penalty.cause);
        tracing::warn!(
            token = %token.id, masked = %token.record().masked, team = %team.id, %model,
            scope = penalty.scope.as_str(), cause = penalty.cause.as_str(), for_ms = penalty.for_ms, detail = %penalty.detail,
            "an upstream credential or team rests"
        );
        self.0.actors.cooled(self, token, team, penalty, parks);
    }
}
