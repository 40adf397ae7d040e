//! Kept-alive connections to one upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::EgressOptions;
use super::dial::{ConnectError, Dialer, Origin, hyper_io};
use super::exchange::{Exchange, SendFailure, UpstreamBody};
use super::stamp::WriteStamp;

/// One connection: what takes requests, and what tells when they are written.
pub(super) struct Sender {
    requests: SendRequest<Full<Bytes>>,
    written: Arc<WriteStamp>,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// Connections to one upstream through one proxy. Most recently used first: the rest ages and is closed.
pub struct ConnectionPool {
    dialer: Dialer,
    options: EgressOptions,
    tracker: TaskTracker,
    idle: Mutex<Vec<Idle>>,
}

/// How long a connection whose last answer was read may take to say that it is ready again.
const READY_WITHIN: Duration = Duration::from_millis(20);

impl ConnectionPool {
    pub(super) fn new(dialer: Dialer, options: EgressOptions, tracker: TaskTracker) -> ConnectionPool {
        ConnectionPool {
            dialer,
            options,
            tracker,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Where these connections lead.
    pub fn origin(&self) -> &Origin {
        self.dialer.origin()
    }

    /// A connected socket that can take a request head now: a kept one if there is any, else a new one.
    ///
    /// # Errors
    /// When no connection can be made; nothing was sent.
    pub async fn connect(self: &Arc<Self>) -> Result<Connected, ConnectError> {
        while let Some(mut sender) = self.pop_idle() {
            if sender.requests.is_ready() {
                return Ok(Connected {
                    sender,
                    pool: self.clone(),
                    reused: true,
                });
            }
            if let Ok(Ok(())) = tokio::time::timeout(READY_WITHIN, sender.requests.ready()).await {
                return Ok(Connected {
                    sender,
                    pool: self.clone(),
                    reused: true,
                });
            }
        }
        self.connect_anew().await
    }

    /// A new connection, whatever is idle.
    ///
    /// # Errors
    /// When no connection can be made; nothing was sent.
    pub async fn connect_anew(self: &Arc<Self>) -> Result<Connected, ConnectError> {
        let (socket, written) = self.dialer.dial().await?;
        let (mut requests, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(256 * 1024)
            .handshake::<_, Full<Bytes>>(hyper_io(socket))
            .await
            .map_err(|error| ConnectError::new(super::ConnectErrorKind::Refused, error.to_string()))?;
        self.tracker.spawn(async move {
            // Its errors reach the exchange that was using the connection; an idle one just goes.
            let _ = connection.await;
        });
        requests
            .ready()
            .await
            .map_err(|error| ConnectError::new(super::ConnectErrorKind::Refused, error.to_string()))?;
        Ok(Connected {
            sender: Sender { requests, written },
            pool: self.clone(),
            reused: false,
        })
    }

    fn pop_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock();
        while let Some(entry) = idle.pop() {
            if !entry.sender.requests.is_closed() && entry.since.elapsed() < self.options.idle_timeout {
                return Some(entry.sender);
            }
        }
        None
    }

    pub(super) fn keep(&self, sender: Sender) {
        if sender.requests.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock();
        // The oldest stand in front: drop those that have gone stale, so that a burst does not hold sockets for ever.
        let stale = idle
            .iter()
            .take_while(|entry| {
                entry.sender.requests.is_closed() || now.duration_since(entry.since) >= self.options.idle_timeout
            })
            .count();
        idle.drain(..stale);
        if idle.len() < self.options.max_idle {
            idle.push(Idle { sender, since: now });
        }
    }
}

/// A connected socket, for one request.
pub struct Connected {
    sender: Sender,
    pool: Arc<ConnectionPool>,
    reused: bool,
}

impl Connected {
    /// Whether the connection has served a request before (and may have been closed by the upstream meanwhile).
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Tells when the head that [`Connected::send`] hands over is written.
    pub fn written(&self) -> Arc<WriteStamp> {
        self.sender.written.clone()
    }

    /// Hands the request over and waits for the head of the answer. `request` needs an origin-form URI and a `Host`.
    ///
    /// # Errors
    /// [`SendFailure::NotSent`] hands the request back: not a byte of it left the process.
    pub async fn send(mut self, request: Request<Full<Bytes>>) -> Result<Exchange, SendFailure> {
        self.sender.written.arm();
        match self.sender.requests.try_send_request(request).await {
            Ok(response) => Ok(self.exchange(response)),
            Err(mut failed) => match failed.take_message() {
                Some(request) => Err(SendFailure::NotSent(Box::new(request))),
                None => Err(SendFailure::Broken(describe(failed.error()))),
            },
        }
    }

    fn exchange(self, response: Response<Incoming>) -> Exchange {
        let (head, body) = response.into_parts();
        Exchange {
            head,
            body: UpstreamBody::new(body, self.sender, self.pool),
            reused: self.reused,
        }
    }
}

fn describe(error: &hyper::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
