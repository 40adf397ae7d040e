//! Routes of pictures and films.

use grok2api_schemas::public::media as types;

use super::{Gives, Public, Takes, get, paged, route, schema};

const IMAGES: &str = "Images";
const VIDEOS: &str = "Videos";
const PICTURE: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "application/octet-stream",
];
const FILM: &[&str] = &["video/mp4", "video/webm", "application/octet-stream"];

/// A file that is kept here, for whoever has its link.
const fn kept(method: &'static str, path: &'static str, about: &'static str, kinds: &'static [&'static str]) -> Public {
    Public {
        is_open: true,
        ..route(method, path, "Files", about, Takes::Nothing, Gives::Bytes(kinds))
    }
}

/// Every one of them.
pub(super) fn routes() -> Vec<Public> {
    use Gives::{Events, Json, Object};
    use Takes::Nothing;
    vec![
        route(
            "post",
            "/v1/images/generations",
            IMAGES,
            "Makes pictures.",
            Takes::Json(schema::<types::ImageAsk>),
            Events,
        ),
        route(
            "post",
            "/v1/images/edits",
            IMAGES,
            "Makes pictures out of others.",
            Takes::JsonOrForm(schema::<types::ImageEditAsk>, "image"),
            Events,
        ),
        get("/v1/images/{id}", IMAGES, "Gives out pictures that were deferred."),
        route(
            "get",
            "/v1/images/method",
            IMAGES,
            "Tells how web sessions make pictures.",
            Nothing,
            Json(schema::<types::ImageMethod>),
        ),
        route(
            "post",
            "/v1/uploads/image",
            IMAGES,
            "Keeps a picture, for requests that build on it.",
            Takes::Form("file"),
            Json(schema::<types::Uploaded>),
        ),
        route(
            "post",
            "/v1/videos/generations",
            VIDEOS,
            "Begins a film, in the upstream's form.",
            Takes::Json(schema::<types::VideoAsk>),
            Object,
        ),
        route(
            "post",
            "/v1/videos/edits",
            VIDEOS,
            "Begins a film made out of another; a form is OpenAI's.",
            Takes::JsonOrForm(schema::<types::VideoEditAsk>, "video"),
            Object,
        ),
        route(
            "post",
            "/v1/videos/extensions",
            VIDEOS,
            "Begins a film that goes on where another ends; a form is OpenAI's.",
            Takes::JsonOrForm(schema::<types::VideoEditAsk>, "video"),
            Object,
        ),
        route(
            "post",
            "/v1/videos",
            VIDEOS,
            "Begins a film, in OpenAI's form.",
            Takes::JsonOrForm(schema::<types::OpenAiVideoAsk>, "input_reference"),
            Object,
        ),
        paged(get("/v1/videos", VIDEOS, "Lists the key's films.")),
        get(
            "/v1/videos/{id}",
            VIDEOS,
            "Tells how a film stands, in the dialect of its id.",
        ),
        route("delete", "/v1/videos/{id}", VIDEOS, "Forgets a film.", Nothing, Object),
        route(
            "get",
            "/v1/videos/{id}/content",
            VIDEOS,
            "Gives out a film.",
            Nothing,
            Gives::Bytes(FILM),
        ),
        route(
            "post",
            "/v1/videos/{id}/remix",
            VIDEOS,
            "Begins a film made out of one of the key's own, in OpenAI's form.",
            Takes::JsonOrForm(schema::<types::RemixAsk>, "input_reference"),
            Object,
        ),
        route(
            "post",
            "/v1/videos/upscale",
            VIDEOS,
            "Not offered; tells what is.",
            Takes::Object,
            Object,
        ),
        route(
            "post",
            "/v1/videos/{id}/upscale",
            VIDEOS,
            "Not offered; tells what is.",
            Takes::Object,
            Object,
        ),
        route(
            "post",
            "/v1/videos/characters",
            VIDEOS,
            "Not offered; tells what is.",
            Takes::Object,
            Object,
        ),
        get("/v1/videos/characters/{id}", VIDEOS, "Not offered; tells what is."),
        kept("get", "/v1/files/image/{name}", "Gives out a picture.", PICTURE),
        kept("head", "/v1/files/image/{name}", "Tells of a picture.", PICTURE),
        kept("get", "/v1/files/video/{name}", "Gives out a film that is kept.", FILM),
        kept("head", "/v1/files/video/{name}", "Tells of a film that is kept.", FILM),
    ]
}
