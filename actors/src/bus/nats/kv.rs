//! Buckets: one stream that keeps the last message of every subject, laid out as NATS's own key-value store, so that the
//! `nats` CLI reads it. Revisions are the stream's sequences.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::Ordered;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, try_unfold};
use futures::{Stream, StreamExt};
use grok2api_schemas::bus::subjects::streams;

use super::keys;
use super::link::Link;
use crate::bus::{BusError, BusErrorKind, Expect, KvEntry, KvWrite, within_limits};

/// How a deletion is marked, as NATS's clients do.
const OPERATION: &str = "KV-Operation";
/// How long the mark of a deletion stays for watchers that were away; longer than [`super::watch::LONGEST_GAP`].
const MARK_TTL: &str = "24h";
/// Writes of a batch that wait for their acknowledgement.
const IN_FLIGHT: usize = 1_024;
/// Entries of a page.
const PAGE: usize = 1_024;
/// How often, and how many times, it is looked whether another write of a key has come through.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOKS: u32 = 100;
/// No entry for this long while some are known to be there.
const SILENCE: Duration = Duration::from_secs(5);

pub(super) async fn get(link: &Link, bucket: &str, key: &[u8]) -> Result<Option<KvEntry>, BusError> {
    within_limits(key, None)?;
    let last = link.last(&link.kv_stream(), &subject(link, bucket, key)).await?;
    Ok(last
        .filter(|message| !is_deletion(&message.headers))
        .map(|message| KvEntry {
            key: Bytes::copy_from_slice(key),
            value: message.payload,
            revision: message.sequence,
        }))
}

/// Whoever is refused can read what stands in the way: a server refuses, too, while another write of the key is on its way to
/// the replicas, and that one is waited for.
pub(super) async fn put(link: &Link, bucket: &str, key: &[u8], value: Bytes, expect: Expect) -> Result<u64, BusError> {
    within_limits(key, Some(&value))?;
    let subject = subject(link, bucket, key);
    let mut expected = match expect {
        Expect::Any => None,
        Expect::Revision(revision) => Some(revision),
        Expect::Absent => Some(0),
    };
    let mut looks = 0;
    loop {
        let refusal = match link.store(subject.clone(), expecting(expected), value.clone()).await {
            Ok(stored) => return Ok(stored.sequence),
            Err(error) if error.kind == BusErrorKind::Conflict && looks < LOOKS => error,
            Err(error) => return Err(error),
        };
        looks += 1;
        let last = link.last(&link.kv_stream(), &subject).await?;
        let stands = last.as_ref().map_or(0, |message| message.sequence);
        let may_follow = match expect {
            Expect::Any => false,
            Expect::Revision(revision) => stands == revision,
            // Perhaps only the mark of its deletion stands there, or stood there until just now.
            Expect::Absent => last.is_none_or(|message| is_deletion(&message.headers)),
        };
        if !may_follow {
            return Err(refusal);
        }
        if expected.replace(stands) == Some(stands) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

pub(super) async fn delete(link: &Link, bucket: &str, key: &[u8], expect: Expect) -> Result<(), BusError> {
    within_limits(key, None)?;
    let last = link.last(&link.kv_stream(), &subject(link, bucket, key)).await?;
    let current = last
        .filter(|message| !is_deletion(&message.headers))
        .map(|message| message.sequence);
    let expected = match (current, expect) {
        (None, Expect::Any | Expect::Absent) => return Ok(()),
        (Some(_), Expect::Any) => None,
        (Some(current), Expect::Revision(revision)) if current == revision => Some(revision),
        _ => {
            let message = format!("not the last revision of that key in {bucket}");
            return Err(BusError::new(BusErrorKind::Conflict, message));
        }
    };
    let mark = deletion(expecting(expected));
    link.store(subject(link, bucket, key), mark, Bytes::new()).await?;
    Ok(())
}

pub(super) async fn write(link: &Link, writes: Vec<KvWrite>) -> Result<(), BusError> {
    for write in &writes {
        within_limits(&write.key, write.value.as_ref())?;
    }
    let mut unacknowledged = FuturesUnordered::new();
    for KvWrite { bucket, key, value } in writes {
        while unacknowledged.len() >= IN_FLIGHT {
            unacknowledged.next().await.transpose()?;
        }
        let subject = subject(link, bucket, &key);
        let (headers, payload) = match value {
            Some(value) => (HeaderMap::new(), value),
            None => (deletion(HeaderMap::new()), Bytes::new()),
        };
        let sent = link.send(subject, headers, payload).await?;
        unacknowledged.push(sent);
    }
    while unacknowledged.next().await.transpose()?.is_some() {}
    Ok(())
}

pub(super) async fn list(link: &Link, bucket: &'static str) -> Result<Vec<KvEntry>, BusError> {
    let mut entries = Vec::new();
    let mut pages = std::pin::pin!(pages(link, bucket));
    while let Some(page) = pages.next().await {
        entries.extend(page?);
    }
    entries.sort_unstable_by(|a: &KvEntry, b| a.key.cmp(&b.key));
    Ok(entries)
}

struct Reading {
    messages: Ordered,
    /// The bucket is read when this revision, or a later one, has come: the leader's last one when we began.
    last: u64,
    done: bool,
}

/// A bucket in pages, in the order of revisions.
pub(super) fn pages<'a>(
    link: &'a Link,
    bucket: &'static str,
) -> impl Stream<Item = Result<Vec<KvEntry>, BusError>> + Send + 'a {
    try_unfold(None::<Reading>, move |reading| async move {
        let mut reading = match reading {
            Some(reading) if reading.done => return Ok(None),
            Some(reading) => reading,
            None => {
                let every = all_of(link, bucket);
                let Some(last) = link.last(&link.kv_stream(), &every).await? else {
                    return Ok(None);
                };
                Reading {
                    messages: link
                        .follow(&link.kv_stream(), vec![every], DeliverPolicy::LastPerSubject)
                        .await?,
                    last: last.sequence,
                    done: false,
                }
            }
        };
        let page = read_page(link, &mut reading).await?;
        Ok(Some((page, Some(reading))))
    })
}

