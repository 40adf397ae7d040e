//! The node's handle on the ledger.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_rt::ArbiterHandle;
use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::meter::{Domain, Meter};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{self, Finish, Inspect, OwnerStanding, ShardContext};
use super::counters::LedgerCounters;
use super::holder::HeldMeter;
use super::lease::CallLease;
use super::node::Node;
use super::pump::{Pump, ShardLink};
use super::shortage::{Shortage, ShortageKind, Want};
use super::{LedgerError, LedgerOptions};
use crate::bus::BusHandle;
use crate::clock::Clock;

/// The longest that a call that waits goes without looking again by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long a graceful end waits for acknowledgements.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// How often a graceful end looks whether it is done.
const CLOSE_LOOK: Duration = Duration::from_millis(10);

/// The ledger as this node's callers use it: cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    node: Arc<Node>,
    links: Arc<Vec<ShardLink>>,
    meters: DashMap<Arc<Meter>, Arc<HeldMeter>>,
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
    /// Replays the journals, takes the shards over, and starts their owners on the arbiters, in turn.
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
        let node = Arc::new(Node::new(clock.clone(), options));
        let stop = CancellationToken::new();
        let contexts = (0..SHARDS).map(|shard| ShardContext {
            shard,
            bus: bus.clone(),
            clock: clock.clone(),
            options,
            counters: node.counters.clone(),
            stepped_down: Arc::new(AtomicBool::new(false)),
            stop: stop.clone(),
        });
        let opening = contexts.enumerate().map(|(index, context)| {
            let arbiter = arbiters.get(index % arbiters.len().max(1)).cloned();
            async move {
                let arbiter = arbiter.ok_or(LedgerError::NoArbiter)?;
                let addr = actor::open(context.clone(), &arbiter).await?;
                Ok::<ShardLink, LedgerError>(ShardLink {
                    context,
                    arbiter,
                    addr: ArcSwapOption::from_pointee(addr),
                    reopening: AtomicBool::new(false),
                })
            }
        });
        let links = Arc::new(futures::future::try_join_all(opening).await?);
        let pump = Pump::new(node.clone(), links.clone(), tracker.clone(), stop.clone());
        tracker.spawn(pump.run());
        Ok(Ledger {
            inner: Arc::new(Inner {
                node,
                links,
                meters: DashMap::new(),
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
        for link in self.inner.links.iter() {
            let (reply, answer) = oneshot::channel();
            let asked = link
                .addr
                .load()
                .as_ref()
                .is_some_and(|addr| addr.try_send(Inspect(reply)).is_ok());
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

    /// A graceful end: gives back what is not in use, settles everything, writes it down, stops. Calls still in flight are
    /// settled by presumption in the process's next life.
    pub async fn close(&self) {
        let inner = &self.inner;
        inner.node.start_closing();
        for entry in inner.meters.iter() {
            let meter = entry.value();
            meter.state.lock().wind_up();
            inner.node.activate(meter);
            inner.node.hurry(meter, false);
        }
        let settled = async {
            while !inner.meters.iter().all(|entry| entry.value().state.lock().is_settled()) {
                tokio::time::sleep(CLOSE_LOOK).await;
            }
            for link in inner.links.iter() {
                let (done, written) = oneshot::channel();
                if link
                    .addr
                    .load()
                    .as_ref()
                    .is_some_and(|addr| addr.try_send(Finish(done)).is_ok())
                {
                    let _ = written.await;
                }
            }
        };
        if tokio::time::timeout(CLOSE_WITHIN, settled).await.is_err() {
            tracing::warn!("the ledger's end ran out of time: what was not written lapses");
        }
        inner.stop.cancel();
    }

    /// Ends one shard's actor as a fault would, for tests.
    #[cfg(test)]
    pub(super) async fn fault(&self, shard: u16) {
        let addr = self.inner.links[usize::from(shard)].addr.load_full().unwrap();
        let (done, gone) = oneshot::channel();
        addr.try_send(Finish(done)).unwrap();
        gone.await.unwrap();
    }

    /// Ends the node without grace, for tests.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        self.inner.stop.cancel();
        for link in self.inner.links.iter() {
            link.addr.store(None);
        }
    }
}
