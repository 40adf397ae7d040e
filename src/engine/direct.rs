//! Calls that belong to one certain token: objects that it made or is to make, looked up, listed, deleted. No choice, no
//! retry elsewhere, and nothing of a model's quota is used.

use bytes::Bytes;
use grok2api_actors::egress::{ProxySpec, SendFailure};
use grok2api_schemas::ids::{RequestId, TokenId};
use http::{HeaderMap, HeaderValue, Method};

use super::Engine;
use super::error::{ErrorKind, GatewayError, RefusalReason};
use crate::providers::UpstreamCall;

/// What is asked.
pub struct Direct<'a> {
    /// How.
    pub method: Method,
    /// Path behind the base URL, query included.
    pub path: &'a str,
    /// What is sent.
    pub body: Bytes,
    /// What the body is; `None` = JSON.
    pub content_type: Option<&'a HeaderValue>,
    /// The largest answer that is taken, bytes.
    pub largest: usize,
}

impl<'a> Direct<'a> {
    /// A GET of a path, with an answer of at most 64 MiB.
    pub fn get(path: &'a str) -> Direct<'a> {
        Direct {
            method: Method::GET,
            path,
            body: Bytes::new(),
            content_type: None,
            largest: 64 << 20,
        }
    }
}

/// What came back.
pub struct Fetched {
    /// The upstream's status, a success.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Engine {
    /// Makes the call with this token.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn direct(&self, token: TokenId, ask: &Direct<'_>, id: RequestId) -> Result<Fetched, GatewayError> {
        let gone = || {
            GatewayError::new(
                ErrorKind::NotFound,
                "The upstream credential that made this object is no longer here.",
            )
        };
        let token = self.pool.find(token).ok_or_else(gone)?;
        let proxy = token
            .record()
            .proxy
            .as_deref()
            .and_then(|url| ProxySpec::parse(url).ok());
        let connections = self.provider.connections(proxy.as_ref());
        let id = id.to_string();
        let none = HeaderMap::new();
        let call = UpstreamCall {
            path: ask.path,
            method: &ask.method,
            body: ask.body.clone(),
            content_type: ask.content_type,
            headers: &none,
            stream: false,
            request_id: &id,
        };
        let failed = |detail: String| {
            GatewayError::new(ErrorKind::UpstreamFailed, "The upstream cannot be asked at the moment.")
                .with_detail(detail)
                .because(RefusalReason::Upstream)
        };
        let request = self.provider.request(&call, &token).map_err(failed)?;
        let idle = self.settings().timeouts.idle;
        let exchange = async {
            let connected = connections.connect().await.map_err(|error| failed(error.to_string()))?;
            match connected.send(request).await {
                Ok(exchange) => Ok(exchange),
                Err(SendFailure::NotSent(request)) => {
                    let connected = connections
                        .connect_anew()
                        .await
                        .map_err(|error| failed(error.to_string()))?;
                    connected
                        .send(*request)
                        .await
                        .map_err(|_| failed("the connection broke".to_owned()))
                }
                Err(SendFailure::Broken(what) | SendFailure::Unprocessed(what)) => Err(failed(what)),
            }
        };
        let timed_out = || {
            GatewayError::new(ErrorKind::UpstreamTimeout, "The upstream did not answer in time.")
                .because(RefusalReason::Upstream)
        };
        let exchange = tokio::time::timeout(idle, exchange).await.map_err(|_| timed_out())??;
        let (head, mut body) = (exchange.head, exchange.body);
        let mut bytes = bytes::BytesMut::new();
        loop {
            match tokio::time::timeout(idle, body.data()).await {
                Err(_) => return Err(timed_out()),
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(failed(error.to_string())),
                Ok(Some(Ok(chunk))) => bytes.extend_from_slice(&chunk),
            }
            if bytes.len() > ask.largest {
                return Err(failed(format!("more than {} bytes", ask.largest)));
            }
        }
        let body = bytes.freeze();
        if !head.status.is_success() {
            return Err(self
                .provider
                .classify(head.status.as_u16(), &head.headers, &body, "", "")
                .client);
        }
        Ok(Fetched {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }
}
