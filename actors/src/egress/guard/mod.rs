//! Fetching what somebody else named: an address in a client's request, a link in an upstream's answer. Whoever writes the
//! address must not reach with it what only this machine can reach.
//!
//! Every hop is looked at: the scheme and the literal address before it, and what its name resolves to in the very
//! look-up that the connection is made with, so that a name that changes its mind in between gains nothing.

mod address;
mod data_uri;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

pub use address::is_public;
pub use data_uri::{DataUri, DataUriError, read_data_uri};

use super::{Egress, Origin, ProxySpec};

/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// Longer addresses are nobody's.
const MAX_URL: usize = 8 * 1024;
/// Silence after which an answer is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// Why nothing was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// Not an address that is fetched here: another scheme, credentials in it, no host.
    BadUrl,
    /// It leads to where nothing is fetched from: this machine, a private network.
    Forbidden,
    /// The name does not resolve.
    Unresolvable,
    /// Nobody answers there.
    Unreachable,
    /// One redirect after another.
    Redirects,
    /// An answer other than a success.
    Status(u16),
    /// More bytes than allowed.
    TooLarge,
    /// It took too long.
    TooSlow,
    /// The answer broke off.
    Broken,
}

/// A fetch that came to nothing.
#[derive(Clone, Debug)]
pub struct FetchError {
    /// What to decide on.
    pub kind: FetchErrorKind,
    /// For whoever named the address; says nothing of what is behind a forbidden one.
    pub message: String,
}

impl FetchError {
    fn new(kind: FetchErrorKind, message: impl Into<String>) -> FetchError {
        FetchError {
            kind,
            message: message.into(),
        }
    }

    /// Whether the same may go well a moment later.
    pub fn is_passing(&self) -> bool {
        match self.kind {
            FetchErrorKind::Unreachable
            | FetchErrorKind::Unresolvable
            | FetchErrorKind::Broken
            | FetchErrorKind::TooSlow => true,
            // What was made a moment ago may not have reached every server yet.
            FetchErrorKind::Status(status) => status >= 500 || matches!(status, 404 | 408 | 425 | 429),
            _ => false,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FetchError {}

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// All of them.
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// Asks the system.
struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Which addresses are reached although they are not public ones.
pub type Allowed = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What a fetcher is made of.
#[derive(Clone)]
pub struct FetcherOptions {
    /// The operator's exceptions.
    pub allowed: Allowed,
    /// An upstream that the operator configured: its own links may lead back to it, wherever it stands.
    pub upstream: Option<Origin>,
    /// The way to links of upstreams. Clients' addresses are never fetched through a proxy: nobody here could tell where
    /// it leads to.
    pub proxy: ProxySpec,
    /// Instead of the system's names.
    pub lookup: Option<Arc<dyn Lookup>>,
}

impl Default for FetcherOptions {
    fn default() -> FetcherOptions {
        FetcherOptions {
            allowed: Arc::new(|_| false),
            upstream: None,
            proxy: ProxySpec::DIRECT,
            lookup: None,
        }
    }
}

/// Who named an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// A client.
    Client,
    /// An upstream, in an answer.
    Upstream,
}

/// An answer, its body to come.
pub struct Fetched {
    /// 200, or 206 where a part was asked for and came.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// What follows.
    pub body: BoxStream<'static, Result<Bytes, FetchError>>,
}

/// Fetches.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner {
    guarded: reqwest::Client,
    plain: reqwest::Client,
    proxied: Option<reqwest::Client>,
    options: FetcherOptions,
}

/// Lets pass what is public, or allowed.
struct Filter {
    lookup: Arc<dyn Lookup>,
    allowed: Allowed,
}

/// Says in a chain of errors that it was us who refused.
#[derive(Debug)]
struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to no public address")
    }
}

impl std::error::Error for NotPublic {}

impl Resolve for Filter {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allowed) = (self.lookup.lookup(name.as_str().to_owned()), self.allowed.clone());
        Box::pin(async move {
            let found = found.await?;
            if found.is_empty() {
                return Err(io::Error::other("the name has no address").into());
            }
            // One that is not public among others that are is an attempt all the same.
            if !found.iter().all(|ip| is_public(*ip) || allowed(*ip)) {
                return Err(NotPublic.into());
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

impl Egress {
    /// A fetcher over connections of this process.
    ///
    /// # Errors
    /// When the proxy's address or the certificate store is unusable.
    pub fn fetcher(&self, options: FetcherOptions) -> Result<Fetcher, reqwest::Error> {
        let filter = Filter {
            lookup: options.lookup.clone().unwrap_or_else(|| Arc::new(SystemLookup)),
            allowed: options.allowed.clone(),
        };
        let guarded = self.fetching().no_proxy().dns_resolver(Arc::new(filter)).build()?;
        let plain = self.fetching().no_proxy().build()?;
        let proxied = match options.proxy.url() {
            Some(url) => Some(self.fetching().proxy(reqwest::Proxy::all(url)?).build()?),
            None => None,
        };
        Ok(Fetcher(Arc::new(Inner {
            guarded,
            plain,
            proxied,
            options,
        })))
    }

    fn fetching(&self) -> reqwest::ClientBuilder {
        #[expect(
            clippy::disallowed_methods,
            reason = "this module builds the clients of guarded fetches: their resolver differs"
        )]
        let builder = reqwest::Client::builder();
        builder
            .connect_timeout(self.0.options.connect_timeout)
            .read_timeout(SILENCE)
            .pool_max_idle_per_host(4)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("grok2api/", env!("CARGO_PKG_VERSION")))
    }
}

