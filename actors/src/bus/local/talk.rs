//! Messages within the process, with the manners of a network: publishing never waits and may lose, a request has a
//! deadline, and nobody hears of a server that goes away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures::stream::{BoxStream, poll_fn};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::bus::{BusError, BusErrorKind, BusRequest};

/// Messages that wait for one subscriber before the newest is dropped.
const SUBSCRIBER_QUEUE: usize = 4_096;
/// Requests that wait for one server before askers wait for a place.
const SERVER_QUEUE: usize = 1_024;

/// Subscribers and servers, by subject.
#[derive(Default)]
pub(super) struct Talk {
    subscribers: DashMap<String, Vec<mpsc::Sender<Bytes>>>,
    servers: DashMap<String, Vec<mpsc::Sender<BusRequest>>>,
    dropped: AtomicU64,
}

impl Talk {
    pub fn publish(&self, subject: &str, payload: &Bytes) {
        let Some(mut subscribers) = self.subscribers.get_mut(subject) else {
            return;
        };
        subscribers.retain(|subscriber| match subscriber.try_send(payload.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        });
    }

    pub fn subscribe(&self, subject: &str) -> BoxStream<'static, Bytes> {
        let (subscriber, mut messages) = mpsc::channel(SUBSCRIBER_QUEUE);
        let mut subscribers = self.subscribers.entry(subject.to_owned()).or_default();
        subscribers.retain(|subscriber| !subscriber.is_closed());
        subscribers.push(subscriber);
        Box::pin(poll_fn(move |cx| messages.poll_recv(cx)))
    }

    pub fn serve(&self, subject: &str) -> BoxStream<'static, BusRequest> {
        let (server, mut requests) = mpsc::channel(SERVER_QUEUE);
        let mut servers = self.servers.entry(subject.to_owned()).or_default();
        servers.retain(|server| !server.is_closed());
        servers.push(server);
        Box::pin(poll_fn(move |cx| requests.poll_recv(cx)))
    }

    /// The newest server of the subject is asked: after a takeover that is the successor.
    pub async fn request(&self, subject: &str, payload: Bytes, deadline: Duration) -> Result<Bytes, BusError> {
        let deadline = Instant::now() + deadline;
        let server = self
            .servers
            .get(subject)
            .and_then(|servers| servers.iter().rev().find(|server| !server.is_closed()).cloned())
            .ok_or_else(|| BusError::new(BusErrorKind::Unreachable, format!("nobody serves {subject}")))?;
        let (reply, answer) = oneshot::channel();
        let asked = timeout_at(deadline, async {
            // A server that goes away while we wait for a place was never asked.
            if server.send(BusRequest { payload, reply }).await.is_err() {
                return Err(BusError::new(
                    BusErrorKind::Unreachable,
                    format!("nobody serves {subject} any more"),
                ));
            }
            if let Ok(answer) = answer.await {
                return Ok(answer);
            }
            // Asked, and dropped without an answer: on a network nobody would know.
            sleep_until(deadline).await;
            Err(no_answer(subject))
        });
        asked.await.unwrap_or_else(|_| Err(no_answer(subject)))
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn no_answer(subject: &str) -> BusError {
    BusError::new(BusErrorKind::Timeout, format!("no answer from {subject} in time"))
}
