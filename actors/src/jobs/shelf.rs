//! Where jobs are kept: the record under `job/<id>`, or `batch/<id>` for what the first builds with jobs do not know; the
//! items in chunks under `item/<id><number>`.

use bytes::Bytes;
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::JobId;
use grok2api_schemas::job::{CHUNK, JobChunk, JobItem, JobKind};

use crate::bus::{BusError, BusErrorKind, BusHandle, Expect, KvWrite, codec};

/// Keys of records in the bucket.
const RECORDS: &[u8] = b"job/";
/// Keys of records of batches. Builds from before there were batches cannot read one, and do not even start where one lies
/// among [`RECORDS`]; here they do not look, so they neither list it nor own it nor forget it.
const BATCHES: &[u8] = b"batch/";
/// Whether this build is to be taken for one from before there were batches.
const KNOWS_BATCHES: bool = !cfg!(feature = "previous-codec");
/// Keys of chunks of items.
const ITEMS: &[u8] = b"item/";
/// Chunks of one write: a few megabytes with ordinary items.
const WRITES: usize = 64;

/// How the keys of records begin.
pub(super) fn record_prefixes() -> Vec<&'static [u8]> {
    match KNOWS_BATCHES {
        true => vec![RECORDS, BATCHES],
        false => vec![RECORDS],
    }
}

/// Whether this build knows jobs of this kind.
pub(super) fn is_known(kind: JobKind) -> bool {
    KNOWS_BATCHES || kind != JobKind::Batch
}

/// The key of a new job's record.
pub(super) fn record_key(id: JobId, kind: JobKind) -> Bytes {
    let prefix = match kind {
        JobKind::Batch => BATCHES,
        JobKind::List | JobKind::Mint | JobKind::Rotate | JobKind::Revoke | JobKind::Provision => RECORDS,
    };
    key_under(prefix, id)
}

/// Every key that a job's record may have: batches once lay among the others.
pub(super) fn record_keys(id: JobId) -> impl Iterator<Item = Bytes> {
    record_prefixes().into_iter().map(move |prefix| key_under(prefix, id))
}

fn key_under(prefix: &[u8], id: JobId) -> Bytes {
    [prefix, id.as_bytes()].concat().into()
}

fn chunk_key(id: JobId, chunk: u32) -> Bytes {
    [ITEMS, id.as_bytes(), &chunk.to_be_bytes()].concat().into()
}

/// How many chunks so many items make.
pub(super) fn chunks(total: u32) -> u32 {
    total.div_ceil(CHUNK)
}

/// Writes the items of a new job.
pub(super) async fn write_all(bus: &BusHandle, id: JobId, items: Vec<JobItem>) -> Result<(), BusError> {
    let mut writes = Vec::new();
    for (chunk, items) in items.chunks(CHUNK as usize).enumerate() {
        writes.push(KvWrite {
            bucket: buckets::JOBS,
            key: chunk_key(id, chunk as u32),
            value: Some(encoded(items.to_vec())?),
        });
        if writes.len() >= WRITES {
            bus.kv_write(std::mem::take(&mut writes)).await?;
        }
    }
    match writes.is_empty() {
        true => Ok(()),
        false => bus.kv_write(writes).await,
    }
}

/// Reads one chunk with its revision.
pub(super) async fn read(bus: &BusHandle, id: JobId, chunk: u32) -> Result<(u64, Vec<JobItem>), BusError> {
    let entry = bus.kv_get(buckets::JOBS, &chunk_key(id, chunk)).await?;
    let entry =
        entry.ok_or_else(|| BusError::new(BusErrorKind::Corrupt, format!("{id}: items {chunk} are not there")))?;
    let stored: JobChunk =
        codec::decode(&entry.value).map_err(|error| BusError::new(BusErrorKind::Corrupt, error.to_string()))?;
    Ok((entry.revision, stored.items))
}

/// Writes one chunk if it is as it was read; answers its new revision.
pub(super) async fn write(
    bus: &BusHandle,
    id: JobId,
    chunk: u32,
    items: Vec<JobItem>,
    revision: u64,
) -> Result<u64, BusError> {
    let value = encoded(items)?;
    let put = bus.kv_put(buckets::JOBS, chunk_key(id, chunk), value, Expect::Revision(revision));
    put.await
}

/// Forgets the items of a job.
pub(super) async fn forget(bus: &BusHandle, id: JobId, total: u32) -> Result<(), BusError> {
    let all: Vec<KvWrite> = (0..chunks(total))
        .map(|chunk| KvWrite {
            bucket: buckets::JOBS,
            key: chunk_key(id, chunk),
            value: None,
        })
        .collect();
    for some in all.chunks(WRITES) {
        bus.kv_write(some.to_vec()).await?;
    }
    Ok(())
}

fn encoded(items: Vec<JobItem>) -> Result<Bytes, BusError> {
    codec::encode(codec::VERSION, &JobChunk { items })
        .map_err(|error| BusError::new(BusErrorKind::Storage, error.to_string()))
}
