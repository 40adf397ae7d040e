//! What messages say about themselves, whole or in events (`xai-api.md` §6, §19).

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::error::error_event;
use crate::engine::dialect::{Dialect, FaultFinder, Relay, Told};
use crate::engine::error::GatewayError;
use crate::engine::usage::Usage;
use crate::fronts::event_relay::{EventReader, EventRelay, Meaning};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct MessagesDialect;

impl Dialect for MessagesDialect {
    fn relay(&self, faults: FaultFinder) -> Box<dyn Relay> {
        Box::new(EventRelay::new(Events::default(), faults))
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        let mut seen = Events::default();
        if let Ok(message) = serde_json::from_slice::<WireMessage<'_>>(body) {
            seen.take_message(message);
        }
        seen.told()
    }

    fn error_event(&self, error: &GatewayError) -> Bytes {
        error_event(error)
    }

    fn keep_alive(&self) -> Bytes {
        // An event of the dialect, for some of its clients count comments as silence.
        Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n")
    }
}

#[derive(Default)]
struct Events {
    model: Option<String>,
    usage: WireUsage,
    has_usage: bool,
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<WireMessage<'a>>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

/// Counts; those of the last event are totals, not differences.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    /// Without what the cache served or took.
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost_in_usd_ticks: Option<u64>,
}

impl Events {
    fn take_message(&mut self, message: WireMessage<'_>) {
        self.model = message.model.map(Cow::into_owned).or(self.model.take());
        self.take_usage(message.usage);
    }

    fn take_usage(&mut self, usage: Option<WireUsage>) {
        let Some(usage) = usage else { return };
        self.has_usage = true;
        let known = &mut self.usage;
        known.input_tokens = usage.input_tokens.or(known.input_tokens);
        known.cache_creation_input_tokens = usage.cache_creation_input_tokens.or(known.cache_creation_input_tokens);
        known.cache_read_input_tokens = usage.cache_read_input_tokens.or(known.cache_read_input_tokens);
        known.output_tokens = usage.output_tokens.or(known.output_tokens);
        known.cost_in_usd_ticks = usage.cost_in_usd_ticks.or(known.cost_in_usd_ticks);
    }
}

impl EventReader for Events {
    fn read(&mut self, name: Option<&[u8]>, data: &[u8]) -> Meaning {
        if name == Some(b"content_block_delta") {
            return Meaning::Part;
        }
        let Ok(event) = serde_json::from_slice::<WireEvent<'_>>(data) else {
            return Meaning::Suspect;
        };
        if let Some(message) = event.message {
            self.take_message(message);
        }
        self.take_usage(event.usage);
        match event.kind.as_deref() {
            Some("message_stop") => Meaning::Last,
            // Clients know it, but nothing has begun with it.
            Some("ping") => Meaning::Idle,
            Some("error") | None => Meaning::Suspect,
            Some(_) => Meaning::Part,
        }
    }

    fn told(&self) -> Told {
        let usage = self.usage;
        let cached = usage.cache_read_input_tokens;
        Told {
            model: self.model.clone(),
            usage: self.has_usage.then(|| Usage {
                prompt: usage.input_tokens.map(|input| {
                    input
                        .saturating_add(usage.cache_creation_input_tokens.unwrap_or(0))
                        .saturating_add(cached.unwrap_or(0))
                }),
                completion: usage.output_tokens,
                cached,
                cost_in_usd_ticks: usage.cost_in_usd_ticks,
                ..Usage::default()
            }),
            ..Told::default()
        }
    }

    fn name_of(&self, data: &[u8]) -> Option<&'static str> {
        // Clients drop events without a name unread.
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
        }
        let typed = serde_json::from_slice::<Typed<'_>>(data).ok()?;
        NAMES.iter().find(|name| **name == typed.kind).copied()
    }

    fn failure(&self, error: &GatewayError, _passed: u64) -> Bytes {
        error_event(error)
    }
}

const NAMES: [&str; 7] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
];

#[cfg(test)]
mod tests;
