//! `POST /v1/completions`, OpenAI's legacy form: a prompt instead of messages, text instead of a message.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::render::usage_value;
use super::request::{ChatRequest, Content, Message, Role, StreamOptions, read};
use crate::simulator::caller::Caller;
use crate::simulator::pacing::disturbed;
use crate::simulator::routes::{Answer, unreadable};
use crate::simulator::tokens;
use crate::simulator::turn::{Asked, admit, speak};
use crate::simulator::world::{World, random_uuid};

const PATH: &str = "/v1/completions";

#[derive(Deserialize)]
struct LegacyRequest {
    model: Option<String>,
    prompt: Prompt,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i32>,
    n: Option<i32>,
    stop: Option<Vec<String>>,
    temperature: Option<f64>,
    top_p: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Texts(Vec<String>),
}

/// Answers a legacy completion.
pub async fn completions(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Answer {
    let legacy: LegacyRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    let prompt = match legacy.prompt {
        Prompt::Text(text) => text,
        Prompt::Texts(texts) => texts.join("\n"),
    };
    let request = ChatRequest {
        model: legacy.model,
        messages: vec![Message {
            role: Role::User,
            content: Some(Content::Text(prompt)),
            name: None,
            reasoning_content: None,
            tool_calls: None,
            tool_call_id: None,
        }],
        stream: legacy.stream,
        stream_options: legacy.stream_options,
        max_tokens: legacy.max_tokens,
        n: legacy.n,
        stop: legacy.stop,
        temperature: legacy.temperature,
        top_p: legacy.top_p,
        ..ChatRequest::default()
    };
    let stream = request.stream == Some(true);
    let asked = Asked {
        path: PATH,
        endpoint: "sample",
        model: request.model.as_deref(),
        stream,
        prompt: &request.last_user_text(),
    };
    let turn = match admit(world, caller, &asked).await {
        Ok(admitted) => match speak(world, caller, headers, admitted, &request, PATH) {
            Ok(turn) => turn,
            Err(instead) => return *instead,
        },
        Err(instead) => return *instead,
    };
    let usage = usage_value(&turn.usage, turn.cost_ticks, turn.admitted.effects.usage);
    let mut frame = json!({
        "id": random_uuid().to_string(),
        "object": "text_completion",
        "created": world.clock.wall().0 / 1000,
        "model": turn.admitted.model.id,
        "choices": [],
        "system_fingerprint": turn.admitted.model.fingerprint,
    });
    let choice = |index: usize, text: &str, finish: Option<&str>| json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish});
    if !stream {
        let choices: Vec<Value> = turn
            .choices
            .iter()
            .enumerate()
            .map(|(index, one)| choice(index, &one.content, Some(one.finish)))
            .collect();
        frame["choices"] = json!(choices);
        if let Some(usage) = usage {
            frame["usage"] = usage;
        }
        return Ok(turn.whole(frame.to_string().into_bytes()).await);
    }
    let mut written: Vec<(Bytes, u32)> = Vec::new();
    let mut send = |tokens: u32, choices: Value, usage: Option<&Value>| {
        let mut chunk = frame.clone();
        chunk["choices"] = choices;
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        written.push((Bytes::from(format!("data: {chunk}\n\n")), tokens));
    };
    for (index, one) in turn.choices.iter().enumerate() {
        for piece in tokens::pieces(&one.content) {
            send(1, json!([choice(index, piece, None)]), None);
        }
        send(0, json!([choice(index, "", Some(one.finish))]), None);
    }
    if request.wants_usage() {
        send(0, json!([]), usage.as_ref());
    }
    if !turn.admitted.effects.drop_done {
        written.push((Bytes::from_static(b"data: [DONE]\n\n"), 0));
    }
    let mention = turn.admitted.mention(caller);
    let steps = disturbed(written, turn.pace, &turn.admitted.effects, &mention);
    Ok(turn.streamed(steps))
}
