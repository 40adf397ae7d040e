//! Watches. One consumer of this node reads what any bucket that somebody here watches changes, and hands it to the
//! watchers; it is polled always, and made anew from where it stopped when it breaks. Where something may have been missed
//! for good, every watch ends: whoever holds it lists again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::Info;
use futures::StreamExt;
use futures::stream::BoxStream;
use grok2api_schemas::bus::subjects::buckets;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::kv;
use super::link::Link;
use crate::bus::watch::Watchers;
use crate::bus::{BusError, KvChange};

/// After a longer absence a deletion may have come and its mark gone.
pub(super) const LONGEST_GAP: Duration = Duration::from_secs(12 * 60 * 60);
/// How often we look whether the stream is still the one we read.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Pauses between two tries, the shortest and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

#[derive(Default)]
pub(super) struct Watching {
    watchers: Watchers,
    position: Mutex<Position>,
    moved: Notify,
}

#[derive(Default)]
struct Position {
    buckets: BTreeSet<&'static str>,
    /// The sequence to go on from, once somebody watches.
    next: u64,
    /// When the stream we read was made.
    created: Option<DateTime>,
    /// Grows when the consumer must be made anew.
    generation: u64,
}

impl Watching {
    /// Starts to watch a bucket from now on, as the stream's leader knows it.
    pub async fn watch(&self, link: &Link, bucket: &'static str) -> Result<BoxStream<'static, KvChange>, BusError> {
        let info = link.info(&link.kv_stream()).await?;
        let seen = info.state.last_sequence;
        let mut position = self.position.lock();
        if position.created.is_some_and(|created| created != info.created) {
            self.lost(&mut position, "its stream was made anew");
        }
        position.created = Some(info.created);
        // What the consumer has passed meanwhile is read again; watchers hear nothing twice.
        let behind = position.next > seen + 1;
        if position.buckets.is_empty() || behind {
            position.next = seen + 1;
        }
        if position.buckets.insert(bucket) || behind {
            position.generation += 1;
            self.moved.notify_one();
        }
        Ok(self.watchers.watch(bucket, seen))
    }

    /// Ends every watch.
    pub fn close(&self) {
        self.watchers.close();
    }

    fn lost(&self, position: &mut Position, why: &str) {
        tracing::warn!("changes may have been missed, every watch begins anew: {why}");
        *position = Position {
            generation: position.generation + 1,
            ..Position::default()
        };
        self.watchers.close();
    }

    /// Is what we read still there, and still the same?
    fn check(&self, info: &Info) {
        let mut position = self.position.lock();
        if position.created.is_none() {
            return;
        }
        if position.created != Some(info.created) {
            self.lost(&mut position, "the stream was made anew");
        } else if info.state.last_sequence + 1 < position.next {
            self.lost(&mut position, "the stream is older than what we have seen");
        }
    }

    /// Reads until the bus closes.
    pub async fn run(self: Arc<Self>, link: Arc<Link>) {
        let read = async {
            let mut pause = PAUSES.0;
            let mut heard = Instant::now();
            loop {
                let (generation, next, subjects) = {
                    let position = self.position.lock();
                    let subjects = position.buckets.iter().map(|bucket| kv::all_of(&link, bucket));
                    (position.generation, position.next, subjects.collect::<Vec<_>>())
                };
                if subjects.is_empty() {
                    self.moved.notified().await;
                    heard = Instant::now();
                    continue;
                }
                match self.read(&link, generation, next, subjects, &mut heard).await {
                    Ok(()) => pause = PAUSES.0,
                    Err(error) => {
                        tracing::warn!(%error, "the watch of the buckets broke, going on in {} ms", pause.as_millis());
                        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                        pause = (pause * 2).min(PAUSES.1);
                    }
                }
                if heard.elapsed() > LONGEST_GAP {
                    self.lost(&mut self.position.lock(), "we were away for too long");
                }
            }
        };
        tokio::select! {
            () = link.stop.cancelled() => {}
            () = read => {}
        }
        self.close();
    }

    /// Reads with one consumer until it breaks or another is needed.
    async fn read(
        &self,
        link: &Link,
        generation: u64,
        next: u64,
        subjects: Vec<String>,
        heard: &mut Instant,
    ) -> Result<(), BusError> {
        let stream = link.kv_stream();
        self.check(&link.info(&stream).await?);
        if self.position.lock().generation != generation {
            return Ok(());
        }
        let start = DeliverPolicy::ByStartSequence { start_sequence: next };
        let mut messages = link.follow(&stream, subjects, start).await?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.reset();
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = self.moved.notified() => {
                    if self.position.lock().generation != generation {
                        return Ok(());
                    }
                    continue;
                }
                _ = look.tick() => {
                    self.check(&link.info(&stream).await?);
                    *heard = Instant::now();
                    continue;
                }
            };
            let broken =
                |error: &dyn std::fmt::Display| BusError::new(crate::bus::BusErrorKind::Unreachable, error.to_string());
            let message = match message {
                Some(message) => message.map_err(|error| broken(&error))?,
                None => return Err(broken(&"it ended")),
            };
            let revision = message.info().map_err(|error| broken(&error))?.stream_sequence;
            *heard = Instant::now();
            {
                let mut position = self.position.lock();
                if position.generation != generation {
                    return Ok(());
                }
                position.next = revision + 1;
            }
            let Some((bucket, key)) = kv::key_of(link, &message.subject) else {
                continue;
            };
            let Some(bucket) = buckets::ALL.into_iter().find(|known| *known == bucket) else {
                continue;
            };
            let deleted = message.headers.as_ref().is_some_and(kv::is_deletion);
            let change = KvChange {
                key: key.into(),
                value: (!deleted).then(|| message.message.payload.clone()),
                revision,
            };
            self.watchers.tell(bucket, vec![change]);
        }
    }
}
