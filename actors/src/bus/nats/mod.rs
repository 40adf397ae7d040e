//! The bus of a cluster: NATS subjects for what is said, JetStream for what is kept.
//!
//! Reads that somebody decides on are answered by the leader of a stream, never by a replica that may lag. Without a
//! connection every call fails at once; nothing is put aside to happen later.

mod connect;
mod errors;
mod journal;
mod keys;
mod kv;
mod link;
mod objects;
mod records;
mod status;
mod streams;
mod talk;
#[cfg(test)]
pub(crate) mod tests;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::ContextBuilder;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    Bus, BusError, BusRequest, BusStatus, Expect, JournalEntry, JournalHead, KvChange, KvEntry, KvWrite, NoRoom,
    ObjectBytes, ObjectContent, ObjectInfo, ObjectRange, RecordBatch, RecordsFrom,
};
pub use connect::{Login, NatsOptions, shown_servers};
use link::Link;
use talk::Talk;
use watch::Watching;

/// Acknowledgements that may be outstanding at a time, over all callers.
const UNACKNOWLEDGED: usize = 16_384;
/// How often we look whether the streams are still there, one at a time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a node cannot start on NATS: one line that says what and how to mend it.
#[derive(Clone, Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// The bus of a node among others.
pub struct NatsBus {
    link: Arc<Link>,
    talk: Talk,
    watching: Arc<Watching>,
    object_limits: objects::Limits,
}

impl NatsBus {
    /// Connects, makes or checks the streams. From then on a lost connection is sought again for ever.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn start(options: NatsOptions) -> Result<Arc<NatsBus>, StartError> {
        if !is_prefix(&options.prefix) {
            return Err(StartError(format!(
                "nats.prefix: {:?} is not 1 to 32 letters, digits, - or _",
                options.prefix
            )));
        }
        let deadline = Instant::now() + options.start_deadline;
        let client = connect::connect(&options).await?;
        let jetstream = ContextBuilder::new()
            .timeout(options.request_timeout)
            .ack_timeout(options.request_timeout)
            .max_ack_inflight(UNACKNOWLEDGED)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let link = Arc::new(Link {
            client,
            jetstream,
            prefix: options.prefix.clone(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            room: Arc::default(),
        });
        streams::ensure(&link, &options, deadline).await?;
        let watching = Arc::new(Watching::default());
        link.tasks.spawn(watching.clone().run(link.clone()));
        let object_limits = objects::Limits {
            replicas: options.replicas,
            max_bytes: options.objects_max_bytes,
        };
        link.tasks.spawn(keep(link.clone(), options));
        Ok(Arc::new(NatsBus {
            talk: Talk::start(&link),
            link,
            watching,
            object_limits,
        }))
    }

    /// The connection, for NATS micro-services beside the bus.
    pub fn client(&self) -> &Client {
        &self.link.client
    }

    /// What every subject of ours begins with.
    pub fn prefix(&self) -> &str {
        &self.link.prefix
    }

    /// The server we reached and what our names begin with, for people.
    pub fn describe(&self) -> String {
        let server = self.link.client.server_info();
        format!("{} {}, prefix {}", server.server_name, server.version, self.link.prefix)
    }

    /// Publications that were not sent, and messages that a subscriber was too slow for.
    pub fn dropped_messages(&self) -> u64 {
        self.talk.dropped()
    }

    /// Ends watches and subscriptions; every later call is `Closed`. What was said before is sent.
    pub async fn close(&self) {
        self.link.stop.cancel();
        self.watching.close();
        self.link.tasks.close();
        self.link.tasks.wait().await;
        if let Err(error) = self.link.client.flush().await {
            tracing::debug!(%error, "the last messages to NATS");
        }
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.link.stop.cancel();
    }
}

/// A NATS that was wiped while we run gets its streams back; the journals' new incarnation tells that they are new.
async fn keep(link: Arc<Link>, options: NatsOptions) {
    let look = async {
        for turn in 0_usize.. {
            tokio::time::sleep(LOOK_EVERY).await;
            if link.connected().is_ok()
                && let Err(error) = streams::look(&link, &options, turn).await
            {
                tracing::warn!(%error, "streams of NATS");
            }
        }
    };
    tokio::select! {
        () = link.stop.cancelled() => {}
        () = look => {}
    }
}

