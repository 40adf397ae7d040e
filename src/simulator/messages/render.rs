//! Messages as JSON, whole or in events. Events follow Anthropic's documents: no recording of the API's own is public.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::body::Step;
use super::super::chat::Choice;
use super::super::errors::Mention;
use super::super::misbehave::UsageFault;
use super::super::pacing::{disturbed, named_event};
use super::super::tokens;
use super::super::turn::Turn;

/// Pieces in which the input of a call comes.
const INPUT_PIECE: usize = 24;

fn stop_reason(choice: &Choice) -> &'static str {
    match choice.finish {
        "tool_calls" => "tool_use",
        "length" => "max_tokens",
        _ if choice.stopped_by.is_some() => "stop_sequence",
        _ => "end_turn",
    }
}

/// Input leaves out what the cache served; there is no word of the price here.
fn usage(turn: &Turn, output: u64) -> Option<Value> {
    let shown = |input: u64, cached: u64, output: u64| {
        json!({
            "input_tokens": input,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": output,
        })
    };
    match turn.admitted.effects.usage {
        None => Some(shown(
            turn.usage.prompt() - turn.usage.cached,
            turn.usage.cached,
            output,
        )),
        Some(UsageFault::Missing) => None,
        Some(UsageFault::Null) => Some(Value::Null),
        Some(UsageFault::Zero) => Some(shown(0, 0, 0)),
    }
}

fn signature(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn begun(id: &str, turn: &Turn, output: u64) -> Value {
    let mut message = json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": turn.admitted.model.id,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    });
    if let Some(usage) = usage(turn, output) {
        message["usage"] = usage;
    }
    message
}

/// The whole message.
pub fn object(id: &str, turn: &Turn) -> Value {
    let mut message = begun(id, turn, turn.output());
    let Some(choice) = turn.choices.first() else {
        return message;
    };
    let mut content = Vec::new();
    if !choice.thinking.is_empty() {
        let signature = signature(&choice.thinking);
        content.push(json!({"type": "thinking", "thinking": choice.thinking, "signature": signature}));
    }
    if !choice.content.is_empty() {
        content.push(json!({"type": "text", "text": choice.content}));
    }
    for call in &choice.calls {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
        content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}));
    }
    message["content"] = json!(content);
    message["stop_reason"] = json!(stop_reason(choice));
    message["stop_sequence"] = json!(choice.stopped_by);
    message
}

struct Events {
    written: Vec<(Bytes, u32)>,
    block: usize,
}

impl Events {
    fn send(&mut self, tokens: u32, kind: &str, mut event: Value) {
        event["type"] = json!(kind);
        self.written.push((named_event(kind, &event), tokens));
    }

    fn open(&mut self, block: Value) {
        let index = self.block;
        self.send(
            0,
            "content_block_start",
            json!({"index": index, "content_block": block}),
        );
    }

    fn delta(&mut self, tokens: u32, delta: Value) {
        let index = self.block;
        self.send(tokens, "content_block_delta", json!({"index": index, "delta": delta}));
    }

    fn close(&mut self) {
        let index = self.block;
        self.send(0, "content_block_stop", json!({"index": index}));
        self.block += 1;
    }
}

/// The steps of a streamed message.
pub fn stream(id: &str, turn: &Turn, mention: &Mention<'_>) -> VecDeque<Step> {
    let mut events = Events {
        written: Vec::new(),
        block: 0,
    };
    events.send(0, "message_start", json!({"message": begun(id, turn, 0)}));
    events.send(0, "ping", json!({}));
    let mut last = json!({"stop_reason": "end_turn", "stop_sequence": null});
    if let Some(choice) = turn.choices.first() {
        if !choice.thinking.is_empty() {
            events.open(json!({"type": "thinking", "thinking": "", "signature": ""}));
            for piece in tokens::pieces(&choice.thinking) {
                events.delta(1, json!({"type": "thinking_delta", "thinking": piece}));
            }
            let signature = signature(&choice.thinking);
            events.delta(0, json!({"type": "signature_delta", "signature": signature}));
            events.close();
        }
        if !choice.content.is_empty() {
            events.open(json!({"type": "text", "text": ""}));
            if let Some(size) = turn.admitted.effects.huge_chunk {
                events.delta(0, json!({"type": "text_delta", "text": "x".repeat(size)}));
            }
            for piece in tokens::pieces(&choice.content) {
                events.delta(1, json!({"type": "text_delta", "text": piece}));
            }
            events.close();
        }
        for call in &choice.calls {
            events.open(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}));
            let count = 2 + tokens::count(&call.name) + tokens::count(&call.arguments);
            let mut tokens = u32::try_from(count).unwrap_or(u32::MAX);
            let chars: Vec<char> = call.arguments.chars().collect();
            for piece in chars.chunks(INPUT_PIECE) {
                let piece: String = piece.iter().collect();
                events.delta(
                    std::mem::take(&mut tokens),
                    json!({"type": "input_json_delta", "partial_json": piece}),
                );
            }
            events.close();
        }
        last = json!({"stop_reason": stop_reason(choice), "stop_sequence": choice.stopped_by});
    }
    let mut end = json!({"delta": last});
    if let Some(usage) = usage(turn, turn.output()) {
        end["usage"] = usage;
    }
    events.send(0, "message_delta", end);
    events.send(0, "message_stop", json!({}));
    disturbed(events.written, turn.pace, &turn.admitted.effects, mention)
}
