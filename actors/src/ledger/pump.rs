//! Carries asks and settlements from this node's meters to the shards' owners, and answers back. One task; it looks at a
//! meter at once when somebody waits for it, and at every meter in use four times a second.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::cluster::{NodeReply, NodeRequest, ShardReply, ShardRequest};
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{GrantId, OwnerReply, Settlement};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::actor::Exchange;
use super::held::Outgoing;
use super::holder::HeldMeter;
use super::node::Node;
use super::remote;
use super::shards::{Route, Shards};
use super::spool::Spool;
use crate::bus::{BusErrorKind, BusHandle};
use crate::clock::Mono;

mod batch;
mod pieces;

use self::batch::{Batch, Sent};
use self::pieces::{Part, pieces};

/// How often every meter in use gets a turn: also the longest that a settlement to an owner of this node is held back.
const BEAT: Duration = Duration::from_millis(250);
/// An owner is told at least this often that the session lives.
const HEARTBEAT_MS: u64 = 2_000;
/// What nobody waits for goes to another node this often at most: one message for all its shards.
const HOLD_BACK_MS: u64 = 1_000;
/// The least time between two signals that capacity came back.
const SIGNAL_MS: u64 = 2;
/// After an answer from a node that does not own the shard, the right one is asked no sooner than this: it may be about
/// to take over.
const ASTRAY_MS: u64 = 10;
/// How long an owner on another node has to answer what somebody waits for; half of it is how long the bus may be silent
/// before callers are told.
const URGENT_WITHIN: Duration = Duration::from_secs(2);
/// The same for what waits for the owner's tick.
const LAZY_WITHIN: Duration = Duration::from_secs(6);
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
    /// When each other node was last told what nobody waits for.
    told_at: HashMap<SessionId, Mono>,
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
            told_at: HashMap::new(),
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
        if now.us_since(self.beaten_at) >= BEAT.as_micros() as u64 {
            self.beaten_at = now;
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
            let is_away = batch.waiting_since.is_some_and(|since| now.ms_since(since) >= AWAY_MS);
            self.node.set_away(shard, is_away);
        }
    }

    /// One meter's turn; answers whether it is at rest.
    fn turn(&mut self, now: Mono, meter: &Arc<HeldMeter>) -> bool {
        let out = {
            let mut held = meter.state.lock();
            let out = held.turn(now, meter.meter(), !self.node.is_closing());
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
            batch.tell(Some(meter), settlement);
        }
        if let Some(ask) = ask {
            batch.ask(meter, ask);
        }
        at_rest
    }

    /// Sends what has gathered to the shards' owners: to those of this node at once, to another node what somebody waits
    /// for at once and the rest together.
    fn dispatch(&mut self, now: Mono) {
        let mut urgent: BTreeMap<SessionId, Vec<Part>> = BTreeMap::new();
        let mut lazy: BTreeMap<SessionId, Vec<Part>> = BTreeMap::new();
        let is_closing = self.node.is_closing();
        for shard in 0..self.batches.len() {
            let Some(batch) = self.batches.get_mut(shard) else {
                continue;
            };
            let heartbeat = batch.holds && now.ms_since(batch.spoke_at) >= HEARTBEAT_MS;
            if batch.is_empty() && !heartbeat {
                continue;
            }
            if batch.not_before.is_some_and(|at| now < at) {
                continue;
            }
            let hurries = batch.urgent || is_closing;
            match self.shards.route(shard) {
                Route::Local(open) => {
                    let (request, sent) = batch.take(now, hurries);
                    let (reply, answer) = oneshot::channel();
                    let exchange = Exchange {
                        request,
                        urgent: hurries,
                        reply,
                    };
                    self.node.counters.requests.fetch_add(1, Ordering::Relaxed);
                    let delivered = open.addr.try_send(exchange).is_ok();
                    let (me, epoch) = (self.node.options.session, open.epoch);
                    self.pending.push(Box::pin(async move {
                        let outcome = match answer.await {
                            Ok(reply) => Outcome::Reply(me, epoch, reply),
                            // Let go of with the request in hand, or full.
                            Err(_) if delivered => Outcome::NotMine,
                            Err(_) => Outcome::Lost,
                        };
                        vec![Answered { shard, sent, outcome }]
                    }));
                }
                Route::Remote(session) => {
                    let told = self.told_at.get(&session);
                    if !hurries && told.is_some_and(|at| now.ms_since(*at) < HOLD_BACK_MS) {
                        continue;
                    }
                    let (request, sent) = batch.take(now, hurries);
                    let part = ShardRequest {
                        shard: u16::try_from(shard).unwrap_or(u16::MAX),
                        urgent: hurries,
                        request,
                    };
                    let parts = if hurries { &mut urgent } else { &mut lazy };
                    parts.entry(session).or_default().push((shard, part, sent));
                }
                Route::Nobody => {
                    let (_, sent) = batch.take(now, hurries);
                    let lost = Answered {
                        shard,
                        sent,
                        outcome: Outcome::Lost,
                    };
                    self.node.counters.requests.fetch_add(1, Ordering::Relaxed);
                    self.answered(lost);
                }
            }
        }
        for (session, parts) in urgent {
            self.send(session, parts, URGENT_WITHIN);
        }
        for (session, parts) in lazy {
            self.told_at.insert(session, now);
            self.send(session, parts, LAZY_WITHIN);
        }
        if self.told_at.len() > 64 {
            self.told_at.retain(|_, at| now.ms_since(*at) < 60_000);
        }
    }

    /// One message to another node, or as many as it takes.
    fn send(&self, session: SessionId, parts: Vec<Part>, within: Duration) {
        for parts in pieces(parts) {
            self.send_piece(session, parts, within);
        }
    }

    fn send_piece(&self, session: SessionId, parts: Vec<Part>, within: Duration) {
        let bus = self.bus.clone();
        let counters = self.node.counters.clone();
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.remote_requests.fetch_add(1, Ordering::Relaxed);
        self.pending.push(Box::pin(async move {
            let mut requests = Vec::with_capacity(parts.len());
            let mut sent = Vec::with_capacity(parts.len());
            for (shard, request, told) in parts {
                requests.push(request);
                sent.push((shard, told));
            }
            let began = tokio::time::Instant::now();
            let answer = remote::ask(&bus, session, &NodeRequest::Exchange(requests), within).await;
            let mut replies = match answer {
                Ok(NodeReply::Exchange(replies)) => replies,
                Ok(NodeReply::Done | NodeReply::KeyUsage(_)) => Vec::new(),
                Err(error) => {
                    counters.remote_lost.fetch_add(1, Ordering::Relaxed);
                    if error.kind == BusErrorKind::Unreachable {
                        // Nobody serves that session: do not spin.
                        let pause = Duration::from_millis(100).saturating_sub(began.elapsed());
                        tokio::time::sleep(pause).await;
                    }
                    tracing::debug!(%session, %error, "an owner on another node did not answer");
                    Vec::new()
                }
            }
            .into_iter();
            let answers = sent.into_iter().map(|(shard, sent)| Answered {
                shard,
                sent,
                outcome: match replies.next() {
                    Some(ShardReply::Answered { epoch, reply }) => Outcome::Reply(session, epoch, reply),
                    Some(ShardReply::NotMine) => Outcome::NotMine,
                    None => Outcome::Lost,
                },
            });
            answers.collect()
        }));
    }

    fn answered(&mut self, answer: Answered) {
        let Answered { shard, sent, outcome } = answer;
        let now = self.node.clock.now();
        match outcome {
            Outcome::Reply(from, epoch, reply) if !self.shards.is_stale(shard, from, epoch) => {
                if let Some(batch) = self.batches.get_mut(shard) {
                    batch.not_before = None;
                    batch.waiting_since = None;
                }
                self.replied(now, &sent, &reply);
            }
            Outcome::NotMine => self.astray(now, shard, &sent),
            Outcome::Reply(..) | Outcome::Lost => self.lost(now, &sent),
        }
    }

    fn replied(&mut self, now: Mono, sent: &Sent, reply: &OwnerReply) {
        if reply.acknowledged {
            for told in &sent.told {
                if let Some(meter) = &told.meter {
                    meter.state.lock().acknowledge(told.grant, told.report);
                }
                self.inherited.remove(&told.grant);
                if let Some(spool) = &mut self.spool {
                    spool.acknowledged(now, told.grant, told.report);
                }
            }
        }
        for (name, grant) in &reply.gone {
            let known = sent.told.iter().filter_map(|told| told.meter.as_ref());
            if let Some(meter) = known.into_iter().find(|meter| meter.meter() == name) {
                meter.state.lock().gone(*grant);
            }
        }
        if !reply.recalled.is_empty() {
            self.node.recall(now, &reply.recalled);
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

    /// The node that was asked does not own the shard: the right one is asked at once.
    fn astray(&mut self, now: Mono, shard: usize, sent: &Sent) {
        if let Some(batch) = self.batches.get_mut(shard) {
            batch.not_before = Some(now.plus_ms(ASTRAY_MS));
        }
        for (meter, number) in &sent.asks {
            meter.state.lock().ask_astray(*number);
            self.node.activate(meter);
            if sent.urgent {
                self.node.hurry(meter, false);
            }
        }
        self.untold(sent);
    }

    fn lost(&self, now: Mono, sent: &Sent) {
        self.node.counters.requests_lost.fetch_add(1, Ordering::Relaxed);
        for (meter, number) in &sent.asks {
            meter.state.lock().ask_failed(*number, now);
            self.node.activate(meter);
        }
        self.untold(sent);
    }

    fn untold(&self, sent: &Sent) {
        for meter in sent.told.iter().filter_map(|told| told.meter.as_ref()) {
            meter.state.lock().not_told();
            self.node.activate(meter);
        }
    }
}
