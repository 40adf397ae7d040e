//! An answer as a value: what each choice says, thinks and calls, and what it costs in tokens.

use serde_json::{Value, json};

use super::compose::Gist;
use super::request::{ChatRequest, Content, Part, ResponseFormat};
use super::structured::Filler;
use super::toolcalls::{self, Call};
use crate::simulator::models::Model;
use crate::simulator::tokens;

/// Tokens that a message costs beside its text, and that a reply is primed with; as in OpenAI's published arithmetic.
const PER_MESSAGE: u64 = 4;
const PRIMING: u64 = 3;
/// Tokens of a picture in low and in full detail.
const LOW_DETAIL: u64 = 256;
const FULL_DETAIL: u64 = 1_024;

/// One choice.
#[derive(Debug)]
pub struct Choice {
    pub thinking: String,
    pub content: String,
    pub calls: Vec<Call>,
    pub finish: &'static str,
    /// The stop text that ended it.
    pub stopped_by: Option<String>,
    /// Visible tokens: content and calls.
    pub visible: u64,
    pub reasoning: u64,
}

/// Token counts of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub text: u64,
    pub image: u64,
    pub cached: u64,
    pub visible: u64,
    pub reasoning: u64,
}

impl Usage {
    /// All prompt tokens.
    pub fn prompt(&self) -> u64 {
        self.text + self.image
    }

    /// As the API writes it: reasoning is not inside the completion, the total is the sum of all three.
    pub fn shown(&self, cost_ticks: u64) -> Value {
        json!({
            "prompt_tokens": self.prompt(),
            "completion_tokens": self.visible,
            "total_tokens": self.prompt() + self.visible + self.reasoning,
            "prompt_tokens_details": {
                "text_tokens": self.text,
                "audio_tokens": 0,
                "image_tokens": self.image,
                "cached_tokens": self.cached,
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
            "num_sources_used": 0,
            "cost_in_usd_ticks": cost_ticks,
        })
    }
}

/// Text and picture tokens of a request.
pub fn prompt_tokens(request: &ChatRequest) -> Usage {
    let mut usage = Usage {
        text: PRIMING,
        ..Usage::default()
    };
    for message in &request.messages {
        usage.text += PER_MESSAGE;
        match &message.content {
            Some(Content::Text(text)) => usage.text += tokens::count(text),
            Some(Content::Parts(parts)) => {
                for part in parts {
                    match part {
                        Part::Text { text } => usage.text += tokens::count(text),
                        Part::ImageUrl { image_url } => {
                            let low = image_url.detail.as_deref() == Some("low");
                            usage.image += if low { LOW_DETAIL } else { FULL_DETAIL };
                        }
                        Part::File { file } => usage.text += tokens::count(&file.to_string()),
                    }
                }
            }
            None => {}
        }
        usage.text += message.reasoning_content.as_deref().map_or(0, tokens::count);
        for call in message.tool_calls.iter().flatten() {
            usage.text += tokens::count(&call.function.name) + tokens::count(&call.function.arguments);
        }
    }
    for super::request::Tool::Function { function } in request.tools.iter().flatten() {
        usage.text += PER_MESSAGE
            + tokens::count(&function.name)
            + function.description.as_deref().map_or(0, tokens::count)
            + function
                .parameters
                .as_ref()
                .map_or(0, |schema| tokens::count(&schema.to_string()));
    }
    usage
}

/// What the model says.
pub struct Speech<'a> {
    pub request: &'a ChatRequest,
    pub model: &'a Model,
    /// An answer that a script dictates.
    pub dictated: Option<&'a str>,
    /// A call that a script dictates, as long as there are no results: the tool's name and its arguments as JSON.
    pub called: Option<&'a str>,
    /// Exactly so many visible chunks.
    pub exact: Option<usize>,
}

impl Speech<'_> {
    /// Every choice asked for.
    pub fn choices(&self) -> Vec<Choice> {
        let gist = Gist::of(self.request);
        let count = self.request.n.unwrap_or(1).max(1) as usize;
        (0..count).map(|index| self.choice(&gist, index)).collect()
    }

    fn choice(&self, gist: &Gist, index: usize) -> Choice {
        let effort = self.request.reasoning_effort.as_deref().unwrap_or("low");
        let thinking = if self.model.reasoning && effort != "none" && self.exact.is_none() {
            gist.thinking(effort)
        } else {
            String::new()
        };
        let reasoning = tokens::count(&thinking);
        let calls = match (self.dictated, self.called) {
            (Some(_), _) => Vec::new(),
            (None, Some(called)) => toolcalls::dictated(self.request, gist, called),
            (None, None) => toolcalls::decide(self.request, gist),
        };
        if !calls.is_empty() {
            let visible = calls
                .iter()
                .map(|call| 2 + tokens::count(&call.name) + tokens::count(&call.arguments))
                .sum();
            return Choice {
                thinking,
                content: String::new(),
                calls,
                finish: "tool_calls",
                stopped_by: None,
                visible,
                reasoning,
            };
        }
        let mut content = match (self.dictated, &self.request.response_format, self.exact) {
            (Some(text), _, _) => text.to_owned(),
            (None, Some(ResponseFormat::JsonSchema { json_schema }), _) => {
                let any = Value::Bool(true);
                let schema = json_schema.schema.as_ref().unwrap_or(&any);
                Filler::new(&gist.asked, index).value(schema).to_string()
            }
            (None, Some(ResponseFormat::JsonObject), _) => {
                json!({"question": gist.quote(), "subjects": gist.subjects(), "answer": gist.answer(index)}).to_string()
            }
            (None, _, Some(exact)) => repeated(&gist.answer(index), exact),
            (None, _, None) => gist.answer(index),
        };
        let mut stopped_by = None;
        for stop in self.request.stop.iter().flatten().filter(|stop| !stop.is_empty()) {
            if let Some(at) = content.find(stop) {
                content.truncate(at);
                stopped_by = Some(stop.clone());
            }
        }
        let mut finish = "stop";
        if let Some(most) = self.request.max_output().and_then(|most| usize::try_from(most).ok()) {
            let kept: usize = tokens::pieces(&content).take(most).map(str::len).sum();
            if kept < content.len() {
                content.truncate(kept);
                finish = "length";
                stopped_by = None;
            }
        }
        let visible = tokens::count(&content);
        Choice {
            thinking,
            content,
            calls,
            finish,
            stopped_by,
            visible,
            reasoning,
        }
    }
}

/// The text over and over, exactly so many tokens long.
fn repeated(text: &str, exact: usize) -> String {
    let words: Vec<&str> = tokens::pieces(text).collect();
    let mut made = String::new();
    for index in 0..exact {
        let word = words.get(index % words.len().max(1)).copied().unwrap_or("word");
        if index > 0 && !word.starts_with(char::is_whitespace) {
            made.push(' ');
        }
        made.push_str(word);
    }
    made
}

/// `logprobs` of one piece of text.
pub fn logprobs_of(piece: &str, top: usize) -> Value {
    let hash = blake3::hash(piece.as_bytes());
    let logprob = -f64::from(hash.as_bytes()[0]) / 512.0;
    let mut alternatives = Vec::new();
    for rank in 0..top {
        let token = if rank == 0 {
            piece.to_owned()
        } else {
            format!("{piece}{}", "s".repeat(rank))
        };
        alternatives.push(json!({
            "token": token,
            "logprob": logprob - rank as f64,
            "bytes": token.as_bytes(),
        }));
    }
    json!({"token": piece, "logprob": logprob, "bytes": piece.as_bytes(), "top_logprobs": alternatives})
}
