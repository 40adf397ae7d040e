//! Making a video, in either dialect: forms are OpenAI's, JSON is the upstream's own, except where only OpenAI has the
//! path.

use std::sync::Arc;

use bytes::Bytes;
use grok2api_schemas::config::{Config, ModelKind};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::media::MediaKind;
use grok2api_schemas::meter::DayBucket;
use http::HeaderMap;
use poem::{Request, Response};
use serde_json::{Map, Value, json};

use super::job::{self, Found, Job, Standing, find, openai_id};
use super::request::{FORM_KINDS, Making, VideoRequest};
use super::{shape, watch};
use crate::app::App;
use crate::bindings::Binding;
use crate::catalogue::usd_to_ticks;
use crate::door::body::read_body;
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::answering::respond;
use crate::fronts::asking;
use crate::fronts::media::files;
use crate::fronts::media::form::{FilePart, is_form, read_form};
use crate::fronts::media::later::Accepted;
use crate::fronts::media::links::Links;
use crate::fronts::media::sources::{self, Addresses, Source};
use crate::fronts::members::{Members, missing};
use crate::fronts::openai::images::{must_be_priced, must_make};
use crate::fronts::pieces::PieceDialect;
use crate::fronts::pins::{self, References};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// What a client calls, where it is more than [`Making`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called<'a> {
    /// `POST /v1/videos`: OpenAI's alone.
    Videos,
    /// `POST /v1/videos/generations`: the upstream's alone.
    Generations,
    /// `POST /v1/videos/edits`: of either.
    Edits,
    /// `POST /v1/videos/extensions`: of either.
    Extensions,
    /// `POST /v1/videos/{id}/remix`: OpenAI's alone.
    Remix(&'a str),
}

impl Called<'_> {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Called::Videos => "/v1/videos",
            Called::Generations => "/v1/videos/generations",
            Called::Edits => "/v1/videos/edits",
            Called::Extensions => "/v1/videos/extensions",
            Called::Remix(_) => "/v1/videos/{id}/remix",
        }
    }

    const fn making(self) -> Making {
        match self {
            Called::Videos | Called::Generations => Making::Generations,
            Called::Edits | Called::Remix(_) => Making::Edits,
            Called::Extensions => Making::Extensions,
        }
    }
}

/// Where it goes upstream.
const fn route(label: &'static str, making: Making) -> Route {
    let path = match making {
        Making::Generations => "/videos/generations",
        Making::Edits => "/videos/edits",
        Making::Extensions => "/videos/extensions",
    };
    Route::post(label, path)
}

/// A request, however it was sent.
struct Sent {
    members: Map<String, Value>,
    files: Vec<FilePart>,
    is_openai: bool,
    bytes_in: u64,
}

pub(super) async fn answer(
    app: &Arc<App>,
    mut request: Request,
    arrival: &Arrival,
    called: Called<'_>,
) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, called.label(), error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let links = Links::of(app, &request);
    let made = async {
        let sent = read(app, &mut request, called).await?;
        let mut video = match sent.is_openai {
            true => VideoRequest::openai(&sent.members, called.making())?,
            false => VideoRequest::native(&sent.members, called.making())?,
        };
        let gathered = gather(app, &links, &caller, arrival, called, &sent, &mut video).await?;
        let pin = pins::resolve(app, &caller, &gathered.named).await?;
        let filming = Filming {
            caller: &caller,
            arrival,
            label: called.label(),
            making: called.making(),
            pin: gathered.pin.or(pin),
            bytes_in: sent.bytes_in,
            headers: request.headers(),
        };
        let config = app.config();
        let ask = asking::within_budget(app, || ask(app, &config, &filming, &video)).await?;
        Ok((ask, video, sent.is_openai, gathered.remixed_from))
    };
    let (ask, video, is_openai, remixed_from) = made.await.inspect_err(refused)?;
    let answer = app.engine.run(ask).await?;
    let (found, answer) = begun(app, arrival, &caller, answer, video, remixed_from).await?;
    let mut response = respond(answer, arrival);
    if is_openai {
        let shown = shape::openai(&found.id, &found.job, &Standing::Pending(0));
        response.set_body(shown.to_string());
    }
    Ok(response)
}

/// What is asked of the upstream for a film that another front wants.
///
/// # Errors
/// What is wrong with it.
#[expect(
    clippy::too_many_arguments,
    reason = "who asks, what, and how it was sent; called from another front"
)]
pub async fn prepare(
    app: &App,
    caller: &Caller,
    arrival: &Arrival,
    label: &'static str,
    pin: Option<TokenId>,
    bytes_in: u64,
    headers: &HeaderMap,
    video: &VideoRequest,
) -> Result<Ask, GatewayError> {
    let filming = Filming {
        caller,
        arrival,
        label,
        making: Making::Generations,
        pin,
        bytes_in,
        headers,
    };
    let config = app.config();
    asking::within_budget(app, || ask(app, &config, &filming, video)).await
}

