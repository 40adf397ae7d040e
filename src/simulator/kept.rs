//! What a team keeps beside files: skills, batches, collections of documents.

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::body::SimBody;
use super::caller::Caller;
use super::errors::{Mention, json_body, plain, respond};
use super::voice;
use super::world::{World, random_uuid};

/// Things kept; over this no more are taken.
const MOST_KEPT: usize = 10_000;
/// What a call of a batch costs, USD ticks: two cents.
const CALL_TICKS: u64 = 200_000_000;
/// What a search costs, USD ticks.
const SEARCH_TICKS: u64 = 25_000_000;

/// A skill or batch.
#[derive(Clone, Debug)]
pub struct Kept {
    team: String,
    name: String,
    created: u64,
    content: Bytes,
    /// Calls of a batch.
    calls: Vec<Value>,
    is_cancelled: bool,
}

/// A request to one of these endpoints.
pub struct Asked<'a> {
    pub method: &'a Method,
    pub path: &'a [String],
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
}

/// Answers what is below `/v1/skills`, `/v1/batches`, `/v1/documents`, `/v1/tts` and `/v1/stt`.
pub async fn kept(world: &World, caller: &Caller, asked: Asked<'_>) -> Response<SimBody> {
    if let Err(refusal) = caller.require() {
        return *refusal;
    }
    if let Some(refusal) = caller.barred("files", None) {
        return *refusal;
    }
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let (get, post) = (*asked.method == Method::GET, *asked.method == Method::POST);
    match path.as_slice() {
        ["tts"] if post => voice::speak(caller, &asked.body),
        ["tts", "voices"] if get => voice::voices(),
        ["stt"] if post => voice::write(caller, asked.headers, asked.body).await,
        ["documents", "search"] if post => search(caller, &asked.body),
        ["skills"] if post => upload(world, caller, asked).await,
        ["skills", id] if get => with(world, caller, id, skill),
        ["skills", id] if *asked.method == Method::DELETE => {
            let gone = with(world, caller, id, |id, _| {
                json_body(
                    StatusCode::OK,
                    &json!({"id": id, "object": "skill.deleted", "deleted": true}),
                )
            });
            world.kept.remove_if(*id, |_, kept| kept.team == caller.mention().team);
            gone
        }
        ["skills", id, "content"] if get => with(world, caller, id, |_, kept| {
            plain(StatusCode::OK, "application/zip", kept.content.clone())
        }),
        ["batches"] if post => begin(world, caller, &asked.body),
        ["batches", id] if post && id.ends_with(":cancel") => {
            let id = id.trim_end_matches(":cancel");
            if let Some(mut kept) = world.kept.get_mut(id) {
                kept.is_cancelled |= kept.team == caller.mention().team;
            }
            with(world, caller, id, batch)
        }
        ["batches", id] if get => with(world, caller, id, batch),
        ["batches", id, "requests"] if post => add(world, caller, id, &asked.body),
        ["batches", id, "requests"] if get => with(world, caller, id, |_, kept| {
            json_body(
                StatusCode::OK,
                &json!({"batch_requests": kept.calls, "pagination_token": null}),
            )
        }),
        ["batches", id, "results"] if get => with(world, caller, id, |_, kept| results(kept, asked.query)),
        ["skills" | "batches", ..] | ["documents", "search"] | ["tts" | "stt"] => {
            respond("method-405", &caller.mention())
        }
        _ => respond("path-missing", &caller.mention()),
    }
}

fn invalid(caller: &Caller, detail: &str) -> Response<SimBody> {
    respond(
        "arg-invalid",
        &Mention {
            detail,
            ..caller.mention()
        },
    )
}

fn with(
    world: &World,
    caller: &Caller,
    id: &str,
    show: impl Fn(&str, &Kept) -> Response<SimBody>,
) -> Response<SimBody> {
    let mention = caller.mention();
    match world.kept.get(id).filter(|kept| kept.team == mention.team) {
        Some(kept) => show(id, &kept),
        None => respond("file-other-team", &Mention { detail: id, ..mention }),
    }
}

fn keep(world: &World, caller: &Caller, id: &str, name: &str, content: Bytes) -> Option<Kept> {
    if world.kept.len() >= MOST_KEPT {
        return None;
    }
    let kept = Kept {
        team: caller.mention().team.to_owned(),
        name: name.to_owned(),
        created: world.clock.wall().0 / 1000,
        content,
        calls: Vec::new(),
        is_cancelled: false,
    };
    world.kept.insert(id.to_owned(), kept.clone());
    Some(kept)
}

async fn upload(world: &World, caller: &Caller, asked: Asked<'_>) -> Response<SimBody> {
    let Some((name, content)) = voice::form_file(asked.headers, asked.body, "files").await else {
        return invalid(caller, "files is missing.");
    };
    let id = format!("skill_{}", random_uuid());
    match keep(world, caller, &id, &name, content) {
        Some(kept) => skill(&id, &kept),
        None => respond("too-large-413", &caller.mention()),
    }
}

fn skill(id: &str, kept: &Kept) -> Response<SimBody> {
    json_body(
        StatusCode::OK,
        &json!({
            "id": id, "object": "skill", "name": kept.name, "description": "", "created_at": kept.created,
            "default_version": "1", "latest_version": "1",
        }),
    )
}

