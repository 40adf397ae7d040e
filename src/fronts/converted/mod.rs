//! Fronts over an upstream that speaks another dialect. What is answered is read into a neutral form, [`Said`], and written
//! from there in the client's dialect, whole or event by event; what is asked is turned into the other dialect's request.
//! So each dialect is read once and written once, and not once for every other.
//!
//! Models that are served over Responses only are asked this way by clients of chat and of messages.

mod ask_chat;
mod ask_messages;
mod chat;
mod hearing;
mod messages;
mod said;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use poem::Response;
use serde_json::Value;

pub use self::ask_chat::{Terms, of_chat};
pub use self::ask_messages::of_messages;
use self::chat::ChatWriter;
use self::hearing::{Heard, Hearing};
use self::messages::MessagesWriter;
use self::said::Said;
use super::openai::error as openai;
use super::openai::responses::dialect::ResponsesDialect;
use super::sse::{Event, Splitter};
use crate::engine::answer::Answer;
use crate::engine::dialect::{Dialect, FaultFinder, Relay, Step, Told};
use crate::engine::error::{ErrorKind, GatewayError, RefusalReason};
use crate::fronts::answering::respond;
use crate::fronts::anthropic::error as anthropic;
use crate::http::arrival::Arrival;

/// The largest event to accept, bytes: the last one of a response repeats all of it.
const MAX_EVENT: usize = 64 << 20;

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Chat completions; whether usage was asked for in the stream.
    Chat {
        /// It was.
        keep_usage: bool,
    },
    /// Messages.
    Messages,
}

impl Target {
    fn error_event(self, error: &GatewayError) -> Bytes {
        match self {
            Target::Chat { .. } => openai::error_event(error),
            Target::Messages => anthropic::error_event(error),
        }
    }

    /// The answer for the client. Events are converted on their way already.
    ///
    /// # Errors
    /// 502 when nothing was answered.
    pub fn respond(self, answer: Answer, arrival: &Arrival) -> Result<Response, GatewayError> {
        let whole = match &answer {
            Answer::Whole { body, .. } => Some(self.whole(body)?),
            Answer::Stream { .. } => None,
        };
        let mut response = respond(answer, arrival);
        if let Some(whole) = whole {
            response.set_body(whole);
        }
        Ok(response)
    }

    /// The answer in one piece, in the client's dialect.
    fn whole(self, body: &[u8]) -> Result<Bytes, GatewayError> {
        let said = hearing::whole(body).map_err(|detail| {
            GatewayError::new(ErrorKind::UpstreamFailed, "The upstream gave no answer.")
                .with_detail(detail)
                .because(RefusalReason::Upstream)
        })?;
        let answer: Value = match self {
            Target::Chat { .. } => chat::whole(&said),
            Target::Messages => messages::whole(&said),
        };
        Ok(Bytes::from(answer.to_string()))
    }
}

/// Answers of Responses, in the client's dialect.
#[derive(Clone, Copy, Debug)]
pub struct ConvertedDialect(pub Target);

impl Dialect for ConvertedDialect {
    fn relay(&self, faults: FaultFinder) -> Box<dyn Relay> {
        Box::new(ConvertedRelay::new(self.0, faults))
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        ResponsesDialect.read_answer(body)
    }

    fn error_event(&self, error: &GatewayError) -> Bytes {
        self.0.error_event(error)
    }

    fn keep_alive(&self) -> Bytes {
        match self.0 {
            Target::Chat { .. } => Bytes::from_static(b": keep-alive\n\n"),
            Target::Messages => Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        }
    }
}

enum Writer {
    Chat(ChatWriter),
    Messages(MessagesWriter),
}

impl Writer {
    fn of(target: Target) -> Writer {
        match target {
            Target::Chat { keep_usage } => Writer::Chat(ChatWriter::new(keep_usage)),
            Target::Messages => Writer::Messages(MessagesWriter::default()),
        }
    }

    fn write(&mut self, said: &Said, out: &mut BytesMut) {
        match self {
            Writer::Chat(writer) => writer.write(said, out),
            Writer::Messages(writer) => writer.write(said, out),
        }
    }
}

/// Follows a stream of Responses and writes another.
struct ConvertedRelay {
    hearing: Hearing,
    writer: Writer,
    splitter: Splitter,
    faults: FaultFinder,
    has_begun: bool,
    ended: bool,
    scratch: Vec<Said>,
}

impl ConvertedRelay {
    fn new(target: Target, faults: FaultFinder) -> ConvertedRelay {
        ConvertedRelay {
            hearing: Hearing::default(),
            writer: Writer::of(target),
            splitter: Splitter::new(MAX_EVENT),
            faults,
            has_begun: false,
            ended: false,
            scratch: Vec::new(),
        }
    }

    fn take(&mut self, event: &Event, out: &mut Vec<Step>) {
        let Some(data) = event.data() else {
            return out.push(Step::Send(event.raw()));
        };
        let heard = self.hearing.event(data, &mut self.scratch);
        if heard == Heard::Suspect {
            if let Some(fault) = (self.faults)(event.name(), data) {
                self.ended = true;
                out.push(Step::Fault(Box::new(fault)));
            }
            return;
        }
        if heard == Heard::Failed {
            self.ended = true;
            return out.push(match (self.faults)(event.name(), data) {
                Some(fault) => Step::Fault(Box::new(fault)),
                None => Step::Cut,
            });
        }
        let mut bytes = BytesMut::new();
        for said in self.scratch.drain(..) {
            self.writer.write(&said, &mut bytes);
        }
        self.has_begun |= !bytes.is_empty();
        if heard == Heard::Last {
            self.ended = true;
            out.push(Step::Done(bytes.freeze()));
        } else if !bytes.is_empty() {
            out.push(Step::Send(bytes.freeze()));
        }
    }
}

impl Relay for ConvertedRelay {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Step>) {
        if self.ended {
            return;
        }
        self.splitter.feed(chunk);
        while !self.ended {
            match self.splitter.next_event() {
                Ok(Some(event)) => self.take(&event, out),
                Ok(None) => return,
                Err(error) => {
                    self.ended = true;
                    out.push(Step::TooLarge(error.limit));
                }
            }
        }
    }

    fn end(&mut self, clean: bool, out: &mut Vec<Step>) {
        if self.ended {
            return;
        }
        if let Some(event) = self.splitter.finish()
            && clean
            && event
                .data()
                .is_some_and(|data| serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok())
        {
            self.take(&event, out);
        }
        if !std::mem::replace(&mut self.ended, true) {
            out.push(Step::Cut);
        }
    }

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    fn told(&self) -> Told {
        self.hearing.told()
    }
}
