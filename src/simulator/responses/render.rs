//! Responses as JSON, whole or in events, with the fields of recorded ones.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::body::Step;
use super::super::errors::Mention;
use super::super::misbehave::UsageFault;
use super::super::pacing::{disturbed, named_event};
use super::super::tokens;
use super::super::turn::Turn;
use super::request::ResponsesRequest;
use super::sealed::seal;

/// What is the same in every event of a response.
#[derive(Debug)]
pub struct Frame<'a> {
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    pub model: String,
    pub tier: &'a str,
    pub request: &'a ResponsesRequest,
}

/// What was made: the items, and why it ended early if it did.
#[derive(Debug)]
pub struct Made {
    pub items: Vec<Value>,
    pub incomplete: bool,
}

impl Frame<'_> {
    /// The response as it stands; `turn` once it is known what it cost.
    pub fn response(&self, status: &str, made: &Made, turn: Option<&Turn>) -> Value {
        let request = self.request;
        let status = if turn.is_some() && made.incomplete {
            "incomplete"
        } else {
            status
        };
        let mut response = json!({
            "created_at": self.created,
            "completed_at": turn.map(|_| self.created),
            "id": self.id,
            "max_output_tokens": request.max_output_tokens,
            "model": self.model,
            "object": "response",
            "output": if turn.is_some() { made.items.as_slice() } else { &[] },
            "parallel_tool_calls": request.parallel_tool_calls.unwrap_or(true),
            "previous_response_id": request.previous_response_id,
            "instructions": request.instructions,
            "reasoning": {
                "effort": request.effort(),
                "summary": request.reasoning.as_ref().and_then(|reasoning| reasoning.summary.as_deref()),
            },
            "temperature": request.temperature,
            "text": {"format": request.text.as_ref().and_then(|text| text.format.clone()).unwrap_or(json!({"type": "text"}))},
            "tool_choice": request.tool_choice.clone().unwrap_or(json!("auto")),
            "tools": request.tools.as_deref().unwrap_or(&[]),
            "top_p": request.top_p,
            "user": request.user,
            "incomplete_details": null,
            "error": null,
            "status": status,
            "store": request.store.unwrap_or(true),
            "metadata": {},
            "background": false,
            "service_tier": self.tier,
            "truncation": "disabled",
            "top_logprobs": 0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        });
        if let Some(turn) = turn {
            if made.incomplete {
                response["incomplete_details"] = json!({"reason": "max_output_tokens"});
            }
            match turn.admitted.effects.usage {
                None => response["usage"] = usage(turn),
                Some(UsageFault::Missing) => {}
                Some(UsageFault::Null) => response["usage"] = Value::Null,
                Some(UsageFault::Zero) => {
                    response["usage"] = json!({
                        "input_tokens": 0, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0,
                        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 0,
                        "num_sources_used": 0, "num_server_side_tools_used": 0, "cost_in_usd_ticks": 0,
                    });
                }
            }
        }
        response
    }
}

/// Reasoning is inside the output here.
fn usage(turn: &Turn) -> Value {
    let prompt = turn.usage.prompt();
    json!({
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": turn.usage.cached},
        "output_tokens": turn.output(),
        "output_tokens_details": {"reasoning_tokens": turn.usage.reasoning},
        "total_tokens": prompt + turn.output(),
        "num_sources_used": 0,
        "num_server_side_tools_used": 0,
        "cost_in_usd_ticks": turn.cost_ticks,
        "context_details": {"input_tokens": prompt, "output_tokens": turn.output()},
    })
}

/// The items of an answer.
pub fn output(frame: &Frame<'_>, turn: &Turn) -> Made {
    let mut items = Vec::new();
    let mut incomplete = false;
    for choice in &turn.choices {
        if !choice.thinking.is_empty() {
            let mut item = json!({
                "id": format!("rs_{}", frame.id),
                "summary": [{"text": choice.thinking, "type": "summary_text"}],
                "type": "reasoning",
                "status": "completed",
            });
            if frame.request.wants_sealed() {
                item["encrypted_content"] = json!(seal(&turn.admitted.team.id, &choice.thinking));
            }
            items.push(item);
        }
        for (index, call) in choice.calls.iter().enumerate() {
            items.push(json!({
                "arguments": call.arguments,
                "call_id": call.id,
                "name": call.name,
                "type": "function_call",
                "id": format!("fc_{}_{index}", frame.id),
                "status": "completed",
            }));
        }
        incomplete |= choice.finish == "length";
        if choice.calls.is_empty() {
            items.push(json!({
                "content": [{"type": "output_text", "text": choice.content, "logprobs": [], "annotations": []}],
                "id": format!("msg_{}", frame.id),
                "role": "assistant",
                "type": "message",
                "status": if incomplete { "incomplete" } else { "completed" },
            }));
        }
    }
    Made { items, incomplete }
}

struct Events {
    written: Vec<(Bytes, u32)>,
}

