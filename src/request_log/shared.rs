//! The log of a cluster: each node tells the others what it wrote, many records a message, and writes what they tell into
//! its own ring. So every node answers for every request, also for those of a node that is gone, without asking anybody.
//!
//! A node's own ring comes first and does not depend on the bus: while the bus is away, records wait to be told, bounded,
//! and are in the node's own ring all the while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_actors::bus::{BusErrorKind, BusHandle, RecordBatch, RecordsFrom, codec};
use grok2api_actors::clock::{Clock, WallMs};
use grok2api_actors::store::{StoreError, StoreWrite};
use grok2api_schemas::admin::requests::RequestRecord;
use grok2api_schemas::bus::changes::ToldRecords;
use grok2api_schemas::ids::SessionId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Peers, RequestLog, Writes, ring};

/// Where the log of others was read up to.
pub(super) const FOLLOWED: &str = "request_log_followed";
const FOLLOWED_KEY: &[u8] = b"sequence";
/// When the last of it was appended, Unix milliseconds.
const FOLLOWED_AT_KEY: &[u8] = b"at";
/// The name of this log among the others: what it wrote in an earlier life is in it already.
const WRITER_KEY: &[u8] = b"writer";
/// Records are told at most once in so long, whatever the load: a message costs the bus about ten. Every node tells at the same
/// moment of the wall clock, together with the ledger's appends, because what arrives together is replicated together. The
/// first after a pause waits for `LOOK_EVERY` only.
const TELL_EVERY_MS: u64 = 4_000;
/// How long after a whole multiple of that, milliseconds: when the ledger's owners append.
const TELL_PHASE_MS: u64 = 250;
/// How often it is looked whether there is something to tell.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Records of one message, and about how many bytes; a message of NATS holds 1 MiB.
const TOLD_RECORDS: usize = 4_096;
const TOLD_BYTES: usize = 600_000;
/// Records that wait to be told; beyond it the oldest are told to nobody.
const WAITING: usize = 16_384;
/// Messages of others that are read at once.
const AT_ONCE: usize = 16;
/// At the end: so many messages more, so long after each other.
const LAST_MESSAGES: u32 = 8;
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Before a broken connection is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Sessions of others whose last message is remembered.
const SESSIONS: usize = 1_024;

/// What is told, and to whom.
pub(super) struct Outbox {
    node: String,
    writer: SessionId,
    session: SessionId,
    waiting: Mutex<VecDeque<Arc<RequestRecord>>>,
    untold: AtomicU64,
}

impl Outbox {
    /// The node's name, for the record.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Records that are in the node's own ring now.
    pub(super) fn push(&self, records: &[Arc<RequestRecord>]) {
        let mut waiting = self.waiting.lock();
        waiting.extend(records.iter().cloned());
        let surplus = waiting.len().saturating_sub(WAITING);
        if surplus > 0 {
            waiting.drain(..surplus);
            self.untold.fetch_add(surplus as u64, Ordering::Relaxed);
        }
    }

    /// The next message: as many of the oldest records as fit, which wait no longer; and whether some are left. `None`: there
    /// are none. Takes milliseconds, in which others may push.
    fn message(&self, number: u64) -> Option<(Bytes, bool)> {
        let mut most = TOLD_RECORDS;
        loop {
            let (records, forgotten) = {
                let waiting = self.waiting.lock();
                let records: Vec<Arc<RequestRecord>> = waiting.iter().take(most).cloned().collect();
                (records, self.untold.load(Ordering::Relaxed))
            };
            let count = records.len();
            if count == 0 {
                return None;
            }
            let told = ToldRecords {
                writer: self.writer,
                session: self.session,
                number,
                records,
            };
            let encoded = codec::encode(codec::VERSION, &told);
            let mut waiting = self.waiting.lock();
            // Of those in the message, so many were the surplus meanwhile.
            let gone = self.untold.load(Ordering::Relaxed) - forgotten;
            let rest = count.saturating_sub(usize::try_from(gone).unwrap_or(usize::MAX));
            match encoded {
                Ok(bytes) if bytes.len() <= TOLD_BYTES || count == 1 => {
                    waiting.drain(..rest);
                    return Some((bytes, !waiting.is_empty()));
                }
                Ok(_) => most = (count / 2).max(1),
                Err(error) => {
                    waiting.drain(..rest);
                    tracing::error!(%error, records = count, "request records are not told to other nodes");
                }
            }
        }
    }
}

