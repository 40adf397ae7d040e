//! Objects: NATS's own object store, made when the first object comes.

use async_nats::jetstream::object_store::{
    Config, DeleteErrorKind, GetErrorKind, ObjectInfo as Found, ObjectStore, PutErrorKind,
};
use bytes::BytesMut;
use futures::stream::try_unfold;
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;
use tokio_util::io::StreamReader;

use super::link::Link;
use crate::bus::{BusError, BusErrorKind, ObjectBytes, ObjectContent, ObjectInfo, ObjectRange, is_object_name};

/// What is read at a time.
const PART: usize = 128 * 1024;

/// Limits of the store, for the node that makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub replicas: usize,
    pub max_bytes: u64,
}

pub(super) async fn put(
    link: &Link,
    limits: Limits,
    name: &str,
    content: ObjectContent,
    most: u64,
) -> Result<ObjectInfo, BusError> {
    is_object_name(name)?;
    let store = match open(link).await? {
        Some(store) => store,
        None => make(link, limits).await?,
    };
    let mut left = most;
    let counted = content.map(move |part| {
        let part = part?;
        match left.checked_sub(part.len() as u64) {
            Some(rest) => {
                left = rest;
                Ok(part)
            }
            None => Err(std::io::Error::other(format!("the object has more than {most} bytes"))),
        }
    });
    let mut reader = StreamReader::new(counted.boxed());
    let put = store.put(name, &mut reader).await;
    put.map(|found| info(&found)).map_err(|error| {
        let kind = match error.kind() {
            PutErrorKind::ReadChunks | PutErrorKind::InvalidName => BusErrorKind::Storage,
            _ => BusErrorKind::Timeout,
        };
        BusError::new(kind, format!("object {name}: {error}"))
    })
}

pub(super) async fn get(
    link: &Link,
    name: &str,
    range: ObjectRange,
) -> Result<Option<(ObjectInfo, ObjectBytes)>, BusError> {
    let Some(store) = open(link).await? else {
        return Ok(None);
    };
    let object = match store.get(name).await {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(name, &error)),
    };
    let info = info(object.info());
    let (start, end) = range.within(info.size);
    let name = name.to_owned();
    // The store has no places within an object: what stands before the range is read and dropped.
    let content = try_unfold((object, 0u64), move |(mut object, mut at)| {
        let name = name.clone();
        async move {
            loop {
                if at >= end {
                    return Ok(None);
                }
                let mut part = BytesMut::with_capacity(PART);
                let read = object
                    .read_buf(&mut part)
                    .await
                    .map_err(|error| failed(&name, &error))?;
                if read == 0 {
                    return Err(failed(&name, &"it ended early"));
                }
                let (from, to) = (at, at + read as u64);
                at = to;
                if to > start {
                    let first = usize::try_from(start.saturating_sub(from)).unwrap_or(read);
                    let last = usize::try_from(to.min(end) - from).unwrap_or(read);
                    return Ok(Some((part.freeze().slice(first..last), (object, at))));
                }
            }
        }
    });
    Ok(Some((info, content.boxed())))
}

pub(super) async fn delete(link: &Link, name: &str) -> Result<(), BusError> {
    let Some(store) = open(link).await? else {
        return Ok(());
    };
    match store.delete(name).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(name, &error)),
    }
}

pub(super) async fn list(link: &Link) -> Result<Vec<ObjectInfo>, BusError> {
    let Some(store) = open(link).await? else {
        return Ok(Vec::new());
    };
    let objects = store.list().await.map_err(|error| failed("list", &error))?;
    let mut objects: Vec<ObjectInfo> = objects
        .map_ok(|found| info(&found))
        .try_collect()
        .await
        .map_err(|error| failed("list", &error))?;
    objects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(objects)
}

async fn open(link: &Link) -> Result<Option<ObjectStore>, BusError> {
    link.connected()?;
    let stream = link.objects_stream();
    let info = link
        .call::<async_nats::jetstream::stream::Info>(format!("STREAM.INFO.{stream}"), &())
        .await?;
    match info {
        Ok(_) => {}
        Err(error) if error.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND => return Ok(None),
        Err(error) => return Err(super::errors::api(&error)),
    }
    let store = link.jetstream.get_object_store(&link.prefix).await;
    store.map(Some).map_err(|error| failed("store", &error))
}

async fn make(link: &Link, limits: Limits) -> Result<ObjectStore, BusError> {
    let config = Config {
        bucket: link.prefix.clone(),
        description: Some("grok2api: media".to_owned()),
        max_bytes: i64::try_from(limits.max_bytes).unwrap_or(i64::MAX),
        num_replicas: limits.replicas,
        ..Config::default()
    };
    let made = link.jetstream.create_object_store(config).await;
    made.map_err(|error| failed("store", &error))
}

fn info(found: &Found) -> ObjectInfo {
    let modified = found
        .modified
        .map_or(0, |modified| modified.unix_timestamp_nanos() / 1_000_000);
    ObjectInfo {
        name: found.name.clone(),
        size: found.size as u64,
        modified_ms: u64::try_from(modified).unwrap_or(0),
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> BusError {
    BusError::new(BusErrorKind::Unreachable, format!("object {what}: {error}"))
}
