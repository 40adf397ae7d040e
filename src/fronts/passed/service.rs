//! What the upstream does without a model: its answers name an id at most, and cost what is known beforehand or nothing.

use bytes::Bytes;
use serde::Deserialize;

use crate::engine::dialect::{Dialect, FaultFinder, Relay, Step, Told};
use crate::engine::error::GatewayError;
use crate::engine::usage::Usage;

/// The dialect of such answers, and of streams that are not looked into.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceDialect {
    /// The member that holds the id of what was made, if anything is.
    pub id_member: Option<&'static str>,
    /// What the call costs, USD ticks, where the answer does not say.
    pub ticks: u64,
}

#[derive(Deserialize)]
struct WireAnswer {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    batch_id: Option<String>,
    #[serde(default)]
    voice_id: Option<String>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    cost_in_usd_ticks: Option<u64>,
}

impl Dialect for ServiceDialect {
    fn relay(&self, _faults: FaultFinder) -> Box<dyn Relay> {
        Box::new(AsItComes::default())
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        // Sounds and files are no JSON.
        let wire = (body.trim_ascii_start().first() == Some(&b'{'))
            .then(|| serde_json::from_slice::<WireAnswer>(body).ok())
            .flatten();
        let said = wire
            .as_ref()
            .and_then(|wire| wire.usage.as_ref())
            .and_then(|usage| usage.cost_in_usd_ticks);
        let object_id = wire.and_then(|wire| match self.id_member {
            Some("id") => wire.id,
            Some("batch_id") => wire.batch_id,
            Some("voice_id") => wire.voice_id,
            _ => None,
        });
        Told {
            usage: Some(Usage {
                total: Some(0),
                cost_in_usd_ticks: Some(said.unwrap_or(self.ticks)),
                ..Usage::default()
            }),
            object_id,
            ..Told::default()
        }
    }

    fn error_event(&self, error: &GatewayError) -> Bytes {
        crate::fronts::openai::error::error_event(error)
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }
}

/// A stream whose events are not understood: it ends where it ends.
#[derive(Default)]
struct AsItComes {
    has_begun: bool,
    ended: bool,
}

impl Relay for AsItComes {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Step>) {
        self.has_begun |= !chunk.is_empty();
        out.push(Step::Send(chunk));
    }

    fn end(&mut self, clean: bool, out: &mut Vec<Step>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push(if clean { Step::Done(Bytes::new()) } else { Step::Cut });
        }
    }

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    fn told(&self) -> Told {
        Told::default()
    }
}
