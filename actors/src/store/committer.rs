//! The one thread that writes.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use sled::Transactional;
use sled::transaction::TransactionError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::disk::DiskSync;
use super::open::{enough_space, panic_words};
use super::view::StoreView;
use super::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Shared, StoreError, StoreWrite};

/// Most batches that are made durable together: bounds how long the first of them waits.
const MAX_GROUP: usize = 1_024;

type After = Box<dyn FnOnce() + Send>;

/// What a decision on the committer thread comes to.
pub struct Decision<R> {
    answer: R,
    writes: Vec<StoreWrite>,
    after: Option<After>,
}

impl<R> Decision<R> {
    /// Nothing is written.
    pub fn nothing(answer: R) -> Decision<R> {
        Decision::write(answer, Vec::new())
    }

    /// These writes, all or nothing; then the answer.
    pub fn write(answer: R, writes: Vec<StoreWrite>) -> Decision<R> {
        Decision {
            answer,
            writes,
            after: None,
        }
    }

    /// Runs once the writes are durable, before the answer, in the order of the commits. It must be quick.
    #[must_use]
    pub fn then(mut self, after: impl FnOnce() + Send + 'static) -> Decision<R> {
        self.after = Some(Box::new(after));
        self
    }
}

/// A decision on its way to the committer.
pub(super) struct Job {
    work: Box<dyn Work>,
    /// Its place in the queue.
    _turn: Option<OwnedSemaphorePermit>,
}

trait Work: Send {
    /// Decides; what is to be written.
    fn decide(&mut self, view: &StoreView<'_>) -> Vec<StoreWrite>;
    /// The writes did not happen.
    fn refuse(&mut self, error: StoreError);
    /// Tells the caller, after the flush.
    fn finish(self: Box<Self>, durable: Result<(), StoreError>);
}

struct Pending<R, F> {
    decide: Option<F>,
    decided: Result<(R, Option<After>), StoreError>,
    reply: oneshot::Sender<Result<R, StoreError>>,
}

impl Job {
    pub fn new<R, F>(decide: F) -> (Job, oneshot::Receiver<Result<R, StoreError>>)
    where
        R: Send + 'static,
        F: FnOnce(&StoreView<'_>) -> Result<Decision<R>, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Pending {
            decide: Some(decide),
            decided: Err(StoreError::Closed),
            reply,
        });
        (Job { work, _turn: None }, answer)
    }
}

