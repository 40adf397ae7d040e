//! The pool: every token of this node's mirror, what may serve now, and the doors through which state changes.
//!
//! Reading (choice) takes short read locks; every change of membership goes through one writer lock, in memory, in
//! microseconds, before anything is written: a token that the upstream refused is out at once. What has to last is then
//! written by the token's actor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use grok2api_schemas::ids::{SessionId, TokenId};
use grok2api_schemas::token::{CoolingCause, TokenSwitch};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::TokenActors;
use super::affinity::Affinity;
use super::cooling::CoolingPolicy;
use super::eligible::{Eligible, ModelId};
use super::entry::Token;
use super::limits::LimitBook;
use super::model_lists::ModelLists;
use super::probe::Prober;
use super::share::Share;
use super::team::Team;
use super::timers::{ProbePace, ProbeQueue, Resting, Timers};
use crate::bus::BusHandle;
use crate::clock::Clock;
use crate::egress::ProxySpec;
use crate::ledger::Ledger;
use crate::runtime::ArbiterPool;
use crate::vault::Vault;

/// How the pool behaves.
#[derive(Clone)]
pub struct PoolOptions {
    /// This process, in what the other nodes hear of it.
    pub session: SessionId,
    /// The provider whose tokens these are.
    pub provider: &'static str,
    /// Rests and their caps.
    pub cooling: CoolingPolicy,
    /// Limits that the configuration states.
    pub limits: LimitBook,
    /// Canonical name of an upstream model: models that share limits share it.
    pub canonical: Arc<dyn Fn(&str) -> String + Send + Sync>,
    /// Share of a token's slots that one conversation may hold.
    pub swarm_share: f64,
    /// How long a conversation stays bound after its last call.
    pub binding_life_ms: u64,
    /// Proxy for tokens that name none.
    pub proxy: ProxySpec,
    /// First probe of a team parked for want of credit; doubles each time it is parked again.
    pub parked_probe_ms: u64,
    /// Probes at a time.
    pub probes: usize,
    /// How often it is at most written how often a token was used. Each node writes it of each token, and on a bus with
    /// three replicas a write is about eight messages.
    pub uses_every: Duration,
    /// A token is probed again after this long; 0 = only on demand.
    pub refresh_every_ms: u64,
}

/// What the pool is built from.
pub struct PoolParts {
    /// Where records are kept and events told.
    pub bus: BusHandle,
    /// Seals secrets.
    pub vault: Arc<Vault>,
    /// Time.
    pub clock: Clock,
    /// Quotas.
    pub ledger: Ledger,
    /// Asks the upstream.
    pub prober: Arc<dyn Prober>,
    /// Where token actors run.
    pub arbiters: ArbiterPool,
    /// Runs background work.
    pub tracker: TaskTracker,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Counters for metrics.
#[derive(Debug, Default)]
pub struct PoolCounters {
    /// Rests begun, by scope and cause: see [`Pool::cooling_events`].
    events: DashMap<(&'static str, &'static str), AtomicU64>,
    /// Probes made.
    pub probes: AtomicU64,
    /// Probes that found the upstream away.
    pub probes_unreachable: AtomicU64,
}

/// A handle on the pool.
#[derive(Clone)]
pub struct Pool(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) bus: BusHandle,
    pub(super) vault: Arc<Vault>,
    pub(super) clock: Clock,
    pub(super) ledger: Ledger,
    pub(super) prober: Arc<dyn Prober>,
    pub(super) options: PoolOptions,
    pub(super) limits: ArcSwap<LimitBook>,
    pub(super) cooling: ArcSwap<CoolingPolicy>,
    pub(super) tokens: RwLock<BTreeMap<TokenId, Arc<Token>>>,
    /// Tokens whose id does not follow from their secret: see [`Pool::find_by_fingerprint`].
    pub(super) by_fingerprint: DashMap<[u8; 32], TokenId>,
    pub(super) teams: DashMap<Arc<str>, Arc<Team>>,
    pub(super) lists: ModelLists,
    /// Tokens that were deleted at a revision of the store, for additions that are still under way.
    pub(super) deletions: DashMap<TokenId, u64>,
    /// Which tokens are this node's to look after; all, where nothing is said.
    pub(super) share: ArcSwapOption<Share>,
    pub(super) eligible: Eligible,
    affinity: Affinity,
    /// Held while membership changes; never across an await.
    pub(super) writer: Mutex<()>,
    /// Held while tokens come or go, across the write.
    pub(super) roster: tokio::sync::Mutex<()>,
    pub(super) timers: Timers,
    pub(super) probes: ProbeQueue,
    pub(super) probe_pace: ProbePace,
    /// When the log was last told that the upstream is away, microseconds; 0 = never.
    pub(super) told_away: AtomicU64,
    pub(super) actors: TokenActors,
    /// Told when a token becomes usable: requests that wait try again.
    changed: tokio::sync::Notify,
    /// Counters for metrics.
    pub counters: PoolCounters,
}

/// Names that are kept of models which no team lists.
const MODEL_NAMES: usize = 4_096;

/// Bindings kept at most: 200,000 × about 120 B.
const BINDINGS: usize = 200_000;

