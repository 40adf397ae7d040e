//! `POST /v1/uploads/image`: a picture that later requests build on by its link.

use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::egress::guard::FetchErrorKind;
use grok2api_actors::media::MediaError;
use grok2api_schemas::media::MediaKind;
use http::header;
use poem::{Request, Response};
use serde_json::json;

use super::form::{is_form, read_form};
use super::links::Links;
use super::sources;
use crate::app::App;
use crate::door::body::read_body;
use crate::engine::Answered;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::members::{Members, missing};
use crate::fronts::openai::error::error_response;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const ROUTE: &str = "/v1/uploads/image";

/// Answers it.
pub async fn image(app: &Arc<App>, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival).await {
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

async fn answer(app: &Arc<App>, mut request: Request, arrival: &Arrival) -> Result<Response, GatewayError> {
    let caller = authenticate(app, request.headers())?;
    let links = Links::of(app, &request);
    let (bytes, bytes_in) = given(app, &mut request).await?;
    let kept = app
        .media
        .keep(MediaKind::Image, &bytes)
        .await
        .map_err(|error| match error {
            MediaError::NotMedia => GatewayError::field(
                "file",
                "Unsupported file type: the content is not a picture (PNG, JPEG, WebP, GIF, BMP, AVIF or HEIC).",
            )
            .with_code("unsupported_file_type"),
            MediaError::Fetch(error) if error.kind == FetchErrorKind::TooLarge => GatewayError::new(
                ErrorKind::TooLarge,
                format!("The picture is too large: {error} (cache.max_object_mb)."),
            ),
            error => GatewayError::internal(error.to_string()),
        })?;
    let about = Answered {
        caller: &caller,
        model: "",
        cost_ticks: None,
        bytes_in,
    };
    app.engine.answered(arrival, ROUTE, &about);
    let body = json!({
        "url": links.path(kept.kind, &kept.name),
        "name": kept.name,
        "size_bytes": kept.size,
    });
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string()))
}

/// The picture, and how much the request was.
async fn given(app: &Arc<App>, request: &mut Request) -> Result<(Bytes, u64), GatewayError> {
    let limits = app.body_limits();
    if is_form(request.headers()) {
        let form = read_form(request, &limits).await?;
        let mut files = form.files.into_iter().filter(|file| file.name == "file");
        let file = files
            .next()
            .ok_or_else(|| missing("body.file", "Send the picture as the part `file` of a multipart form."))?;
        if files.next().is_some() {
            return Err(GatewayError::field(
                "file",
                "Send one picture at a time: `file` appears twice.",
            ));
        }
        if file.bytes.is_empty() {
            return Err(GatewayError::field("file", "The file is empty.").with_code("empty_file"));
        }
        return Ok((file.bytes, form.bytes));
    }
    let body = read_body(request, &limits).await?;
    let is_json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return Err(GatewayError::new(
            ErrorKind::UnsupportedMediaType,
            "Send the picture as the part `file` of a multipart form, or its address as JSON: {\"url\": …}.",
        ));
    }
    let members = Members::read(&body)?;
    let url = members
        .hint("url")?
        .ok_or_else(|| missing("url", "`url` is required: an http(s) address or a data: URI."))?;
    let bytes = match url.starts_with("data:") {
        true => {
            let read = grok2api_actors::egress::guard::read_data_uri(&url, limits.max_bytes);
            read.map_err(|error| GatewayError::field("url", format!("`url`: {error}.")))?
                .bytes
        }
        false => sources::fetched(app, "url", &url, limits.max_bytes).await?,
    };
    Ok((bytes, body.len() as u64))
}
