//! The door from outside: how others follow it, drain it and stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::in_flight::InFlight;

/// Where the door stands between start and end. Only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoorPhase {
    /// Business as usual.
    Serving,
    /// Still accepting; every answer tells its client to go elsewhere next time.
    Draining,
    /// No new connections; idle ones are closed, busy ones finish.
    Stopping,
    /// Busy ones are cut off too.
    CutOff,
}

/// Follows, drains and stops one door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DoorHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: watch::Sender<DoorPhase>,
    // Read by every request; the watch would take its lock.
    is_draining: AtomicBool,
    sockets: TaskTracker,
    in_flight: InFlight,
    stats: DoorStats,
}

/// Counts since start, for metrics.
#[derive(Debug, Default)]
pub struct DoorStats {
    /// Client sockets open now, upgraded ones included.
    pub open: AtomicUsize,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections turned away because the limit was reached.
    pub refused: AtomicU64,
    /// Failures of `accept` itself, such as no free descriptor.
    pub accept_errors: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub tls_failures: AtomicU64,
    /// Connections closed because a request's head did not arrive in time.
    pub head_timeouts: AtomicU64,
    /// Handlers and bodies that panicked.
    pub panics: AtomicU64,
}

impl Default for DoorHandle {
    fn default() -> DoorHandle {
        DoorHandle(Arc::new(Inner {
            phase: watch::Sender::new(DoorPhase::Serving),
            is_draining: AtomicBool::new(false),
            sockets: TaskTracker::new(),
            in_flight: InFlight::default(),
            stats: DoorStats::default(),
        }))
    }
}

impl DoorHandle {
    /// From now on every answer carries `Connection: close` (HTTP/2: GOAWAY); connections are still accepted.
    pub fn drain(&self) {
        self.advance(DoorPhase::Draining);
    }

    /// Stops accepting. Idle connections are closed, busy ones after their answer.
    pub fn stop(&self) {
        self.advance(DoorPhase::Stopping);
    }

    /// Closes every connection, whatever it is doing. Handlers and bodies are dropped; a WebSocket's handler must follow
    /// [`DoorHandle::watch`] itself.
    pub fn cut_off(&self) {
        self.advance(DoorPhase::CutOff);
    }

    fn advance(&self, to: DoorPhase) {
        self.0.is_draining.store(true, Ordering::Release);
        self.0.phase.send_if_modified(|phase| {
            let moves = *phase < to;
            if moves {
                *phase = to;
            }
            moves
        });
        if to >= DoorPhase::Stopping {
            self.0.sockets.close();
        }
    }

    /// Ends when the door has stopped and every client socket is closed, upgraded ones included.
    pub async fn closed(&self) {
        self.0.sockets.wait().await;
    }

    /// Requests being answered.
    pub fn in_flight(&self) -> &InFlight {
        &self.0.in_flight
    }

    /// Counts since start.
    pub fn stats(&self) -> &DoorStats {
        &self.0.stats
    }

    /// Where the door stands.
    pub fn phase(&self) -> DoorPhase {
        *self.0.phase.borrow()
    }

    /// Follows the phases; long-lived handlers (WebSockets) say goodbye at [`DoorPhase::Draining`].
    pub fn watch(&self) -> watch::Receiver<DoorPhase> {
        self.0.phase.subscribe()
    }

    /// Ends when the door has come this far.
    pub async fn reached(&self, phase: DoorPhase) {
        // It cannot fail: this handle holds the sender.
        let _ = self.watch().wait_for(|now| *now >= phase).await;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }

    pub(super) fn tracker(&self) -> &TaskTracker {
        &self.0.sockets
    }

    /// Counts a socket, and holds its place under the limit, until the guard is dropped.
    pub(super) fn open_socket(&self, permit: OwnedSemaphorePermit) -> SocketGuard {
        self.0.stats.open.fetch_add(1, Ordering::Relaxed);
        SocketGuard {
            door: self.clone(),
            _token: self.0.sockets.token(),
            _permit: permit,
        }
    }
}

/// Lives inside the socket's wrapper, so that it outlives an upgrade.
#[derive(Debug)]
pub(super) struct SocketGuard {
    door: DoorHandle,
    _token: TaskTrackerToken,
    _permit: OwnedSemaphorePermit,
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        self.door.0.stats.open.fetch_sub(1, Ordering::Relaxed);
    }
}
