//! Videos: the upstream's `/v1/videos/generations|edits|extensions` and `GET /v1/videos/{id}`, and OpenAI's family below
//! `/v1/videos`. Where both have a path they are told apart by what is sent (a form is OpenAI's) and by ids, which begin
//! with `video_` in OpenAI's dialect.

mod create;
mod job;
mod request;
mod shape;
mod watch;

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use poem::{Request, Response};
use serde_json::{Value, json};

pub use self::create::Called;
pub(super) use self::create::{begun, native, prepare};
pub(super) use self::job::{Found, Standing, look};
pub(super) use self::request::{Making, VideoRequest};
pub(super) use self::shape::failure;
pub use self::watch::resume;
use super::error::error_response;
use crate::app::App;
use crate::bindings::ObjectKind;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::media::files;
use crate::fronts::media::links::Links;
use crate::fronts::members::clip;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// Videos of a page.
const PAGE: usize = 20;
const LARGEST_PAGE: usize = 100;
/// When OpenAI's SDKs ask again, milliseconds.
const POLL_AFTER: &str = "1000";

/// What is asked of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// How it stands.
    State,
    /// The film.
    Content,
    /// That it is forgotten.
    Deletion,
}

impl Wanted {
    const fn label(self) -> &'static str {
        match self {
            Wanted::State | Wanted::Deletion => "/v1/videos/{id}",
            Wanted::Content => "/v1/videos/{id}/content",
        }
    }
}

