//! The request log: every request with the tokens that were looked at, attempts, timings, usage, cost and outcome. A
//! ring in the store, limited by bytes and age.
//!
//! The hot path pushes a record to a bounded queue in memory and goes on; a task writes what has gathered, at most four
//! times a second, in one batch. A record can be read from the moment it is offered. If the queue is full, the record
//! is dropped and counted: the log never slows a request down. In a cluster every node has every node's records
//! (`shared`).

mod activity;
mod catch_up;
mod outcome;
mod ring;
mod rollups;
mod search;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use grok2api_actors::bus::codec;
use grok2api_actors::clock::Clock;
use grok2api_actors::store::{Store, StoreError, StoreWrite};
use grok2api_schemas::admin::requests::{RequestPage, RequestQuery, RequestRecord};
use grok2api_schemas::admin::rollups::{RollupAnswer, RollupAsk};
use grok2api_schemas::admin::tokens::TokenActivity;
use grok2api_schemas::ids::{RequestId, TokenId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use activity::Activity;
pub use catch_up::Peers;
use ring::Sizes;
pub use rollups::ProviderOf;
use rollups::Rollups;
use shared::Outbox;

/// Blocks of records, the newest first.
const RECORDS: &str = "request_log";
/// Bytes and records by minute of arrival.
const SIZES: &str = "request_log_sizes";

/// How large the log may grow.
#[derive(Clone, Copy, Debug)]
pub struct RequestLogOptions {
    /// Bytes of records; the store needs about twice that on the disk.
    pub max_bytes: u64,
    /// Age of a record, milliseconds.
    pub max_age_ms: u64,
    /// How often waiting records are written. Four times a second keeps a cluster's log within its message budget.
    pub write_every: Duration,
    /// Records that may wait to be written.
    pub queue: usize,
    /// Written records that stay in memory, for `GET /requests/{id}` of what just happened.
    pub keep: usize,
}

impl Default for RequestLogOptions {
    fn default() -> RequestLogOptions {
        RequestLogOptions {
            max_bytes: 256 * 1024 * 1024,
            max_age_ms: 14 * 24 * 3_600_000,
            write_every: Duration::from_millis(250),
            queue: 8_192,
            keep: 512,
        }
    }
}

/// Records that are looked at when a node starts, for what tokens served of late.
const RECALLED: usize = 10_000;
/// Most records of one batch: about 2 MB.
const BATCH: usize = 2_048;

/// A handle on the log; clones share it.
#[derive(Clone)]
pub struct RequestLog {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Clock,
    options: RequestLogOptions,
    recent: Mutex<Recent>,
    /// Held by whoever writes, so that batches and prunings do not mix.
    sizes: tokio::sync::Mutex<Sizes>,
    stored: AtomicU64,
    dropped: AtomicU64,
    max_bytes: AtomicU64,
    max_age_ms: AtomicU64,
    rollups: Rollups,
    activity: Mutex<Activity>,
    /// In a cluster: whether sums of hours are lacking that other nodes may have.
    is_partial: AtomicBool,
    /// In a cluster: what other nodes are to hear.
    outbox: ArcSwapOption<Outbox>,
}

/// What one batch writes.
struct Writes<'a> {
    records: &'a [Arc<RequestRecord>],
    /// The same, as they lie in the store.
    rows: Vec<ring::Row>,
    also: Vec<StoreWrite>,
}

/// Records in memory, oldest first; the last `waiting` of them are not written yet.
#[derive(Default)]
struct Recent {
    records: VecDeque<Arc<RequestRecord>>,
    waiting: usize,
}

