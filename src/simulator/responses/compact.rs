//! `POST /v1/responses/compact`: a conversation in one sealed item.

use std::sync::Arc;

use http::header::HeaderMap;
use serde_json::json;

use super::super::caller::Caller;
use super::super::chat::{prompt_tokens, read};
use super::super::routes::{Answer, unreadable};
use super::super::turn::{Asked, admit, speak};
use super::super::world::{World, random_uuid};
use super::request::ResponsesRequest;
use super::sealed::seal;
use super::{objection, stored};

const PATH: &str = "/v1/responses/compact";

/// Answers a request for a compaction.
pub async fn compact(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Answer {
    let mut request: ResponsesRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    // Nothing is kept of it.
    request.store = Some(false);
    let earlier = request
        .previous_response_id
        .as_deref()
        .and_then(|id| stored::find(world, caller, id));
    let mut items = earlier.clone().unwrap_or_default();
    items.extend(request.input.items());
    let chat = match request.chat(&items) {
        Ok(chat) => chat,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    let asked = Asked {
        path: PATH,
        endpoint: "chat",
        model: request.model.as_deref(),
        stream: false,
        prompt: &chat.last_user_text(),
    };
    let admitted = match admit(world, caller, &asked).await {
        Ok(admitted) => admitted,
        Err(instead) => return *instead,
    };
    if let Some(refusal) = objection(&request, &admitted, caller, world, &items, earlier.is_some()) {
        return *admitted.refuse(refusal);
    }
    let turn = match speak(world, caller, headers, admitted, &chat, PATH) {
        Ok(turn) => turn,
        Err(instead) => return *instead,
    };
    let id = random_uuid();
    let prompt = prompt_tokens(&chat).prompt();
    let said: Vec<&str> = turn.choices.iter().map(|choice| choice.content.as_str()).collect();
    let body = json!({
        "id": format!("cmp_{id}"),
        "object": "response.compaction",
        "created_at": world.clock.wall().0 / 1000,
        "model": turn.admitted.model.id,
        "output": [{
            "type": "compaction",
            "id": format!("cmpi_{id}"),
            "encrypted_content": seal(&turn.admitted.team.id, &said.join("\n")),
        }],
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": turn.usage.cached},
            "output_tokens": turn.output(),
            "output_tokens_details": {"reasoning_tokens": turn.usage.reasoning},
            "total_tokens": prompt + turn.output(),
            "dropped_message_count": chat.messages.len(),
        },
    });
    Ok(turn.whole(body.to_string().into_bytes()).await)
}
