//! Names, help texts, labels and buckets. Nothing else in the program spells a metric's name.

use std::sync::atomic::Ordering;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::door::{DoorHandle, Route};

use super::process::ProcessMetrics;
use super::{LedgerMetrics, set_total};

/// OpenTelemetry GenAI metrics convention, `gen_ai.client.token.usage`.
const TOKEN_BUCKETS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// The same, `gen_ai.client.operation.duration`, and on to the longest call we allow: reasoning models take minutes.
const DURATION_BUCKETS: [f64; 17] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 655.36, 3600.0,
];
/// The same, `gen_ai.server.time_to_first_token`, and on to our longest silence.
const FIRST_TOKEN_BUCKETS: [f64; 19] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 600.0,
];
/// Our own overhead: the goal is 0.2 ms at p50 and 1 ms at p99.
const OVERHEAD_BUCKETS: [f64; 14] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0,
];
/// Waits for a slot end at `clients.max_wait_ms`, 2 s unless set otherwise.
const WAIT_BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 10.0];

/// The provider as the convention names it.
pub(super) const PROVIDER: &str = "x_ai";

pub(super) struct Families {
    pub token_usage: HistogramVec,
    pub operation_duration: HistogramVec,
    pub first_token: HistogramVec,
    pub requests: IntCounterVec,
    pub attempts: IntCounterVec,
    pub overhead: Histogram,
    pub pool_tokens: IntGaugeVec,
    pub cooling: IntCounterVec,
    pub affinity: IntCounterVec,
    pub affinity_bindings: IntGauge,
    pub ledger: LedgerMetrics,
    pub mailbox_depth: IntGaugeVec,
    pub client_waits: IntGauge,
    pub client_wait_seconds: Histogram,
    pub lost_log_lines: IntCounter,
    pub process: ProcessMetrics,
    in_flight: IntGaugeVec,
    connections: IntGauge,
    connection_events: IntCounterVec,
}

impl Families {
    pub fn register(registry: &Registry) -> Result<Families, prometheus::Error> {
        let into = Registrar(registry);
        let build = into.gauges(
            "grok2api_build_info",
            "Always 1; the version is in the label.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Families {
            token_usage: into.histograms(
                "gen_ai_client_token_usage",
                "Tokens of a call as the upstream counted them.",
                &[
                    "gen_ai_operation_name",
                    "gen_ai_provider_name",
                    "gen_ai_request_model",
                    "gen_ai_token_type",
                ],
                &TOKEN_BUCKETS,
            )?,
            operation_duration: into.histograms(
                "gen_ai_client_operation_duration_seconds",
                "A call from its request to the end of its answer.",
                &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"],
                &DURATION_BUCKETS,
            )?,
            first_token: into.histograms(
                "gen_ai_server_time_to_first_token_seconds",
                "A streamed call from its request to its first event.",
                &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"],
                &FIRST_TOKEN_BUCKETS,
            )?,
            requests: into.counters(
                "grok2api_requests_total",
                "Requests by how they ended.",
                &["route", "outcome"],
            )?,
            attempts: into.counters(
                "grok2api_attempts_total",
                "Calls to the upstream by how they ended; a request may take several.",
                &["outcome"],
            )?,
            overhead: into.histogram(
                "grok2api_overhead_seconds",
                "The gateway's own share of a request's time.",
                &OVERHEAD_BUCKETS,
            )?,
            pool_tokens: into.gauges(
                "grok2api_pool_tokens",
                "Upstream credentials by pool and state.",
                &["pool", "state"],
            )?,
            cooling: into.counters(
                "grok2api_cooling_events_total",
                "Times something began to cool.",
                &["scope", "cause"],
            )?,
            affinity: into.counters(
                "grok2api_affinity_total",
                "Turns of bound conversations: hit, borrow (another served, the binding stayed), rebind (it moved).",
                &["event"],
            )?,
            affinity_bindings: into.gauge(
                "grok2api_affinity_bindings",
                "Conversations bound to an upstream credential.",
            )?,
            ledger: LedgerMetrics {
                grants: into.counter("grok2api_ledger_grants_total", "Grants handed out by quota owners.")?,
                lapses: into.counter(
                    "grok2api_ledger_lapses_total",
                    "Grants whose life ended with units in hand.",
                )?,
                lapsed_units: into.counter(
                    "grok2api_ledger_lapsed_units_total",
                    "Units presumed spent: their grant lapsed, or its holder fell silent.",
                )?,
                presumed: into.counter(
                    "grok2api_ledger_presumed_total",
                    "Calls charged their reservation because their use stayed unknown.",
                )?,
                late: into.counter(
                    "grok2api_ledger_late_total",
                    "Calls whose head was written later than the delivery slack allows; each was charged twice.",
                )?,
                appends: into.counter("grok2api_ledger_appends_total", "Appends to the ledger's journals.")?,
            },
            mailbox_depth: into.gauges(
                "grok2api_mailbox_depth",
                "Messages waiting for actors of a kind.",
                &["actor"],
            )?,
            client_waits: into.gauge(
                "grok2api_client_waits",
                "Requests waiting for a slot of their client key.",
            )?,
            client_wait_seconds: into.histogram(
                "grok2api_client_wait_seconds",
                "How long requests waited for a slot of their client key.",
                &WAIT_BUCKETS,
            )?,
            lost_log_lines: into.counter(
                "grok2api_log_lines_lost_total",
                "Log lines dropped because the disk or terminal did not keep up.",
            )?,
            in_flight: into.gauges("grok2api_in_flight", "Requests being answered.", &["route"])?,
            connections: into.gauge("grok2api_connections", "Open client connections.")?,
            connection_events: into.counters(
                "grok2api_connection_events_total",
                "What happened at the door.",
                &["event"],
            )?,
            process: ProcessMetrics::register(&into)?,
        })
    }

    pub fn copy_door(&self, door: &DoorHandle) {
        for route in Route::ALL {
            self.in_flight
                .with_label_values(&[route.as_str()])
                .set(as_gauge(door.in_flight().count(route)));
        }
        let stats = door.stats();
        self.connections.set(as_gauge(stats.open.load(Ordering::Relaxed)));
        for (event, count) in [
            ("accepted", &stats.accepted),
            ("refused", &stats.refused),
            ("accept_error", &stats.accept_errors),
            ("tls_failure", &stats.tls_failures),
            ("head_timeout", &stats.head_timeouts),
            ("panic", &stats.panics),
        ] {
            let counter = self.connection_events.with_label_values(&[event]);
            set_total(&counter, count.load(Ordering::Relaxed));
        }
    }
}

fn as_gauge(count: usize) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Makes a metric and registers it.
pub(super) struct Registrar<'a>(&'a Registry);

impl Registrar<'_> {
    fn add<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help)?)
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub fn float(&self, metric: prometheus::Counter) -> Result<prometheus::Counter, prometheus::Error> {
        self.add(metric)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
        self.add(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        )?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.add(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        )?)
    }
}
