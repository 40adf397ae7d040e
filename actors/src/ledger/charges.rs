//! Units that the upstream's window may still see: when each is released, in buckets fine enough to waste nothing and few
//! enough that a window of 20 hours stays small.

use std::collections::BTreeMap;

use crate::clock::Mono;

/// Buckets per window.
const BUCKETS: u64 = 1024;

/// Charged units by the time of their release, or by day.
#[derive(Clone, Debug, Default)]
pub struct Charges {
    step_us: u64,
    by_release: BTreeMap<u64, u64>,
    total: u64,
    by_day: BTreeMap<u32, u64>,
}

impl Charges {
    /// For a meter whose charges last about `window_ms`.
    pub fn new(window_ms: u64) -> Charges {
        Charges {
            step_us: (window_ms * 1000 / BUCKETS).max(1000),
            ..Charges::default()
        }
    }

    /// The time at which something due at `until` is released: rounded up, never down.
    pub fn release_of(&self, until: Mono) -> Mono {
        Mono(until.0.div_ceil(self.step_us) * self.step_us)
    }

    /// Charges units until a time.
    pub fn add(&mut self, until: Mono, units: u64) {
        if units > 0 {
            *self.by_release.entry(self.release_of(until).0).or_default() += units;
            self.total += units;
        }
    }

    /// Takes back units charged with the same `until`; answers how many were still there.
    pub fn take_back(&mut self, until: Mono, units: u64) -> u64 {
        let release = self.release_of(until).0;
        let Some(there) = self.by_release.get_mut(&release) else {
            return 0;
        };
        let taken = units.min(*there);
        *there -= taken;
        if *there == 0 {
            self.by_release.remove(&release);
        }
        self.total -= taken;
        taken
    }

    /// Charges units to a day.
    pub fn add_day(&mut self, day: u32, units: u64) {
        if units > 0 {
            *self.by_day.entry(day).or_default() += units;
        }
    }

    /// Takes back units charged to a day.
    pub fn take_back_day(&mut self, day: u32, units: u64) {
        if let Some(there) = self.by_day.get_mut(&day) {
            *there = there.saturating_sub(units);
        }
    }

    /// Releases what is due, and forgets days before `today`.
    pub fn expire(&mut self, now: Mono, today: u32) {
        while let Some(first) = self.by_release.first_entry()
            && *first.key() <= now.0
        {
            self.total -= first.remove();
        }
        while let Some(first) = self.by_day.first_entry()
            && *first.key() < today
        {
            first.remove();
        }
    }

    /// Brings every release forward to `latest` at the latest.
    pub fn cap(&mut self, latest: Mono) {
        let after = self.by_release.split_off(&(self.release_of(latest).0 + 1));
        let moved: u64 = after.values().sum();
        self.total -= moved;
        self.add(latest, moved);
    }

    /// Forgets everything that is charged by release time.
    pub fn clear_window(&mut self) {
        self.by_release.clear();
        self.total = 0;
    }

    /// Units charged by release time; call [`Charges::expire`] first.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Units charged to a day.
    pub fn of_day(&self, day: u32) -> u64 {
        self.by_day.get(&day).copied().unwrap_or(0)
    }

    /// When `units` more will have been released, if charges alone decide it.
    pub fn released_by(&self, units: u64) -> Option<Mono> {
        let mut freed = 0;
        for (release, there) in &self.by_release {
            freed += there;
            if freed >= units {
                return Some(Mono(*release));
            }
        }
        None
    }

    /// Whether nothing is charged.
    pub fn is_empty(&self) -> bool {
        self.by_release.is_empty() && self.by_day.values().all(|units| *units == 0)
    }

    /// Every charge by release time.
    pub fn releases(&self) -> impl Iterator<Item = (Mono, u64)> + '_ {
        self.by_release.iter().map(|(release, units)| (Mono(*release), *units))
    }

    /// Every charge by day.
    pub fn days(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.by_day.iter().map(|(day, units)| (*day, *units))
    }
}
