//! Which node looks after a token: of several nodes one probes it. Who that is follows from who is alive, so when it dies
//! another one takes over without a word; that two do it for a moment costs a free call and nothing else.

use std::sync::Arc;

use grok2api_schemas::ids::SessionId;

use super::cooling;
use super::entry::Token;
use super::pool::Pool;
use super::team::Team;
use grok2api_schemas::token::{Cooling, CoolingCause, TokenSwitch};

/// Says whether this node looks after a key; see [`Pool::set_share`].
pub type Share = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The session that looks after a key, by rendezvous: each of them scores each key, the highest has it, so a node that
/// comes or goes moves only its own part.
pub fn keeper(sessions: impl Iterator<Item = SessionId>, key: &[u8]) -> Option<SessionId> {
    sessions.max_by_key(|session| score(*session, key))
}

/// How many sessions come before this one for a key: 0 for the one that looks after it, 1 for the next in line.
pub fn place_in_line(session: SessionId, sessions: impl Iterator<Item = SessionId>, key: &[u8]) -> usize {
    let own = score(session, key);
    sessions.filter(|other| score(*other, key) > own).count()
}

fn score(session: SessionId, key: &[u8]) -> ([u8; 32], SessionId) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(session.as_bytes());
    hasher.update(key);
    (*hasher.finalize().as_bytes(), session)
}

impl Pool {
    /// From now on this says which tokens and teams are this node's to look after. Without it all are.
    pub fn set_share(&self, share: Share) {
        self.0.share.store(Some(Arc::new(share)));
        self.nodes_changed();
    }

    /// Nodes came or went: what is this node's now is probed by it.
    pub fn nodes_changed(&self) {
        self.plan_probes();
    }

    pub(super) fn is_mine(&self, key: &[u8]) -> bool {
        self.0.share.load().as_ref().is_none_or(|share| share(key))
    }

    /// Tokens of one team are looked after together, so that no two nodes ask about a team at a time.
    pub(super) fn looks_after(&self, token: &Token) -> bool {
        match token.team.load().as_ref() {
            Some(team) => self.is_mine(team.id.as_bytes()),
            None => self.is_mine(token.id.as_bytes()),
        }
    }

    /// Plans the probe that a change may have made necessary. `probed`: another node has just probed it.
    pub(super) fn plan_if_due(&self, token: &Token, probed: bool) {
        let record = token.record();
        if token.team.load().is_none() {
            if record.cooling.is_none() && record.switch == TokenSwitch::On {
                self.plan_probe(token, 0);
            }
        } else if probed {
            let every = self.0.options.refresh_every_ms;
            if every > 0 {
                self.plan_probe(token, every + fastrand::u64(..every / 10 + 1));
            }
        }
    }

    /// A team was found without credit by another node, and is this one's to ask about.
    pub(super) fn plan_if_parked(&self, team: &Team, before: Option<&Cooling>) {
        let now = self.0.clock.wall();
        let is_parked = |cooling: Option<&Cooling>| {
            cooling.is_some_and(|c| c.cause == CoolingCause::OutOfCredit && !cooling::is_over(c, now))
        };
        if !is_parked(before) && is_parked(team.record().cooling.as_ref()) {
            let token = team.live.read().first().cloned();
            if let Some(token) = token {
                self.plan_probe(&token, self.0.options.parked_probe_ms);
            }
        }
    }
}
