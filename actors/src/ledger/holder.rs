//! The node's side as its callers see it: meters, leases, shortages. Taking, sending and settling are synchronous, touch
//! no actor and allocate nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use grok2api_schemas::meter::{Domain, Meter, MeterKind};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::LedgerOptions;
use super::handle::MeterStatus;
use super::held::{Held, Lack};
use super::node::Node;
use super::rules::{Class, Rules};
use crate::clock::Mono;

/// "No limit known" in an atomic.
const UNKNOWN: u64 = u64::MAX;
/// Meters of a call that need no allocation.
const INLINE: usize = 8;

/// A wish: so many units of a meter, for one call.
#[derive(Clone, Debug)]
pub struct Want {
    /// Of which meter.
    pub meter: Arc<HeldMeter>,
    /// 1 for requests and slots, the reservation for tokens and USD ticks.
    pub units: u64,
}

/// What kind of shortage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShortageKind {
    /// Nothing in hand yet; the owner has been asked.
    Cold,
    /// Used up for now.
    Dry,
    /// Can never be: the limit is 0, or smaller than what was asked for.
    Zero,
}

/// Why a call got no lease. Nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The first meter that was short.
    pub meter: Meter,
    /// When units come back, as far as the owner or the pace knows.
    pub retry_after_ms: Option<u64>,
    /// What kind of shortage.
    pub kind: ShortageKind,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.retry_after_ms) {
            (ShortageKind::Zero, _) => write!(f, "the limit of {} is below what the call needs", self.meter),
            (_, Some(ms)) => write!(f, "{} used up, units come back in {ms} ms", self.meter),
            (ShortageKind::Cold, None) => write!(f, "{} not granted yet", self.meter),
            (ShortageKind::Dry, None) => write!(f, "{} used up", self.meter),
        }
    }
}

impl std::error::Error for Shortage {}

/// The lease may not be sent (any more): its grant's life is over, or it was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseLapsed {
    /// Of which meter.
    pub meter: Meter,
}

impl fmt::Display for LeaseLapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lease of {} is over: take a new one", self.meter)
    }
}

impl std::error::Error for LeaseLapsed {}

/// What a call really cost. `None` lets the reservation stand, presumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// Tokens.
    pub tokens: Option<u64>,
    /// USD ticks (1e-10 USD).
    pub usd_ticks: Option<u64>,
}

/// One meter, as this node holds it. Callers keep the `Arc`.
pub struct HeldMeter {
    meter: Meter,
    shard: u16,
    first_calls: bool,
    pub(super) state: Mutex<Held>,
    pub(super) waiting: AtomicU64,
    pub(super) freed: Notify,
    pub(super) listed: AtomicBool,
    pub(super) hurried: AtomicBool,
    limit: AtomicU64,
    used: AtomicU64,
    headroom: AtomicU32,
    node: Arc<Node>,
}

impl fmt::Debug for HeldMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldMeter({})", self.meter)
    }
}

impl HeldMeter {
    pub(super) fn new(
        meter: Meter,
        shard: u16,
        limit: Option<u64>,
        options: &LedgerOptions,
        node: Arc<Node>,
    ) -> HeldMeter {
        let rules = Rules::of(&meter, options);
        let held = Held::new(rules, limit, node.clock.now());
        let fresh = HeldMeter {
            first_calls: matches!(meter.domain, Domain::TeamModel { .. }),
            meter,
            shard,
            state: Mutex::new(held),
            waiting: AtomicU64::new(0),
            freed: Notify::new(),
            listed: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            limit: AtomicU64::new(UNKNOWN),
            used: AtomicU64::new(0),
            headroom: AtomicU32::new(1000),
            node,
        };
        fresh.publish(&fresh.state.lock());
        fresh
    }

    /// Which meter.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Whose journal it stands in.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// How much of the limit is free, in thousandths; 1000 where no limit is known. For choice: one atomic load.
    pub fn headroom(&self) -> u32 {
        self.headroom.load(Ordering::Relaxed)
    }

