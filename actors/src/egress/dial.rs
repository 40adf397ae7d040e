//! Opening one connection: DNS, TCP, proxy, TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::stamp::{Stamped, WriteStamp};
use crate::clock::Clock;

/// What [`hyper`] reads from and writes to.
/// Whatever bytes go over.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connected socket, TLS included.
pub type RawSocket = Box<dyn Socket>;

/// Scheme, host and port of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host and, where it is not the scheme's own, port: as in the `Host` header.
    pub authority: String,
}

impl Origin {
    /// The origin of an absolute `http` or `https` URL.
    ///
    /// # Errors
    /// In words, when it is not one.
    pub fn of(url: &Uri) -> Result<Origin, String> {
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("{url} is not an absolute http or https URL")),
        };
        let authority = url.authority().ok_or_else(|| format!("{url} names no host"))?;
        if authority.as_str().contains('@') {
            return Err("credentials in an upstream's URL are not supported".to_owned());
        }
        Ok(Origin {
            tls,
            authority: authority.to_string(),
        })
    }

    /// `https://host:port/` for a connector.
    fn uri(&self) -> Result<Uri, ConnectError> {
        let scheme = if self.tls { "https" } else { "http" };
        Uri::builder()
            .scheme(scheme)
            .authority(self.authority.as_str())
            .path_and_query("/")
            .build()
            .map_err(|error| ConnectError::new(ConnectErrorKind::Dns, error.to_string()))
    }

    fn host(&self) -> String {
        self.authority
            .parse::<Authority>()
            .map(|authority| authority.host().trim_matches(['[', ']']).to_owned())
            .unwrap_or_default()
    }
}

/// The way to an upstream.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ProxySpec(Option<String>);

impl ProxySpec {
    /// No proxy.
    pub const DIRECT: ProxySpec = ProxySpec(None);

    /// A proxy URL (`http://[user:password@]host:port`, `socks5://…`); empty means none.
    ///
    /// # Errors
    /// In words, when the scheme is neither or the host is missing.
    pub fn parse(url: &str) -> Result<ProxySpec, String> {
        let url = url.trim();
        if url.is_empty() {
            return Ok(ProxySpec::DIRECT);
        }
        let parsed: Uri = url
            .parse()
            .map_err(|_| "the proxy is not a URL such as http://host:port".to_owned())?;
        match (parsed.scheme_str(), parsed.authority()) {
            (Some(scheme @ ("http" | "socks5" | "socks5h")), Some(_)) => {
                let behind = url.split_once("://").map_or("", |(_, behind)| behind);
                Ok(ProxySpec(Some(format!("{scheme}://{}", behind.trim_end_matches('/')))))
            }
            (Some(scheme), Some(_)) => Err(format!(
                "proxies of scheme {scheme}:// are not supported: use http:// or socks5://"
            )),
            _ => Err("the proxy is not a URL such as http://host:port or socks5://host:port".to_owned()),
        }
    }

    /// The URL, credentials included.
    pub fn url(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The URL without its credentials, for lists and logs.
    pub fn masked(&self) -> Option<String> {
        self.0.as_ref().map(|url| match url.split_once("://") {
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://…@{host}"),
                None => url.clone(),
            },
            None => url.clone(),
        })
    }
}

impl fmt::Debug for ProxySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.masked().as_deref().unwrap_or("direct"))
    }
}

/// Where opening a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectErrorKind {
    /// The name does not resolve, or the address is malformed.
    Dns,
    /// Nobody listens, or the network says no.
    Refused,
    /// The proxy is away or refuses.
    Proxy,
    /// The TLS handshake failed.
    Tls,
    /// It took too long.
    Timeout,
}

/// A connection that was not made: nothing was sent.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// What to decide on.
    pub kind: ConnectErrorKind,
    /// What the operator reads.
    pub message: String,
}

