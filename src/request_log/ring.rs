//! How records lie in the store, and what is pruned. A row is a block: records of one second that were written together,
//! for a row each would cost more than all else a request does here. Its key is the inverted id of its newest record, so
//! the newest block comes first; ids begin with their time, so a minute's blocks lie together. Blocks of one second overlap,
//! those of different seconds do not. A small tree counts bytes and records of each minute: the ring's size is known
//! without reading it, at start as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::bus::codec;
use grok2api_actors::store::{Store, StoreError, StoreWrite};
use grok2api_schemas::admin::requests::RequestRecord;
use grok2api_schemas::ids::RequestId;

use super::{RECORDS, SIZES};

const MINUTE_MS: u64 = 60_000;
const SECOND_MS: u64 = 1_000;
/// Most records of a block: about 40 kB.
pub(super) const BLOCK: usize = 64;
/// Blocks forgotten in one batch.
const PRUNE_BATCH: usize = 128;
/// Batches of pruning at one time: four times a second, faster than records can come in.
const PRUNE_BATCHES: usize = 20;

/// Sorts records into blocks: each of one second, the newest record first.
pub(super) fn blocks(mut records: Vec<Arc<RequestRecord>>) -> Vec<Vec<Arc<RequestRecord>>> {
    records.sort_unstable_by_key(|record| std::cmp::Reverse(record.id));
    let mut blocks: Vec<Vec<Arc<RequestRecord>>> = Vec::new();
    for record in records {
        match blocks.last_mut() {
            Some(block)
                if block.len() < BLOCK
                    && block
                        .last()
                        .is_some_and(|last| second_of(last.id) == second_of(record.id)) =>
            {
                block.push(record);
            }
            _ => blocks.push(vec![record]),
        }
    }
    blocks
}

/// A block as it lies in the store.
pub(super) struct Row {
    pub(super) newest: RequestId,
    pub(super) records: u64,
    key: Bytes,
    value: Bytes,
}

impl Row {
    /// What it takes in the store.
    pub(super) fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }

    pub(super) fn write(self) -> StoreWrite {
        StoreWrite {
            tree: RECORDS,
            key: self.key,
            value: Some(self.value),
        }
    }
}

/// Records as rows, the newest first. A thousand take milliseconds.
pub(super) fn rows(records: &[Arc<RequestRecord>]) -> Vec<Row> {
    let encode = |block: Vec<Arc<RequestRecord>>| {
        let newest = block.first()?.id;
        match codec::encode(codec::VERSION, &block) {
            Ok(value) => Some(Row {
                newest,
                records: block.len() as u64,
                key: key(newest),
                value,
            }),
            // Over the codec's limit, which no records of ours reach. They must not hold up the others.
            Err(error) => {
                tracing::error!(id = %newest, records = block.len(), %error, "request records are not written");
                None
            }
        }
    };
    blocks(records.to_vec()).into_iter().filter_map(encode).collect()
}

/// The key of the block whose newest record has this id.
pub(super) fn key(newest: RequestId) -> Bytes {
    Bytes::copy_from_slice(&key_of(newest))
}

pub(super) fn key_of(newest: RequestId) -> [u8; 16] {
    inverted(*newest.as_bytes())
}

/// Where the first block lies that can hold records of this id or older ones.
pub(super) fn from(id: RequestId) -> [u8; 17] {
    after(&bound((second_of(id) + 1) * SECOND_MS))
}

fn second_of(id: RequestId) -> u64 {
    time_of(id) / SECOND_MS
}

/// The first id of a time.
pub(super) fn first_id(time_ms: u64) -> RequestId {
    RequestId::from_bytes(inverted(bound(time_ms)))
}

/// The id behind a key.
pub(super) fn id_of(key: &[u8]) -> Option<RequestId> {
    <[u8; 16]>::try_from(key)
        .ok()
        .map(|bytes| RequestId::from_bytes(inverted(bytes)))
}

/// The first id of a time, inverted: smaller keys are later, that key itself and larger ones are not.
pub(super) fn bound(time_ms: u64) -> [u8; 16] {
    let mut id = [0u8; 16];
    let time = time_ms.min((1 << 48) - 1).to_be_bytes();
    for (place, byte) in id.iter_mut().zip(&time[2..]) {
        *place = *byte;
    }
    inverted(id)
}

fn inverted(mut bytes: [u8; 16]) -> [u8; 16] {
    for byte in &mut bytes {
        *byte = !*byte;
    }
    bytes
}

/// The time that an id was made, Unix milliseconds.
fn time_of(id: RequestId) -> u64 {
    let [a, b, c, d, e, f, ..] = *id.as_bytes();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Bytes and records of a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    bytes: u64,
    records: u64,
}

/// Bytes and records of all minutes.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    minutes: BTreeMap<u64, Size>,
    total: Size,
}

