//! Every metric of the gateway, under its Prometheus name. OpenTelemetry's GenAI conventions where they have a name for
//! it, `grok2api_*` for the rest.
//!
//! Labels come from closed sets, and from the model names of the catalogue ([`Metrics::set_known_models`]; any other model
//! is `other`). What the request path touches is resolved beforehand: an array lookup and an atomic addition. A series
//! appears in `/metrics` once it has been touched.

mod families;
mod models;
mod process;

use std::fmt;
use std::sync::{Arc, OnceLock};

use grok2api_schemas::admin::requests::Outcome;
use parking_lot::Mutex;
use poem::endpoint::make_sync;
use poem::{Endpoint, Response, get};
use prometheus::{Encoder, Histogram, IntCounter, IntGauge, Registry, TEXT_FORMAT, TextEncoder};

use crate::door::{DoorHandle, Route};

pub use self::models::{ModelMetrics, Operation};
pub use super::outcome::AttemptOutcome;

use self::families::Families;
use self::models::ModelTable;

type Cells<const N: usize> = [OnceLock<IntCounter>; N];
type Pull = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    families: Families,
    requests: Box<[Cells<{ Outcome::ALL.len() }>; Route::ALL.len()]>,
    attempts: Cells<{ AttemptOutcome::ALL.len() }>,
    models: ModelTable,
    pulls: Mutex<Vec<Pull>>,
}

/// The ledger's counts. They only ever grow: set them from its own counts with [`set_total`] in a pull.
#[derive(Clone, Debug)]
pub struct LedgerMetrics {
    /// Grants that owners handed out.
    pub grants: IntCounter,
    /// Grants whose life ended with units in hand.
    pub lapses: IntCounter,
    /// Units presumed spent because their grant lapsed or its holder fell silent.
    pub lapsed_units: IntCounter,
    /// Calls charged their reservation because nobody could say what they used.
    pub presumed: IntCounter,
    /// Calls whose head was written later than the delivery slack allows; each was charged twice.
    pub late: IntCounter,
    /// Appends to journals.
    pub appends: IntCounter,
}

impl Metrics {
    /// A registry of its own, so that tests do not see each other's.
    ///
    /// Fails only if two metrics share a name, which is a fault in here.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let families = Families::register(&registry)?;
        Ok(Metrics {
            models: ModelTable::new(&families),
            requests: Box::new(std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new()))),
            attempts: std::array::from_fn(|_| OnceLock::new()),
            pulls: Mutex::default(),
            families,
            registry,
        })
    }

    /// A request that ended.
    pub fn request(&self, route: Route, outcome: Outcome) {
        self.requests[route as usize][outcome as usize]
            .get_or_init(|| {
                self.families
                    .requests
                    .with_label_values(&[route.as_str(), outcome.as_str()])
            })
            .inc();
    }

    /// A call to the upstream that ended.
    pub fn attempt(&self, outcome: AttemptOutcome) {
        self.attempts[outcome as usize]
            .get_or_init(|| self.families.attempts.with_label_values(&[outcome.as_str()]))
            .inc();
    }

    /// Our own share of a request's time: from its head to the upstream's socket and back, without the upstream.
    pub fn overhead(&self) -> &Histogram {
        &self.families.overhead
    }

    /// Handles for a model's token usage, durations and first tokens. Keep the handle beside the model where you can;
    /// this looks the name up.
    pub fn model(&self, model: &str, operation: Operation) -> Arc<ModelMetrics> {
        self.models.get(model, operation)
    }

    /// The models that get a label of their own. Counts so far stay.
    pub fn set_known_models<I, S>(&self, models: I)
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        self.models.set_known(models);
    }

    /// How many tokens of a pool are in a state.
    pub fn set_pool_tokens(&self, pool: &str, state: &str, count: u64) {
        self.families
            .pool_tokens
            .with_label_values(&[pool, state])
            .set(count.try_into().unwrap_or(i64::MAX));
    }

    /// How many rests began. `scope` is `token`, `token_model`, `team_model` or `team`.
    pub fn set_cooling_total(&self, scope: &'static str, cause: &'static str, total: u64) {
        set_total(&self.families.cooling.with_label_values(&[scope, cause]), total);
    }

    /// How often bindings of conversations held, were passed by, or moved, and how many there are.
    pub fn set_affinity(&self, hits: u64, borrows: u64, rebinds: u64, bindings: usize) {
        for (event, total) in [("hit", hits), ("borrow", borrows), ("rebind", rebinds)] {
            set_total(&self.families.affinity.with_label_values(&[event]), total);
        }
        self.families
            .affinity_bindings
            .set(bindings.try_into().unwrap_or(i64::MAX));
    }

    /// The ledger's counts.
    pub fn ledger(&self) -> &LedgerMetrics {
        &self.families.ledger
    }

    /// Messages waiting for a kind of actor.
    pub fn set_mailbox_depth(&self, actor: &'static str, depth: usize) {
        self.families
            .mailbox_depth
            .with_label_values(&[actor])
            .set(depth.try_into().unwrap_or(i64::MAX));
    }

    /// Requests that wait for a slot of their client key now.
    pub fn client_waits(&self) -> &IntGauge {
        &self.families.client_waits
    }

    /// How long requests waited for a slot of their client key, in seconds.
    pub fn client_wait_seconds(&self) -> &Histogram {
        &self.families.client_wait_seconds
    }

    /// Registers something to run before each scrape, to copy counts that others keep. It must be quick and must not
    /// block.
    pub fn register_pull(&self, pull: impl Fn(&Metrics) + Send + Sync + 'static) {
        self.pulls.lock().push(Box::new(pull));
    }

    /// Shows a door: connections, requests in flight, refusals.
    pub fn watch_door(&self, door: DoorHandle) {
        self.register_pull(move |metrics| metrics.families.copy_door(&door));
    }

    /// Shows how many log lines were lost because nobody wrote them in time.
    pub fn watch_lost_log_lines(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        self.register_pull(move |metrics| set_total(&metrics.families.lost_log_lines, count() as u64));
    }

    /// Everything in Prometheus' text format 0.0.4.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        // Also serialises scrapes, so that two of them cannot add the same difference twice.
        let pulls = self.pulls.lock();
        self.families.process.copy();
        for pull in pulls.iter() {
            pull(self);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Raises a counter to a total that somebody else counts. A smaller total (they started anew) changes nothing.
pub fn set_total(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// `GET|HEAD /metrics`.
pub fn endpoint(metrics: Arc<Metrics>) -> impl Endpoint<Output = Response> {
    get(make_sync(move |_| match metrics.render() {
        Ok(text) => Response::builder()
            .header(http::header::CONTENT_TYPE, TextEncoder::new().format_type())
            .body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be encoded");
            Response::builder()
                .status(http::StatusCode::INTERNAL_SERVER_ERROR)
                .content_type(TEXT_FORMAT)
                .body("# the metrics cannot be encoded; see the log\n")
        }
    }))
}

#[cfg(test)]
mod tests;
