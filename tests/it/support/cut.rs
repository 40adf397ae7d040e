//! A wire that can be cut and slowed down: a TCP proxy between a program under test and whatever it talks to.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Chunks that are on their way in one direction of one connection.
const ON_THE_WIRE: usize = 256;

/// The proxy. Dropping it ends every connection.
pub struct CutProxy {
    address: SocketAddr,
    wire: watch::Sender<Wire>,
    _end: DropGuard,
}

#[derive(Clone, Copy, Default)]
struct Wire {
    cut: bool,
    delay: Duration,
    /// Grows when every connection is to be broken.
    breaks: u64,
}

impl CutProxy {
    /// A proxy to `target` on a free port of the loopback.
    pub async fn start(target: SocketAddr) -> CutProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (wire, watched) = watch::channel(Wire::default());
        let end = CancellationToken::new();
        let tasks = TaskTracker::new();
        let stop = end.clone();
        tasks.clone().spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((near, _)) = accepted else { continue };
                let (stop, wire) = (stop.clone(), watched.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = connection(near, target, wire) => {}
                    }
                });
            }
        });
        CutProxy {
            address,
            wire,
            _end: end.drop_guard(),
        }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the wire: nothing arrives any more, in neither direction, and nobody is told. What is sent waits.
    pub fn cut(&self) {
        self.wire.send_modify(|wire| wire.cut = true);
    }

    /// Mends it: what waited goes on its way.
    pub fn restore(&self) {
        self.wire.send_modify(|wire| wire.cut = false);
    }

    /// What is sent from now on takes this long, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.wire.send_modify(|wire| wire.delay = delay);
    }

    /// Breaks every connection; new ones can be made.
    pub fn break_all(&self) {
        self.wire.send_modify(|wire| wire.breaks += 1);
    }
}

async fn connection(near: TcpStream, target: SocketAddr, mut wire: watch::Receiver<Wire>) {
    let breaks = wire.borrow().breaks;
    // While the wire is cut, nobody answers a new caller.
    if wire.wait_for(|wire| !wire.cut).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let mut broken = wire.clone();
    tokio::select! {
        () = carry(near_in, far_out, wire.clone()) => {}
        () = carry(far_in, near_out, wire) => {}
        _ = broken.wait_for(|wire| wire.breaks != breaks) => {}
    }
}

/// One direction, until its end.
async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut wire: watch::Receiver<Wire>,
) {
    let (sent, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WIRE);
    let delay = wire.clone();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + delay.borrow().delay;
            if sent.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = on_the_way.recv().await {
            tokio::time::sleep_until(due).await;
            if wire.wait_for(|wire| !wire.cut).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    };
    tokio::join!(read, write);
}