/// Answers whatever makes a video.
pub async fn create(app: &Arc<App>, request: Request, called: Called<'_>) -> Response {
    let arrival = Arrival::of(&request, app);
    match create::answer(app, request, &arrival, called).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

/// Answers what is asked of a video.
pub async fn one(app: &Arc<App>, request: Request, id: &str, wanted: Wanted) -> Response {
    let arrival = Arrival::of(&request, app);
    sign(
        app,
        &arrival,
        wanted.label(),
        answer(app, &request, &arrival, id, wanted).await,
    )
}

/// Answers `GET /v1/videos`.
pub async fn list(app: &Arc<App>, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    sign(app, &arrival, "/v1/videos", listed(app, &request).await)
}

/// Answers what older documentation promised and no upstream does.
pub fn upscale(app: &Arc<App>, request: &Request) -> Response {
    let arrival = Arrival::of(request, app);
    let refused = authenticate(app, request.headers()).and(Err(request::upscaling("video")));
    sign(app, &arrival, "/v1/videos", refused)
}

/// Answers `/v1/videos/characters`, which the upstream does not have.
pub fn characters(app: &Arc<App>, request: &Request) -> Response {
    let arrival = Arrival::of(request, app);
    let refused = authenticate(app, request.headers()).and(Err(GatewayError::new(
        ErrorKind::NotOffered,
        "The upstream keeps no characters of videos: give pictures of them as `reference_images` to POST \
         /v1/videos/generations.",
    )));
    sign(app, &arrival, "/v1/videos", refused)
}

fn sign(app: &App, arrival: &Arrival, label: &'static str, outcome: Result<Response, GatewayError>) -> Response {
    match outcome {
        Ok(mut response) => {
            arrival.sign(&mut response);
            response
        }
        Err(error) => {
            app.refused(arrival, label, &error);
            error_response(&error, &arrival.id.to_string())
        }
    }
}

async fn answer(
    app: &Arc<App>,
    request: &Request,
    arrival: &Arrival,
    client_id: &str,
    wanted: Wanted,
) -> Result<Response, GatewayError> {
    let caller = authenticate(app, request.headers())?;
    let found = job::find(app, &caller, client_id).await?;
    match wanted {
        Wanted::State => {
            let standing = job::look(app, &found, arrival.id).await?;
            Ok(shown(&found, client_id, &standing, &Links::of(app, request)))
        }
        Wanted::Content => content(app, request, arrival, &found, client_id).await,
        Wanted::Deletion => {
            job::forget(app, &found).await?;
            let gone = json!({"id": client_id, "object": "video.deleted", "deleted": true});
            Ok(job::json(200, &gone))
        }
    }
}

fn shown(found: &Found, client_id: &str, standing: &Standing, links: &Links) -> Response {
    let (_, is_openai) = job::of_client(client_id);
    if !is_openai {
        let (status, value) = shape::native(standing, links);
        return job::json(status, &value);
    }
    let mut response = job::json(200, &shape::openai(&found.id, &found.job, standing));
    if matches!(standing, Standing::Pending(_)) {
        response
            .headers_mut()
            .insert("openai-poll-after-ms", HeaderValue::from_static(POLL_AFTER));
    }
    response
}

async fn content(
    app: &Arc<App>,
    request: &Request,
    arrival: &Arrival,
    found: &Found,
    client_id: &str,
) -> Result<Response, GatewayError> {
    match query(request, "variant") {
        None | Some("video" | "") => {}
        Some("thumbnail" | "spritesheet") => {
            return Err(GatewayError::field(
                "variant",
                "The upstream makes films only: neither a thumbnail nor a spritesheet can be had.",
            )
            .with_code("unsupported_value"));
        }
        Some(other) => {
            return Err(GatewayError::field(
                "variant",
                format!("`variant` must be video; it is `{}`.", clip(other)),
            ));
        }
    }
    let opened = job::film(app, found, client_id, arrival.id).await?;
    Ok(files::answer(
        request.method(),
        request.headers(),
        &found.id,
        opened,
        crate::fronts::media::links::Good::For(0),
    ))
}

fn query<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request
        .uri()
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

async fn listed(app: &Arc<App>, request: &Request) -> Result<Response, GatewayError> {
    let caller = authenticate(app, request.headers())?;
    let limit = match query(request, "limit").map(str::parse::<usize>) {
        None => PAGE,
        Some(Ok(limit)) if (1..=LARGEST_PAGE).contains(&limit) => limit,
        Some(_) => {
            return Err(GatewayError::field(
                "limit",
                format!("`limit` must be between 1 and {LARGEST_PAGE}."),
            ));
        }
    };
    let newest_first = match query(request, "order") {
        None | Some("desc" | "") => true,
        Some("asc") => false,
        Some(other) => {
            return Err(GatewayError::field(
                "order",
                format!("`order` must be asc or desc; it is `{}`.", clip(other)),
            ));
        }
    };
    let now_ms = app.clock.wall().0;
    let known = app.bindings.list(ObjectKind::Video).await;
    let known = known.map_err(|error| GatewayError::internal(error.to_string()))?;
    let mut own: Vec<Found> = known
        .into_iter()
        .filter(|(_, binding)| binding.owner == caller.owner() && binding.expires_ms > now_ms)
        .filter_map(|(id, binding)| {
            let job = job::read(&binding)?;
            Some(Found { id, binding, job })
        })
        .collect();
    own.sort_by(|a, b| (a.job.created, &a.id).cmp(&(b.job.created, &b.id)));
    if newest_first {
        own.reverse();
    }
    let start = match query(request, "after").filter(|after| !after.is_empty()) {
        None => 0,
        Some(after) => {
            let (id, _) = job::of_client(after);
            match own.iter().position(|found| found.id == id) {
                Some(at) => at + 1,
                None => return Err(job::not_found(after)),
            }
        }
    };
    let page: Vec<Value> = own
        .iter()
        .skip(start)
        .take(limit)
        .map(|found| {
            // As last known: a list asks nobody.
            let standing = match &found.job.ended {
                Some(ended) => Standing::Ended(ended.clone()),
                None => Standing::Pending(0),
            };
            shape::openai(&found.id, &found.job, &standing)
        })
        .collect();
    let id_of = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    let body = json!({
        "object": "list",
        "first_id": id_of(page.first()),
        "last_id": id_of(page.last()),
        "has_more": own.len() > start + page.len(),
        "data": page,
    });
    Ok(Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string()))
}