fn begin(world: &World, caller: &Caller, body: &[u8]) -> Response<SimBody> {
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return invalid(caller, "the body is not JSON.");
    };
    let Some(name) = asked["name"].as_str() else {
        return invalid(caller, "name is missing.");
    };
    if let Some(file) = asked["input_file_id"].as_str()
        && !world.owns_file(caller.mention().team, file)
    {
        return respond(
            "file-other-team",
            &Mention {
                detail: file,
                ..caller.mention()
            },
        );
    }
    let id = format!("batch_{}", random_uuid());
    match keep(world, caller, &id, name, Bytes::new()) {
        Some(kept) => batch(&id, &kept),
        None => respond("too-large-413", &caller.mention()),
    }
}

/// What a call of a batch lacks, if it lacks something.
fn lacking(call: &Value) -> Option<&'static str> {
    let (kind, inner) = call["batch_request"].as_object()?.iter().next()?;
    let needed = match kind.as_str() {
        "responses" => "input",
        "chat_get_completion" => "messages",
        _ => "prompt",
    };
    inner[needed].is_null().then_some(needed)
}

fn batch(id: &str, kept: &Kept) -> Response<SimBody> {
    let calls = kept.calls.len() as u64;
    let failed = kept.calls.iter().filter(|call| lacking(call).is_some()).count() as u64;
    json_body(
        StatusCode::OK,
        &json!({
            "batch_id": id,
            "name": kept.name,
            "create_time": kept.created.to_string(),
            "cancel_time": kept.is_cancelled.then(|| kept.created.to_string()),
            "cost_breakdown": {"total_cost_usd_ticks": calls * CALL_TICKS},
            "state": {
                "num_requests": calls, "num_pending": 0, "num_success": calls - failed, "num_error": failed,
                "num_cancelled": 0,
            },
        }),
    )
}

fn add(world: &World, caller: &Caller, id: &str, body: &[u8]) -> Response<SimBody> {
    let calls = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|mut body| match body["batch_requests"].take() {
            Value::Array(calls) => Some(calls),
            _ => None,
        });
    let Some(calls) = calls else {
        return invalid(caller, "batch_requests is missing.");
    };
    for call in &calls {
        let inner = call["batch_request"]
            .as_object()
            .and_then(|kinds| kinds.values().next());
        let model = inner.and_then(|inner| inner["model"].as_str()).unwrap_or("latest");
        if world.models.find(model).is_none() {
            return respond(
                "model-missing-404",
                &Mention {
                    model,
                    ..caller.mention()
                },
            );
        }
    }
    if let Some(mut kept) = world.kept.get_mut(id)
        && kept.team == caller.mention().team
    {
        kept.calls.extend(calls);
    }
    with(world, caller, id, |_, _| json_body(StatusCode::OK, &json!({})))
}

/// Pages of results, by the number of the first.
fn results(kept: &Kept, query: &str) -> Response<SimBody> {
    let number = |name: &str| {
        let value = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse::<usize>().ok())
    };
    let (limit, from) = (
        number("limit").unwrap_or(100).clamp(1, 1_000),
        number("pagination_token").unwrap_or(0),
    );
    let page = kept.calls.iter().skip(from).take(limit);
    let results: Vec<Value> = page.map(|call| result(call, kept.created)).collect();
    let next = (from + limit < kept.calls.len()).then(|| (from + limit).to_string());
    json_body(StatusCode::OK, &json!({"results": results, "pagination_token": next}))
}

/// What came of a call: of text always a chat completion, whatever was asked (`xai-api.md` §11).
fn result(call: &Value, created: u64) -> Value {
    let id = &call["batch_request_id"];
    if let Some(lacking) = lacking(call) {
        let message = format!("Argument not supported: {lacking} is missing.");
        return json!({"batch_request_id": id, "batch_result": {"error": {"code": 400, "message": message}}});
    }
    let kinds = call["batch_request"].as_object().into_iter().flatten().next();
    let (kind, asked) = kinds.map_or(("", &Value::Null), |(kind, asked)| (kind.as_str(), asked));
    let response = match kind {
        "image_generation" | "image_edit" => {
            json!({kind: {"data": [{"url": "https://imgen.x.ai/batch.jpg", "revised_prompt": ""}]}})
        }
        "video_generation" | "video_extension" => json!({kind: {"status": "done"}}),
        _ => json!({"chat_get_completion": {
            "id": random_uuid().to_string(), "object": "chat.completion", "created": created, "model": asked["model"],
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Done.", "refusal": null},
            }],
            "usage": {
                "prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6,
                "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
                "cost_in_usd_ticks": CALL_TICKS,
            },
        }}),
    };
    json!({"batch_request_id": id, "batch_result": {"response": response}})
}

/// Collections are named after the team that has them.
fn search(caller: &Caller, body: &[u8]) -> Response<SimBody> {
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return invalid(caller, "the body is not JSON.");
    };
    let mention = caller.mention();
    let mine = format!("collection_{}", mention.team);
    let collections = asked["source"]["collection_ids"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    match collections.iter().find(|id| **id != *mine) {
        Some(other) => respond(
            "file-other-team",
            &Mention {
                detail: other.as_str().unwrap_or_default(),
                ..mention
            },
        ),
        None => json_body(
            StatusCode::OK,
            &json!({
                "matches": [{
                    "file_id": "file_1", "chunk_id": "chunk_1", "chunk_content": asked["query"], "score": 0.9,
                    "collection_ids": [mine], "fields": {},
                }],
                "usage": {"cost_in_usd_ticks": SEARCH_TICKS},
            }),
        ),
    }
}
