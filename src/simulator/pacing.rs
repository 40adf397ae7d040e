//! The steps in which an answer is written: its pauses, and what a script wants wrong about it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::body::Step;
use super::errors::{self, Mention};
use super::misbehave::Effects;

/// Pause before a cut, so that what stands before it reaches the client.
const FLUSH: Duration = Duration::from_millis(5);

/// Pauses.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before the first chunk.
    pub first: Duration,
    /// Before each of the others.
    pub each: Duration,
}

/// An event of a stream whose events have names, with the type inside as well.
pub fn named_event(name: &str, data: &serde_json::Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// The steps of a stream: each event with the output tokens it carries, disturbed as a script wants it.
pub fn disturbed(
    mut written: Vec<(Bytes, u32)>,
    pace: Pace,
    effects: &Effects,
    mention: &Mention<'_>,
) -> VecDeque<Step> {
    if let Some(at) = effects.garbage_at {
        let at = at.min(written.len());
        written.insert(
            at,
            (Bytes::from_static(b"data: {\"id\":\"broken\",\"choices\":[{\n\n"), 0),
        );
    }
    if let Some(id) = &effects.event_error {
        written.truncate(effects.event_at.unwrap_or(0));
        written.push((errors::as_event(id, mention), 0));
    }
    steps(written, pace, effects)
}

/// An answer that is not streamed, in pieces, for scripts that disturb it.
pub fn pieces(body: Vec<u8>, tokens: u32, effects: &Effects) -> VecDeque<Step> {
    const PIECES: usize = 16;
    let body = Bytes::from(body);
    let size = body.len().div_ceil(PIECES).max(1);
    let mut written: Vec<(Bytes, u32)> = (0..body.len())
        .step_by(size)
        .map(|at| (body.slice(at..body.len().min(at + size)), 0))
        .collect();
    if let Some(last) = written.last_mut() {
        last.1 = tokens;
    }
    if let Some(at) = effects.garbage_at {
        written.insert(at.min(written.len()), (Bytes::from_static(b"\"<<broken>>"), 0));
    }
    let each = Duration::from_millis(effects.pace_ms.unwrap_or(0));
    steps(
        written,
        Pace {
            first: Duration::ZERO,
            each,
        },
        effects,
    )
}

fn steps(written: Vec<(Bytes, u32)>, pace: Pace, effects: &Effects) -> VecDeque<Step> {
    let mut steps = VecDeque::with_capacity(written.len() * 2 + 2);
    for (index, (bytes, tokens)) in written.into_iter().enumerate() {
        if effects.cut_after == Some(index) {
            // What was written is flushed while nothing more is ready.
            steps.push_back(Step::Wait(FLUSH));
            steps.push_back(Step::Cut);
            return steps;
        }
        if effects.stall_after == Some(index) {
            steps.push_back(match effects.stall_ms {
                Some(ms) => Step::Wait(Duration::from_millis(ms)),
                None => Step::Stall,
            });
        }
        let pause = if index == 0 { pace.first } else { pace.each };
        if !pause.is_zero() {
            steps.push_back(Step::Wait(pause));
        }
        steps.push_back(Step::Write(bytes, tokens));
    }
    steps
}
