//! A bad network in front of any bus, for tests: seeded delays, losses, duplicates, unknown outcomes, stale watches. What
//! it does to one call is drawn when the call is made, so under paused time a seed replays.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, join};
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Bus, BusError, BusErrorKind, BusHandle, BusRequest, BusStatus, Expect, JournalEntry, JournalHead, KvChange,
    KvEntry, KvWrite, ObjectBytes, ObjectContent, ObjectInfo, ObjectRange, RecordBatch, RecordsFrom,
};

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Every call and every message is late by up to this much, in both directions.
    pub delay: Duration,
    /// The share (0 to 1) of messages and calls that are lost: a publication is not heard; a request or a write ends in
    /// [`BusErrorKind::Timeout`], half of them after it was carried out.
    pub drop: f64,
    /// The share of publications, requests and journal appends that are delivered twice.
    pub duplicate: f64,
    /// Watchers hear of a change by up to this much later.
    pub stale_watch: Duration,
}

/// How long a caller waits for a write whose fate it will not learn.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A bus with faults in front.
pub struct FaultyBus {
    inner: BusHandle,
    faults: Mutex<Faults>,
    rng: Arc<Mutex<fastrand::Rng>>,
}

/// Messages that are delayed at a time on one stream; they keep their order, as on a connection.
const ON_THEIR_WAY: usize = 1_024;

/// What happens to one call.
#[derive(Clone, Copy)]
enum Fate {
    Done,
    /// Never arrives.
    Lost,
    /// Is carried out, but the answer never arrives.
    AnswerLost,
}

struct Draw {
    there: Duration,
    back: Duration,
    fate: Fate,
    twice: bool,
}

impl FaultyBus {
    /// Faults in front of `inner`, drawn from `seed`.
    pub fn new(inner: BusHandle, seed: u64, faults: Faults) -> Arc<FaultyBus> {
        Arc::new(FaultyBus {
            inner,
            faults: Mutex::new(faults),
            rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
        })
    }

    /// Changes the network for what is called from now on; `Faults::default()` heals it.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    fn draw(&self) -> Draw {
        let faults = *self.faults.lock();
        let mut rng = self.rng.lock();
        let there = late(&mut rng, faults.delay);
        let back = late(&mut rng, faults.delay);
        let fate = match (rng.f64() < faults.drop, rng.bool()) {
            (false, _) => Fate::Done,
            (true, false) => Fate::Lost,
            (true, true) => Fate::AnswerLost,
        };
        Draw {
            there,
            back,
            fate,
            twice: rng.f64() < faults.duplicate,
        }
    }

    /// A read: late, or lost.
    fn read<'a, T: Send + 'a>(
        &'a self,
        call: impl Fn() -> BoxFuture<'a, Result<T, BusError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, BusError>> {
        let draw = self.draw();
        Box::pin(async move {
            wait(draw.there).await;
            if !matches!(draw.fate, Fate::Done) {
                sleep(WRITE_TIMEOUT).await;
                return Err(unknown());
            }
            let answer = call().await;
            wait(draw.back).await;
            answer
        })
    }

    /// A write: late, lost, done with the answer lost, or delivered twice (`may_repeat`).
    fn write<'a, T: Send + 'a>(
        &'a self,
        may_repeat: bool,
        call: impl Fn() -> BoxFuture<'a, Result<T, BusError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, BusError>> {
        let draw = self.draw();
        Box::pin(async move {
            wait(draw.there).await;
            if let Fate::Lost = draw.fate {
                sleep(WRITE_TIMEOUT).await;
                return Err(unknown());
            }
            let answer = call().await;
            if draw.twice && may_repeat {
                // The duplicate's answer has nobody to go to.
                drop(call().await);
            }
            if let Fate::AnswerLost = draw.fate {
                sleep(WRITE_TIMEOUT).await;
                return Err(unknown());
            }
            wait(draw.back).await;
            answer
        })
    }
}

