//! The node's handle on the ledger.

mod ending;
mod rebase;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::cluster::ShardClaim;
use grok2api_schemas::meter::{Domain, Meter};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::rebase::LostUnits;
#[cfg(test)]
use super::actor::Finish;
use super::actor::{self, Inspect, OwnerStanding, ShardContext};
use super::counters::LedgerCounters;
use super::holder::HeldMeter;
use super::lease::CallLease;
use super::memory::{self, JournalMemory};
use super::node::Node;
use super::owner::Distrust;
use super::pump::{Pump, PumpParts};
use super::remote;
use super::shards::{ShardLink, Shards};
use super::shortage::{Shortage, ShortageKind, Want};
use super::spool::Spool;
use super::usage::Meters;
use super::{LedgerError, LedgerOptions};
use crate::bus::{BusHandle, NoRoom};
use crate::clock::Clock;
use crate::cluster::Membership;
use crate::store::Store;

/// The longest that a call that waits goes without looking again by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A node that has not heard itself for so long is cut off: a beat of its own is overdue. Milliseconds.
const CUT_OFF_MS: u64 = 1_500;

/// The ledger as this node's callers use it: cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    node: Arc<Node>,
    shards: Arc<Shards>,
    bus: BusHandle,
    spooled: Arc<AtomicU64>,
    memory: Arc<JournalMemory>,
    meters: Arc<Meters>,
    stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
        // Meters and node point at each other.
        self.node.active.lock().clear();
        self.node.urgent.lock().clear();
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Ledger({}, {} meters)",
            self.inner.node.options.session,
            self.inner.meters.len()
        )
    }
}

/// How a meter stands, as this node last heard from its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterStatus {
    /// Which meter.
    pub meter: Meter,
    /// The limit in force; `None` if not known.
    pub limit: Option<u64>,
    /// Units that the upstream's window may still see.
    pub charged: u64,
    /// Units granted and not settled, by all nodes.
    pub outstanding: u64,
    /// Units free at the owner; `None` if the limit is not known.
    pub free: Option<u64>,
    /// How long ago the owner last said how the meter stands; `None` if it never did.
    pub heard_ms_ago: Option<u64>,
    /// Units in this node's hand.
    pub in_hand: u64,
    /// Calls of this node that are under way.
    pub in_flight: u64,
    /// When the owner expects the next units back, milliseconds from now.
    pub next_release_ms: Option<u64>,
}

/// The shard that a domain's meters stand in: the same on every node and in every version.
pub fn shard_of(domain: &Domain) -> u16 {
    let hash = blake3::hash(domain.to_string().as_bytes());
    let [first, second, ..] = *hash.as_bytes();
    u16::from_le_bytes([first, second]) % SHARDS
}

impl Ledger {
    /// Replays the journals, takes all shards over, and starts their owners on the arbiters, in turn: for a node that is
    /// alone with its store.
    ///
    /// # Errors
    /// The bus fails, a journal does not decode, or another process writes to one.
    pub async fn start(
        bus: BusHandle,
        clock: Clock,
        tracker: TaskTracker,
        arbiters: &[ArbiterHandle],
        options: LedgerOptions,
    ) -> Result<Ledger, LedgerError> {
        let membership = Membership::alone(options.session, clock.clone());
        Ledger::join(bus, clock, tracker, arbiters, options, membership, None).await
    }

