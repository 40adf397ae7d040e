//! The job actor: one per job that this node owns. It reads the job, lets [`Run`] decide, writes, and does what was
//! decided; everything it knows is in the store, so that another node can go on where it stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use grok2api_schemas::ids::JobId;
use grok2api_schemas::job::{JobRecord, JobStatus, JobStep};

use super::run::{Done, Run, Task, Turn};
use super::source::{Fault, FaultKind, Order, Payload, Source, Supplied};
use super::{Inner, shelf};
use crate::bus::{BusError, BusErrorKind};
use crate::token::mask;

/// How often progress is written and told while it goes on.
const TELL_EVERY_MS: u64 = 500;
/// After a bus that did not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The longest sleep between two looks: operators are heard through messages, this is for what was missed.
const LOOK_EVERY_MS: u64 = 1_000;
/// Longest time for one task; the sources have limits of their own below it.
const TASK_WITHIN: Duration = Duration::from_secs(120);

/// The record was changed, or the node's situation: look again.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Look;

/// The node leaves: come to an end and let the job go.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Leave;

/// Whether an actor is through with its job; the keeper takes it away then.
#[derive(Default)]
pub(super) struct Ended(AtomicBool);

impl Ended {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// See the module.
pub(super) struct JobActor {
    jobs: Arc<Inner>,
    id: JobId,
    epoch: u32,
    ended: Arc<Ended>,
    source: Option<Arc<dyn Source>>,
    run: Option<Run>,
    revisions: BTreeMap<u32, u64>,
    /// Something is being read or written: decisions wait for it.
    is_at_store: bool,
    waiting: Turn,
    told_ms: u64,
    told: Option<(JobStatus, u32, u32)>,
    timer: Option<SpawnHandle>,
    /// Tasks have ended since it was decided last.
    has_news: bool,
    /// Grows when everything is read anew: answers of tasks that were begun before count no more.
    reading: u32,
    leaves: bool,
}

impl JobActor {
    pub(super) fn new(jobs: Arc<Inner>, id: JobId, epoch: u32, ended: Arc<Ended>) -> JobActor {
        JobActor {
            jobs,
            id,
            epoch,
            ended,
            source: None,
            run: None,
            revisions: BTreeMap::new(),
            is_at_store: false,
            waiting: Turn::default(),
            told_ms: 0,
            told: None,
            timer: None,
            has_news: false,
            reading: 0,
            leaves: false,
        }
    }

    /// The record, if it is still this owner's.
    fn own_record(&self) -> Option<JobRecord> {
        let (_, row) = self.jobs.known(self.id)?;
        let is_ours = row.value.owner == Some(self.jobs.me()) && row.value.epoch == self.epoch;
        is_ours.then(|| JobRecord::clone(&row.value))
    }

    fn end(&mut self) {
        self.ended.0.store(true, Ordering::Release);
        self.jobs.wake.notify_one();
    }

    /// Reads everything.
    fn load(&mut self, ctx: &mut Context<Self>) {
        let Some(record) = self.own_record() else {
            self.end();
            return;
        };
        let source = match self.jobs.workshop.source(&record.spec) {
            Ok(source) => source,
            Err(reason) => {
                self.close(ctx, JobStatus::Failed, reason);
                return;
            }
        };
        let settles_ms = source.settles_ms();
        self.source = Some(source);
        self.is_at_store = true;
        let (jobs, id) = (self.jobs.clone(), self.id);
        let read = async move {
            let mut items = Vec::with_capacity(record.total as usize);
            let mut revisions = BTreeMap::new();
            for chunk in 0..shelf::chunks(record.total) {
                let (revision, some) = shelf::read(&jobs.bus, id, chunk).await?;
                revisions.insert(chunk, revision);
                items.extend(some);
            }
            Ok::<_, BusError>((Run::of(record, items, settles_ms), revisions))
        };
        ctx.spawn(read.into_actor(self).map(|read, actor, ctx| {
            actor.is_at_store = false;
            match read {
                Ok((run, revisions)) => {
                    actor.run = Some(run);
                    actor.revisions = revisions;
                    actor.turn(ctx);
                }
                Err(error) if error.kind == BusErrorKind::Corrupt => {
                    actor.close(
                        ctx,
                        JobStatus::Failed,
                        format!("What was stored of it cannot be read: {error}."),
                    );
                }
                Err(error) => {
                    tracing::warn!(job = %actor.id, %error, "a job cannot be read; trying again");
                    ctx.run_later(AGAIN_AFTER, |actor, ctx| actor.load(ctx));
                }
            }
        }));
    }