fn late(rng: &mut fastrand::Rng, most: Duration) -> Duration {
    most.mul_f64(rng.f64())
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn unknown() -> BusError {
    BusError::new(BusErrorKind::Timeout, "no answer in time (injected)")
}

impl Bus for FaultyBus {
    fn kv_get<'a>(&'a self, bucket: &'static str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<KvEntry>, BusError>> {
        self.read(move || self.inner.kv_get(bucket, key))
    }

    fn kv_put<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        value: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        self.write(false, move || {
            self.inner.kv_put(bucket, key.clone(), value.clone(), expect)
        })
    }

    fn kv_delete<'a>(
        &'a self,
        bucket: &'static str,
        key: Bytes,
        expect: Expect,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        self.write(false, move || self.inner.kv_delete(bucket, key.clone(), expect))
    }

    fn kv_write<'a>(&'a self, writes: Vec<KvWrite>) -> BoxFuture<'a, Result<(), BusError>> {
        self.write(false, move || self.inner.kv_write(writes.clone()))
    }

    fn kv_list<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<Vec<KvEntry>, BusError>> {
        self.read(move || self.inner.kv_list(bucket))
    }

    fn kv_watch<'a>(&'a self, bucket: &'static str) -> BoxFuture<'a, Result<BoxStream<'static, KvChange>, BusError>> {
        Box::pin(async move {
            let changes = self.inner.kv_watch(bucket).await?;
            let most = self.faults.lock().stale_watch;
            let rng = self.rng.clone();
            let stale = changes.map(move |change| {
                let heard_at = Instant::now() + late(&mut rng.lock(), most);
                async move {
                    sleep_until(heard_at).await;
                    change
                }
            });
            Ok(stale.buffered(ON_THEIR_WAY).boxed())
        })
    }

    fn journal_append<'a>(
        &'a self,
        shard: u16,
        expected: u64,
        message_id: [u8; 16],
        payload: Bytes,
    ) -> BoxFuture<'a, Result<u64, BusError>> {
        self.write(true, move || {
            self.inner.journal_append(shard, expected, message_id, payload.clone())
        })
    }

    fn journal_read<'a>(&'a self, shard: u16, from: u64) -> BoxFuture<'a, Result<Vec<JournalEntry>, BusError>> {
        self.read(move || self.inner.journal_read(shard, from))
    }

    fn journal_head<'a>(&'a self, shard: u16) -> BoxFuture<'a, Result<JournalHead, BusError>> {
        self.read(move || self.inner.journal_head(shard))
    }

    fn journal_purge<'a>(&'a self, shard: u16, before: u64) -> BoxFuture<'a, Result<(), BusError>> {
        self.write(true, move || self.inner.journal_purge(shard, before))
    }

    fn publish(&self, subject: &str, payload: Bytes) {
        self.inner.publish(subject, payload);
    }

    /// Losses, duplicates and delays of publications are the subscriber's: two of them hear different things.
    fn subscribe(&self, subject: &str) -> BoxStream<'static, Bytes> {
        let faults = *self.faults.lock();
        let rng = self.rng.clone();
        let heard = self.inner.subscribe(subject).flat_map(move |message| {
            let mut rng = rng.lock();
            let copies = match (rng.f64() < faults.drop, rng.f64() < faults.duplicate) {
                (true, _) => 0,
                (false, false) => 1,
                (false, true) => 2,
            };
            let heard_at = Instant::now() + late(&mut rng, faults.delay);
            futures::stream::iter(std::iter::repeat_n((heard_at, message), copies))
        });
        let late = heard.map(|(heard_at, message)| async move {
            sleep_until(heard_at).await;
            message
        });
        late.buffered(ON_THEIR_WAY).boxed()
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Bytes, BusError>> {
        let draw = self.draw();
        Box::pin(async move {
            let end = Instant::now() + deadline;
            let left = |until: Instant| until.saturating_duration_since(Instant::now());
            wait(draw.there.min(deadline)).await;
            if !matches!(draw.fate, Fate::Lost) {
                let first = self.inner.request(subject, payload.clone(), left(end));
                let answer = if draw.twice {
                    let second = self.inner.request(subject, payload, left(end));
                    join(first, second).await.0
                } else {
                    first.await
                };
                let in_time = left(end) > draw.back;
                if matches!(draw.fate, Fate::Done) && (in_time || answer.is_err()) {
                    wait(draw.back.min(left(end))).await;
                    return answer;
                }
            }
            sleep_until(end).await;
            Err(unknown())
        })
    }

    fn serve(&self, subject: &str) -> BoxStream<'static, BusRequest> {
        self.inner.serve(subject)
    }

    fn records_append<'a>(&'a self, batch: Bytes) -> BoxFuture<'a, Result<u64, BusError>> {
        self.write(false, move || self.inner.records_append(batch.clone()))
    }

    fn records_follow(&self, from: RecordsFrom) -> BoxStream<'static, RecordBatch> {
        self.inner.records_follow(from)
    }

    fn object_put<'a>(
        &'a self,
        name: &'a str,
        content: ObjectContent,
        most: u64,
    ) -> BoxFuture<'a, Result<ObjectInfo, BusError>> {
        self.inner.object_put(name, content, most)
    }

    fn object_get<'a>(
        &'a self,
        name: &'a str,
        range: ObjectRange,
    ) -> BoxFuture<'a, Result<Option<(ObjectInfo, ObjectBytes)>, BusError>> {
        self.read(move || self.inner.object_get(name, range))
    }

    fn object_delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BusError>> {
        self.write(true, move || self.inner.object_delete(name))
    }

    fn object_list<'a>(&'a self) -> BoxFuture<'a, Result<Vec<ObjectInfo>, BusError>> {
        self.read(move || self.inner.object_list())
    }

    fn status<'a>(&'a self) -> BoxFuture<'a, BusStatus> {
        self.inner.status()
    }
}
