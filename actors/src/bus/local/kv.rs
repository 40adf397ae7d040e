//! Buckets on the store. Row 0 of a bucket's tree is its last revision; an entry stands under 1 ++ key, as its revision
//! (8 bytes, little endian) ++ value.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::Future;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::try_unfold;
use futures::{Stream, TryStreamExt};

use super::ROWS_PER_TURN;
use crate::bus::watch::Watchers;
use crate::bus::{BusError, Expect, KvChange, KvEntry, KvWrite, within_limits};
use crate::store::{Decision, Store, StoreError, StoreView, StoreWrite};

const LAST_REVISION: &[u8] = &[0];
const ENTRY: u8 = 1;

pub(super) fn get(store: &Store, bucket: &'static str, key: &[u8]) -> Result<Option<KvEntry>, BusError> {
    let Some(stored) = store.get(bucket, &row(key))? else {
        return Ok(None);
    };
    Ok(Some(entry(Bytes::copy_from_slice(key), &stored)?))
}

pub(super) fn put(
    store: &Store,
    watchers: &Arc<Watchers>,
    bucket: &'static str,
    key: Bytes,
    value: Bytes,
    expect: Expect,
) -> impl Future<Output = Result<u64, BusError>> + Send + use<> {
    let watchers = watchers.clone();
    let store = store.clone();
    async move {
        within_limits(&key, Some(&value))?;
        let revision = store
            .decide(move |view| {
                holds(current(view, bucket, &key)?, expect)?;
                let revision = last_revision(view, bucket)? + 1;
                let writes = vec![
                    write_row(bucket, &key, revision, &value),
                    write_last_revision(bucket, revision),
                ];
                let change = KvChange {
                    key,
                    value: Some(value),
                    revision,
                };
                Ok(Decision::write(revision, writes).then(move || watchers.tell(bucket, vec![change])))
            })
            .await?;
        Ok(revision)
    }
}

pub(super) fn delete(
    store: &Store,
    watchers: &Arc<Watchers>,
    bucket: &'static str,
    key: Bytes,
    expect: Expect,
) -> impl Future<Output = Result<(), BusError>> + Send + use<> {
    let watchers = watchers.clone();
    let store = store.clone();
    async move {
        within_limits(&key, None)?;
        store
            .decide(move |view| {
                let current = current(view, bucket, &key)?;
                holds(current, expect)?;
                if current.is_none() {
                    return Ok(Decision::nothing(()));
                }
                let revision = last_revision(view, bucket)? + 1;
                let writes = vec![delete_row(bucket, &key), write_last_revision(bucket, revision)];
                let change = KvChange {
                    key,
                    value: None,
                    revision,
                };
                Ok(Decision::write((), writes).then(move || watchers.tell(bucket, vec![change])))
            })
            .await?;
        Ok(())
    }
}

pub(super) fn write(
    store: &Store,
    watchers: &Arc<Watchers>,
    writes: Vec<KvWrite>,
) -> impl Future<Output = Result<(), BusError>> + Send + use<> {
    let watchers = watchers.clone();
    let store = store.clone();
    async move {
        for write in &writes {
            within_limits(&write.key, write.value.as_ref())?;
        }
        store
            .decide(move |view| {
                let mut rows = Vec::with_capacity(writes.len() + 1);
                let mut changes: BTreeMap<&'static str, (u64, Vec<KvChange>)> = BTreeMap::new();
                for KvWrite { bucket, key, value } in writes {
                    let (revision, changes) = match changes.entry(bucket) {
                        Entry::Occupied(entry) => entry.into_mut(),
                        Entry::Vacant(entry) => entry.insert((last_revision(view, bucket)?, Vec::new())),
                    };
                    *revision += 1;
                    rows.push(match &value {
                        Some(value) => write_row(bucket, &key, *revision, value),
                        None => delete_row(bucket, &key),
                    });
                    changes.push(KvChange {
                        key,
                        value,
                        revision: *revision,
                    });
                }
                for (bucket, (revision, _)) in &changes {
                    rows.push(write_last_revision(bucket, *revision));
                }
                Ok(Decision::write((), rows).then(move || {
                    for (bucket, (_, changes)) in changes {
                        watchers.tell(bucket, changes);
                    }
                }))
            })
            .await?;
        Ok(())
    }
}

