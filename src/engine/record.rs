//! What is written down of requests: of those that never became a call, and what every record begins with.

use grok2api_actors::clients::Identity;
use grok2api_schemas::admin::requests::{Outcome, RequestRecord, TimingView, UsageView};
use grok2api_schemas::ids::RequestId;

use super::ask::Caller;
use super::error::GatewayError;
use super::{Answered, Engine};
use crate::http::arrival::Arrival;

/// Writes down a request that was refused before it became a call.
pub(super) fn refused(engine: &Engine, arrival: &Arrival, route: &'static str, error: &GatewayError) {
    let record = RequestRecord {
        status: error.http_status(),
        outcome: Outcome::from(error.kind),
        error_code: Some(error.public_code().to_owned()),
        error_message: Some(error.message.chars().take(300).collect()),
        ..blank(arrival, route)
    };
    let total_us = engine.clock.now().us_since(arrival.received);
    engine.telemetry.finished(&record, total_us);
    tracing::debug!(request = %record.id, route, outcome = record.outcome.as_str(), error = %error.message, "refused");
    engine.log.offer(record);
}

/// Writes down what was answered without a call: something kept, or what an earlier call turned out to cost.
pub(super) fn answered(engine: &Engine, arrival: &Arrival, route: &'static str, about: &Answered<'_>) {
    let record = record_of(arrival, route, about);
    let total_us = engine.clock.now().us_since(arrival.received);
    engine.telemetry.finished(&record, total_us);
    engine.log.offer(record);
}

/// What is written down of it.
pub(super) fn record_of(arrival: &Arrival, route: &'static str, about: &Answered<'_>) -> RequestRecord {
    let (key_id, key_name) = named(about.caller);
    RequestRecord {
        key_id,
        key_name,
        status: 200,
        outcome: Outcome::Success,
        model: about.model.to_owned(),
        upstream_model: about.model.to_owned(),
        cost_ticks: about.cost_ticks,
        bytes_in: about.bytes_in,
        ..blank(arrival, route)
    }
}

/// The key's id, and its name for people.
pub(super) fn named(caller: &Caller) -> (Option<grok2api_schemas::ids::KeyId>, String) {
    match caller {
        Caller::Key(Identity::Key(key)) => (Some(key.id), key.name.clone()),
        Caller::Key(Identity::Config) => (None, "app.api_key".to_owned()),
        Caller::Anonymous => (None, "anonymous".to_owned()),
    }
}

pub(super) fn blank(arrival: &Arrival, route: &str) -> RequestRecord {
    RequestRecord {
        id: arrival.id,
        time_ms: arrival.time_ms,
        route: route.to_owned(),
        client_ip: arrival.ip.clone(),
        ..nothing()
    }
}

/// A record of nothing yet. Allocates nothing.
pub(super) fn nothing() -> RequestRecord {
    RequestRecord {
        id: RequestId::from_bytes([0; 16]),
        time_ms: 0,
        node: String::new(),
        key_id: None,
        key_name: String::new(),
        route: String::new(),
        model: String::new(),
        upstream_model: String::new(),
        stream: false,
        client_ip: String::new(),
        status: 0,
        outcome: Outcome::ClientGone,
        error_code: None,
        error_message: None,
        candidates: Vec::new(),
        candidates_left_out: 0,
        attempts: Vec::new(),
        timing: TimingView::default(),
        usage: UsageView::default(),
        cost_ticks: None,
        presumed: false,
        bytes_in: 0,
        bytes_out: 0,
    }
}
