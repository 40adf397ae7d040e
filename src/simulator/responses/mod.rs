//! `POST /v1/responses` and what is kept of them.

mod compact;
mod render;
mod request;
mod sealed;
mod stored;

use std::sync::Arc;

use http::Response;
use http::header::HeaderMap;
use serde_json::Value;

pub use self::compact::compact;
pub use self::stored::{StoredResponse, delete, get, input_items};

use self::render::Frame;
use self::request::ResponsesRequest;
use self::sealed::foreign;
use super::body::SimBody;
use super::caller::Caller;
use super::chat::read;
use super::errors::{Mention, respond};
use super::routes::{Answer, unreadable};
use super::turn::{Admitted, Asked, admit, speak};
use super::world::{World, random_uuid};

const PATH: &str = "/v1/responses";

/// Answers a request for a response.
pub async fn create(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Answer {
    let request: ResponsesRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    let new_items = request.input.items();
    // What is continued is looked for before the call counts, so that what it says is in the prompt.
    let earlier = request
        .previous_response_id
        .as_deref()
        .and_then(|id| stored::find(world, caller, id));
    let mut items = earlier.as_deref().map(<[Value]>::to_vec).unwrap_or_default();
    items.extend(new_items.iter().cloned());
    let chat = match request.chat(&items) {
        Ok(chat) => chat,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    let asked = Asked {
        path: PATH,
        endpoint: "chat",
        model: request.model.as_deref(),
        stream: request.stream == Some(true),
        prompt: &chat.last_user_text(),
    };
    let admitted = match admit(world, caller, &asked).await {
        Ok(admitted) => admitted,
        Err(instead) => return *instead,
    };
    if let Some(refusal) = objection(&request, &admitted, caller, world, &items, earlier.is_some()) {
        return *admitted.refuse(refusal);
    }
    let mut turn = match speak(world, caller, headers, admitted, &chat, PATH) {
        Ok(turn) => turn,
        Err(instead) => return *instead,
    };
    let frame = Frame {
        id: random_uuid().to_string(),
        created: world.clock.wall().0 / 1000,
        model: turn.admitted.model.id.clone(),
        tier: turn.tier,
        request: &request,
    };
    if let (Some(size), Some(choice)) = (turn.admitted.effects.huge_chunk, turn.choices.first_mut())
        && !asked.stream
    {
        choice.content.push_str(&"x".repeat(size));
    }
    let made = render::output(&frame, &turn);
    if request.store != Some(false) {
        stored::keep(world, &turn, &frame, &new_items, items, &made);
    }
    if asked.stream {
        let mention = turn.admitted.mention(caller);
        let steps = render::stream(&frame, &turn, &made, &mention);
        return Ok(turn.streamed(steps));
    }
    let body = frame.response("completed", &made, Some(&turn)).to_string();
    Ok(turn.whole(body.into_bytes()).await)
}

/// What the endpoint does not take, beside what the model does not.
fn objection(
    request: &ResponsesRequest,
    admitted: &Admitted,
    caller: &Caller,
    world: &World,
    items: &[Value],
    continued: bool,
) -> Option<Response<SimBody>> {
    let refuse = |id: &str, detail: &str| {
        Some(respond(
            id,
            &Mention {
                detail,
                ..admitted.mention(caller)
            },
        ))
    };
    if let Some(id) = request.previous_response_id.as_deref() {
        if !continued {
            return refuse("response-missing", id);
        }
        if request.instructions.is_some() {
            return refuse(
                "arg-invalid",
                "instructions cannot be combined with previous_response_id.",
            );
        }
    }
    if request.max_tokens.is_some() {
        return refuse("arg-unsupported", "max_tokens");
    }
    if request.background == Some(true) {
        return refuse("arg-unsupported", "background");
    }
    if admitted.team.zdr.load(std::sync::atomic::Ordering::Relaxed) && request.store != Some(false) {
        return refuse("zdr-store", "");
    }
    for item in items {
        let sealed = item["encrypted_content"].as_str().unwrap_or_default();
        if !sealed.is_empty() && foreign(&admitted.team.id, sealed) {
            let id = match item["type"].as_str() {
                Some("compaction") => "compaction-foreign",
                _ => "sealed-foreign",
            };
            return refuse(id, "");
        }
        for part in item["content"].as_array().into_iter().flatten() {
            if let Some(file) = part["file_id"].as_str()
                && !world.owns_file(&admitted.team.id, file)
            {
                return refuse("file-other-team", file);
            }
        }
    }
    None
}
