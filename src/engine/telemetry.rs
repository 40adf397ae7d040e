//! What the engine counts. Names and labels stand in [`crate::telemetry::metrics`].

use std::sync::Arc;

use grok2api_schemas::admin::requests::RequestRecord;

use crate::door::Route;
use crate::providers::xai::classify::Class;
use crate::telemetry::AttemptOutcome;
use crate::telemetry::metrics::{Metrics, Operation};

/// The engine's counters.
#[derive(Clone)]
pub struct EngineTelemetry(Arc<Metrics>);

impl EngineTelemetry {
    /// Counts into these metrics.
    pub fn new(metrics: Arc<Metrics>) -> EngineTelemetry {
        EngineTelemetry(metrics)
    }

    /// A call upstream ended.
    pub(super) fn attempt(&self, outcome: AttemptOutcome) {
        self.0.attempt(outcome);
    }

    /// An answer began.
    pub(super) fn first_byte(&self, model: &str, us: u64) {
        self.0.model(model, Operation::Chat).first_token(us as f64 / 1e6);
    }

    /// A request ended.
    pub(super) fn finished(&self, record: &RequestRecord, total_us: u64) {
        self.0.request(Route::of_path(&record.route), record.outcome);
        if record.attempts.is_empty() {
            return;
        }
        self.0.overhead().observe(f64::from(record.timing.overhead_us) / 1e6);
        self.0
            .client_wait_seconds()
            .observe(f64::from(record.timing.queue_ms) / 1e3);
        let model = self.0.model(&record.upstream_model, Operation::Chat);
        model.duration(total_us as f64 / 1e6);
        let output = record
            .usage
            .completion_tokens
            .map(|tokens| tokens + record.usage.reasoning_tokens.unwrap_or(0));
        model.usage(record.usage.prompt_tokens, output);
    }
}

/// The label of a refusal.
pub(super) fn attempt_outcome(class: Class) -> AttemptOutcome {
    match class {
        Class::KeyDead | Class::KeyRefused | Class::GatewayFault => AttemptOutcome::BadCredential,
        Class::TeamBroke => AttemptOutcome::OutOfCredit,
        Class::RateLimited => AttemptOutcome::RateLimited,
        Class::ModelUnavailable => AttemptOutcome::NoModelAccess,
        Class::Capacity => AttemptOutcome::Capacity,
        Class::Transient => AttemptOutcome::ServerError,
        Class::ClientError | Class::Ruled => AttemptOutcome::BadRequest,
    }
}
