//! One request, no dialect: from what a front asks to what it sends, over whichever token can serve.
//!
//! In order: [`run`] is the life of a request, [`room`] finds a token and the right to use it or [`refused`] says why not,
//! [`attempt`] makes one call, [`failed`] decides what becomes of one that failed, [`answer`] brings the answer to the client,
//! [`call`] is where every request ends.

mod run;
mod here;
pub mod socket;
mod room;
mod patience;
mod refused;
mod attempt;
mod failed;
pub mod telemetry;
pub mod direct;
pub mod answer;
mod call;
mod record;
pub mod keys;
pub mod ask;
pub mod dialect;
pub mod usage;
pub mod expectations;
pub mod waiting;
pub mod settings;
mod lines;
pub mod unread;
pub mod error;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grok2api_actors::clock::{Clock, Mono};
use grok2api_actors::ledger::Ledger;
use grok2api_actors::token::{Pool, Resting};
use grok2api_schemas::admin::requests::MAX_CANDIDATES;
use grok2api_schemas::token::CoolingCause;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalogue::Catalogue;
use crate::http::arrival::Arrival;
use crate::providers::Provider;
use crate::request_log::RequestLog;
use telemetry::EngineTelemetry;

use error::GatewayError;
use expectations::Expectations;
use keys::KeyMeters;
use settings::{EngineSettings, Timeouts};
use usage::Usage;
use waiting::WaitingRooms;

/// What the engine is built from.
pub struct EngineParts {
    /// Time.
    pub clock: Clock,
    /// Quotas.
    pub ledger: Ledger,
    /// Tokens.
    pub pool: Pool,
    /// The upstream.
    pub provider: Arc<dyn Provider>,
    /// Models and prices.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// How to behave.
    pub settings: EngineSettings,
    /// Where every request is written down.
    pub log: RequestLog,
    /// Counters.
    pub telemetry: EngineTelemetry,
    /// Runs what must outlive a request.
    pub tracker: TaskTracker,
}

/// What is written down of a request that needed no call.
pub struct Answered<'a> {
    /// Who asked.
    pub caller: &'a ask::Caller,
    /// The model that it is about; may be empty.
    pub model: &'a str,
    /// What it cost, USD ticks.
    pub cost_ticks: Option<u64>,
    /// Bytes of its body.
    pub bytes_in: u64,
}

/// Answers requests.
pub struct Engine {
    clock: Clock,
    ledger: Ledger,
    pool: Pool,
    provider: Arc<dyn Provider>,
    catalogue: Arc<ArcSwap<Catalogue>>,
    settings: ArcSwap<EngineSettings>,
    log: RequestLog,
    telemetry: EngineTelemetry,
    tracker: TaskTracker,
    rooms: Arc<WaitingRooms>,
    expectations: Expectations,
    key_meters: KeyMeters,
    hindrances: Mutex<Option<KnownHindrances>>,
    /// Whether tokens wait for their first probe, as of a moment.
    unprobed: Mutex<Option<(Mono, bool)>>,
    lines: lines::Lines,
    unread: unread::Unread,
}

/// What keeps tokens from serving a model.
struct Hindrances {
    /// How many rest for what, and when the first of them may serve again; the most frequent first.
    causes: Vec<(CoolingCause, u64, Option<u64>)>,
    /// Some of those tokens, for a request's record.
    resting: Vec<Resting>,
}

/// The same, as of a moment: looking at a hundred thousand tokens for every refusal would make an overload worse.
struct KnownHindrances {
    /// `None`: from serving anything.
    model: Option<String>,
    as_of: Mono,
    known: Arc<Hindrances>,
}

/// How old an account of hindrances may be, milliseconds.
const HINDRANCES_FOR_MS: u64 = 250;

