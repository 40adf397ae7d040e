//! One client connection from its handshake to its end.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use grok2api_actors::repoll::Repolled;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::activity::{Activity, Verdict};
use super::handle::{DoorHandle, DoorPhase, SocketGuard};
use super::origin::ClientScheme;
use super::service::{ConnectionContext, panic_text};
use super::socket::ClientSocket;
use super::{DoorOptions, Shared};

/// HTTP/2 streams that one connection may have open; a client wanting more opens another.
const HTTP2_MAX_STREAMS: u32 = 256;
/// Bytes of a field section on HTTP/2, as the protocol counts them (RFC 9113 §6.5.2).
const HTTP2_MAX_HEADER_LIST: u32 = 96 * 1024;

/// The protocol settings every connection shares.
pub(super) fn protocol(options: &DoorOptions, handle: &DoorHandle) -> auto::Builder<Spawner> {
    let mut builder = auto::Builder::new(Spawner(handle.clone()));
    builder
        .http1()
        // See super::activity: our own timeouts stand in for hyper's. `pipeline_flush` stays off: while anything unread
        // lies in the buffer it flushes nothing, not even before closing, so that the answer to a broken head or to a
        // body that is too large is lost.
        .header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(options.http2_ping_interval)
        .keep_alive_timeout(options.http2_ping_timeout)
        .max_concurrent_streams(HTTP2_MAX_STREAMS)
        .max_header_list_size(HTTP2_MAX_HEADER_LIST);
    builder
}

/// Runs the streams of HTTP/2 connections: tracked, and with a panic contained in its stream.
#[derive(Clone)]
pub(super) struct Spawner(DoorHandle);

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let handle = self.0.clone();
        self.0.tracker().spawn(async move {
            if let Err(panic) = AssertUnwindSafe(stream).catch_unwind().await {
                panicked(&handle, &*panic);
            }
        });
    }
}

fn panicked(handle: &DoorHandle, panic: &(dyn std::any::Any + Send)) {
    handle.stats().panics.fetch_add(1, Ordering::Relaxed);
    tracing::error!(
        panic = panic_text(panic),
        "an answer's body panicked; its connection is closed"
    );
}

/// Serves a fresh socket until it closes.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, guard: SocketGuard) {
    let Ok(local) = stream.local_addr() else {
        // The client is gone already.
        return;
    };
    // A chunk must leave when it is written: Nagle's algorithm would hold the second of two back for a round trip.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "the socket refuses TCP_NODELAY");
    }
    if shared.tls.is_some() {
        // Boxed: a TLS session is large, and without TLS every connection would carry the room for one.
        Box::pin(serve_tls(&shared, stream, peer, local, guard)).await;
    } else {
        drive_contained(&shared, stream, peer, local, ClientScheme::Http, guard).await;
    }
}

async fn serve_tls(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr, local: SocketAddr, guard: SocketGuard) {
    let Some(acceptor) = &shared.tls else { return };
    match tokio::time::timeout(shared.limits.head, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            drive_contained(shared, stream, peer, local, ClientScheme::Https, guard).await;
        }
        Ok(Err(error)) => tls_failed(shared, peer, &error.to_string()),
        Err(_) => tls_failed(shared, peer, "it took too long"),
    }
}

fn tls_failed(shared: &Shared, peer: SocketAddr, cause: &str) {
    shared.handle.stats().tls_failures.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(%peer, cause, "a TLS handshake failed");
}

/// A panic outside a handler (in an answer's body) ends this connection and nothing else.
async fn drive_contained<S>(
    shared: &Arc<Shared>,
    stream: S,
    peer: SocketAddr,
    local: SocketAddr,
    scheme: ClientScheme,
    guard: SocketGuard,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = AssertUnwindSafe(drive(shared, stream, peer, local, scheme, guard));
    if let Err(panic) = connection.catch_unwind().await {
        panicked(&shared.handle, &*panic);
    }
}

async fn drive<S>(
    shared: &Arc<Shared>,
    stream: S,
    peer: SocketAddr,
    local: SocketAddr,
    scheme: ClientScheme,
    guard: SocketGuard,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::new(shared.clock.clone()));
    let socket = TokioIo::new(ClientSocket::new(stream, activity.clone(), guard));
    let context = Arc::new(ConnectionContext::new(
        shared.clone(),
        activity.clone(),
        peer,
        local,
        scheme,
    ));
    let service = service_fn(move |request| context.clone().answer(request));
    // The handler wakes this task, in which it runs, whenever it asks for more of its request's body.
    let mut connection = Repolled::new(shared.protocol.serve_connection_with_upgrades(socket, service));
    let mut phases = shared.handle.watch();
    let mut phase = *phases.borrow_and_update();
    let mut is_closing = false;
    let mut look_again = pin!(sleep_until(Instant::now() + shared.limits.head));
    loop {
        tokio::select! {
            biased;
            // Never polled again once it is done: that parks until the next write and hides a disconnect.
            outcome = &mut connection => {
                if let Err(error) = outcome {
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
                return;
            }
            changed = phases.changed(), if phase < DoorPhase::CutOff => {
                if changed.is_err() {
                    return;
                }
                phase = *phases.borrow_and_update();
                if phase == DoorPhase::CutOff {
                    return;
                }
                if activity.is_http2() {
                    connection.inner().graceful_shutdown();
                }
                // HTTP/1.1 is told in its next answer, whose client closes knowingly; hyper's graceful shutdown would
                // close a connection that idles for a moment under a request that is on its way.
                look_again.as_mut().reset(Instant::now());
            }
            () = look_again.as_mut() => {
                let wait = match activity.verdict(&shared.limits, phase >= DoorPhase::Stopping) {
                    Verdict::Wait(rest) => rest,
                    Verdict::Close => {
                        if !is_closing {
                            is_closing = true;
                            connection.inner().graceful_shutdown();
                        }
                        shared.limits.head
                    }
                    Verdict::HeadOverdue => {
                        shared.handle.stats().head_timeouts.fetch_add(1, Ordering::Relaxed);
                        activity.set_overdue();
                        shared.limits.head
                    }
                };
                look_again.as_mut().reset(Instant::now() + wait);
            }
        }
    }
}
