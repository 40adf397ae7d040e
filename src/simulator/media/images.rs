//! `POST /v1/images/generations` and `/v1/images/edits`. There is no `created`, and nothing is streamed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use grok2api_actors::clock::Mono;
use http::header::HeaderMap;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::body::SimBody;
use super::super::caller::Caller;
use super::super::chat::read;
use super::super::errors::{Mention, json_body, respond};
use super::super::routes::{Answer, unreadable};
use super::super::turn::{Asked, admit};
use super::super::world::{World, random_uuid};
use super::{Source, host, jpeg, png};

const GENERATIONS: &str = "/v1/images/generations";
const EDITS: &str = "/v1/images/edits";
/// Without a model the default one is run, and paid for.
const DEFAULT_MODEL: &str = "grok-imagine-image";
/// What looking at a picture costs, in ticks.
const INPUT_TICKS: u64 = 20_000_000;
const RATIOS: [&str; 15] = [
    "1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1", "21:9", "auto",
];

#[derive(Debug, Deserialize)]
struct ImageRequest {
    prompt: String,
    model: Option<String>,
    n: Option<u32>,
    response_format: Option<String>,
    aspect_ratio: Option<String>,
    resolution: Option<String>,
    image: Option<Source>,
    images: Option<Vec<Source>>,
    #[serde(default)]
    deferred: bool,
}

/// Pictures that are fetched later.
#[derive(Debug)]
pub struct ImageJob {
    team: String,
    ready: Mono,
    answer: Value,
}

/// Jobs kept; over this the memory starts anew.
const MOST_JOBS: usize = 10_000;

/// Gives out pictures that were deferred: 202 until they are ready.
pub fn fetch_deferred(world: &World, caller: &Caller, id: &str) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = caller.barred("image", None) {
        return *refusal;
    }
    let job = world.pictures.get(id).filter(|job| job.team == key.team.id);
    match job {
        None => respond(
            "request-missing",
            &Mention {
                detail: id,
                ..caller.mention()
            },
        ),
        Some(job) if world.clock.now() < job.ready => {
            json_body(StatusCode::ACCEPTED, &json!({"request_id": id, "status": "pending"}))
        }
        Some(job) => json_body(StatusCode::OK, &job.answer),
    }
}

impl ImageRequest {
    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.image.iter().chain(self.images.iter().flatten())
    }

    fn objection(&self, path: &str) -> Option<&'static str> {
        let known = |wish: &Option<String>, words: &[&str]| wish.as_deref().is_none_or(|wish| words.contains(&wish));
        if self.prompt.is_empty() {
            Some("prompt must not be empty.")
        } else if self.n.is_some_and(|n| !(1..=10).contains(&n)) {
            Some("n must be between 1 and 10.")
        } else if !known(&self.response_format, &["url", "b64_json"]) {
            Some("response_format must be url or b64_json.")
        } else if !known(&self.aspect_ratio, &RATIOS) {
            Some("unknown aspect_ratio.")
        } else if !known(&self.resolution, &["1k", "1.5k", "2k"]) {
            Some("unknown resolution.")
        } else if path == EDITS && self.sources().next().is_none() {
            Some("image is missing.")
        } else if self.sources().count() > 5 {
            Some("at most 5 images.")
        } else {
            None
        }
    }
}

/// Makes pictures.
pub async fn generate(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Answer {
    draw(world, caller, headers, body, GENERATIONS).await
}

/// Changes pictures.
pub async fn edit(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Answer {
    draw(world, caller, headers, body, EDITS).await
}

async fn draw(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8], path: &'static str) -> Answer {
    let request: ImageRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    let asked = Asked {
        path,
        endpoint: "image",
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
        Some("This model does not make images.")
    };
    if let Some(detail) = detail {
        let mention = Mention {
            detail,
            ..admitted.mention(caller)
        };
        let refusal = respond("arg-invalid", &mention);
        return *admitted.refuse(refusal);
    }
    for source in request.sources() {
        if let Some(refusal) = source.objection(world, caller) {
            return *admitted.refuse(refusal);
        }
    }
    let count = request.n.unwrap_or(1);
    let looked_at = request.sources().count() as u64;
    let cost = admitted.model.price[0] * u64::from(count) + INPUT_TICKS * looked_at;
    let moderated = admitted.effects.answer.as_deref() == Some("moderated");
    let data: Vec<Value> = (0..count)
        .map(|index| {
            if moderated {
                return json!({"mime_type": "image/jpeg", "respect_moderation": false});
            }
            let hash = blake3::hash(format!("{index} {}", request.prompt).as_bytes());
            let seed = hash
                .as_bytes()
                .first_chunk()
                .map_or(0, |first| u64::from_le_bytes(*first));
            // What is asked for larger comes as PNG, so that clients meet both.
            let (bytes, kind, ending) = if request.resolution.as_deref() == Some("2k") {
                (png::picture(seed), "image/png", "png")
            } else {
                (jpeg::picture(seed), "image/jpeg", "jpeg")
            };
            if request.response_format.as_deref() == Some("b64_json") {
                json!({"b64_json": STANDARD.encode(bytes), "mime_type": kind, "respect_moderation": true})
            } else {
                let url = host(world, headers, Bytes::from(bytes), kind, ending);
                json!({"url": url, "mime_type": kind, "respect_moderation": true})
            }
        })
        .collect();
    admitted.call.charge_flat(cost);
    admitted.call.finish();
    let mut answer = json!({"data": data, "usage": {"cost_in_usd_ticks": cost}});
    if request.deferred {
        let id = random_uuid().to_string();
        answer["request_id"] = json!(id);
        answer["status"] = json!("done");
        if admitted.effects.answer.as_deref() == Some("failed") {
            let error = json!({"code": "internal_error", "message": "The pictures could not be made."});
            answer = json!({"request_id": id, "status": "failed", "error": error});
        }
        let job = ImageJob {
            team: admitted.team.id.clone(),
            ready: world.clock.now().plus_ms(world.scenario.video_ms),
            answer,
        };
        if world.pictures.len() >= MOST_JOBS {
            world.pictures.clear();
        }
        world.pictures.insert(id.clone(), job);
        answer = json!({ "request_id": id });
    }
    let mut response = json_body(StatusCode::OK, &answer);
    admitted.dress(&mut response);
    Ok(response)
}