impl Events {
    fn send(&mut self, tokens: u32, kind: &str, mut event: Value) {
        event["sequence_number"] = json!(self.written.len());
        event["type"] = json!(kind);
        self.written.push((named_event(kind, &event), tokens));
    }

    /// Deltas of a text that begins and ends within a part.
    fn text(&mut self, kind: &str, place: &Value, text: &str) {
        for piece in tokens::pieces(text) {
            let mut event = place.clone();
            event["delta"] = json!(piece);
            self.send(1, kind, event);
        }
    }
}

/// The steps of a streamed response.
pub fn stream(frame: &Frame<'_>, turn: &Turn, made: &Made, mention: &Mention<'_>) -> VecDeque<Step> {
    let mut events = Events { written: Vec::new() };
    let begun = frame.response("in_progress", made, None);
    events.send(0, "response.created", json!({"response": begun}));
    events.send(0, "response.in_progress", json!({"response": begun}));
    for (index, item) in made.items.iter().enumerate() {
        match item["type"].as_str() {
            Some("reasoning") => reasoning(&mut events, index, item),
            Some("function_call") => function_call(&mut events, index, item),
            _ => message(&mut events, index, item),
        }
    }
    let last = if made.incomplete {
        "response.incomplete"
    } else {
        "response.completed"
    };
    if let Some(size) = turn.admitted.effects.huge_chunk {
        // The last event repeats everything, so it is where size comes from.
        let mut response = frame.response("completed", made, Some(turn));
        response["metadata"] = json!({"padding": "x".repeat(size)});
        events.send(0, last, json!({"response": response}));
    } else {
        events.send(
            0,
            last,
            json!({"response": frame.response("completed", made, Some(turn))}),
        );
    }
    disturbed(events.written, turn.pace, &turn.admitted.effects, mention)
}

fn reasoning(events: &mut Events, index: usize, item: &Value) {
    let text = item["summary"][0]["text"].as_str().unwrap_or_default();
    let begun = json!({"id": item["id"], "summary": [], "type": "reasoning", "status": "in_progress"});
    events.send(
        0,
        "response.output_item.added",
        json!({"item": begun, "output_index": index}),
    );
    let place = json!({"item_id": item["id"], "output_index": index, "summary_index": 0});
    let with = |name: &str, value: Value| {
        let mut event = place.clone();
        event[name] = value;
        event
    };
    events.send(
        0,
        "response.reasoning_summary_part.added",
        with("part", json!({"text": "", "type": "summary_text"})),
    );
    events.text("response.reasoning_summary_text.delta", &place, text);
    events.send(0, "response.reasoning_summary_text.done", with("text", json!(text)));
    events.send(
        0,
        "response.reasoning_summary_part.done",
        with("part", json!({"text": text, "type": "summary_text"})),
    );
    events.send(
        0,
        "response.output_item.done",
        json!({"item": item, "output_index": index}),
    );
}

fn function_call(events: &mut Events, index: usize, item: &Value) {
    let mut begun = item.clone();
    begun["arguments"] = json!("");
    begun["status"] = json!("in_progress");
    events.send(
        2,
        "response.output_item.added",
        json!({"item": begun, "output_index": index}),
    );
    let arguments = item["arguments"].as_str().unwrap_or_default();
    let count = tokens::count(arguments) + tokens::count(item["name"].as_str().unwrap_or_default());
    // A call comes whole, as it does on chat.
    events.send(
        u32::try_from(count).unwrap_or(u32::MAX),
        "response.function_call_arguments.delta",
        json!({"item_id": item["id"], "output_index": index, "delta": arguments}),
    );
    events.send(
        0,
        "response.function_call_arguments.done",
        json!({"item_id": item["id"], "output_index": index, "name": item["name"], "arguments": arguments}),
    );
    events.send(
        0,
        "response.output_item.done",
        json!({"item": item, "output_index": index}),
    );
}

fn message(events: &mut Events, index: usize, item: &Value) {
    let part = &item["content"][0];
    let text = part["text"].as_str().unwrap_or_default();
    let begun =
        json!({"content": [], "id": item["id"], "role": "assistant", "type": "message", "status": "in_progress"});
    events.send(
        0,
        "response.output_item.added",
        json!({"item": begun, "output_index": index}),
    );
    let place = json!({"item_id": item["id"], "output_index": index, "content_index": 0});
    let with = |name: &str, value: Value| {
        let mut event = place.clone();
        event[name] = value;
        event
    };
    let empty = json!({"type": "output_text", "text": "", "logprobs": [], "annotations": []});
    events.send(0, "response.content_part.added", with("part", empty));
    events.text("response.output_text.delta", &with("logprobs", json!([])), text);
    let mut done = with("text", json!(text));
    done["logprobs"] = json!([]);
    events.send(0, "response.output_text.done", done);
    events.send(0, "response.content_part.done", with("part", part.clone()));
    events.send(
        0,
        "response.output_item.done",
        json!({"item": item, "output_index": index}),
    );
}