pub(super) async fn list(store: &Store, bucket: &'static str) -> Result<Vec<KvEntry>, BusError> {
    pages(store, bucket).try_concat().await
}

/// A bucket in pages, in key order, without holding more than one.
pub(super) fn pages(
    store: &Store,
    bucket: &'static str,
) -> impl Stream<Item = Result<Vec<KvEntry>, BusError>> + Send + use<> {
    let first = Some(Bytes::from_static(&[ENTRY]));
    try_unfold((store.clone(), first), move |(store, from)| async move {
        let Some(from) = from else {
            return Ok(None);
        };
        // Between two pages the runtime gets its turn.
        tokio::task::yield_now().await;
        let rows = store.scan_range(bucket, &from, None, ROWS_PER_TURN)?;
        // The smallest key after the last one.
        let next = rows
            .last()
            .filter(|_| rows.len() == ROWS_PER_TURN)
            .map(|(last, _)| [last, &[0][..]].concat().into());
        let entries = rows.into_iter().map(|(row, stored)| {
            Ok(KvEntry {
                revision: revision_of(&stored)?,
                key: row.slice(1..),
                value: stored.slice(8..),
            })
        });
        let page = entries.collect::<Result<Vec<KvEntry>, StoreError>>()?;
        Ok(Some((page, (store, next))))
    })
}

/// The revision of a key, if it is there.
fn current(view: &StoreView<'_>, bucket: &'static str, key: &[u8]) -> Result<Option<u64>, StoreError> {
    match view.get(bucket, &row(key))? {
        Some(stored) => revision_of(&stored).map(Some),
        None => Ok(None),
    }
}

fn holds(current: Option<u64>, expect: Expect) -> Result<(), StoreError> {
    let holds = match expect {
        Expect::Any => true,
        Expect::Absent => current.is_none(),
        Expect::Revision(revision) => current == Some(revision),
    };
    if holds { Ok(()) } else { Err(StoreError::Conflict) }
}

fn last_revision(view: &StoreView<'_>, bucket: &'static str) -> Result<u64, StoreError> {
    match view.get(bucket, LAST_REVISION)? {
        Some(stored) => revision_of(&stored),
        None => Ok(0),
    }
}

fn revision_of(stored: &[u8]) -> Result<u64, StoreError> {
    match stored.first_chunk() {
        Some(revision) => Ok(u64::from_le_bytes(*revision)),
        None => Err(StoreError::Corrupt {
            reason: "an entry is too short to hold its revision".to_owned(),
        }),
    }
}

fn entry(key: Bytes, stored: &Bytes) -> Result<KvEntry, StoreError> {
    Ok(KvEntry {
        key,
        revision: revision_of(stored)?,
        value: stored.slice(8..),
    })
}

fn row(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 1);
    row.push(ENTRY);
    row.extend_from_slice(key);
    row
}

fn write_row(bucket: &'static str, key: &[u8], revision: u64, value: &[u8]) -> StoreWrite {
    let mut stored = BytesMut::with_capacity(8 + value.len());
    stored.put_u64_le(revision);
    stored.put_slice(value);
    StoreWrite {
        tree: bucket,
        key: row(key).into(),
        value: Some(stored.freeze()),
    }
}

fn delete_row(bucket: &'static str, key: &[u8]) -> StoreWrite {
    StoreWrite {
        tree: bucket,
        key: row(key).into(),
        value: None,
    }
}

fn write_last_revision(bucket: &'static str, revision: u64) -> StoreWrite {
    StoreWrite {
        tree: bucket,
        key: Bytes::from_static(LAST_REVISION),
        value: Some(Bytes::copy_from_slice(&revision.to_le_bytes())),
    }
}
