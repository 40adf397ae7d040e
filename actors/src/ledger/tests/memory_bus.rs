//! A bus in memory: journals that outlive their owners, with faults on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use crate::bus::{
    Bus, BusError, BusErrorKind, BusRequest, Expect, JournalEntry, JournalHead, KvChange, KvEntry, KvWrite,
};

#[derive(Default)]
struct Journal {
    entries: Vec<JournalEntry>,
    last: u64,
    ids: Vec<([u8; 16], u64)>,
}

/// Journals in memory.
pub struct MemoryBus {
    journals: Mutex<Vec<Journal>>,
    /// Appends fail without effect while set.
    pub unreachable: AtomicBool,
    /// The next append is stored, and answered with a timeout.
    pub lose_next_answer: AtomicBool,
    pub appends: AtomicU64,
    pub incarnation: AtomicU64,
}

impl MemoryBus {
    pub fn new() -> Arc<MemoryBus> {
        Arc::new(MemoryBus {
            journals: Mutex::new((0..16).map(|_| Journal::default()).collect()),
            unreachable: AtomicBool::new(false),
            lose_next_answer: AtomicBool::new(false),
            appends: AtomicU64::new(0),
            incarnation: AtomicU64::new(1),
        })
    }

    pub fn entries(&self, shard: u16) -> Vec<JournalEntry> {
        self.journals.lock()[shard as usize].entries.clone()
    }

    fn append(&self, shard: u16, expected: u64, id: [u8; 16], payload: Bytes) -> Result<u64, BusError> {
        if self.unreachable.load(Ordering::SeqCst) {
            return Err(BusError::new(BusErrorKind::Unreachable, "no quorum"));
        }
        let mut journals = self.journals.lock();
        let journal = &mut journals[shard as usize];
        if let Some((_, sequence)) = journal.ids.iter().find(|(known, _)| *known == id) {
            return Ok(*sequence);
        }
        if journal.last != expected {
            return Err(BusError::new(BusErrorKind::Conflict, "not the last sequence"));
        }
        journal.last += 1;
        let sequence = journal.last;
        journal.entries.push(JournalEntry { sequence, payload });
        journal.ids.push((id, sequence));
        self.appends.fetch_add(1, Ordering::SeqCst);
        if self.lose_next_answer.swap(false, Ordering::SeqCst) {
            return Err(BusError::new(BusErrorKind::Timeout, "no answer"));
        }
        Ok(sequence)
    }
}

fn absent<T>() -> Result<T, BusError> {
    Err(BusError::new(BusErrorKind::Unreachable, "journals only"))
}

impl Bus for MemoryBus {
    fn kv_get<'a>(&'a self, _: &'static str, _: &'a [u8]) -> BoxFuture<'a, Result<Option<KvEntry>, BusError>> {
        async { absent() }.boxed()
    }
    fn kv_put<'a>(&'a self, _: &'static str, _: Bytes, _: Bytes, _: Expect) -> BoxFuture<'a, Result<u64, BusError>> {
        async { absent() }.boxed()
    }
    fn kv_delete<'a>(&'a self, _: &'static str, _: Bytes, _: Expect) -> BoxFuture<'a, Result<(), BusError>> {
        async { absent() }.boxed()
    }
    fn kv_write<'a>(&'a self, _: Vec<KvWrite>) -> BoxFuture<'a, Result<(), BusError>> {
        async { absent() }.boxed()
    }
    fn kv_list<'a>(&'a self, _: &'static str) -> BoxFuture<'a, Result<Vec<KvEntry>, BusError>> {
        async { absent() }.boxed()
    }
    fn kv_watch<'a>(&'a self, _: &'static str) -> BoxFuture<'a, Result<BoxStream<'static, KvChange>, BusError>> {
        async { absent() }.boxed()
    }
    fn journal_append<'a>(
        &'a self,
        shard: u16,
        expected: u64,
        message_id: [u8; 16],
        payload: Bytes,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        async move {
            // A disk takes its time.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            self.append(shard, expected, message_id, payload)
        }
        .boxed()
    }
    fn journal_read<'a>(&'a self, shard: u16, from: u64) -> BoxFuture<'a, Result<Vec<JournalEntry>, BusError>> {
        let entries = self
            .entries(shard)
            .into_iter()
            .filter(|entry| entry.sequence >= from)
            .collect();
        async move { Ok(entries) }.boxed()
    }
    fn journal_head<'a>(&'a self, shard: u16) -> BoxFuture<'a, Result<JournalHead, BusError>> {
        let head = JournalHead {
            last_sequence: self.journals.lock()[shard as usize].last,
            incarnation: self.incarnation.load(Ordering::SeqCst),
        };
        async move { Ok(head) }.boxed()
    }
    fn journal_purge<'a>(&'a self, shard: u16, before: u64) -> BoxFuture<'a, Result<(), BusError>> {
        self.journals.lock()[shard as usize]
            .entries
            .retain(|entry| entry.sequence >= before);
        async { Ok(()) }.boxed()
    }
    fn publish(&self, _: &str, _: Bytes) {}
    fn subscribe(&self, _: &str) -> BoxStream<'static, Bytes> {
        futures::stream::empty().boxed()
    }
    fn request<'a>(&'a self, _: &'a str, _: Bytes, _: std::time::Duration) -> BoxFuture<'a, Result<Bytes, BusError>> {
        async { absent() }.boxed()
    }
    fn serve(&self, _: &str) -> BoxStream<'static, BusRequest> {
        futures::stream::empty().boxed()
    }
}
