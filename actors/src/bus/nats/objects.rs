//! Objects: NATS's own object store, made when the first object comes.

use std::time::Duration;

use async_nats::jetstream::object_store::{
    Config, DeleteErrorKind, GetErrorKind, Object, ObjectInfo as Found, ObjectStore, PutErrorKind,
};
use bytes::{Bytes, BytesMut};
use futures::stream::try_unfold;
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;
use tokio_util::io::StreamReader;

use super::link::Link;
use crate::bus::{BusError, BusErrorKind, ObjectBytes, ObjectContent, ObjectInfo, ObjectRange, is_object_name};

/// What is read at a time.
const PART: usize = 128 * 1024;
/// How often, and after what pause, an object that ended early is read again.
const TRIES: u32 = 10;
const AGAIN_AFTER: Duration = Duration::from_millis(200);

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
    let reading = Reading {
        store,
        nuid: object.info().nuid.clone(),
        name: name.to_owned(),
        object,
        at: 0,
        next: start,
        end,
        tries: TRIES,
    };
    let content = try_unfold(reading, |mut reading| async move {
        let part = reading.part().await?;
        Ok(part.map(|part| (part, reading)))
    });
    Ok(Some((info, content.boxed())))
}

/// An object on its way.
struct Reading {
    store: ObjectStore,
    name: String,
    /// What tells this object from a later one of the name.
    nuid: String,
    object: Object,
    /// Where in the object what is read next begins.
    at: u64,
    /// Where what the reader gets next begins, and where the last of it ends.
    next: u64,
    end: u64,
    tries: u32,
}

impl Reading {
    /// The next part. The store has no places within an object: what stands before the range is read and dropped. A replica
    /// that is behind ends early, and says so only at its end: the rest is read anew.
    async fn part(&mut self) -> Result<Option<Bytes>, BusError> {
        while self.next < self.end {
            let mut part = BytesMut::with_capacity(PART);
            let error = match self.object.read_buf(&mut part).await {
                Ok(0) => failed(&self.name, &"it ended early"),
                Ok(read) => {
                    let from = self.at;
                    self.at += read as u64;
                    if self.at > self.next {
                        let first = usize::try_from(self.next.saturating_sub(from)).unwrap_or(read);
                        let last = usize::try_from(self.at.min(self.end) - from).unwrap_or(read);
                        self.next = self.at.min(self.end);
                        return Ok(Some(part.freeze().slice(first..last)));
                    }
                    continue;
                }
                Err(error) => failed(&self.name, &error),
            };
            self.tries = self.tries.checked_sub(1).ok_or(error)?;
            tokio::time::sleep(AGAIN_AFTER).await;
            self.reopen().await?;
        }
        Ok(None)
    }

    async fn reopen(&mut self) -> Result<(), BusError> {
        let again = self.store.get(&self.name).await;
        self.object = again.map_err(|error| failed(&self.name, &error))?;
        self.at = 0;
        if self.object.info().nuid == self.nuid {
            Ok(())
        } else {
            Err(failed(&self.name, &"another one of the name has taken its place"))
        }
    }
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
