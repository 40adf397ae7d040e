//! The token actor: one per token that something happens to, made on demand, gone when idle. The request path changes the
//! token in memory at once and only leaves a note here; the actor writes what has to last, tells the other nodes, and
//! probes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture, ResponseFuture,
    WrapFuture,
};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures::StreamExt;
use grok2api_schemas::ids::TokenId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::entry::Token;
use super::pool::Pool;
use super::probe::ProbeReport;
use super::team::Team;
use crate::egress::ProxySpec;
use crate::mailbox::Mailbox;
use crate::runtime::ArbiterPool;

/// The version of stored records that this build writes.
pub(super) const RECORD_VERSION: u8 = 1;
/// Notes an actor holds at most; a further one is dropped, for any of those waiting makes it write the newest state.
const MAILBOX: usize = 8;
/// Uses are written shortly after a whole multiple of this of the wall clock, with the ledger's appends.
const TOGETHER_MS: u64 = 4_000;
const TOGETHER_PHASE_MS: u64 = 250;
/// An actor that nothing happens to for this long goes.
const IDLE: Duration = Duration::from_secs(5);
/// One that was made for a probe goes this soon after it: its answer, and what it has to write, are on their way by then.
const AFTER_PROBE: Duration = Duration::from_millis(50);
/// A failed write is tried again after this long.
const RETRY_WRITE: Duration = Duration::from_secs(1);
/// A probe makes three calls of at most 10 s each.
const PROBE_WITHIN: Duration = Duration::from_secs(40);
/// A last write takes at most this long.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);
/// Last writes under way at a time.
const FLUSHES: usize = 512;
/// Probes of a team parked for want of credit come at growing intervals, up to this one.
const PARKED_PROBE_CAP_MS: u64 = 15 * 60_000;

/// The token actors of this node.
pub(super) struct TokenActors {
    /// With the token that each is of: one that was deleted and enrolled anew has the same id, and is another.
    live: DashMap<TokenId, (Arc<Token>, Arc<Mailbox<TokenActor>>)>,
    arbiters: ArbiterPool,
    tracker: TaskTracker,
    stop: CancellationToken,
    probes: Arc<Semaphore>,
}

impl TokenActors {
    pub(super) fn new(
        arbiters: ArbiterPool,
        tracker: TaskTracker,
        stop: CancellationToken,
        probes: usize,
    ) -> TokenActors {
        TokenActors {
            live: DashMap::new(),
            arbiters,
            tracker,
            stop,
            probes: Arc::new(Semaphore::new(probes.max(1))),
        }
    }

    /// Messages that wait for any of them.
    pub(super) fn waiting(&self) -> usize {
        self.live.iter().map(|live| live.1.stats().unanswered).sum()
    }

    /// How many are live.
    pub(super) fn live(&self) -> usize {
        self.live.len()
    }

    fn mailbox(&self, pool: &Pool, token: &Arc<Token>) -> Arc<Mailbox<TokenActor>> {
        match self.live.entry(token.id) {
            Entry::Occupied(mut entry) => {
                let (of, mailbox) = entry.get();
                if !mailbox.connected() || !Arc::ptr_eq(of, token) {
                    // It panicked: what it held is in the token itself, so a new one takes over.
                    entry.insert((token.clone(), self.start(pool, token)));
                }
                entry.get().1.clone()
            }
            Entry::Vacant(entry) => {
                let live = (token.clone(), self.start(pool, token));
                entry.insert(live).value().1.clone()
            }
        }
    }

