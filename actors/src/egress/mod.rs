//! Every connection this process opens to an upstream: the only module that builds HTTP clients.
//!
//! Two kinds. [`ConnectionPool`] is the hot path: plain hyper connections kept alive (HTTP/2 where the upstream offers it by
//! ALPN: many calls share a connection), so that a caller holds a *connected*
//! socket before it hands over a request head (the ledger checks a lease exactly then), knows whether a failed write ever
//! left the process, and never has a request repeated behind its back. [`Egress::client`] is reqwest, for everything else
//! (probes, Management API, media).

mod dial;
mod exchange;
pub mod guard;
mod pool;
mod shared;
mod stamp;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio_util::task::TaskTracker;

pub use dial::{ConnectError, ConnectErrorKind, Origin, ProxySpec, RawSocket, Socket};
pub use exchange::{Exchange, SendFailure, UpstreamBody};
pub use pool::{Connected, ConnectionPool};
pub use stamp::WriteStamp;

use crate::clock::Clock;

/// How connections are made.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// For DNS, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// A kept-alive connection idle for longer is closed rather than reused. Below the 60 s after which common load
    /// balancers drop theirs, so that the race between our write and their close stays rare.
    pub idle_timeout: Duration,
    /// Kept-alive connections per upstream and proxy.
    pub max_idle: usize,
    /// Says when a request head was written; the ledger must read the same one.
    pub clock: Clock,
    /// Offer HTTP/2 to upstreams with TLS.
    pub http2: bool,
}

impl Default for EgressOptions {
    fn default() -> Self {
        EgressOptions {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(55),
            max_idle: 1024,
            clock: Clock::system(),
            http2: true,
        }
    }
}

/// The connections of this process, shared.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    options: EgressOptions,
    tracker: TaskTracker,
    tls: tokio_rustls::TlsConnector,
    /// For what only HTTP/1.1 can become.
    tls_http1: tokio_rustls::TlsConnector,
    pools: DashMap<(Origin, ProxySpec), Arc<ConnectionPool>>,
    clients: DashMap<(ProxySpec, Duration), reqwest::Client>,
}

impl Egress {
    /// Connections made with these options; their tasks run on `tracker`.
    ///
    /// # Errors
    /// When the machine's certificate store cannot be read.
    pub fn new(options: EgressOptions, tracker: TaskTracker) -> Result<Egress, rustls::Error> {
        use rustls_platform_verifier::BuilderVerifierExt;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        Ok(Egress::over(options, tracker, tls))
    }

    fn over(options: EgressOptions, tracker: TaskTracker, mut tls: rustls::ClientConfig) -> Egress {
        let mut http1 = tls.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.alpn_protocols = match options.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        Egress(Arc::new(Inner {
            options,
            tracker,
            tls: tokio_rustls::TlsConnector::from(Arc::new(tls)),
            tls_http1: tokio_rustls::TlsConnector::from(Arc::new(http1)),
            pools: DashMap::new(),
            clients: DashMap::new(),
        }))
    }

    /// The pool of connections to an upstream through a proxy. Callers keep the handle: this is a map look-up.
    pub fn pool(&self, origin: &Origin, proxy: &ProxySpec) -> Arc<ConnectionPool> {
        if let Some(pool) = self.0.pools.get(&(origin.clone(), proxy.clone())) {
            return pool.clone();
        }
        let dialer = dial::Dialer::new(
            origin.clone(),
            proxy.clone(),
            self.0.tls.clone(),
            self.0.options.connect_timeout,
            self.0.options.clock.clone(),
        );
        self.0
            .pools
            .entry((origin.clone(), proxy.clone()))
            .or_insert_with(|| {
                Arc::new(ConnectionPool::new(
                    dialer,
                    self.0.options.clone(),
                    self.0.tracker.clone(),
                ))
            })
            .clone()
    }

    /// A socket of its own, on which HTTP/1.1 may become something else: a WebSocket.
    ///
    /// # Errors
    /// When no connection can be made.
    pub async fn socket(&self, origin: &Origin, proxy: &ProxySpec) -> Result<RawSocket, ConnectError> {
        let dialer = dial::Dialer::new(
            origin.clone(),
            proxy.clone(),
            self.0.tls_http1.clone(),
            self.0.options.connect_timeout,
            self.0.options.clock.clone(),
        );
        let (socket, _, _) = dialer.dial().await?;
        Ok(socket)
    }

    /// A client for calls off the hot path. Made once for a proxy and a time limit: making one reads the machine's
    /// certificates, and each would keep connections of its own.
    ///
    /// # Errors
    /// When the proxy's address or the certificate store is unusable.
    pub fn client(&self, proxy: &ProxySpec, timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
        let kind = (proxy.clone(), timeout);
        if let Some(client) = self.0.clients.get(&kind) {
            return Ok(client.clone());
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that builds reqwest clients"
        )]
        let builder = reqwest::Client::builder();
        let builder = builder
            .connect_timeout(self.0.options.connect_timeout)
            .timeout(timeout)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("grok2api/", env!("CARGO_PKG_VERSION")));
        let client = match proxy.url() {
            Some(url) => builder.proxy(reqwest::Proxy::all(url)?),
            None => builder.no_proxy(),
        }
        .build()?;
        Ok(self.0.clients.entry(kind).or_insert(client).clone())
    }
}
