//! The bus: what nodes share and how they speak. One trait, implementations that pass the same contract tests:
//! [`local`] (in-process, the embedded store underneath) and, in a cluster, NATS.

pub mod codec;
#[cfg(test)]
pub(crate) mod contract;
pub mod faults;
mod kept;
pub mod local;
pub mod nats;
mod room;
mod status;
mod watch;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use kept::{ObjectBytes, ObjectContent, ObjectInfo, ObjectRange, RecordBatch, RecordsFrom, is_object_name};
pub use room::NoRoom;
pub use status::{BusStatus, FollowerStatus, StreamStatus};

/// A handle on whichever bus this node runs on.
pub type BusHandle = Arc<dyn Bus>;

/// Why the bus did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BusErrorKind {
    /// The expected revision or sequence was not the last one: somebody else decided first.
    Conflict,
    /// No answer in time. The outcome is unknown: read before you write again.
    Timeout,
    /// The bus cannot be reached, or nobody serves the subject.
    Unreachable,
    /// The store refuses this write.
    Storage,
    /// The store has no room left. Nothing was written; the words say where, and how to mend it.
    Full,
    /// What was read does not decode.
    Corrupt,
    /// The bus is shutting down.
    Closed,
}

/// A failed bus operation: a kind to decide on, words for the log.
#[derive(Clone, Debug)]
pub struct BusError {
    /// What to decide on.
    pub kind: BusErrorKind,
    /// What the operator reads.
    pub message: String,
}

impl BusError {
    /// An error of this kind.
    pub fn new(kind: BusErrorKind, message: impl Into<String>) -> BusError {
        BusError {
            kind,
            message: message.into(),
        }
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bus: {} ({:?})", self.message, self.kind)
    }
}

impl std::error::Error for BusError {}

/// The most bytes of a key.
pub const MAX_KEY_BYTES: usize = 120;
/// The most bytes of a value: with its headers it fits into a message of NATS's default size, 1 MiB.
pub const MAX_VALUE_BYTES: usize = 1_000_000;

/// A stored value with the revision that a compare-and-set expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEntry {
    /// The key, opaque bytes, at most [`MAX_KEY_BYTES`].
    pub key: Bytes,
    /// The value, at most [`MAX_VALUE_BYTES`].
    pub value: Bytes,
    /// Grows with every write to the bucket.
    pub revision: u64,
}

/// What must be true for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: last writer wins.
    Any,
    /// The key is absent.
    Absent,
    /// The key's last revision.
    Revision(u64),
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub struct KvWrite {
    /// The bucket.
    pub bucket: &'static str,
    /// The key.
    pub key: Bytes,
    /// The value; `None` deletes.
    pub value: Option<Bytes>,
}

/// A change in a watched bucket; `value == None` means deleted.
#[derive(Clone, Debug)]
pub struct KvChange {
    /// The key.
    pub key: Bytes,
    /// The new value.
    pub value: Option<Bytes>,
    /// Its revision.
    pub revision: u64,
}

/// An entry of a shard's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its sequence: grows by at least one, never reused in one incarnation.
    pub sequence: u64,
    /// What was appended.
    pub payload: Bytes,
}

/// Where a journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalHead {
    /// Sequence of the last entry ever appended; 0 if none.
    pub last_sequence: u64,
    /// Which life of the journal this is: changes when it was wiped or restored.
    pub incarnation: u64,
}

/// A request that waits for its reply.
pub struct BusRequest {
    /// What was asked.
    pub payload: Bytes,
    /// Where the answer goes; dropping it lets the asker run into its deadline.
    pub reply: tokio::sync::oneshot::Sender<Bytes>,
}

