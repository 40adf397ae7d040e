//! Carries asks and settlements from this node's meters to the shards' owners, and answers back. One task; it looks at a
//! meter at once when somebody waits for it, and at every meter in use four times a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{GrantId, OwnerReply, Settlement};
use tokio_util::sync::CancellationToken;

use super::held::{Asks, Outgoing};
use super::holder::HeldMeter;
use super::node::Node;
use super::shards::Shards;
use super::spool::Spool;
use crate::bus::BusHandle;
use crate::clock::Mono;

mod answers;
mod batch;
mod dispatch;
mod pieces;

use self::batch::{Batch, Sent};

/// How often every meter in use gets a turn: also the longest that a settlement to an owner of this node is held back.
const BEAT: Duration = Duration::from_millis(250);
/// What nobody waits for goes to other nodes this often, one message for all shards of a node: at whole multiples of the
/// wall clock, so that owners hear of all holders at once and append once for all of them ([`super::actor`]).
pub(super) const EXCHANGE_MS: u64 = 4_000;
/// The same for meters that are nearly used up, where every unit that comes back early is used.
const BRISK_MS: u64 = 1_000;
/// What got lost is told again after so long, milliseconds.
const LOST_MS: u64 = 1_000;
/// The least time between two signals that capacity came back.
const SIGNAL_MS: u64 = 2;
/// An owner that has not answered an urgent request for this long is away, milliseconds.
const AWAY_MS: u64 = 1_500;
/// What earlier sessions left unsettled is told again this often until it is acknowledged, milliseconds.
const INHERITED_AGAIN_MS: u64 = 5_000;

/// What the pump needs besides the node's meters.
pub(super) struct PumpParts {
    pub(super) node: Arc<Node>,
    pub(super) shards: Arc<Shards>,
    pub(super) bus: BusHandle,
    pub(super) stop: CancellationToken,
    /// Where unacknowledged settlements outlive the process, and what an earlier one left there.
    pub(super) spool: Option<(Spool, Vec<Settlement>)>,
}

/// The task that carries.
pub(super) struct Pump {
    node: Arc<Node>,
    shards: Arc<Shards>,
    bus: BusHandle,
    stop: CancellationToken,
    pending: FuturesUnordered<BoxFuture<'static, Vec<Answered>>>,
    batches: Vec<Batch>,
    spool: Option<Spool>,
    inherited: BTreeMap<GrantId, (usize, Settlement)>,
    inherited_told_at: Option<Mono>,
    /// Which exchange and which brisk one was the last, and what this step is the occasion for.
    exchange: u64,
    brisk: u64,
    occasion: Asks,
    retries: Vec<(Mono, Arc<HeldMeter>)>,
    /// Meters at rest whose published figures still change with time.
    resting: BTreeMap<(Mono, u64), Arc<HeldMeter>>,
    looks: u64,
    beaten_at: Mono,
    signalled_at: Mono,
}

/// How one shard's request ended.
struct Answered {
    shard: usize,
    sent: Sent,
    outcome: Outcome,
}

enum Outcome {
    /// The owner of that session answered, in that epoch.
    Reply(SessionId, u64, OwnerReply),
    /// That node does not own the shard.
    NotMine,
    /// Nobody knows.
    Lost,
}

/// Which beat a moment belongs to.
const fn beat_of(moment: Mono) -> u64 {
    moment.0 / BEAT.as_micros() as u64
}

impl Pump {
    pub(super) fn new(parts: PumpParts) -> Pump {
        let PumpParts {
            node,
            shards,
            bus,
            stop,
            spool,
        } = parts;
        let session = node.options.session;
        let now = node.clock.now();
        let (spool, left_behind) = spool.map_or((None, Vec::new()), |(spool, left)| (Some(spool), left));
        if !left_behind.is_empty() {
            tracing::info!(
                grants = left_behind.len(),
                "an earlier life of this node left settlements that no owner acknowledged: settling them"
            );
        }
        let inherited = left_behind.into_iter().map(|settlement| {
            let shard = usize::from(super::handle::shard_of(&settlement.meter.domain));
            (settlement.grant, (shard, settlement))
        });
        Pump {
            batches: (0..SHARDS).map(|_| Batch::new(session, now)).collect(),
            inherited: inherited.collect(),
            inherited_told_at: None,
            beaten_at: now,
            signalled_at: now,
            node,
            shards,
            bus,
            stop,
            spool,
            pending: FuturesUnordered::new(),
            exchange: 0,
            brisk: 0,
            occasion: Asks::Urgent,
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
                Some(answers) = self.pending.next(), if !self.pending.is_empty() => {
                    for answer in answers {
                        self.answered(answer);
                    }
                }
                () = self.node.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.step();
        }
    }

