//! The actor around a shard's [`Owner`]: one mailbox, one append on its way at a time. Answers leave when their append is
//! acknowledged; an append that fails is repeated byte for byte; a conflict means that another session owns the shard
//! now, and the actor stops.

mod handlers;
mod messages;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, SpawnHandle, WrapFuture};
use grok2api_schemas::cluster::NodeRequest;
use grok2api_schemas::ledger::OwnerReply;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::messages::OwnerStanding;
pub(super) use self::messages::{Exchange, Finish, Inspect, Lost, Rebase};
use super::memory::JournalMemory;
use super::node::Node;
use super::owner::{Append, Owner};
use super::pump::EXCHANGE_MS;
use super::rules::Moment;
use super::{LedgerError, LedgerOptions, remote};
use crate::bus::{BusErrorKind, BusHandle};
use crate::clock::{Clock, Mono};
use crate::cluster::Membership;

/// Requests that may wait in a shard's mailbox; one holder has a handful on their way.
const MAILBOX: usize = 256;
/// What waits without hurry is appended this often, by every owner at the same moment of the wall clock, shortly after the
/// holders' exchange: the bus replicates together what arrives together, which costs a third of the messages.
const TICK_MS: u64 = EXCHANGE_MS;
/// The same alone, where nobody exchanges anything.
const TICK_ALONE_MS: u64 = 2_000;
/// How long what other nodes want without hurry is gathered before it is appended, milliseconds: holders whose clocks agree
/// speak at the same moment.
const GATHER_MS: u64 = 250;
/// Pauses between repetitions of an append that fails: doubled from the first to the last.
const PAUSES_MS: (u64, u64) = (20, 500);
/// How often it is looked for sessions that fell silent: their slots are free within 10 s.
const LOOK_FOR_SILENT: Duration = Duration::from_millis(250);
/// How long a holder has to hear that another starves.
const RECALL_WITHIN: Duration = Duration::from_millis(500);
/// Times that a takeover is tried against others who append.
const TAKEOVER_TRIES: u32 = 4;

/// Everything a shard needs to live.
#[derive(Clone)]
pub(super) struct ShardContext {
    pub(super) shard: u16,
    pub(super) bus: BusHandle,
    pub(super) clock: Clock,
    pub(super) options: LedgerOptions,
    pub(super) node: Arc<Node>,
    /// What this node remembers of the journals.
    pub(super) memory: Arc<JournalMemory>,
    /// Set when another session took the shard over: it is left alone for a while.
    pub(super) stepped_down: Arc<AtomicBool>,
    /// Who shares the quotas, and who is known to be silent.
    pub(super) membership: Membership,
    /// Signalled when the actor ends.
    pub(super) ended: Arc<Notify>,
    /// The node's end.
    pub(super) stop: CancellationToken,
}

/// What a shard says about itself every now and then.
#[derive(Debug, Default)]
pub(super) struct ShardGauge {
    /// Grants that are not settled.
    pub(super) grants: AtomicU32,
    /// Units granted and not settled.
    pub(super) outstanding: AtomicU64,
    /// Meters that something is known of.
    pub(super) meters: AtomicU32,
}

/// A shard that this node decides for.
pub(super) struct OpenShard {
    pub(super) addr: Addr<ShardActor>,
    pub(super) epoch: u64,
    pub(super) gauge: Arc<ShardGauge>,
}

/// Owns a shard.
pub(super) struct ShardActor {
    context: ShardContext,
    gauge: Arc<ShardGauge>,
    owner: Owner<oneshot::Sender<OwnerReply>>,
    finishing: Vec<oneshot::Sender<()>>,
    failures: u32,
    /// What cannot wait came while an append was on its way: the next one follows it at once. What trickled in meanwhile
    /// waits for its time, or every tick would make two appends.
    presses: bool,
    /// An append of what has been gathered is arranged.
    gathers: Option<SpawnHandle>,
    gathered_at: Mono,
}

