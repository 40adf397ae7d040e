//! Fronts over an upstream that speaks another dialect. What is answered is read from the provider's dialect, a [`Source`],
//! into a neutral form, [`Said`], and written from there in the client's, a [`Target`], whole or event by event; what is asked
//! is turned into a request of Responses. So each dialect is read once and written once, and not once for every other.
//!
//! Models that are served over Responses only are asked this way by clients of chat and of messages. A provider that speaks
//! something of its own gets every front by being read; the tests have one that follows a script.

mod ask_chat;
mod ask_messages;
mod chat;
mod hearing;
mod messages;
mod responses;
mod said;
mod source;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use poem::Response;
use serde_json::Value;

pub use self::ask_chat::{Terms, of_chat};
pub use self::ask_messages::of_messages;
use self::chat::ChatWriter;
use self::messages::MessagesWriter;
use self::responses::ResponsesWriter;
pub use self::said::{Said, Why};
pub use self::source::{Hear, Responses, Source};
use super::event_relay::{EventReader, EventRelay, Meaning};
use super::openai::error as openai;
use super::openai::responses::dialect::ResponsesDialect;
use super::sse::Event;
use crate::engine::answer::Answer;
use crate::engine::dialect::{Dialect, FaultFinder, Relay, Told};
use crate::engine::error::{ErrorKind, GatewayError, RefusalReason};
use crate::fronts::answering::respond;
use crate::fronts::anthropic::error as anthropic;
use crate::http::arrival::Arrival;

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
    /// Responses.
    Responses,
}

impl Target {
    fn error_event(self, error: &GatewayError) -> Bytes {
        match self {
            Target::Chat { .. } => openai::error_event(error),
            Target::Messages => anthropic::error_event(error),
            Target::Responses => ResponsesDialect.error_event(error),
        }
    }

    fn whole(self, said: &[Said]) -> Value {
        match self {
            Target::Chat { .. } => chat::whole(said),
            Target::Messages => messages::whole(said),
            Target::Responses => responses::whole(said),
        }
    }
}

/// Answers of a source, in the client's dialect.
#[derive(Clone, Copy, Debug)]
pub struct ConvertedDialect<S>(pub Target, pub S);

impl<S: Source> ConvertedDialect<S> {
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
        let said = S::whole(body).map_err(|detail| {
            GatewayError::new(ErrorKind::UpstreamFailed, "The upstream gave no answer.")
                .with_detail(detail)
                .because(RefusalReason::Upstream)
        })?;
        Ok(Bytes::from(self.0.whole(&said).to_string()))
    }
}

impl<S: Source> Dialect for ConvertedDialect<S> {
    fn relay(&self, faults: FaultFinder) -> Box<dyn Relay> {
        let reader = ConvertedReader {
            target: self.0,
            hearing: S::Hearing::default(),
            writer: Writer::of(self.0),
            said: Vec::new(),
        };
        Box::new(EventRelay::new(reader, faults))
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        S::told(body)
    }

    fn error_event(&self, error: &GatewayError) -> Bytes {
        self.0.error_event(error)
    }

    fn keep_alive(&self) -> Bytes {
        match self.0 {
            Target::Chat { .. } | Target::Responses => Bytes::from_static(b": keep-alive\n\n"),
            Target::Messages => Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        }
    }
}

enum Writer {
    Chat(ChatWriter),
    Messages(MessagesWriter),
    Responses(ResponsesWriter),
}

impl Writer {
    fn of(target: Target) -> Writer {
        match target {
            Target::Chat { keep_usage } => Writer::Chat(ChatWriter::new(keep_usage)),
            Target::Messages => Writer::Messages(MessagesWriter::default()),
            Target::Responses => Writer::Responses(ResponsesWriter::default()),
        }
    }

    fn write(&mut self, said: &Said, out: &mut BytesMut) {
        match self {
            Writer::Chat(writer) => writer.write(said, out),
            Writer::Messages(writer) => writer.write(said, out),
            Writer::Responses(writer) => writer.write(said, out),
        }
    }
}

/// Reads events of a source, and writes others.
struct ConvertedReader<H> {
    target: Target,
    hearing: H,
    writer: Writer,
    /// What the event that was read last said.
    said: Vec<Said>,
}

impl<H: Hear> EventReader for ConvertedReader<H> {
    fn read(&mut self, _name: Option<&[u8]>, data: &[u8]) -> Meaning {
        self.said.clear();
        self.hearing.event(data, &mut self.said)
    }

    fn told(&self) -> Told {
        self.hearing.told()
    }

    fn name_of(&self, _data: &[u8]) -> Option<&'static str> {
        None
    }

    fn written(&mut self, _event: &Event, _data: &[u8]) -> Bytes {
        let mut bytes = BytesMut::new();
        for said in &self.said {
            self.writer.write(said, &mut bytes);
        }
        bytes.freeze()
    }

    fn failure(&self, error: &GatewayError, _passed: u64) -> Bytes {
        self.target.error_event(error)
    }
}
