//! What all meters of this node share: the clock, the settings, and the list of meters that want the pump's attention.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::meter::Meter;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::LedgerOptions;
use super::counters::LedgerCounters;
use super::holder::HeldMeter;
use super::renewal;
use crate::clock::{Clock, Mono};
use crate::cluster::Membership;

/// Shared by every [`HeldMeter`] and the pump.
pub(super) struct Node {
    pub(super) clock: Clock,
    pub(super) options: LedgerOptions,
    pub(super) counters: Arc<LedgerCounters>,
    /// Meters that get a turn at every beat of the pump.
    pub(super) active: Mutex<Vec<Arc<HeldMeter>>>,
    /// Meters that somebody waits for.
    pub(super) urgent: Mutex<Vec<Arc<HeldMeter>>>,
    /// Wakes the pump.
    pub(super) wake: Notify,
    /// Capacity came back somewhere.
    pub(super) released: Notify,
    freed: AtomicBool,
    closing: AtomicBool,
    /// For each shard: since when its owner does not answer, microseconds of this node's clock; 0 if it does.
    away: Vec<AtomicU64>,
    /// For each shard: when the last request that its owner answered was sent, microseconds of this node's clock; 0 if none was.
    answered: Vec<AtomicU64>,
    membership: Membership,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.options.session)
    }
}

impl Node {
    pub(super) fn new(clock: Clock, options: LedgerOptions, membership: Membership) -> Node {
        Node {
            clock,
            options,
            counters: Arc::default(),
            active: Mutex::default(),
            urgent: Mutex::default(),
            wake: Notify::new(),
            released: Notify::new(),
            freed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            away: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            answered: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            membership,
        }
    }

    /// The meter is in use: it gets a turn at every beat.
    pub(super) fn activate(&self, meter: &Arc<HeldMeter>) {
        if !meter.listed.load(Ordering::Relaxed) && !meter.listed.swap(true, Ordering::AcqRel) {
            let first = {
                let mut active = self.active.lock();
                active.push(meter.clone());
                active.len() == 1
            };
            if first {
                self.wake.notify_one();
            }
        }
    }

    /// Another node starves of these meters: what is not needed here goes back at once.
    pub(super) fn recall(&self, now: Mono, meters: &[Meter]) {
        // A meter with anything in hand is in use.
        let held: Vec<_> = {
            let active = self.active.lock();
            let recalled = active.iter().filter(|held| meters.contains(held.meter()));
            recalled.cloned().collect()
        };
        for meter in held {
            meter.state.lock().recall(now);
            self.hurry(&meter, false);
        }
    }

    /// The meter is short: it gets a turn at once. If the owner is known to have nothing, and a turn is arranged for when
    /// that may have changed, that one is soon enough.
    pub(super) fn hurry(&self, meter: &Arc<HeldMeter>, known_dry: bool) {
        if known_dry && meter.retrying.load(Ordering::Acquire) {
            return;
        }
        if !meter.hurried.swap(true, Ordering::AcqRel) {
            self.urgent.lock().push(meter.clone());
            self.wake.notify_one();
        }
    }

    /// Capacity came back. The pump passes it on, so that a thousand calls that end together are one signal.
    pub(super) fn capacity_freed(&self) {
        if !self.freed.load(Ordering::Relaxed) && !self.freed.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Whether a signal is due.
    pub(super) fn is_freed(&self) -> bool {
        self.freed.load(Ordering::Acquire)
    }

    /// Whether capacity came back since the last call.
    pub(super) fn take_freed(&self) -> bool {
        self.freed.swap(false, Ordering::AcqRel)
    }

    /// Whether the owner of this shard does not answer.
    pub(super) fn is_away(&self, shard: u16) -> bool {
        self.away_since(shard).is_some()
    }

    /// Since when the owner of this shard does not answer.
    pub(super) fn away_since(&self, shard: u16) -> Option<Mono> {
        let since = self.away.get(usize::from(shard))?.load(Ordering::Relaxed);
        (since > 0).then_some(Mono(since))
    }

    pub(super) fn set_away(&self, shard: usize, since: Option<Mono>) {
        if let Some(away) = self.away.get(shard) {
            away.store(since.map_or(0, |since| since.0.max(1)), Ordering::Relaxed);
        }
    }

    /// The owner of this shard answered what was sent to it then: it has heard since that this session lives.
    pub(super) fn set_answered(&self, shard: usize, sent: Mono) {
        if let Some(answered) = self.answered.get(shard) {
            answered.fetch_max(sent.0, Ordering::Relaxed);
        }
    }

    /// Whether slots in this shard may soon not be counted any more, because this session is not heard. Alone, it hears
    /// itself.
    pub(super) fn is_unheard(&self, shard: u16, now: Mono) -> bool {
        if !self.membership.is_clustered() {
            return false;
        }
        let answered = self
            .answered
            .get(usize::from(shard))
            .map(|at| at.load(Ordering::Relaxed));
        renewal::is_unheard(now, Mono(answered.unwrap_or(0)), self.membership.snapshot().lag_ms)
    }

    /// How many shards have an owner that does not answer.
    pub(super) fn shards_away(&self) -> usize {
        self.away.iter().filter(|away| away.load(Ordering::Relaxed) > 0).count()
    }

    pub(super) fn start_closing(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}
