//! The listener: its own accept loop, so that it can be closed and opened again while it runs, and connections that can
//! all be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api_actors::clock::Clock;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::control;
use super::misbehave::Rule;
use super::routes;
use super::scenario::{ScenarioError, SimulatorOptions};
use super::world::World;

/// Connections waiting to be accepted.
const BACKLOG: u32 = 4096;
/// Pause after an accept that failed, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Pause between attempts to take the port again after it was closed on purpose.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// A simulator that listens. Dropping it stops it.
#[derive(Debug)]
pub struct RunningSimulator {
    /// Where it listens.
    pub addr: SocketAddr,
    world: Arc<World>,
    stop: DropGuard,
    stopped: TaskTracker,
}

impl RunningSimulator {
    /// What to configure as the upstream's base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The judge's evidence, as `GET /__sim/arrivals` answers it.
    pub fn arrivals(&self) -> Value {
        control::arrivals(&self.world)
    }

    /// What each key was used for, as `GET /__sim/keys` answers it.
    pub fn keys(&self) -> Value {
        control::keys(&self.world)
    }

    /// Totals, as `GET /__sim/stats` answers them.
    pub fn stats(&self) -> Value {
        control::stats(&self.world)
    }

    /// Adds misbehaviour; its id. Fails if the rule asks for the impossible.
    pub fn script(&self, rule: Rule) -> Result<u64, ScenarioError> {
        self.world.script.add(rule, &self.world.clock).map_err(ScenarioError)
    }

    /// Removes all misbehaviour that was added.
    pub fn clear_script(&self) {
        self.world.script.remove(None);
    }

    /// Forgets every count, and the rules too.
    pub fn reset(&self) {
        self.world.reset(true);
    }

    /// Stops: cuts all connections and waits until they are gone.
    pub async fn stop(self) {
        drop(self.stop);
        self.stopped.wait().await;
    }
}

/// Binds the address and serves until the handle is dropped. Tasks run on `tracker`. Fails when the scenario contradicts
/// itself or the address cannot be bound.
pub async fn serve(
    options: SimulatorOptions,
    clock: Clock,
    tracker: &TaskTracker,
) -> Result<RunningSimulator, ScenarioError> {
    let world = Arc::new(World::new(options.scenario, clock)?);
    let listener = bind(options.listen)
        .map_err(|error| ScenarioError(format!("the simulator cannot listen on {}: {error}", options.listen)))?;
    let addr = listener
        .local_addr()
        .map_err(|error| ScenarioError(error.to_string()))?;
    let stop = CancellationToken::new();
    let stopped = TaskTracker::new();
    let accepting = accept_loop(
        world.clone(),
        listener,
        addr,
        stop.clone(),
        tracker.clone(),
        stopped.clone(),
    );
    tracker.spawn(stopped.track_future(accepting));
    stopped.close();
    Ok(RunningSimulator {
        addr,
        world,
        stop: stop.drop_guard(),
        stopped,
    })
}

fn bind(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // So that the port can be taken again at once after it was closed on purpose.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn accept_loop(
    world: Arc<World>,
    listener: TcpListener,
    addr: SocketAddr,
    stop: CancellationToken,
    tracker: TaskTracker,
    stopped: TaskTracker,
) {
    let mut listener = Some(listener);
    let mut refusing = world.refuse_until.subscribe();
    // Cancelled to cut the connections of this opening.
    let mut opening = stop.child_token();
    loop {
        let Some(open) = &listener else {
            let wait = refusing.borrow().us_since(world.clock.now());
            if wait > 0 {
                let refused = tokio::time::sleep(Duration::from_micros(wait));
                tokio::select! { () = stop.cancelled() => return, () = refused => {} }
                continue;
            }
            match bind(addr) {
                Ok(bound) => {
                    listener = Some(bound);
                    opening = stop.child_token();
                }
                Err(error) => {
                    tracing::warn!(%addr, %error, "simulator cannot listen again yet");
                    tokio::time::sleep(REBIND_PAUSE).await;
                }
            }
            continue;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = refusing.changed() => {
                if changed.is_ok() && *refusing.borrow_and_update() > world.clock.now() {
                    listener = None;
                    opening.cancel();
                }
            }
            accepted = open.accept() => match accepted {
                Ok((stream, _)) => {
                    let serving = serve_connection(world.clone(), stream, opening.clone());
                    tracker.spawn(stopped.track_future(serving));
                }
                Err(error) => {
                    tracing::warn!(%error, "simulator cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(world: Arc<World>, stream: TcpStream, cut: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let stats = &world.stats;
    stats.connections.fetch_add(1, Ordering::Relaxed);
    stats.connections_total.fetch_add(1, Ordering::Relaxed);
    let served = world.clone();
    let service = service_fn(move |request: Request<Incoming>| routes::handle(served.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let result = tokio::select! {
        result = connection => result,
        () = cut.cancelled() => Ok(()),
    };
    if let Err(error) = result {
        tracing::trace!(%error, "simulator connection ended");
    }
    stats.connections.fetch_sub(1, Ordering::Relaxed);
}
