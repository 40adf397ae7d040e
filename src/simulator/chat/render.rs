//! Answers as bytes: one JSON object, or the events of a stream, in the upstream's field order.

use std::collections::VecDeque;
use std::io::Write as _;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::answer::{Choice, Usage, logprobs_of};
use crate::simulator::body::Step;
use crate::simulator::errors::Mention;
use crate::simulator::misbehave::{Effects, UsageFault};
use crate::simulator::pacing::{Pace, disturbed};
use crate::simulator::tokens;

/// What is the same in every event of an answer.
#[derive(Debug)]
pub struct Frame<'a> {
    pub id: uuid::Uuid,
    /// Unix seconds.
    pub created: u64,
    pub model: &'a str,
    pub fingerprint: &'a str,
    pub tier: &'a str,
    /// How many alternatives `logprobs` shows; `None`: no logprobs.
    pub logprobs: Option<usize>,
}

/// Text as a JSON string, quotes included.
fn quoted(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// The whole answer as one object.
pub fn object(frame: &Frame<'_>, choices: &[Choice], usage: Option<&Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024 + choices.iter().map(|choice| choice.content.len()).sum::<usize>());
    let _ = write!(
        out,
        "{{\"id\":\"{}\",\"object\":\"chat.completion\",\"created\":{},\"model\":",
        frame.id.as_hyphenated(),
        frame.created
    );
    quoted(frame.model, &mut out);
    out.extend_from_slice(b",\"choices\":[");
    for (index, choice) in choices.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let _ = write!(
            out,
            "{{\"index\":{index},\"message\":{{\"role\":\"assistant\",\"content\":"
        );
        quoted(&choice.content, &mut out);
        if !choice.thinking.is_empty() {
            out.extend_from_slice(b",\"reasoning_content\":");
            quoted(&choice.thinking, &mut out);
        }
        if !choice.calls.is_empty() {
            let calls: Vec<Value> = choice.calls.iter().map(|call| shown_call(call, None)).collect();
            let _ = write!(out, ",\"tool_calls\":{}", Value::Array(calls));
        }
        out.extend_from_slice(b",\"refusal\":null}");
        if let Some(top) = frame.logprobs {
            let content: Vec<Value> = tokens::pieces(&choice.content)
                .map(|piece| logprobs_of(piece, top))
                .collect();
            let _ = write!(out, ",\"logprobs\":{}", json!({"content": content}));
        }
        let _ = write!(out, ",\"finish_reason\":\"{}\"}}", choice.finish);
    }
    out.push(b']');
    if let Some(usage) = usage {
        let _ = write!(out, ",\"usage\":{usage}");
    }
    let _ = write!(
        out,
        ",\"system_fingerprint\":\"{}\",\"service_tier\":\"{}\"}}",
        frame.fingerprint, frame.tier
    );
    out
}

fn shown_call(call: &super::toolcalls::Call, index: Option<usize>) -> Value {
    let mut shown = json!({
        "id": call.id,
        "function": {"name": call.name, "arguments": call.arguments},
        "type": "function",
    });
    if let Some(index) = index {
        shown["index"] = json!(index);
    }
    shown
}

/// The usage that is sent, with what a script wants wrong about it. `None`: no usage at all.
pub fn usage_value(usage: &Usage, cost_ticks: u64, fault: Option<UsageFault>) -> Option<Value> {
    match fault {
        None => Some(usage.shown(cost_ticks)),
        Some(UsageFault::Missing) => None,
        Some(UsageFault::Null) => Some(Value::Null),
        Some(UsageFault::Zero) => Some(Usage::default().shown(0)),
    }
}

/// Writes the events of a stream into one buffer and cuts it into steps.
struct Events {
    buffer: BytesMut,
    scratch: Vec<u8>,
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    written: Vec<(Bytes, u32)>,
}