    /// How long there is nothing to do.
    fn pause(&self) -> Duration {
        let now = self.node.clock.now();
        let has_spooled = self.spool.as_ref().is_some_and(Spool::has_work);
        let is_idle = self.node.active.lock().is_empty() && self.inherited.is_empty() && !has_spooled;
        let mut pause_us = if is_idle {
            60_000_000
        } else {
            let beat_us = self.node.clock.until_next(BEAT).as_micros() as u64;
            // To the millisecond: the owners wait for it.
            let exchange_ms = EXCHANGE_MS - self.node.clock.wall().0 % EXCHANGE_MS;
            beat_us.min(exchange_ms * 1000)
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
        for batch in self.batches.iter().filter(|batch| !batch.is_empty()) {
            if let Some(at) = batch.not_before {
                pause_us = pause_us.min(at.us_since(now).max(1_000));
            }
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
        self.occasion = Asks::Urgent;
        let is_exchange = self.is_exchange();
        if is_exchange || beat_of(now) != beat_of(self.beaten_at) {
            self.beaten_at = now;
            self.occasion = self.next_occasion();
            self.beat(now);
            self.look_at_resting(now);
            self.tell_inherited(now);
            self.look_for_away(now);
            if let Some(spool) = &mut self.spool {
                spool.flush(now);
            }
        }
        self.dispatch(now);
        if now.ms_since(self.signalled_at) >= SIGNAL_MS && self.node.take_freed() {
            self.signalled_at = now;
            self.node.released.notify_waiters();
        }
    }

    /// Whether an exchange is due.
    fn is_exchange(&self) -> bool {
        self.exchange != self.node.clock.wall().0 / EXCHANGE_MS
    }

    /// What a beat is the occasion for. Alone, nothing is gained by holding anything back.
    fn next_occasion(&mut self) -> Asks {
        let wall_ms = self.node.clock.wall().0;
        let (exchange, brisk) = (wall_ms / EXCHANGE_MS, wall_ms / BRISK_MS);
        let is_exchange = std::mem::replace(&mut self.exchange, exchange) != exchange;
        let is_brisk = std::mem::replace(&mut self.brisk, brisk) != brisk;
        if is_exchange || !self.shards.membership.is_clustered() {
            Asks::All
        } else if is_brisk {
            Asks::Brisk
        } else {
            Asks::Urgent
        }
    }

    fn beat(&mut self, now: Mono) {
        for batch in &mut self.batches {
            batch.holds = false;
            batch.is_brisk = false;
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

    /// What earlier sessions of this node left unsettled goes out with the next messages.
    fn tell_inherited(&mut self, now: Mono) {
        let is_due = self
            .inherited_told_at
            .is_none_or(|at| now.ms_since(at) >= INHERITED_AGAIN_MS);
        if self.inherited.is_empty() || !is_due {
            return;
        }
        self.inherited_told_at = Some(now);
        for (shard, settlement) in self.inherited.values() {
            if let Some(batch) = self.batches.get_mut(*shard) {
                batch.tell(None, settlement.clone());
            }
        }
    }

    /// Shards whose owner does not answer what somebody waits for.
    fn look_for_away(&mut self, now: Mono) {
        for (shard, batch) in self.batches.iter().enumerate() {
            let since = batch.waiting_since.filter(|since| now.ms_since(*since) >= AWAY_MS);
            self.node.set_away(shard, since);
        }
    }

    /// One meter's turn; answers whether it is at rest.
    fn turn(&mut self, now: Mono, meter: &Arc<HeldMeter>) -> bool {
        let is_overdue = self
            .batches
            .get(usize::from(meter.shard()))
            .is_some_and(|batch| batch.is_overdue);
        let asks = match self.occasion {
            _ if self.node.is_closing() => Asks::None,
            _ if is_overdue => Asks::All,
            occasion => occasion,
        };
        let out = {
            let mut held = meter.state.lock();
            let out = held.turn_for(now, meter.meter(), asks);
            if let Some(spool) = &mut self.spool {
                for settlement in &out.settlements {
                    spool.told(now, settlement, held.units_of(settlement.grant));
                }
            }
            meter.publish(&held);
            out
        };
        let Outgoing {
            learned,
            seen,
            settlements,
            ask,
            urgent,
            is_brisk,
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
        // Who counts slots of a hard meter must hear more often that they are in use.
        batch.is_brisk |= is_brisk || meter.is_hard();
        if let Some(limit) = learned {
            batch.request.learned.push((meter.meter().clone(), limit));
        }
        if let Some(seen) = seen {
            batch.request.seen.push((meter.meter().clone(), seen));
        }
        for settlement in settlements {
            batch.tell(Some(meter), settlement);
        }
        if let Some(ask) = ask {
            batch.ask(meter, ask);
        }
        at_rest
    }
}
