//! Taking the port, apart from serving it: the address is known (port 0 included) and can be printed before any traffic.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockFilter, SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket};

/// How many finished handshakes the kernel may queue; it cuts this to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// What is sent must be acknowledged, and a closed window opened, within this time; nginx's `send_timeout` is as long.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);
/// A connection on which nothing is said is probed after this long, so often, and given up with that many unanswered.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// A filter on what reaches the listening socket (classic BPF over the TCP header): a first SYN is dropped, the rest of a
/// handshake passes.
const NO_FIRST_SYN: [SockFilter; 5] = [
    // The flags…
    SockFilter::new(0x30, 0, 0, 13),
    // …of which SYN and ACK…
    SockFilter::new(0x54, 0, 0, 0x12),
    // …are SYN alone:
    SockFilter::new(0x15, 0, 1, 0x02),
    // dropped,
    SockFilter::new(0x06, 0, 0, 0),
    // or let in whole.
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// A bound, listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why the port could not be had. Displays as one line that says how to mend it.
#[derive(Debug)]
pub struct BindError {
    host: String,
    port: u16,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { host, port, source } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {host}:{port}: another process holds the port; stop it, or choose another with --port or server.port"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {host}:{port}: ports below 1024 need a privilege; choose another with --port or server.port"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "cannot listen on {host}:{port}: this machine has no such address; use 0.0.0.0, or set --host or server.host"
            ),
            _ => write!(
                f,
                "cannot listen on {host}:{port}: {source}; check --host and server.host"
            ),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl Listener {
    /// Binds and listens. `port` 0 asks the system for a free one; `host` may be a name, of whose addresses the first
    /// that can be bound is used. Connections are queued from here on and answered once the door serves.
    pub async fn bind(host: &str, port: u16) -> Result<Listener, BindError> {
        let failed = |source| BindError {
            host: host.to_owned(),
            port,
            source,
        };
        let bare_host = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = tokio::net::lookup_host((bare_host, port)).await.map_err(failed)?;
        let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match listen(address) {
                Ok(socket) => {
                    let address = socket.local_addr().map_err(failed)?;
                    return Ok(Listener { socket, address });
                }
                Err(error) => last_error = error,
            }
        }
        Err(failed(last_error))
    }

    /// Where it listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// From now on no handshake begins, and those that have begun go on. Whoever tries tries again by itself a second later,
    /// and is refused then: closing the socket resets every connection that the kernel has let in and we have not taken yet,
    /// and there is no moment without such a one under load.
    pub(super) fn end_handshakes(&self) {
        if let Err(error) = SockRef::from(&self.socket).attach_filter(&NO_FIRST_SYN) {
            tracing::debug!(%error, "the listening socket takes no filter: a connection made at this moment may be reset");
        }
    }

    pub(super) fn socket(&self) -> &TcpListener {
        &self.socket
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait for old connections in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    inherit_dead_peer_limits(&listener)?;
    Ok(listener)
}

/// A client whose machine or network is gone says nothing at all. Accepted sockets inherit these options on Linux:
/// unacknowledged data, or a window that stays closed, ends the connection after [`UNACKNOWLEDGED_MAX`], and a connection on
/// which nothing is sent is probed.
fn inherit_dead_peer_limits(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(PROBE_AFTER)
            .with_interval(PROBE_EVERY)
            .with_retries(PROBES),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_give_dead_peers_up() {
        let listener = Listener::bind("127.0.0.1", 0).await.unwrap();
        let _client = tokio::net::TcpStream::connect(listener.local_addr()).await.unwrap();
        let (accepted, _) = listener.socket().accept().await.unwrap();
        let accepted = SockRef::from(&accepted);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), PROBE_AFTER);
    }
}