    /// The limit in force, as far as this node knows.
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != UNKNOWN)
    }

    /// Units that count against the limit now: exact at each answer of the owner, an estimate between.
    pub fn used_in_window(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The upstream has answered a call: where the limit is unknown, first calls are no longer held to a few.
    pub fn answered(&self) {
        self.state.lock().answered();
        self.freed.notify_waiters();
        self.node.capacity_freed();
    }

    /// The configured limit, as the caller knows it.
    pub(super) fn configure(self: &Arc<Self>, limit: Option<u64>) {
        self.change(|held| held.configure(limit));
    }

    /// A limit that the upstream named.
    pub(super) fn learn(self: &Arc<Self>, limit: u64) {
        self.change(|held| held.learn(limit));
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Held) -> bool) {
        let changed = {
            let mut held = self.state.lock();
            let changed = change(&mut held);
            self.publish(&held);
            changed
        };
        if changed {
            self.node.activate(self);
            // Past any turn that was arranged before the change.
            self.node.urgent.lock().push(self.clone());
            self.node.wake.notify_one();
        }
    }

    /// Stands in line for units until dropped.
    pub(super) fn queue(self: &Arc<Self>, units: u64) -> Queued {
        self.waiting.fetch_add(units, Ordering::AcqRel);
        Queued {
            meter: self.clone(),
            units,
        }
    }

    /// How the meter stands, as last heard.
    pub(super) fn status(&self, now: Mono) -> MeterStatus {
        self.state.lock().status(&self.meter, now)
    }

    /// Copies what callers read without the lock.
    pub(super) fn publish(&self, held: &Held) {
        let used = held.used();
        self.used.store(used, Ordering::Relaxed);
        self.limit.store(held.limit.unwrap_or(UNKNOWN), Ordering::Relaxed);
        let headroom = match held.limit {
            None => 1000,
            Some(0) => 0,
            Some(limit) => {
                let free = u128::from(limit.saturating_sub(used));
                (free * 1000).div_ceil(u128::from(limit)).min(1000) as u32
            }
        };
        self.headroom.store(headroom, Ordering::Relaxed);
    }

    /// Takes units, or says why not.
    fn reserve(self: &Arc<Self>, now: Mono, units: u64) -> Result<u32, Shortage> {
        let result = {
            let mut held = self.state.lock();
            let result = held.reserve(now, units, self.first_calls);
            self.publish(&held);
            result
        };
        self.node.activate(self);
        result.map_err(|lack| {
            let (kind, retry_after_ms) = match lack {
                Lack::Cold => (ShortageKind::Cold, None),
                Lack::Dry(after) => (ShortageKind::Dry, after),
                Lack::Zero => (ShortageKind::Zero, None),
            };
            if kind != ShortageKind::Zero {
                self.node.hurry(self);
            }
            Shortage {
                meter: self.meter.clone(),
                retry_after_ms,
                kind,
            }
        })
    }

    fn unreserve(&self, key: u32, units: u64) {
        let mut held = self.state.lock();
        held.unreserve(key, units);
        self.publish(&held);
    }

    fn over(&self, key: u32, units: u64, actual: Actual) {
        let freed = {
            let mut held = self.state.lock();
            let actual = match self.meter.kind {
                MeterKind::Tokens { .. } => actual.tokens,
                MeterKind::Usd { .. } | MeterKind::UsdPerDay => actual.usd_ticks,
                _ => None,
            };
            if held.rules.class == Class::Amount && actual.is_none() {
                self.node.counters.presumed.fetch_add(1, Ordering::Relaxed);
            }
            held.over(key, units, actual);
            self.publish(&held);
            held.rules.class == Class::Slots
        };
        if freed {
            self.wake(1);
        }
    }

    /// Capacity came back: lets up to `calls` waiting calls try again, and tells whoever watches the node.
    pub(super) fn wake(&self, calls: u64) {
        self.wake_waiting(calls);
        self.node.capacity_freed();
    }

    fn wake_waiting(&self, calls: u64) {
        let waiting = self.waiting.load(Ordering::Acquire);
        if waiting > 0 {
            if calls >= waiting {
                self.freed.notify_waiters();
            } else {
                for _ in 0..calls {
                    self.freed.notify_one();
                }
            }
        }
    }
}

/// A place in the line for a meter's units.
pub(super) struct Queued {
    pub(super) meter: Arc<HeldMeter>,
    units: u64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.meter.waiting.fetch_sub(self.units, Ordering::AcqRel);
    }
}

/// One meter's part of a lease.
struct Item {
    meter: Arc<HeldMeter>,
    key: u32,
    units: u64,
}

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Taken,
    Sent,
    Settled,
}

