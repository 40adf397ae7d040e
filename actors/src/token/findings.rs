//! What a probe found, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use grok2api_schemas::token::{Cooling, CoolingCause};

use super::cooling;
use super::entry::Token;
use super::pool::Pool;
use super::probe::{Facts, ProbeReport};
use super::team::Team;
use crate::clock::WallMs;

/// Whether a probe that found all well ends a rest: one of a kind that probes look for, and that stood when it began. What
/// a free call cannot show (a rate limit, an operator's rule) runs its time.
fn refutes(before: Option<&Cooling>, now: Option<&Cooling>) -> bool {
    let is_seen_by_probes =
        |cooling: &Cooling| matches!(cooling.cause, CoolingCause::BadCredential | CoolingCause::OutOfCredit);
    now.is_some_and(|cooling| is_seen_by_probes(cooling) && before == Some(cooling))
}

impl Pool {
    /// The rests of a token and its team, as they are when a probe begins.
    pub(super) fn rests_of(token: &Token) -> (Option<Cooling>, Option<Cooling>) {
        let of_team = token.team().and_then(|team| team.record().cooling.clone());
        ((*token.record().cooling).clone(), of_team)
    }

    /// Applies what a probe found; answers whether the upstream accepts the token. `before`: the rests when it began.
    pub(super) fn apply_probe(
        &self,
        token: &Arc<Token>,
        report: &ProbeReport,
        before: &(Option<Cooling>, Option<Cooling>),
    ) -> bool {
        self.0.counters.probes.fetch_add(1, Ordering::Relaxed);
        let now = self.0.clock.wall();
        let (facts, penalty) = match report {
            ProbeReport::Usable(facts) => (facts, None),
            ProbeReport::Refused { penalty, facts } => (facts, Some(penalty)),
            ProbeReport::Unreachable(reason) => {
                self.0.counters.probes_unreachable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(token = %token.id, %reason, "probe found the upstream away");
                return false;
            }
        };
        let thought = token.team();
        let team = self.settle_domain(token, facts, now);
        let knew_team = thought
            .zip(team.as_ref())
            .is_some_and(|(thought, team)| Arc::ptr_eq(&thought, team));
        match (penalty, team) {
            (Some(penalty), Some(team)) => {
                self.penalise_as(token, &team, "", penalty, true);
                false
            }
            (Some(penalty), None) => {
                // No team is known, so the key itself rests.
                token.change(|record| {
                    record.cooling = Some(cooling::rest(
                        record.cooling.as_ref(),
                        penalty,
                        now,
                        &self.0.cooling.load(),
                    ))
                    .into();
                });
                self.0.actors.save(self, token);
                false
            }
            (None, team) => {
                let (of_token, of_team) = (token.record(), team.as_ref().map(|team| team.record()));
                self.with_writer(|| {
                    token.change(|record| {
                        if refutes(before.0.as_ref(), record.cooling.as_ref()) {
                            record.cooling = None.into();
                            record.epoch += 1;
                            record.fail_count = 0;
                        }
                        record.probed_ms = Some(now.0);
                    });
                    if let Some(team) = &team
                        && let of_team = team.record()
                        // Which team it would be was not known when the probe began.
                        && let stood = if knew_team { &before.1 } else { &of_team.cooling }
                        && refutes(stood.as_ref(), of_team.cooling.as_ref())
                    {
                        team.change(|record| {
                            record.cooling = None;
                            record.epoch += 1;
                        });
                        self.place_team(team, now);
                    }
                    self.place(token);
                });
                self.tell_cleared(token, &of_token);
                if let Some((team, before)) = team.as_ref().zip(of_team) {
                    self.tell_team_cleared(token, team, &before);
                    self.0.actors.save_team(self, team);
                }
                self.0.actors.save(self, token);
                true
            }
        }
    }