    /// Decides, writes, begins.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        if self.is_at_store || self.ended.is_set() {
            return;
        }
        let Some(record) = self.own_record() else {
            // Another node continues it.
            self.end();
            return;
        };
        let now = self.jobs.clock.wall().0;
        let Some(run) = &mut self.run else { return };
        self.has_news = false;
        run.follow(record);
        if self.leaves {
            run.leave();
        }
        let turn = run.next(now);
        self.waiting.begin.extend(turn.begin);
        self.waiting.wake_at = turn.wake_at;
        let dirty = run.take_dirty();
        let counts = run.counts();
        let figure = (run.record().status, counts.done, counts.failed);
        let is_news = self.told.is_none_or(|told| told.0 != figure.0)
            || (self.told != Some(figure) && now >= self.told_ms + TELL_EVERY_MS);
        let ends = run.verdict().is_some() || run.is_through();
        if dirty.is_empty() && !is_news && !ends {
            let turn = std::mem::take(&mut self.waiting);
            self.begin(turn, ctx);
            return;
        }
        self.is_at_store = true;
        let (jobs, id, revisions) = (self.jobs.clone(), self.id, self.revisions.clone());
        let write = async move {
            let mut writes: FuturesUnordered<_> = dirty
                .into_iter()
                .map(|(chunk, items)| {
                    let revision = revisions.get(&chunk).copied().unwrap_or(0);
                    let jobs = jobs.clone();
                    async move { (chunk, shelf::write(&jobs.bus, id, chunk, items, revision).await) }
                })
                .collect();
            let mut written = Vec::new();
            while let Some(one) = writes.next().await {
                written.push(one);
            }
            written
        };
        ctx.spawn(write.into_actor(self).map(move |written, actor, ctx| {
            let mut failed = None;
            for (chunk, result) in written {
                match result {
                    Ok(revision) => {
                        actor.revisions.insert(chunk, revision);
                    }
                    Err(error) => {
                        if let Some(run) = &mut actor.run {
                            run.mark_dirty(chunk);
                        }
                        failed = Some(error);
                    }
                }
            }
            match failed {
                // Somebody else wrote, or our own answer was lost: what is stored counts. What was to begin was not begun,
                // and what is under way is found `Obtaining` and asked about.
                Some(error) if matches!(error.kind, BusErrorKind::Conflict | BusErrorKind::Timeout) => {
                    actor.begin_anew(ctx);
                }
                Some(error) => {
                    tracing::warn!(job = %actor.id, %error, "a job cannot be written; trying again");
                    ctx.run_later(AGAIN_AFTER, |actor, ctx| {
                        actor.is_at_store = false;
                        actor.turn(ctx);
                    });
                }
                None if is_news || ends => actor.write_record(now, figure, ctx),
                None => actor.written(ctx),
            }
        }));
    }

    /// Forgets what it knows and reads again.
    fn begin_anew(&mut self, ctx: &mut Context<Self>) {
        self.reading += 1;
        self.run = None;
        self.waiting = Turn::default();
        self.is_at_store = true;
        ctx.run_later(AGAIN_AFTER, |actor, ctx| {
            actor.is_at_store = false;
            actor.load(ctx);
        });
    }

    fn written(&mut self, ctx: &mut Context<Self>) {
        self.is_at_store = false;
        let turn = std::mem::take(&mut self.waiting);
        self.begin(turn, ctx);
    }

    /// Writes how far the job is, and its end.
    fn write_record(&mut self, now: u64, figure: (JobStatus, u32, u32), ctx: &mut Context<Self>) {
        let Some(run) = &self.run else { return };
        let counts = run.counts();
        let verdict = run.verdict().cloned();
        let lets_go = run.is_through() && verdict.is_none();
        let (jobs, id) = (self.jobs.clone(), self.id);
        let (me, epoch) = (self.jobs.me(), self.epoch);
        let was = run.record().status;
        let write = async move {
            jobs.change(id, |record| {
                if record.owner != Some(me) || record.epoch != epoch {
                    return false;
                }
                record.counts = counts.clone();
                match &verdict {
                    // An operator may have decided otherwise in between: then the end is decided anew.
                    Some((status, why)) if record.status == was => end_with(record, *status, why.clone(), now),
                    _ if lets_go => {
                        record.owner = None;
                        record.owner_node.clear();
                    }
                    _ => {}
                }
                true
            })
            .await
        };
        ctx.spawn(write.into_actor(self).map(move |written, actor, ctx| match written {
            Ok(Some(record)) => {
                actor.told_ms = now;
                actor.told = Some(figure);
                actor.jobs.tell(&record);
                if record.owner.is_none() {
                    actor.end();
                } else {
                    actor.has_news |= record.status != was;
                    actor.written(ctx);
                }
            }
            Ok(None) => actor.end(),
            Err(error) => {
                tracing::warn!(job = %actor.id, %error, "how far a job is could not be written");
                ctx.run_later(AGAIN_AFTER, |actor, ctx| {
                    actor.written(ctx);
                    actor.turn(ctx);
                });
            }
        }));
    }

    /// Ends a job that could not even begin.
    fn close(&mut self, ctx: &mut Context<Self>, status: JobStatus, reason: String) {
        let (jobs, id, now) = (self.jobs.clone(), self.id, self.jobs.clock.wall().0);
        let (me, epoch) = (self.jobs.me(), self.epoch);
        let write = async move {
            jobs.change(id, |record| {
                let is_ours = record.owner == Some(me) && record.epoch == epoch;
                if is_ours {
                    end_with(record, status, reason.clone(), now);
                }
                is_ours
            })
            .await
        };
        ctx.spawn(write.into_actor(self).map(|written, actor, _| {
            match written {
                Ok(Some(record)) => actor.jobs.tell(&record),
                Ok(None) => {}
                Err(error) => tracing::warn!(job = %actor.id, %error, "the end of a job could not be written"),
            }
            // If it was not, the keeper starts it again.
            actor.end();
        }));
    }

    /// Begins tasks, and sleeps until the next are due.
    fn begin(&mut self, turn: Turn, ctx: &mut Context<Self>) {
        for (index, task) in turn.begin {
            let Some(work) = self.work(index, task) else { continue };
            let reading = self.reading;
            let limited = async move {
                match tokio::time::timeout(TASK_WITHIN, work).await {
                    Ok(done) => done,
                    Err(_) => Err(Fault::new(
                        step_of(task),
                        FaultKind::Perhaps,
                        "no end within two minutes",
                    )),
                }
            };
            ctx.spawn(limited.into_actor(self).map(move |outcome, actor, ctx| {
                let now = actor.jobs.clock.wall().0;
                if let Some(run) = actor.run.as_mut().filter(|_| reading == actor.reading) {
                    run.finish(index, outcome, now);
                }
                actor.has_news = true;
                actor.soon(ctx, 0);
            }));
        }
        let now = self.jobs.clock.wall().0;
        let until = match self.has_news {
            true => 0,
            false => turn.wake_at.map_or(LOOK_EVERY_MS, |at| at.saturating_sub(now)),
        };
        self.soon(ctx, until.min(LOOK_EVERY_MS));
    }

    /// Looks again after so many milliseconds; answers that come together are written together.
    fn soon(&mut self, ctx: &mut Context<Self>, after_ms: u64) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let after = Duration::from_millis(after_ms.max(2));
        self.timer = Some(ctx.run_later(after, |actor, ctx| {
            actor.timer = None;
            actor.turn(ctx);
        }));
    }

    /// One task, as a future that owns what it needs.
    fn work(&self, index: u32, task: Task) -> Option<futures::future::BoxFuture<'static, Result<Done, Fault>>> {
        let run = self.run.as_ref()?;
        let item = run.item(index)?;
        let source = self.source.clone()?;
        let order = Order {
            job: self.id,
            index,
            name: item.name.clone(),
            foreign: item.foreign.clone(),
            tries: item.tries,
            pool: run.record().pool,
        };
        let jobs = self.jobs.clone();
        let context = sealing_context(self.id, index);
        Some(match task {
            Task::Obtain => Box::pin(async move {
                let supplied = source.obtain(&order).await?;
                jobs.sealed(&context, &supplied)
            }),
            Task::Recover => Box::pin(async move {
                match source.recover(&order).await? {
                    Some(supplied) => jobs.sealed(&context, &supplied),
                    None => Ok(Done::NotBegun),
                }
            }),
            Task::Admit => {
                let (sealed, record) = (item.sealed.clone(), run.record().clone());
                Box::pin(async move {
                    let payload = jobs.opened(&context, &sealed)?;
                    source.is_ready(&order).await?;
                    jobs.workshop.admit(&record, payload).await.map(Done::Admitted)
                })
            }
            Task::Apply(action) => {
                let token = item.token?;
                Box::pin(async move { jobs.workshop.apply(action, token).await.map(Done::Applied) })
            }
            Task::Revoke => {
                let token = run.token_of(index);
                Box::pin(async move {
                    source.revoke(&order).await?;
                    if let Some(token) = token {
                        jobs.workshop.withdraw(token).await?;
                    }
                    Ok(Done::TakenBack)
                })
            }
        })
    }
}

