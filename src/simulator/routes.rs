//! Which path is what, who calls, and the endpoints that answer at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::about::{about, embeddings, tokenize};
use super::body::SimBody;
use super::caller::Caller;
use super::chat::{self, Unreadable, decorate};
use super::control;
use super::errors::{Mention, json_body, plain, respond};
use super::misbehave::{Effects, Seen};
use super::world::{World, random_uuid};

/// Longest request body.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// The connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut as scripted")
    }
}

impl std::error::Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Cut {
        match never {}
    }
}

/// What a route makes of a request.
pub type Answer = Result<Response<SimBody>, Cut>;

/// Answers one request.
pub async fn handle(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    if path.starts_with("/__sim") {
        return Ok(control::handle(&world, request).await);
    }
    world.stats.requests.fetch_add(1, Ordering::Relaxed);
    let caller = Caller::of(&world, request.headers());
    if caller.key.is_none() {
        world.stats.unknown_keys.fetch_add(1, Ordering::Relaxed);
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let route = path
        .strip_prefix("/v1/")
        .map_or(Route::Unknown, |rest| Route::of(&parts.method, rest));
    let mut response = match &route {
        Route::Chat => match collect(&parts.headers, body).await {
            Ok(body) => Box::pin(chat::complete(&world, &caller, &parts.headers, &body)).await?,
            Err(refusal) => *refusal,
        },
        other => quick(&world, &caller, other, path, &parts.headers, body).await?,
    };
    let headers = response.headers_mut();
    let mut id = [0u8; uuid::fmt::Hyphenated::LENGTH];
    random_uuid().as_hyphenated().encode_lower(&mut id);
    if let Ok(id) = HeaderValue::from_bytes(&id) {
        headers.insert("x-request-id", id);
    }
    headers.entry(SERVER).or_insert(HeaderValue::from_static("cloudflare"));
    if let Some(key) = &caller.key {
        let mut tally = key.tally.lock();
        *tally.routes.entry(route.name()).or_insert(0) += 1;
        *tally.statuses.entry(response.status().as_u16()).or_insert(0) += 1;
    }
    Ok(response)
}

/// What stands behind a path.
#[derive(Debug)]
pub enum Route {
    Chat,
    Deferred(String),
    Models,
    Model(String),
    LanguageModels,
    LanguageModel(String),
    EmbeddingModels,
    ApiKey,
    Me,
    Tokenize,
    Embeddings,
    WrongMethod,
    Unknown,
}

impl Route {
    fn of(method: &Method, rest: &str) -> Route {
        let (head, tail) = rest
            .split_once('/')
            .map_or((rest, None), |(head, tail)| (head, Some(tail)));
        let found = match (head, tail) {
            ("chat", Some("completions")) => Route::Chat,
            ("chat", Some(tail)) => match tail.strip_prefix("deferred-completion/") {
                Some(id) => Route::Deferred(id.to_owned()),
                None => return Route::Unknown,
            },
            ("models", None) => Route::Models,
            ("models", Some(id)) => Route::Model(decoded(id)),
            ("language-models", None) => Route::LanguageModels,
            ("language-models", Some(id)) => Route::LanguageModel(decoded(id)),
            ("embedding-models", None) => Route::EmbeddingModels,
            ("api-key", None) => Route::ApiKey,
            ("me", None) => Route::Me,
            ("tokenize-text", None) => Route::Tokenize,
            ("embeddings", None) => Route::Embeddings,
            _ => return Route::Unknown,
        };
        let wants = match found {
            Route::Chat | Route::Tokenize | Route::Embeddings => Method::POST,
            _ => Method::GET,
        };
        if *method == wants { found } else { Route::WrongMethod }
    }

    fn name(&self) -> &'static str {
        match self {
            Route::Chat => "chat",
            Route::Deferred(_) => "deferred",
            Route::Models | Route::Model(_) => "models",
            Route::LanguageModels | Route::LanguageModel(_) => "language-models",
            Route::EmbeddingModels => "embedding-models",
            Route::ApiKey => "api-key",
            Route::Me => "me",
            Route::Tokenize => "tokenize-text",
            Route::Embeddings => "embeddings",
            Route::WrongMethod | Route::Unknown => "unknown",
        }
    }
}

/// Every endpoint but chat.
async fn quick(
    world: &Arc<World>,
    caller: &Caller,
    route: &Route,
    path: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    match route {
        Route::Unknown => return Ok(respond("path-missing", &caller.mention())),
        Route::WrongMethod => return Ok(respond("method-405", &caller.mention())),
        _ => {}
    }
    let seen = Seen {
        team: caller.key.as_ref().map_or("", |key| &key.team.id),
        key: &caller.secret,
        path,
        ..Seen::default()
    };
    let effects = world.script.pick(&seen, &world.clock).unwrap_or_default();
    if let Some(mut response) = misbehaved_head(world, &effects, &caller.mention()).await? {
        decorate(&mut response, &effects);
        return Ok(response);
    }
    let mut response = match route {
        Route::Deferred(id) => chat::fetch_deferred(world, caller, id),
        Route::Tokenize => match collect(headers, body).await {
            Ok(body) => tokenize(world, caller, &body),
            Err(refusal) => *refusal,
        },
        Route::Embeddings => match collect(headers, body).await {
            Ok(body) => embeddings(caller, &body),
            Err(refusal) => *refusal,
        },
        other => about(world, caller, other),
    };
    decorate(&mut response, &effects);
    Ok(response)
}

/// The refusal of a body that cannot be read; `wrong_type` is the case for JSON of another type.
pub fn unreadable(error: &Unreadable, wrong_type: &str) -> Response<SimBody> {
    match error {
        Unreadable::Syntax(detail) => respond(
            "json-parse-400",
            &Mention {
                detail,
                ..Mention::default()
            },
        ),
        Unreadable::Type(detail) => respond(
            wrong_type,
            &Mention {
                detail,
                ..Mention::default()
            },
        ),
    }
}

/// Whatever a script wants instead of the usual head: waits, cuts, errors.
pub async fn misbehaved_head(
    world: &World,
    effects: &Effects,
    mention: &Mention<'_>,
) -> Result<Option<Response<SimBody>>, Cut> {
    if effects.is_empty() {
        return Ok(None);
    }
    if let Some(ms) = effects.refuse_ms {
        world.refuse_until.send_replace(world.clock.now().plus_ms(ms));
        return Err(Cut);
    }
    if let Some(ms) = effects.delay_ms {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if effects.cut_before_head {
        return Err(Cut);
    }
    let mut response = if let Some(id) = &effects.error {
        respond(
            id,
            &Mention {
                detail: effects.detail.as_deref().unwrap_or(""),
                ..*mention
            },
        )
    } else if let Some(status) = effects.status {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match &effects.body {
            Some(Value::String(text)) => plain(status, "text/plain; charset=utf-8", text.clone()),
            Some(value) => json_body(status, value),
            None => plain(status, "text/plain; charset=utf-8", Bytes::new()),
        }
    } else {
        return Ok(None);
    };
    decorate(&mut response, effects);
    Ok(Some(response))
}

/// Reads a JSON body.
async fn collect(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Box<Response<SimBody>>> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence != "application/json" && !essence.ends_with("+json") {
        return Err(Box::new(respond("wrong-ct-415", &Mention::default())));
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Box::new(respond("too-large-413", &Mention::default()))),
        // The client broke off; nobody reads this.
        Err(_) => Err(Box::new(plain(
            StatusCode::BAD_REQUEST,
            "text/plain",
            "the body ended early",
        ))),
    }
}

/// Percent-decoding of a path segment.
fn decoded(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
