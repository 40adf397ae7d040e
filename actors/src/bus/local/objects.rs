//! Objects on the store: a head under the name, chunks under the name, a zero byte and their number.

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::try_unfold;
use futures::{StreamExt, TryStreamExt};

use crate::bus::{BusError, BusErrorKind, ObjectBytes, ObjectContent, ObjectInfo, ObjectRange, is_object_name};
use crate::store::{Decision, Store, StoreError, StoreWrite};

/// `#` keeps them apart from every bucket.
const HEADS: &str = "objects#";
const CHUNKS: &str = "object-chunks#";
const CHUNK: usize = 256 * 1024;

pub(super) async fn put(
    store: &Store,
    name: &str,
    mut content: ObjectContent,
    most: u64,
    at_ms: u64,
) -> Result<ObjectInfo, BusError> {
    is_object_name(name)?;
    delete(store, name).await?;
    let mut waiting = BytesMut::new();
    let (mut size, mut number) = (0u64, 0u32);
    let outcome: Result<(), BusError> = async {
        loop {
            let more = content
                .try_next()
                .await
                .map_err(|error| BusError::new(BusErrorKind::Storage, error.to_string()))?;
            let ended = more.is_none();
            if let Some(more) = more {
                size += more.len() as u64;
                if size > most {
                    return Err(BusError::new(
                        BusErrorKind::Storage,
                        format!("the object has more than {most} bytes"),
                    ));
                }
                waiting.extend_from_slice(&more);
            }
            while waiting.len() >= CHUNK || (ended && !waiting.is_empty()) {
                let chunk = waiting.split_to(waiting.len().min(CHUNK)).freeze();
                write(store, CHUNKS, chunk_key(name, number), Some(chunk)).await?;
                number += 1;
            }
            if ended {
                return Ok(());
            }
        }
    }
    .await;
    if let Err(error) = outcome {
        delete(store, name).await?;
        return Err(error);
    }
    let mut head = BytesMut::with_capacity(16);
    head.put_u64_le(size);
    head.put_u64_le(at_ms);
    write(
        store,
        HEADS,
        Bytes::copy_from_slice(name.as_bytes()),
        Some(head.freeze()),
    )
    .await?;
    Ok(ObjectInfo {
        name: name.to_owned(),
        size,
        modified_ms: at_ms,
    })
}

pub(super) fn get(
    store: &Store,
    name: &str,
    range: ObjectRange,
) -> Result<Option<(ObjectInfo, ObjectBytes)>, BusError> {
    let Some(head) = store.get(HEADS, name.as_bytes())? else {
        return Ok(None);
    };
    let info = info(name.as_bytes(), &head)?;
    let (start, end) = range.within(info.size);
    let (store, name) = (store.clone(), name.to_owned());
    let content = try_unfold(start, move |at| {
        let (store, name) = (store.clone(), name.clone());
        async move {
            if at >= end {
                return Ok(None);
            }
            tokio::task::yield_now().await;
            let number = u32::try_from(at / CHUNK as u64).unwrap_or(u32::MAX);
            let chunk = store
                .get(CHUNKS, &chunk_key(&name, number))?
                .ok_or_else(|| BusError::new(BusErrorKind::Corrupt, format!("a part of object {name} is missing")))?;
            let first = usize::try_from(at % CHUNK as u64).unwrap_or(0).min(chunk.len());
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let part = chunk.slice(first..chunk.len().min(first.saturating_add(left)));
            if part.is_empty() {
                return Err(BusError::new(
                    BusErrorKind::Corrupt,
                    format!("a part of object {name} is short"),
                ));
            }
            let next = at + part.len() as u64;
            Ok(Some((part, next)))
        }
    });
    Ok(Some((info, content.boxed())))
}

pub(super) async fn delete(store: &Store, name: &str) -> Result<(), BusError> {
    let (first, name) = (chunk_key(name, 0), Bytes::copy_from_slice(name.as_bytes()));
    let end = [&name[..], &[1]].concat();
    store
        .decide(move |view| {
            let chunks = view.scan_range(CHUNKS, &first, Some(&end), usize::MAX)?;
            let mut writes: Vec<StoreWrite> = chunks
                .into_iter()
                .map(|(key, _)| StoreWrite {
                    tree: CHUNKS,
                    key,
                    value: None,
                })
                .collect();
            writes.push(StoreWrite {
                tree: HEADS,
                key: name,
                value: None,
            });
            Ok(Decision::write((), writes))
        })
        .await?;
    Ok(())
}

pub(super) fn list(store: &Store) -> Result<Vec<ObjectInfo>, BusError> {
    let heads = store.scan_prefix(HEADS, b"")?;
    Ok(heads
        .iter()
        .map(|(name, head)| info(name, head))
        .collect::<Result<_, StoreError>>()?)
}

fn info(name: &[u8], head: &[u8]) -> Result<ObjectInfo, StoreError> {
    let corrupt = || StoreError::Corrupt {
        reason: "the head of an object does not read".to_owned(),
    };
    let (size, modified) = head.split_first_chunk().ok_or_else(corrupt)?;
    let modified = modified.first_chunk().ok_or_else(corrupt)?;
    Ok(ObjectInfo {
        name: String::from_utf8(name.to_vec()).map_err(|_| corrupt())?,
        size: u64::from_le_bytes(*size),
        modified_ms: u64::from_le_bytes(*modified),
    })
}

async fn write(store: &Store, tree: &'static str, key: Bytes, value: Option<Bytes>) -> Result<(), StoreError> {
    store
        .decide(move |_| Ok(Decision::write((), vec![StoreWrite { tree, key, value }])))
        .await
}

fn chunk_key(name: &str, number: u32) -> Bytes {
    let mut key = BytesMut::with_capacity(name.len() + 5);
    key.put_slice(name.as_bytes());
    key.put_u8(0);
    key.put_u32(number);
    key.freeze()
}