    /// The ledger of a node of a cluster: it decides for the shards that the membership names it for, and asks other nodes
    /// for the rest. What no owner has acknowledged is kept in `store`, and so is what an earlier life left there.
    ///
    /// # Errors
    /// Alone as [`Ledger::start`]; in a cluster only if the store cannot be read: nodes and bus may come later.
    pub async fn join(
        bus: BusHandle,
        clock: Clock,
        tracker: TaskTracker,
        arbiters: &[ArbiterHandle],
        options: LedgerOptions,
        membership: Membership,
        store: Option<&Store>,
    ) -> Result<Ledger, LedgerError> {
        let node = Arc::new(Node::new(clock.clone(), options, membership.clone()));
        let stop = CancellationToken::new();
        let ended = Arc::new(Notify::new());
        let is_clustered = membership.is_clustered();
        // Alone, journals and what would be remembered of them are one store.
        let memory = match store {
            Some(store) if is_clustered => JournalMemory::open(store)?,
            _ => JournalMemory::default(),
        };
        let memory = Arc::new(memory);
        let mut links = Vec::with_capacity(usize::from(SHARDS));
        for shard in 0..SHARDS {
            let arbiter = arbiters.get(usize::from(shard) % arbiters.len().max(1)).cloned();
            let context = ShardContext {
                shard,
                bus: bus.clone(),
                clock: clock.clone(),
                options,
                node: node.clone(),
                memory: memory.clone(),
                stepped_down: Arc::new(AtomicBool::new(false)),
                membership: membership.clone(),
                ended: ended.clone(),
                stop: stop.clone(),
            };
            links.push((context, arbiter.ok_or(LedgerError::NoArbiter)?));
        }
        let opening = links.into_iter().map(|(context, arbiter)| async move {
            let open = if is_clustered {
                None
            } else {
                Some(actor::open(context.clone(), &arbiter).await?)
            };
            Ok::<ShardLink, LedgerError>(ShardLink::new(context, arbiter, open))
        });
        let links = futures::future::try_join_all(opening).await?;
        let spool = match store {
            Some(store) if is_clustered => {
                tracker.spawn(memory::keep(memory.clone(), store.clone(), stop.clone()));
                Some(Spool::open(store, options.session, &tracker, stop.clone())?)
            }
            _ => None,
        };
        let spooled = spool.as_ref().map(|(spool, _)| spool.size()).unwrap_or_default();
        let shards = Arc::new(Shards::new(links, membership, ended, tracker.clone(), stop.clone()));
        let meters: Arc<Meters> = Arc::default();
        if is_clustered {
            tracker.spawn(remote::serve(
                shards.clone(),
                meters.clone(),
                bus.clone(),
                tracker.clone(),
                stop.clone(),
            ));
            tracker.spawn(shards.clone().keep());
        }
        let pump = Pump::new(PumpParts {
            node: node.clone(),
            shards: shards.clone(),
            bus: bus.clone(),
            stop: stop.clone(),
            spool,
        });
        tracker.spawn(pump.run());
        Ok(Ledger {
            inner: Arc::new(Inner {
                node,
                shards,
                bus,
                spooled,
                memory,
                meters,
                stop,
            }),
        })
    }

    /// The meter as this node holds it, made if need be; keep the `Arc`. A limit that differs from the one it was last
    /// asked for with is told to the owner.
    pub fn meter(&self, meter: &Meter, limit: Option<u64>) -> Arc<HeldMeter> {
        let held = self.held(meter, limit);
        held.configure(limit);
        held
    }

    pub(super) fn shards(&self) -> &Shards {
        &self.inner.shards
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    pub(super) fn bus(&self) -> &BusHandle {
        &self.inner.bus
    }

    fn held(&self, meter: &Meter, limit: Option<u64>) -> Arc<HeldMeter> {
        if let Some(held) = self.inner.meters.get(meter) {
            return held.clone();
        }
        let node = &self.inner.node;
        let name = Arc::new(meter.clone());
        let fresh = || {
            let shard = shard_of(&meter.domain);
            Arc::new(HeldMeter::new(name.clone(), shard, limit, &node.options, node.clone()))
        };
        self.inner.meters.entry(name.clone()).or_insert_with(fresh).clone()
    }

    /// Takes units of every meter, or of none. No I/O, no waiting; a shortage has been reported to the owner already.
    ///
    /// # Errors
    /// The first meter that was short.
    pub fn try_take(&self, wants: &[Want]) -> Result<CallLease, Shortage> {
        CallLease::take(&self.inner.node, wants, false)
    }

    /// Takes units of every meter, waiting up to `wait` for what is short, first come first served on each meter. Answers
    /// early when the owner knows that nothing comes back in time.
    ///
    /// # Errors
    /// The meter that was short at the end.
    pub async fn take(&self, wants: &[Want], wait: Duration) -> Result<CallLease, Shortage> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut again = false;
        loop {
            let shortage = match CallLease::take(&self.inner.node, wants, again) {
                Ok(lease) => return Ok(lease),
                Err(shortage) => shortage,
            };
            let Some(want) = wants.iter().find(|want| *want.meter.meter() == shortage.meter) else {
                return Err(shortage);
            };
            let queue = want.meter.queue(want.units);
            let mut freed = std::pin::pin!(queue.meter.freed.notified());
            // From here on no signal is lost; so look once more.
            freed.as_mut().enable();
            again = true;
            let shortage = match CallLease::take(&self.inner.node, wants, again) {
                Ok(lease) => return Ok(lease),
                Err(shortage) => shortage,
            };
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let hint = shortage.retry_after_ms.map(Duration::from_millis);
            if shortage.kind == ShortageKind::Zero || left.is_zero() || hint.is_some_and(|hint| hint > left) {
                return Err(shortage);
            }
            let pause = hint
                .unwrap_or(LOOK_AGAIN)
                .clamp(Duration::from_millis(1), LOOK_AGAIN)
                .min(left);
            // Woken or not, the loop looks again.
            let _ = tokio::time::timeout(pause, freed).await;
        }
    }

