//! Writes responses (`xai-api.md` §5): items one after another, each told when it begins, as it grows, and when it is whole;
//! the last event repeats all of it.

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};

use super::said::{Said, Why};
use crate::engine::usage::Usage;

/// Reasoning is among what is written.
fn usage(counted: &Usage) -> Value {
    let [prompt, completion, reasoning, cached] =
        [counted.prompt, counted.completion, counted.reasoning, counted.cached].map(|count| count.unwrap_or(0));
    let written = completion.saturating_add(reasoning);
    let mut usage = json!({
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": counted.total.unwrap_or(prompt.saturating_add(written)),
    });
    if let Some(ticks) = counted.cost_in_usd_ticks {
        usage["cost_in_usd_ticks"] = ticks.into();
    }
    usage
}

/// Why a response is incomplete, if it is.
fn reason(why: Why) -> Option<&'static str> {
    match why {
        Why::Complete | Why::Calls => None,
        Why::Limit => Some("max_output_tokens"),
        Why::Withheld => Some("content_filter"),
    }
}

/// The answer in one piece.
pub(super) fn whole(all: &[Said]) -> Value {
    let mut writer = ResponsesWriter::default();
    let mut unread = BytesMut::new();
    for said in all {
        writer.write(said, &mut unread);
    }
    writer.answer
}

/// What kind of item is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Reasoning,
    Message,
}

impl Open {
    /// The part that grows in it, so far.
    fn part(self, text: &str) -> Value {
        match self {
            Open::Reasoning => json!({"type": "summary_text", "text": text}),
            Open::Message => json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}),
        }
    }

    fn item(self, id: &str, status: &str, parts: Value) -> Value {
        match self {
            Open::Reasoning => json!({"id": id, "type": "reasoning", "status": status, "summary": parts}),
            Open::Message => {
                json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": parts})
            }
        }
    }

    /// The names of what begins a part, of what makes it grow, and of the two that say that it is whole.
    fn events(self) -> [&'static str; 4] {
        match self {
            Open::Reasoning => [
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
            ],
            Open::Message => [
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
            ],
        }
    }
}

/// Writes events.
#[derive(Default)]
pub(super) struct ResponsesWriter {
    /// The response as it stands.
    answer: Value,
    open: Option<(Open, String)>,
    output: Vec<Value>,
    /// Events that were written.
    written: u64,
}

impl ResponsesWriter {
    fn event(&mut self, name: &str, mut data: Value, out: &mut BytesMut) {
        data["type"] = name.into();
        data["sequence_number"] = self.written.into();
        self.written += 1;
        out.put_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
    }

    /// The id of the item that is open, or comes next.
    fn item_id(&self, prefix: &str) -> String {
        let id = self.answer["id"].as_str().unwrap_or_default();
        format!("{prefix}_{id}_{}", self.output.len())
    }

    /// An event about the part of the open item.
    fn of_part(&mut self, kind: Open, name: &str, mut data: Value, out: &mut BytesMut) {
        let (prefix, index) = match kind {
            Open::Reasoning => ("rs", "summary_index"),
            Open::Message => ("msg", "content_index"),
        };
        data["item_id"] = self.item_id(prefix).into();
        data["output_index"] = self.output.len().into();
        data[index] = 0.into();
        self.event(name, data, out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        let Some((kind, text)) = self.open.take() else { return };
        let [_, _, text_done, part_done] = kind.events();
        let mut done = json!({"text": text});
        if kind == Open::Message {
            done["logprobs"] = json!([]);
        }
        self.of_part(kind, text_done, done, out);
        self.of_part(kind, part_done, json!({"part": kind.part(&text)}), out);
        let id = self.item_id(if kind == Open::Reasoning { "rs" } else { "msg" });
        self.finish(kind.item(&id, "completed", json!([kind.part(&text)])), out);
    }

    /// An item is whole.
    fn finish(&mut self, item: Value, out: &mut BytesMut) {
        let data = json!({"output_index": self.output.len(), "item": &item});
        self.event("response.output_item.done", data, out);
        self.output.push(item);
    }

    fn begin(&mut self, item: Value, out: &mut BytesMut) {
        let data = json!({"output_index": self.output.len(), "item": item});
        self.event("response.output_item.added", data, out);
    }

    /// Goes on with an item of this kind, or opens one.
    fn go_on(&mut self, kind: Open, more: &str, out: &mut BytesMut) {
        let [added, delta, ..] = kind.events();
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.close(out);
            let id = self.item_id(if kind == Open::Reasoning { "rs" } else { "msg" });
            self.begin(kind.item(&id, "in_progress", json!([])), out);
            self.of_part(kind, added, json!({"part": kind.part("")}), out);
            self.open = Some((kind, String::new()));
        }
        let mut data = json!({"delta": more});
        if kind == Open::Message {
            data["logprobs"] = json!([]);
        }
        self.of_part(kind, delta, data, out);
        if let Some((_, text)) = &mut self.open {
            text.push_str(more);
        }
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str, out: &mut BytesMut) {
        self.close(out);
        let item_id = format!("fc_{id}");
        let item = |status: &str, arguments: &str| {
            json!({
                "id": item_id, "type": "function_call", "status": status, "call_id": id, "name": name,
                "arguments": arguments,
            })
        };
        self.begin(item("in_progress", ""), out);
        let index = self.output.len();
        let delta = json!({"item_id": item_id, "output_index": index, "delta": arguments});
        self.event("response.function_call_arguments.delta", delta, out);
        let done = json!({"item_id": item_id, "output_index": index, "name": name, "arguments": arguments});
        self.event("response.function_call_arguments.done", done, out);
        self.finish(item("completed", arguments), out);
    }

    /// Writes what was said.
    pub(super) fn write(&mut self, said: &Said, out: &mut BytesMut) {
        match said {
            Said::Begun { id, model, created } => {
                self.answer = json!({
                    "id": id, "object": "response", "created_at": created, "model": model, "status": "in_progress",
                    "output": [], "usage": null, "error": null, "incomplete_details": null, "instructions": null,
                    "previous_response_id": null, "parallel_tool_calls": true, "store": false,
                    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "temperature": null,
                    "top_p": null, "user": null, "metadata": {},
                });
                for name in ["response.created", "response.in_progress"] {
                    self.event(name, json!({"response": &self.answer}), out);
                }
            }
            Said::Thought(more) => self.go_on(Open::Reasoning, more, out),
            Said::Text(more) => self.go_on(Open::Message, more, out),
            Said::Called { id, name, arguments } => self.call(id, name, arguments, out),
            Said::Ended(why, counted) => {
                self.close(out);
                let reason = reason(*why);
                let status = if reason.is_some() { "incomplete" } else { "completed" };
                self.answer["status"] = status.into();
                self.answer["incomplete_details"] = reason.map_or(Value::Null, |reason| json!({"reason": reason}));
                self.answer["output"] = std::mem::take(&mut self.output).into();
                self.answer["usage"] = usage(counted);
                self.event(&format!("response.{status}"), json!({"response": &self.answer}), out);
            }
        }
    }
}
