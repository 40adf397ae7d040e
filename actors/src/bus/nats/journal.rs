//! Journals: one stream, a subject a shard. A shard's sequences are the stream's, so they grow but are not dense.

use std::fmt::Write;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use futures::StreamExt;
use grok2api_schemas::bus::subjects::streams;
use serde_json::json;

use super::errors;
use super::link::Link;
use super::streams::INCARNATION;
use crate::bus::{BusError, BusErrorKind, JournalEntry, JournalHead};

/// Entries that are asked for one by one before a consumer is worth its making.
const ONE_BY_ONE: usize = 64;
/// No entry for this long while some are known to be there.
const SILENCE: Duration = Duration::from_secs(5);

pub(super) async fn append(
    link: &Link,
    shard: u16,
    expected: u64,
    message_id: [u8; 16],
    payload: Bytes,
) -> Result<u64, BusError> {
    let (stream, subject) = (link.journal_stream(), subject(link, shard));
    // The stream knows ids of all shards, and an owner that lost a duel appends the same message at another sequence.
    let mut id = format!("{shard}-{expected}-");
    for byte in message_id {
        let _ = write!(id, "{byte:02x}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_STREAM, stream.as_str());
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    headers.insert(NATS_MESSAGE_ID, id.as_str());
    let is_ours = |message: &StreamMessage| {
        message
            .headers
            .get(NATS_MESSAGE_ID)
            .is_some_and(|known| known.as_str() == id)
            && message.payload == payload
    };
    match link.store(subject.clone(), headers, payload.clone()).await {
        Ok(ack) if !ack.duplicate => Ok(ack.sequence),
        // Within the stream's memory of ids. If it is purged already, a snapshot holds it.
        Ok(ack) => match link.at(&stream, ack.sequence).await? {
            Some(message) if !is_ours(&message) => Err(conflict(shard, expected)),
            _ => Ok(ack.sequence),
        },
        Err(error) if error.kind == BusErrorKind::Conflict => match link.next(&stream, &subject, expected + 1).await? {
            Some(message) if is_ours(&message) => Ok(message.sequence),
            _ => Err(conflict(shard, expected)),
        },
        Err(error) => Err(error),
    }
}

pub(super) async fn read(link: &Link, shard: u16, from: u64) -> Result<Vec<JournalEntry>, BusError> {
    let (stream, subject) = (link.journal_stream(), subject(link, shard));
    let mut entries = Vec::new();
    let Some(last) = link.last(&stream, &subject).await? else {
        return Ok(entries);
    };
    let mut next = from.max(1);
    while next <= last.sequence && entries.len() < ONE_BY_ONE {
        let Some(message) = link.next(&stream, &subject, next).await? else {
            return Ok(entries);
        };
        next = message.sequence + 1;
        entries.push(entry(message.sequence, message.payload));
    }
    if next > last.sequence {
        return Ok(entries);
    }
    let start = DeliverPolicy::ByStartSequence { start_sequence: next };
    let mut messages = link.follow(&stream, vec![subject], start).await?;
    loop {
        let Ok(message) = tokio::time::timeout(SILENCE, messages.next()).await else {
            return Err(BusError::new(
                BusErrorKind::Timeout,
                format!("reading {stream} takes too long"),
            ));
        };
        let broken = |error: &dyn std::fmt::Display| {
            BusError::new(BusErrorKind::Unreachable, format!("reading {stream}: {error}"))
        };
        let message = match message {
            Some(message) => message.map_err(|error| broken(&error))?,
            None => return Err(broken(&"it ended early")),
        };
        let sequence = message.info().map_err(|error| broken(&error))?.stream_sequence;
        entries.push(entry(sequence, message.message.payload));
        if sequence >= last.sequence {
            return Ok(entries);
        }
    }
}

pub(super) async fn head(link: &Link, shard: u16) -> Result<JournalHead, BusError> {
    let stream = link.journal_stream();
    let info = link.info(&stream).await?;
    let last = link.last(&stream, &subject(link, shard)).await?;
    // The id tells two streams apart that were made at one moment, the moment two that were made of one configuration.
    let id = info.config.metadata.get(INCARNATION).map_or("", String::as_str);
    let life = format!("{id} {}", info.created.unix_timestamp_nanos());
    let mut incarnation = [0; 8];
    incarnation.copy_from_slice(&blake3::hash(life.as_bytes()).as_bytes()[..8]);
    Ok(JournalHead {
        last_sequence: last.map_or(0, |message| message.sequence),
        incarnation: u64::from_le_bytes(incarnation).max(1),
    })
}

/// The last entry stays: what the next append expects is its sequence, and the server knows no other.
pub(super) async fn purge(link: &Link, shard: u16, before: u64) -> Result<(), BusError> {
    let (stream, subject) = (link.journal_stream(), subject(link, shard));
    let Some(last) = link.last(&stream, &subject).await? else {
        return Ok(());
    };
    let which = json!({ "filter": subject, "seq": before.min(last.sequence) });
    let purged = link
        .call::<serde_json::Value>(format!("STREAM.PURGE.{stream}"), &which)
        .await?;
    purged.map(drop).map_err(|error| errors::api(&error))
}

fn subject(link: &Link, shard: u16) -> String {
    link.subject(&format!("{}.{shard}", streams::JOURNAL))
}

fn entry(sequence: u64, payload: Bytes) -> JournalEntry {
    JournalEntry { sequence, payload }
}

fn conflict(shard: u16, expected: u64) -> BusError {
    BusError::new(
        BusErrorKind::Conflict,
        format!("{expected} is not the last sequence of journal {shard}"),
    )
}