impl Fetcher {
    /// Fetches, from byte `from` on where the other side can: then the answer is 206.
    ///
    /// # Errors
    /// What stands against it.
    pub async fn get(&self, url: &str, by: NamedBy, from: u64) -> Result<Fetched, FetchError> {
        let mut url = self.admit(url, by)?;
        for _ in 0..=REDIRECTS {
            let client = self.client(&url, by);
            let mut request = client.get(url.clone());
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await.map_err(|error| explain(&error))?;
            let status = response.status();
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let to = response
                    .headers()
                    .get(header::LOCATION)
                    .and_then(|to| to.to_str().ok())
                    .and_then(|to| url.join(to).ok())
                    .ok_or_else(|| FetchError::new(FetchErrorKind::BadUrl, "it redirects to no address"))?;
                url = self.admit(to.as_str(), by)?;
                continue;
            }
            if !matches!(status.as_u16(), 200 | 206) {
                return Err(FetchError::new(
                    FetchErrorKind::Status(status.as_u16()),
                    format!("the server answers {}", status.as_u16()),
                ));
            }
            let headers = response.headers().clone();
            let body = response.bytes_stream().map_err(|error| explain(&error)).boxed();
            return Ok(Fetched { status, headers, body });
        }
        Err(FetchError::new(
            FetchErrorKind::Redirects,
            format!("it redirects more than {REDIRECTS} times"),
        ))
    }

    /// Fetches all of something small, and what the server calls it.
    ///
    /// # Errors
    /// What stands against it.
    pub async fn whole(
        &self,
        url: &str,
        by: NamedBy,
        most: usize,
        within: Duration,
    ) -> Result<(Bytes, Option<String>), FetchError> {
        let fetch = async {
            let fetched = self.get(url, by, 0).await?;
            let announced = fetched
                .headers
                .get(header::CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
            if announced.is_some_and(|length| length > most as u64) {
                return Err(too_large(most as u64));
            }
            let kind = fetched
                .headers
                .get(header::CONTENT_TYPE)
                .and_then(|kind| kind.to_str().ok())
                .map(str::to_owned);
            let (mut body, mut whole) = (fetched.body, BytesMut::new());
            while let Some(piece) = body.try_next().await? {
                if whole.len() + piece.len() > most {
                    return Err(too_large(most as u64));
                }
                whole.extend_from_slice(&piece);
            }
            Ok((whole.freeze(), kind))
        };
        match tokio::time::timeout(within, fetch).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError::new(
                FetchErrorKind::TooSlow,
                format!("it did not come within {} s", within.as_secs()),
            )),
        }
    }

    /// The address as it will be asked for, if it may be.
    fn admit(&self, url: &str, by: NamedBy) -> Result<reqwest::Url, FetchError> {
        let bad = |what: &str| FetchError::new(FetchErrorKind::BadUrl, what);
        if url.len() > MAX_URL {
            return Err(bad("the address is too long"));
        }
        let url = reqwest::Url::parse(url).map_err(|error| bad(&format!("it is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("only http:// and https:// addresses are fetched"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("addresses with a user name are not fetched"));
        }
        let host = url.host_str().ok_or_else(|| bad("the address names no host"))?;
        if by == NamedBy::Upstream && self.is_upstreams_own(&url) {
            return Ok(url);
        }
        // Every spelling of an address (decimal, octal, hexadecimal, mapped) was made plain by the parser.
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>()
            && !is_public(ip)
            && !(self.0.options.allowed)(ip)
        {
            return Err(forbidden());
        }
        Ok(url)
    }

    fn is_upstreams_own(&self, url: &reqwest::Url) -> bool {
        let parsed: Result<http::Uri, _> = url.as_str().parse();
        let origin = parsed.ok().and_then(|uri| Origin::of(&uri).ok());
        origin.is_some() && origin == self.0.options.upstream
    }

    fn client(&self, url: &reqwest::Url, by: NamedBy) -> &reqwest::Client {
        match (by, &self.0.proxied) {
            (NamedBy::Upstream, Some(proxied)) => proxied,
            (NamedBy::Upstream, None) if self.is_upstreams_own(url) => &self.0.plain,
            _ => &self.0.guarded,
        }
    }
}

/// Over a limit of bytes.
pub(crate) fn too_large(most: u64) -> FetchError {
    FetchError::new(
        FetchErrorKind::TooLarge,
        format!("it has more than the {most} bytes that are taken"),
    )
}

fn forbidden() -> FetchError {
    FetchError::new(
        FetchErrorKind::Forbidden,
        "it leads to an address that is not a public one; nothing is fetched from there",
    )
}

fn explain(error: &reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = String::new();
    let mut unresolved = false;
    while let Some(current) = cause {
        if current.is::<NotPublic>() {
            return forbidden();
        }
        last = current.to_string();
        unresolved |= last.contains("dns error");
        cause = current.source();
    }
    let kind = if error.is_timeout() {
        FetchErrorKind::TooSlow
    } else if unresolved {
        FetchErrorKind::Unresolvable
    } else if error.is_connect() {
        FetchErrorKind::Unreachable
    } else {
        FetchErrorKind::Broken
    };
    FetchError::new(kind, last)
}