/// What a batch adds, until it is written.
#[derive(Debug, Default)]
pub(super) struct Added {
    minutes: BTreeMap<u64, Size>,
}

impl Added {
    /// Counts a block of so many records in, by any id of it.
    pub(super) fn add(&mut self, id: RequestId, bytes: u64, records: u64) {
        let size = self.minutes.entry(time_of(id) / MINUTE_MS).or_default();
        size.bytes += bytes;
        size.records += records;
    }

    /// The counts after the batch, to be written with it.
    pub(super) fn writes(&self, before: &Sizes) -> Vec<StoreWrite> {
        self.minutes
            .iter()
            .map(|(&minute, added)| {
                let size = before.minutes.get(&minute).copied().unwrap_or_default().plus(*added);
                StoreWrite {
                    tree: SIZES,
                    key: Bytes::copy_from_slice(&minute.to_be_bytes()),
                    value: Some(size.to_bytes()),
                }
            })
            .collect()
    }
}

impl Size {
    fn plus(self, other: Size) -> Size {
        Size {
            bytes: self.bytes + other.bytes,
            records: self.records + other.records,
        }
    }

    fn to_bytes(self) -> Bytes {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend_from_slice(&self.bytes.to_be_bytes());
        bytes.extend_from_slice(&self.records.to_be_bytes());
        bytes.into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Size> {
        let (first, second) = bytes.split_at_checked(8)?;
        Some(Size {
            bytes: u64::from_be_bytes(first.try_into().ok()?),
            records: u64::from_be_bytes(second.try_into().ok()?),
        })
    }
}

impl Sizes {
    pub(super) fn load(store: &Store) -> Result<Sizes, StoreError> {
        let mut sizes = Sizes::default();
        store.visit(SIZES, &[], |minute, size| {
            if let (Ok(minute), Some(size)) = (<[u8; 8]>::try_from(minute), Size::from_bytes(size)) {
                sizes.minutes.insert(u64::from_be_bytes(minute), size);
                sizes.total = sizes.total.plus(size);
            }
        })?;
        Ok(sizes)
    }

    pub(super) fn records(&self) -> u64 {
        self.total.records
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.total.bytes
    }

    pub(super) fn begin(&self) -> Added {
        Added::default()
    }

    pub(super) fn commit(&mut self, added: Added) {
        for (minute, size) in added.minutes {
            let known = self.minutes.entry(minute).or_default();
            *known = known.plus(size);
            self.total = self.total.plus(size);
        }
    }

    /// Forgets whole minutes, the oldest first, until all are at least `oldest_kept` (ms) and `max_bytes` hold; at most
    /// so much at a time that writing goes on.
    pub(super) async fn prune(&mut self, store: &Store, oldest_kept: u64, max_bytes: u64) -> Result<(), StoreError> {
        let mut batches = 0;
        while let Some((&minute, &size)) = self.minutes.first_key_value() {
            let too_old = (minute + 1) * MINUTE_MS <= oldest_kept;
            if !too_old && self.total.bytes <= max_bytes {
                return Ok(());
            }
            // Everything before the minute's end; the last batch takes the minute's count with it, so that a crash in
            // between leaves the count, and the next pruning comes back.
            let from = after(&bound((minute + 1) * MINUTE_MS));
            loop {
                let rows = store.scan_range(RECORDS, &from, None, PRUNE_BATCH)?;
                let last = rows.len() < PRUNE_BATCH;
                let mut writes: Vec<StoreWrite> = rows
                    .into_iter()
                    .map(|(key, _)| StoreWrite {
                        tree: RECORDS,
                        key,
                        value: None,
                    })
                    .collect();
                if last {
                    writes.push(StoreWrite {
                        tree: SIZES,
                        key: Bytes::copy_from_slice(&minute.to_be_bytes()),
                        value: None,
                    });
                }
                store.write(writes).await?;
                batches += 1;
                if last {
                    break;
                }
                if batches >= PRUNE_BATCHES {
                    return Ok(());
                }
            }
            self.minutes.remove(&minute);
            self.total.bytes = self.total.bytes.saturating_sub(size.bytes);
            self.total.records = self.total.records.saturating_sub(size.records);
            if batches >= PRUNE_BATCHES {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The first key behind this one.
pub(super) fn after(key: &[u8; 16]) -> [u8; 17] {
    let mut next = [0u8; 17];
    for (place, byte) in next.iter_mut().zip(key) {
        *place = *byte;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ids_have_smaller_keys_and_bounds_lie_between() {
        let id = RequestId::generate();
        let time = time_of(id);
        let own = key(id);
        assert_eq!(id_of(&own), Some(id));
        assert!(
            own[..] <= bound(time)[..],
            "an id of a time is at or before the time's bound"
        );
        assert!(own[..] > bound(time + 1)[..]);
        let later = RequestId::generate();
        assert!(key(later) < own);
    }
}
