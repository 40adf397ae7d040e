//! Whom we call. A provider builds requests and understands answers of one upstream; it never names a front.

pub mod xai;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use grok2api_actors::egress::{ConnectError, ConnectionPool, ProxySpec, RawSocket};
use grok2api_actors::token::Token;
use grok2api_schemas::token::LearnedLimits;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;

pub use xai::classify::Verdict;

/// A call as a provider sees it.
pub struct UpstreamCall<'a> {
    /// Path behind the base URL, such as `/chat/completions`.
    pub path: &'a str,
    /// How it is called.
    pub method: &'a Method,
    /// The body to send.
    pub body: Bytes,
    /// What the body is; `None` = JSON.
    pub content_type: Option<&'a HeaderValue>,
    /// Headers of the client that are passed on.
    pub headers: &'a HeaderMap,
    /// Whether events are expected.
    pub stream: bool,
    /// The request id, for correlation.
    pub request_id: &'a str,
}

/// An upstream.
pub trait Provider: Send + Sync + 'static {
    /// Its name in domains, metrics and logs.
    fn name(&self) -> &'static str;

    /// The connections that calls with this token go over.
    fn connections(&self, proxy: Option<&ProxySpec>) -> Arc<ConnectionPool>;

    /// The request that carries a call.
    ///
    /// # Errors
    /// In words, when the credential or a header cannot be sent.
    fn request(&self, call: &UpstreamCall<'_>, token: &Token) -> Result<Request<Full<Bytes>>, String>;

    /// A socket to the upstream, for a WebSocket with a token whose calls go this way.
    fn socket<'a>(&'a self, proxy: Option<&'a ProxySpec>) -> BoxFuture<'a, Result<RawSocket, ConnectError>>;

    /// The request that opens a WebSocket, with an absolute `ws` or `wss` address.
    ///
    /// # Errors
    /// In words, when the credential or a header cannot be sent.
    fn opening(&self, call: &UpstreamCall<'_>, token: &Token) -> Result<Request<()>, String>;

    /// What an answer other than a success means. `model` is the client's name for it.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8], model: &str, upstream_model: &str) -> Verdict;

    /// What an event of a stream means, if it reports a failure.
    fn classify_event(&self, name: Option<&[u8]>, data: &[u8], model: &str, upstream_model: &str) -> Option<Verdict>;

    /// Limits that the head of a success tells.
    fn learn(&self, headers: &HeaderMap) -> LearnedLimits;

    /// What the head of an answer tells of requests: how many are allowed in a minute, and how many are left.
    fn remaining(&self, _headers: &HeaderMap) -> Option<(u64, u64)> {
        None
    }
}