/// Whether streams and subjects can begin with it.
pub fn is_prefix(prefix: &str) -> bool {
    (1..=32).contains(&prefix.len())
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl Bus for NatsBus {
    fn kv_get<'a>(&'a self, bucket: &'static str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<KvEntry>, BusError>> {
        Box::pin(kv::get(&self.link, bucket, key))
    }

    fn kv_put<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        value: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        Box::pin(async move { kv::put(&self.link, bucket, &key, value, expect).await })
    }

    fn kv_delete<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move { kv::delete(&self.link, bucket, &key, expect).await })
    }

    fn kv_write<'a>(&'a self, writes: Vec<KvWrite>) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(kv::write(&self.link, writes))
    }

    fn kv_list<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<Vec<KvEntry>, BusError>> {
        Box::pin(kv::list(&self.link, bucket))
    }

    fn kv_pages<'a>(&'a self, bucket: &'static str) -> BoxStream<'a, Result<Vec<KvEntry>, BusError>> {
        Box::pin(kv::pages(&self.link, bucket))
    }

    fn kv_watch<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<BoxStream<'static, KvChange>, BusError>> {
        Box::pin(self.watching.watch(&self.link, bucket))
    }

    fn journal_append<'a>(
        &'a self,
        shard: u16,
        expected: u64,
        message_id: [u8; 16],
        payload: Bytes,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        Box::pin(journal::append(&self.link, shard, expected, message_id, payload))
    }

    fn journal_read<'a>(&'a self, shard: u16, from: u64) -> BoxFuture<'a, Result<Vec<JournalEntry>, BusError>> {
        Box::pin(journal::read(&self.link, shard, from))
    }

    fn journal_head<'a>(&'a self, shard: u16) -> BoxFuture<'a, Result<JournalHead, BusError>> {
        Box::pin(journal::head(&self.link, shard))
    }

    fn journal_purge<'a>(&'a self, shard: u16, before: u64) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(journal::purge(&self.link, shard, before))
    }

    fn publish(&self, subject: &str, payload: Bytes) {
        self.talk.publish(&self.link, subject, payload);
    }

    fn subscribe(&self, subject: &str) -> BoxStream<'static, Bytes> {
        self.talk.subscribe(&self.link, subject)
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Bytes, BusError>> {
        Box::pin(talk::request(&self.link, subject, payload, deadline))
    }

    fn serve(&self, subject: &str) -> BoxStream<'static, BusRequest> {
        self.talk.serve(&self.link, subject)
    }

    fn records_append<'a>(&'a self, batch: Bytes) -> BoxFuture<'a, Result<u64, BusError>> {
        Box::pin(records::append(&self.link, batch))
    }

    fn records_follow(&self, from: RecordsFrom) -> BoxStream<'static, RecordBatch> {
        records::follow(&self.link, from)
    }

    fn object_put<'a>(
        &'a self,
        name: &'a str,
        content: ObjectContent,
        most: u64,
    ) -> BoxFuture<'a, Result<ObjectInfo, BusError>> {
        Box::pin(objects::put(&self.link, self.object_limits, name, content, most))
    }

    fn object_get<'a>(
        &'a self,
        name: &'a str,
        range: ObjectRange,
    ) -> BoxFuture<'a, Result<Option<(ObjectInfo, ObjectBytes)>, BusError>> {
        Box::pin(objects::get(&self.link, name, range))
    }

    fn object_delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(objects::delete(&self.link, name))
    }

    fn object_list<'a>(&'a self) -> BoxFuture<'a, Result<Vec<ObjectInfo>, BusError>> {
        Box::pin(objects::list(&self.link))
    }

    fn no_room(&self) -> Option<NoRoom> {
        self.link.room.missing()
    }

    fn status<'a>(&'a self) -> BoxFuture<'a, BusStatus> {
        Box::pin(status::status(&self.link, self.talk.dropped()))
    }
}
