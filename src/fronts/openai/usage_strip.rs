//! A chat stream on its way from an upstream of the same dialect to the client: events pass byte for byte, the usage that
//! only we asked for is taken out, failures that the upstream reports inside the stream are found, and the end is made
//! plain. What the stream says about itself is kept in [`Seen`].

use bytes::{Bytes, BytesMut};

use crate::fronts::json::Span;
use crate::fronts::sse::{Event, EventTooLarge, Splitter};

use super::usage::{self, Usage};

/// The event that ends a chat stream.
pub const DONE_EVENT: &[u8] = b"data: [DONE]\n\n";

/// What the client asked for.
#[derive(Clone, Copy, Debug)]
pub struct StripOptions {
    /// The client asked for usage (`stream_options.include_usage`).
    pub keep_usage: bool,
    /// Answers asked for (`n`): so many must end before the stream is complete.
    pub choices: u64,
    /// The largest event to accept, bytes.
    pub max_event_bytes: usize,
}

impl Default for StripOptions {
    /// No usage, one answer, 16 MiB.
    fn default() -> StripOptions {
        StripOptions {
            keep_usage: false,
            choices: 1,
            max_event_bytes: 16 << 20,
        }
    }
}

/// What to do next. An event that is dropped leaves no step.
#[derive(Clone, Debug)]
pub enum Step<F> {
    /// Send these bytes: whole events, as they came.
    Pass(Bytes),
    /// Send these bytes: an event made of the upstream's.
    Replace(Bytes),
    /// Send these bytes and end: the stream is complete.
    Done(Bytes),
    /// The upstream reports a failure. Nothing was sent: fail over. Something was: send the error event and end.
    Fault(F),
    /// The upstream ended or broke off before its answer was complete. As with a fault.
    Cut,
    /// The upstream sent an event over the limit. As with a fault.
    TooLarge(EventTooLarge),
}

/// What the stream said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A chat chunk came: the upstream has begun to answer.
    pub has_chunk: bool,
    /// Some text, thought or tool call came: the first token.
    pub has_content: bool,
    /// The last usage.
    pub usage: Option<Usage>,
    /// The model that answers.
    pub model: Option<String>,
    /// Answers that came to their end.
    pub finished: u64,
    /// `[DONE]` came, or was added.
    pub done: bool,
}

enum Decision<F> {
    Pass,
    Drop,
    Step(Step<F>),
}

/// The stream's state. After a step that ends it, nothing more comes.
#[derive(Debug)]
pub struct UsageStrip {
    options: StripOptions,
    splitter: Splitter,
    seen: Seen,
    usage_chunk: bool,
    ended: bool,
}

impl UsageStrip {
    /// At the start of a stream.
    pub fn new(options: StripOptions) -> UsageStrip {
        UsageStrip {
            options,
            splitter: Splitter::new(options.max_event_bytes),
            seen: Seen::default(),
            usage_chunk: false,
            ended: false,
        }
    }

