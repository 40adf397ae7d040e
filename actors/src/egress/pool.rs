//! Kept-alive connections to one upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
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
use super::shared::{Place, SharedConnection, in_absolute_form, in_origin_form, is_unprocessed};
use super::stamp::WriteStamp;

/// One connection: what takes requests, and what tells when they are written.
pub(super) struct Sender {
    requests: SendRequest<Full<Bytes>>,
    written: Arc<WriteStamp>,
}

/// What one call goes over.
pub(super) enum Line {
    /// A connection of its own.
    Own(Sender),
    /// A stream of a connection that others use, too.
    Shared(Place),
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
    shared: Mutex<Vec<Arc<SharedConnection>>>,
    /// What the upstream chose when it was asked last.
    speaks: AtomicU8,
    /// Held while a connection is made that many may share: those who come meanwhile wait for it, and if it fails, it has
    /// failed for them, too. When and how that was.
    making: tokio::sync::Mutex<Option<(Instant, ConnectError)>>,
}

const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

/// How long a connection whose last answer was read may take to say that it is ready again.
const READY_WITHIN: Duration = Duration::from_millis(20);

impl ConnectionPool {
    pub(super) fn new(dialer: Dialer, options: EgressOptions, tracker: TaskTracker) -> ConnectionPool {
        ConnectionPool {
            dialer,
            options,
            tracker,
            idle: Mutex::new(Vec::new()),
            shared: Mutex::new(Vec::new()),
            speaks: AtomicU8::new(UNKNOWN),
            making: tokio::sync::Mutex::new(None),
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
        if let Some(place) = self.take_place() {
            return Ok(self.connected(Line::Shared(place), true));
        }
        while let Some(mut sender) = self.pop_idle() {
            if sender.requests.is_ready() {
                return Ok(self.connected(Line::Own(sender), true));
            }
            if let Ok(Ok(())) = tokio::time::timeout(READY_WITHIN, sender.requests.ready()).await {
                return Ok(self.connected(Line::Own(sender), true));
            }
        }
        self.connect_anew().await
    }

    /// A connection that was not kept: a new one, or one that others have made meanwhile and share.
    ///
    /// # Errors
    /// When no connection can be made; nothing was sent.
    pub async fn connect_anew(self: &Arc<Self>) -> Result<Connected, ConnectError> {
        let may_share = self.options.http2 && self.origin().tls;
        if !may_share || self.speaks.load(Ordering::Relaxed) == HTTP1 {
            return self.make().await;
        }
        let came = Instant::now();
        let mut making = self.making.lock().await;
        if let Some(place) = self.take_place() {
            return Ok(self.connected(Line::Shared(place), true));
        }
        if let Some((failed, error)) = &*making
            && *failed >= came
        {
            return Err(error.clone());
        }
        if self.speaks.load(Ordering::Relaxed) == HTTP1 {
            // Whoever was here before found that nothing is shared.
            drop(making);
            return self.make().await;
        }
        let made = self.make().await;
        *making = made.as_ref().err().map(|error| (Instant::now(), error.clone()));
        made
    }

    async fn make(self: &Arc<Self>) -> Result<Connected, ConnectError> {
        let refused = |error: hyper::Error| ConnectError::new(super::ConnectErrorKind::Refused, error.to_string());
        let (socket, written, is_h2) = self.dialer.dial().await?;
        self.speaks.store(if is_h2 { HTTP2 } else { HTTP1 }, Ordering::Relaxed);
        if is_h2 {
            let connection =
                SharedConnection::start(socket, written, self.options.connect_timeout, &self.tracker).await?;
            let place = connection.take();
            self.shared.lock().push(Arc::new(connection));
            let gone = || {
                ConnectError::new(
                    super::ConnectErrorKind::Refused,
                    "the upstream closed a new connection".to_owned(),
                )
            };
            return Ok(self.connected(Line::Shared(place.ok_or_else(gone)?), false));
        }
        let (mut requests, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(256 * 1024)
            .handshake::<_, Full<Bytes>>(hyper_io(socket))
            .await
            .map_err(refused)?;
        self.tracker.spawn(async move {
            // Its errors reach the exchange that was using the connection; an idle one just goes.
            let _ = connection.await;
        });
        requests.ready().await.map_err(refused)?;
        Ok(self.connected(Line::Own(Sender { requests, written }), false))
    }

    fn connected(self: &Arc<Self>, line: Line, reused: bool) -> Connected {
        Connected {
            line,
            pool: self.clone(),
            reused,
        }
    }

    /// A stream of a connection that is there: of the oldest that has room, so that those of a burst go idle again.
    fn take_place(&self) -> Option<Place> {
        if self.speaks.load(Ordering::Relaxed) != HTTP2 {
            return None;
        }
        let mut shared = self.shared.lock();
        shared.retain(|connection| connection.is_fresh(self.options.idle_timeout));
        shared.iter().find_map(|connection| connection.take())
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

    pub(super) fn keep(&self, line: Line) {
        // A shared connection was never taken away; its place is given back by the drop.
        let Line::Own(sender) = line else { return };
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
    line: Line,
    pool: Arc<ConnectionPool>,
    reused: bool,
}

impl Connected {
    /// Whether the connection has served a request before (and may have been closed by the upstream meanwhile).
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Tells when the head that [`Connected::send`] hands over is written. Where calls share a connection, it may name a
    /// later moment, that of another's head.
    pub fn written(&self) -> Arc<WriteStamp> {
        match &self.line {
            Line::Own(sender) => sender.written.clone(),
            Line::Shared(place) => place.written.clone(),
        }
    }

    /// Hands the request over and waits for the head of the answer. `request` needs an origin-form URI and a `Host`.
    ///
    /// # Errors
    /// [`SendFailure::NotSent`] hands the request back: not a byte of it left the process.
    pub async fn send(mut self, request: Request<Full<Bytes>>) -> Result<Exchange, SendFailure> {
        self.written().arm();
        let authority = &self.pool.origin().authority;
        let sent = match &mut self.line {
            Line::Own(sender) => {
                sender
                    .requests
                    .try_send_request(in_origin_form(request, authority))
                    .await
            }
            Line::Shared(place) => {
                let request = in_absolute_form(request, authority);
                place.sender.try_send_request(request).await
            }
        };
        match sent {
            Ok(response) => Ok(self.exchange(response)),
            Err(mut failed) => match failed.take_message() {
                Some(request) => Err(SendFailure::NotSent(Box::new(request))),
                None if is_unprocessed(failed.error()) => Err(SendFailure::Unprocessed(describe(failed.error()))),
                None => Err(SendFailure::Broken(describe(failed.error()))),
            },
        }
    }

    fn exchange(self, response: Response<Incoming>) -> Exchange {
        let (head, body) = response.into_parts();
        Exchange {
            head,
            body: UpstreamBody::new(body, self.line, self.pool),
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