async fn read_page(link: &Link, reading: &mut Reading) -> Result<Vec<KvEntry>, BusError> {
    let broken = |kind, error: &dyn std::fmt::Display| BusError::new(kind, format!("reading a bucket: {error}"));
    let mut page = Vec::new();
    while page.len() < PAGE && !reading.done {
        let message = match tokio::time::timeout(SILENCE, reading.messages.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(broken(BusErrorKind::Unreachable, &error)),
            Ok(None) => return Err(broken(BusErrorKind::Unreachable, &"it ended early")),
            Err(_) => return Err(broken(BusErrorKind::Timeout, &"no entry for 5 s")),
        };
        let revision = message
            .info()
            .map_err(|error| broken(BusErrorKind::Corrupt, &error))?
            .stream_sequence;
        reading.done = revision >= reading.last;
        if message.headers.as_ref().is_some_and(is_deletion) {
            continue;
        }
        if let Some((_, key)) = key_of(link, &message.subject) {
            page.push(KvEntry {
                key: key.into(),
                value: message.message.payload,
                revision,
            });
        }
    }
    Ok(page)
}

/// The subject of every key of a bucket.
pub(super) fn all_of(link: &Link, bucket: &str) -> String {
    format!("{}{}.{bucket}.>", streams::KV_SUBJECTS, link.prefix)
}

/// Bucket and key of a subject; `None` if it is none of ours.
pub(super) fn key_of<'a>(link: &Link, subject: &'a str) -> Option<(&'a str, Vec<u8>)> {
    let ours = subject.strip_prefix(streams::KV_SUBJECTS)?;
    let (bucket, key) = ours
        .strip_prefix(link.prefix.as_str())?
        .strip_prefix('.')?
        .split_once('.')?;
    Some((bucket, keys::decode(key)?))
}

pub(super) fn is_deletion(headers: &HeaderMap) -> bool {
    headers.get(OPERATION).is_some()
}

fn subject(link: &Link, bucket: &str, key: &[u8]) -> String {
    format!("{}{}.{bucket}.{}", streams::KV_SUBJECTS, link.prefix, keys::encode(key))
}

fn expecting(revision: Option<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(revision) = revision {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
    }
    headers
}

fn deletion(mut headers: HeaderMap) -> HeaderMap {
    headers.insert(OPERATION, "DEL");
    headers.insert(NATS_MESSAGE_TTL, MARK_TTL);
    headers
}
