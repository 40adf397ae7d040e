//! The stream of records: the oldest go first, by age and by size.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, poll_fn};
use grok2api_schemas::bus::subjects::streams;
use tokio::sync::mpsc;

use super::link::Link;
use crate::bus::{BusError, BusErrorKind, RecordBatch, RecordsFrom};

/// Batches that wait for one who follows before the stream waits too.
const QUEUE: usize = 64;
/// Pauses between two tries, the shortest and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

pub(super) async fn append(link: &Link, batch: Bytes) -> Result<u64, BusError> {
    let ack = link
        .store(link.subject(streams::RECORDS), HeaderMap::new(), batch)
        .await?;
    Ok(ack.sequence)
}

pub(super) fn follow(link: &Arc<Link>, from: RecordsFrom) -> BoxStream<'static, RecordBatch> {
    let (to, mut batches) = mpsc::channel(QUEUE);
    let link = link.clone();
    link.clone().tasks.spawn(async move {
        let mut policy = match from {
            RecordsFrom::Now => DeliverPolicy::New,
            RecordsFrom::Oldest => DeliverPolicy::All,
            RecordsFrom::Sequence(sequence) => from_sequence(sequence),
            RecordsFrom::Since(at_ms) => {
                let nanos = i128::from(at_ms) * 1_000_000;
                match DateTime::from_unix_timestamp_nanos(nanos) {
                    Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                    Err(_) => DeliverPolicy::All,
                }
            }
        };
        let follow = async {
            let mut pause = PAUSES.0;
            loop {
                let error = match read(&link, &mut policy, &to, &mut pause).await {
                    Ok(()) => return,
                    Err(error) => error,
                };
                tracing::debug!(%error, "following the records broke, going on in {} ms", pause.as_millis());
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        };
        tokio::select! {
            () = link.stop.cancelled() => {}
            () = to.closed() => {}
            () = follow => {}
        }
    });
    Box::pin(poll_fn(move |cx| batches.poll_recv(cx)))
}

/// Reads with one consumer until it breaks; `Ok` when nobody listens any more.
async fn read(
    link: &Link,
    policy: &mut DeliverPolicy,
    to: &mpsc::Sender<RecordBatch>,
    pause: &mut Duration,
) -> Result<(), BusError> {
    let stream = link.records_stream();
    if let DeliverPolicy::New = policy {
        // From here on it can break without losing what comes meanwhile.
        *policy = from_sequence(link.info(&stream).await?.state.last_sequence + 1);
    }
    if let DeliverPolicy::ByStartSequence { start_sequence } = policy
        && link.info(&stream).await?.state.last_sequence + 1 < *start_sequence
    {
        tracing::warn!("the records were made anew, following from their beginning");
        *policy = DeliverPolicy::All;
    }
    let broken = |error: &dyn std::fmt::Display| BusError::new(BusErrorKind::Unreachable, error.to_string());
    let mut messages = link
        .follow(&stream, vec![link.subject(streams::RECORDS)], *policy)
        .await?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| broken(&error))?;
        let (sequence, published) = {
            let info = message.info().map_err(|error| broken(&error))?;
            (info.stream_sequence, info.published)
        };
        let batch = RecordBatch {
            sequence,
            at_ms: u64::try_from(published.unix_timestamp_nanos() / 1_000_000).unwrap_or(0),
            payload: message.message.payload,
        };
        if to.send(batch).await.is_err() {
            return Ok(());
        }
        *policy = from_sequence(sequence + 1);
        *pause = PAUSES.0;
    }
    Err(broken(&"it ended"))
}

fn from_sequence(start_sequence: u64) -> DeliverPolicy {
    DeliverPolicy::ByStartSequence {
        start_sequence: start_sequence.max(1),
    }
}