/// Replays a shard's journal, takes it over, and starts its actor.
pub(super) async fn open(context: ShardContext, arbiter: &actix_rt::ArbiterHandle) -> Result<OpenShard, LedgerError> {
    let shard = context.shard;
    for _ in 0..TAKEOVER_TRIES {
        let head = context.bus.journal_head(shard).await?;
        let entries = context.bus.journal_read(shard, 0).await?;
        let moment = Moment::now(&context.clock);
        let mut owner = Owner::replay(context.options.session, context.options, moment, head, &entries)
            .map_err(|unreadable| LedgerError::Unreadable { shard, unreadable })?;
        owner.compare(moment, context.memory.of(shard));
        let append = owner.take_over(moment, head.incarnation);
        match send(&context, append).await {
            Ok(sequence) => {
                owner.appended(sequence);
                context.memory.note(shard, owner.remember());
                context.memory.distrust(shard, owner.shows_distrust(moment));
                context.node.counters.appends.fetch_add(1, Ordering::Relaxed);
                let snapshot = context.membership.snapshot();
                for node in snapshot.nodes.iter().filter(|node| !node.live) {
                    let silent_us = node.heard_ms_ago * 1000;
                    let since = Mono(moment.mono.0.saturating_sub(silent_us));
                    owner.silent_since(node.beat.session, since);
                }
                let (epoch, gauge) = (owner.epoch(), Arc::<ShardGauge>::default());
                let shown = gauge.clone();
                let addr = ShardActor::start_in_arbiter(arbiter, move |_| ShardActor {
                    context,
                    gauge: shown,
                    owner,
                    finishing: Vec::new(),
                    failures: 0,
                    presses: false,
                    gathers: None,
                    gathered_at: Mono(0),
                });
                return Ok(OpenShard { addr, epoch, gauge });
            }
            Err(error) if matches!(error.kind, BusErrorKind::Conflict | BusErrorKind::Timeout) => continue,
            Err(error) => return Err(error.into()),
        }
    }
    Err(LedgerError::Contended { shard })
}

async fn send(context: &ShardContext, append: Append) -> Result<u64, crate::bus::BusError> {
    let bus = &context.bus;
    bus.journal_append(context.shard, append.expected, append.message_id, append.payload)
        .await
}

