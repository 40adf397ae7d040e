//! `GET /v1/files/image/{name}` and `/v1/files/video/{name}`: open to whoever has the link, from any node.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use grok2api_actors::media::{MediaError, Opened, name};
use grok2api_schemas::media::MediaKind;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Body, Request, Response};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::links::{self, Good};
use crate::app::App;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::openai::error::error_response;
use crate::http::arrival::Arrival;

/// Read and sent at a time.
const PIECE: usize = 64 * 1024;
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Answers a `GET` or `HEAD`.
pub async fn file(app: &Arc<App>, request: Request, kind: MediaKind, path: &str) -> Response {
    let arrival = Arrival::of(&request, app);
    let query = request.uri().query().unwrap_or_default();
    match find(app, kind, path, query).await {
        Ok((name, opened, good)) => {
            let mut response = answer(request.method(), request.headers(), &name, opened, good);
            arrival.sign(&mut response);
            response
        }
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn find(app: &App, kind: MediaKind, path: &str, query: &str) -> Result<(String, Opened, Good), GatewayError> {
    let not_found = || {
        let what = match kind {
            MediaKind::Image => "Image not found",
            MediaKind::Video => "Video not found",
        };
        GatewayError::new(ErrorKind::NotFound, what).with_code("file_not_found")
    };
    let name = name::of_path(path).ok_or_else(not_found)?;
    let good = links::check(app, kind, &name, query);
    if good == Good::Not {
        return Err(GatewayError::new(
            ErrorKind::Forbidden,
            "This link has ended, or is not one of this gateway's. Ask for the object again to get a new one.",
        )
        .with_code("link_expired"));
    }
    match app.media.read(kind, &name).await {
        Ok(Some(opened)) => Ok((name, opened, good)),
        Ok(None) => Err(not_found()),
        Err(error @ MediaError::Bus(_)) => Err(GatewayError::new(
            ErrorKind::Overloaded,
            "This file lies with another node, which cannot be asked at the moment.",
        )
        .with_detail(error.to_string())
        .retry_after(Some(2_000))),
        Err(error) => Err(GatewayError::internal(error.to_string())),
    }
}

/// The answer that hands a file out, or says why nothing of it needs to be.
pub fn answer(method: &Method, asked: &HeaderMap, name: &str, opened: Opened, good: Good) -> Response {
    let size = opened.entry.size;
    let etag = format!("\"{name}\"");
    let text = |name: header::HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    let cache = match good {
        Good::For(secs) => format!("private, max-age={secs}"),
        Good::Always | Good::Not => FOR_EVER.to_owned(),
    };
    let mut response = Response::builder()
        .header(header::CACHE_CONTROL, cache)
        .header(header::ETAG, &etag)
        .header(header::ACCEPT_RANGES, "bytes")
        .header("x-content-type-options", "nosniff")
        // Pages of others may show what they have a link to.
        .header("access-control-allow-origin", "*")
        .header("cross-origin-resource-policy", "cross-origin");
    let made = http_date(opened.entry.made_ms);
    if let Some(made) = &made {
        response = response.header(header::LAST_MODIFIED, made);
    }
    let is_known = match text(header::IF_NONE_MATCH) {
        Some(tags) => tags
            .split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag),
        // The very date that we gave: nobody compares dates of files that never change.
        None => made.is_some() && text(header::IF_MODIFIED_SINCE) == made.as_deref(),
    };
    if is_known {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    let range = match text(header::IF_RANGE) {
        Some(tag) if tag != etag && Some(tag) != made.as_deref() => None,
        _ => text(header::RANGE),
    };
    let (start, end, status) = match range.map_or(Wanted::All, |range| wanted(range, size)) {
        Wanted::All => (0, size, StatusCode::OK),
        Wanted::Part(start, end) => (start, end, StatusCode::PARTIAL_CONTENT),
        Wanted::Beyond => {
            return response
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{size}"))
                .finish();
        }
    };
    let mime = HeaderValue::try_from(&opened.entry.mime)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    response = response
        .status(status)
        .header(header::CONTENT_TYPE, mime)
        .header(header::CONTENT_LENGTH, end - start);
    if status == StatusCode::PARTIAL_CONTENT {
        response = response.header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
    }
    if method == Method::HEAD {
        return response.finish();
    }
    response.body(body(opened, start, end))
}

/// The bytes `start..end`; the file stays as long as they are on their way.
pub fn body(opened: Opened, start: u64, end: u64) -> Body {
    let pieces = futures::stream::try_unfold((opened, start, false), move |(mut opened, at, is_there)| async move {
        if at >= end {
            return Ok(None);
        }
        if !is_there && start > 0 {
            opened.file.seek(io::SeekFrom::Start(start)).await?;
        }
        let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let mut piece = BytesMut::zeroed(most);
        let read = opened.file.read(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ended early"));
        }
        piece.truncate(read);
        let next = at + read as u64;
        Ok::<_, io::Error>(Some((piece.freeze(), (opened, next, true))))
    });
    Body::from_bytes_stream(pieces)
}

/// All of a file.
///
/// # Errors
/// What the disk says.
pub async fn whole(mut opened: Opened) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(opened.entry.size).unwrap_or(0));
    opened.file.read_to_end(&mut bytes).await?;
    Ok(Bytes::from(bytes))
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(u64, u64),
    Beyond,
}

/// What a `Range` asks of a file of that size. One range; several, other units and nonsense count as not asked (RFC 9110
/// §14.2).
fn wanted(range: &str, size: u64) -> Wanted {
    let parsed = || {
        let (first, last) = range.strip_prefix("bytes=")?.trim().split_once('-')?;
        if range.contains(',') {
            return None;
        }
        if first.is_empty() {
            let count: u64 = last.parse().ok()?;
            return Some(match count.min(size) {
                0 => Wanted::Beyond,
                count => Wanted::Part(size - count, size),
            });
        }
        let start: u64 = first.parse().ok()?;
        let end = match last {
            "" => size,
            last => last.parse::<u64>().ok()?.checked_add(1)?.min(size),
        };
        if start >= size {
            return Some(Wanted::Beyond);
        }
        (start < end).then_some(Wanted::Part(start, end))
    };
    parsed().unwrap_or(Wanted::All)
}

fn http_date(ms: u64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(ms / 1000).ok()?)
        .ok()?
        .format(HTTP_DATE)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        for (range, found) in [
            ("bytes=0-0", Wanted::Part(0, 1)),
            ("bytes=2-", Wanted::Part(2, 10)),
            ("bytes=2-5", Wanted::Part(2, 6)),
            ("bytes=2-500", Wanted::Part(2, 10)),
            ("bytes=-3", Wanted::Part(7, 10)),
            ("bytes=-30", Wanted::Part(0, 10)),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=10-20", Wanted::Beyond),
            ("bytes=5-2", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=1", Wanted::All),
            ("items=0-1", Wanted::All),
            ("bytes=0-18446744073709551615", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(wanted(range, 10), found, "{range}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Beyond);
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(
            http_date(784_111_777_000).as_deref(),
            Some("Sun, 06 Nov 1994 08:49:37 GMT")
        );
    }
}
