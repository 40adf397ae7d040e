//! `POST /v1/messages`, as the API offers it to Anthropic's clients. Its errors are the API's own, not Anthropic's.

mod render;
mod request;

use std::sync::Arc;

use http::header::HeaderMap;

use self::request::MessagesRequest;
use super::caller::Caller;
use super::chat::read;
use super::routes::{Answer, unreadable};
use super::turn::{Asked, admit, speak};
use super::world::{World, random_uuid};

const PATH: &str = "/v1/messages";

/// Answers a request for a message.
pub async fn create(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Answer {
    let request: MessagesRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    let chat = match request.chat() {
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
    let mut turn = match speak(world, caller, headers, admitted, &chat, PATH) {
        Ok(turn) => turn,
        Err(instead) => return *instead,
    };
    let id = random_uuid().to_string();
    if asked.stream {
        let mention = turn.admitted.mention(caller);
        let steps = render::stream(&id, &turn, &mention);
        return Ok(turn.streamed(steps));
    }
    if let (Some(size), Some(choice)) = (turn.admitted.effects.huge_chunk, turn.choices.first_mut()) {
        choice.content.push_str(&"x".repeat(size));
    }
    let body = render::object(&id, &turn).to_string();
    Ok(turn.whole(body.into_bytes()).await)
}