impl ShardActor {
    /// Starts the next append, if there is one to make; at once after the one on its way, if there is one.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        self.presses = self.owner.is_appending();
        let moment = Moment::now(&self.context.clock);
        match self.owner.flush(moment) {
            Some(append) => self.append(ctx, append, Duration::ZERO),
            None if !self.owner.is_appending() && !self.finishing.is_empty() => {
                for done in self.finishing.drain(..) {
                    let _ = done.send(());
                }
                ctx.stop();
            }
            None => {}
        }
    }

    fn append(&mut self, ctx: &mut Context<Self>, append: Append, pause: Duration) {
        let context = self.context.clone();
        let attempt = async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            send(&context, append).await
        };
        ctx.spawn(
            attempt
                .into_actor(self)
                .map(|result, actor, ctx| actor.appended(ctx, result)),
        );
    }

    fn appended(&mut self, ctx: &mut Context<Self>, result: Result<u64, crate::bus::BusError>) {
        let counters = &self.context.node.counters;
        match result {
            Ok(sequence) => {
                counters.appends.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut self.failures) > 0 {
                    self.owner.recovered(Moment::now(&self.context.clock));
                }
                let released = self.owner.appended(sequence);
                self.context.memory.note(self.context.shard, self.owner.remember());
                for (reply, answer) in released.replies {
                    let _ = reply.send(answer);
                }
                if let Some(before) = released.purge_before {
                    self.purge(ctx, before);
                }
                if self.presses || self.owner.owes_snapshot() || !self.finishing.is_empty() {
                    self.flush(ctx);
                }
            }
            Err(error) if error.kind == BusErrorKind::Conflict => {
                counters.step_downs.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    shard = self.context.shard,
                    "another session owns this shard now: stepping down"
                );
                self.context.stepped_down.store(true, Ordering::Release);
                ctx.stop();
            }
            Err(error) => {
                // The outcome may be unknown, so it is the same bytes at the same sequence, however often.
                counters.append_retries.fetch_add(1, Ordering::Relaxed);
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    tracing::warn!(shard = self.context.shard, %error, "journal append failed, repeating it");
                }
                if error.kind == BusErrorKind::Closed {
                    ctx.stop();
                } else if let Some(append) = self.owner.repeat() {
                    let pause = PAUSES_MS.0.saturating_mul(1 << self.failures.min(8)).min(PAUSES_MS.1);
                    self.append(ctx, append, Duration::from_millis(pause));
                }
            }
        }
    }

    fn purge(&self, ctx: &mut Context<Self>, before: u64) {
        let context = self.context.clone();
        let purge = async move {
            if let Err(error) = context.bus.journal_purge(context.shard, before).await {
                tracing::warn!(shard = context.shard, %error, "journal not purged; the next snapshot tries again");
            }
        };
        ctx.spawn(purge.into_actor(self));
    }

    /// Time passes. Silence is measured only while this node hears and is heard: while the bus is away nobody was silent.
    fn tick(&mut self) {
        let moment = Moment::now(&self.context.clock);
        if self.failures > 0 || !self.context.membership.snapshot().connected {
            self.owner.recovered(moment);
        }
        self.owner.tick(moment);
    }

    /// The next tick, a while after the next whole multiple of its length; never at once.
    fn tick_later(&self, ctx: &mut Context<Self>) {
        let (tick_ms, phase_ms) = if self.context.membership.is_clustered() {
            (TICK_MS, GATHER_MS)
        } else {
            (TICK_ALONE_MS, 0)
        };
        let left_ms = tick_ms - (self.context.clock.wall().0 + tick_ms - phase_ms) % tick_ms;
        let pause_ms = if left_ms < tick_ms / 4 {
            left_ms + tick_ms
        } else {
            left_ms
        };
        ctx.run_later(Duration::from_millis(pause_ms), |actor, ctx| {
            actor.tick();
            actor.report_counts();
            actor.show();
            // What trickled in since everything was appended a moment ago waits for the next time.
            let now = actor.context.clock.now();
            if actor.gathered_at == Mono(0) || now.ms_since(actor.gathered_at) >= TICK_ALONE_MS {
                // What has been gathered goes with it.
                if let Some(arranged) = actor.gathers.take() {
                    ctx.cancel_future(arranged);
                    actor.gathered_at = now;
                }
                actor.flush(ctx);
            }
            actor.tick_later(ctx);
        });
    }

    fn look_for_silent_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(self.context.clock.until_next(LOOK_FOR_SILENT), |actor, ctx| {
            if actor.owner.has_silent(Moment::now(&actor.context.clock)) {
                actor.tick();
                actor.report_counts();
                actor.flush(ctx);
            }
            actor.look_for_silent_later(ctx);
        });
    }

    /// Appends what has been gathered, soon.
    fn gather(&mut self, ctx: &mut Context<Self>) {
        if self.gathers.is_some() {
            return;
        }
        let arranged = ctx.run_later(Duration::from_millis(GATHER_MS), |actor, ctx| {
            actor.gathers = None;
            actor.gathered_at = actor.context.clock.now();
            actor.flush(ctx);
        });
        self.gathers = Some(arranged);
    }

    /// Brings what the membership shows of this shard up to date.
    fn show(&self) {
        let distrust = self.owner.shows_distrust(Moment::now(&self.context.clock));
        self.context.memory.distrust(self.context.shard, distrust);
        let state = self.owner.state();
        let (mut grants, mut outstanding, mut meters) = (0, 0, 0);
        for (_, meter) in state.meters() {
            meters += 1;
            grants += meter.grants.len();
            outstanding += meter.load().1;
        }
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.gauge.grants.store(small(grants), Ordering::Relaxed);
        self.gauge.outstanding.store(outstanding, Ordering::Relaxed);
        self.gauge.meters.store(small(meters), Ordering::Relaxed);
    }

    /// Tells holders at once that another starves.
    fn recall(&mut self, ctx: &mut Context<Self>, moment: Moment) {
        for (session, meters) in self.owner.take_recalls(moment) {
            self.context.node.counters.recalls.fetch_add(1, Ordering::Relaxed);
            if session == self.context.options.session {
                self.context.node.recall(moment.mono, &meters);
                continue;
            }
            let bus = self.context.bus.clone();
            let told = async move {
                // Who does not hear it is told with its next answer.
                let _ = remote::ask(&bus, session, &NodeRequest::Recall { meters }, RECALL_WITHIN).await;
            };
            ctx.spawn(told.into_actor(self));
        }
    }

    fn report_counts(&mut self) {
        let tally = self.owner.take_tally();
        self.context.node.counters.tally(tally);
    }
}

impl Actor for ShardActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        // An actor with a timer outlives its addresses; this one ends with its node.
        let stop = self.context.stop.clone();
        ctx.spawn(stop.cancelled_owned().into_actor(self).map(|(), _, ctx| ctx.stop()));
        self.tick_later(ctx);
        self.look_for_silent_later(ctx);
        self.flush(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // The next owner shows it.
        self.context.memory.distrust(self.context.shard, None);
        self.context.ended.notify_one();
    }
}
