//! What one node knows of all: who lives, who may own, who owns. Pure: beats come in with the moment they are heard, and
//! silence is measured only while the node hears itself, for a bus that is away says nothing about anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::cluster::{Beat, ShardClaim};
use grok2api_schemas::ids::SessionId;

use super::assign::{Owners, name_owners};
use super::clocks::ClockWatch;
use crate::clock::Mono;
use crate::ledger::Moment;

/// How often a node says that it lives.
pub const BEAT: Duration = Duration::from_secs(1);
/// Three beats missed: silent.
pub const SILENT_MS: u64 = 3_000;
/// How far past its own last beat a node believes that it would hear others.
const HEARING_MS: u64 = 400;
/// A node listens for this long after it first heard itself, before it decides anything: whoever lives answers a
/// newcomer at once.
const LISTEN_MS: u64 = 600;
/// A session that fell silent is remembered for this long; so long its clock counts, and its late beats do not.
const REMEMBER_MS: u64 = 600_000;

/// What is known of one session.
#[derive(Clone, Debug)]
struct Peer {
    beat: Beat,
    heard: Mono,
    /// Its clock minus ours.
    offset_ms: i64,
    /// It said that it leaves.
    left: bool,
}

/// One node, as another sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// What it said last.
    pub beat: Beat,
    /// How long ago, milliseconds.
    pub heard_ms_ago: u64,
    /// How far its clock is ahead of ours, milliseconds.
    pub clock_ahead_ms: i64,
    /// Whether it is heard.
    pub live: bool,
}

/// Everything that others act on, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// This node's session.
    pub me: SessionId,
    /// Every node that was heard lately, by session; this one included.
    pub nodes: Vec<NodeStatus>,
    /// Who should decide for each shard.
    pub named: Owners,
    /// Who says that it does: the latest takeover of a session that is heard.
    pub claims: Vec<Option<(SessionId, ShardClaim)>>,
    /// How many nodes share the quotas.
    pub live: usize,
    /// Whether this node hears itself: the bus works.
    pub connected: bool,
    /// Whether it has listened long enough to decide anything.
    pub settled: bool,
    /// Why this node may own nothing, if so.
    pub objection: Option<String>,
    /// From its last beat to its hearing it, microseconds.
    pub latency_us: Option<u64>,
    /// Since it last heard itself, milliseconds.
    pub lag_ms: u64,
}

impl Snapshot {
    /// A node that is alone with its store: it owns everything.
    pub fn alone(me: SessionId) -> Snapshot {
        Snapshot {
            me,
            nodes: Vec::new(),
            named: vec![Some(me); usize::from(SHARDS)],
            claims: vec![None; usize::from(SHARDS)],
            live: 1,
            connected: true,
            settled: true,
            objection: None,
            latency_us: None,
            lag_ms: 0,
        }
    }

    /// Who should decide for a shard.
    pub fn named(&self, shard: u16) -> Option<SessionId> {
        self.named.get(usize::from(shard)).copied().flatten()
    }

    /// Who decides for a shard, and its epoch, as far as it was told.
    pub fn claim(&self, shard: u16) -> Option<(SessionId, ShardClaim)> {
        self.claims.get(usize::from(shard)).copied().flatten()
    }

    /// Whether a session is heard.
    pub fn is_live(&self, session: SessionId) -> bool {
        self.nodes.iter().any(|node| node.live && node.beat.session == session)
    }

    /// How long ago a session that is not heard was heard last, milliseconds.
    pub fn silent_for_ms(&self, session: SessionId) -> Option<u64> {
        let node = self.nodes.iter().find(|node| node.beat.session == session)?;
        (!node.live).then_some(node.heard_ms_ago)
    }

    /// Whether somebody acts otherwise on this than on that: who owns, who lives, whether the bus works.
    pub fn differs(&self, other: &Snapshot) -> bool {
        let live = |snapshot: &Snapshot| -> Vec<(SessionId, bool)> {
            let nodes = snapshot.nodes.iter();
            nodes.map(|node| (node.beat.session, node.live)).collect()
        };
        let epochs = |snapshot: &Snapshot| -> Vec<Option<(SessionId, u64)>> {
            let claims = snapshot.claims.iter();
            claims
                .map(|claim| claim.map(|(session, claim)| (session, claim.epoch)))
                .collect()
        };
        self.named != other.named
            || self.live != other.live
            || self.connected != other.connected
            || self.settled != other.settled
            || self.objection != other.objection
            || live(self) != live(other)
            || epochs(self) != epochs(other)
    }
}

/// What this node has heard.
#[derive(Debug)]
pub struct View {
    me: SessionId,
    peers: BTreeMap<SessionId, Peer>,
    clock: ClockWatch,
    /// When this node first and last heard itself.
    hears_since: Option<Mono>,
    heard_itself: Option<Mono>,
    /// When the last beat was sent, by number.
    sent: Option<(u64, Mono)>,
    latency_us: Option<u64>,
}

impl View {
    /// A node that has heard nothing.
    pub fn new(me: SessionId, max_skew_ms: u64, now: Moment) -> View {
        View {
            me,
            peers: BTreeMap::new(),
            clock: ClockWatch::new(now, max_skew_ms),
            hears_since: None,
            heard_itself: None,
            sent: None,
            latency_us: None,
        }
    }