impl ConnectError {
    pub(super) fn new(kind: ConnectErrorKind, message: impl Into<String>) -> ConnectError {
        ConnectError {
            kind,
            message: message.into(),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

type Dialled = (Box<dyn Socket>, Arc<WriteStamp>, bool);

pub(super) struct Dialer {
    origin: Origin,
    proxy: ProxySpec,
    tls: tokio_rustls::TlsConnector,
    timeout: Duration,
    clock: Clock,
}

impl Dialer {
    pub(super) fn new(
        origin: Origin,
        proxy: ProxySpec,
        tls: tokio_rustls::TlsConnector,
        timeout: Duration,
        clock: Clock,
    ) -> Dialer {
        Dialer {
            origin,
            proxy,
            tls,
            timeout,
            clock,
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A connected socket, what tells when something was written to it, and whether HTTP/2 is to be spoken over it.
    pub(super) async fn dial(&self) -> Result<Dialled, ConnectError> {
        match tokio::time::timeout(self.timeout, self.dial_unbounded()).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::new(
                ConnectErrorKind::Timeout,
                format!(
                    "no connection to {} within {} s",
                    self.origin.authority,
                    self.timeout.as_secs()
                ),
            )),
        }
    }

    async fn dial_unbounded(&self) -> Result<Dialled, ConnectError> {
        let target = self.origin.uri()?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(60)));
        let refused = |error: &dyn std::error::Error| {
            ConnectError::new(
                ConnectErrorKind::Refused,
                format!("no connection to {}: {}", self.origin.authority, chain(error)),
            )
        };
        let through = |error: &dyn std::error::Error| {
            ConnectError::new(
                ConnectErrorKind::Proxy,
                format!("proxy {:?}: {}", self.proxy, chain(error)),
            )
        };
        let stream = match self.proxy.url() {
            None => http.call(target).await.map_err(|error| refused(&error))?,
            Some(url) => {
                let (address, credentials) = split_proxy(url)?;
                if url.starts_with("http://") {
                    let mut tunnel = Tunnel::new(address, http);
                    if let Some((user, password)) = credentials {
                        use base64::Engine;
                        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                        if let Ok(value) = http::HeaderValue::from_str(&format!("Basic {encoded}")) {
                            tunnel = tunnel.with_auth(value);
                        }
                    }
                    tunnel.call(target).await.map_err(|error| through(&error))?
                } else {
                    let mut socks = SocksV5::new(address, http);
                    if let Some((user, password)) = credentials {
                        socks = socks.with_auth(user, password);
                    }
                    socks.call(target).await.map_err(|error| through(&error))?
                }
            }
        };
        let stamp = Arc::new(WriteStamp::new(self.clock.clone()));
        // Under TLS: what counts is what goes out.
        let stream = Stamped::new(stream.into_inner(), stamp.clone());
        if !self.origin.tls {
            return Ok((Box::new(stream), stamp, false));
        }
        let name = ServerName::try_from(self.origin.host())
            .map_err(|error| ConnectError::new(ConnectErrorKind::Tls, error.to_string()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| {
            ConnectError::new(
                ConnectErrorKind::Tls,
                format!("TLS with {}: {error}", self.origin.authority),
            )
        })?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), stamp, is_h2))
    }
}

/// Hyper's view of a socket.
pub(super) fn hyper_io(socket: Box<dyn Socket>) -> TokioIo<Box<dyn Socket>> {
    TokioIo::new(socket)
}

/// The proxy's own address, and its credentials apart.
fn split_proxy(url: &str) -> Result<(Uri, Option<(String, String)>), ConnectError> {
    let malformed = || ConnectError::new(ConnectErrorKind::Proxy, "the proxy is not a URL".to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(malformed)?;
    let (credentials, host) = match rest.rsplit_once('@') {
        Some((credentials, host)) => (Some(credentials), host),
        None => (None, rest),
    };
    let credentials = credentials.map(|text| match text.split_once(':') {
        Some((user, password)) => (decoded(user), decoded(password)),
        None => (decoded(text), String::new()),
    });
    let host = if host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        host.to_owned()
    } else if scheme == "http" {
        format!("{host}:80")
    } else {
        format!("{host}:1080")
    };
    // The connector underneath dials by authority; the scheme only has to be one that it parses.
    let uri = format!("http://{host}").parse().map_err(|_| malformed())?;
    Ok((uri, credentials))
}

/// A user or password as it stands in a URL, where some characters can only be written as `%` and two digits.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(digits)
        });
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_keeps_its_credentials_out_of_what_is_printed() {
        let proxy = ProxySpec::parse("http://user:se@cret@proxy.example:3128/").unwrap();
        assert_eq!(proxy.masked().as_deref(), Some("http://…@proxy.example:3128"));
        assert!(!format!("{proxy:?}").contains("cret"));
        assert!(ProxySpec::parse("ftp://proxy").unwrap_err().contains("ftp"));
        assert_eq!(ProxySpec::parse("  ").unwrap(), ProxySpec::DIRECT);
        let odd = ProxySpec::parse("HTTP://me:p%40ss%2@proxy").unwrap();
        let (_, credentials) = split_proxy(odd.url().unwrap()).map_err(|e| e.message).unwrap();
        assert_eq!(credentials.unwrap(), ("me".to_owned(), "p@ss%2".to_owned()));
        let (address, credentials) = split_proxy("socks5://me:pw@[::1]").map_err(|e| e.message).unwrap();
        assert_eq!(
            (address.port_u16(), credentials.unwrap().1),
            (Some(1080), "pw".to_owned())
        );
    }

    #[test]
    fn an_origin_is_what_the_host_header_says() {
        let origin = Origin::of(&"https://api.x.ai/v1".parse().unwrap()).unwrap();
        assert_eq!(
            origin,
            Origin {
                tls: true,
                authority: "api.x.ai".to_owned()
            }
        );
        assert!(Origin::of(&"/v1".parse().unwrap()).is_err());
    }
}
