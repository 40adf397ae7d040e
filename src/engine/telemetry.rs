//! What the engine counts. Names and labels stand in [`crate::telemetry::metrics`].

use grok2api_schemas::admin::requests::{Outcome, RequestRecord};

/// The engine's counters.
#[derive(Clone, Default)]
pub struct EngineTelemetry;

impl EngineTelemetry {
    pub(super) fn in_flight(&self, _more: i64) {}
    pub(super) fn attempt(&self, _outcome: Outcome) {}
    pub(super) fn first_byte(&self, _model: &str, _us: u64) {}
    pub(super) fn finished(&self, _record: &RequestRecord, _us: u64) {}
}
