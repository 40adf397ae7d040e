//! Pictures and films that a request builds on: bytes in the request, files of this gateway, addresses.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use grok2api_actors::egress::guard::{FetchError, FetchErrorKind, NamedBy, read_data_uri};
use grok2api_actors::media::sniff::sniff;
use grok2api_schemas::media::MediaKind;

use super::files;
use super::links::Links;
use crate::app::App;
use crate::engine::error::GatewayError;
use crate::fronts::members::clip;

/// How long an address may take to give what it names.
const WITHIN: Duration = Duration::from_secs(30);

/// A source as the upstream takes it: its bytes as a `data:` URI, or an address of its own to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(pub String);

/// What to do with an address on the Internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// The upstream looks there itself.
    PassOn,
    /// It is fetched here.
    Fetch,
}

fn wrong(field: &str, what: impl Into<String>) -> GatewayError {
    GatewayError::field(field.to_owned(), format!("`{field}`: {}", what.into()))
}

fn not_media(field: &str, kind: MediaKind) -> GatewayError {
    let wanted = match kind {
        MediaKind::Image => "its content is not a picture (PNG, JPEG, WebP, GIF, BMP, AVIF or HEIC).",
        MediaKind::Video => "its content is not a film (MP4, MOV or WebM).",
    };
    wrong(field, wanted).with_code("invalid_image_type")
}

/// Bytes as a `data:` URI, named by what they are and not by what they are said to be.
///
/// # Errors
/// 400 when they are nothing of the kind.
pub fn inlined(field: &str, kind: MediaKind, bytes: &[u8]) -> Result<Source, GatewayError> {
    if bytes.is_empty() {
        return Err(wrong(field, "the file is empty.").with_code("empty_file"));
    }
    let file = sniff(bytes)
        .filter(|file| file.kind == kind)
        .ok_or_else(|| not_media(field, kind))?;
    let mut uri = format!("data:{};base64,", file.mime);
    STANDARD.encode_string(bytes, &mut uri);
    Ok(Source(uri))
}

/// What an address in a request means.
///
/// # Errors
/// 400 when it is none, leads to nothing, or to something else.
pub async fn resolve(
    app: &App,
    links: &Links,
    field: &str,
    kind: MediaKind,
    url: &str,
    addresses: Addresses,
) -> Result<Source, GatewayError> {
    let most = app.body_limits().max_bytes;
    if let Some((of, name)) = links.name_in(url) {
        let found = app.media.read(of, &name).await;
        let opened = found.map_err(|error| GatewayError::internal(error.to_string()))?;
        let opened = opened.ok_or_else(|| wrong(field, format!("there is no file {} here any more.", clip(&name))))?;
        let bytes = files::whole(opened).await;
        let bytes = bytes.map_err(|error| GatewayError::internal(error.to_string()))?;
        return inlined(field, kind, &bytes);
    }
    if url.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:")) {
        let data = read_data_uri(url, most).map_err(|error| wrong(field, format!("{error}.")))?;
        return inlined(field, kind, &data.bytes);
    }
    let is_address = url.starts_with("http://") || url.starts_with("https://");
    if is_address && addresses == Addresses::PassOn {
        return Ok(Source(url.to_owned()));
    }
    if !is_address {
        return Err(wrong(
            field,
            format!(
                "`{}` is not an address. Give an http(s) URL, a data: URI, or a link to a file of this gateway.",
                clip(url)
            ),
        ));
    }
    let bytes = fetched(app, field, url, most).await?;
    inlined(field, kind, &bytes)
}

/// What an address of a client leads to.
///
/// # Errors
/// 400 in words for whoever gave it.
pub async fn fetched(app: &App, field: &str, url: &str, most: usize) -> Result<Bytes, GatewayError> {
    let fetched = app.media.fetcher().whole(url, NamedBy::Client, most, WITHIN).await;
    fetched.map(|(bytes, _)| bytes).map_err(|error| refused(field, &error))
}

fn refused(field: &str, error: &FetchError) -> GatewayError {
    let code = match error.kind {
        FetchErrorKind::Forbidden => "url_not_allowed",
        FetchErrorKind::BadUrl => "invalid_url",
        FetchErrorKind::TooLarge => "file_too_large",
        _ => "url_not_fetched",
    };
    wrong(field, format!("the address cannot be fetched: {error}.")).with_code(code)
}
