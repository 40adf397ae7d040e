//! A proxy between a client and the gateway that keeps every exchange, so that what the client was answered can be held
//! against the specifications of the API afterwards (`tests/clients/python/validate.py`).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::scripts::{python, run_python};

/// Directory of the vendors' own specifications, which are not ours to keep in the tree.
const SPECS: &str = "GROK2API_TEST_SPECS";

/// The proxy. Dropping it ends every connection.
pub struct Tap {
    state: Arc<State>,
    address: SocketAddr,
    _end: DropGuard,
}

struct State {
    /// Scheme and authority of the gateway.
    target: String,
    client: Client<HttpConnector, Full<Bytes>>,
    kept: Mutex<Vec<Value>>,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Tap {
    /// A proxy to the gateway at this address, on a free port of the loopback.
    pub async fn start(gateway: &str) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let end = CancellationToken::new();
        let state = Arc::new(State {
            target: gateway.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new())
                .retry_canceled_requests(false)
                .build(connector),
            kept: Mutex::new(Vec::new()),
            tasks: TaskTracker::new(),
            end: end.clone(),
        });
        state.tasks.spawn(accept(state.clone(), listener));
        Tap {
            state,
            address,
            _end: end.drop_guard(),
        }
    }

    /// Where clients find the gateway.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Holds every answer so far against our own descriptions of the API and, where `GROK2API_TEST_SPECS` names a directory
    /// that has them, the vendors'. There must be so many answers at least.
    pub async fn assert_valid(&self, at_least: usize) {
        if python().is_none() {
            return;
        }
        let kept = std::mem::take(&mut *self.state.kept.lock());
        assert!(kept.len() >= at_least, "only {} answers came this way", kept.len());
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("record.jsonl");
        let lines: String = kept.iter().map(|one| format!("{one}\n")).collect();
        std::fs::write(&record, lines).unwrap();
        let specs = std::env::var(SPECS).unwrap_or_default();
        if specs.is_empty() {
            println!("left out: {SPECS} names no directory of the vendors' specifications; held against our own only");
        }
        let arguments = [("RECORD", record.to_str().unwrap()), ("SPECS", specs.as_str())];
        run_python("validate.py", &arguments).await;
    }
}

async fn accept(state: Arc<State>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = state.end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        stream.set_nodelay(true).unwrap();
        let served = state.clone();
        state.tasks.spawn(async move {
            let end = served.end.clone();
            let service = service_fn(move |request| {
                let state = served.clone();
                async move { Ok::<_, Infallible>(forward(state, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::select! {
                () = end.cancelled() => {}
                _ = connection => {}
            }
        });
    }
}

type Answered = http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>;

async fn forward(state: Arc<State>, mut request: Request<Incoming>) -> Response<Answered> {
    let near = request
        .headers()
        .contains_key(header::UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return failed("the request broke off");
    };
    let mut exchange = Exchange::of(&parts.method, &parts.uri, &parts.headers, &body.to_bytes());
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = Uri::try_from(format!("{}{path}", state.target)).unwrap();
    parts.headers.remove(header::TRANSFER_ENCODING);
    let sent = exchange.asked.clone();
    let mut response = match state.client.request(Request::from_parts(parts, Full::new(sent))).await {
        Ok(response) => response,
        Err(error) => return failed(&error.to_string()),
    };
    exchange.status = response.status();
    exchange.answer_headers = response.headers().clone();
    let kept = KeptBytes {
        exchange: Some(exchange),
        bytes: BytesMut::new(),
        is_whole: false,
        state: state.clone(),
    };
    if let (Some(near), StatusCode::SWITCHING_PROTOCOLS) = (near, response.status()) {
        let far = hyper::upgrade::on(&mut response);
        let end = state.end.clone();
        state.tasks.spawn(async move {
            let (Ok(near), Ok(far)) = (near.await, far.await) else {
                return;
            };
            tokio::select! {
                () = end.cancelled() => {}
                () = tunnel(TokioIo::new(near), TokioIo::new(far), kept) => {}
            }
        });
        return response.map(|_| {
            Full::new(Bytes::new())
                .map_err(|never: Infallible| match never {})
                .boxed_unsync()
        });
    }
    response.map(|inner| KeptBody { inner, kept }.boxed_unsync())
}

/// What the gateway's absence looks like to the client; no test waits for it.
fn failed(why: &str) -> Response<Answered> {
    let body = Full::new(Bytes::from(format!("the proxy of the test: {why}")));
    let mut response = Response::new(body.map_err(|never: Infallible| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

/// Passes bytes both ways, and keeps what the gateway sent.
async fn tunnel<S>(near: TokioIo<S>, far: TokioIo<S>, mut kept: KeptBytes)
where
    TokioIo<S>: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let (mut near_read, mut near_write) = tokio::io::split(near);
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let there = tokio::io::copy(&mut near_read, &mut far_write);
    let back = async {
        let mut piece = BytesMut::with_capacity(16 * 1024);
        while let Ok(1..) = far_read.read_buf(&mut piece).await {
            kept.bytes.extend_from_slice(&piece);
            if near_write.write_all(&piece).await.is_err() {
                return;
            }
            piece.clear();
        }
        kept.is_whole = true;
        let _ = near_write.shutdown().await;
    };
    tokio::select! {
        _ = there => {}
        () = back => {}
    }
}

/// A request, and the head of its answer.
struct Exchange {
    method: String,
    path: String,
    asked: Bytes,
    headers: HeaderMap,
    status: StatusCode,
    answer_headers: HeaderMap,
}

impl Exchange {
    fn of(method: &Method, uri: &Uri, headers: &HeaderMap, asked: &Bytes) -> Exchange {
        Exchange {
            method: method.to_string(),
            path: uri.path().to_owned(),
            asked: asked.clone(),
            headers: headers.clone(),
            status: StatusCode::OK,
            answer_headers: HeaderMap::new(),
        }
    }

    fn record(&self, answered: &[u8], is_whole: bool) -> Value {
        let text = |headers: &HeaderMap, name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let is_anthropic = self.headers.contains_key("anthropic-version");
        let is_socket = self.status == StatusCode::SWITCHING_PROTOCOLS;
        json!({
            "method": self.method,
            "path": self.path,
            "anthropic": is_anthropic,
            "asked_type": text(&self.headers, "content-type"),
            "asked": std::str::from_utf8(&self.asked).ok(),
            "status": self.status.as_u16(),
            "type": text(&self.answer_headers, "content-type"),
            "request_id": !text(&self.answer_headers, "x-request-id").is_empty(),
            "anthropic_request_id": !text(&self.answer_headers, "request-id").is_empty(),
            "is_whole": is_whole,
            "length": answered.len(),
            // Frames are no text; what is binary otherwise is of no interest.
            "frames": is_socket.then(|| answered.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            "answer": std::str::from_utf8(answered).ok().filter(|_| !is_socket),
        })
    }
}

/// What has come of an answer. It is kept when it ends, however that is.
struct KeptBytes {
    exchange: Option<Exchange>,
    bytes: BytesMut,
    is_whole: bool,
    state: Arc<State>,
}

impl Drop for KeptBytes {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            let record = exchange.record(&self.bytes, self.is_whole);
            self.state.kept.lock().push(record);
        }
    }
}

struct KeptBody {
    inner: Incoming,
    kept: KeptBytes,
}

impl Body for KeptBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.kept.bytes.extend_from_slice(data);
                }
                // A body of a known length is not asked for more.
                self.kept.is_whole = self.inner.is_end_stream();
            }
            Poll::Ready(None) => self.kept.is_whole = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}