/// What nodes share. Every method that acknowledges a write does so after it is durable.
pub trait Bus: Send + Sync + 'static {
    /// Reads one key, from the leader's view.
    fn kv_get<'a>(&'a self, bucket: &'static str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<KvEntry>, BusError>>;

    /// Writes one key if `expect` holds; answers the new revision.
    fn kv_put<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        value: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<u64, BusError>>;

    /// Deletes one key if `expect` holds.
    fn kv_delete<'a>(&'a self, bucket: &'static str, key: Bytes, expect: Expect)
    -> BoxFuture<'a, Result<(), BusError>>;

    /// Writes many keys without conditions; all are durable when it answers. Locally they are one commit.
    fn kv_write<'a>(&'a self, writes: Vec<KvWrite>) -> BoxFuture<'a, Result<(), BusError>>;

    /// Everything in a bucket, in key order. Entries share memory: copy what is kept.
    fn kv_list<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<Vec<KvEntry>, BusError>>;

    /// Everything in a bucket, page by page, for buckets that are too large to hold twice. Keys that change meanwhile may
    /// be seen or not: watch first. The entries of a page share memory: copy what is kept.
    fn kv_pages<'a>(&'a self, bucket: &'static str) -> BoxStream<'a, Result<Vec<KvEntry>, BusError>> {
        Box::pin(futures::stream::once(self.kv_list(bucket)))
    }

    /// Changes of a bucket from now on, own writes included.
    fn kv_watch<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<BoxStream<'static, KvChange>, BusError>>;

    /// Appends to a shard's journal if its last sequence is `expected`; answers the new sequence. `message_id` makes a
    /// retry after [`BusErrorKind::Timeout`] harmless: the same id at the same sequence answers as the first did.
    fn journal_append<'a>(
        &'a self,
        shard: u16,
        expected: u64,
        message_id: [u8; 16],
        payload: Bytes,
    ) -> BoxFuture<'a, Result<u64, BusError>>;

    /// Entries of a shard's journal from a sequence on, oldest first.
    fn journal_read<'a>(&'a self, shard: u16, from: u64) -> BoxFuture<'a, Result<Vec<JournalEntry>, BusError>>;

    /// Where a shard's journal stands.
    fn journal_head<'a>(&'a self, shard: u16) -> BoxFuture<'a, Result<JournalHead, BusError>>;

    /// Forgets entries before a sequence (a snapshot stands there). The last entry may stay in any case.
    fn journal_purge<'a>(&'a self, shard: u16, before: u64) -> BoxFuture<'a, Result<(), BusError>>;

    /// Tells everybody, at most once, without waiting.
    fn publish(&self, subject: &str, payload: Bytes);

    /// What others (and we) publish on a subject, from now on.
    fn subscribe(&self, subject: &str) -> BoxStream<'static, Bytes>;

    /// Asks whoever serves the subject.
    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: std::time::Duration,
    ) -> BoxFuture<'a, Result<Bytes, BusError>>;

    /// Serves a subject: requests arrive on the stream until it is dropped. Where several serve one subject all of them may
    /// be asked, and the first answer counts.
    fn serve(&self, subject: &str) -> BoxStream<'static, BusRequest>;

    /// Appends a batch of records to the stream that ages away, and answers its sequence. Alone it is kept in memory only.
    fn records_append<'a>(&'a self, batch: Bytes) -> BoxFuture<'a, Result<u64, BusError>> {
        drop(batch);
        Box::pin(async { Err(no_such("records")) })
    }

    /// Batches of records from where one wants to begin, and those that come. It ends when the bus closes.
    fn records_follow(&self, from: RecordsFrom) -> BoxStream<'static, RecordBatch> {
        let _ = from;
        Box::pin(futures::stream::empty())
    }

    /// Puts an object of at most so many bytes, in place of one of that name. It appears when it is whole.
    fn object_put<'a>(
        &'a self,
        name: &'a str,
        content: ObjectContent,
        most: u64,
    ) -> BoxFuture<'a, Result<ObjectInfo, BusError>> {
        let _ = (name, content, most);
        Box::pin(async { Err(no_such("objects")) })
    }

    /// An object's bytes, or some of them; `None` if there is none of that name.
    fn object_get<'a>(
        &'a self,
        name: &'a str,
        range: ObjectRange,
    ) -> BoxFuture<'a, Result<Option<(ObjectInfo, ObjectBytes)>, BusError>> {
        let _ = (name, range);
        Box::pin(async { Err(no_such("objects")) })
    }

    /// Deletes an object, if it is there.
    fn object_delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BusError>> {
        let _ = name;
        Box::pin(async { Err(no_such("objects")) })
    }

    /// Every object, in the order of names.
    fn object_list<'a>(&'a self) -> BoxFuture<'a, Result<Vec<ObjectInfo>, BusError>> {
        Box::pin(async { Err(no_such("objects")) })
    }

    /// Why and since when nothing can be kept, if the last write was refused for want of room. Costs nothing to ask.
    fn no_room(&self) -> Option<NoRoom> {
        None
    }

    /// How it stands.
    fn status<'a>(&'a self) -> BoxFuture<'a, BusStatus> {
        Box::pin(async { BusStatus::default() })
    }
}

/// What a bus made for tests of something else leaves out.
fn no_such(what: &str) -> BusError {
    BusError::new(BusErrorKind::Unreachable, format!("this bus keeps no {what}"))
}

fn within_limits(key: &[u8], value: Option<&Bytes>) -> Result<(), BusError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(BusError::new(
            BusErrorKind::Storage,
            format!("a key has 1 to {MAX_KEY_BYTES} bytes, not {}", key.len()),
        ));
    }
    match value {
        Some(value) if value.len() > MAX_VALUE_BYTES => Err(BusError::new(
            BusErrorKind::Storage,
            format!("a value has at most {MAX_VALUE_BYTES} bytes, not {}", value.len()),
        )),
        _ => Ok(()),
    }
}
