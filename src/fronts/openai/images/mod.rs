//! Pictures: `POST /v1/images/generations` and `/v1/images/edits`, as JSON or as the form that SDKs send.

mod answer;
mod deferred;
pub mod request;
mod size;

use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::clients::Identity;
use grok2api_schemas::config::{Config, ImageFormat, ModelKind};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::media::MediaKind;
use grok2api_schemas::meter::DayBucket;
use http::{HeaderMap, header};
use poem::{Request, Response};
use serde_json::{Map, Value, json};

pub use self::answer::{Handing, Made};
pub use self::deferred::{pictures, resume};
use self::request::{FORM_KINDS, Format, MAX_SOURCES, no_mask};
pub use self::request::{ImageRequest, Making};
use super::error::error_response;
use crate::app::App;
use crate::catalogue::{Resolved, usd_to_ticks};
use crate::door::body::read_body;
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::error::{ErrorKind, GatewayError, RefusalReason};
use crate::fronts::answering::respond;
use crate::fronts::asking;
use crate::fronts::media::form::{is_form, read_form};
use crate::fronts::media::links::Links;
use crate::fronts::media::sources::{self, Addresses, Source};
use crate::fronts::members::{Members, clip, missing};
use crate::fronts::pieces::PieceDialect;
use crate::fronts::pins::{self, References};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// What looking at a picture costs, USD (`xai-api.md` §14).
const SOURCE_PRICE: f64 = 0.002;

impl Making {
    const fn label(self) -> &'static str {
        match self {
            Making::Generations => "/v1/images/generations",
            Making::Edits => "/v1/images/edits",
        }
    }

    const fn route(self) -> Route {
        match self {
            Making::Generations => Route::post("/v1/images/generations", "/images/generations"),
            Making::Edits => Route::post("/v1/images/edits", "/images/edits"),
        }
    }
}

/// Answers either.
pub async fn create(app: &Arc<App>, request: Request, making: Making) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival, making).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

/// Answers `GET /v1/images/method`: how web sessions make pictures.
pub fn method(app: &Arc<App>, request: &Request) -> Response {
    let arrival = Arrival::of(request, app);
    match authenticate(app, request.headers()) {
        Ok(_) => {
            let method = app.config().grok.image_generation_method.as_str();
            let mut response = Response::builder()
                .header(header::CONTENT_TYPE, "application/json")
                .body(json!({"image_generation_method": method}).to_string());
            arrival.sign(&mut response);
            response
        }
        Err(error) => {
            app.refused(&arrival, "/v1/images/method", &error);
            error_response(&error, &arrival.id.to_string())
        }
    }
}

async fn answer(
    app: &Arc<App>,
    mut request: Request,
    arrival: &Arrival,
    making: Making,
) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, making.label(), error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let links = Links::of(app, &request);
    let made = async {
        let sent = read(app, &mut request).await?;
        let image = ImageRequest::read(&sent.members)?;
        let from = (making, making.label());
        let ask = prepare(app, &caller, arrival, from, &links, &sent, &image, request.headers()).await?;
        Ok((ask, image))
    };
    let (ask, image) = made.await.inspect_err(refused)?;
    if image.deferred {
        let format = format(&app.config(), &image);
        let answer = app.engine.run(ask).await?;
        return deferred::begun(app, arrival, &caller, answer, &image.model, format).await;
    }
    let handing = Handing {
        format: format(&app.config(), &image),
        app: app.clone(),
        links,
        created: arrival.time_ms / 1000,
    };
    let answer = app.engine.run(ask).await?;
    hand_out(handing, answer, &image, making, arrival).await
}