impl RequestLog {
    /// Opens the log in a store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(store: Store, clock: Clock, options: RequestLogOptions) -> Result<RequestLog, StoreError> {
        let sizes = Sizes::load(&store)?;
        Ok(RequestLog {
            inner: Arc::new(Inner {
                stored: AtomicU64::new(sizes.records()),
                sizes: tokio::sync::Mutex::new(sizes),
                recent: Mutex::new(Recent::default()),
                dropped: AtomicU64::new(0),
                max_bytes: AtomicU64::new(options.max_bytes),
                max_age_ms: AtomicU64::new(options.max_age_ms),
                rollups: Rollups::new(),
                activity: Mutex::default(),
                is_partial: AtomicBool::new(false),
                outbox: ArcSwapOption::empty(),
                store,
                clock,
                options,
            }),
        })
    }

    /// Other limits from the next writing on: bytes of records, and their age in milliseconds.
    pub fn set_limits(&self, max_bytes: u64, max_age_ms: u64) {
        self.inner.max_bytes.store(max_bytes, Ordering::Relaxed);
        self.inner.max_age_ms.store(max_age_ms, Ordering::Relaxed);
    }

    /// Starts writing; what still waits at `stop` is written before the task ends.
    pub fn start(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let log = self.clone();
        tracker.spawn(async move {
            let recalled = log.clone();
            match tokio::task::spawn_blocking(move || recalled.recall_activity()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "what tokens served before the start is not shown"),
                Err(error) => tracing::warn!(%error, "what tokens served before the start is not shown"),
            }
            let mut failing = false;
            loop {
                let stopping = tokio::select! {
                    () = stop.cancelled() => true,
                    () = tokio::time::sleep(log.inner.clock.until_next(log.inner.options.write_every)) => false,
                };
                match log.flush().await {
                    Ok(()) => failing = false,
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!(%error, "request log is not written; records wait in memory");
                    }
                    Err(_) => {}
                }
                if stopping {
                    return;
                }
            }
        });
    }

    /// Hands in a record; readable at once. False if it was dropped because the queue is full.
    pub fn offer(&self, mut record: RequestRecord) -> bool {
        if let Some(outbox) = &*self.inner.outbox.load() {
            outbox.node().clone_into(&mut record.node);
        }
        let record = Arc::new(record);
        let mut recent = self.inner.recent.lock();
        if recent.waiting >= self.inner.options.queue {
            drop(recent);
            self.inner.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        recent.records.push_back(record);
        recent.waiting += 1;
        true
    }

    /// Records dropped since the start because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }

    /// Records in the log.
    pub fn len(&self) -> u64 {
        self.inner.stored.load(Ordering::Relaxed) + self.inner.recent.lock().waiting as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record of an id. Reads the store: call it where blocking is allowed.
    ///
    /// # Errors
    /// The store cannot be read, or the record does not decode.
    pub fn get(&self, id: RequestId) -> Result<Option<Arc<RequestRecord>>, StoreError> {
        let in_memory = {
            let recent = self.inner.recent.lock();
            recent.records.iter().rev().find(|record| record.id == id).cloned()
        };
        if in_memory.is_some() {
            return Ok(in_memory);
        }
        search::find(&self.inner.store, id)
    }

    /// A page of the log, newest first. Reads the store: call it where blocking is allowed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn page(&self, query: &RequestQuery) -> Result<RequestPage, StoreError> {
        let waiting: Vec<Arc<RequestRecord>> = {
            let recent = self.inner.recent.lock();
            let written = recent.records.len() - recent.waiting;
            recent.records.range(written..).cloned().collect()
        };
        search::page(&self.inner.store, waiting, query, self.len())
    }

    /// What these tokens served in the last hour.
    pub fn activity(&self, ids: &[TokenId]) -> TokenActivity {
        self.inner.activity.lock().of(ids, self.inner.clock.wall().0)
    }

    /// Counts the last hour of what is written already: once, before anything else is. As far back as one search looks.
    fn recall_activity(&self) -> Result<(), StoreError> {
        let since_ms = self
            .inner
            .clock
            .wall()
            .0
            .saturating_sub(activity::STEP_MS * activity::STEPS as u64);
        let query = RequestQuery {
            since_ms: Some(since_ms),
            limit: RECALLED,
            ..RequestQuery::default()
        };
        let page = search::page(&self.inner.store, Vec::new(), &query, 0)?;
        self.inner.activity.lock().add(&page.items);
        Ok(())
    }

    /// Who says whom a request was sent to; the first to say it stays.
    pub fn tell_providers(&self, provider_of: ProviderOf) {
        self.inner.rollups.tell_providers(provider_of);
    }

    /// Sums of a period, over all nodes. Reads the store: call it where blocking is allowed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn rollups(&self, ask: &RollupAsk) -> Result<RollupAnswer, StoreError> {
        rollups::answer(&self.inner.store, ask, self.inner.clock.wall().0)
    }

    /// Writes what waits, then forgets what is too old or too much.
    ///
    /// # Errors
    /// The store cannot be written; the records go on waiting.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let mut sizes = self.inner.sizes.lock().await;
        loop {
            let batch: Vec<Arc<RequestRecord>> = {
                let recent = self.inner.recent.lock();
                let written = recent.records.len() - recent.waiting;
                recent.records.range(written..).take(BATCH).cloned().collect()
            };
            if batch.is_empty() {
                break;
            }
            let writes = Writes {
                records: &batch,
                rows: ring::rows(&batch),
                also: Vec::new(),
            };
            self.write(&mut sizes, writes).await?;
            if let Some(outbox) = &*self.inner.outbox.load() {
                outbox.push(&batch);
            }
            let mut recent = self.inner.recent.lock();
            recent.waiting -= batch.len();
            while recent.records.len() - recent.waiting > self.inner.options.keep {
                recent.records.pop_front();
            }
        }
        let now = self.inner.clock.wall();
        let oldest_kept = now.0.saturating_sub(self.inner.max_age_ms.load(Ordering::Relaxed));
        sizes
            .prune(
                &self.inner.store,
                oldest_kept,
                self.inner.max_bytes.load(Ordering::Relaxed),
            )
            .await?;
        self.inner.stored.store(sizes.records(), Ordering::Relaxed);
        if self.inner.rollups.is_pruning_due(now.0) {
            let gone = rollups::too_old(&self.inner.store, now.0)?;
            if !gone.is_empty() {
                self.inner.store.write(gone).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, sizes: &mut Sizes, batch: Writes<'_>) -> Result<(), StoreError> {
        let Writes {
            records: batch,
            rows,
            also,
        } = batch;
        let mut writes = Vec::with_capacity(rows.len() + 4);
        let mut after = sizes.begin();
        for row in rows {
            after.add(row.newest, row.bytes(), row.records);
            writes.push(row.write());
        }
        let sums = self.inner.rollups.stage(&self.inner.store, batch)?;
        writes.extend(Rollups::writes(&sums));
        writes.extend(after.writes(sizes));
        writes.extend(also);
        self.inner.store.write(writes).await?;
        sizes.commit(after);
        self.inner.rollups.commit(sums);
        self.inner.activity.lock().add(batch.iter().map(|record| &**record));
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<RequestRecord>, StoreError> {
    codec::decode(bytes).map_err(|error| StoreError::Corrupt {
        reason: format!("request log: {error}"),
    })
}
