//! Carries asks and settlements from this node's meters to the shards' owners, and answers back. One task; it looks at a
//! meter at once when somebody waits for it, and at every meter in use four times a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::Addr;
use arc_swap::ArcSwapOption;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{GrantId, OwnerReply, OwnerRequest, Report};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{self, Exchange, ShardActor, ShardContext};
use super::held::Outgoing;
use super::holder::HeldMeter;
use super::node::Node;
use crate::clock::Mono;

/// How often every meter in use gets a turn: also the longest that a settlement is held back.
const BEAT: Duration = Duration::from_millis(250);
/// An owner is told at least this often that the session lives.
const HEARTBEAT_MS: u64 = 2_000;
/// The least time between two signals that capacity came back.
const SIGNAL_MS: u64 = 2;
/// How long a shard that was lost is left alone before it is taken over again (no duels).
const REOPEN_AFTER: Duration = Duration::from_secs(5);
/// How long a shard whose actor died by a fault waits for its next life.
const REBUILD_AFTER: Duration = Duration::from_millis(100);

/// Where a shard's owner lives.
pub(super) struct ShardLink {
    pub(super) context: ShardContext,
    pub(super) arbiter: actix_rt::ArbiterHandle,
    pub(super) addr: ArcSwapOption<Addr<ShardActor>>,
    pub(super) reopening: AtomicBool,
}

/// What one exchange carried, to make sense of its answer.
struct Sent {
    asks: Vec<(Arc<HeldMeter>, u64)>,
    told: Vec<(Arc<HeldMeter>, GrantId, Report)>,
}

/// The task that carries.
pub(super) struct Pump {
    node: Arc<Node>,
    links: Arc<Vec<ShardLink>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    pending: FuturesUnordered<BoxFuture<'static, (Sent, Option<OwnerReply>)>>,
    batches: Vec<Batch>,
    retries: Vec<(Mono, Arc<HeldMeter>)>,
    /// Meters at rest whose published figures still change with time.
    resting: BTreeMap<(Mono, u64), Arc<HeldMeter>>,
    looks: u64,
    beaten_at: Mono,
    signalled_at: Mono,
}

/// What goes to one shard.
struct Batch {
    request: OwnerRequest,
    sent: Sent,
    urgent: bool,
    spoke_at: Mono,
    holds: bool,
}

