//! The bus of a node that is alone: the embedded store underneath, channels instead of a network.
//!
//! A bucket is the store's tree of that name. Everything that writes is decided on the store's committer thread, so
//! revisions and sequences have no gaps to race through, and watchers hear of changes in the order of the commits and
//! only once they are durable.

mod journal;
mod kv;
mod objects;
mod records;
mod talk;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::faults::{Faults, FaultyBus};
use super::watch::Watchers;
use super::{
    Bus, BusError, BusErrorKind, BusRequest, BusStatus, Expect, JournalEntry, JournalHead, KvChange, KvEntry, KvWrite,
    ObjectBytes, ObjectContent, ObjectInfo, ObjectRange, RecordBatch, RecordsFrom,
};
use crate::clock::Clock;
use crate::store::{Store, StoreError};
use records::Records;
use talk::Talk;

/// Rows that are read between two yields to the runtime.
const ROWS_PER_TURN: usize = 1_024;

/// The bus of a single node.
pub struct LocalBus {
    store: Store,
    clock: Clock,
    watchers: Arc<Watchers>,
    talk: Talk,
    records: Arc<Records>,
}

/// What flows through the bus at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LocalBusStats {
    /// Open watches.
    pub watchers: usize,
    /// Changes that watchers have not read yet, at most one a key and watcher.
    pub unread_changes: usize,
    /// Published messages that a subscriber was too slow for.
    pub dropped_messages: u64,
}

impl LocalBus {
    /// A bus on this store. It says where and when a journal began, so it needs to know the date.
    pub fn new(store: Store, clock: Clock) -> Arc<LocalBus> {
        Arc::new(LocalBus {
            store,
            clock,
            watchers: Arc::default(),
            talk: Talk::default(),
            records: Arc::default(),
        })
    }

    /// The same bus behind a bad network, for tests: what happens depends on `seed` alone (and on the order of calls).
    pub fn with_faults(store: Store, clock: Clock, seed: u64, faults: Faults) -> Arc<FaultyBus> {
        FaultyBus::new(LocalBus::new(store, clock), seed, faults)
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What flows through at the moment.
    pub fn stats(&self) -> LocalBusStats {
        let (watchers, unread_changes) = self.watchers.depth();
        LocalBusStats {
            watchers,
            unread_changes,
            dropped_messages: self.talk.dropped(),
        }
    }

    /// Makes durable what waits and closes the store; watches end, later writes are `Closed`.
    pub fn close(&self) {
        self.store.close();
        self.watchers.close();
        self.records.close();
    }
}

impl Bus for LocalBus {
    fn kv_get<'a>(&'a self, bucket: &'static str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<KvEntry>, BusError>> {
        Box::pin(async move { kv::get(&self.store, bucket, key) })
    }

    fn kv_put<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        value: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        Box::pin(kv::put(&self.store, &self.watchers, bucket, key, value, expect))
    }

    fn kv_delete<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(kv::delete(&self.store, &self.watchers, bucket, key, expect))
    }

    fn kv_write<'a>(&'a self, writes: Vec<KvWrite>) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(kv::write(&self.store, &self.watchers, writes))
    }

    fn kv_list<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<Vec<KvEntry>, BusError>> {
        Box::pin(kv::list(&self.store, bucket))
    }

    fn kv_pages<'a>(&'a self, bucket: &'static str) -> BoxStream<'a, Result<Vec<KvEntry>, BusError>> {
        Box::pin(kv::pages(&self.store, bucket))
    }

    fn kv_watch<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<BoxStream<'static, KvChange>, BusError>> {
        Box::pin(async move { Ok(self.watchers.watch(bucket, 0)) })
    }

    fn journal_append<'a>(
        &'a self,
        shard: u16,
        expected: u64,
        message_id: [u8; 16],
        payload: Bytes,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        let newborn = journal::incarnation(&self.clock);
        Box::pin(journal::append(
            &self.store,
            shard,
            expected,
            message_id,
            payload,
            newborn,
        ))
    }

    fn journal_read<'a>(&'a self, shard: u16, from: u64) -> BoxFuture<'a, Result<Vec<JournalEntry>, BusError>> {
        Box::pin(journal::read(&self.store, shard, from))
    }

    fn journal_head<'a>(&'a self, shard: u16) -> BoxFuture<'a, Result<JournalHead, BusError>> {
        Box::pin(journal::head(&self.store, shard, journal::incarnation(&self.clock)))
    }

    fn journal_purge<'a>(&'a self, shard: u16, before: u64) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(journal::purge(&self.store, shard, before))
    }

    fn publish(&self, subject: &str, payload: Bytes) {
        self.talk.publish(subject, &payload);
    }

    fn subscribe(&self, subject: &str) -> BoxStream<'static, Bytes> {
        self.talk.subscribe(subject)
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Bytes, BusError>> {
        Box::pin(self.talk.request(subject, payload, deadline))
    }

    fn serve(&self, subject: &str) -> BoxStream<'static, BusRequest> {
        self.talk.serve(subject)
    }

    fn records_append<'a>(&'a self, batch: Bytes) -> BoxFuture<'a, Result<u64, BusError>> {
        let sequence = self.records.append(batch, self.clock.wall().0);
        Box::pin(async move { Ok(sequence) })
    }

    fn records_follow(&self, from: RecordsFrom) -> BoxStream<'static, RecordBatch> {
        Records::follow(&self.records, from)
    }

    fn object_put<'a>(
        &'a self,
        name: &'a str,
        content: ObjectContent,
        most: u64,
    ) -> BoxFuture<'a, Result<ObjectInfo, BusError>> {
        let now = self.clock.wall().0;
        Box::pin(objects::put(&self.store, name, content, most, now))
    }

    fn object_get<'a>(
        &'a self,
        name: &'a str,
        range: ObjectRange,
    ) -> BoxFuture<'a, Result<Option<(ObjectInfo, ObjectBytes)>, BusError>> {
        Box::pin(async move { objects::get(&self.store, name, range) })
    }

    fn object_delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(objects::delete(&self.store, name))
    }

    fn object_list<'a>(&'a self) -> BoxFuture<'a, Result<Vec<ObjectInfo>, BusError>> {
        Box::pin(async move { objects::list(&self.store) })
    }

    fn status<'a>(&'a self) -> BoxFuture<'a, BusStatus> {
        let dropped_messages = self.talk.dropped();
        Box::pin(async move {
            BusStatus {
                kind: "local",
                connected: true,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                rtt_us: Some(0),
                dropped_messages,
                ..BusStatus::default()
            }
        })
    }
}

impl From<StoreError> for BusError {
    fn from(error: StoreError) -> BusError {
        let kind = match &error {
            StoreError::Conflict => BusErrorKind::Conflict,
            StoreError::Corrupt { .. } => BusErrorKind::Corrupt,
            StoreError::Closed => BusErrorKind::Closed,
            StoreError::Locked { .. }
            | StoreError::Unusable { .. }
            | StoreError::Damaged { .. }
            | StoreError::Full { .. }
            | StoreError::Degraded { .. }
            | StoreError::TooLarge { .. } => BusErrorKind::Storage,
        };
        BusError::new(kind, error.to_string())
    }
}
