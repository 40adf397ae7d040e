//! Asking for something that one certain token made: no choice, no retry elsewhere.

use bytes::Bytes;
use grok2api_schemas::ids::{RequestId, TokenId};
use http::HeaderMap;

use super::Engine;
use super::error::{ErrorKind, GatewayError, RefusalReason};
use crate::providers::UpstreamCall;

/// What was fetched.
pub struct Fetched {
    /// The upstream's status, a success.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// The largest object fetched whole, bytes.
const LARGEST: usize = 64 << 20;

impl Engine {
    /// GETs a path with the token that made the object behind it.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn fetch(&self, token: TokenId, path: &str, id: RequestId) -> Result<Fetched, GatewayError> {
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
            .and_then(|url| grok2api_actors::egress::ProxySpec::parse(url).ok());
        let connections = self.provider.connections(proxy.as_ref());
        let id = id.to_string();
        let none = HeaderMap::new();
        let call = UpstreamCall {
            path,
            body: Bytes::new(),
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
                Err(grok2api_actors::egress::SendFailure::NotSent(request)) => {
                    let connected = connections
                        .connect_anew()
                        .await
                        .map_err(|error| failed(error.to_string()))?;
                    connected
                        .send(*request)
                        .await
                        .map_err(|_| failed("the connection broke".to_owned()))
                }
                Err(grok2api_actors::egress::SendFailure::Broken(what)) => Err(failed(what)),
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
            if bytes.len() > LARGEST {
                return Err(failed(format!("more than {LARGEST} bytes")));
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
            body,
        })
    }
}