    fn start(&self, pool: &Pool, token: &Arc<Token>) -> Arc<Mailbox<TokenActor>> {
        let (pool, token) = (pool.clone(), token.clone());
        let arbiter = self.arbiters.pick();
        let address = TokenActor::start_in_arbiter(&arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            TokenActor {
                pool,
                token,
                dirty: false,
                writing: false,
                busy: false,
            }
        });
        Arc::new(Mailbox::new(address, arbiter, MAILBOX))
    }

    fn note(&self, pool: &Pool, token: &Arc<Token>, note: Note) {
        if self.stop.is_cancelled() {
            return;
        }
        // A full mailbox is no loss: see MAILBOX.
        let _ = self.mailbox(pool, token).offer(note);
    }

    /// Forgets an actor that is about to go.
    fn forget(&self, token: &Token) {
        self.live
            .remove_if(&token.id, |_, (of, _)| std::ptr::eq(Arc::as_ptr(of), token));
    }

    /// A call succeeded: uses are to be written in time.
    pub(super) fn used(&self, pool: &Pool, token: &Arc<Token>) {
        // The first unsaved use is enough to know of; exactly one caller sees the count leave zero.
        if token.unsaved_uses.fetch_add(1, Ordering::AcqRel) == 0 {
            self.note(pool, token, Note::Used);
        }
        if let Some(team) = token.team()
            && team.parks.load(Ordering::Relaxed) != 0
        {
            team.parks.store(0, Ordering::Relaxed);
        }
    }

    /// The record changed.
    pub(super) fn save(&self, pool: &Pool, token: &Arc<Token>) {
        self.note(pool, token, Note::Changed);
    }

    /// A team came to be without credit, or a probe found it so still: it is asked again, less often each time.
    pub(super) fn parked(&self, pool: &Pool, token: &Arc<Token>, team: &Arc<Team>) {
        let parks = team.parks.fetch_add(1, Ordering::Relaxed).min(16);
        let in_ms = pool
            .0
            .options
            .parked_probe_ms
            .saturating_mul(1 << parks)
            .min(PARKED_PROBE_CAP_MS);
        pool.plan_probe(token, in_ms);
    }

    /// Does something after a while, unless the process ends before.
    pub(super) fn later(&self, after: Duration, pool: &Pool, what: impl FnOnce(Pool) + Send + 'static) {
        let (pool, stop) = (pool.clone(), self.stop.clone());
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(after) => what(pool),
            }
        });
    }

    /// Writes a team's record. One write at a time, or an older version could arrive last: a save under way looks at
    /// its end whether there is a newer one.
    pub(super) fn save_team(&self, pool: &Pool, team: &Arc<Team>) {
        if team.saving.swap(true, Ordering::SeqCst) {
            return;
        }
        let (pool, team, stop) = (pool.clone(), team.clone(), self.stop.clone());
        self.tracker.spawn(async move {
            loop {
                if let Err(error) = pool.save_team(&team).await {
                    tracing::error!(team = %team.id, %error, "a team's state could not be written; trying again");
                    if stop.is_cancelled() {
                        return;
                    }
                    tokio::time::sleep(RETRY_WRITE).await;
                    continue;
                }
                team.saving.store(false, Ordering::SeqCst);
                if !team.is_unsaved() || team.saving.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }

    /// Probes a token through its actor, a bounded number at a time.
    pub(super) async fn probe(&self, pool: &Pool, token: &Arc<Token>) -> Option<ProbeReport> {
        let _permit = self.probes.acquire().await.ok()?;
        self.mailbox(pool, token).ask(Probe, PROBE_WITHIN).await.ok()
    }

    /// Writes what is not written yet, and ends all actors.
    pub(super) async fn close(&self) {
        let actors: Vec<Arc<Mailbox<TokenActor>>> = self.live.iter().map(|entry| entry.value().1.clone()).collect();
        // Together, so that the writes share their flushes: one after the other, ten thousand would take a minute.
        futures::stream::iter(actors)
            .for_each_concurrent(FLUSHES, |actor| async move {
                let _ = actor.ask(Flush, FLUSH_WITHIN).await;
            })
            .await;
    }
}

/// What happened to the token.
#[derive(Message, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
enum Note {
    Used,
    Changed,
}

/// Probe the upstream.
#[derive(Message)]
#[rtype(result = "ProbeReport")]
struct Probe;

/// Write everything now, and go.
#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

struct TokenActor {
    pool: Pool,
    token: Arc<Token>,
    /// The record or its uses are newer than what is stored.
    dirty: bool,
    writing: bool,
    /// Something happened since the last idle check.
    busy: bool,
}

impl Actor for TokenActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(IDLE, |actor, ctx| {
            let is_gone = actor.token.is_gone();
            if !is_gone && actor.token.record().version > actor.token.saved_version.load(Ordering::Acquire) {
                actor.dirty = true;
                actor.write(ctx);
            }
            let is_idle = actor.is_idle();
            actor.busy = false;
            if is_idle || (is_gone && !actor.writing) {
                actor.go(ctx);
            }
        });
        // Not all in the same minute, though they began together; but when the others of all nodes are written, for what
        // comes to the bus together is replicated together.
        let every = self.pool.0.options.uses_every;
        let first_ms = every.mul_f64(fastrand::f64()).as_millis() as u64;
        let off_ms = (self.pool.0.clock.wall().0 + first_ms + TOGETHER_MS - TOGETHER_PHASE_MS) % TOGETHER_MS;
        let first = Duration::from_millis(first_ms + TOGETHER_MS - off_ms);
        ctx.run_later(first, move |actor, ctx| {
            actor.write_uses(ctx);
            ctx.run_interval(every, |actor, ctx| actor.write_uses(ctx));
        });
    }
}