    /// Ties a token to its quota domain, as far as it is known, and notes what else the probe told of it.
    fn settle_domain(&self, token: &Arc<Token>, facts: &Facts, now: WallMs) -> Option<Arc<Team>> {
        let record = token.record();
        let limits = self.0.limits.load();
        let id = limits
            .team_of(&record)
            .map(str::to_owned)
            .or_else(|| facts.team.clone())
            .or_else(|| record.team.as_deref().map(str::to_owned))
            .or_else(|| facts.cannot_tell_team.then(|| format!("key:{}", record.id)))?;
        let _writer = self.0.writer.lock();
        if token.is_gone() {
            return None;
        }
        let moved = record.team.as_deref() != Some(id.as_str());
        let left = if moved { token.team() } else { None };
        if moved {
            self.dismiss_token(token);
        }
        let team = self.team_entry(&id);
        self.join(token, &team);
        if moved {
            // A list of its own was measured against the old team's.
            token.change_found(self.tag(), |record| {
                record.team = Some(team.id.clone());
                record.models = None.into();
            });
        }
        if let Some(models) = &facts.models {
            self.settle_models(token, &team, models, moved);
        }
        if let Some(zdr) = facts.zdr
            && team.record().zdr != zdr
        {
            team.change_found(self.tag(), |record| record.zdr = zdr);
        }
        self.place(token);
        self.place_team(&team, now);
        drop(_writer);
        self.settle_offers(left.into_iter());
        for (model, told) in &facts.limits {
            let model = self.0.eligible.intern(model);
            let at = self.team_model(&team, model);
            self.learn(&team, &at, *told);
        }
        Some(team)
    }

    /// What the upstream lists for a token. A team offers what any of its keys may use; a key keeps a list of its own only
    /// where that is less: keys of one team may be allowed different models, but few are.
    fn settle_models(&self, token: &Arc<Token>, team: &Arc<Team>, models: &[String], moved: bool) {
        let mut models = models.to_vec();
        models.sort_unstable();
        models.dedup();
        let record = token.record();
        let known = team.record().models.clone();
        // What keys listed that are no longer here does not count.
        let is_only_key = team.tokens.load(Ordering::Relaxed) == 1;
        let mut all: Vec<String> = known.as_deref().filter(|_| !is_only_key).unwrap_or_default().to_vec();
        all.extend(models.iter().cloned());
        all.sort_unstable();
        all.dedup();
        let own = Some(&models).filter(|own| **own != all).cloned();
        let before = if moved {
            None
        } else {
            record.models.as_deref().or(known.as_deref())
        };
        let lost_some = before.is_some_and(|before| before.iter().any(|name| !models.contains(name)));
        if *record.models != own {
            token.change_found(self.tag(), |record| record.models = own.into());
        }
        if lost_some && let Some(union) = self.models_of_keys(team) {
            all = union;
        }
        if known.as_deref() != Some(&*all) {
            let shared = self.0.lists.shared(Arc::from(all.clone()));
            team.change_found(self.tag(), |record| record.models = Some(shared));
            self.adopt_models(team, known.as_deref(), Some(&all));
            if token.record().models.as_ref() == Some(&all) {
                token.change_found(self.tag(), |record| record.models = None.into());
            }
        }
    }

    /// Teams that lost keys offer what those that are left may use.
    pub(super) fn settle_offers(&self, teams: impl Iterator<Item = Arc<Team>>) {
        let mut unions: BTreeMap<Arc<str>, Option<BTreeSet<String>>> = teams
            .filter(|team| team.tokens.load(Ordering::Relaxed) > 0 && team.record().models.is_some())
            .map(|team| (team.id.clone(), Some(BTreeSet::new())))
            .collect();
        if unions.is_empty() {
            return;
        }
        let _writer = self.0.writer.lock();
        for token in self.0.tokens.read().values().filter(|token| !token.is_gone()) {
            let Some(team) = token.team() else { continue };
            if let Some(slot) = unions.get_mut(&team.id)
                && let Some(union) = slot
            {
                match &*token.record().models {
                    Some(own) => union.extend(own.iter().cloned()),
                    None => *slot = None,
                }
            }
        }
        for (id, union) in unions {
            let team = self.0.teams.get(&*id).map(|team| team.clone());
            if let (Some(team), Some(union)) = (team, union) {
                let models: Vec<String> = union.into_iter().collect();
                if team.record().models.as_deref() != Some(&*models) {
                    let shared = self.0.lists.shared(Arc::from(models.clone()));
                    team.change_found(self.tag(), |record| record.models = Some(shared));
                    self.list_models(&team, &models);
                    self.0.actors.save_team(self, &team);
                }
            }
        }
    }

    /// What the keys of a team may use together, if each of them has a list of its own.
    fn models_of_keys(&self, team: &Arc<Team>) -> Option<Vec<String>> {
        let mut union = BTreeSet::new();
        for token in self.0.tokens.read().values() {
            let is_of_team = token.team.load().as_ref().is_some_and(|of| Arc::ptr_eq(of, team));
            if is_of_team && !token.is_gone() {
                union.extend(token.record().models.as_ref()?.iter().cloned());
            }
        }
        Some(union.into_iter().collect())
    }
}
