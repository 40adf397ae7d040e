//! The door: our own accept loop in front of any poem endpoint. HTTP/1.1 and HTTP/2 (by ALPN or prior knowledge) on one
//! port, WebSocket upgrades, optional TLS.
//!
//! What it promises: a client that hangs up drops its handler and body within milliseconds · chunks leave at once
//! (TCP_NODELAY) · slow heads, idle connections and floods have limits · a panic closes one connection · it ends without a
//! reset for clients that keep connections alive. poem's own server keeps none of the first three.

mod accept;
mod activity;
pub mod body;
mod connection;
pub mod descriptors;
mod handle;
pub mod health;
mod in_flight;
mod listener;
pub mod origin;
mod refusal;
mod route;
mod service;
mod socket;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::clock::Clock;
use hyper_util::server::conn::auto;
use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, IntoEndpoint, Response};
use tokio_rustls::TlsAcceptor;

pub use self::handle::{DoorHandle, DoorPhase, DoorStats};
pub use self::in_flight::{InFlight, InFlightGuard};
pub use self::listener::{BindError, Listener};
pub use self::origin::{ClientOrigin, TrustedProxies, public_base_url};
pub use self::route::Route;
pub use self::service::Arrived;

use self::activity::ConnectionLimits;

/// How the door behaves. [`DoorOptions::default`] is fit for use.
#[derive(Clone, Debug)]
pub struct DoorOptions {
    /// Client connections at a time; [`descriptors::DescriptorLimit::connections`] derives it. One more is answered 503
    /// with `Retry-After` (TLS: closed).
    pub max_connections: usize,
    /// From accepting to a first byte, for a TLS handshake, and from a head's first byte to its last
    /// (`server.header_read_timeout_secs`).
    pub header_read_timeout: Duration,
    /// How long a connection may idle between requests. Longer than the 60 s that nginx and the 75 s that browsers keep
    /// theirs, so that it is the client who ends it.
    pub idle_timeout: Duration,
    /// An HTTP/2 connection is pinged this often…
    pub http2_ping_interval: Duration,
    /// …and given up after this long without an answer.
    pub http2_ping_timeout: Duration,
    /// Whose `X-Forwarded-*` headers count (`server.trusted_proxies`).
    pub trusted_proxies: TrustedProxies,
    /// TLS, from [`tls::server_config`].
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for DoorOptions {
    fn default() -> DoorOptions {
        DoorOptions {
            max_connections: 10_000,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            http2_ping_interval: Duration::from_secs(30),
            http2_ping_timeout: Duration::from_secs(20),
            trusted_proxies: TrustedProxies::default(),
            tls: None,
        }
    }
}

/// While stopping, a connection must have idled this long before it is closed under its client: one whose client asks
/// again at once is told in the answer instead.
const IDLE_WHEN_STOPPING: Duration = Duration::from_secs(1);

/// An endpoint behind its accept loop.
pub struct Door {
    shared: Arc<Shared>,
    max_connections: usize,
}

/// What all connections share.
struct Shared {
    endpoint: BoxEndpoint<'static, Response>,
    protocol: auto::Builder<connection::Spawner>,
    handle: DoorHandle,
    limits: ConnectionLimits,
    trusted: TrustedProxies,
    tls: Option<TlsAcceptor>,
    clock: Clock,
}

impl Door {
    /// Puts an endpoint behind a door. `handle` drains and stops it; one handle, one door.
    pub fn new<E>(endpoint: E, options: DoorOptions, handle: DoorHandle, clock: Clock) -> Door
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        Door {
            shared: Arc::new(Shared {
                endpoint: endpoint.map_to_response().boxed(),
                protocol: connection::protocol(&options, &handle),
                handle,
                limits: ConnectionLimits {
                    head: options.header_read_timeout,
                    idle: options.idle_timeout,
                    idle_when_stopping: IDLE_WHEN_STOPPING,
                },
                trusted: options.trusted_proxies,
                tls: options.tls.map(TlsAcceptor::from),
                clock,
            }),
            max_connections: options.max_connections,
        }
    }

    /// Accepts and serves until the handle says stop; then the port is free and open connections finish on their own
    /// ([`DoorHandle::closed`]).
    pub async fn serve(self, listener: Listener) {
        accept::run(self.shared, listener, self.max_connections).await;
    }
}