impl Events {
    fn new(frame: &Frame<'_>) -> Events {
        let mut prefix = Vec::with_capacity(160);
        let _ = write!(
            prefix,
            "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":",
            frame.id.as_hyphenated(),
            frame.created
        );
        quoted(frame.model, &mut prefix);
        prefix.extend_from_slice(b",\"choices\":[");
        let mut suffix = Vec::with_capacity(80);
        let _ = write!(
            suffix,
            ",\"system_fingerprint\":\"{}\",\"service_tier\":\"{}\"}}\n\n",
            frame.fingerprint, frame.tier
        );
        Events {
            buffer: BytesMut::with_capacity(16 * 1024),
            scratch: Vec::new(),
            prefix,
            suffix,
            written: Vec::new(),
        }
    }

    /// One chunk; `inner` writes what stands between `"choices":[` and the fingerprint.
    fn chunk(&mut self, tokens: u32, inner: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        inner(&mut self.scratch);
        self.buffer.extend_from_slice(&self.prefix);
        self.buffer.extend_from_slice(&self.scratch);
        self.buffer.extend_from_slice(&self.suffix);
        self.written.push((self.buffer.split().freeze(), tokens));
    }

    fn delta(&mut self, index: usize, field: &str, text: &str, first: bool, logprobs: Option<usize>) {
        self.chunk(1, |out| {
            let _ = write!(out, "{{\"index\":{index},\"delta\":{{\"{field}\":");
            quoted(text, out);
            if first {
                out.extend_from_slice(b",\"role\":\"assistant\"");
            }
            out.push(b'}');
            if let Some(top) = logprobs {
                let _ = write!(out, ",\"logprobs\":{}", json!({"content": [logprobs_of(text, top)]}));
            }
            out.extend_from_slice(b"}]");
        });
    }
}

/// The steps of a streamed answer.
pub fn stream(
    frame: &Frame<'_>,
    choices: &[Choice],
    usage: Option<&Value>,
    pace: Pace,
    effects: &Effects,
    mention: &Mention<'_>,
) -> VecDeque<Step> {
    let mut events = Events::new(frame);
    // Choices take turns, as they would if they were made at the same time.
    let mut sources: Vec<(bool, tokens::Pieces<'_>, tokens::Pieces<'_>)> = choices
        .iter()
        .map(|choice| (true, tokens::pieces(&choice.thinking), tokens::pieces(&choice.content)))
        .collect();
    loop {
        let mut quiet = true;
        for (index, (first, thinking, content)) in sources.iter_mut().enumerate() {
            if let Some(piece) = thinking.next() {
                events.delta(index, "reasoning_content", piece, *first, None);
            } else if let Some(piece) = content.next() {
                events.delta(index, "content", piece, *first, frame.logprobs);
            } else {
                continue;
            }
            *first = false;
            quiet = false;
        }
        if quiet {
            break;
        }
    }
    for (index, (choice, source)) in choices.iter().zip(&mut sources).enumerate() {
        let first = &mut source.0;
        for (at, call) in choice.calls.iter().enumerate() {
            let tokens = 2 + tokens::count(&call.name) + tokens::count(&call.arguments);
            events.chunk(tokens as u32, |out| {
                let shown = shown_call(call, Some(at));
                let role = if *first { ",\"role\":\"assistant\"" } else { "" };
                let _ = write!(
                    out,
                    "{{\"index\":{index},\"delta\":{{\"tool_calls\":[{shown}]{role}}}}}]"
                );
            });
            *first = false;
        }
        let role = if *first {
            "\"content\":\"\",\"role\":\"assistant\""
        } else {
            ""
        };
        events.chunk(0, |out| {
            let finish = choice.finish;
            let _ = write!(
                out,
                "{{\"index\":{index},\"delta\":{{{role}}},\"finish_reason\":\"{finish}\"}}]"
            );
        });
    }
    if let Some(usage) = usage {
        events.chunk(0, |out| {
            let _ = write!(out, "],\"usage\":{usage}");
        });
    }
    if let Some(size) = effects.huge_chunk {
        let at = events.written.len() / 2;
        events.delta(0, "content", &"x".repeat(size), false, None);
        if let Some(huge) = events.written.pop() {
            events.written.insert(at, huge);
        }
    }
    if !effects.drop_done {
        events.written.push((Bytes::from_static(b"data: [DONE]\n\n"), 0));
    }
    disturbed(events.written, pace, effects, mention)
}
