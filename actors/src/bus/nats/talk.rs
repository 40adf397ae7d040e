//! Messages: what is said goes through one queue, so that it keeps its order with the subscriptions made before and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::client::Request;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, FuturesUnordered, poll_fn};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::errors;
use super::link::Link;
use crate::bus::{BusError, BusErrorKind, BusRequest};

/// What waits to be sent before publications are dropped.
const OUTGOING: usize = 4_096;
/// Messages that wait for one subscriber before the newest is dropped.
const SUBSCRIBER_QUEUE: usize = 4_096;
/// Requests that wait for one server, and as many that it works on, before the newest is dropped.
const SERVER_QUEUE: usize = 1_024;
/// How long answers may take that are under way when serving ends.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

enum Said {
    Publish {
        subject: String,
        payload: Bytes,
    },
    Subscribe {
        subject: String,
        to: mpsc::Sender<Bytes>,
    },
    Serve {
        subject: String,
        to: mpsc::Sender<BusRequest>,
    },
}

pub(super) struct Talk {
    said: mpsc::Sender<Said>,
    dropped: Arc<AtomicU64>,
}

impl Talk {
    pub fn start(link: &Arc<Link>) -> Talk {
        let (said, queue) = mpsc::channel(OUTGOING);
        let dropped = Arc::default();
        let talk = Talk {
            said,
            dropped: Arc::clone(&dropped),
        };
        link.tasks.spawn(speak(link.clone(), queue, dropped));
        talk
    }

    /// Messages that were not sent, or that a subscriber was too slow for.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub fn publish(&self, link: &Link, subject: &str, payload: Bytes) {
        let said = Said::Publish {
            subject: link.subject(subject),
            payload,
        };
        // Without a connection it would be told late, when it is no longer true.
        if link.connected().is_err() || self.said.try_send(said).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn subscribe(&self, link: &Link, subject: &str) -> BoxStream<'static, Bytes> {
        let (to, mut messages) = mpsc::channel(SUBSCRIBER_QUEUE);
        let subject = link.subject(subject);
        self.must_say(link, Said::Subscribe { subject, to });
        Box::pin(poll_fn(move |cx| messages.poll_recv(cx)))
    }

    pub fn serve(&self, link: &Link, subject: &str) -> BoxStream<'static, BusRequest> {
        let (to, mut requests) = mpsc::channel(SERVER_QUEUE);
        let subject = link.subject(subject);
        self.must_say(link, Said::Serve { subject, to });
        Box::pin(poll_fn(move |cx| requests.poll_recv(cx)))
    }

    fn must_say(&self, link: &Link, said: Said) {
        if let Err(TrySendError::Full(said)) = self.said.try_send(said) {
            let queue = self.said.clone();
            link.tasks.spawn(async move { queue.send(said).await.is_ok() });
        }
    }
}

pub(super) async fn request(link: &Link, subject: &str, payload: Bytes, deadline: Duration) -> Result<Bytes, BusError> {
    link.connected()?;
    link.fits(payload.len())?;
    let request = Request::new().payload(payload).timeout(Some(deadline));
    match link.client.send_request(link.subject(subject), request).await {
        Ok(message) => Ok(message.payload),
        Err(error) => {
            let BusError { kind, message } = errors::request(&error);
            Err(match kind {
                BusErrorKind::Unreachable => BusError::new(kind, format!("nobody serves {subject}: {message}")),
                _ => BusError::new(kind, format!("no answer from {subject}: {message}")),
            })
        }
    }
}

async fn speak(link: Arc<Link>, mut queue: mpsc::Receiver<Said>, dropped: Arc<AtomicU64>) {
    loop {
        let said = tokio::select! {
            () = link.stop.cancelled() => return,
            said = queue.recv() => said,
        };
        let outcome = match said {
            None => return,
            Some(Said::Publish { subject, payload }) => match link.fits(payload.len()) {
                Ok(()) => link
                    .client
                    .publish(subject, payload)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.message),
            },
            Some(Said::Subscribe { subject, to }) => match link.client.subscribe(subject).await {
                Ok(subscriber) => {
                    let dropped = dropped.clone();
                    let stop = link.stop.clone();
                    link.tasks.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = hear(subscriber, to, dropped) => {}
                        }
                    });
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
            Some(Said::Serve { subject, to }) => match link.client.subscribe(subject).await {
                Ok(subscriber) => {
                    link.tasks.spawn(answer(link.clone(), subscriber, to, dropped.clone()));
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "NATS did not take a message");
        }
    }
}

async fn hear(mut subscriber: Subscriber, to: mpsc::Sender<Bytes>, dropped: Arc<AtomicU64>) {
    loop {
        let message = tokio::select! {
            () = to.closed() => return,
            message = subscriber.next() => message,
        };
        let Some(message) = message else { return };
        match to.try_send(message.payload) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

async fn answer(link: Arc<Link>, mut subscriber: Subscriber, to: mpsc::Sender<BusRequest>, dropped: Arc<AtomicU64>) {
    let mut answers = FuturesUnordered::new();
    loop {
        let message = tokio::select! {
            () = link.stop.cancelled() => break,
            () = to.closed() => break,
            Some(()) = answers.next(), if !answers.is_empty() => continue,
            message = subscriber.next(), if answers.len() < SERVER_QUEUE => message,
        };
        let Some(message) = message else { break };
        let Some(asker) = message.reply else { continue };
        let (reply, answer) = oneshot::channel::<Bytes>();
        let request = BusRequest {
            payload: message.payload,
            reply,
        };
        if to.try_send(request).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let link = &link;
        answers.push(async move {
            let Ok(answer) = answer.await else { return };
            // The server would cut the connection, and everybody else's answers with it.
            if let Err(error) = link.fits(answer.len()) {
                tracing::error!(%error, "an answer is too large for NATS and is not sent");
            } else if let Err(error) = link.client.publish(asker, answer).await {
                tracing::warn!(%error, "NATS did not take an answer");
            }
        });
    }
    drop(subscriber);
    let last = async { while answers.next().await.is_some() {} };
    if tokio::time::timeout(LAST_ANSWERS, last).await.is_err() {
        tracing::debug!("answers were still under way when serving ended");
    }
}