impl Pump {
    pub(super) fn new(
        node: Arc<Node>,
        links: Arc<Vec<ShardLink>>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Pump {
        let session = node.options.session;
        let now = node.clock.now();
        Pump {
            batches: (0..SHARDS).map(|_| Batch::new(session, now)).collect(),
            beaten_at: now,
            signalled_at: now,
            node,
            links,
            tracker,
            stop,
            pending: FuturesUnordered::new(),
            retries: Vec::new(),
            resting: BTreeMap::new(),
            looks: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let pause = self.pause();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some((sent, reply)) = self.pending.next(), if !self.pending.is_empty() => self.answered(sent, reply),
                () = self.node.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.step();
        }
    }

    /// How long there is nothing to do.
    fn pause(&self) -> Duration {
        let now = self.node.clock.now();
        let mut pause_us = if self.node.active.lock().is_empty() {
            60_000_000
        } else {
            (BEAT.as_micros() as u64).saturating_sub(now.us_since(self.beaten_at))
        };
        if let Some(((at, _), _)) = self.resting.first_key_value() {
            // A beat late is early enough.
            pause_us = pause_us.min(at.us_since(now).max(BEAT.as_micros() as u64));
        }
        if self.node.is_freed() {
            pause_us = pause_us.min(SIGNAL_MS * 1000);
        }
        for (at, _) in &self.retries {
            pause_us = pause_us.min(at.us_since(now));
        }
        Duration::from_micros(pause_us)
    }

    fn step(&mut self) {
        let now = self.node.clock.now();
        let urgent = std::mem::take(&mut *self.node.urgent.lock());
        for meter in urgent {
            meter.hurried.store(false, Ordering::Release);
            self.turn(now, &meter);
        }
        let mut index = 0;
        while index < self.retries.len() {
            if self.retries.get(index).is_some_and(|(at, _)| *at <= now) {
                let (_, meter) = self.retries.swap_remove(index);
                meter.retrying.store(false, Ordering::Release);
                self.turn(now, &meter);
            } else {
                index += 1;
            }
        }
        if now.us_since(self.beaten_at) >= BEAT.as_micros() as u64 {
            self.beaten_at = now;
            self.beat(now);
            self.look_at_resting(now);
        }
        self.dispatch(now);
        if now.ms_since(self.signalled_at) >= SIGNAL_MS && self.node.take_freed() {
            self.signalled_at = now;
            self.node.released.notify_waiters();
        }
    }

    fn beat(&mut self, now: Mono) {
        for batch in &mut self.batches {
            batch.holds = false;
        }
        let active = std::mem::take(&mut *self.node.active.lock());
        let mut still = Vec::with_capacity(active.len());
        for meter in active {
            let at_rest = self.turn(now, &meter);
            if at_rest {
                meter.listed.store(false, Ordering::Release);
            } else {
                if let Some(batch) = self.batches.get_mut(usize::from(meter.shard())) {
                    batch.holds = true;
                }
                still.push(meter);
            }
        }
        self.node.active.lock().append(&mut still);
    }

    fn look_at_resting(&mut self, now: Mono) {
        while let Some(first) = self.resting.first_entry()
            && first.key().0 <= now
        {
            let meter = first.remove();
            meter.resting.store(false, Ordering::Release);
            if !meter.listed.load(Ordering::Acquire) {
                self.turn(now, &meter);
            }
        }
    }

    /// One meter's turn; answers whether it is at rest.
    fn turn(&mut self, now: Mono, meter: &Arc<HeldMeter>) -> bool {
        let out = {
            let mut held = meter.state.lock();
            let out = held.turn(now, meter.meter(), !self.node.is_closing());
            meter.publish(&held);
            out
        };
        let Outgoing {
            learned,
            seen,
            settlements,
            ask,
            urgent,
            again_at,
            at_rest,
            look_at,
        } = out;
        if let Some(look_at) = look_at
            && !meter.resting.swap(true, Ordering::AcqRel)
        {
            self.looks += 1;
            self.resting.insert((look_at, self.looks), meter.clone());
        }
        if let Some(again_at) = again_at
            && !meter.retrying.swap(true, Ordering::AcqRel)
        {
            self.retries.push((again_at, meter.clone()));
        }
        let Some(batch) = self.batches.get_mut(usize::from(meter.shard())) else {
            return at_rest;
        };
        batch.urgent |= urgent;
        if let Some(limit) = learned {
            batch.request.learned.push((meter.meter().clone(), limit));
        }
        if let Some(seen) = seen {
            batch.request.seen.push((meter.meter().clone(), seen));
        }
        for settlement in settlements {
            batch
                .sent
                .told
                .push((meter.clone(), settlement.grant, settlement.report));
            batch.request.settlements.push(settlement);
        }
        if let Some(ask) = ask {
            batch.sent.asks.push((meter.clone(), ask.number));
            batch.request.asks.push(ask);
        }
        at_rest
    }

    /// Sends what has gathered to the shards' owners.
    fn dispatch(&mut self, now: Mono) {
        for shard in 0..self.batches.len() {
            let (Some(batch), Some(link)) = (self.batches.get_mut(shard), self.links.get(shard)) else {
                continue;
            };
            let heartbeat = batch.holds && now.ms_since(batch.spoke_at) >= HEARTBEAT_MS;
            if batch.is_empty() && !heartbeat {
                continue;
            }
            let fresh = Batch::new(self.node.options.session, now);
            let (request, sent, urgent) = (
                std::mem::replace(&mut batch.request, fresh.request),
                std::mem::replace(&mut batch.sent, fresh.sent),
                std::mem::take(&mut batch.urgent),
            );
            batch.spoke_at = now;
            let (reply, answer) = oneshot::channel();
            let exchange = Exchange {
                request,
                urgent: urgent || self.node.is_closing(),
                reply,
            };
            self.node.counters.requests.fetch_add(1, Ordering::Relaxed);
            let delivered = match &*link.addr.load() {
                Some(addr) if addr.connected() => addr.try_send(exchange).is_ok(),
                _ => {
                    reopen(&self.links, shard, &self.tracker, &self.stop);
                    false
                }
            };
            if delivered {
                self.pending.push(Box::pin(async move { (sent, answer.await.ok()) }));
            } else {
                self.lost(&sent, now);
            }
        }
    }

    fn answered(&self, sent: Sent, reply: Option<OwnerReply>) {
        let now = self.node.clock.now();
        let Some(reply) = reply else {
            return self.lost(&sent, now);
        };
        if reply.acknowledged {
            for (meter, grant, report) in &sent.told {
                meter.state.lock().acknowledge(*grant, *report);
            }
        }
        for (name, grant) in &reply.gone {
            if let Some((meter, _, _)) = sent.told.iter().find(|(meter, _, _)| meter.meter() == name) {
                meter.state.lock().gone(*grant);
            }
        }
        for name in &reply.recalled {
            // A meter with anything in hand is in use.
            let held = self
                .node
                .active
                .lock()
                .iter()
                .find(|meter| meter.meter() == name)
                .cloned();
            if let Some(meter) = held {
                meter.state.lock().recall(now);
                self.node.hurry(&meter, false);
            }
        }
        for answer in &reply.answers {
            let Some((meter, _)) = sent
                .asks
                .iter()
                .find(|(meter, number)| *number == answer.ask && *meter.meter() == answer.meter)
            else {
                continue;
            };
            let fresh = {
                let mut held = meter.state.lock();
                let fresh = held.answer(now, answer);
                meter.publish(&held);
                fresh
            };
            if fresh > 0 {
                meter.wake(fresh);
            }
            if meter.waiting.load(Ordering::Acquire) > 0 {
                self.node.hurry(meter, false);
            }
            self.node.activate(meter);
        }
    }

    fn lost(&self, sent: &Sent, now: Mono) {
        self.node.counters.requests_lost.fetch_add(1, Ordering::Relaxed);
        for (meter, number) in &sent.asks {
            meter.state.lock().ask_failed(*number, now);
            self.node.activate(meter);
        }
        for (meter, _, _) in &sent.told {
            meter.state.lock().not_told();
        }
    }
}

impl Batch {
    fn new(session: SessionId, now: Mono) -> Batch {
        Batch {
            request: OwnerRequest::of(session),
            sent: Sent {
                asks: Vec::new(),
                told: Vec::new(),
            },
            urgent: false,
            spoke_at: now,
            holds: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.request.learned.is_empty()
            && self.request.seen.is_empty()
            && self.request.settlements.is_empty()
            && self.request.asks.is_empty()
    }
}

/// Takes a shard over again whose actor is gone, in the background.
fn reopen(links: &Arc<Vec<ShardLink>>, shard: usize, tracker: &TaskTracker, stop: &CancellationToken) {
    let Some(link) = links.get(shard) else {
        return;
    };
    if stop.is_cancelled() || link.reopening.swap(true, Ordering::AcqRel) {
        return;
    }
    let pause = if link.context.stepped_down.swap(false, Ordering::AcqRel) {
        REOPEN_AFTER
    } else {
        tracing::error!(
            shard,
            "the owner of this shard died of a fault: building it anew from its journal"
        );
        REBUILD_AFTER
    };
    let (links, stop) = (links.clone(), stop.clone());
    tracker.spawn(async move {
        let Some(link) = links.get(shard) else {
            return;
        };
        let again = async {
            tokio::time::sleep(pause).await;
            actor::open(link.context.clone(), &link.arbiter).await
        };
        tokio::select! {
            () = stop.cancelled() => {}
            opened = again => match opened {
                Ok(addr) => link.addr.store(Some(Arc::new(addr))),
                Err(error) => tracing::error!(shard, %error, "shard not taken over; the next request for it tries again"),
            },
        }
        link.reopening.store(false, Ordering::Release);
    });
}
