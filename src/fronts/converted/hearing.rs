//! Reads what Responses say, whole or in events (`xai-api.md` §5). Of tools that the upstream runs itself only what the
//! model says of their results is heard: other dialects have no words for them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::said::{Said, Why};
use super::source::Hear;
use crate::engine::dialect::{Dialect, Told};
use crate::fronts::event_relay::Meaning;
use crate::fronts::openai::responses::dialect::ResponsesDialect;

/// Follows a stream.
#[derive(Default)]
pub struct Hearing {
    told: Told,
    has_begun: bool,
    has_called: bool,
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireResponse<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(default)]
    created_at: f64,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    incomplete_details: Option<WireIncomplete<'a>>,
    #[serde(borrow, default)]
    output: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireIncomplete<'a> {
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct WireItem<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    call_id: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Cow<'a, str>,
    #[serde(borrow, default)]
    summary: Vec<WirePart<'a>>,
    #[serde(borrow, default)]
    content: Option<Vec<WirePart<'a>>>,
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
}

impl WireResponse<'_> {
    fn begun(&self) -> Said {
        Said::Begun {
            id: self.id.to_string(),
            model: self.model.to_string(),
            // Whole seconds since 1970: no fraction, and nowhere near what a double cannot hold.
            created: self.created_at.max(0.0) as u64,
        }
    }

    fn why(&self, has_called: bool) -> Why {
        let reason = self.incomplete_details.as_ref().and_then(|why| why.reason.as_deref());
        match reason {
            Some("content_filter") => Why::Withheld,
            Some(_) => Why::Limit,
            None if self.status.as_deref() == Some("incomplete") => Why::Limit,
            None if has_called => Why::Calls,
            None => Why::Complete,
        }
    }
}

/// The texts of parts, one below the other.
fn joined<'a>(parts: impl Iterator<Item = &'a WirePart<'a>>, between: &str) -> String {
    let texts = parts.filter_map(|part| part.text.as_deref().or(part.refusal.as_deref()));
    texts.collect::<Vec<_>>().join(between)
}

/// A call of a tool of the client.
fn called(item: &WireItem<'_>) -> Option<Said> {
    (item.kind == "function_call").then(|| Said::Called {
        id: item.call_id.to_string(),
        name: item.name.to_string(),
        arguments: item.arguments.to_string(),
    })
}

impl Hear for Hearing {
    fn event(&mut self, data: &[u8], said: &mut Vec<Said>) -> Meaning {
        let Ok(event) = serde_json::from_slice::<WireEvent<'_>>(data) else {
            return Meaning::Suspect;
        };
        let Some(kind) = event.kind.as_deref() else {
            return Meaning::Suspect;
        };
        match kind {
            "response.output_text.delta" | "response.refusal.delta" => {
                said.extend(text_of(event.delta).map(Said::Text));
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                said.extend(text_of(event.delta).map(Said::Thought));
            }
            "response.output_item.done" => {
                let item = event.item.and_then(|item| serde_json::from_str(item.get()).ok());
                if let Some(call) = item.as_ref().and_then(called) {
                    self.has_called = true;
                    said.push(call);
                }
            }
            "error" => return Meaning::Suspect,
            "response.failed" => return Meaning::Failed,
            _ => {}
        }
        let Some(raw) = event.response else {
            return Meaning::Part;
        };
        let Ok(response) = serde_json::from_str::<WireResponse<'_>>(raw.get()) else {
            return Meaning::Suspect;
        };
        let told = ResponsesDialect.read_answer(raw.get().as_bytes());
        self.told.model = told.model.or(self.told.model.take());
        self.told.usage = told.usage.or(self.told.usage.take());
        if !std::mem::replace(&mut self.has_begun, true) {
            said.push(response.begun());
        }
        match kind {
            "response.completed" | "response.incomplete" | "response.done" => {
                let usage = self.told.usage.unwrap_or_default();
                said.push(Said::Ended(response.why(self.has_called), usage));
                Meaning::Last
            }
            _ => Meaning::Part,
        }
    }

    fn told(&self) -> Told {
        self.told.clone()
    }
}

/// A text that is not empty.
fn text_of(raw: Option<&RawValue>) -> Option<String> {
    let text: String = serde_json::from_str(raw?.get()).ok()?;
    (!text.is_empty()).then_some(text)
}

/// Reads an answer in one piece; in words what is wrong with it.
pub(super) fn whole(body: &[u8]) -> Result<Vec<Said>, String> {
    let response: WireResponse<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if response.status.as_deref() == Some("failed") {
        return Err("the response has failed".to_owned());
    }
    let mut said = vec![response.begun()];
    for raw in &response.output {
        let Ok(item) = serde_json::from_str::<WireItem<'_>>(raw.get()) else {
            continue;
        };
        match &*item.kind {
            "reasoning" => {
                let shown = item
                    .content
                    .as_deref()
                    .filter(|_| item.summary.is_empty())
                    .unwrap_or_default();
                let thought = joined(item.summary.iter().chain(shown), "");
                if !thought.is_empty() {
                    said.push(Said::Thought(thought));
                }
            }
            "message" => {
                let text = joined(item.content.iter().flatten(), "");
                if !text.is_empty() {
                    said.push(Said::Text(text));
                }
            }
            _ => said.extend(called(&item)),
        }
    }
    let has_called = said.iter().any(|said| matches!(said, Said::Called { .. }));
    let usage = ResponsesDialect.read_answer(body).usage.unwrap_or_default();
    said.push(Said::Ended(response.why(has_called), usage));
    Ok(said)
}
