//! The right to make one upstream call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::holder::HeldMeter;
use super::node::Node;
use super::renewal::HardSlots;
use super::shortage::{Actual, LeaseLapsed, Shortage, Want};
use crate::clock::Mono;

/// Meters of a call that need no allocation.
const INLINE: usize = 8;

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
        let meters = self.items().map(|item| (item.meter.meter().to_string(), item.units));
        write!(f, "CallLease({:?}) ", self.phase)?;
        f.debug_map().entries(meters).finish()
    }
}

impl CallLease {
    /// Takes of every meter or of none; `again` marks a call that has tried before.
    pub(super) fn take(node: &Arc<Node>, wants: &[Want], again: bool) -> Result<CallLease, Shortage> {
        let now = node.clock.now();
        let mut lease = CallLease {
            items: Default::default(),
            more: Vec::new(),
            node: node.clone(),
            phase: Phase::Taken,
            confirmed_at: now,
        };
        for (index, want) in wants.iter().enumerate() {
            let key = match want.meter.reserve(now, want.units, again) {
                Ok(key) => key,
                Err(shortage) => {
                    for later in wants.iter().skip(index + 1).filter(|_| !again) {
                        later.meter.foresee(now, later.units);
                    }
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

    /// Parts the lease in two: what it holds of everything else, and what it holds of this meter. Each is settled for
    /// itself.
    pub fn split_off(mut self, meter: &Arc<HeldMeter>) -> (CallLease, CallLease) {
        let mut apart = CallLease {
            items: Default::default(),
            more: Vec::new(),
            node: self.node.clone(),
            phase: self.phase,
            confirmed_at: self.confirmed_at,
        };
        let is_it = |item: &Item| Arc::ptr_eq(&item.meter, meter);
        let slot = self.items.iter_mut().find(|slot| slot.as_ref().is_some_and(is_it));
        if let Some(item) = slot.and_then(Option::take) {
            apart.items[0] = Some(item);
        } else if let Some(at) = self.more.iter().position(is_it) {
            apart.items[0] = Some(self.more.swap_remove(at));
        }
        (self, apart)
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
                    meter: item.meter.meter().clone(),
                });
            }
        }
        for item in self.items() {
            item.meter.sent(now, item.key, item.units);
        }
        self.phase = Phase::Sent;
        self.confirmed_at = now;
        Ok(())
    }

    /// The request head was written to the socket at that time: later than D after [`CallLease::confirm_send`], the call
    /// is charged once more and counted as late. Answers whether it was.
    pub fn written(&mut self, at: Mono) -> bool {
        let slack_us = self.node.options.delivery_slack_ms * 1000;
        let late = self.phase == Phase::Sent && at.us_since(self.confirmed_at) > slack_us;
        if late {
            self.node.counters.late.fetch_add(1, Ordering::Relaxed);
            for item in self.items() {
                let mut held = item.meter.state.lock();
                held.sent_late(at, item.key, item.units);
                item.meter.publish(&held);
                drop(held);
                self.node.activate(&item.meter);
            }
            self.confirmed_at = at;
        }
        late
    }

    /// What of it must not outlive the count of it; `None` if nothing.
    pub fn hard_slots(&self) -> Option<HardSlots> {
        let hard = self.items().filter(|item| item.meter.is_hard());
        HardSlots::of(&self.node, hard.map(|item| item.meter.shard()).collect())
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
