//! A bucket of the bus held in memory: read without I/O, kept right by a watch, and by own writes before they are
//! announced.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures::StreamExt;
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

/// Keys of one bucket that start with a prefix.
pub struct Mirror<T> {
    bus: BusHandle,
    bucket: &'static str,
    prefix: &'static [u8],
    rows: DashMap<Bytes, Row<T>>,
    /// Revisions that we deleted and whose deletion the watch has not told yet: an older value must not come back.
    deleted: Mutex<std::collections::HashMap<Bytes, u64>>,
    on_change: OnChange<T>,
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
        debug_assert!(buckets::ALL.contains(&bucket));
        let mirror = Arc::new(Mirror {
            bus,
            bucket,
            prefix,
            rows: DashMap::new(),
            deleted: Mutex::new(std::collections::HashMap::new()),
            on_change,
        });
        // The watch first, then the list: what changes in between is told, not lost.
        let watch = mirror.bus.kv_watch(bucket).await?;
        for entry in mirror.bus.kv_list(bucket).await? {
            if entry.key.starts_with(prefix) {
                let value = decode::<T>(bucket, &entry.value)?;
                mirror.apply(entry.key, Some(Arc::new(value)), entry.revision);
            }
        }
        let follower = mirror.clone();
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
        debug_assert!(key.starts_with(self.prefix));
        let bytes = codec::encode(codec::VERSION, &value)
            .map_err(|error| BusError::new(BusErrorKind::Storage, error.to_string()))?;
        let revision = self.bus.kv_put(self.bucket, key.clone(), bytes, expect).await?;
        let value = Arc::new(value);
        self.apply(key, Some(value.clone()), revision);
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
        let mut deleted = self.deleted.lock();
        deleted.insert(key.clone(), revision);
        if let Some((_, row)) = self.rows.remove_if(&key, |_, row| row.revision <= revision) {
            (self.on_change)(Some(&row.value), None);
        }
        Ok(())
    }

    /// A change that the watch told.
    fn told(&self, key: Bytes, value: Option<&[u8]>, revision: u64) {
        if !key.starts_with(self.prefix) {
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
        // Also serialises writers, so that the index beside sees changes in order.
        let mut deleted = self.deleted.lock();
        let Some(value) = value else {
            deleted.remove(&key);
            if let Some((_, row)) = self.rows.remove_if(&key, |_, row| row.revision <= revision) {
                (self.on_change)(Some(&row.value), None);
            }
            return;
        };
        if deleted.get(&key).is_some_and(|&gone| revision <= gone) {
            return;
        }
        deleted.remove(&key);
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