impl Inner {
    fn sealed(&self, context: &[u8], supplied: &Supplied) -> Result<Done, Fault> {
        Ok(Done::Supplied {
            sealed: self.seal(context, &supplied.payload)?,
            masked: mask(supplied.payload.secret.trim()),
            foreign: supplied.foreign.clone(),
        })
    }

    /// Seals a credential for an item.
    pub(super) fn seal(&self, context: &[u8], payload: &Payload) -> Result<Vec<u8>, Fault> {
        let plain = serde_json::to_vec(payload)
            .map(zeroize::Zeroizing::new)
            .map_err(|error| Fault::new(JobStep::Obtain, FaultKind::Never, error.to_string()))?;
        Ok(self.vault.seal(context, &plain))
    }

    fn opened(&self, context: &[u8], sealed: &[u8]) -> Result<Payload, Fault> {
        let broken = |reason: String| Fault::new(JobStep::Normalise, FaultKind::Never, reason);
        let plain = self.vault.open_sealed(context, sealed);
        let plain = plain.map_err(|error| broken(error.to_string()))?;
        serde_json::from_slice(&plain).map_err(|_| broken("what was sealed does not read back".to_owned()))
    }
}

/// What a sealed credential of an item is bound to.
pub(super) fn sealing_context(id: JobId, index: u32) -> Vec<u8> {
    [b"job".as_slice(), id.as_bytes(), &index.to_be_bytes()].concat()
}

fn step_of(task: Task) -> JobStep {
    match task {
        Task::Obtain | Task::Recover => JobStep::Obtain,
        Task::Admit => JobStep::Verify,
        Task::Revoke => JobStep::Revoke,
        Task::Apply(_) => JobStep::Apply,
    }
}

fn end_with(record: &mut JobRecord, status: JobStatus, reason: String, now: u64) {
    record.status = status;
    record.reason = reason;
    if status.is_over() {
        record.ran_ms += match record.running_since_ms {
            0 => 0,
            since => now.saturating_sub(since),
        };
        record.running_since_ms = 0;
        record.finished_ms = Some(now);
        record.owner = None;
        record.owner_node.clear();
    }
}

impl Actor for JobActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.load(ctx);
    }
}

impl Handler<Look> for JobActor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.turn(ctx);
    }
}

impl Handler<Leave> for JobActor {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        self.leaves = true;
        self.turn(ctx);
    }
}