/// What is asked of the upstream for a request, whichever front it came to.
///
/// # Errors
/// What is wrong with it.
#[expect(
    clippy::too_many_arguments,
    reason = "who asks, what, and how it was sent; called from two fronts"
)]
pub(super) async fn prepare(
    app: &Arc<App>,
    caller: &Caller,
    arrival: &Arrival,
    (making, label): (Making, &'static str),
    links: &Links,
    sent: &Sent,
    image: &ImageRequest,
    headers: &HeaderMap,
) -> Result<Ask, GatewayError> {
    let built_on = built_on(app, links, making, &sent.members, &sent.files).await?;
    let named = References {
        files: built_on.file_ids,
        ..References::default()
    };
    let drawing = Drawing {
        caller,
        arrival,
        route: Route {
            label,
            ..making.route()
        },
        sources: &built_on.sources,
        pin: pins::resolve(app, caller, &named).await?,
        bytes_in: sent.bytes_in,
        headers,
    };
    let config = app.config();
    asking::within_budget(app, || ask(app, &config, &drawing, image)).await
}

async fn hand_out(
    handing: Handing,
    answer: Answer,
    image: &ImageRequest,
    making: Making,
    arrival: &Arrival,
) -> Result<Response, GatewayError> {
    let Answer::Whole { body, .. } = &answer else {
        return Ok(respond(answer, arrival));
    };
    let made = Made::read(body)?;
    if !image.stream {
        let whole = handing.whole(made).await;
        let mut response = respond(answer, arrival);
        response.set_body(whole);
        return Ok(response);
    }
    let mut response = respond(answer, arrival);
    as_events(&mut response, handing.events(made, making, image.told.clone()));
    Ok(response)
}

/// Makes an answer one of events.
pub(super) fn as_events(response: &mut Response, events: poem::Body) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response.set_body(events);
}

/// How pictures are handed out where the request does not say. OpenAI's events know nothing but inline.
pub(super) fn format(config: &Config, image: &ImageRequest) -> Format {
    match (image.format, config.app.image_format) {
        (Some(stated), _) => stated,
        (None, _) if image.stream => Format::B64Json,
        (None, ImageFormat::Url) => Format::Url,
        (None, ImageFormat::B64Json) => Format::B64Json,
        (None, ImageFormat::Base64) => Format::Base64,
    }
}

/// A request, however it was sent.
pub(super) struct Sent {
    /// Its members.
    pub(super) members: Map<String, Value>,
    /// Pictures in a form.
    pub(super) files: Vec<Bytes>,
    /// Bytes of all of it.
    pub(super) bytes_in: u64,
}

async fn read(app: &App, request: &mut Request) -> Result<Sent, GatewayError> {
    let limits = app.body_limits();
    if is_form(request.headers()) {
        let form = read_form(request, &limits).await?;
        let members = form.members(&FORM_KINDS)?;
        let mut files = Vec::new();
        for file in form.files {
            match file.name.as_str() {
                "image" | "images" => files.push(file.bytes),
                "mask" => return Err(no_mask()),
                other => {
                    return Err(GatewayError::field(
                        other.to_owned(),
                        format!("A file is given as `{}`; pictures are given as `image`.", clip(other)),
                    ));
                }
            }
        }
        return Ok(Sent {
            members,
            files,
            bytes_in: form.bytes,
        });
    }
    let body = read_body(request, &limits).await?;
    // Doubles and malformed text are told with their place.
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
        bytes_in: body.len() as u64,
    })
}

/// What a request builds on.
#[derive(Default)]
struct BuiltOn {
    /// As the upstream takes it.
    sources: Vec<Value>,
    /// Files at the upstream that are among them.
    file_ids: Vec<String>,
}

async fn built_on(
    app: &App,
    links: &Links,
    making: Making,
    members: &Map<String, Value>,
    files: &[Bytes],
) -> Result<BuiltOn, GatewayError> {
    let mut named: Vec<&Value> = Vec::new();
    for name in ["image", "images"] {
        match members.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(several)) => named.extend(several),
            Some(one) => named.push(one),
        }
    }
    let count = named.len() + files.len();
    if making == Making::Generations {
        return match count {
            0 => Ok(BuiltOn::default()),
            _ => Err(GatewayError::field(
                "image",
                "New pictures build on no others: to change a picture, ask /v1/images/edits.",
            )
            .with_code("unsupported_parameter")),
        };
    }
    if count == 0 {
        return Err(missing(
            "image",
            "`image` is required: the picture to change, as a file of the form or as an address.",
        )
        .with_code("missing_image"));
    }
    if count > MAX_SOURCES {
        return Err(GatewayError::field(
            "image",
            format!("At most {MAX_SOURCES} pictures can be given; these are {count}."),
        )
        .with_code("invalid_image_count"));
    }
    let mut built_on = BuiltOn::default();
    for file in files {
        let Source(url) = sources::inlined("image", MediaKind::Image, file)?;
        built_on.sources.push(json!({"url": url}));
    }
    for source in named {
        one_source(app, links, source, &mut built_on).await?;
    }
    Ok(built_on)
}

