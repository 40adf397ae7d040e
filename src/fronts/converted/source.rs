//! What upstreams speak.

use super::hearing::{self, Hearing};
use super::said::Said;
use crate::engine::dialect::{Dialect, Told};
use crate::fronts::event_relay::Meaning;
use crate::fronts::openai::responses::dialect::ResponsesDialect;

/// The dialect of a provider: read once, into the neutral form.
pub trait Source: Copy + Send + Sync + 'static {
    /// Follows a stream of it.
    type Hearing: Hear;

    /// Reads an answer in one piece; in words what is wrong with it.
    fn whole(body: &[u8]) -> Result<Vec<Said>, String>;

    /// What an answer in one piece says about itself.
    fn told(body: &[u8]) -> Told;
}

/// Follows a stream.
pub trait Hear: Default + Send {
    /// Takes an event, and adds what it says.
    fn event(&mut self, data: &[u8], said: &mut Vec<Said>) -> Meaning;

    /// What the stream has said about itself.
    fn told(&self) -> Told;
}

/// xAI's Responses.
#[derive(Clone, Copy, Debug)]
pub struct Responses;

impl Source for Responses {
    type Hearing = Hearing;

    fn whole(body: &[u8]) -> Result<Vec<Said>, String> {
        hearing::whole(body)
    }

    fn told(body: &[u8]) -> Told {
        ResponsesDialect.read_answer(body)
    }
}
