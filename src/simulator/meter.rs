//! The counters of one (team, model) or of one key: they refuse, and they are the judge's evidence. Every arrival is
//! counted, refused ones too, as the real upstream does.

use grok2api_actors::clock::Clock;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::scenario::Limits;
use super::window::{AmountLog, ArrivalLog};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 86_400_000;

/// A limit that was reached: what the refusal says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The dimension, in the upstream's words.
    pub label: &'static str,
    /// What the window held before this request.
    pub actual: u64,
    /// The limit.
    pub limit: u64,
}

impl Exceeded {
    /// `Requests per Second (actual/limit): 2/2, …`
    pub fn describe(all: &[Exceeded]) -> String {
        let parts: Vec<String> = all
            .iter()
            .map(|one| format!("{} (actual/limit): {}/{}", one.label, one.actual, one.limit))
            .collect();
        parts.join(", ")
    }
}

/// What a success tells in its `x-ratelimit-*` headers: limit and remaining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of requests per minute, if limited.
    pub requests: Option<(u64, u64)>,
    /// Of tokens per minute, if limited.
    pub tokens: Option<(u64, u64)>,
}

/// Counters and limits behind one short lock.
#[derive(Debug)]
pub struct Meter {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    judged_ms: Vec<u64>,
    arrivals: ArrivalLog,
    tokens: AmountLog,
    in_flight: u64,
    max_in_flight: u64,
    refused: u64,
    refused_by: [u64; 6],
    cost_ticks: u64,
}

impl Inner {
    fn new(limits: Limits, judged_ms: Vec<u64>) -> Inner {
        let lengths = [SECOND, MINUTE]
            .into_iter()
            .chain(limits.rph.map(|_| HOUR))
            .chain(limits.rpd.map(|_| DAY))
            .chain(judged_ms.iter().copied());
        Inner {
            limits,
            arrivals: ArrivalLog::new(lengths),
            judged_ms,
            tokens: AmountLog::new(MINUTE),
            in_flight: 0,
            max_in_flight: 0,
            refused: 0,
            refused_by: [0; 6],
            cost_ticks: 0,
        }
    }

    /// The dimensions, in a fixed order: label, limit, what is there now.
    fn dimensions(&mut self, now: u64) -> [(&'static str, Option<u64>, u64); 6] {
        let limits = self.limits;
        [
            ("Requests per Second", limits.rps, self.arrivals.count(SECOND, now)),
            ("Requests per Minute", limits.rpm, self.arrivals.count(MINUTE, now)),
            ("Requests per Hour", limits.rph, self.arrivals.count(HOUR, now)),
            ("Requests per Day", limits.rpd, self.arrivals.count(DAY, now)),
            ("Tokens per Minute", limits.tpm, self.tokens.inside(now)),
            ("Concurrent Requests", limits.concurrency, self.in_flight),
        ]
    }
}

impl Meter {
    /// Counters with these limits; the judge also watches `judged_ms`.
    pub fn new(limits: Limits, judged_ms: &[u64]) -> Meter {
        Meter {
            inner: Mutex::new(Inner::new(limits, judged_ms.to_vec())),
        }
    }

    /// Counts an arrival. Admitted calls are in flight until [`Meter::leave`].
    pub fn arrive(&self, clock: &Clock) -> Result<Standing, Vec<Exceeded>> {
        let mut inner = self.inner.lock();
        // Stamped under the lock, so that the log's times never run backwards.
        let now = clock.now().0;
        let before = inner.dimensions(now);
        inner.arrivals.record(now);
        inner.max_in_flight = inner.max_in_flight.max(inner.in_flight + 1);
        let mut exceeded = Vec::new();
        for (index, (label, limit, actual)) in before.into_iter().enumerate() {
            if let Some(limit) = limit
                && actual >= limit
            {
                inner.refused_by[index] += 1;
                exceeded.push(Exceeded { label, actual, limit });
            }
        }
        if !exceeded.is_empty() {
            inner.refused += 1;
            return Err(exceeded);
        }
        inner.in_flight += 1;
        let limits = inner.limits;
        Ok(Standing {
            requests: limits.rpm.map(|limit| (limit, limit.saturating_sub(before[1].2 + 1))),
            tokens: limits.tpm.map(|limit| (limit, limit.saturating_sub(before[4].2))),
        })
    }

    /// Charges tokens (and their price) now.
    pub fn charge(&self, tokens: u64, cost_ticks: u64, clock: &Clock) {
        let mut inner = self.inner.lock();
        inner.tokens.add(tokens, clock.now().0);
        inner.cost_ticks += cost_ticks;
    }

    /// An admitted call is over.
    pub fn leave(&self) {
        let mut inner = self.inner.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
    }

    /// Other limits from now on. The counts stay; a window that was not watched starts empty.
    pub fn set_limits(&self, limits: Limits) {
        let mut inner = self.inner.lock();
        inner.limits = limits;
        if limits.rph.is_some() {
            inner.arrivals.watch(HOUR);
        }
        if limits.rpd.is_some() {
            inner.arrivals.watch(DAY);
        }
    }

    /// Forgets every count but the calls that run.
    pub fn reset(&self) {
        let mut inner = self.inner.lock();
        let fresh = Inner::new(inner.limits, std::mem::take(&mut inner.judged_ms));
        *inner = Inner {
            in_flight: inner.in_flight,
            ..fresh
        };
    }

    /// What the judge saw.
    pub fn report(&self) -> Value {
        let inner = self.inner.lock();
        let limits = inner.limits;
        let limit_of = |ms: u64| match ms {
            SECOND => limits.rps,
            MINUTE => limits.rpm,
            HOUR => limits.rph,
            DAY => limits.rpd,
            _ => None,
        };
        let windows: Vec<Value> = inner
            .arrivals
            .maxima()
            .map(|(ms, max)| {
                let limit = limit_of(ms);
                json!({
                    "window_ms": ms,
                    "limit": limit,
                    "max": max,
                    "over": limit.map_or(0, |limit| max.saturating_sub(limit)),
                })
            })
            .collect();
        let names = ["rps", "rpm", "rph", "rpd", "tpm", "concurrency"];
        let refused_by: Map<String, Value> = names
            .into_iter()
            .zip(inner.refused_by)
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), json!(count)))
            .collect();
        json!({
            "total": inner.arrivals.total(),
            "refused": inner.refused,
            "refused_by": refused_by,
            "windows": windows,
            "tokens": {
                "total": inner.tokens.total(),
                "window_ms": MINUTE,
                "max": inner.tokens.max(),
                "limit": limits.tpm,
            },
            "concurrency": {"now": inner.in_flight, "max": inner.max_in_flight, "limit": limits.concurrency},
            "cost_in_usd_ticks": inner.cost_ticks,
        })
    }
}
