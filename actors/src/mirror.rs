//! A bucket of the bus held in memory: read without I/O, kept right by a watch, and by own writes before they are
//! announced. Where it matters that other nodes know within milliseconds, a change is also published the moment it is
//! durable: the publication may be lost or late, and revisions see to it that it never undoes a newer state.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures::StreamExt;
use grok2api_schemas::bus::changes::RowChanged;
use grok2api_schemas::bus::subjects::buckets;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::{BusError, BusErrorKind, BusHandle, Expect, KvEntry, codec};

/// How long to wait before a broken watch is started again.
const REWATCH_AFTER: Duration = Duration::from_secs(1);

/// A decoded value with the revision it was stored at.
pub struct Row<T> {
    /// What a compare-and-set expects.
    pub revision: u64,
    /// The value.
    pub value: Arc<T>,
}

impl<T> Clone for Row<T> {
    fn clone(&self) -> Row<T> {
        Row {
            revision: self.revision,
            value: self.value.clone(),
        }
    }
}

/// Called under the mirror's lock with the value before and after a change, for an index beside it. It must be quick.
pub type OnChange<T> = Box<dyn Fn(Option<&Arc<T>>, Option<&Arc<T>>) + Send + Sync>;

/// Which rows a mirror holds.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Of which bucket.
    pub bucket: &'static str,
    /// Those whose keys start with one of these.
    pub prefixes: Vec<&'static [u8]>,
    /// Where changes are told the moment they are durable, and heard from other nodes.
    pub announced_on: Option<&'static str>,
    /// What is done at the start about a record that does not decode.
    pub unreadable: Unreadable,
}

/// What a mirror does at its start about a record that does not decode: of a newer build, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Does not start: better no start than half the keys.
    Refuse,
    /// Leaves it alone, as one that is written later: it is not held here, and stays as it is for whoever understands it.
    SetAside,
}

/// Keys of one bucket that start with a prefix, or one of several.
pub struct Mirror<T> {
    bus: BusHandle,
    bucket: &'static str,
    prefixes: Vec<&'static [u8]>,
    rows: DashMap<Bytes, Row<T>>,
    /// Also serialises writers, so that the index beside sees changes in order.
    gone: Mutex<Gone>,
    on_change: OnChange<T>,
    /// Where changes are told the moment they are durable.
    announced_on: Option<&'static str>,
}

/// Deleted rows whose older values may still be on their way.
const GONE: usize = 4_096;

/// Revisions up to which a key is deleted: an older value must not come back. Bounded; the oldest are forgotten.
#[derive(Default)]
struct Gone {
    up_to: HashMap<Bytes, u64>,
    order: VecDeque<Bytes>,
}

impl Gone {
    fn note(&mut self, key: &Bytes, revision: u64) {
        match self.up_to.get_mut(key) {
            Some(known) => *known = (*known).max(revision),
            None => {
                self.up_to.insert(key.clone(), revision);
                self.order.push_back(key.clone());
                if self.order.len() > GONE
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.up_to.remove(&oldest);
                }
            }
        }
    }

    fn covers(&self, key: &Bytes, revision: u64) -> bool {
        self.up_to.get(key).is_some_and(|&gone| revision <= gone)
    }
}

