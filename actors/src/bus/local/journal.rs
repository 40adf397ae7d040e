//! Journals on the store: one tree, keys are shard ++ sequence (both big endian, so they sort). Under sequence 0, which no
//! entry has, stands the head. An entry is its message id (16 bytes) ++ payload.

use std::future::Future;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::ROWS_PER_TURN;
use crate::bus::codec;
use crate::bus::{BusError, BusErrorKind, JournalEntry, JournalHead};
use crate::clock::Clock;
use crate::store::{Decision, Store, StoreError, StoreView, StoreWrite};

/// `#` keeps it apart from every bucket.
const TREE: &str = "journal#";

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Head {
    last_sequence: u64,
    incarnation: u64,
    /// Of the last entry, which may be purged while its append is retried.
    last_message_id: [u8; 16],
}

/// A number for a journal that begins now: the date, and enough chance to tell two of the same millisecond apart.
pub(super) fn incarnation(clock: &Clock) -> u64 {
    (clock.wall().0 << 16) | u64::from(fastrand::u16(1..))
}

pub(super) fn append(
    store: &Store,
    shard: u16,
    expected: u64,
    message_id: [u8; 16],
    payload: Bytes,
    newborn: u64,
) -> impl Future<Output = Result<u64, BusError>> + Send + use<> {
    let store = store.clone();
    async move {
        if payload.len() > codec::MAX_BYTES {
            return Err(BusError::new(
                BusErrorKind::Storage,
                format!(
                    "a journal entry has at most {} bytes, not {}",
                    codec::MAX_BYTES,
                    payload.len()
                ),
            ));
        }
        let sequence = store
            .decide(move |view| {
                let mut head = stored_head(view, shard)?.unwrap_or_else(|| Head::newborn(newborn));
                let sequence = expected.saturating_add(1);
                if head.last_sequence != expected {
                    let again = head.last_sequence == sequence && head.last_message_id == message_id
                        || view
                            .get(TREE, &key(shard, sequence))?
                            .is_some_and(|entry| entry.starts_with(&message_id));
                    return if again {
                        Ok(Decision::nothing(sequence))
                    } else {
                        Err(StoreError::Conflict)
                    };
                }
                head.last_sequence = sequence;
                head.last_message_id = message_id;
                let mut entry = BytesMut::with_capacity(16 + payload.len());
                entry.put_slice(&message_id);
                entry.put_slice(&payload);
                let writes = vec![
                    StoreWrite {
                        tree: TREE,
                        key: key(shard, sequence),
                        value: Some(entry.freeze()),
                    },
                    head.write(shard)?,
                ];
                Ok(Decision::write(sequence, writes))
            })
            .await?;
        Ok(sequence)
    }
}

pub(super) async fn read(store: &Store, shard: u16, from: u64) -> Result<Vec<JournalEntry>, BusError> {
    let mut entries = Vec::new();
    let mut next = from.max(1);
    // The key after the last one that this shard can have.
    let end = [&key(shard, u64::MAX)[..], &[0]].concat();
    loop {
        let rows = store.scan_range(TREE, &key(shard, next), Some(&end), ROWS_PER_TURN)?;
        let full = rows.len() == ROWS_PER_TURN;
        for (key, entry) in rows {
            let (Some(sequence), true) = (key.last_chunk(), entry.len() >= 16) else {
                return Err(too_short().into());
            };
            let sequence = u64::from_be_bytes(*sequence);
            next = sequence + 1;
            entries.push(JournalEntry {
                sequence,
                payload: entry.slice(16..),
            });
        }
        if !full {
            return Ok(entries);
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn head(store: &Store, shard: u16, newborn: u64) -> Result<JournalHead, BusError> {
    let head = store.get(TREE, &key(shard, 0))?;
    let head = match head {
        Some(head) => read_head(&head)?,
        // Its incarnation is made, and durable, before anybody hears of it.
        None => {
            store
                .decide(move |view| match stored_head(view, shard)? {
                    Some(head) => Ok(Decision::nothing(head)),
                    None => {
                        let head = Head::newborn(newborn);
                        Ok(Decision::write(head, vec![head.write(shard)?]))
                    }
                })
                .await?
        }
    };
    Ok(JournalHead {
        last_sequence: head.last_sequence,
        incarnation: head.incarnation,
    })
}

pub(super) fn purge(
    store: &Store,
    shard: u16,
    before: u64,
) -> impl Future<Output = Result<(), BusError>> + Send + use<> {
    let store = store.clone();
    async move {
        store
            .decide(move |view| {
                let rows = view.scan_range(TREE, &key(shard, 1), Some(&key(shard, before.max(1))), usize::MAX)?;
                let writes = rows.into_iter().map(|(key, _)| StoreWrite {
                    tree: TREE,
                    key,
                    value: None,
                });
                Ok(Decision::write((), writes.collect()))
            })
            .await?;
        Ok(())
    }
}

impl Head {
    fn newborn(incarnation: u64) -> Head {
        Head {
            last_sequence: 0,
            incarnation,
            last_message_id: [0; 16],
        }
    }

    fn write(&self, shard: u16) -> Result<StoreWrite, StoreError> {
        let value = codec::encode(codec::VERSION, self).map_err(|error| StoreError::TooLarge {
            reason: error.to_string(),
        })?;
        Ok(StoreWrite {
            tree: TREE,
            key: key(shard, 0),
            value: Some(value),
        })
    }
}

fn stored_head(view: &StoreView<'_>, shard: u16) -> Result<Option<Head>, StoreError> {
    view.get(TREE, &key(shard, 0))?.map(|head| read_head(&head)).transpose()
}

fn read_head(stored: &[u8]) -> Result<Head, StoreError> {
    codec::decode(stored).map_err(|error| StoreError::Corrupt {
        reason: format!("the head of a journal: {error}"),
    })
}

fn too_short() -> StoreError {
    StoreError::Corrupt {
        reason: "a journal entry is too short to hold its message id".to_owned(),
    }
}

fn key(shard: u16, sequence: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(10);
    key.put_u16(shard);
    key.put_u64(sequence);
    key.freeze()
}