impl RequestLog {
    /// Tells other nodes what is written from now on, and writes what they tell, until `stop`.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn share(
        &self,
        bus: BusHandle,
        node: String,
        peers: Peers,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<(), StoreError> {
        let known = self.inner.store.get(FOLLOWED, WRITER_KEY)?;
        let writer = match known.and_then(|bytes| bytes[..].try_into().ok()) {
            Some(bytes) => SessionId::from_bytes(bytes),
            None => {
                let made = SessionId::generate();
                let name = StoreWrite {
                    tree: FOLLOWED,
                    key: Bytes::from_static(WRITER_KEY),
                    value: Some(Bytes::copy_from_slice(made.as_bytes())),
                };
                self.inner.store.write(vec![name]).await?;
                made
            }
        };
        let outbox = Arc::new(Outbox {
            node,
            writer,
            session: SessionId::generate(),
            waiting: Mutex::default(),
            untold: AtomicU64::new(0),
        });
        self.inner.outbox.store(Some(outbox.clone()));
        let number = |key| -> Result<Option<u64>, StoreError> {
            let stored = self.inner.store.get(FOLLOWED, key)?;
            Ok(stored
                .and_then(|bytes| bytes[..].try_into().ok())
                .map(u64::from_le_bytes))
        };
        let followed = number(FOLLOWED_KEY)?;
        self.note_lacking(number(FOLLOWED_AT_KEY)?).await?;
        self.exchange_sums(&bus, &peers, tracker, &stop);
        tracker.spawn(tell(
            bus.clone(),
            self.inner.clock.clone(),
            outbox.clone(),
            tracker.clone(),
            stop.clone(),
        ));
        let (log, aside) = (self.clone(), tracker.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = log.follow(bus, &outbox, followed, &aside) => {}
            }
        });
        Ok(())
    }

    /// Records that no other node will hear of, because too many waited.
    pub fn untold(&self) -> u64 {
        let outbox = self.inner.outbox.load();
        outbox
            .as_ref()
            .map_or(0, |outbox| outbox.untold.load(Ordering::Relaxed))
    }

    async fn follow(&self, bus: BusHandle, outbox: &Outbox, mut followed: Option<u64>, aside: &TaskTracker) {
        let own = outbox.writer;
        let mut heard = Heard::default();
        loop {
            let from = match followed {
                Some(sequence) => RecordsFrom::Sequence(sequence + 1),
                None => RecordsFrom::Oldest,
            };
            let mut batches = bus.records_follow(from).ready_chunks(AT_ONCE);
            while let Some(batches) = batches.next().await {
                let Some((last, at_ms)) = batches.last().map(|batch| (batch.sequence, batch.at_ms)) else {
                    continue;
                };
                // Seconds of other nodes' requests come at once: requests under way here do not wait for them.
                let mut before = std::mem::take(&mut heard);
                let read = aside.spawn_blocking(move || {
                    let records = before.records_of(&batches, own);
                    let rows = ring::rows(&records);
                    (before, records, rows)
                });
                let Ok((after, records, mut rows)) = read.await else {
                    break;
                };
                heard = after;
                while let Err(error) = self.write_told(&records, std::mem::take(&mut rows), last, at_ms).await {
                    tracing::warn!(%error, "the requests of other nodes are not written; trying again");
                    tokio::time::sleep(AGAIN_AFTER).await;
                    rows = ring::rows(&records);
                }
                followed = Some(last);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn write_told(
        &self,
        records: &[Arc<RequestRecord>],
        rows: Vec<ring::Row>,
        followed: u64,
        at_ms: u64,
    ) -> Result<(), StoreError> {
        let mut sizes = self.inner.sizes.lock().await;
        let number = |key, value: u64| StoreWrite {
            tree: FOLLOWED,
            key: Bytes::from_static(key),
            value: Some(Bytes::copy_from_slice(&value.to_le_bytes())),
        };
        let writes = Writes {
            records,
            rows,
            also: vec![number(FOLLOWED_KEY, followed), number(FOLLOWED_AT_KEY, at_ms)],
        };
        self.write(&mut sizes, writes).await?;
        self.inner.stored.store(sizes.records(), Ordering::Relaxed);
        Ok(())
    }
}

/// Which message of each session of others was the last.
#[derive(Default)]
struct Heard(HashMap<SessionId, u64>);

impl Heard {
    /// Records of others among batches, each once.
    fn records_of(&mut self, batches: &[RecordBatch], own: SessionId) -> Vec<Arc<RequestRecord>> {
        let mut records = Vec::new();
        for batch in batches {
            let told: ToldRecords = match codec::decode(&batch.payload) {
                Ok(told) => told,
                Err(error) => {
                    tracing::warn!(sequence = batch.sequence, %error, "the requests of another node are not understood");
                    continue;
                }
            };
            let is_known = self.0.get(&told.session).is_some_and(|&last| told.number <= last);
            if told.writer == own || is_known {
                continue;
            }
            if self.0.len() >= SESSIONS {
                // Sessions of the past; a repeated message of one of them would be there twice, and be shown once.
                self.0.clear();
            }
            self.0.insert(told.session, told.number);
            records.extend(told.records);
        }
        records
    }
}

/// Milliseconds since the first moment at which nodes tell.
fn since_phase(wall: WallMs) -> u64 {
    wall.0.saturating_sub(TELL_PHASE_MS)
}

/// Tells what waits, until `stop`, and what is left then.
async fn tell(bus: BusHandle, clock: Clock, outbox: Arc<Outbox>, aside: TaskTracker, stop: CancellationToken) {
    let mut number = 1;
    let mut message = None;
    let mut failing = false;
    let mut left = LAST_MESSAGES;
    let mut told_in = None::<u64>;
    while left > 0 {
        let to_next_ms = TELL_EVERY_MS - since_phase(clock.wall()) % TELL_EVERY_MS;
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(clock.until_next(LOOK_EVERY).min(Duration::from_millis(to_next_ms))) => false,
        };
        let turn = since_phase(clock.wall()) / TELL_EVERY_MS;
        if !stopping && told_in == Some(turn) {
            continue;
        }
        if stopping {
            // The writer writes its last records now.
            tokio::time::sleep(LAST_WORDS).await;
            left -= 1;
        }
        if message.is_none() {
            let outbox = outbox.clone();
            message = aside
                .spawn_blocking(move || outbox.message(number))
                .await
                .ok()
                .flatten();
        }
        let Some((bytes, leaves_some)) = &message else {
            if stopping {
                return;
            }
            continue;
        };
        match bus.records_append(bytes.clone()).await {
            Ok(_) => {
                number += 1;
                // What did not fit follows soon.
                told_in = (!leaves_some).then_some(turn);
                message = None;
                failing = false;
            }
            Err(error) if error.kind == BusErrorKind::Closed => return,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "other nodes do not hear of this node's requests for now; they wait");
            }
            Err(_) => {}
        }
    }
}
