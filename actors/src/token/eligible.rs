//! Which teams can serve a model now. A change of state moves a team in or out of a dense list in constant time, so that
//! choosing among 100,000 tokens is two random indices, and cooling one of them is a swap.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use parking_lot::RwLock;

use super::entry::{NOWHERE, Token};
use super::team::{Team, TeamModel};

/// A model name, interned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId(pub u32);

/// Model names and, for each, the teams that can serve it now.
#[derive(Default)]
pub(super) struct Eligible {
    ids: DashMap<Arc<str>, ModelId>,
    sets: RwLock<Vec<Arc<ModelSet>>>,
    /// Teams whose list of models the upstream has not told.
    pub(super) any: ModelSet,
}

/// The teams that can serve one model.
#[derive(Default)]
pub(super) struct ModelSet {
    pub(super) name: Arc<str>,
    pub(super) members: RwLock<Members>,
    /// How many teams list the model, usable or not: tells "nobody can now" from "nobody ever could".
    pub(super) offered_by: std::sync::atomic::AtomicU32,
}

/// Teams that can serve now, in no order.
#[derive(Default)]
pub(super) struct Members {
    teams: Vec<Arc<Team>>,
    /// Each of them for the set's model, from its first use on; empty as long as nobody has asked for the model, for most
    /// models of most teams are never asked for. What a choice costs among 100,000 tokens is the memory it has to wait for:
    /// this spares the team's table of models.
    uses: Vec<OnceLock<Arc<TeamModel>>>,
}

impl Members {
    fn push(&mut self, team: &Arc<Team>) {
        self.teams.push(team.clone());
        if self.is_used() {
            self.uses.push(OnceLock::new());
        }
    }

    /// Takes one out; answers which one stands in its place now.
    fn swap_remove(&mut self, index: usize) -> Option<&Arc<Team>> {
        if self.is_used() {
            self.uses.swap_remove(index);
        }
        self.teams.swap_remove(index);
        self.teams.get(index)
    }

    pub(super) fn teams(&self) -> &[Arc<Team>] {
        &self.teams
    }

    /// Where the team at this index stands for the set's model, if the model is [used](Members::use_model).
    pub(super) fn place(&self, index: usize) -> Option<&OnceLock<Arc<TeamModel>>> {
        self.uses.get(index)
    }

    pub(super) fn is_used(&self) -> bool {
        !self.uses.is_empty()
    }

    /// The model is asked for.
    pub(super) fn use_model(&mut self) {
        self.uses.resize_with(self.teams.len(), OnceLock::new);
    }
}

impl Eligible {
    /// The id of a name that some team has listed.
    pub(super) fn find(&self, name: &str) -> Option<ModelId> {
        self.ids.get(name).map(|id| *id)
    }

    /// The id of a name, made if it is new.
    pub(super) fn intern(&self, name: &str) -> ModelId {
        if let Some(id) = self.find(name) {
            return id;
        }
        let name: Arc<str> = Arc::from(name);
        *self.ids.entry(name.clone()).or_insert_with(|| {
            let mut sets = self.sets.write();
            sets.push(Arc::new(ModelSet {
                name,
                ..ModelSet::default()
            }));
            ModelId(sets.len() as u32 - 1)
        })
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.sets.read().len()
    }

    pub(super) fn set(&self, id: ModelId) -> Option<Arc<ModelSet>> {
        self.sets.read().get(id.0 as usize).cloned()
    }

    /// Every model that some team lists.
    pub(super) fn offered(&self) -> Vec<Arc<str>> {
        let sets = self.sets.read();
        sets.iter()
            .filter(|set| set.offered_by.load(Ordering::Relaxed) > 0)
            .map(|set| set.name.clone())
            .collect()
    }

    /// The sets that some team stands in now.
    pub(super) fn served(&self) -> Vec<Arc<ModelSet>> {
        let sets = self.sets.read();
        sets.iter()
            .filter(|set| !set.members.read().teams().is_empty())
            .cloned()
            .collect()
    }

    /// Puts a team into a model's set. Callers hold the pool's writer lock.
    pub(super) fn admit(&self, team: &Arc<Team>, model: ModelId) {
        let Some(set) = self.set(model) else { return };
        let mut members = set.members.write();
        let mut positions = team.positions.lock();
        if let Some((_, position)) = positions.iter_mut().find(|(id, _)| *id == model)
            && *position == NOWHERE
        {
            *position = members.teams().len() as u32;
            members.push(team);
        }
    }

    /// Takes a team out of a model's set. Callers hold the pool's writer lock.
    pub(super) fn dismiss(&self, team: &Arc<Team>, model: ModelId) {
        let Some(set) = self.set(model) else { return };
        let mut members = set.members.write();
        let taken = {
            let mut positions = team.positions.lock();
            let Some((_, position)) = positions.iter_mut().find(|(id, _)| *id == model) else {
                return;
            };
            std::mem::replace(position, NOWHERE)
        };
        if taken == NOWHERE {
            return;
        }
        if let Some(moved) = members.swap_remove(taken as usize) {
            let mut positions = moved.positions.lock();
            if let Some((_, position)) = positions.iter_mut().find(|(id, _)| *id == model) {
                *position = taken;
            }
        }
    }

    /// Puts a team of unknown models among those that may serve anything.
    pub(super) fn admit_any(&self, team: &Arc<Team>) {
        let mut members = self.any.members.write();
        if team.any_position.load(Ordering::Acquire) == NOWHERE {
            team.any_position.store(members.teams().len() as u32, Ordering::Release);
            members.push(team);
        }
    }

    /// Takes it out again.
    pub(super) fn dismiss_any(&self, team: &Arc<Team>) {
        let mut members = self.any.members.write();
        let taken = team.any_position.swap(NOWHERE, Ordering::AcqRel);
        if taken == NOWHERE {
            return;
        }
        if let Some(moved) = members.swap_remove(taken as usize) {
            moved.any_position.store(taken, Ordering::Release);
        }
    }
}

/// Puts a token among its team's usable ones; answers whether it is the first.
pub(super) fn admit_token(team: &Team, token: &Arc<Token>) -> bool {
    let mut live = team.live.write();
    if token.position.load(Ordering::Acquire) != NOWHERE {
        return false;
    }
    token.position.store(live.len() as u32, Ordering::Release);
    live.push(token.clone());
    live.len() == 1
}

/// Takes a token out of its team's usable ones; answers whether it was the last.
pub(super) fn dismiss_token(team: &Team, token: &Token) -> bool {
    let mut live = team.live.write();
    let taken = token.position.swap(NOWHERE, Ordering::AcqRel);
    if taken == NOWHERE {
        return false;
    }
    live.swap_remove(taken as usize);
    if let Some(moved) = live.get(taken as usize) {
        moved.position.store(taken, Ordering::Release);
    }
    live.is_empty()
}
