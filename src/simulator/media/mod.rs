//! Images and videos: small but real ones, at URLs that soon end.

mod images;
mod jpeg;
mod mp4;
mod png;
mod videos;

use bytes::Bytes;
use grok2api_actors::clock::Mono;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use serde::Deserialize;

use super::body::SimBody;
use super::caller::Caller;
use super::errors::{Mention, plain, respond};
use super::world::{World, random_uuid};

pub use self::images::{ImageJob, edit, fetch_deferred, generate};
pub use self::videos::{VideoJob, make, poll};

/// Where they are served; nobody needs a key there.
pub const PREFIX: &str = "/xai-tmp/";
/// Objects held; over this the memory starts anew.
const MOST_HELD: usize = 2_000;

/// An object at a URL.
#[derive(Clone, Debug)]
pub struct Hosted {
    bytes: Bytes,
    kind: &'static str,
    until: Mono,
}

/// Something to look at, as requests name it.
#[derive(Debug, Deserialize)]
struct Source {
    url: Option<String>,
    file_id: Option<String>,
}

impl Source {
    /// What is wrong with it.
    fn objection(&self, world: &World, caller: &Caller) -> Option<Response<SimBody>> {
        let mention = caller.mention();
        match (&self.url, &self.file_id) {
            (Some(url), None)
                if ["https://", "http://", "data:"]
                    .iter()
                    .any(|scheme| url.starts_with(scheme)) =>
            {
                None
            }
            (None, Some(id)) if world.owns_file(mention.team, id) => None,
            (None, Some(id)) => Some(respond("file-other-team", &Mention { detail: id, ..mention })),
            _ => Some(respond(
                "arg-invalid",
                &Mention {
                    detail: "A source needs an http(s) or data URL, or a file_id.",
                    ..mention
                },
            )),
        }
    }
}

/// Puts an object at a URL of the host that was asked.
fn host(world: &World, headers: &HeaderMap, bytes: Bytes, kind: &'static str, ending: &str) -> String {
    if world.media.len() >= MOST_HELD {
        world.media.clear();
    }
    let name = format!("xai-{}.{ending}", random_uuid());
    let until = world.clock.now().plus_ms(world.scenario.media_url_ms);
    world.media.insert(name.clone(), Hosted { bytes, kind, until });
    let authority = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1");
    format!("http://{authority}{PREFIX}{name}")
}

/// `GET` and `HEAD` of a hosted object, as long as it is there.
pub fn serve(world: &World, method: &Method, name: &str) -> Response<SimBody> {
    let now = world.clock.now();
    let hosted = world.media.get(name).map(|hosted| hosted.clone());
    let Some(hosted) = hosted.filter(|hosted| hosted.until > now) else {
        return plain(StatusCode::NOT_FOUND, "text/plain", "not found");
    };
    let length = hosted.bytes.len();
    let body = if *method == Method::HEAD {
        Bytes::new()
    } else {
        hosted.bytes
    };
    let mut response = plain(StatusCode::OK, hosted.kind, body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
