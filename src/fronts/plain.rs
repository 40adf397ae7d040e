//! Answers in one piece that are neither streamed nor a conversation: images, embeddings, token counts. What they say
//! about themselves is read where the known names stand.

use bytes::Bytes;
use serde::Deserialize;

use crate::engine::dialect::{Dialect, FaultFinder, Relay, Step, Told};
use crate::engine::error::GatewayError;
use crate::engine::usage::Usage;

/// The dialect of answers in one piece.
#[derive(Clone, Copy, Debug)]
pub struct PlainDialect {
    /// The member that holds the id of what was made, if anything is.
    pub id_member: Option<&'static str>,
}

#[derive(Deserialize)]
struct WireAnswer {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    batch_id: Option<String>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default, alias = "prompt_tokens")]
    input_tokens: Option<u64>,
    #[serde(default, alias = "completion_tokens")]
    output_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    cost_in_usd_ticks: Option<u64>,
}

impl Dialect for PlainDialect {
    fn relay(&self, _faults: FaultFinder) -> Box<dyn Relay> {
        Box::new(Unstreamed)
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        let Ok(wire) = serde_json::from_slice::<WireAnswer>(body) else {
            return Told::default();
        };
        let usage = wire.usage.map(|usage| Usage {
            prompt: usage.input_tokens,
            // What reads only says nothing of what it wrote.
            completion: usage.output_tokens.or(usage.input_tokens.map(|_| 0)),
            total: usage.total_tokens,
            cost_in_usd_ticks: usage.cost_in_usd_ticks,
            ..Usage::default()
        });
        Told {
            model: wire.model,
            usage: usage.filter(Usage::is_known),
            object_id: match self.id_member {
                Some("id") => wire.id,
                Some("request_id") => wire.request_id,
                Some("batch_id") => wire.batch_id,
                _ => None,
            },
            ..Told::default()
        }
    }

    fn error_event(&self, _error: &GatewayError) -> Bytes {
        Bytes::new()
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::new()
    }
}

/// A stream where none was asked for: it is taken for a broken answer.
struct Unstreamed;

impl Relay for Unstreamed {
    fn push(&mut self, _chunk: Bytes, out: &mut Vec<Step>) {
        out.push(Step::Cut);
    }

    fn end(&mut self, _clean: bool, out: &mut Vec<Step>) {
        out.push(Step::Cut);
    }

    fn has_begun(&self) -> bool {
        false
    }

    fn told(&self) -> Told {
        Told::default()
    }
}