async fn one_source(app: &App, links: &Links, source: &Value, built_on: &mut BuiltOn) -> Result<(), GatewayError> {
    let member = |name: &str| source.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let url = match source {
        Value::String(url) => Some(url.as_str()),
        // OpenAI's own JSON form names it `image_url`.
        _ => member("url").or_else(|| member("image_url")),
    };
    match (url, member("file_id")) {
        (Some(url), None) => {
            let Source(url) = sources::resolve(app, links, "image", MediaKind::Image, url, Addresses::PassOn).await?;
            built_on.sources.push(json!({"url": url}));
        }
        (None, Some(id)) => {
            built_on.file_ids.push(id.to_owned());
            built_on.sources.push(json!({"file_id": id}));
        }
        _ => {
            return Err(GatewayError::field(
                "image",
                "A picture is given as {\"url\": …} or {\"file_id\": …}, one of them.",
            )
            .with_code("invalid_type"));
        }
    }
    Ok(())
}

struct Drawing<'a> {
    caller: &'a Caller,
    arrival: &'a Arrival,
    route: Route,
    sources: &'a [Value],
    pin: Option<TokenId>,
    bytes_in: u64,
    headers: &'a HeaderMap,
}

fn ask(app: &App, config: &Config, drawing: &Drawing<'_>, image: &ImageRequest) -> Result<Ask, GatewayError> {
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(&image.model);
    asking::may_use(drawing.caller, &image.model, resolved.upstream_name)?;
    must_make(&resolved, ModelKind::Image, "images")?;
    let each = resolved.entry.and_then(|entry| entry.price_image);
    let price = each.map(|each| {
        usd_to_ticks(each)
            .saturating_mul(image.n)
            .saturating_add(usd_to_ticks(SOURCE_PRICE).saturating_mul(drawing.sources.len() as u64))
    });
    must_be_priced(drawing.caller, price)?;
    let mut body = image.rest.clone();
    body.insert("model".to_owned(), json!(resolved.upstream_name));
    let wanted = match format(config, image) {
        // They are kept here until they are asked for.
        _ if image.deferred => "url",
        Format::Url => "url",
        Format::B64Json | Format::Base64 => "b64_json",
    };
    body.insert("response_format".to_owned(), json!(wanted));
    match drawing.sources {
        [] => {}
        [one] => {
            body.insert("image".to_owned(), one.clone());
        }
        several => {
            body.insert("images".to_owned(), several.to_vec().into());
        }
    }
    Ok(Ask {
        body: Bytes::from(Value::Object(body).to_string()),
        bytes_in: drawing.bytes_in,
        input_bytes: image.rest.get("prompt").and_then(Value::as_str).map_or(0, str::len),
        headers: asking::forwarded(drawing.headers, config),
        buckets: vec![(DayBucket::Image, image.n)],
        max_output: Some(0),
        is_repeatable: false,
        pin: drawing.pin,
        price,
        settles_later: image.deferred,
        ..Ask::new(
            Route {
                label: drawing.route.label,
                method: drawing.route.method.clone(),
                path: drawing.route.path.clone(),
            },
            drawing.arrival,
            drawing.caller.clone(),
            &image.model,
            &resolved,
            Arc::new(PieceDialect),
        )
    })
}

/// Refuses a model that is known to make something else.
///
/// # Errors
/// 400 naming the model.
pub fn must_make(resolved: &Resolved<'_>, kind: ModelKind, what: &str) -> Result<(), GatewayError> {
    match resolved.entry {
        Some(entry) if entry.kind != kind => Err(GatewayError::field(
            "model",
            format!(
                "The model {} does not make {what}. GET /v1/models lists those that do.",
                resolved.requested
            ),
        )
        .with_code("model_not_supported")),
        _ => Ok(()),
    }
}

/// Refuses what a strict budget cannot be held by.
///
/// # Errors
/// 429 when the key is strict and no price is known.
pub fn must_be_priced(caller: &Caller, price: Option<u64>) -> Result<(), GatewayError> {
    match caller {
        Caller::Key(Identity::Key(key))
            if key.limits.strict && key.limits.budget_ticks.is_some() && price.is_none() =>
        {
            Err(GatewayError::new(
                ErrorKind::ClientBudget,
                "This key's budget is strict, and this model has no known price to hold it by.",
            )
            .because(RefusalReason::ClientLimit))
        }
        _ => Ok(()),
    }
}
