//! An upstream of a few lines inside the test: it keeps what it was sent, byte for byte, and answers what it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Arrived {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What to answer calls of a model with.
#[derive(Clone, Debug)]
pub struct Canned {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// Pieces, each after a pause.
    pub pieces: Vec<(Duration, Bytes)>,
}

impl Canned {
    /// JSON in one piece.
    pub fn json(body: &str) -> Canned {
        Canned::of("application/json", [body])
    }

    /// A stream of these pieces, without pauses.
    pub fn stream<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Canned {
        Canned::of("text/event-stream", pieces)
    }

    fn of<'a>(content_type: &str, pieces: impl IntoIterator<Item = &'a str>) -> Canned {
        Canned {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            pieces: pieces
                .into_iter()
                .map(|piece| (Duration::ZERO, Bytes::copy_from_slice(piece.as_bytes())))
                .collect(),
        }
    }

    /// With a header more.
    pub fn header(mut self, name: &str, value: &str) -> Canned {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

#[derive(Debug)]
struct State {
    answer: Mutex<Canned>,
    chats: Mutex<Vec<Arrived>>,
}

/// A running recorder. Every key is of a team of its own.
#[derive(Debug)]
pub struct Recorder {
    state: Arc<State>,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Recorder {
    /// Starts it.
    pub async fn start() -> Recorder {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Mutex::new(Canned::json(ANSWER)),
            chats: Mutex::new(Vec::new()),
        });
        let mut serving = JoinSet::new();
        let served = state.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let state = served.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| respond(state.clone(), request));
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Recorder {
            state,
            address,
            _serving: serving,
        }
    }

    /// What `GROK2API__XAI__BASE_URL` must be.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Answers calls of a model with this from now on, wherever they arrive.
    pub fn answer(&self, canned: Canned) {
        *self.state.answer.lock() = canned;
    }

    /// The calls of a model so far; they are forgotten.
    pub fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.state.chats.lock())
    }

    /// The only call of a model so far.
    #[track_caller]
    pub fn only(&self) -> Arrived {
        let mut chats = self.take();
        assert_eq!(chats.len(), 1, "{chats:?}");
        chats.remove(0)
    }
}

/// A small answer with usage.
pub const ANSWER: &str = r#"{"id":"chat-1","object":"chat.completion","created":1790000000,"model":"grok-4.6","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"cost_in_usd_ticks":300000}}"#;

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

async fn respond(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(answer(400, &[], Vec::new()));
    };
    let path = parts.uri.path().to_owned();
    let key = parts
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or("")
        .to_owned();
    let json_type = [("content-type".to_owned(), "application/json".to_owned())];
    let one = |value: Value| vec![(Duration::ZERO, Bytes::from(value.to_string()))];
    Ok(match path.as_str() {
        "/v1/api-key" => {
            let team = format!("team-of-{}", &blake3::hash(key.as_bytes()).to_hex()[..12]);
            let about = json!({
                "redacted_api_key": "xai-...test", "user_id": "user", "name": "recorded", "team_id": team,
                "acls": ["api-key:model:*", "api-key:endpoint:*"], "api_key_id": "id",
                "team_blocked": false, "api_key_blocked": false, "api_key_disabled": false,
            });
            answer(200, &json_type, one(about))
        }
        path if path.starts_with("/v1/models") || path.starts_with("/v1/language-models") => {
            let list = ["grok-4.7", "grok-4.6", "grok-4.3", "grok-4.20-multi-agent-0309"].map(
                |id| json!({"id": id, "object": "model", "created": 1_790_000_000, "owned_by": "xai", "aliases": []}),
            );
            answer(
                200,
                &json_type,
                one(json!({"object": "list", "data": list, "models": list})),
            )
        }
        "/v1/chat/completions" | "/v1/completions" | "/v1/responses" | "/v1/messages" => {
            state.chats.lock().push(Arrived {
                method: parts.method,
                path,
                headers: parts.headers,
                body: body.to_bytes(),
            });
            let canned = state.answer.lock().clone();
            answer(canned.status, &canned.headers, canned.pieces)
        }
        _ => answer(
            404,
            &json_type,
            one(json!({"code": "not-found", "error": "No handler found on route."})),
        ),
    })
}

fn answer(status: u16, headers: &[(String, String)], pieces: Vec<(Duration, Bytes)>) -> Response<Body> {
    let whole = pieces.len() == 1 && pieces[0].0.is_zero();
    let body = if whole {
        http_body_util::Full::new(pieces[0].1.clone()).boxed_unsync()
    } else {
        let frames = futures::stream::iter(pieces).then(|(pause, piece)| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(piece))
        });
        StreamBody::new(frames).boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(
            http::HeaderName::try_from(name.as_str()).unwrap(),
            http::HeaderValue::from_str(value).unwrap(),
        );
    }
    response
}
