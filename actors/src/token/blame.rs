//! What a call that ended means for its token and team.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grok2api_schemas::token::{Cooling, CoolingCause};

use super::choice::Pick;
use super::cooling::{self, Penalty, Scope, SoftFailure};
use super::entry::Token;
use super::pool::Pool;
use super::team::Team;
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
        // A hundred calls that were under way when the credit ran out park the team once.
        let was_parked = match penalty.scope {
            Scope::Token | Scope::TokenModel => is_parked(token.record().cooling.as_ref(), now),
            Scope::Team | Scope::TeamModel => is_parked(team.record().cooling.as_ref(), now),
        };
        let parks = penalty.cause == CoolingCause::OutOfCredit && (by_probe || !was_parked);
        let running = {
            let _writer = self.0.writer.lock();
            self.rest(token, team, model, penalty)
        };
        if let Some((rest, ends)) = running {
            if let Some(until) = rest.until_ms {
                self.0.timers.add(until, ends);
            }
            self.count_event(penalty.scope.as_str(), penalty.cause);
            tracing::warn!(
                token = %token.id, masked = %token.record().masked, team = %team.id, %model,
                scope = penalty.scope.as_str(), cause = penalty.cause.as_str(), for_ms = penalty.for_ms,
                detail = %penalty.detail, "an upstream credential or team rests"
            );
            self.tell_rest(token, team, penalty.scope, model, &rest);
            match penalty.scope {
                Scope::Token | Scope::TokenModel => self.0.actors.save(self, token),
                Scope::Team | Scope::TeamModel => self.0.actors.save_team(self, team),
            }
        }
        if parks {
            self.0.actors.parked(self, token, team);
        }
    }

    /// Lays a rest into the records and takes those who rest out of the lists. Answers the rest, if it is news.
    fn rest(&self, token: &Arc<Token>, team: &Arc<Team>, model: &str, penalty: &Penalty) -> Option<(Cooling, Resting)> {
        let now = self.0.clock.wall();
        let policy = &*self.0.cooling.load();
        let of_model = |rests: &[(String, Cooling)]| -> Option<Cooling> {
            let rest = rests.iter().find(|(name, _)| name == model);
            rest.map(|(_, cooling)| cooling.clone())
        };
        let running = match penalty.scope {
            Scope::Token => (*token.record().cooling).clone(),
            Scope::TokenModel => of_model(&token.record().model_cooling),
            Scope::TeamModel => of_model(&team.record().model_cooling),
            Scope::Team => team.record().cooling.clone(),
        };
        let rest = cooling::rest(running.as_ref(), penalty, now, policy);
        if !cooling::is_news(running.as_ref(), &rest, now) {
            return None;
        }
        let add = |rests: &mut Vec<(String, Cooling)>| {
            rests.retain(|(name, cooling)| name != model && !cooling::is_over(cooling, now));
            rests.push((model.to_owned(), rest.clone()));
            rests.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        };
        let ends = match penalty.scope {
            Scope::Token => {
                token.change(|record| {
                    record.cooling = Some(rest.clone()).into();
                    record.fail_count = record.fail_count.saturating_add(1);
                });
                self.dismiss_token(token);
                Resting::Token(token.id)
            }
            Scope::TokenModel => {
                token.change(|record| add(&mut record.model_cooling));
                Resting::Token(token.id)
            }
            Scope::TeamModel => {
                team.change(|record| add(&mut record.model_cooling));
                if let Some(id) = self.0.eligible.find(model) {
                    self.0.eligible.dismiss(team, id);
                }
                Resting::Team(team.id.clone())
            }
            Scope::Team => {
                team.change(|record| record.cooling = Some(rest.clone()));
                self.dismiss_team(team);
                Resting::Team(team.id.clone())
            }
        };
        Some((rest, ends))
    }
}
