//! The accept loop: limits, refusals, back-off.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::handle::DoorPhase;
use super::listener::Listener;
use super::refusal::Refusal;
use super::{Shared, connection, socket};

/// Clients that are being told "full" at a time; more are closed without a word. They live on the descriptors that
/// [`super::descriptors`] keeps back.
const MAX_REFUSALS: usize = 128;
/// The first pause after `accept` failed for want of something; doubled up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Handshakes under way when the door stops get this long to end.
const LAST_HANDSHAKES: Duration = Duration::from_millis(100);
/// A full node says so this often.
const SAY_FULL_EVERY: Duration = Duration::from_secs(10);

struct Accepting {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    max_connections: usize,
    pause: Duration,
    said_full: Option<Instant>,
}

/// Accepts until the door stops, then lets no new handshake begin and takes what the kernel has let in already, so that no
/// client is reset: from then on clients are refused.
pub(super) async fn run(shared: Arc<Shared>, listener: Listener, max_connections: usize) {
    let handle = shared.handle.clone();
    // The door is not closed while somebody may come in.
    let _open = handle.tracker().token();
    let mut stopped = pin!(handle.reached(DoorPhase::Stopping));
    let mut accepting = Accepting {
        places: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
        refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        max_connections,
        pause: FIRST_PAUSE,
        said_full: None,
        shared,
    };
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.socket().accept() => match accepted {
                Ok((stream, peer)) => accepting.admit(stream, peer),
                Err(error) => accepting.back_off(&error).await,
            }
        }
    }
    listener.end_handshakes();
    let mut over = pin!(tokio::time::sleep(LAST_HANDSHAKES));
    loop {
        tokio::select! {
            biased;
            accepted = listener.socket().accept() => match accepted {
                Ok((stream, peer)) => accepting.admit(stream, peer),
                Err(error) => accepting.back_off(&error).await,
            },
            () = &mut over => break,
        }
    }
}

impl Accepting {
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.pause = FIRST_PAUSE;
        let stats = self.shared.handle.stats();
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                stats.accepted.fetch_add(1, Ordering::Relaxed);
                let guard = self.shared.handle.open_socket(place);
                let connection = connection::serve(self.shared.clone(), stream, peer, guard);
                self.shared.handle.tracker().spawn(connection);
            }
            Err(_) => {
                stats.refused.fetch_add(1, Ordering::Relaxed);
                self.refuse(stream);
            }
        }
    }

    fn refuse(&mut self, stream: TcpStream) {
        let now = Instant::now();
        if self
            .said_full
            .is_none_or(|said| now.duration_since(said) >= SAY_FULL_EVERY)
        {
            self.said_full = Some(now);
            tracing::warn!(
                max_connections = self.max_connections,
                "all connections are taken; new ones are answered 503 (server.max_connections, or the limit on open files)"
            );
        }
        // A handshake for the sake of a refusal costs what we are short of.
        if self.shared.tls.is_some() {
            return;
        }
        if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
            self.shared.handle.tracker().spawn(async move {
                socket::refuse(stream, Refusal::Full).await;
                drop(permit);
            });
        }
    }

    /// A connection that died in the queue is no reason to wait; anything else (no descriptors, no memory) comes back at
    /// once and would spin.
    async fn back_off(&mut self, error: &io::Error) {
        let stats = self.shared.handle.stats();
        stats.accept_errors.fetch_add(1, Ordering::Relaxed);
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
        ) {
            return;
        }
        tracing::error!(%error, pause_ms = self.pause.as_millis() as u64, "cannot accept connections; trying again after a pause");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