impl Pool {
    pub(super) fn build(parts: PoolParts, options: PoolOptions) -> Pool {
        Pool(Arc::new(Inner {
            actors: TokenActors::new(
                parts.arbiters,
                parts.tracker.clone(),
                parts.stop.clone(),
                options.probes,
            ),
            bus: parts.bus,
            vault: parts.vault,
            clock: parts.clock,
            ledger: parts.ledger,
            prober: parts.prober,
            limits: ArcSwap::from_pointee(options.limits.clone()),
            cooling: ArcSwap::from_pointee(options.cooling),
            affinity: Affinity::new(BINDINGS, options.binding_life_ms),
            options,
            tokens: RwLock::new(BTreeMap::new()),
            by_fingerprint: DashMap::new(),
            teams: DashMap::new(),
            lists: ModelLists::default(),
            deletions: DashMap::new(),
            share: ArcSwapOption::empty(),
            eligible: Eligible::default(),
            writer: Mutex::new(()),
            roster: tokio::sync::Mutex::new(()),
            timers: Timers::default(),
            probes: ProbeQueue::default(),
            probe_pace: ProbePace::default(),
            told_away: AtomicU64::new(0),
            changed: tokio::sync::Notify::new(),
            counters: PoolCounters::default(),
        }))
    }

    pub(super) fn eligible(&self) -> &Eligible {
        &self.0.eligible
    }

    pub(super) fn affinity(&self) -> &Affinity {
        &self.0.affinity
    }

    pub(super) fn swarm_share(&self) -> f64 {
        self.0.options.swarm_share
    }

    /// Resolves when a token has become usable (again).
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Wakes all who wait, and one that comes next: it may have been busy with the last change.
    pub(super) fn notify_changed(&self) {
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }

    /// The id of an upstream model that some team lists, or that may be asked of a team whose list is not known.
    pub fn model(&self, name: &str) -> Option<ModelId> {
        match self.0.eligible.find(name) {
            Some(id) if self.offered_by(id) > 0 => Some(id),
            Some(id) => Some(id),
            // Clients write what they like: beyond a bound, names that nobody lists are not remembered.
            None if self.has_unlisted_teams() && self.0.eligible.len() < MODEL_NAMES => {
                Some(self.0.eligible.intern(name))
            }
            None => None,
        }
    }

    /// What calls count as that no model makes: files, batches, voices. The names are constants of the program.
    pub fn service(&self, name: &'static str) -> ModelId {
        self.0.eligible.intern(name)
    }

    /// Whether some team is known that could be asked for anything.
    pub fn has_usable(&self) -> bool {
        self.has_unlisted_teams() || !self.0.eligible.offered().is_empty()
    }

    /// A usable token of each of up to so many teams, in no order.
    pub fn of_teams(&self, most: usize) -> Vec<grok2api_schemas::ids::TokenId> {
        let mut found: Vec<(Arc<str>, grok2api_schemas::ids::TokenId)> = Vec::new();
        let sets = self.0.eligible.served();
        let any = self.0.eligible.any.members.read();
        let teams = sets.iter().flat_map(|set| set.members.read().teams().to_vec());
        for team in teams.chain(any.teams().iter().cloned()) {
            if found.len() >= most {
                break;
            }
            if found.iter().any(|(id, _)| *id == team.id) {
                continue;
            }
            if let Some(token) = team.live.read().first() {
                found.push((team.id.clone(), token.id));
            }
        }
        found.into_iter().map(|(_, token)| token).collect()
    }

    /// Whether any team lists the model, usable or not.
    pub fn is_offered(&self, model: ModelId) -> bool {
        self.offered_by(model) > 0 || self.has_unlisted_teams()
    }

    fn offered_by(&self, model: ModelId) -> u32 {
        self.0
            .eligible
            .set(model)
            .map_or(0, |set| set.offered_by.load(Ordering::Relaxed))
    }

    /// Whether a team exists whose models are not known.
    fn has_unlisted_teams(&self) -> bool {
        self.0.eligible.any.offered_by.load(Ordering::Relaxed) > 0
    }

    /// Every model that some team lists, in no order.
    pub fn offered_models(&self) -> Vec<Arc<str>> {
        self.0.eligible.offered()
    }

    /// The name behind a model's id.
    pub fn model_name(&self, model: ModelId) -> Option<Arc<str>> {
        self.0.eligible.set(model).map(|set| set.name.clone())
    }

    /// Whether some usable token has not been told its domain by the upstream yet.
    pub fn is_finding_out(&self) -> bool {
        self.0.tokens.read().values().any(|token| {
            token.team.load().is_none() && {
                let record = token.record();
                record.switch == TokenSwitch::On && record.cooling.is_none()
            }
        })
    }

    /// Messages that wait for token actors now.
    pub fn mailbox_depth(&self) -> usize {
        self.0.actors.waiting()
    }

    /// Token actors that are live now.
    pub fn live_actors(&self) -> usize {
        self.0.actors.live()
    }

    /// What stands for this node in the stamps of changes.
    pub(super) fn tag(&self) -> u16 {
        let [.., a, b] = *self.0.options.session.as_bytes();
        u16::from_le_bytes([a, b])
    }

    /// Plans a probe of a token, unless an earlier one is planned, or another node looks after it.
    pub(super) fn plan_probe(&self, token: &Token, in_ms: u64) {
        if !self.looks_after(token) {
            return;
        }
        let at_ms = self.0.clock.wall().0 + in_ms;
        if token.plan_probe(at_ms) {
            self.0.timers.add(at_ms, Resting::Probe(token.id));
        }
    }

    pub(super) fn count_event(&self, scope: &'static str, cause: CoolingCause) {
        self.0
            .counters
            .events
            .entry((scope, cause.as_str()))
            .or_default()
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Rests begun since start, by scope and cause.
    pub fn cooling_events(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.0
            .counters
            .events
            .iter()
            .map(|e| (e.key().0, e.key().1, e.value().load(Ordering::Relaxed)))
            .collect()
    }

    /// Hits, borrows, rebinds, and bindings held.
    pub fn affinity_counts(&self) -> (u64, u64, u64, usize) {
        let c = &self.0.affinity.counters;
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (read(&c.hits), read(&c.borrows), read(&c.rebinds), self.0.affinity.len())
    }
}
