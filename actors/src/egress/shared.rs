//! One HTTP/2 connection that many calls share.
//!
//! A request that hyper takes while the upstream allows no further stream waits inside it, and its head leaves the process
//! whenever a stream ends. A lease is checked when the head is handed over and is good for a moment only, so places are
//! counted here, by what the upstream allows, and a request is handed over only with a place in its hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioTimer;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::dial::{ConnectError, ConnectErrorKind, Socket, hyper_io};
use super::stamp::WriteStamp;

/// Streams on one connection, whatever the upstream allows: more share the fate of one socket.
const STREAMS: usize = 100;
/// What may come for one stream that nobody reads. The connection's own window is that of all its streams, so that readers
/// who are slow hold up nobody else.
const STREAM_WINDOW: u32 = 256 * 1024;
/// A connection that says nothing for this long is asked whether it lives…
const PING_AFTER: Duration = Duration::from_secs(20);
/// …and given up if it does not answer within this.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// How often the upstream's first settings are looked for…
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// …and later ones.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A connection, and its places.
pub(super) struct SharedConnection {
    sender: SendRequest<Full<Bytes>>,
    written: Arc<WriteStamp>,
    places: Arc<Places>,
}

struct Places {
    taken: AtomicUsize,
    /// What the upstream allows now. 0: it has not said yet.
    allowed: watch::Sender<usize>,
    idle_since: parking_lot::Mutex<Instant>,
}

/// The right to open one stream; given back when dropped.
pub(super) struct Place {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) written: Arc<WriteStamp>,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.places.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.places.idle_since.lock() = Instant::now();
        }
    }
}

impl SharedConnection {
    /// Speaks HTTP/2 over the socket, and waits for the upstream to say how many streams it allows.
    pub(super) async fn start(
        socket: Box<dyn Socket>,
        written: Arc<WriteStamp>,
        within: Duration,
        tracker: &TaskTracker,
    ) -> Result<SharedConnection, ConnectError> {
        let refused = |error: &dyn std::fmt::Display| ConnectError::new(ConnectErrorKind::Refused, error.to_string());
        let (sender, connection) = Builder::new(TrackedExecutor(tracker.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * STREAMS as u32)
            .initial_max_send_streams(0)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PONG_WITHIN)
            .handshake::<_, Full<Bytes>>(hyper_io(socket))
            .await
            .map_err(|error| refused(&error))?;
        let (allowed, mut told) = watch::channel(0);
        let places = Arc::new(Places {
            taken: AtomicUsize::new(0),
            allowed,
            idle_since: parking_lot::Mutex::new(Instant::now()),
        });
        let weak = Arc::downgrade(&places);
        tracker.spawn(async move {
            let mut connection = Box::pin(connection);
            loop {
                let allowed = connection.current_max_send_streams();
                if let Some(places) = weak.upgrade() {
                    places
                        .allowed
                        .send_if_modified(|known| std::mem::replace(known, allowed) != allowed);
                }
                // Frames are read in a task of hyper's own, which tells nobody of settings: they are looked for.
                let pause = if allowed == 0 { FIRST_LOOK } else { LOOK_AGAIN };
                // Its errors reach the exchanges that were using the connection.
                if tokio::time::timeout(pause, connection.as_mut()).await.is_ok() {
                    return;
                }
            }
        });
        let shared = SharedConnection {
            sender,
            written,
            places,
        };
        let is_told = async {
            loop {
                if *told.borrow_and_update() > 0 {
                    return Ok(());
                }
                if shared.sender.is_closed() {
                    return Err(refused(&"the upstream closed a new HTTP/2 connection"));
                }
                // The end of the connection changes nothing here, and is looked for.
                let _ = tokio::time::timeout(Duration::from_millis(50), told.changed()).await;
            }
        };
        match tokio::time::timeout(within, is_told).await {
            Ok(result) => result?,
            Err(_) => {
                return Err(ConnectError::new(
                    ConnectErrorKind::Timeout,
                    "the upstream sent no HTTP/2 settings".to_owned(),
                ));
            }
        }
        Ok(shared)
    }

    /// A place for one more call, if there is one.
    pub(super) fn take(&self) -> Option<Place> {
        if self.sender.is_closed() {
            return None;
        }
        let allowed = (*self.places.allowed.borrow()).min(STREAMS);
        self.places
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < allowed).then_some(taken + 1)
            })
            .ok()?;
        Some(Place {
            sender: self.sender.clone(),
            written: self.written.clone(),
            places: self.places.clone(),
        })
    }

    /// Whether it is of use still: open, and not idle for longer than `idle`.
    pub(super) fn is_fresh(&self, idle: Duration) -> bool {
        !self.sender.is_closed()
            && (self.places.taken.load(Ordering::Acquire) > 0 || self.places.idle_since.lock().elapsed() < idle)
    }
}

/// Runs what hyper has to run beside the connection.
#[derive(Clone)]
struct TrackedExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn(work);
    }
}

/// Whether the upstream says that it did not act on the request: it refused the stream, or announced its end before it
/// came to it (RFC 9113 §8.7, §6.8).
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_remote()
                && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM));
        }
        cause = error.source();
    }
    false
}

/// The request as HTTP/2 has it: the host stands in the address, not in a header.
pub(super) fn in_absolute_form(mut request: Request<Full<Bytes>>, authority: &str) -> Request<Full<Bytes>> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if parts.scheme.is_none() {
        parts.scheme = Some(http::uri::Scheme::HTTPS);
        parts.authority = authority.parse().ok();
    }
    if let Ok(uri) = http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(http::header::HOST);
    request
}

/// The request as HTTP/1.1 has it, whichever form it is in.
pub(super) fn in_origin_form(mut request: Request<Full<Bytes>>, authority: &str) -> Request<Full<Bytes>> {
    if request.uri().scheme().is_some() {
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = request.uri().path_and_query().cloned();
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    if !request.headers().contains_key(http::header::HOST)
        && let Ok(host) = http::HeaderValue::from_str(authority)
    {
        request.headers_mut().insert(http::header::HOST, host);
    }
    request
}