impl<T> fmt::Debug for Mirror<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("bucket", &self.bucket)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned + serde::Serialize + Send + Sync + 'static> Mirror<T> {
    /// Reads the bucket and follows it until `stop`.
    ///
    /// # Errors
    /// The bus cannot be read, or a record does not decode (`Corrupt`): better no start than half the keys.
    pub async fn start(
        bus: BusHandle,
        bucket: &'static str,
        prefix: &'static [u8],
        tracker: &TaskTracker,
        stop: CancellationToken,
        on_change: OnChange<T>,
    ) -> Result<Arc<Mirror<T>>, BusError> {
        Mirror::start_announced(bus, bucket, prefix, None, tracker, stop, on_change).await
    }

    /// As [`Mirror::start`]; changes are told on a subject, too, and those of other nodes are taken from there.
    ///
    /// # Errors
    /// As [`Mirror::start`].
    pub async fn start_announced(
        bus: BusHandle,
        bucket: &'static str,
        prefix: &'static [u8],
        announced_on: Option<&'static str>,
        tracker: &TaskTracker,
        stop: CancellationToken,
        on_change: OnChange<T>,
    ) -> Result<Arc<Mirror<T>>, BusError> {
        let rows = Rows {
            bucket,
            prefixes: vec![prefix],
            announced_on,
            unreadable: Unreadable::Refuse,
        };
        Mirror::start_of(bus, rows, tracker, stop, on_change).await
    }

    /// As [`Mirror::start`], of any rows.
    ///
    /// # Errors
    /// The bus cannot be read; a record does not decode, where that is refused.
    pub async fn start_of(
        bus: BusHandle,
        rows: Rows,
        tracker: &TaskTracker,
        stop: CancellationToken,
        on_change: OnChange<T>,
    ) -> Result<Arc<Mirror<T>>, BusError> {
        let Rows {
            bucket,
            prefixes,
            announced_on,
            unreadable,
        } = rows;
        debug_assert!(buckets::ALL.contains(&bucket));
        let mirror = Arc::new(Mirror {
            bus,
            bucket,
            prefixes,
            rows: DashMap::new(),
            gone: Mutex::default(),
            on_change,
            announced_on,
        });
        let events = match announced_on {
            Some(subject) => mirror.bus.subscribe(subject),
            None => futures::stream::pending().boxed(),
        };
        // The watch first, then the list: what changes in between is told, not lost.
        let watch = mirror.bus.kv_watch(bucket).await?;
        for entry in mirror.bus.kv_list(bucket).await? {
            if !mirror.holds(&entry.key) {
                continue;
            }
            match unreadable {
                Unreadable::Refuse => {
                    let value = decode::<T>(bucket, &entry.value)?;
                    mirror.apply(entry.key, Some(Arc::new(value)), entry.revision);
                }
                Unreadable::SetAside => mirror.told(entry.key, Some(&entry.value), entry.revision),
            }
        }
        let follower = mirror.clone();
        tracker.spawn({
            let (hearer, stop) = (mirror.clone(), stop.clone());
            async move {
                let hear = events.for_each(|event| {
                    hearer.heard(&event);
                    std::future::ready(())
                });
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = hear => {}
                }
            }
        });
        tracker.spawn(async move {
            let mut watch = Some(watch);
            let follow = async {
                loop {
                    if let Some(mut changes) = watch.take() {
                        while let Some(change) = changes.next().await {
                            follower.told(change.key, change.value.as_deref(), change.revision);
                        }
                        tracing::warn!(bucket = follower.bucket, "watch ended; starting it again");
                    }
                    tokio::time::sleep(REWATCH_AFTER).await;
                    match follower.catch_up().await {
                        Ok(changes) => watch = Some(changes),
                        Err(error) => tracing::warn!(bucket = follower.bucket, %error, "watch does not start"),
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = follow => {}
            }
        });
        Ok(mirror)
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// The row of a key.
    pub fn get(&self, key: &[u8]) -> Option<Row<T>> {
        self.rows.get(key).map(|row| row.clone())
    }

    /// The row of a key, asking the bus where the mirror has none: somebody may have written it a moment ago.
    ///
    /// # Errors
    /// The bus cannot be read.
    pub async fn get_or_read(&self, key: &[u8]) -> Result<Option<Row<T>>, BusError> {
        if let Some(row) = self.get(key) {
            return Ok(Some(row));
        }
        if let Some(entry) = self.bus.kv_get(self.bucket, key).await? {
            let value = decode::<T>(self.bucket, &entry.value)?;
            self.apply(entry.key, Some(Arc::new(value)), entry.revision);
        }
        Ok(self.get(key))
    }

    /// Reads a row from the bus again, after a conflict.
    ///
    /// # Errors
    /// The bus cannot be read.
    pub async fn refresh(&self, key: &[u8]) -> Result<(), BusError> {
        let known = self.get(key).map(|row| row.revision);
        match self.bus.kv_get(self.bucket, key).await? {
            Some(entry) => self.told(entry.key, Some(&entry.value), entry.revision),
            None => {
                if let Some(revision) = known {
                    self.apply(Bytes::copy_from_slice(key), None, revision);
                }
            }
        }
        Ok(())
    }

    /// All rows, in key order.
    pub fn all(&self) -> Vec<(Bytes, Row<T>)> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| (row.key().clone(), row.value().clone()))
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes a row; readers see it once it is durable.
    ///
    /// # Errors
    /// `Conflict` if `expect` does not hold; the bus cannot be written.
    pub async fn put(&self, key: Bytes, value: T, expect: Expect) -> Result<Arc<T>, BusError> {
        debug_assert!(self.holds(&key));
        let bytes = codec::encode(codec::VERSION, &value)
            .map_err(|error| BusError::new(BusErrorKind::Storage, error.to_string()))?;
        let revision = self.bus.kv_put(self.bucket, key.clone(), bytes.clone(), expect).await?;
        let value = Arc::new(value);
        self.apply(key.clone(), Some(value.clone()), revision);
        self.announce(&key, Some(&bytes), revision);
        Ok(value)
    }

    /// Deletes a row if its revision is still that; readers miss it once that is durable.
    ///
    /// # Errors
    /// `Conflict` if it changed meanwhile; the bus cannot be written.
    pub async fn delete(&self, key: Bytes, revision: u64) -> Result<(), BusError> {
        self.bus
            .kv_delete(self.bucket, key.clone(), Expect::Revision(revision))
            .await?;
        self.apply(key.clone(), None, revision);
        self.announce(&key, None, revision);
        Ok(())
    }

    /// Tells other nodes, without waiting.
    fn announce(&self, key: &Bytes, value: Option<&Bytes>, revision: u64) {
        let Some(subject) = self.announced_on else { return };
        let change = RowChanged {
            key: key.to_vec(),
            value: value.map(|value| value.to_vec()),
            revision,
        };
        // What cannot be told is watched.
        if let Ok(payload) = codec::encode(codec::VERSION, &change) {
            self.bus.publish(subject, payload);
        }
    }

    /// A change that a node told.
    fn heard(&self, event: &[u8]) {
        // Of a newer build, or damaged: the watch tells it as well.
        let Ok(change) = codec::decode::<RowChanged>(event) else {
            return;
        };
        self.told(Bytes::from(change.key), change.value.as_deref(), change.revision);
    }

    /// A change that the watch told.
    fn told(&self, key: Bytes, value: Option<&[u8]>, revision: u64) {
        if !self.holds(&key) {
            return;
        }
        if value.is_some() && self.rows.get(&key).is_some_and(|row| row.revision >= revision) {
            return;
        }
        let Some(bytes) = value else {
            self.apply(key, None, revision);
            return;
        };
        match decode::<T>(self.bucket, bytes) {
            Ok(value) => self.apply(key, Some(Arc::new(value)), revision),
            Err(error) => {
                // A record of a newer build, or damage. What we had is out of date: fail closed.
                tracing::error!(bucket = self.bucket, %error, "record set aside");
                self.apply(key, None, revision);
            }
        }
    }

    fn apply(&self, key: Bytes, value: Option<Arc<T>>, revision: u64) {
        let mut gone = self.gone.lock();
        let Some(value) = value else {
            gone.note(&key, revision);
            if let Some((_, row)) = self.rows.remove_if(&key, |_, row| row.revision <= revision) {
                (self.on_change)(Some(&row.value), None);
            }
            return;
        };
        if gone.covers(&key, revision) {
            return;
        }
        let before = self.get(&key);
        if before.as_ref().is_some_and(|row| row.revision >= revision) {
            return;
        }
        (self.on_change)(before.as_ref().map(|row| &row.value), Some(&value));
        self.rows.insert(key, Row { revision, value });
    }

    /// A new watch, and everything that the old one may have missed.
    async fn catch_up(&self) -> Result<futures::stream::BoxStream<'static, crate::bus::KvChange>, BusError> {
        let changes = self.bus.kv_watch(self.bucket).await?;
        let before: Vec<(Bytes, u64)> = self
            .rows
            .iter()
            .map(|row| (row.key().clone(), row.value().revision))
            .collect();
        let listed: Vec<KvEntry> = self.bus.kv_list(self.bucket).await?;
        let present: std::collections::HashSet<&Bytes> = listed.iter().map(|entry| &entry.key).collect();
        for (key, revision) in before {
            if !present.contains(&key) {
                self.apply(key, None, revision);
            }
        }
        for entry in listed {
            self.told(entry.key, Some(&entry.value), entry.revision);
        }
        Ok(changes)
    }
}

