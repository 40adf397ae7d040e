//! Pictures for later: a request id now, the pictures at `GET /v1/images/{request_id}` (`xai-api.md` §8). What is known of
//! them lies with the id's binding, so that every node can say; they are fetched as soon as they are there, for the
//! upstream's links die whether anybody asks or not.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grok2api_schemas::ids::RequestId;
use grok2api_schemas::media::{KeptFile, MediaKind};
use poem::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::usage;
use super::request::Format;
use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::engine::answer::Answer;
use crate::engine::ask::Caller;
use crate::engine::direct::Direct;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::answering::respond;
use crate::fronts::media::files;
use crate::fronts::media::later::{self, Accepted, Order};
use crate::fronts::media::links::Links;
use crate::fronts::openai::error::error_response;
use crate::fronts::{members, pins};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const ROUTE: &str = "/v1/images/{id}";
/// How long they can be asked for.
const LIFE_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Pictures that take longer than this are given up on.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What was asked for, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    model: String,
    /// Name of a [`Format`].
    format: String,
    /// Unix seconds.
    created: u64,
    ended: Option<Ended>,
}

/// The end of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ended {
    /// What the upstream said, the pictures aside.
    answer: Map<String, Value>,
    pictures: Vec<Picture>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Picture {
    /// What the upstream said of it.
    about: Map<String, Value>,
    /// Where it is kept; nothing: moderation withheld it.
    file: Option<KeptFile>,
}

#[derive(Clone)]
struct Found {
    id: String,
    binding: Binding,
    job: Job,
}

fn internal(error: impl std::fmt::Display) -> GatewayError {
    GatewayError::internal(error.to_string())
}

/// Remembers the id before the client learns it, and looks after the pictures from now on.
///
/// # Errors
/// When the upstream named no id, or the bus cannot be written.
pub(super) async fn begun(
    app: &Arc<App>,
    arrival: &Arrival,
    caller: &Caller,
    answer: Answer,
    model: &str,
    format: Format,
) -> Result<Response, GatewayError> {
    let Accepted {
        id,
        token,
        unsettled,
        answer,
    } = Accepted::of(answer)?;
    let job = Job {
        model: model.to_owned(),
        format: format.member().to_owned(),
        created: arrival.time_ms / 1000,
        ended: None,
    };
    let binding = Binding {
        token,
        owner: caller.owner(),
        expires_ms: arrival.time_ms + LIFE_MS,
        answer: None,
    };
    let found = Found { id, binding, job };
    let written = write(app, &found).await;
    // Watched in any case: they are made, and paid for.
    let order = Order {
        caller: caller.clone(),
        ip: arrival.ip.clone(),
        model: found.job.model.clone(),
        route: ROUTE,
        unsettled,
    };
    over(app, found, Some(order));
    written?;
    Ok(respond(answer, arrival))
}

async fn write(app: &App, found: &Found) -> Result<(), GatewayError> {
    let answer = serde_json::to_vec(&found.job).map_err(internal)?;
    let binding = Binding {
        answer: Some(answer),
        ..found.binding.clone()
    };
    let written = app.bindings.put(ObjectKind::Picture, &found.id, binding).await;
    written.map_err(internal)
}

/// Answers `GET /v1/images/{id}`.
pub async fn pictures(app: &Arc<App>, request: Request, id: &str) -> Response {
    let arrival = Arrival::of(&request, app);
    match fetch(app, &request, &arrival, id).await {
        Ok(mut response) => {
            arrival.sign(&mut response);
            response
        }
        Err(error) => {
            app.refused(&arrival, ROUTE, &error);
            error_response(&error, &arrival.id.to_string())
        }
    }
}

async fn fetch(app: &Arc<App>, request: &Request, arrival: &Arrival, id: &str) -> Result<Response, GatewayError> {
    let caller = authenticate(app, request.headers())?;
    let not_found = || {
        GatewayError::new(
            ErrorKind::NotFound,
            format!("There are no deferred pictures {}.", members::clip(id)),
        )
        .with_code("deferred_images_not_found")
    };
    let binding = pins::of_caller(app, &caller, ObjectKind::Picture, id, not_found).await?;
    let job = binding
        .answer
        .as_deref()
        .and_then(|job| serde_json::from_slice(job).ok());
    let found = Found {
        id: id.to_owned(),
        job: job.ok_or_else(not_found)?,
        binding,
    };
    match look(app, &found, arrival.id).await? {
        None => Ok(json_of(202, &json!({"request_id": id, "status": "pending"}))),
        Some(ended) => {
            let shown = shown(app, &found, ended, &Links::of(app, request)).await?;
            Ok(json_of(200, &Value::Object(shown)))
        }
    }
}

fn json_of(status: u16, value: &Value) -> Response {
    Response::builder()
        .status(http::StatusCode::from_u16(status).unwrap_or_default())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(value.to_string())
}

