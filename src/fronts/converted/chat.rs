//! Writes chat completions. Reasoning is counted beside the completion, as xAI has it (`xai-api.md` §4).

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};

use super::said::{Said, Why};
use crate::engine::usage::Usage;

/// What the service of such an answer is.
const TIER: &str = "default";

fn finish_reason(why: Why) -> &'static str {
    match why {
        Why::Complete => "stop",
        Why::Calls => "tool_calls",
        Why::Limit => "length",
        Why::Withheld => "content_filter",
    }
}

fn usage(counted: &Usage) -> Value {
    let [prompt, completion, reasoning, cached] =
        [counted.prompt, counted.completion, counted.reasoning, counted.cached].map(|count| count.unwrap_or(0));
    let sum = prompt.saturating_add(completion).saturating_add(reasoning);
    let mut usage = json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": counted.total.unwrap_or(sum),
        "prompt_tokens_details": {"text_tokens": prompt, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": cached},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0,
    });
    if let Some(ticks) = counted.cost_in_usd_ticks {
        usage["cost_in_usd_ticks"] = ticks.into();
    }
    usage
}

fn call(index: usize, id: &str, name: &str, arguments: &str) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// The answer in one piece.
pub(super) fn whole(all: &[Said]) -> Value {
    let mut answer = json!({"object": "chat.completion", "service_tier": TIER});
    let (mut thought, mut text, mut calls) = (String::new(), String::new(), Vec::new());
    let mut finish = finish_reason(Why::Complete);
    for said in all {
        match said {
            Said::Begun { id, model, created } => {
                answer["id"] = json!(id);
                answer["model"] = json!(model);
                answer["created"] = json!(created);
            }
            Said::Thought(more) => thought.push_str(more),
            Said::Text(more) => text.push_str(more),
            Said::Called { id, name, arguments } => {
                let mut call = call(calls.len(), id, name, arguments);
                if let Some(members) = call.as_object_mut() {
                    members.remove("index");
                }
                calls.push(call);
            }
            Said::Ended(why, counted) => {
                finish = finish_reason(*why);
                answer["usage"] = usage(counted);
            }
        }
    }
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if !thought.is_empty() {
        message["reasoning_content"] = thought.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    answer["choices"] = json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}]);
    answer
}

/// Writes events.
pub(super) struct ChatWriter {
    keep_usage: bool,
    /// What every chunk begins with: id, time and model.
    head: String,
    calls: usize,
}

impl ChatWriter {
    /// At the start of a stream.
    pub(super) fn new(keep_usage: bool) -> ChatWriter {
        ChatWriter {
            keep_usage,
            head: String::new(),
            calls: 0,
        }
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>, out: &mut BytesMut) {
        let finish = finish.map_or_else(|| "null".to_owned(), |reason| format!("\"{reason}\""));
        out.put_slice(self.head.as_bytes());
        let rest = format!(
            "\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        );
        out.put_slice(rest.as_bytes());
    }

    /// Writes what was said.
    pub(super) fn write(&mut self, said: &Said, out: &mut BytesMut) {
        match said {
            Said::Begun { id, model, created } => {
                self.head = format!(
                    "data: {{\"id\":{},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{},\
                     \"service_tier\":\"{TIER}\",",
                    json!(id),
                    json!(model)
                );
                self.chunk(&json!({"role": "assistant", "content": ""}), None, out);
            }
            Said::Thought(text) => self.chunk(&json!({ "reasoning_content": text }), None, out),
            Said::Text(text) => self.chunk(&json!({ "content": text }), None, out),
            Said::Called { id, name, arguments } => {
                let call = call(self.calls, id, name, arguments);
                self.calls += 1;
                self.chunk(&json!({ "tool_calls": [call] }), None, out);
            }
            Said::Ended(why, counted) => {
                self.chunk(&json!({}), Some(finish_reason(*why)), out);
                if self.keep_usage {
                    out.put_slice(self.head.as_bytes());
                    let rest = format!("\"choices\":[],\"usage\":{}}}\n\n", usage(counted));
                    out.put_slice(rest.as_bytes());
                }
                out.put_slice(b"data: [DONE]\n\n");
            }
        }
    }
}
