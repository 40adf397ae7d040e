//! `/v1/realtime`: a conversation over a WebSocket. Text is answered with text, sound with the same sound.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::TaskTracker;

use super::body::SimBody;
use super::caller::Caller;
use super::errors::{Mention, plain, respond};
use super::world::{World, random_uuid};

/// Tokens that each answer is said to have taken.
const TOKENS: u64 = 42;

/// Sixteen bytes of no sound, in base64.
const SILENCE: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

/// Opens one.
pub fn realtime(world: &Arc<World>, caller: &Caller, request: Request<Incoming>) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key.clone(),
        Err(refusal) => return *refusal,
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let name = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("model="))
        .unwrap_or("latest");
    let Some(model) = world.models.find(name) else {
        return respond(
            "model-missing-404",
            &Mention {
                model: name,
                ..caller.mention()
            },
        );
    };
    if let Some(refusal) = caller.barred("realtime", Some(&model.id)) {
        return *refusal;
    }
    let Some(challenge) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return plain(StatusCode::BAD_REQUEST, "text/plain", "a WebSocket is expected");
    };
    let accept = derive_accept_key(challenge.as_bytes());
    let model = model.id.clone();
    let world = world.clone();
    // Ends with its connection.
    TaskTracker::new().spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            world.stats.requests.fetch_add(1, Ordering::Relaxed);
            talk(socket, &model, &key.team.id).await;
        }
    });
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
    let headers = response.headers_mut();
    headers.remove(http::header::CONTENT_TYPE);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn talk(mut socket: Socket, model: &str, team: &str) {
    let conversation = format!("conv_{}", random_uuid());
    let hello = [
        json!({"type": "session.created", "event_id": "e1", "session": {"id": "s", "object": "realtime.session", "type": "realtime", "model": model, "team": blake3::hash(team.as_bytes()).to_hex()[..8]}}),
        json!({"type": "conversation.created", "event_id": "e2", "conversation": {"id": conversation}}),
    ];
    for event in hello {
        if socket.send(Message::text(event.to_string())).await.is_err() {
            return;
        }
    }
    while let Some(Ok(message)) = socket.next().await {
        let answers = match message {
            Message::Text(text) => answers(&text, model),
            Message::Binary(sound) => vec![Message::Binary(sound)],
            Message::Close(_) => return,
            _ => Vec::new(),
        };
        for answer in answers {
            let is_last = matches!(answer, Message::Close(_));
            if socket.send(answer).await.is_err() || is_last {
                return;
            }
        }
    }
}

/// An event of the one part that is spoken.
fn spoken(kind: &str, member: &str, content: &str) -> Value {
    json!({
        "type": kind, "event_id": "e4", "response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0,
        member: content,
    })
}

fn answers(text: &str, model: &str) -> Vec<Message> {
    let event: Value = serde_json::from_str(text).unwrap_or_default();
    let events = match event["type"].as_str() {
        Some("response.create") => vec![
            json!({"type": "response.created", "event_id": "e3", "response": {"id": "r1", "model": model, "status": "in_progress"}}),
            json!({"type": "response.output_item.added", "event_id": "e9", "response_id": "r1", "output_index": 0,
                "item": {"id": "i1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}}),
            spoken("response.output_audio_transcript.delta", "delta", "Hello."),
            spoken("response.output_audio.delta", "delta", SILENCE),
            spoken("response.output_audio_transcript.done", "transcript", "Hello."),
            json!({"type": "response.output_audio.done", "event_id": "e4", "response_id": "r1", "item_id": "i1",
                "output_index": 0, "content_index": 0}),
            json!({"type": "response.done", "event_id": "e5", "response": {"id": "r1", "status": "completed", "output": [],
                "usage": {"total_tokens": TOKENS, "input_tokens": 40, "output_tokens": 2}}}),
        ],
        Some("session.update") => {
            vec![json!({"type": "session.updated", "event_id": "e6", "session": event["session"]})]
        }
        Some("conversation.item.create") => {
            vec![json!({"type": "conversation.item.added", "event_id": "e7", "item": event["item"]})]
        }
        // A test's way to an end of the upstream's own.
        Some("sim.close") => return vec![Message::Close(None)],
        _ => vec![
            json!({"type": "error", "event_id": "e8", "error": {"type": "invalid_request_error", "message": "no such event"}}),
        ],
    };
    events.iter().map(|event| Message::text(event.to_string())).collect()
}