/// How it stands: asked upstream until it is over, and brought here then.
async fn look(app: &Arc<App>, found: &Found, request: RequestId) -> Result<Option<Ended>, GatewayError> {
    if let Some(ended) = &found.job.ended {
        return Ok(Some(ended.clone()));
    }
    let path = format!("/images/{}", found.id);
    let fetched = app
        .engine
        .direct(found.binding.token, &Direct::get(&path), request)
        .await?;
    let mut answer: Map<String, Value> = serde_json::from_slice(&fetched.body).unwrap_or_default();
    let status = answer.get("status").and_then(Value::as_str);
    let is_over = fetched.status == 200 && !matches!(status, Some("pending" | "in_progress" | "queued"));
    if !is_over || answer.is_empty() {
        return Ok(None);
    }
    let mut pictures = Vec::new();
    let data = answer.remove("data");
    for (at, item) in data
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let mut about = item.as_object().cloned().unwrap_or_default();
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let (url, inline) = (text(about.remove("url")), text(about.remove("b64_json")));
        let file = match (url, inline.and_then(|inline| STANDARD.decode(inline).ok())) {
            (Some(url), _) => {
                let object = Some(format!("picture {} {at}", found.id));
                let brought = app.media.download(object, MediaKind::Image, &url).await;
                // It may be had next time: that is not written down as the end.
                Some(brought.map_err(internal)?)
            }
            (None, Some(bytes)) => Some(app.media.keep(MediaKind::Image, &bytes).await.map_err(internal)?),
            (None, None) => None,
        };
        pictures.push(Picture { about, file });
    }
    let ended = Ended { answer, pictures };
    let mut known = found.clone();
    known.job.ended = Some(ended.clone());
    write(app, &known).await?;
    Ok(Some(ended))
}

/// The answer as the client asked for it.
async fn shown(app: &App, found: &Found, ended: Ended, links: &Links) -> Result<Map<String, Value>, GatewayError> {
    let format = Format::of(&found.job.format).unwrap_or(Format::Url);
    let mut answer = ended.answer;
    answer.insert("request_id".to_owned(), found.id.clone().into());
    if answer.get("status").and_then(Value::as_str) == Some("failed") {
        return Ok(answer);
    }
    let mut data = Vec::new();
    for Picture { mut about, file } in ended.pictures {
        match file {
            None => {
                about.insert("respect_moderation".to_owned(), json!(false));
                let why = "The upstream's moderation withheld this picture.";
                about.insert("moderation".to_owned(), json!(why));
            }
            Some(file) if format == Format::Url => {
                about.insert("url".to_owned(), links.to(&file).into());
                about.insert("mime_type".to_owned(), json!(file.mime));
            }
            Some(file) => {
                let opened = app.media.read(file.kind, &file.name).await.map_err(internal)?;
                let opened = opened.ok_or_else(|| {
                    GatewayError::new(ErrorKind::NotFound, "These pictures are kept no longer.")
                        .with_code("images_expired")
                })?;
                let bytes = files::whole(opened).await.map_err(internal)?;
                about.insert(format.member().to_owned(), STANDARD.encode(bytes).into());
                about.insert("mime_type".to_owned(), json!(file.mime));
            }
        }
        data.push(Value::Object(about));
    }
    answer.entry("status").or_insert_with(|| json!("done"));
    answer.insert("created".to_owned(), found.job.created.into());
    answer.insert("data".to_owned(), data.into());
    let used = usage(answer.remove("usage"));
    answer.insert("usage".to_owned(), used);
    Ok(answer)
}

/// Looks after pictures until they are there, and settles what they cost.
fn over(app: &Arc<App>, found: Found, order: Option<Order>) {
    let watched = app.clone();
    app.tracker.spawn(async move {
        let look = || look(&watched, &found, RequestId::generate());
        let Some(ended) = later::ended(&watched, &found.id, PATIENCE, look).await else {
            return;
        };
        let usage = ended.answer.get("usage");
        let cost = usage.and_then(|usage| usage["cost_in_usd_ticks"].as_u64());
        // What failed is not billed, unless it says so.
        let has_failed = ended.answer.get("status").and_then(Value::as_str) == Some("failed");
        if let Some(order) = order {
            order.settle(&watched, cost.or(has_failed.then_some(0)));
        }
    });
}

/// Looks again after what was being made when a process ended. Its reservation stands, for who held it is gone.
pub fn resume(app: &Arc<App>) {
    let app = app.clone();
    let tracker = app.tracker.clone();
    tracker.spawn(async move {
        let now_secs = app.clock.wall().0 / 1000;
        let known = match app.bindings.list(ObjectKind::Picture).await {
            Ok(known) => known,
            Err(error) => return tracing::warn!(%error, "pictures that were being made are not looked after"),
        };
        for (id, binding) in known {
            let job = binding
                .answer
                .as_deref()
                .and_then(|job| serde_json::from_slice::<Job>(job).ok());
            let Some(job) = job.filter(|job| job.ended.is_none() && job.created + PATIENCE.as_secs() > now_secs) else {
                continue;
            };
            over(&app, Found { id, binding, job }, None);
        }
    });
}