fn decode<T: DeserializeOwned>(bucket: &str, bytes: &[u8]) -> Result<T, BusError> {
    codec::decode(bytes).map_err(|error| BusError::new(BusErrorKind::Corrupt, format!("{bucket}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Bus;
    use crate::bus::faults::Faults;
    use crate::bus::local::LocalBus;
    use crate::clock::Clock;
    use crate::store::Store;

    const SUBJECT: &str = "test.rows";

    async fn mirror(bus: &BusHandle) -> Arc<Mirror<String>> {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let on_change: OnChange<String> = Box::new(|_, _| {});
        let bus = bus.clone();
        Mirror::start_announced(bus, buckets::KEYS, b"", Some(SUBJECT), &tracker, stop, on_change)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_late_event_never_undoes_a_newer_state() {
        let bus: BusHandle = LocalBus::new(Store::temporary().unwrap(), Clock::system());
        let mut events = bus.subscribe(SUBJECT);
        let (a, b) = (mirror(&bus).await, mirror(&bus).await);
        let key = Bytes::from_static(b"k");
        a.put(key.clone(), "first".into(), Expect::Absent).await.unwrap();
        let first = events.next().await.unwrap();
        a.put(key.clone(), "second".into(), Expect::Any).await.unwrap();
        let second = events.next().await.unwrap();
        b.heard(&second);
        b.heard(&first);
        assert_eq!(*b.get(&key).unwrap().value, "second");
        let revision = b.get(&key).unwrap().revision;
        b.delete(key.clone(), revision).await.unwrap();
        for event in [&first, &second] {
            a.heard(event);
            b.heard(event);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(
            a.get(&key).is_none() && b.get(&key).is_none(),
            "what was deleted stays deleted"
        );
        a.put(key.clone(), "third".into(), Expect::Absent).await.unwrap();
        b.heard(&first);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(*b.get(&key).unwrap().value, "third");
    }

    #[tokio::test(start_paused = true)]
    async fn others_know_at_once_although_the_watch_is_late_and_surely_although_events_are_lost() {
        let slow = Faults {
            stale_watch: Duration::from_secs(60),
            ..Faults::default()
        };
        let bus = LocalBus::with_faults(Store::temporary().unwrap(), Clock::system(), 7, slow);
        let shared: BusHandle = bus.clone();
        let (a, b) = (mirror(&shared).await, mirror(&shared).await);
        let key = Bytes::from_static(b"k");
        a.put(key.clone(), "told".into(), Expect::Absent).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(*b.get(&key).unwrap().value, "told");

        bus.set_faults(Faults::default());
        let lost = Bytes::from_static(b"lost");
        // Written past the mirrors: nobody publishes it.
        let value = codec::encode(codec::VERSION, "watched").unwrap();
        bus.kv_put(buckets::KEYS, lost.clone(), value, Expect::Absent)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(*b.get(&lost).unwrap().value, "watched");
    }
}