/// Sources of a film that another front wants, as the upstream takes them; answers who must make it.
///
/// # Errors
/// What is wrong with them.
pub async fn native(
    app: &Arc<App>,
    caller: &Caller,
    links: &Links,
    video: &mut VideoRequest,
) -> Result<Option<TokenId>, GatewayError> {
    let mut gathered = Gathered::default();
    native_sources(app, links, video, &mut gathered).await?;
    pins::resolve(app, caller, &gathered.named).await
}

/// Remembers the video before the client learns its id, and looks after it from now on.
///
/// # Errors
/// When the upstream named no id, or the bus cannot be written.
pub async fn begun(
    app: &Arc<App>,
    arrival: &Arrival,
    caller: &Caller,
    answer: Answer,
    video: VideoRequest,
    remixed_from: Option<String>,
) -> Result<(Found, Answer), GatewayError> {
    let Accepted {
        id,
        token,
        unsettled,
        answer,
    } = Accepted::of(answer)?;
    let job = Job {
        model: video.model,
        prompt: video.prompt,
        seconds: video.seconds,
        size: video.size,
        created: arrival.time_ms / 1000,
        remixed_from,
        ended: None,
    };
    let binding = Binding {
        token,
        owner: caller.owner(),
        expires_ms: arrival.time_ms + job::LIFE_MS,
        answer: None,
    };
    let written = job::write(app, &id, &binding, &job).await;
    let found = Found { id, binding, job };
    // Watched in any case: it is made, and paid for.
    watch::over(app, found.clone(), caller.clone(), arrival.ip.clone(), unsettled);
    written?;
    Ok((found, answer))
}

async fn read(app: &App, request: &mut Request, called: Called<'_>) -> Result<Sent, GatewayError> {
    let limits = app.body_limits();
    let is_form = is_form(request.headers());
    if is_form && called != Called::Generations {
        let form = read_form(request, &limits).await?;
        return Ok(Sent {
            members: form.members(&FORM_KINDS)?,
            files: form.files,
            is_openai: true,
            bytes_in: form.bytes,
        });
    }
    if is_form {
        return Err(GatewayError::new(
            ErrorKind::UnsupportedMediaType,
            "/v1/videos/generations takes JSON; forms as OpenAI's SDKs send them go to POST /v1/videos.",
        ));
    }
    let body = read_body(request, &limits).await?;
    Members::read(&body)?;
    let members = serde_json::from_slice(&body).map_err(|error| {
        GatewayError::new(
            ErrorKind::InvalidBody,
            format!("The request body is not JSON: {error}."),
        )
    })?;
    Ok(Sent {
        members,
        files: Vec::new(),
        is_openai: matches!(called, Called::Videos | Called::Remix(_)),
        bytes_in: body.len() as u64,
    })
}

/// What a request builds on.
#[derive(Default)]
struct Gathered {
    /// Files at the upstream.
    named: References,
    /// The token that made what it builds on.
    pin: Option<TokenId>,
    remixed_from: Option<String>,
}

async fn gather(
    app: &Arc<App>,
    links: &Links,
    caller: &Caller,
    arrival: &Arrival,
    called: Called<'_>,
    sent: &Sent,
    video: &mut VideoRequest,
) -> Result<Gathered, GatewayError> {
    let mut gathered = Gathered::default();
    if let Called::Remix(of) = called {
        return remix(app, caller, arrival, of, video, gathered).await;
    }
    for file in &sent.files {
        let (name, kind) = match file.name.as_str() {
            "input_reference" | "image" => ("image", MediaKind::Image),
            "video" => ("video", MediaKind::Video),
            other => {
                return Err(GatewayError::field(
                    other.to_owned(),
                    "A file is given as `input_reference` (a picture) or `video`.",
                ));
            }
        };
        let Source(url) = sources::inlined(&file.name, kind, &file.bytes)?;
        video.rest.insert(name.to_owned(), json!({"url": url}));
    }
    if sent.is_openai {
        openai_sources(app, links, caller, arrival, sent, video, &mut gathered).await?;
    } else {
        native_sources(app, links, video, &mut gathered).await?;
    }
    if called.making() != Making::Generations && !video.rest.contains_key("video") {
        return Err(missing("video", "`video` is required: the video to build on."));
    }
    Ok(gathered)
}

async fn remix(
    app: &Arc<App>,
    caller: &Caller,
    arrival: &Arrival,
    of: &str,
    video: &mut VideoRequest,
    mut gathered: Gathered,
) -> Result<Gathered, GatewayError> {
    let found = find(app, caller, of).await?;
    let opened = job::film(app, &found, of, arrival.id).await?;
    let bytes = files::whole(opened).await;
    let bytes = bytes.map_err(|error| GatewayError::internal(error.to_string()))?;
    let Source(url) = sources::inlined("video", MediaKind::Video, &bytes)?;
    video.rest.insert("video".to_owned(), json!({"url": url}));
    video.model.clone_from(&found.job.model);
    video.seconds = found.job.seconds;
    video.size.clone_from(&found.job.size);
    gathered.pin = Some(found.binding.token);
    gathered.remixed_from = Some(openai_id(&found.id));
    Ok(gathered)
}