impl TokenActor {
    fn is_idle(&self) -> bool {
        !self.busy && !self.writing && !self.token.is_unsaved()
    }

    /// Leaves. A note that comes from now on makes a new actor; one that came just before may never be read, and then
    /// what it was about shows in the token.
    fn go(&mut self, ctx: &mut Context<Self>) {
        let (pool, token) = (&self.pool, &self.token);
        pool.0.actors.forget(token);
        if !token.is_gone() && token.is_unsaved() {
            pool.0.actors.save(pool, token);
        }
        ctx.stop();
    }

    fn write_uses(&mut self, ctx: &mut Context<Self>) {
        if self.token.unsaved_uses.load(Ordering::Relaxed) > 0 {
            self.dirty = true;
            self.write(ctx);
        }
    }

    /// Writes the newest record, one write at a time.
    fn write(&mut self, ctx: &mut Context<Self>) {
        if self.token.is_gone() {
            self.dirty = false;
        }
        if self.writing || !self.dirty {
            return;
        }
        self.writing = true;
        self.dirty = false;
        let (pool, token) = (self.pool.clone(), self.token.clone());
        let write = async move { pool.save_token(&token).await };
        ctx.spawn(write.into_actor(self).map(|written, actor, ctx| {
            actor.writing = false;
            match written {
                Ok(()) => {
                    let saved = actor.token.saved_version.load(Ordering::Acquire);
                    if actor.token.record().version > saved && !actor.token.is_gone() {
                        actor.dirty = true;
                        actor.write(ctx);
                    }
                }
                Err(error) => {
                    tracing::error!(token = %actor.token.id, %error, "a token's state could not be written; trying again");
                    actor.dirty = true;
                    ctx.run_later(RETRY_WRITE, |actor, ctx| actor.write(ctx));
                }
            }
        }));
    }
}

impl Handler<Note> for TokenActor {
    type Result = ();

    fn handle(&mut self, note: Note, ctx: &mut Context<Self>) {
        self.busy = true;
        // Whatever the note says: one that told of a change may have found the mailbox full.
        if note == Note::Changed || self.token.record().version > self.token.saved_version.load(Ordering::Acquire) {
            self.dirty = true;
            self.write(ctx);
        }
    }
}

impl Handler<Probe> for TokenActor {
    type Result = ResponseActFuture<Self, ProbeReport>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let (pool, token) = (self.pool.clone(), self.token.clone());
        let probe = async move {
            let proxy = token
                .record()
                .proxy
                .as_deref()
                .and_then(|url| ProxySpec::parse(url).ok());
            let proxy = proxy.unwrap_or_else(|| pool.0.options.proxy.clone());
            let before = Pool::rests_of(&token);
            let report = pool.0.prober.probe(token.secret(), &proxy).await;
            if !token.is_gone() {
                pool.apply_probe(&token, &report, &before);
            }
            report
        };
        Box::pin(probe.into_actor(self).map(|report, _, ctx| {
            // Nobody else may want it: a hundred thousand are probed after an import, and none of them need stay.
            ctx.run_later(AFTER_PROBE, |actor, ctx| {
                if actor.is_idle() {
                    actor.go(ctx);
                }
            });
            report
        }))
    }
}

impl Handler<Flush> for TokenActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) -> Self::Result {
        let needed = !self.token.is_gone() && self.token.is_unsaved();
        let (pool, token) = (self.pool.clone(), self.token.clone());
        ctx.run_later(Duration::from_millis(1), |_, ctx| ctx.stop());
        Box::pin(async move {
            pool.0.actors.forget(&token);
            if needed && let Err(error) = pool.save_token(&token).await {
                tracing::error!(token = %token.id, %error, "a token's state could not be written at shutdown");
            }
        })
    }
}
