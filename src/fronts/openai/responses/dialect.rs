//! What Responses say about themselves, whole or in events (`xai-api.md` §5).

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::json;

use crate::engine::dialect::{Dialect, FaultFinder, Relay, Told};
use crate::engine::error::GatewayError;
use crate::engine::usage::Usage;
use crate::fronts::event_relay::{EventReader, EventRelay, Meaning};
use crate::fronts::pins::mark;

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct ResponsesDialect;

impl Dialect for ResponsesDialect {
    fn relay(&self, faults: FaultFinder) -> Box<dyn Relay> {
        Box::new(EventRelay::new(Events::default(), faults))
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        match serde_json::from_slice::<WireResponse<'_>>(body) {
            Ok(response) => response.told(),
            Err(_) => Told::default(),
        }
    }

    fn error_event(&self, error: &GatewayError) -> Bytes {
        failure(error, 0)
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }
}

/// The event that ends a stream with a failure.
fn failure(error: &GatewayError, number: u64) -> Bytes {
    let event = json!({
        "type": "error",
        "sequence_number": number,
        "code": error.public_code(),
        "message": error.message,
        "param": error.param,
    });
    Bytes::from(format!("event: error\ndata: {event}\n\n"))
}

#[derive(Default)]
struct Events {
    told: Told,
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    response: Option<WireResponse<'a>>,
    #[serde(borrow, default)]
    item: Option<WireItem<'a>>,
}

#[derive(Deserialize)]
struct WireResponse<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(borrow, default)]
    output: Option<Vec<WireItem<'a>>>,
}

#[derive(Deserialize)]
struct WireItem<'a> {
    #[serde(borrow, default)]
    encrypted_content: Option<Cow<'a, str>>,
}

/// Counts of Responses; reasoning is among the output (`xai-api.md` §5).
#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    input_tokens_details: Option<Details>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    output_tokens_details: Option<Details>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    cost_in_usd_ticks: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Usage {
        let reasoning = wire.output_tokens_details.and_then(|details| details.reasoning_tokens);
        Usage {
            prompt: wire.input_tokens,
            completion: wire
                .output_tokens
                .map(|output| output.saturating_sub(reasoning.unwrap_or(0))),
            reasoning,
            cached: wire.input_tokens_details.and_then(|details| details.cached_tokens),
            total: wire.total_tokens,
            cost_in_usd_ticks: wire.cost_in_usd_ticks,
        }
    }
}

impl WireResponse<'_> {
    fn told(self) -> Told {
        let sealed = self.output.iter().flatten().filter_map(WireItem::mark).collect();
        Told {
            model: self.model.map(Cow::into_owned),
            usage: self.usage.map(Usage::from).filter(Usage::is_known),
            object_id: self.id.map(Cow::into_owned).filter(|id| !id.is_empty()),
            sealed,
        }
    }
}

impl WireItem<'_> {
    fn mark(&self) -> Option<[u8; 16]> {
        self.encrypted_content
            .as_deref()
            .filter(|sealed| !sealed.is_empty())
            .map(mark)
    }
}

static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(".delta\""));

impl EventReader for Events {
    fn read(&mut self, name: Option<&[u8]>, data: &[u8]) -> Meaning {
        // Most events are deltas, and say nothing that has to be known here.
        if name.is_some_and(|name| name.ends_with(b".delta")) {
            return Meaning::Part;
        }
        if name.is_none() && DELTA.find(data.get(..96).unwrap_or(data)).is_some() {
            return Meaning::Part;
        }
        let Ok(event) = serde_json::from_slice::<WireEvent<'_>>(data) else {
            return Meaning::Suspect;
        };
        if let Some(mark) = event.item.as_ref().and_then(WireItem::mark)
            && !self.told.sealed.contains(&mark)
        {
            self.told.sealed.push(mark);
        }
        let said = event.response.map(WireResponse::told);
        if let Some(said) = said {
            self.told.model = said.model.or(self.told.model.take());
            self.told.usage = said.usage.or(self.told.usage.take());
            self.told.object_id = said.object_id.or(self.told.object_id.take());
            for mark in said.sealed {
                if !self.told.sealed.contains(&mark) {
                    self.told.sealed.push(mark);
                }
            }
        }
        match event.kind.as_deref() {
            Some("response.completed" | "response.incomplete" | "response.failed" | "response.done") => Meaning::Last,
            Some("ping") => Meaning::Nothing,
            Some("error") | None => Meaning::Suspect,
            Some(_) => Meaning::Part,
        }
    }

    fn told(&self) -> Told {
        self.told.clone()
    }

    fn name_of(&self, _data: &[u8]) -> Option<&'static str> {
        // Clients read the type inside.
        None
    }

    fn failure(&self, error: &GatewayError, passed: u64) -> Bytes {
        failure(error, passed)
    }
}

#[cfg(test)]
mod tests;