    /// This node is about to say that it lives.
    pub fn speaks(&mut self, now: Moment, number: u64) {
        self.sent = Some((number, now.mono));
    }

    /// A beat is heard. Answers whether it is of a session that was not known: it wants to hear who is here.
    pub fn hear(&mut self, now: Moment, beat: Beat) -> bool {
        if beat.session == self.me {
            self.hear_itself(now, &beat);
        }
        let offset_ms = beat.wall_ms as i64 - now.wall.0 as i64;
        let left = beat.leaving;
        match self.peers.get_mut(&beat.session) {
            Some(known) if known.left || known.beat.number >= beat.number => false,
            Some(known) => {
                *known = Peer {
                    beat,
                    heard: now.mono,
                    offset_ms,
                    left,
                };
                false
            }
            None => {
                let is_other = beat.session != self.me && !left;
                self.peers.insert(
                    beat.session,
                    Peer {
                        beat,
                        heard: now.mono,
                        offset_ms,
                        left,
                    },
                );
                is_other
            }
        }
    }

    fn hear_itself(&mut self, now: Moment, beat: &Beat) {
        if let Some((number, at)) = self.sent
            && number == beat.number
        {
            self.latency_us = Some(now.mono.us_since(at));
        }
        let was_deaf = self.is_deaf(now.mono);
        if was_deaf {
            // Nobody was silent while we heard nothing.
            for peer in self.peers.values_mut().filter(|peer| !peer.left) {
                peer.heard = now.mono;
            }
        }
        self.heard_itself = Some(now.mono);
        self.hears_since.get_or_insert(now.mono);
    }

    fn is_deaf(&self, now: Mono) -> bool {
        self.heard_itself.is_none_or(|at| now.ms_since(at) >= SILENT_MS)
    }

    /// Time passes: clocks are compared, the long silent are forgotten.
    pub fn tick(&mut self, now: Moment) {
        self.clock.look(now);
        let me = self.me;
        self.peers
            .retain(|session, peer| *session == me || now.mono.ms_since(peer.heard) < REMEMBER_MS);
    }

    /// Whether this session is heard: silent means three beats missed while this node heard itself.
    fn is_live(&self, session: SessionId, peer: &Peer, now: Mono) -> bool {
        if session == self.me {
            return true;
        }
        let hearing_until = self
            .heard_itself
            .map_or(peer.heard, |at| at.plus_ms(HEARING_MS).min(now));
        !peer.left && hearing_until.ms_since(peer.heard) < SILENT_MS
    }

    /// Why this node may own nothing, if so.
    pub fn objection(&self, now: Mono) -> Option<String> {
        let others = || {
            let peers = self.peers.iter();
            peers.filter(|(session, peer)| **session != self.me && !peer.left)
        };
        let offsets: Vec<i64> = others().map(|(_, peer)| peer.offset_ms).collect();
        let is_eldest = others().all(|(session, _)| *session > self.me);
        self.clock.objection(now, &offsets, is_eldest)
    }

    /// Everything that others act on. `own` is what this node would say of itself now.
    pub fn snapshot(&self, now: Mono, own: &Beat) -> Snapshot {
        let objection = self.objection(now);
        let mut nodes: Vec<NodeStatus> = self
            .peers
            .iter()
            .filter(|(session, _)| **session != self.me)
            .map(|(session, peer)| NodeStatus {
                beat: peer.beat.clone(),
                heard_ms_ago: now.ms_since(peer.heard),
                clock_ahead_ms: peer.offset_ms,
                live: self.is_live(*session, peer, now),
            })
            .collect();
        let lag_ms = self.heard_itself.map_or(0, |at| now.ms_since(at));
        nodes.push(NodeStatus {
            beat: own.clone(),
            heard_ms_ago: lag_ms,
            clock_ahead_ms: 0,
            live: true,
        });
        nodes.sort_by_key(|node| node.beat.session);
        let takes_part = |node: &&NodeStatus| node.live && !node.beat.draining && !node.beat.leaving;
        let may_own = |node: &&NodeStatus| match node.beat.session == self.me {
            true => objection.is_none(),
            false => node.beat.may_own,
        };
        let owners: Vec<SessionId> = nodes
            .iter()
            .filter(takes_part)
            .filter(may_own)
            .map(|node| node.beat.session)
            .collect();
        let mut claims: Vec<Option<(SessionId, ShardClaim)>> = vec![None; usize::from(SHARDS)];
        for node in nodes.iter().filter(|node| node.live) {
            for claim in &node.beat.shards {
                if let Some(slot) = claims.get_mut(usize::from(claim.shard))
                    && slot.is_none_or(|(_, known)| known.epoch < claim.epoch)
                {
                    *slot = Some((node.beat.session, *claim));
                }
            }
        }
        let connected = !self.is_deaf(now);
        Snapshot {
            me: self.me,
            named: name_owners(&owners),
            claims,
            live: nodes.iter().filter(takes_part).count().max(1),
            connected,
            settled: self.hears_since.is_some_and(|since| now.ms_since(since) >= LISTEN_MS),
            objection,
            latency_us: self.latency_us,
            lag_ms,
            nodes,
        }
    }
}