impl Engine {
    /// An engine of these parts; `stop` ends its background work.
    pub fn start(parts: EngineParts, stop: CancellationToken) -> Arc<Engine> {
        let engine = Arc::new(Engine {
            clock: parts.clock,
            ledger: parts.ledger,
            pool: parts.pool,
            provider: parts.provider,
            catalogue: parts.catalogue,
            settings: ArcSwap::from_pointee(parts.settings),
            log: parts.log,
            telemetry: parts.telemetry,
            tracker: parts.tracker.clone(),
            rooms: Arc::default(),
            expectations: Expectations::default(),
            key_meters: KeyMeters::default(),
            hindrances: Mutex::new(None),
            unprobed: Mutex::new(None),
            lines: lines::Lines::default(),
            unread: unread::Unread::default(),
        });
        let waker = engine.clone();
        parts.tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = waker.ledger.released().notified() => {}
                    () = waker.pool.changed() => {}
                }
                waker.rooms.call_all();
            }
        });
        engine
    }

    /// How it behaves now.
    pub fn settings(&self) -> Arc<EngineSettings> {
        self.settings.load_full()
    }

    /// Behaves like this from now on.
    pub fn set(&self, settings: EngineSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The tokens.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Meters of client keys.
    pub fn key_meters(&self) -> &KeyMeters {
        &self.key_meters
    }

    /// Reasoning tokens to set aside for an answer: see [`Expectations::reasoning_allowance`].
    pub fn reasoning_allowance(&self, upstream_model: &str) -> u64 {
        self.expectations.reasoning_allowance(upstream_model)
    }

    /// The quotas.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Requests that wait for room.
    pub fn waiting(&self) -> usize {
        self.rooms.waiting()
    }

    /// Calls that go on without their client.
    pub fn unread(&self) -> &unread::Unread {
        &self.unread
    }

    /// A request that never became a call: it is written down and counted all the same.
    pub fn refused(&self, arrival: &Arrival, route: &'static str, error: &GatewayError) {
        record::refused(self, arrival, route, error);
    }

    /// A request that was answered without a call: it is written down and counted all the same.
    pub fn answered(&self, arrival: &Arrival, route: &'static str, about: &Answered<'_>) {
        record::answered(self, arrival, route, about);
    }

    /// What an earlier request turned out to cost is written down. It is no request of its own, and counts as none.
    pub fn settled(&self, arrival: &Arrival, route: &'static str, about: &Answered<'_>) {
        self.log.offer(record::record_of(arrival, route, about));
    }

    /// Time limits for a model.
    fn timeouts(&self, model: &str, configured: &Timeouts) -> Timeouts {
        let catalogue = self.catalogue.load();
        let Some(entry) = catalogue.resolve(model).entry else {
            return *configured;
        };
        let pick = |own: Option<u64>, configured: Duration| own.map_or(configured, Duration::from_secs);
        Timeouts {
            first_byte: pick(entry.first_byte_timeout_secs, configured.first_byte),
            answer: pick(entry.answer_timeout_secs, configured.answer),
            idle: pick(entry.idle_timeout_secs, configured.idle),
            request: pick(entry.request_timeout_secs, configured.request),
        }
    }

    /// What a call is expected to cost, USD ticks; `None` where no price is known.
    fn estimate(&self, model: &str, input: u64, output: u64) -> Option<u64> {
        self.catalogue.load().estimate_cost_ticks(model, input, output, 0)
    }

    /// What a call did cost by the price table, where the upstream did not say.
    fn price(&self, model: &str, usage: &Usage) -> Option<u64> {
        let output = usage.completion? + usage.reasoning.unwrap_or(0);
        self.catalogue
            .load()
            .estimate_cost_ticks(model, usage.prompt?, output, usage.cached.unwrap_or(0))
    }

    /// The offered name that a mistyped one was meant to be.
    fn suggest(&self, name: &str, offered: &[Arc<str>]) -> Option<String> {
        crate::settings::nearest(name, offered.iter().map(AsRef::as_ref)).map(str::to_owned)
    }

    /// Whether some token waits for its first probe.
    fn has_unprobed(&self) -> bool {
        let now = self.clock.now();
        let mut slot = self.unprobed.lock();
        match *slot {
            Some((as_of, known)) if now.ms_since(as_of) < HINDRANCES_FOR_MS => known,
            _ => {
                let found = self.pool.is_finding_out();
                *slot = Some((now, found));
                found
            }
        }
    }

    /// Somebody began to rest a moment ago: what was known before is out of date.
    fn forget_hindrances(&self) {
        *self.hindrances.lock() = None;
    }

    /// What keeps tokens from serving a model, or anything.
    fn hindrances(&self, model: Option<&str>) -> Arc<Hindrances> {
        let now = self.clock.now();
        let mut slot = self.hindrances.lock();
        if let Some(last) = slot.as_ref()
            && last.model.as_deref() == model
            && now.ms_since(last.as_of) < HINDRANCES_FOR_MS
        {
            return last.known.clone();
        }
        let known = Arc::new(Hindrances {
            causes: self.pool.hindrances(model),
            resting: model.map_or_else(Vec::new, |model| self.pool.resting(model, MAX_CANDIDATES)),
        });
        *slot = Some(KnownHindrances {
            model: model.map(str::to_owned),
            as_of: now,
            known: known.clone(),
        });
        known
    }
}
