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
use super::shortage::{Actual, Shortage, ShortageKind};
use crate::clock::Mono;

/// When a call that found the bus away should come again, milliseconds.
const AWAY_RETRY_MS: u64 = 1_000;
/// "No limit known" in an atomic.
const UNKNOWN: u64 = u64::MAX;
/// One meter, as this node holds it. Callers keep the `Arc`.
pub struct HeldMeter {
    meter: Arc<Meter>,
    shard: u16,
    first_calls: bool,
    pub(super) state: Mutex<Held>,
    /// Calls in line.
    pub(super) waiting: AtomicU64,
    pub(super) freed: Notify,
    pub(super) listed: AtomicBool,
    /// Waits for a turn at once.
    pub(super) hurried: AtomicBool,
    /// A turn is arranged for when the owner may have units again.
    pub(super) retrying: AtomicBool,
    /// A look at it while it rests is arranged.
    pub(super) resting: AtomicBool,
    limit: AtomicU64,
    used: AtomicU64,
    headroom: AtomicU32,
    hard: AtomicBool,
    node: Arc<Node>,
}

impl fmt::Debug for HeldMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldMeter({})", self.meter)
    }
}

impl HeldMeter {
    pub(super) fn new(
        meter: Arc<Meter>,
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
            retrying: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            limit: AtomicU64::new(UNKNOWN),
            used: AtomicU64::new(0),
            headroom: AtomicU32::new(1000),
            hard: AtomicBool::new(false),
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

    /// Whether calls that hold slots of it end where nobody may count them any more.
    pub fn is_hard(&self) -> bool {
        self.hard.load(Ordering::Relaxed)
    }

    /// Says whether they do.
    pub fn set_hard(&self, hard: bool) {
        self.hard.store(hard, Ordering::Relaxed);
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

    /// An ordinary answer to a call that was sent at `sent` said what the upstream allows in the window and what is left.
    pub fn note_remaining(self: &Arc<Self>, sent: Mono, limit: u64, remaining: u64) {
        let now = self.node.clock.now();
        if self.state.lock().note_remaining(now, sent, limit, remaining) {
            self.node.activate(self);
        }
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
            self.node.hurry(self, false);
        }
    }

    /// Stands in line for units until dropped.
    pub(super) fn queue(self: &Arc<Self>, units: u64) -> Queued {
        self.state.lock().enqueue(units);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Queued {
            meter: self.clone(),
            units,
        }
    }

    /// Units in hand.
    fn in_hand(&self) -> u64 {
        self.state.lock().stock(self.node.clock.now())
    }

    /// Units that no call has taken, and that the owner counts as handed out.
    pub(super) fn unused(&self) -> u64 {
        self.state.lock().unused(self.node.clock.now())
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
                let free = limit.saturating_sub(used);
                let thousandths = match free.checked_mul(1000) {
                    Some(scaled) => scaled.div_ceil(limit),
                    None => free / (limit / 1000).max(1),
                };
                thousandths.min(1000) as u32
            }
        };
        self.headroom.store(headroom, Ordering::Relaxed);
    }

    /// Takes units, or says why not.
    pub(super) fn reserve(self: &Arc<Self>, now: Mono, units: u64, again: bool) -> Result<u32, Shortage> {
        if self.is_hard() && self.node.is_unheard(self.shard, now) && self.in_hand() > 0 {
            // What is in hand may be somebody else's soon, and what is sent now would be broken off at once.
            self.node.activate(self);
            return Err(Shortage {
                meter: (*self.meter).clone(),
                retry_after_ms: Some(AWAY_RETRY_MS),
                kind: ShortageKind::Away,
            });
        }
        let result = {
            let mut held = self.state.lock();
            let result = held.reserve(now, units, self.first_calls, again);
            self.publish(&held);
            result
        };
        self.node.activate(self);
        result.map_err(|lack| {
            let (kind, retry_after_ms) = match lack {
                Lack::Cold | Lack::Dry(None) if self.node.is_away(self.shard) => {
                    (ShortageKind::Away, Some(AWAY_RETRY_MS))
                }
                Lack::Cold => (ShortageKind::Cold, None),
                Lack::Dry(after) => (ShortageKind::Dry, after),
                Lack::Zero => (ShortageKind::Zero, None),
            };
            if kind != ShortageKind::Zero {
                self.node.hurry(self, kind == ShortageKind::Dry);
            }
            Shortage {
                meter: (*self.meter).clone(),
                retry_after_ms,
                kind,
            }
        })
    }

    /// The call that failed on another meter will want these units, too: they are asked for at the same time.
    pub(super) fn foresee(self: &Arc<Self>, now: Mono, units: u64) {
        let short = self.state.lock().foresee(now, units);
        self.node.activate(self);
        if short {
            self.node.hurry(self, false);
        }
    }

    pub(super) fn unreserve(&self, key: u32, units: u64) {
        let mut held = self.state.lock();
        held.unreserve(key, units);
        self.publish(&held);
    }

    pub(super) fn over(self: &Arc<Self>, key: u32, units: u64, actual: Actual) {
        let owed;
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
            // Before a call here takes it again.
            owed = held.pay(self.node.clock.now());
            self.publish(&held);
            held.rules.class == Class::Slots
        };
        if owed {
            self.node.hurry(self, false);
        }
        if freed {
            self.wake(1);
        }
    }

    /// Units are sent; see [`Held::sent`].
    pub(super) fn sent(self: &Arc<Self>, now: Mono, key: u32, units: u64) {
        let owed = {
            let mut held = self.state.lock();
            held.sent(now, key, units);
            held.pay(now)
        };
        if owed {
            self.node.hurry(self, false);
        }
    }

    /// Capacity came back: lets up to `calls` waiting calls try again, and tells whoever watches the node.
    pub(super) fn wake(&self, calls: u64) {
        self.wake_waiting(calls);
        self.node.capacity_freed();
    }

    pub(super) fn wake_waiting(&self, calls: u64) {
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
        self.meter.state.lock().dequeue(self.units);
        self.meter.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
