//! From hyper's request to poem's and back: ids, origin, limits of the head, `Connection: close`, panics.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use grok2api_actors::clock::Mono;
use grok2api_schemas::ids::RequestId;
use http::header::{CONNECTION, HeaderValue};
use http::{StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use tracing::Instrument;

use super::Shared;
use super::activity::Activity;
use super::in_flight::InFlightGuard;
use super::origin::{ClientScheme, SocketOrigin};
use super::refusal::{REQUEST_ID, Refusal};
use super::route::Route;
use crate::telemetry::traces;

/// A head's fields may take this much; hyper itself gives up at about six times that, or at 100 fields.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// When the head of a request was complete, for timings. In the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct Arrived(pub Mono);

/// Everything the requests of one connection share.
pub(super) struct ConnectionContext {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    origin: SocketOrigin,
    local: LocalAddr,
    remote: RemoteAddr,
    scheme: http::uri::Scheme,
}

impl ConnectionContext {
    pub fn new(
        shared: Arc<Shared>,
        activity: Arc<Activity>,
        peer: SocketAddr,
        local: SocketAddr,
        scheme: ClientScheme,
    ) -> ConnectionContext {
        ConnectionContext {
            origin: SocketOrigin::new(peer, local, scheme, &shared.trusted),
            shared,
            activity,
            local: LocalAddr(Addr::SocketAddr(local)),
            remote: RemoteAddr(Addr::SocketAddr(peer)),
            scheme: match scheme {
                ClientScheme::Http => http::uri::Scheme::HTTP,
                ClientScheme::Https => http::uri::Scheme::HTTPS,
            },
        }
    }

    /// Answers one request. Never fails: a panic becomes a 500 that closes the connection.
    pub async fn answer(
        self: Arc<Self>,
        mut request: http::Request<Incoming>,
    ) -> Result<http::Response<AnswerBody>, Infallible> {
        let version = request.version();
        if version == Version::HTTP_2 {
            self.activity.set_http2();
        }
        let arrived = self.activity.request_began();
        let route = Route::of_path(request.uri().path());
        let guard = RequestGuard {
            activity: self.activity.clone(),
            _in_flight: self.shared.handle.in_flight().enter(route),
        };
        let id = RequestId::generate();
        let origin = self
            .origin
            .of_request(request.headers(), request.uri().authority(), &self.shared.trusted);
        let response = if header_bytes(request.headers()) > MAX_HEADER_BYTES {
            Refusal::HeadersTooLarge.response()
        } else {
            let extensions = request.extensions_mut();
            extensions.insert(id);
            extensions.insert(origin);
            extensions.insert(route);
            extensions.insert(Arrived(arrived));
            let span = traces::request_span(id, route, request.headers());
            self.ask_endpoint(request, id).instrument(span).await
        };
        Ok(self.finish(response, id, version, guard))
    }

    async fn ask_endpoint(&self, request: http::Request<Incoming>, id: RequestId) -> poem::Response {
        let request: poem::Request = (request, self.local.clone(), self.remote.clone(), self.scheme.clone()).into();
        let answer = AssertUnwindSafe(self.shared.endpoint.get_response(request)).catch_unwind();
        match answer.await {
            Ok(response) => response,
            Err(panic) => {
                self.shared.handle.stats().panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!(request_id = %id, panic = panic_text(&*panic), "a handler panicked; its connection is closed");
                Refusal::Panicked.response()
            }
        }
    }

    fn finish(
        &self,
        response: poem::Response,
        id: RequestId,
        version: Version,
        guard: RequestGuard,
    ) -> http::Response<AnswerBody> {
        let mut response: http::Response<BoxBody<Bytes, io::Error>> = response.into();
        let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        if !headers.contains_key(&REQUEST_ID)
            && let Ok(value) = HeaderValue::try_from(id.to_string())
        {
            headers.insert(REQUEST_ID, value);
        }
        if version == Version::HTTP_2 {
            // Connection-specific fields are malformed there (RFC 9113 §8.2.2); GOAWAY says the same.
            headers.remove(CONNECTION);
        } else if self.shared.handle.is_draining() && !is_upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| AnswerBody { body, _guard: guard })
    }
}

fn header_bytes(headers: &http::HeaderMap) -> usize {
    // `name: value\r\n`
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

/// The words of a panic.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(a panic without words)")
}

struct RequestGuard {
    activity: Arc<Activity>,
    _in_flight: InFlightGuard,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.activity.request_ended();
    }
}

/// An answer's body; the request counts as in flight until it ends or is dropped.
pub(super) struct AnswerBody {
    body: BoxBody<Bytes, io::Error>,
    _guard: RequestGuard,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
