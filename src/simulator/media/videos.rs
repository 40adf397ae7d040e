//! `POST /v1/videos/generations|edits|extensions` and `GET /v1/videos/{request_id}`: an id at once, the video later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use grok2api_actors::clock::Mono;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::super::body::SimBody;
use super::super::caller::Caller;
use super::super::chat::read;
use super::super::errors::{Mention, json_body, respond};
use super::super::routes::{Answer, unreadable};
use super::super::turn::{Asked, admit};
use super::super::world::{World, random_uuid};
use super::{Source, host, mp4};

const DEFAULT_MODEL: &str = "grok-imagine-video";
const GENERATIONS: &str = "/v1/videos/generations";
const EXTENSIONS: &str = "/v1/videos/extensions";
/// Jobs kept; over this the memory starts anew.
const MOST_JOBS: usize = 10_000;

/// A video that is being made, or was.
#[derive(Debug)]
pub struct VideoJob {
    team: String,
    model: String,
    seed: u64,
    seconds: u32,
    cost: u64,
    begun: Mono,
    ready: Mono,
    /// `failed`, `moderated`; else it succeeds.
    ending: Option<String>,
    polls: AtomicU64,
}

#[derive(Debug, Deserialize)]
struct VideoRequest {
    prompt: String,
    model: Option<String>,
    duration: Option<u32>,
    aspect_ratio: Option<String>,
    resolution: Option<String>,
    #[serde(alias = "input_reference")]
    image: Option<Source>,
    video: Option<Source>,
}

impl VideoRequest {
    fn objection(&self, path: &str) -> Option<&'static str> {
        let lengths = if path == EXTENSIONS { 2..=10 } else { 1..=15 };
        let known = |wish: &Option<String>, words: &[&str]| wish.as_deref().is_none_or(|wish| words.contains(&wish));
        if self.prompt.is_empty() {
            Some("prompt must not be empty.")
        } else if self.duration.is_some_and(|seconds| !lengths.contains(&seconds)) {
            Some("duration is out of range.")
        } else if path != GENERATIONS && self.video.is_none() {
            Some("video is missing.")
        } else if !known(&self.resolution, &["480p", "720p", "1080p"]) {
            Some("unknown resolution.")
        } else if !known(&self.aspect_ratio, &["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]) {
            Some("unknown aspect_ratio.")
        } else {
            None
        }
    }
}

/// Begins a video.
pub async fn make(world: &Arc<World>, caller: &Caller, body: &[u8], path: &'static str) -> Answer {
    let request: VideoRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    let asked = Asked {
        path,
        endpoint: "video",
        model: Some(request.model.as_deref().unwrap_or(DEFAULT_MODEL)),
        stream: false,
        prompt: &request.prompt,
    };
    let mut admitted = match admit(world, caller, &asked).await {
        Ok(admitted) => admitted,
        Err(instead) => return *instead,
    };
    let detail = if admitted.model.media {
        request.objection(path)
    } else {
        Some("This model does not make videos.")
    };
    if let Some(detail) = detail {
        let mention = Mention {
            detail,
            ..admitted.mention(caller)
        };
        let refusal = respond("arg-invalid", &mention);
        return *admitted.refuse(refusal);
    }
    for source in request.image.iter().chain(&request.video) {
        if let Some(refusal) = source.objection(world, caller) {
            return *admitted.refuse(refusal);
        }
    }
    let seconds = request.duration.unwrap_or(if path == EXTENSIONS { 6 } else { 8 });
    let cost = admitted.model.price[0] * u64::from(seconds);
    let hash = blake3::hash(request.prompt.as_bytes());
    let now = world.clock.now();
    if world.videos.len() >= MOST_JOBS {
        world.videos.clear();
    }
    let id = random_uuid().to_string();
    world.videos.insert(
        id.clone(),
        VideoJob {
            team: admitted.team.id.clone(),
            model: admitted.model.id.clone(),
            seed: hash
                .as_bytes()
                .first_chunk()
                .map_or(0, |first| u64::from_le_bytes(*first)),
            seconds,
            cost,
            begun: now,
            ready: now.plus_ms(world.scenario.video_ms),
            ending: admitted.effects.answer.clone(),
            polls: AtomicU64::new(0),
        },
    );
    admitted.call.charge_flat(cost);
    admitted.call.finish();
    let mut response = json_body(StatusCode::OK, &json!({"request_id": id}));
    admitted.dress(&mut response);
    Ok(response)
}

/// Looks after a video: 202 while it is made, every other time without a body.
pub fn poll(world: &World, caller: &Caller, headers: &HeaderMap, id: &str) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = caller.barred("video", None) {
        return *refusal;
    }
    let job = world.videos.get(id).filter(|job| job.team == key.team.id);
    let Some(job) = job else {
        return respond(
            "request-missing",
            &Mention {
                detail: id,
                ..caller.mention()
            },
        );
    };
    let now = world.clock.now();
    if now < job.ready {
        if job.polls.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
            let mut response = Response::new(SimBody::empty());
            *response.status_mut() = StatusCode::ACCEPTED;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return response;
        }
        let whole = job.ready.ms_since(job.begun).max(1);
        let progress = (now.ms_since(job.begun) * 100 / whole).min(99);
        return json_body(
            StatusCode::ACCEPTED,
            &json!({"status": "pending", "progress": progress}),
        );
    }
    let (url, kept) = match job.ending.as_deref() {
        Some("failed") => {
            let error = json!({"code": "internal_error", "message": "The video could not be made."});
            return json_body(StatusCode::OK, &json!({"status": "failed", "error": error}));
        }
        Some("moderated") => (String::new(), false),
        _ => {
            let bytes = Bytes::from(mp4::video(job.seed, job.seconds));
            (host(world, headers, bytes, "video/mp4", "mp4"), true)
        }
    };
    json_body(
        StatusCode::OK,
        &json!({
            "status": "done",
            "video": {"url": url, "duration": job.seconds, "respect_moderation": kept},
            "model": job.model,
            "progress": 100,
            "usage": {"cost_in_usd_ticks": job.cost},
        }),
    )
}