    /// What the stream said so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes a chunk from the upstream and puts what to do into `out`, in order. `fault` is asked for every event that is
    /// not plainly a chat chunk, with its name and data: what it answers becomes [`Step::Fault`].
    pub fn push<F>(
        &mut self,
        chunk: Bytes,
        mut fault: impl FnMut(Option<&[u8]>, &[u8]) -> Option<F>,
        out: &mut Vec<Step<F>>,
    ) {
        if self.ended {
            return;
        }
        self.splitter.feed(chunk);
        // Events that pass and follow each other leave as one piece.
        let mut run: Option<(Event, Event)> = None;
        loop {
            let event = match self.splitter.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    flush(&mut run, out);
                    self.ended = true;
                    out.push(Step::TooLarge(error));
                    return;
                }
            };
            match self.decide(&event, &mut fault) {
                Decision::Pass => match &mut run {
                    Some((_, last)) if last.is_followed_by(&event) => *last = event,
                    _ => {
                        flush(&mut run, out);
                        run = Some((event.clone(), event));
                    }
                },
                Decision::Drop => flush(&mut run, out),
                Decision::Step(step) => {
                    flush(&mut run, out);
                    self.ended = !matches!(step, Step::Replace(_));
                    out.push(step);
                    if self.ended {
                        return;
                    }
                }
            }
        }
        flush(&mut run, out);
    }

    /// Takes the upstream's end: `clean` if it ended its body properly, not if the connection broke.
    pub fn end<F>(
        &mut self,
        clean: bool,
        mut fault: impl FnMut(Option<&[u8]>, &[u8]) -> Option<F>,
        out: &mut Vec<Step<F>>,
    ) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Some(event) = self.splitter.finish()
            && clean
            && is_whole(&event)
        {
            match self.decide(&event, &mut fault) {
                Decision::Pass => out.push(Step::Pass(with_blank_line(&event.raw()))),
                Decision::Drop => {}
                Decision::Step(Step::Done(_)) => {
                    out.push(Step::Done(Bytes::from_static(DONE_EVENT)));
                    return;
                }
                Decision::Step(step) => {
                    let goes_on = matches!(step, Step::Replace(_));
                    out.push(step);
                    if !goes_on {
                        return;
                    }
                }
            }
        }
        if self.seen.finished >= self.options.choices.max(1) || self.usage_chunk {
            self.seen.done = true;
            out.push(Step::Done(Bytes::from_static(DONE_EVENT)));
        } else {
            out.push(Step::Cut);
        }
    }

    fn decide<F>(&mut self, event: &Event, fault: &mut impl FnMut(Option<&[u8]>, &[u8]) -> Option<F>) -> Decision<F> {
        let Some(data) = event.data() else {
            return Decision::Pass;
        };
        let said = data.trim_ascii();
        if said.is_empty() {
            // SDKs parse the data of every event that has some, and fail on none.
            return Decision::Drop;
        }
        if said == b"[DONE]" {
            self.seen.done = true;
            return Decision::Step(Step::Done(event.raw()));
        }
        let is_chunk = usage::has_choices(data);
        let suspicious = !is_chunk || event.name().is_some_and(|name| name == b"error") || usage::may_be_error(data);
        if suspicious && let Some(fault) = fault(event.name(), data) {
            return Decision::Step(Step::Fault(fault));
        }
        if !is_chunk {
            return match usage::is_ping(data) {
                true => Decision::Drop,
                false => Decision::Pass,
            };
        }
        self.seen.has_chunk = true;
        self.seen.finished += usage::finished_choices(data);
        let has_usage = usage::may_have_usage(data);
        if !has_usage && self.seen.has_content && self.seen.model.is_some() {
            return Decision::Pass;
        }
        let Some(facts) = usage::read_chunk(data) else {
            return Decision::Pass;
        };
        self.seen.has_content |= facts.has_content;
        if self.seen.model.is_none() {
            self.seen.model = facts.model;
        }
        let Some(usage) = facts.usage else {
            return Decision::Pass;
        };
        self.seen.usage = Some(usage);
        if !facts.no_choices {
            return Decision::Pass;
        }
        self.usage_chunk = true;
        match (self.options.keep_usage, facts.has_citations) {
            (true, _) => Decision::Pass,
            (false, false) => Decision::Drop,
            (false, true) => match without_usage(data) {
                Some(event) => Decision::Step(Step::Replace(event)),
                None => Decision::Drop,
            },
        }
    }
}

fn flush<F>(run: &mut Option<(Event, Event)>, out: &mut Vec<Step<F>>) {
    if let Some((first, last)) = run.take() {
        out.push(Step::Pass(first.raw_through(&last)));
    }
}

/// Whether an event without its blank line has at least all its data.
fn is_whole(event: &Event) -> bool {
    event.data().is_some_and(|data| {
        data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
    })
}

fn with_blank_line(raw: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(raw.len() + 2);
    event.extend_from_slice(raw);
    event.extend_from_slice(b"\n\n");
    event.freeze()
}

/// The usage chunk without its usage, for the sake of the citations on it. A client that did not ask for usage does not
/// expect a chunk without choices, so it gets an empty one.
fn without_usage(data: &[u8]) -> Option<Bytes> {
    let (_, choices) = usage::top_level_member(data, "choices")?;
    let (_, usage) = usage::top_level_member(data, "usage")?;
    let mut patches: [(Span, &[u8]); 2] = [
        (choices, br#"[{"index":0,"delta":{},"finish_reason":null}]"#),
        (usage, b"null"),
    ];
    patches.sort_by_key(|(at, _)| at.start);
    let mut event = BytesMut::from(&b"data: "[..]);
    let mut kept = 0;
    for (at, with) in patches {
        event.extend_from_slice(data.get(kept..at.start)?);
        event.extend_from_slice(with);
        kept = at.end;
    }
    event.extend_from_slice(data.get(kept..)?);
    // Data of several lines: in JSON a line break can only be white space.
    for byte in event.iter_mut() {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    event.extend_from_slice(b"\n\n");
    Some(event.freeze())
}

#[cfg(test)]
mod tests;
