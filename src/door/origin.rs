//! Who asks, and under which name they reached us. `X-Forwarded-*` counts only when the peer is a trusted proxy.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderMap, HeaderName};
use http::uri::Authority;
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The default of the older project, found in many a configuration; nobody ever meant it as a public address.
const OLD_DEFAULT_APP_URL: &str = "http://127.0.0.1:8000";

/// `http` or `https`, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientScheme {
    /// In the clear.
    Http,
    /// Over TLS: ours, or that of a trusted proxy.
    Https,
}

impl ClientScheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientScheme::Http => "http",
            ClientScheme::Https => "https",
        }
    }
}

/// Where a request comes from. In the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOrigin {
    /// The client's address: the peer's, or the first one behind our trusted proxies.
    pub ip: IpAddr,
    /// How the client reached us.
    pub scheme: ClientScheme,
    /// The `host[:port]` the client asked for; our own address if it named none that is valid.
    pub host: Authority,
}

/// The networks whose `X-Forwarded-*` headers we believe (`server.trusted_proxies`).
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads networks (`10.0.0.0/8`) and single addresses (`127.0.0.1`). The error names the entry at fault.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<TrustedProxies, String> {
        entries
            .iter()
            .map(|entry| {
                let entry = entry.as_ref().trim();
                entry
                    .parse::<IpNet>()
                    .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| {
                        format!(
                            "server.trusted_proxies: {entry:?} is neither an address nor a network such as 10.0.0.0/8"
                        )
                    })
            })
            .collect::<Result<_, _>>()
            .map(TrustedProxies)
    }

    /// Whether this address is one of ours.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }
}

/// What the socket knows, before any header.
#[derive(Clone, Debug)]
pub(super) struct SocketOrigin {
    pub peer: IpAddr,
    pub peer_is_trusted: bool,
    pub scheme: ClientScheme,
    pub local: Authority,
}

impl SocketOrigin {
    pub fn new(peer: SocketAddr, local: SocketAddr, scheme: ClientScheme, trusted: &TrustedProxies) -> SocketOrigin {
        let peer = peer.ip().to_canonical();
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        SocketOrigin {
            peer,
            peer_is_trusted: trusted.contains(peer),
            scheme,
            local: Authority::try_from(local.to_string()).unwrap_or_else(|_| Authority::from_static("localhost")),
        }
    }

    /// Adds what the request says. `uri_host` is the authority of an HTTP/2 request.
    pub fn of_request(
        &self,
        headers: &HeaderMap,
        uri_host: Option<&Authority>,
        trusted: &TrustedProxies,
    ) -> ClientOrigin {
        let host = || headers.get(HOST).and_then(|value| authority(value.as_bytes()));
        let mut origin = ClientOrigin {
            ip: self.peer,
            scheme: self.scheme,
            host: uri_host.cloned().or_else(host).unwrap_or_else(|| self.local.clone()),
        };
        if self.peer_is_trusted {
            origin.ip = forwarded_for(self.peer, headers, trusted);
            match first_of(headers, &FORWARDED_PROTO) {
                Some(scheme) if scheme.eq_ignore_ascii_case("https") => origin.scheme = ClientScheme::Https,
                Some(scheme) if scheme.eq_ignore_ascii_case("http") => origin.scheme = ClientScheme::Http,
                _ => {}
            }
            if let Some(host) = first_of(headers, &FORWARDED_HOST).and_then(|host| authority(host.as_bytes())) {
                origin.host = host;
            }
        }
        origin
    }
}

/// A `host[:port]` that is safe to put into a URL: no user part, no empty host.
fn authority(text: &[u8]) -> Option<Authority> {
    Authority::try_from(text)
        .ok()
        .filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
}

/// The first entry: with several proxies in a row each appends its own view, and the first is the client's.
fn first_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    value.split(',').next().map(str::trim).filter(|entry| !entry.is_empty())
}

/// Walks `X-Forwarded-For` from the right: everything a trusted proxy appended is believed, up to and including the first
/// address that is not a trusted proxy itself. What stands left of that one is the client's own invention.
fn forwarded_for(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let mut client = peer;
    let values: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        if !trusted.contains(client) {
            break;
        }
        match forwarded_address(entry.trim()) {
            Some(ip) => client = ip,
            None => break,
        }
    }
    client
}

/// `1.2.3.4`, `1.2.3.4:5678`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5678`.
fn forwarded_address(entry: &str) -> Option<IpAddr> {
    entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| entry.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>())
        .ok()
        .map(|ip| ip.to_canonical())
}

/// The base of every URL we hand out, without a slash at its end: `app_url` where an operator set it, else the address
/// under which this client reached us.
pub fn public_base_url(app_url: &str, origin: &ClientOrigin) -> String {
    let configured = app_url.trim().trim_end_matches('/');
    if configured.is_empty() || configured == OLD_DEFAULT_APP_URL {
        format!("{}://{}", origin.scheme.as_str(), origin.host)
    } else {
        configured.to_owned()
    }
}

#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;