/// The right to make one upstream call: units of every meter the call touches. One lease is one write.
///
/// Dropped before [`CallLease::confirm_send`], everything is given back; dropped after it without
/// [`CallLease::settle`], the reservations stand.
pub struct CallLease {
    items: [Option<Item>; INLINE],
    more: Vec<Item>,
    node: Arc<Node>,
    phase: Phase,
    confirmed_at: Mono,
}

impl fmt::Debug for CallLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meters = self.items().map(|item| (item.meter.meter.to_string(), item.units));
        write!(f, "CallLease({:?}) ", self.phase)?;
        f.debug_map().entries(meters).finish()
    }
}

impl CallLease {
    /// Takes of every meter or of none.
    pub(super) fn take(node: &Arc<Node>, wants: &[Want]) -> Result<CallLease, Shortage> {
        let now = node.clock.now();
        let mut lease = CallLease {
            items: Default::default(),
            more: Vec::new(),
            node: node.clone(),
            phase: Phase::Taken,
            confirmed_at: now,
        };
        for (index, want) in wants.iter().enumerate() {
            let key = match want.meter.reserve(now, want.units) {
                Ok(key) => key,
                Err(shortage) => {
                    lease.undo();
                    return Err(shortage);
                }
            };
            let item = Item {
                meter: want.meter.clone(),
                key,
                units: want.units,
            };
            match lease.items.get_mut(index) {
                Some(slot) => *slot = Some(item),
                None => lease.more.push(item),
            }
        }
        Ok(lease)
    }

    /// Gives back what a take that failed had reserved. Calls that wait for these meters look again; nobody else is
    /// told, for nothing has become free.
    fn undo(&mut self) {
        self.phase = Phase::Settled;
        for item in self.items() {
            item.meter.unreserve(item.key, item.units);
            item.meter.wake_waiting(1);
        }
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().flatten().chain(&self.more)
    }

    /// To be called when the request head is handed to a connected socket: from here on the call counts, whatever becomes
    /// of it. Starts the stamps of paced shares.
    ///
    /// # Errors
    /// The life of a grant behind the lease is over, or the lease was sent before: nothing may be sent with it.
    pub fn confirm_send(&mut self) -> Result<(), LeaseLapsed> {
        let now = self.node.clock.now();
        let sent_before = self.phase != Phase::Taken;
        for item in self.items() {
            if sent_before || !item.meter.state.lock().may_send(now, item.key, item.units) {
                self.node.counters.lease_lapsed.fetch_add(1, Ordering::Relaxed);
                return Err(LeaseLapsed {
                    meter: item.meter.meter.clone(),
                });
            }
        }
        for item in self.items() {
            item.meter.state.lock().sent(now, item.key, item.units);
        }
        self.phase = Phase::Sent;
        self.confirmed_at = now;
        Ok(())
    }

    /// To be called when the request head is written: later than D after [`CallLease::confirm_send`], the call is charged
    /// once more and counted in `lease_late`.
    pub fn written(&mut self) {
        let now = self.node.clock.now();
        if self.phase == Phase::Sent && now.ms_since(self.confirmed_at) > self.node.options.delivery_slack_ms {
            self.node.counters.late.fetch_add(1, Ordering::Relaxed);
            for item in self.items() {
                item.meter.state.lock().sent_late(now, item.key, item.units);
            }
            self.confirmed_at = now;
        }
    }

    /// Whether the call counts already.
    pub fn is_sent(&self) -> bool {
        self.phase == Phase::Sent
    }

    /// The call is over: what it cost replaces what was reserved. Before [`CallLease::confirm_send`] this gives everything
    /// back, as dropping does.
    pub fn settle(mut self, actual: Actual) {
        if self.phase == Phase::Sent {
            self.finish(actual);
        }
    }

    fn finish(&mut self, actual: Actual) {
        self.phase = Phase::Settled;
        for item in self.items() {
            item.meter.over(item.key, item.units, actual);
        }
    }
}

impl Drop for CallLease {
    fn drop(&mut self) {
        match self.phase {
            Phase::Taken => {
                for item in self.items() {
                    item.meter.unreserve(item.key, item.units);
                    item.meter.wake(1);
                }
            }
            Phase::Sent => self.finish(Actual::default()),
            Phase::Settled => {}
        }
    }
}
