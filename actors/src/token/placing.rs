//! Who may serve what now. Callers hold the writer lock, unless a function says otherwise.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grok2api_schemas::token::{TeamRecord, TokenSwitch};

use super::cooling;
use super::eligible::{self, ModelId};
use super::entry::{NOWHERE, Token};
use super::pool::Pool;
use super::team::Team;
use crate::clock::WallMs;

impl Pool {
    pub(super) fn with_writer<T>(&self, change: impl FnOnce() -> T) -> T {
        let _writer = self.0.writer.lock();
        change()
    }

    /// Puts a token and its team where their records say they belong.
    pub(super) fn place(&self, token: &Arc<Token>) {
        let now = self.0.clock.wall();
        let record = token.record();
        let usable = record.switch == TokenSwitch::On
            && !token.is_gone()
            && record
                .cooling
                .as_ref()
                .is_none_or(|cooling| cooling::is_over(cooling, now));
        let Some(team) = token.team() else { return };
        if usable {
            if eligible::admit_token(&team, token) {
                self.place_team(&team, now);
            }
            self.notify_changed();
        } else {
            self.dismiss_token(token);
        }
    }

    pub(super) fn dismiss_token(&self, token: &Arc<Token>) {
        if let Some(team) = token.team()
            && eligible::dismiss_token(&team, token)
        {
            self.dismiss_team(&team);
        }
    }

    pub(super) fn dismiss_team(&self, team: &Arc<Team>) {
        let models: Vec<ModelId> = team.positions.lock().iter().map(|(model, _)| *model).collect();
        for model in models {
            self.0.eligible.dismiss(team, model);
        }
        self.0.eligible.dismiss_any(team);
    }

    /// Puts a team into the set of every model that it can serve now.
    pub(super) fn place_team(&self, team: &Arc<Team>, now: WallMs) {
        let record = team.record();
        let rests = record
            .cooling
            .as_ref()
            .is_some_and(|cooling| !cooling::is_over(cooling, now));
        if rests || team.live_tokens() == 0 {
            self.dismiss_team(team);
            return;
        }
        let models: Vec<ModelId> = team.positions.lock().iter().map(|(model, _)| *model).collect();
        for model in models {
            let name = self.model_name(model).unwrap_or_default();
            let resting = record
                .model_cooling
                .iter()
                .any(|(m, cooling)| **m == *name && !cooling::is_over(cooling, now));
            if resting {
                self.0.eligible.dismiss(team, model);
            } else {
                self.0.eligible.admit(team, model);
            }
        }
        if record.models.is_none() {
            self.0.eligible.admit_any(team);
        }
        self.notify_changed();
    }

    /// Makes a team offer exactly these models.
    pub(super) fn list_models(&self, team: &Arc<Team>, names: &[String]) {
        let ids: Vec<ModelId> = names.iter().map(|name| self.0.eligible.intern(name)).collect();
        let has_tokens = team.tokens.load(Ordering::Relaxed) > 0;
        let gone: Vec<ModelId> = team
            .positions
            .lock()
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| !ids.contains(id))
            .collect();
        for id in gone {
            self.0.eligible.dismiss(team, id);
            team.positions.lock().retain(|(model, _)| *model != id);
            if has_tokens {
                self.offer(id, false);
            }
        }
        // Twenty thousand teams that each have room for twice what they list would be felt.
        team.positions.lock().reserve_exact(ids.len());
        for id in ids {
            let mut positions = team.positions.lock();
            if !positions.iter().any(|(model, _)| *model == id) {
                positions.push((id, NOWHERE));
                drop(positions);
                if has_tokens {
                    self.offer(id, true);
                }
            }
        }
    }

    fn offer(&self, model: ModelId, more: bool) {
        if let Some(set) = self.0.eligible.set(model) {
            count_offer(&set.offered_by, more);
        }
    }

    /// Counts a token as one of its team's, or no longer. The first and the last decide what the team offers.
    fn count_token(&self, team: &Team, joins: bool) {
        team.empty_looks.store(0, Ordering::Relaxed);
        let turns = if joins {
            team.tokens.fetch_add(1, Ordering::Relaxed) == 0
        } else {
            team.tokens.fetch_sub(1, Ordering::Relaxed) == 1
        };
        if !turns {
            return;
        }
        let models: Vec<ModelId> = team.positions.lock().iter().map(|(model, _)| *model).collect();
        for model in models {
            self.offer(model, joins);
        }
        if team.record().models.is_none() {
            count_offer(&self.0.eligible.any.offered_by, joins);
        }
    }

    /// Makes a token one of this team's. It stands in no list yet.
    pub(super) fn join(&self, token: &Token, team: &Arc<Team>) {
        let before = token.team.swap(Some(team.clone()));
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, team)) {
            return;
        }
        self.count_token(team, true);
        if let Some(before) = before {
            self.count_token(&before, false);
        }
    }

    /// The token was deleted. It keeps its team, for calls that are under way.
    pub(super) fn leave(&self, token: &Token, comes_back: bool) {
        if let Some(team) = token.team() {
            self.count_token(&team, comes_back);
        }
    }

    /// The team of that id, made if it is new.
    pub(super) fn team_entry(&self, id: &str) -> Arc<Team> {
        if let Some(team) = self.0.teams.get(id) {
            return team.clone();
        }
        let id: Arc<str> = Arc::from(id);
        let record = TeamRecord {
            team: id.clone(),
            models: None,
            zdr: false,
            cooling: None,
            model_cooling: Vec::new(),
            learned: Vec::new(),
            version: 0,
            found: 0,
            epoch: 0,
            model_epoch: 0,
        };
        let team = self.0.teams.entry(id);
        team.or_insert_with(|| Arc::new(Team::new(record))).clone()
    }

    /// What a team may serve has changed.
    pub(super) fn adopt_models(&self, team: &Arc<Team>, before: Option<&[String]>, after: Option<&[String]>) {
        if before == after {
            return;
        }
        let has_tokens = team.tokens.load(Ordering::Relaxed) > 0;
        if before.is_none() {
            self.0.eligible.dismiss_any(team);
            if has_tokens {
                count_offer(&self.0.eligible.any.offered_by, false);
            }
        } else if after.is_none() && has_tokens {
            count_offer(&self.0.eligible.any.offered_by, true);
        }
        self.list_models(team, after.unwrap_or_default());
    }
}

/// Counts a team that offers a model, or no longer does.
pub(super) fn count_offer(count: &std::sync::atomic::AtomicU32, more: bool) {
    if more {
        count.fetch_add(1, Ordering::Relaxed);
    } else {
        count.fetch_sub(1, Ordering::Relaxed);
    }
}
