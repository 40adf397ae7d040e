//! Writes messages (`xai-api.md` §19): one block at a time, and every event with its name.

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};

use super::said::{Said, Why};
use crate::engine::usage::Usage;

fn stop_reason(why: Why) -> &'static str {
    match why {
        Why::Complete => "end_turn",
        Why::Calls => "tool_use",
        Why::Limit => "max_tokens",
        Why::Withheld => "refusal",
    }
}

/// What is read from the cache is counted apart.
fn usage(counted: &Usage) -> Value {
    let [prompt, completion, reasoning, cached] =
        [counted.prompt, counted.completion, counted.reasoning, counted.cached].map(|count| count.unwrap_or(0));
    let mut usage = json!({
        "input_tokens": prompt.saturating_sub(cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": completion.saturating_add(reasoning),
        "cache_creation": null,
        "server_tool_use": null,
        "service_tier": "standard",
    });
    if let Some(ticks) = counted.cost_in_usd_ticks {
        usage["cost_in_usd_ticks"] = ticks.into();
    }
    usage
}

fn message(id: &str, model: &str) -> Value {
    json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(&Usage::default()),
    })
}

/// What a tool is called with; a model may write what is no JSON.
fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(input @ Value::Object(_)) => input,
        _ => json!({}),
    }
}

/// A block with nothing in it yet. What was thought cannot be checked later, so it bears no signature.
fn block(said: &Said) -> Option<Value> {
    match said {
        Said::Thought(_) => Some(json!({"type": "thinking", "thinking": "", "signature": ""})),
        Said::Text(_) => Some(json!({"type": "text", "text": "", "citations": null})),
        Said::Called { id, name, .. } => Some(json!({"type": "tool_use", "id": id, "name": name, "input": {}})),
        Said::Begun { .. } | Said::Ended(..) => None,
    }
}

/// The answer in one piece.
pub(super) fn whole(all: &[Said]) -> Value {
    let mut answer = Value::Null;
    let mut content: Vec<Value> = Vec::new();
    for said in all {
        let mut made = block(said);
        match (said, &mut made) {
            (Said::Begun { id, model, .. }, _) => answer = message(id, model),
            (Said::Thought(text), Some(block)) => block["thinking"] = json!(text),
            (Said::Text(text), Some(block)) => block["text"] = json!(text),
            (Said::Called { arguments, .. }, Some(block)) => block["input"] = input(arguments),
            (Said::Ended(why, counted), _) => {
                answer["stop_reason"] = json!(stop_reason(*why));
                answer["usage"] = usage(counted);
            }
            _ => {}
        }
        content.extend(made);
    }
    answer["content"] = content.into();
    answer
}

/// What kind of block is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
}

/// Writes events.
#[derive(Default)]
pub(super) struct MessagesWriter {
    open: Option<Open>,
    /// Blocks that were opened.
    blocks: usize,
}

fn event(name: &str, data: &Value, out: &mut BytesMut) {
    out.put_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}

impl MessagesWriter {
    /// The index of the block that is open, or was last.
    fn index(&self) -> usize {
        self.blocks.saturating_sub(1)
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            let data = json!({"type": "content_block_stop", "index": self.index()});
            event("content_block_stop", &data, out);
        }
    }

    fn begin(&mut self, said: &Said, out: &mut BytesMut) {
        self.close(out);
        self.blocks += 1;
        let data = json!({"type": "content_block_start", "index": self.index(), "content_block": block(said)});
        event("content_block_start", &data, out);
    }

    fn delta(&self, delta: &Value, out: &mut BytesMut) {
        let data = json!({"type": "content_block_delta", "index": self.index(), "delta": delta});
        event("content_block_delta", &data, out);
    }

    /// Goes on with a block of this kind, or opens one.
    fn go_on(&mut self, kind: Open, said: &Said, delta: &Value, out: &mut BytesMut) {
        if self.open != Some(kind) {
            self.begin(said, out);
            self.open = Some(kind);
        }
        self.delta(delta, out);
    }

    /// Writes what was said.
    pub(super) fn write(&mut self, said: &Said, out: &mut BytesMut) {
        match said {
            Said::Begun { id, model, .. } => {
                let data = json!({"type": "message_start", "message": message(id, model)});
                event("message_start", &data, out);
            }
            Said::Thought(text) => {
                let delta = json!({"type": "thinking_delta", "thinking": text});
                self.go_on(Open::Thinking, said, &delta, out);
            }
            Said::Text(text) => {
                let delta = json!({"type": "text_delta", "text": text});
                self.go_on(Open::Text, said, &delta, out);
            }
            Said::Called { arguments, .. } => {
                self.begin(said, out);
                let delta = json!({"type": "input_json_delta", "partial_json": arguments});
                self.delta(&delta, out);
                let data = json!({"type": "content_block_stop", "index": self.index()});
                event("content_block_stop", &data, out);
            }
            Said::Ended(why, counted) => {
                self.close(out);
                let delta = json!({"stop_reason": stop_reason(*why), "stop_sequence": null});
                let data = json!({"type": "message_delta", "delta": delta, "usage": usage(counted)});
                event("message_delta", &data, out);
                event("message_stop", &json!({"type": "message_stop"}), out);
            }
        }
    }
}
