//! Which path is what, who calls, and the endpoints that answer at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::SimBody;
use super::chat::{self, Unreadable, decorate, read};
use super::control;
use super::errors::{Mention, json_body, plain, respond};
use super::misbehave::{Effects, Seen};
use super::tokens;
use super::world::{Key, World, random_uuid};

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

/// Who calls, as far as the credential tells.
#[derive(Debug)]
pub struct Caller {
    /// What was sent as bearer; empty: nothing.
    pub secret: String,
    /// The key, if there is such a one.
    pub key: Option<Arc<Key>>,
}

impl Caller {
    fn of(world: &World, headers: &HeaderMap) -> Caller {
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                let (scheme, secret) = value.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
            });
        let secret = bearer
            .or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
            .unwrap_or("");
        let key = world.keys.get(secret).map(|key| key.clone());
        Caller {
            secret: secret.to_owned(),
            key,
        }
    }

    /// What refusals may mention of the caller.
    pub fn mention(&self) -> Mention<'_> {
        Mention {
            team: self.key.as_ref().map_or("", |key| &key.team.id),
            key: &self.secret,
            ..Mention::default()
        }
    }

    /// The key, or the refusal for none or a wrong one. xAI answers 400 to a wrong key.
    pub fn require(&self) -> Result<&Arc<Key>, Box<Response<SimBody>>> {
        match &self.key {
            Some(key) => Ok(key),
            None if self.secret.is_empty() => Err(Box::new(respond("no-credentials-new", &self.mention()))),
            None => Err(Box::new(respond("bad-key-new", &self.mention()))),
        }
    }

    /// Why the key may not do this, if it may not: blocked, expired, unfunded, out of credit, no ACL, no such model.
    pub fn barred(&self, endpoint: &str, model: Option<&str>) -> Option<Box<Response<SimBody>>> {
        let key = self.key.as_ref()?;
        let team = &key.team;
        let mention = Mention {
            model: model.unwrap_or(""),
            detail: endpoint,
            ..self.mention()
        };
        let id = if key.blocked.load(Ordering::Relaxed) {
            "key-blocked-leak"
        } else if key.disabled.load(Ordering::Relaxed) {
            "key-disabled"
        } else if key.expired.load(Ordering::Relaxed) {
            "key-expired"
        } else if team.blocked.load(Ordering::Relaxed) {
            "team-blocked"
        } else if !team.funded.load(Ordering::Relaxed) {
            "team-no-credit-new"
        } else if endpoint != "models" && team.exhausted() {
            "credits-exhausted-403"
        } else if !key.allows("endpoint", endpoint) {
            "acl-denied"
        } else if model.is_some_and(|model| !team.may_use(model) || !key.allows("model", model)) {
            "model-missing-404"
        } else {
            return None;
        };
        Some(Box::new(respond(id, &mention)))
    }
}

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
enum Route {
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

/// Models, the key, its owner.
fn about(world: &World, caller: &Caller, route: &Route) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    let team = &key.team;
    // A key is told about itself even when it may do nothing else.
    match route {
        Route::ApiKey => {
            return json_body(
                StatusCode::OK,
                &json!({
                    "redacted_api_key": key.shown(),
                    "user_id": team.user_id,
                    "name": key.name,
                    "create_time": "2026-01-05T09:30:00.000000Z",
                    "modify_time": "2026-01-05T09:30:00.000000Z",
                    "modified_by": team.user_id,
                    "team_id": team.id,
                    "acls": key.acls,
                    "api_key_id": key.id,
                    "team_blocked": team.blocked.load(Ordering::Relaxed),
                    "api_key_blocked": key.blocked.load(Ordering::Relaxed),
                    "api_key_disabled": key.disabled.load(Ordering::Relaxed),
                }),
            );
        }
        Route::Me => {
            return json_body(
                StatusCode::OK,
                &json!({
                    "user_id": team.user_id,
                    "team_id": team.id,
                    "zdr_status": if team.zdr.load(Ordering::Relaxed) { "zdr" } else { "no_zdr" },
                    "team_blocked": team.blocked.load(Ordering::Relaxed),
                    "api_key": {
                        "redacted_api_key": key.shown(),
                        "api_key_id": key.id,
                        "blocked": key.blocked.load(Ordering::Relaxed),
                        "disabled": key.disabled.load(Ordering::Relaxed),
                    },
                }),
            );
        }
        _ => {}
    }
    if let Some(refusal) = caller.barred("models", None) {
        return *refusal;
    }
    let usable = |id: &str| team.may_use(id) && key.allows("model", id);
    let missing = |name: &str| {
        respond(
            "model-missing-404",
            &Mention {
                model: name,
                ..caller.mention()
            },
        )
    };
    match route {
        Route::Models => {
            let data: Vec<Value> = world
                .models
                .iter()
                .filter(|model| usable(&model.id))
                .map(|model| model.listed())
                .collect();
            json_body(StatusCode::OK, &json!({"data": data, "object": "list"}))
        }
        Route::LanguageModels => {
            let models: Vec<Value> = world
                .models
                .iter()
                .filter(|model| !model.media && usable(&model.id))
                .map(|model| model.described())
                .collect();
            json_body(StatusCode::OK, &json!({"models": models}))
        }
        Route::Model(name) => match world.models.find(name).filter(|model| usable(&model.id)) {
            Some(model) => json_body(StatusCode::OK, &model.listed()),
            None => missing(name),
        },
        Route::LanguageModel(name) => {
            match world
                .models
                .find(name)
                .filter(|model| !model.media && usable(&model.id))
            {
                Some(model) => json_body(StatusCode::OK, &model.described()),
                None => missing(name),
            }
        }
        _ => json_body(StatusCode::OK, &json!({"models": []})),
    }
}

#[derive(Deserialize)]
struct TokenizeRequest {
    text: String,
    model: Option<String>,
}

fn tokenize(world: &World, caller: &Caller, body: &[u8]) -> Response<SimBody> {
    let request: TokenizeRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return unreadable(&error, "deser-resp-422"),
    };
    let name = request.model.as_deref().unwrap_or("latest");
    let Some(model) = world.models.find(name) else {
        return respond(
            "model-missing-404",
            &Mention {
                model: name,
                ..caller.mention()
            },
        );
    };
    if let Err(refusal) = caller.require() {
        return *refusal;
    }
    if let Some(refusal) = caller.barred("tokenize", Some(&model.id)) {
        return *refusal;
    }
    let ids: Vec<Value> = tokens::pieces(&request.text)
        .map(|piece| {
            let hash = blake3::hash(piece.as_bytes());
            let [a, b, ..] = *hash.as_bytes();
            json!({
                "token_id": u32::from(a) << 8 | u32::from(b),
                "string_token": piece,
                "token_bytes": piece.as_bytes(),
            })
        })
        .collect();
    json_body(StatusCode::OK, &json!({"token_ids": ids}))
}

#[derive(Deserialize)]
struct EmbeddingRequest {
    #[serde(rename = "input")]
    _input: Value,
    model: String,
}

/// The endpoint exists upstream, its list of models is empty.
fn embeddings(caller: &Caller, body: &[u8]) -> Response<SimBody> {
    let request: EmbeddingRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return unreadable(&error, "deser-resp-422"),
    };
    if let Err(refusal) = caller.require() {
        return *refusal;
    }
    if let Some(refusal) = caller.barred("embed", None) {
        return *refusal;
    }
    respond(
        "model-missing-404",
        &Mention {
            model: &request.model,
            ..caller.mention()
        },
    )
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