    /// Signalled (at most every 2 ms) when capacity may have come back: a unit or slot given back, a grant arrived.
    pub fn released(&self) -> &Notify {
        &self.inner.node.released
    }

    /// Every meter of this node, as it last heard.
    pub fn status(&self) -> Vec<MeterStatus> {
        let now = self.inner.node.clock.now();
        self.inner
            .meters
            .iter()
            .map(|entry| entry.value().status(now))
            .collect()
    }

    /// One meter of this node, as it last heard.
    pub fn status_of(&self, meter: &Meter) -> Option<MeterStatus> {
        let now = self.inner.node.clock.now();
        self.inner.meters.get(meter).map(|held| held.status(now))
    }

    /// How every meter stands with its owner on this node: exact, by asking the shards.
    pub async fn inspect(&self) -> Vec<OwnerStanding> {
        let mut all = Vec::new();
        for link in self.inner.shards.links() {
            let (reply, answer) = oneshot::channel();
            let asked = link
                .open
                .load()
                .as_ref()
                .is_some_and(|open| open.addr.try_send(Inspect(reply)).is_ok());
            if asked && let Ok(standing) = answer.await {
                all.extend(standing);
            }
        }
        all
    }

    /// A limit read off the upstream's answer. Fills in what the configuration leaves open, and only lowers what it sets.
    pub fn learn(&self, meter: &Meter, limit: u64) {
        self.held(meter, None).learn(limit);
    }

    /// Counts since the start.
    pub fn counters(&self) -> &Arc<LedgerCounters> {
        &self.inner.node.counters
    }

    /// Shards that this node decides for.
    pub fn owned(&self) -> Vec<ShardClaim> {
        self.inner.shards.claims()
    }

    /// Settlements that no owner has acknowledged yet; 0 alone, where owner and holder share a store.
    pub fn spooled(&self) -> u64 {
        self.inner.spooled.load(Ordering::Relaxed)
    }

    /// How many shards have an owner that does not answer what somebody waits for.
    pub fn shards_away(&self) -> usize {
        self.inner.node.shards_away()
    }

    /// How many shards of this node grant nothing because their journals were wiped or restored, and what was found.
    pub fn distrusted(&self) -> Option<(usize, Distrust)> {
        self.inner.memory.distrusted(self.inner.node.clock.now())
    }

    /// Why nothing can be granted, if the journals find no room.
    pub fn no_room(&self) -> Option<NoRoom> {
        self.inner.bus.no_room()
    }

    /// Whether the bus carries nothing at the moment, so that no owner on another node can be reached.
    pub fn is_cut_off(&self) -> bool {
        let snapshot = self.inner.shards.membership.snapshot();
        !snapshot.connected || snapshot.lag_ms >= CUT_OFF_MS
    }

    /// Whether nobody has decided about what is short: its owner has been asked and has not said no. Not once the owner or
    /// the bus has been away for longer than grants live, or while the journals have no room: then nothing is to be expected.
    pub fn is_undecided(&self, shortage: &Shortage) -> bool {
        if !matches!(shortage.kind, ShortageKind::Cold | ShortageKind::Away) || self.no_room().is_some() {
            return false;
        }
        let life_ms = self.inner.node.options.grant_life_ms;
        let silent = self.inner.node.away_since(shard_of(&shortage.meter.domain));
        let now = self.inner.node.clock.now();
        silent.is_none_or(|since| now.ms_since(since) < life_ms)
            && self.inner.shards.membership.snapshot().lag_ms < life_ms
    }

    /// For how long what an owner grants can be used.
    pub fn grant_life(&self) -> Duration {
        Duration::from_millis(self.inner.node.options.grant_life_ms)
    }

    /// How many meters this node has used.
    pub fn meter_count(&self) -> usize {
        self.inner.meters.len()
    }

    /// Ends one shard's actor as a fault would, for tests.
    #[cfg(test)]
    pub(super) async fn fault(&self, shard: u16) {
        let open = self.inner.shards.local(usize::from(shard)).unwrap();
        let (done, gone) = oneshot::channel();
        open.addr.try_send(Finish(done)).unwrap();
        gone.await.unwrap();
    }

    /// Ends the node without grace, for tests.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        self.inner.shards.membership.die();
        self.inner.stop.cancel();
        self.inner.shards.forget_all();
    }
}
