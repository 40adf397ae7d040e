//! OpenAI's chat dialect, as the engine asks for it.

use bytes::Bytes;

use super::error::error_event;
use super::usage::read_answer;
use super::usage_strip::{self, StripOptions, UsageStrip};
use crate::engine::dialect::{Dialect, Fault, FaultFinder, Relay, Step, Told};
use crate::engine::error::GatewayError;

/// Chat completions.
#[derive(Clone, Copy, Debug)]
pub struct ChatDialect {
    /// The client asked for usage in the stream.
    pub keep_usage: bool,
    /// Answers asked for.
    pub choices: u64,
}

impl Dialect for ChatDialect {
    fn relay(&self, faults: FaultFinder) -> Box<dyn Relay> {
        let options = StripOptions {
            keep_usage: self.keep_usage,
            choices: self.choices,
            ..StripOptions::default()
        };
        Box::new(ChatRelay {
            strip: UsageStrip::new(options),
            faults,
            scratch: Vec::new(),
        })
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        let facts = read_answer(body);
        Told {
            model: facts.model,
            usage: facts.usage,
            ..Told::default()
        }
    }

    fn error_event(&self, error: &GatewayError) -> Bytes {
        error_event(error)
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }
}

struct ChatRelay {
    strip: UsageStrip,
    faults: FaultFinder,
    scratch: Vec<usage_strip::Step<Fault>>,
}

impl ChatRelay {
    fn hand_over(&mut self, out: &mut Vec<Step>) {
        out.extend(self.scratch.drain(..).map(|step| match step {
            usage_strip::Step::Pass(bytes) | usage_strip::Step::Replace(bytes) => Step::Send(bytes),
            usage_strip::Step::Done(bytes) => Step::Done(bytes),
            usage_strip::Step::Fault(verdict) => Step::Fault(Box::new(verdict)),
            usage_strip::Step::Cut => Step::Cut,
            usage_strip::Step::TooLarge(error) => Step::TooLarge(error.limit),
        }));
    }
}

impl Relay for ChatRelay {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Step>) {
        self.strip.push(chunk, &mut self.faults, &mut self.scratch);
        self.hand_over(out);
    }

    fn end(&mut self, clean: bool, out: &mut Vec<Step>) {
        self.strip.end(clean, &mut self.faults, &mut self.scratch);
        self.hand_over(out);
    }

    fn has_begun(&self) -> bool {
        self.strip.seen().has_chunk
    }

    fn told(&self) -> Told {
        let seen = self.strip.seen();
        Told {
            model: seen.model.clone(),
            usage: seen.usage,
            ..Told::default()
        }
    }
}
