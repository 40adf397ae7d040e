//! One node's connection to a bus that many nodes share: it can be cut, its journals can stall, its messages are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::bus::{
    Bus, BusError, BusErrorKind, BusHandle, BusRequest, Expect, JournalEntry, JournalHead, KvChange, KvEntry, KvWrite,
};

/// What all connections to one bus share.
#[derive(Default)]
pub struct Trouble {
    /// Journals do not answer.
    pub stalled: AtomicBool,
    /// Messages that nodes published: beats, requests, replies, appends and their acknowledgements.
    pub messages: AtomicU64,
    pub appends: AtomicU64,
    pub requests: AtomicU64,
    pub beats: AtomicU64,
}

/// One node's connection.
pub struct CutBus {
    inner: BusHandle,
    pub trouble: Arc<Trouble>,
    /// Nothing gets through in either direction.
    pub cut: Arc<AtomicBool>,
}

impl CutBus {
    pub fn new(inner: BusHandle, trouble: Arc<Trouble>) -> Arc<CutBus> {
        Arc::new(CutBus {
            inner,
            trouble,
            cut: Arc::default(),
        })
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    async fn through<T>(&self, call: BoxFuture<'_, Result<T, BusError>>) -> Result<T, BusError> {
        if self.is_cut() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Err(BusError::new(BusErrorKind::Unreachable, "cut"));
        }
        if self.trouble.stalled.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Err(BusError::new(BusErrorKind::Timeout, "stalled"));
        }
        // A disk takes its time.
        tokio::time::sleep(Duration::from_millis(2)).await;
        call.await
    }
}

impl Bus for CutBus {
    fn kv_get<'a>(&'a self, bucket: &'static str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<KvEntry>, BusError>> {
        self.inner.kv_get(bucket, key)
    }
    fn kv_put<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        value: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        self.inner.kv_put(bucket, key, value, expect)
    }
    fn kv_delete<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        self.inner.kv_delete(bucket, key, expect)
    }
    fn kv_write<'a>(&'a self, writes: Vec<KvWrite>) -> BoxFuture<'a, Result<(), BusError>> {
        self.inner.kv_write(writes)
    }
    fn kv_list<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<Vec<KvEntry>, BusError>> {
        self.inner.kv_list(bucket)
    }
    fn kv_watch<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<BoxStream<'static, KvChange>, BusError>> {
        self.inner.kv_watch(bucket)
    }
    fn journal_append<'a>(
        &'a self,
        shard: u16,
        expected: u64,
        message_id: [u8; 16],
        payload: Bytes,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        self.trouble.messages.fetch_add(2, Ordering::SeqCst);
        self.trouble.appends.fetch_add(1, Ordering::SeqCst);
        Box::pin(self.through(self.inner.journal_append(shard, expected, message_id, payload)))
    }
    fn journal_read<'a>(&'a self, shard: u16, from: u64) -> BoxFuture<'a, Result<Vec<JournalEntry>, BusError>> {
        Box::pin(self.through(self.inner.journal_read(shard, from)))
    }
    fn journal_head<'a>(&'a self, shard: u16) -> BoxFuture<'a, Result<JournalHead, BusError>> {
        Box::pin(self.through(self.inner.journal_head(shard)))
    }
    fn journal_purge<'a>(&'a self, shard: u16, before: u64) -> BoxFuture<'a, Result<(), BusError>> {
        self.inner.journal_purge(shard, before)
    }
    fn publish(&self, subject: &str, payload: Bytes) {
        self.trouble.messages.fetch_add(1, Ordering::SeqCst);
        self.trouble.beats.fetch_add(1, Ordering::SeqCst);
        if !self.is_cut() {
            self.inner.publish(subject, payload);
        }
    }
    fn subscribe(&self, subject: &str) -> BoxStream<'static, Bytes> {
        let cut = self.cut.clone();
        let heard = self.inner.subscribe(subject);
        heard
            .filter(move |_| std::future::ready(!cut.load(Ordering::SeqCst)))
            .boxed()
    }
    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Bytes, BusError>> {
        self.trouble.messages.fetch_add(2, Ordering::SeqCst);
        self.trouble.requests.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if self.is_cut() {
                tokio::time::sleep(deadline).await;
                return Err(BusError::new(BusErrorKind::Timeout, "cut"));
            }
            self.inner.request(subject, payload, deadline).await
        })
    }
    fn serve(&self, subject: &str) -> BoxStream<'static, BusRequest> {
        let cut = self.cut.clone();
        let served = self.inner.serve(subject);
        served
            .filter(move |_| std::future::ready(!cut.load(Ordering::SeqCst)))
            .boxed()
    }
}
