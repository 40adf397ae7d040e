//! `POST /v1/chat/completions` and `GET /v1/chat/deferred-completion/{id}`.

mod answer;
mod compose;
mod legacy;
mod objections;
mod pattern;
mod render;
mod request;
mod schema;
mod structured;
mod toolcalls;

use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Response, StatusCode};

pub use self::answer::{Choice, Speech, Usage, prompt_tokens};
pub use self::legacy::completions;
pub use self::objections::objection;
pub use self::request::{
    CalledFunction, ChatRequest, Content, Function, ImageUrl, JsonSchema, Message, NamedFunction, Part, ResponseFormat,
    Role, Tool, ToolCall, ToolChoice, ToolMode, Unreadable, read,
};

use self::render::Frame;
use super::body::SimBody;
use super::caller::Caller;
use super::errors::{self, Mention, respond};
use super::routes::{Answer, unreadable};
use super::turn::{Asked, Turn, admit, speak};
use super::world::{Deferred, World, random_uuid};

/// The path, as rules see it.
pub const PATH: &str = "/v1/chat/completions";
/// How long a deferred answer is kept, in milliseconds.
const DEFERRED_KEPT_MS: u64 = 24 * 3_600_000;

/// Answers a chat request.
pub async fn complete(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Answer {
    let request = match ChatRequest::parse(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-chat-422")),
    };
    let stream = request.stream == Some(true);
    let asked = Asked {
        path: PATH,
        endpoint: "chat",
        model: request.model.as_deref(),
        stream,
        prompt: &request.last_user_text(),
    };
    let mut turn = match admit(world, caller, &asked).await {
        Ok(admitted) => match speak(world, caller, headers, admitted, &request, PATH) {
            Ok(turn) => turn,
            Err(instead) => return *instead,
        },
        Err(instead) => return *instead,
    };
    let model = turn.admitted.model.clone();
    let frame = Frame {
        id: random_uuid(),
        created: world.clock.wall().0 / 1000,
        model: &model.id,
        fingerprint: &model.fingerprint,
        tier: turn.tier,
        logprobs: (request.logprobs == Some(true) && model.logprobs)
            .then(|| request.top_logprobs.unwrap_or(0).max(0) as usize),
    };
    let sent_usage = render::usage_value(&turn.usage, turn.cost_ticks, turn.admitted.effects.usage);
    if request.deferred == Some(true) {
        let body = Bytes::from(render::object(&frame, &turn.choices, sent_usage.as_ref()));
        return Ok(defer(world, turn, body));
    }
    if stream {
        let sent_usage = sent_usage.as_ref().filter(|_| request.wants_usage());
        let mention = turn.admitted.mention(caller);
        let steps = render::stream(
            &frame,
            &turn.choices,
            sent_usage,
            turn.pace,
            &turn.admitted.effects,
            &mention,
        );
        return Ok(turn.streamed(steps));
    }
    if let (Some(size), Some(choice)) = (turn.admitted.effects.huge_chunk, turn.choices.first_mut()) {
        choice.content.push_str(&"x".repeat(size));
    }
    let body = render::object(&frame, &turn.choices, sent_usage.as_ref());
    Ok(turn.whole(body).await)
}

/// Accepts a deferred call; the answer is ready after the time it takes.
fn defer(world: &World, mut turn: Turn, body: Bytes) -> Response<SimBody> {
    let id = random_uuid().to_string();
    let now = world.clock.now();
    let ready = now.plus_ms(turn.making_time().as_millis() as u64);
    world
        .deferred
        .retain(|_, one| now.ms_since(one.ready) < DEFERRED_KEPT_MS);
    world.deferred.insert(
        id.clone(),
        Deferred {
            team: turn.admitted.team.id.clone(),
            ready,
            body,
        },
    );
    let output = u32::try_from(turn.output()).unwrap_or(u32::MAX);
    let call = &mut turn.admitted.call;
    call.wrote(output);
    call.finish();
    errors::json_body(StatusCode::OK, &serde_json::json!({"request_id": id}))
}

/// `GET /v1/chat/deferred-completion/{id}`: 202 while it is made, 200 once, 404 from then on.
pub fn fetch_deferred(world: &World, caller: &Caller, id: &str) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = caller.barred("chat", None) {
        return *refusal;
    }
    let missing = || {
        respond(
            "deferred-missing",
            &Mention {
                detail: id,
                ..caller.mention()
            },
        )
    };
    let Some(entry) = world.deferred.get(id).map(|entry| entry.clone()) else {
        return missing();
    };
    if entry.team != key.team.id {
        return missing();
    }
    if world.clock.now() < entry.ready {
        let mut response = Response::new(SimBody::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        return response;
    }
    match world.deferred.remove(id) {
        Some((_, entry)) => errors::plain(StatusCode::OK, "application/json", entry.body),
        None => missing(),
    }
}
