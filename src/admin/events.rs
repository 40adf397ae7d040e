//! What happens, as server-sent events: token states, jobs, client keys, the configuration, and log lines of all nodes.
//! Each event's data is the JSON that NATS carries (`schemas/asyncapi.json`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, select_all};
use futures::{Stream, StreamExt};
use grok2api_actors::bus::BusHandle;
use grok2api_schemas::bus::subjects::events;
use poem::{Body, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::call::{Answer, Guarded};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::logs::{self, Watch};
use crate::ops::accounts::Accounts;

/// Streams of one node at a time.
const STREAMS: usize = 64;
/// Between two signs of life; the session is looked at as often.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// What streams need.
#[derive(Clone)]
pub struct Streams {
    bus: BusHandle,
    places: Arc<Semaphore>,
    leaving: CancellationToken,
}

impl Streams {
    /// Of this bus, until the node leaves.
    pub fn new(bus: BusHandle, leaving: CancellationToken) -> Streams {
        Streams {
            bus,
            places: Arc::new(Semaphore::new(STREAMS)),
            leaving,
        }
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, GatewayError> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            GatewayError::new(
                ErrorKind::Overloaded,
                format!(
                    "This node has {STREAMS} streams of events open, which is the most. Close one, or ask another node."
                ),
            )
            .retry_after(Some(ALIVE_EVERY.as_millis() as u64))
        })
    }
}

/// `GET /events?kinds=token,job,key,config`.
pub async fn stream(guarded: Guarded) -> Answer {
    let kinds = guarded
        .call
        .query
        .words("kinds", "of token, job, key, config", |word| {
            Some(match word {
                "token" => ("token", events::TOKEN),
                "job" => ("job", events::JOB),
                "key" => ("key", events::KEY_CHANGED),
                "config" => ("config", events::CONFIG_CHANGED),
                _ => return None,
            })
        })?;
    let kinds = match kinds.is_empty() {
        true => vec![("token", events::TOKEN), ("job", events::JOB)],
        false => kinds,
    };
    let bus = &guarded.call.admin.streams.bus;
    let told: Vec<BoxStream<'static, Bytes>> = kinds
        .into_iter()
        .map(|(kind, subject)| bus.subscribe(subject).map(move |data| event(kind, &data)).boxed())
        .collect();
    open(&guarded, select_all(told))
}

/// `GET /logs/stream?level=&text=&node=`.
pub async fn logs(guarded: Guarded) -> Answer {
    let query = &guarded.call.query;
    let watch = Watch::new(query.text("level"), query.text("text"), query.text("node"))?;
    let lines = logs::watch(guarded.call.admin.streams.bus.clone(), watch).map(|(lines, left_out)| {
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(&event("line", line.to_string().as_bytes()));
        }
        if left_out > 0 {
            text.extend_from_slice(&event("left_out", left_out.to_string().as_bytes()));
        }
        Bytes::from(text)
    });
    open(&guarded, lines)
}

fn event(kind: &str, data: &[u8]) -> Bytes {
    [b"event: ", kind.as_bytes(), b"\ndata: ", data, b"\n\n"]
        .concat()
        .into()
}

/// Goes on until the reader leaves, the session ends or the node does.
fn open(guarded: &Guarded, told: impl Stream<Item = Bytes> + Send + Unpin + 'static) -> Answer {
    let streams = &guarded.call.admin.streams;
    if streams.leaving.is_cancelled() {
        return Err(GatewayError::new(
            ErrorKind::ShuttingDown,
            "This node is shutting down.",
        ));
    }
    let state = Open {
        _place: streams.place()?,
        leaving: streams.leaving.clone(),
        accounts: guarded.call.admin.accounts.clone(),
        token: guarded.token.clone(),
        is_first: true,
        told,
    };
    let body = futures::stream::unfold(state, |mut open| async move {
        let text = open.next().await?;
        Some((Ok::<Bytes, std::io::Error>(text), open))
    });
    Ok(Response::builder()
        .content_type("text/event-stream")
        .header("x-accel-buffering", "no")
        .body(Body::from_bytes_stream(body)))
}

struct Open<S> {
    _place: OwnedSemaphorePermit,
    leaving: CancellationToken,
    accounts: Accounts,
    token: String,
    is_first: bool,
    told: S,
}

impl<S: Stream<Item = Bytes> + Send + Unpin> Open<S> {
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.is_first) {
            // The reader knows that it listens; the time after which it comes again.
            return Some(Bytes::from_static(b"retry: 2000\n\n: listening\n\n"));
        }
        tokio::select! {
            biased;
            () = self.leaving.cancelled() => None,
            some = self.told.next() => some,
            () = tokio::time::sleep(ALIVE_EVERY) => {
                match self.accounts.session(&self.token).await {
                    Ok(_) => Some(Bytes::from_static(b": alive\n\n")),
                    Err(_) => None,
                }
            }
        }
    }
}