/// `input_reference` and `video` as OpenAI has them.
async fn openai_sources(
    app: &Arc<App>,
    links: &Links,
    caller: &Caller,
    arrival: &Arrival,
    sent: &Sent,
    video: &mut VideoRequest,
    gathered: &mut Gathered,
) -> Result<(), GatewayError> {
    if let Some(reference) = sent.members.get("input_reference").filter(|value| !value.is_null()) {
        let member = |name: &str| {
            reference
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let source = match (member("image_url").or_else(|| reference.as_str()), member("file_id")) {
            (Some(url), None) => {
                let kind = MediaKind::Image;
                let Source(url) = sources::resolve(app, links, "input_reference", kind, url, Addresses::Fetch).await?;
                json!({"url": url})
            }
            (None, Some(id)) => {
                gathered.named.files.push(id.to_owned());
                json!({"file_id": id})
            }
            _ => {
                return Err(GatewayError::field(
                    "input_reference",
                    "`input_reference` is a file, {\"image_url\": …} or {\"file_id\": …}.",
                )
                .with_code("invalid_type"));
            }
        };
        video.rest.insert("image".to_owned(), source);
    }
    let Some(source) = sent.members.get("video").filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let id = source.get("id").or(Some(source)).and_then(Value::as_str);
    let id = id.ok_or_else(|| {
        GatewayError::field("video", "`video` is a file or {\"id\": …} of a video that is done.")
            .with_code("invalid_type")
    })?;
    let found = find(app, caller, id).await?;
    let bytes = files::whole(job::film(app, &found, id, arrival.id).await?).await;
    let bytes = bytes.map_err(|error| GatewayError::internal(error.to_string()))?;
    let Source(url) = sources::inlined("video", MediaKind::Video, &bytes)?;
    video.rest.insert("video".to_owned(), json!({"url": url}));
    gathered.pin = Some(found.binding.token);
    Ok(())
}

/// Sources as the upstream has them: its own files are pinned, ours go inline, addresses go on.
async fn native_sources(
    app: &App,
    links: &Links,
    video: &mut VideoRequest,
    gathered: &mut Gathered,
) -> Result<(), GatewayError> {
    for (name, kind) in [
        ("image", MediaKind::Image),
        ("input_reference", MediaKind::Image),
        ("last_frame", MediaKind::Image),
        ("video", MediaKind::Video),
    ] {
        let Some(source) = video.rest.get_mut(name).filter(|value| !value.is_null()) else {
            continue;
        };
        native_source(app, links, name, kind, source, gathered).await?;
    }
    if let Some(Value::Array(several)) = video.rest.get_mut("reference_images") {
        for source in several {
            native_source(app, links, "reference_images", MediaKind::Image, source, gathered).await?;
        }
    }
    Ok(())
}

async fn native_source(
    app: &App,
    links: &Links,
    name: &str,
    kind: MediaKind,
    source: &mut Value,
    gathered: &mut Gathered,
) -> Result<(), GatewayError> {
    if let Some(url) = source.as_str() {
        *source = json!({ "url": url });
    }
    if let Some(url) = source.get("url").and_then(Value::as_str) {
        let Source(url) = sources::resolve(app, links, name, kind, url, Addresses::PassOn).await?;
        source["url"] = json!(url);
    } else if let Some(id) = source.get("file_id").and_then(Value::as_str) {
        gathered.named.files.push(id.to_owned());
    } else {
        return Err(GatewayError::field(
            name.to_owned(),
            format!("`{name}` is given as {{\"url\": …}} or {{\"file_id\": …}}."),
        )
        .with_code("invalid_type"));
    }
    Ok(())
}

struct Filming<'a> {
    caller: &'a Caller,
    arrival: &'a Arrival,
    label: &'static str,
    making: Making,
    pin: Option<TokenId>,
    bytes_in: u64,
    headers: &'a HeaderMap,
}

fn ask(app: &App, config: &Config, filming: &Filming<'_>, video: &VideoRequest) -> Result<Ask, GatewayError> {
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(&video.model);
    asking::may_use(filming.caller, &video.model, resolved.upstream_name)?;
    must_make(&resolved, ModelKind::Video, "videos")?;
    let each = resolved.entry.and_then(|entry| entry.price_second);
    let price = each.map(|each| usd_to_ticks(each).saturating_mul(u64::from(video.seconds)));
    must_be_priced(filming.caller, price)?;
    let mut body = video.rest.clone();
    body.insert("model".to_owned(), json!(resolved.upstream_name));
    Ok(Ask {
        body: Bytes::from(Value::Object(body).to_string()),
        bytes_in: filming.bytes_in,
        input_bytes: video.prompt.len(),
        headers: asking::forwarded(filming.headers, config),
        buckets: vec![(DayBucket::Video, 1)],
        max_output: Some(0),
        is_repeatable: false,
        settles_later: true,
        pin: filming.pin,
        price,
        ..Ask::new(
            route(filming.label, filming.making),
            filming.arrival,
            filming.caller.clone(),
            &video.model,
            &resolved,
            Arc::new(PieceDialect),
        )
    })
}
