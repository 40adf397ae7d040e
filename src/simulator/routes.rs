//! From a request to whoever answers it, and the endpoints that answer at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::about::{about, tokenize};
use super::body::SimBody;
use super::caller::Caller;
use super::chat::{self, Unreadable};
use super::errors::{Mention, json_body, plain, respond};
use super::misbehave::{Effects, Seen};
use super::realtime::realtime;
use super::route::Route;
use super::turn::decorate;
use super::world::{World, random_uuid};
use super::{control, embeddings, files, kept, management, media, messages, responses};

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
    if let Some(name) = path.strip_prefix(media::PREFIX) {
        return Ok(media::serve(&world, request.method(), name));
    }
    world.stats.requests.fetch_add(1, Ordering::Relaxed);
    let caller = Caller::of(&world, request.headers());
    if caller.key.is_none() {
        world.stats.unknown_keys.fetch_add(1, Ordering::Relaxed);
    }
    if path == "/v1/realtime" && request.headers().contains_key(http::header::UPGRADE) {
        return Ok(realtime(&world, &caller, request));
    }
    let (parts, body) = request.into_parts();
    if parts.uri.path().starts_with("/auth/") {
        return match collect_any(body).await {
            Ok(body) => Box::pin(management::handle(&world, &caller, &parts, body)).await,
            Err(refusal) => Ok(*refusal),
        };
    }
    let route = parts
        .uri
        .path()
        .strip_prefix("/v1/")
        .map_or(Route::Unknown, |rest| Route::of(&parts.method, rest));
    let mut response = if route.asks_a_model() {
        match collect(&parts.headers, body).await {
            Ok(body) => generate(&world, &caller, &route, &parts.headers, &body).await?,
            Err(refusal) => *refusal,
        }
    } else {
        quick(&world, &caller, &route, &parts, body).await?
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

/// The endpoints at which a model makes something: they count, and cost.
async fn generate(world: &Arc<World>, caller: &Caller, route: &Route, headers: &HeaderMap, body: &[u8]) -> Answer {
    match route {
        Route::Responses => Box::pin(responses::create(world, caller, headers, body)).await,
        Route::Compact => Box::pin(responses::compact(world, caller, headers, body)).await,
        Route::Messages => Box::pin(messages::create(world, caller, headers, body)).await,
        Route::Completions => Box::pin(chat::completions(world, caller, headers, body)).await,
        Route::ImageGenerations => Box::pin(media::generate(world, caller, headers, body)).await,
        Route::ImageEdits => Box::pin(media::edit(world, caller, headers, body)).await,
        Route::Videos(path) => Box::pin(media::make(world, caller, body, path)).await,
        Route::Embeddings => Box::pin(embeddings::embed(world, caller, body)).await,
        _ => Box::pin(chat::complete(world, caller, headers, body)).await,
    }
}

/// Every other endpoint.
async fn quick(world: &Arc<World>, caller: &Caller, route: &Route, parts: &Parts, body: Incoming) -> Answer {
    let headers = &parts.headers;
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or("");
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
        Route::Video(id) => media::poll(world, caller, headers, id),
        Route::Image(id) => media::fetch_deferred(world, caller, id),
        Route::Response(id) if parts.method == Method::DELETE => responses::delete(world, caller, id),
        Route::Response(id) => responses::get(world, caller, id),
        Route::InputItems(id) => responses::input_items(world, caller, id, query),
        Route::Kept(path) => match collect_any(body).await {
            Ok(body) => {
                let asked = kept::Asked {
                    method: &parts.method,
                    path,
                    query,
                    headers,
                    body,
                };
                kept::kept(world, caller, asked).await
            }
            Err(refusal) => *refusal,
        },
        Route::Files if parts.method == Method::POST => match collect_any(body).await {
            Ok(body) => files::upload(world, caller, headers, body).await,
            Err(refusal) => *refusal,
        },
        Route::Files => files::list(world, caller, query),
        Route::File(id) => files::one(world, caller, &parts.method, id, false),
        Route::FileContent(id) => files::one(world, caller, &parts.method, id, true),
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
    collect_any(body).await
}

/// Reads a body of any kind.
async fn collect_any(body: Incoming) -> Result<Bytes, Box<Response<SimBody>>> {
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
