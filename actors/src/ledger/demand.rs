//! How fast units of a meter are taken: what prefetch goes by.

use crate::clock::Mono;

/// Time over which demand is averaged, milliseconds.
const SMOOTHING_MS: f64 = 5_000.0;
/// Shortest time between two roundings of the average, milliseconds.
const ROLL_MS: u64 = 100;

/// A moving average of units taken per second.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    since_roll: u64,
    rolled_at: Mono,
    per_second: f64,
    wanted_since_turn: bool,
    last_used: Mono,
}

impl Demand {
    /// No demand yet.
    pub fn new(now: Mono) -> Demand {
        Demand {
            since_roll: 0,
            rolled_at: now,
            per_second: 0.0,
            wanted_since_turn: false,
            last_used: now,
        }
    }

    /// Somebody wants units, in hand or not.
    pub fn wanted(&mut self) {
        self.wanted_since_turn = true;
    }

    /// Units were taken.
    pub fn took(&mut self, now: Mono, units: u64) {
        self.since_roll = self.since_roll.saturating_add(units);
        self.last_used = now;
    }

    /// Brings the average up to date.
    pub fn roll(&mut self, now: Mono) {
        if std::mem::take(&mut self.wanted_since_turn) {
            self.last_used = self.last_used.max(now);
        }
        let passed_ms = now.ms_since(self.rolled_at);
        if passed_ms >= ROLL_MS {
            let passed_ms = passed_ms as f64;
            let recent = self.since_roll as f64 * 1000.0 / passed_ms;
            let weight = (-passed_ms / SMOOTHING_MS).exp();
            self.per_second = self.per_second * weight + recent * (1.0 - weight);
            self.since_roll = 0;
            self.rolled_at = now;
        }
    }

    /// Units per second, on average.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Whether nobody wanted anything for that long.
    pub fn is_idle(&self, now: Mono, idle_ms: u64) -> bool {
        !self.wanted_since_turn && now.ms_since(self.last_used) >= idle_ms
    }
}
