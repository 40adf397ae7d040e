//! Answers that are paid for by the piece: pictures and films. They use no tokens unless they say so, and their cost is
//! told with them, or later.

use bytes::Bytes;

use super::plain::PlainDialect;
use crate::engine::dialect::{Dialect, FaultFinder, Relay, Told};
use crate::engine::error::GatewayError;
use crate::engine::usage::Usage;

/// The dialect of such answers.
#[derive(Clone, Copy, Debug)]
pub struct PieceDialect;

const PLAIN: PlainDialect = PlainDialect {
    id_member: Some("request_id"),
};

impl Dialect for PieceDialect {
    fn relay(&self, faults: FaultFinder) -> Box<dyn Relay> {
        PLAIN.relay(faults)
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        let mut told = PLAIN.read_answer(body);
        let usage = told.usage.get_or_insert_with(Usage::default);
        usage.prompt.get_or_insert(0);
        usage.completion.get_or_insert(0);
        told
    }

    fn error_event(&self, _error: &GatewayError) -> Bytes {
        Bytes::new()
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::new()
    }
}
