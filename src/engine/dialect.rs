//! What the engine asks of a client's dialect: to read usage off answers on their way, and to say what went wrong in the
//! middle of a stream.

use bytes::Bytes;

use super::error::GatewayError;
use super::usage::Usage;

/// A failure that the upstream reported, and what follows from it.
pub use crate::providers::Verdict as Fault;

/// How a dialect reads and writes answers.
pub trait Dialect: Send + Sync + 'static {
    /// Follows one streamed answer.
    fn relay(&self, faults: FaultFinder) -> Box<dyn Relay>;

    /// Reads what an answer in one piece says about itself.
    fn read_answer(&self, body: &[u8]) -> Told;

    /// The event that ends a stream that failed after its first byte.
    fn error_event(&self, error: &GatewayError) -> Bytes;

    /// What keeps an idle stream alive without meaning anything.
    fn keep_alive(&self) -> Bytes;
}

/// Tells whether an event of the upstream's stream, by its name and data, reports a failure.
pub type FaultFinder = Box<dyn FnMut(Option<&[u8]>, &[u8]) -> Option<Fault> + Send>;

/// Follows one streamed answer: takes what the upstream sends, says what the client gets.
pub trait Relay: Send {
    /// Takes a piece of the upstream's stream.
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Step>);

    /// Takes its end: `clean` if the body ended properly.
    fn end(&mut self, clean: bool, out: &mut Vec<Step>);

    /// Whether the answer itself has begun: after that nothing is retried.
    fn has_begun(&self) -> bool;

    /// What the stream has said about itself so far.
    fn told(&self) -> Told;

    /// The event that ends the stream with a failure, where it depends on what came before.
    fn error_event(&self, _error: &GatewayError) -> Option<Bytes> {
        None
    }
}

/// What to do next with a stream.
#[derive(Debug)]
pub enum Step {
    /// Send these bytes.
    Send(Bytes),
    /// Send these bytes, and that was all.
    Done(Bytes),
    /// The upstream reports a failure.
    Fault(Box<Fault>),
    /// The upstream broke off.
    Cut,
    /// The upstream sent an event over the limit, bytes.
    TooLarge(usize),
}

/// What an answer says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The model that answered.
    pub model: Option<String>,
    /// What the upstream counted; `None` = it did not say.
    pub usage: Option<Usage>,
    /// An id that later calls may name.
    pub object_id: Option<String>,
    /// Marks of sealed items in it, which only who made them can open.
    pub sealed: Vec<[u8; 16]>,
}