impl<R, F> Work for Pending<R, F>
where
    R: Send,
    F: FnOnce(&StoreView<'_>) -> Result<Decision<R>, StoreError> + Send,
{
    fn decide(&mut self, view: &StoreView<'_>) -> Vec<StoreWrite> {
        let Some(decide) = self.decide.take() else {
            return Vec::new();
        };
        match catch_unwind(AssertUnwindSafe(|| decide(view))) {
            Ok(Ok(decision)) => {
                self.decided = Ok((decision.answer, decision.after));
                decision.writes
            }
            Ok(Err(error)) => {
                self.decided = Err(error);
                Vec::new()
            }
            Err(panic) => {
                self.decided = Err(StoreError::Corrupt {
                    reason: panic_words(panic.as_ref()),
                });
                Vec::new()
            }
        }
    }

    fn refuse(&mut self, error: StoreError) {
        self.decided = Err(error);
    }

    fn finish(self: Box<Self>, durable: Result<(), StoreError>) {
        let answer = durable.and(self.decided).map(|(answer, after)| {
            if let Some(after) = after {
                after();
            }
            answer
        });
        // The caller may have gone; the write stands.
        let _ = self.reply.send(answer);
    }
}

/// Applies jobs and makes them durable.
pub(super) struct Committer {
    shared: Arc<Shared>,
    disk: Option<DiskSync>,
}

impl Committer {
    pub fn new(shared: Arc<Shared>, disk: Option<DiskSync>) -> Committer {
        Committer { shared, disk }
    }

    fn commit(&mut self, mut jobs: Vec<Job>) {
        let (mut batches, mut written) = (0, 0);
        for job in &mut jobs {
            let writes = job.work.decide(&StoreView::new(&self.shared));
            if writes.is_empty() {
                continue;
            }
            written += writes.len();
            match self.apply(writes) {
                Ok(()) => batches += 1,
                Err(error) => job.work.refuse(error),
            }
        }
        let durable = if batches == 0 {
            Ok(())
        } else {
            self.make_durable(batches)
        };
        collect_garbage(written);
        for job in jobs {
            let finished = catch_unwind(AssertUnwindSafe(|| job.work.finish(durable.clone())));
            if let Err(panic) = finished {
                tracing::error!(
                    reason = panic_words(panic.as_ref()),
                    "what follows a write panicked; the write stands"
                );
            }
        }
    }

    fn apply(&mut self, writes: Vec<StoreWrite>) -> Result<(), StoreError> {
        within_limits(&writes)?;
        self.writable()?;
        let count = writes.len() as u64;
        let applied = catch_unwind(AssertUnwindSafe(|| self.apply_to_sled(writes)));
        match applied {
            Ok(Ok(())) => {
                self.shared.writes.fetch_add(count, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(error)) => Err(self.degrade(error.to_string())),
            Err(panic) => Err(self.degrade(panic_words(panic.as_ref()))),
        }
    }

    fn apply_to_sled(&self, writes: Vec<StoreWrite>) -> sled::Result<()> {
        let mut batches: BTreeMap<&'static str, sled::Batch> = BTreeMap::new();
        for write in writes {
            let batch = batches.entry(write.tree).or_default();
            match write.value {
                Some(value) => batch.insert(&write.key[..], &value[..]),
                None => batch.remove(&write.key[..]),
            }
        }
        let mut trees = Vec::with_capacity(batches.len());
        for name in batches.keys() {
            trees.push(self.shared.tree_for_writing(name)?);
        }
        if let [tree] = &trees[..] {
            for (_, batch) in batches {
                tree.apply_batch(batch)?;
            }
            return Ok(());
        }
        let batches: Vec<sled::Batch> = batches.into_values().collect();
        let committed = trees[..].transaction(|trees| {
            for (tree, batch) in trees.iter().zip(&batches) {
                tree.apply_batch(batch)?;
            }
            Ok::<(), sled::transaction::ConflictableTransactionError<()>>(())
        });
        match committed {
            Ok(()) | Err(TransactionError::Abort(())) => Ok(()),
            Err(TransactionError::Storage(error)) => Err(error),
        }
    }

    /// Whether writes are taken at present. Lack of space mends itself; a failed write does not.
    fn writable(&self) -> Result<(), StoreError> {
        let mut degraded = self.shared.degraded.lock();
        if let Some(error @ StoreError::Degraded { .. }) = &*degraded {
            return Err(error.clone());
        }
        let min_free_bytes = self.shared.min_free_bytes.load(Ordering::Relaxed);
        match enough_space(&self.shared.place.dir, min_free_bytes) {
            Ok(()) => {
                if degraded.take().is_some() {
                    tracing::info!("there is space on the disk again: the store takes writes");
                }
                Ok(())
            }
            Err(full) => {
                if degraded.is_none() {
                    tracing::error!("{full}");
                }
                *degraded = Some(full.clone());
                Err(full)
            }
        }
    }

    fn make_durable(&mut self, batches: u64) -> Result<(), StoreError> {
        let flushed = catch_unwind(AssertUnwindSafe(|| self.shared.db.flush()));
        match flushed {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(self.degrade(error.to_string())),
            Err(panic) => return Err(self.degrade(panic_words(panic.as_ref()))),
        }
        if let Some(disk) = &mut self.disk
            && let Err(error) = disk.sync()
        {
            return Err(self.degrade(error.to_string()));
        }
        self.shared.flushes.fetch_add(1, Ordering::Relaxed);
        self.shared.batches.fetch_add(batches, Ordering::Relaxed);
        self.shared.largest_group.fetch_max(batches, Ordering::Relaxed);
        Ok(())
    }

    fn degrade(&self, reason: String) -> StoreError {
        let error = StoreError::Degraded { reason };
        let mut degraded = self.shared.degraded.lock();
        if !matches!(&*degraded, Some(StoreError::Degraded { .. })) {
            tracing::error!("{error}");
            *degraded = Some(error.clone());
        }
        error
    }

    fn run(mut self, mut queue: mpsc::UnboundedReceiver<Message>) {
        let mut open = true;
        while open {
            let mut group = Vec::new();
            match queue.blocking_recv() {
                Some(Message::Job(job)) => group.push(job),
                Some(Message::Close) | None => open = false,
            }
            while open && group.len() < MAX_GROUP {
                match queue.try_recv() {
                    Ok(Message::Job(job)) => group.push(job),
                    Ok(Message::Close) => open = false,
                    Err(_) => break,
                }
            }
            if !group.is_empty() {
                self.commit(group);
            }
        }
    }
}

/// Lets go of the pages that so many writes replaced. sled leaves that to the collector of crossbeam-epoch, which works
/// once every 128 batches: too seldom for large ones (measured: hundreds of MB of pages waited).
fn collect_garbage(written: usize) {
    for _ in 0..written / 64 + 1 {
        sled::crossbeam_pin().flush();
    }
}

fn within_limits(writes: &[StoreWrite]) -> Result<(), StoreError> {
    for write in writes {
        let reason = if write.key.is_empty() || write.key.len() > MAX_KEY_BYTES {
            format!("a key has 1 to {MAX_KEY_BYTES} bytes, not {}", write.key.len())
        } else if let Some(value) = write.value.as_ref().filter(|value| value.len() > MAX_VALUE_BYTES) {
            format!("a value has at most {MAX_VALUE_BYTES} bytes, not {}", value.len())
        } else {
            continue;
        };
        return Err(StoreError::TooLarge { reason });
    }
    Ok(())
}

pub(super) enum Message {
    Job(Job),
    Close,
}

/// How jobs reach the committer.
pub(super) enum Writer {
    /// Its own thread; for a store on disk.
    Thread {
        queue: mpsc::UnboundedSender<Message>,
        /// Bounds the queue. The channel itself is unbounded so that closing never has to wait for a place in it.
        turns: Arc<Semaphore>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
    /// The caller's; for a temporary store.
    Inline(Mutex<Option<Committer>>),
}

impl Writer {
    pub fn thread(committer: Committer, places: usize) -> Result<Writer, StoreError> {
        let (queue, jobs) = mpsc::unbounded_channel();
        let shared = committer.shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(move || committer.run(jobs))
            .map_err(|error| shared.unusable(&error))?;
        Ok(Writer::Thread {
            queue,
            turns: Arc::new(Semaphore::new(places.max(1))),
            thread: Mutex::new(Some(thread)),
        })
    }

    pub fn inline(committer: Committer) -> Writer {
        Writer::Inline(Mutex::new(Some(committer)))
    }

    pub async fn submit(&self, mut job: Job) -> Result<(), StoreError> {
        match self {
            Writer::Thread { queue, turns, .. } => {
                let turn = turns.clone().acquire_owned().await;
                job._turn = Some(turn.map_err(|_| StoreError::Closed)?);
                queue.send(Message::Job(job)).map_err(|_| StoreError::Closed)
            }
            Writer::Inline(committer) => {
                let mut committer = committer.lock();
                committer.as_mut().ok_or(StoreError::Closed)?.commit(vec![job]);
                Ok(())
            }
        }
    }

    pub fn close(&self) {
        match self {
            Writer::Thread { queue, turns, thread } => {
                turns.close();
                let _ = queue.send(Message::Close);
                let thread = thread.lock().take();
                // What follows a write may hold the last handle: the committer cannot wait for itself.
                if let Some(thread) = thread
                    && thread.thread().id() != std::thread::current().id()
                    && thread.join().is_err()
                {
                    tracing::error!("the store's committer panicked");
                }
            }
            Writer::Inline(committer) => {
                committer.lock().take();
            }
        }
    }
}
