//! A stream of named events on its way to a client of the same dialect: events pass byte for byte, failures that the
//! upstream reports before the answer has begun are found, and the end is known by the dialect's last event.

use bytes::{Bytes, BytesMut};

use super::sse::{Event, Splitter};
use crate::engine::dialect::{FaultFinder, Relay, Step, Told};
use crate::engine::error::GatewayError;

/// The largest event to accept, bytes: the last one of a response repeats all of it.
const MAX_EVENT: usize = 64 << 20;

/// What an event means to whoever passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Part of the answer.
    Part,
    /// The answer's last event.
    Last,
    /// It may report a failure: whoever knows the upstream is asked.
    Suspect,
    /// The upstream could not go on; whoever knows it is asked why.
    Failed,
    /// It passes, but the answer has not begun with it.
    Idle,
    /// It says nothing that a client of the dialect would understand.
    Nothing,
}

/// Reads the events of a dialect.
pub trait EventReader: Send {
    /// Takes note of an event, and says what it means.
    fn read(&mut self, name: Option<&[u8]>, data: &[u8]) -> Meaning;

    /// What the events have said so far.
    fn told(&self) -> Told;

    /// The name that the event must bear on the wire, where clients need it and the upstream left it out.
    fn name_of(&self, data: &[u8]) -> Option<&'static str>;

    /// What the client gets for the event that was read last: the event itself, unless it is turned into others.
    fn written(&mut self, event: &Event, data: &[u8]) -> Bytes {
        match event.name() {
            Some(_) => event.raw(),
            None => match self.name_of(data) {
                Some(name) => named(name, &event.raw()),
                None => event.raw(),
            },
        }
    }

    /// The event that ends the stream with a failure, after so many that were passed on.
    fn failure(&self, error: &GatewayError, passed: u64) -> Bytes;
}

/// The relay around a dialect's reader.
pub struct EventRelay<R> {
    reader: R,
    splitter: Splitter,
    faults: FaultFinder,
    /// Events that the client got.
    passed: u64,
    ended: bool,
}

impl<R: EventReader> EventRelay<R> {
    /// At the start of a stream.
    pub fn new(reader: R, faults: FaultFinder) -> EventRelay<R> {
        EventRelay {
            reader,
            splitter: Splitter::new(MAX_EVENT),
            faults,
            passed: 0,
            ended: false,
        }
    }

    fn take(&mut self, event: &Event, out: &mut Vec<Step>) {
        let Some(data) = event.data() else {
            // A comment: the client's connection may need it as well.
            return out.push(Step::Send(event.raw()));
        };
        let said = data.trim_ascii();
        if said.is_empty() || said == b"[DONE]" {
            // Clients of these dialects parse the data of every event; the end is told by an event of its own.
            return;
        }
        let mut meaning = self.reader.read(event.name(), data);
        if matches!(meaning, Meaning::Suspect | Meaning::Failed) {
            if let Some(fault) = (self.faults)(event.name(), data) {
                self.ended = true;
                return out.push(Step::Fault(Box::new(fault)));
            }
            if meaning == Meaning::Failed {
                self.ended = true;
                return out.push(Step::Cut);
            }
            meaning = Meaning::Part;
        }
        match meaning {
            Meaning::Nothing => return,
            Meaning::Idle => return out.push(Step::Send(event.raw())),
            Meaning::Part | Meaning::Last | Meaning::Suspect | Meaning::Failed => {}
        }
        let bytes = self.reader.written(event, data);
        self.passed += u64::from(!bytes.is_empty());
        if meaning == Meaning::Last {
            self.ended = true;
            out.push(Step::Done(whole(bytes)));
        } else if !bytes.is_empty() {
            out.push(Step::Send(bytes));
        }
    }
}

impl<R: EventReader> Relay for EventRelay<R> {
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
        self.passed > 0
    }

    fn told(&self) -> Told {
        self.reader.told()
    }

    fn error_event(&self, error: &GatewayError) -> Option<Bytes> {
        Some(self.reader.failure(error, self.passed))
    }
}

/// The event with a line that names it.
fn named(name: &str, raw: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(raw.len() + name.len() + 8);
    event.extend_from_slice(b"event: ");
    event.extend_from_slice(name.as_bytes());
    event.extend_from_slice(b"\n");
    event.extend_from_slice(raw);
    event.freeze()
}

/// The event with the blank line that ends it, which the last one of a stream may lack.
fn whole(raw: Bytes) -> Bytes {
    if raw.ends_with(b"\n\n") || raw.ends_with(b"\r\n\r\n") || raw.ends_with(b"\r\r") {
        return raw;
    }
    let mut event = BytesMut::from(&raw[..]);
    event.extend_from_slice(if raw.ends_with(b"\n") || raw.ends_with(b"\r") {
        b"\n"
    } else {
        b"\n\n"
    });
    event.freeze()
}
