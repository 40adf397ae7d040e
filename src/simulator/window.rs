//! Sliding windows over arrivals. A window of length T that ends at x is (x−T, x]; the fullest one always ends at an
//! arrival, so counting at each arrival finds the maximum over every position.

use std::collections::VecDeque;

/// Arrival times with one read position per window length: O(1) an arrival, whatever the number in the window.
#[derive(Debug)]
pub struct ArrivalLog {
    times: VecDeque<u64>,
    /// How many arrivals were trimmed from the front.
    trimmed: u64,
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    length_us: u64,
    /// Number (counted from the first arrival ever) of the oldest arrival inside.
    first: u64,
    max: u64,
}

impl ArrivalLog {
    /// A log for these window lengths, in milliseconds.
    pub fn new(lengths_ms: impl IntoIterator<Item = u64>) -> ArrivalLog {
        let mut lengths: Vec<u64> = lengths_ms.into_iter().filter(|ms| *ms > 0).collect();
        lengths.sort_unstable();
        lengths.dedup();
        ArrivalLog {
            times: VecDeque::new(),
            trimmed: 0,
            windows: lengths
                .into_iter()
                .map(|ms| Window {
                    length_us: ms * 1000,
                    first: 0,
                    max: 0,
                })
                .collect(),
        }
    }

    /// Counts an arrival at `now_us`. Times never run backwards: an earlier one is counted as now.
    pub fn record(&mut self, now_us: u64) {
        let now = self.times.back().map_or(now_us, |last| now_us.max(*last));
        self.times.push_back(now);
        self.slide(now);
        let total = self.total();
        for window in &mut self.windows {
            window.max = window.max.max(total - window.first);
        }
    }

    /// Watches one more length, from now on.
    pub fn watch(&mut self, length_ms: u64) {
        let length_us = length_ms * 1000;
        if length_ms > 0 && !self.windows.iter().any(|window| window.length_us == length_us) {
            let first = self.total();
            self.windows.push(Window {
                length_us,
                first,
                max: 0,
            });
        }
    }

    fn slide(&mut self, now: u64) {
        let total = self.total();
        let mut oldest = total;
        for window in &mut self.windows {
            while window.first < total
                && self.times[(window.first - self.trimmed) as usize].saturating_add(window.length_us) <= now
            {
                window.first += 1;
            }
            oldest = oldest.min(window.first);
        }
        let drop = (oldest - self.trimmed) as usize;
        if drop > 0 {
            self.times.drain(..drop);
            self.trimmed = oldest;
        }
    }

    /// How many arrivals the window of this length that ends at `now_us` holds.
    pub fn count(&mut self, length_ms: u64, now_us: u64) -> u64 {
        self.slide(now_us);
        let total = self.total();
        self.windows
            .iter()
            .find(|window| window.length_us == length_ms * 1000)
            .map_or(0, |window| total - window.first)
    }

    /// Every arrival since the start.
    pub fn total(&self) -> u64 {
        self.trimmed + self.times.len() as u64
    }

    /// The fullest window of each length so far: (length in milliseconds, arrivals).
    pub fn maxima(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.windows.iter().map(|window| (window.length_us / 1000, window.max))
    }
}

/// The same for amounts (tokens) in one window length.
#[derive(Debug)]
pub struct AmountLog {
    entries: VecDeque<(u64, u64)>,
    length_us: u64,
    inside: u64,
    total: u64,
    max: u64,
}

impl AmountLog {
    /// A log for a window of this length, in milliseconds.
    pub fn new(length_ms: u64) -> AmountLog {
        AmountLog {
            entries: VecDeque::new(),
            length_us: length_ms * 1000,
            inside: 0,
            total: 0,
            max: 0,
        }
    }

    /// Counts `amount` at `now_us`.
    pub fn add(&mut self, amount: u64, now_us: u64) {
        let now = self.entries.back().map_or(now_us, |(last, _)| now_us.max(*last));
        self.slide(now);
        self.entries.push_back((now, amount));
        self.inside += amount;
        self.total += amount;
        self.max = self.max.max(self.inside);
    }

    fn slide(&mut self, now: u64) {
        while let Some((at, amount)) = self.entries.front().copied() {
            if at.saturating_add(self.length_us) > now {
                break;
            }
            self.inside -= amount;
            self.entries.pop_front();
        }
    }

    /// The amount in the window that ends at `now_us`.
    pub fn inside(&mut self, now_us: u64) -> u64 {
        self.slide(now_us);
        self.inside
    }

    /// The amount since the start.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The fullest window so far.
    pub fn max(&self) -> u64 {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, read slowly: try every window that ends at an arrival.
    fn naive_max(times: &[u64], length_us: u64) -> u64 {
        times
            .iter()
            .map(|end| {
                times
                    .iter()
                    .filter(|at| **at <= *end && **at + length_us > *end)
                    .count() as u64
            })
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn the_judge_agrees_with_a_naive_counter(gaps in proptest::collection::vec(0u64..3_000_000, 0..120)) {
            let mut log = ArrivalLog::new([1_000, 60_000, 7]);
            let mut now = 5_000_000;
            let mut times = Vec::new();
            for gap in gaps {
                now += gap;
                log.record(now);
                times.push(now);
            }
            for (ms, max) in log.maxima() {
                prop_assert_eq!(max, naive_max(&times, ms * 1000), "window {} ms", ms);
            }
            prop_assert_eq!(log.total(), times.len() as u64);
        }

        #[test]
        fn the_current_count_agrees_with_a_naive_one(
            gaps in proptest::collection::vec(0u64..400_000, 1..80),
            later in 0u64..2_000_000,
        ) {
            let mut log = ArrivalLog::new([1_000]);
            let mut now = 0;
            let mut times = Vec::new();
            for gap in gaps {
                now += gap;
                log.record(now);
                times.push(now);
            }
            now += later;
            let naive = times.iter().filter(|at| **at + 1_000_000 > now).count() as u64;
            prop_assert_eq!(log.count(1_000, now), naive);
        }

        #[test]
        fn amounts_agree_with_a_naive_sum(steps in proptest::collection::vec((0u64..500_000, 0u64..1000), 0..80)) {
            let mut log = AmountLog::new(1_000);
            let mut now = 0;
            let mut entries: Vec<(u64, u64)> = Vec::new();
            let mut naive = 0;
            for (gap, amount) in steps {
                now += gap;
                log.add(amount, now);
                entries.push((now, amount));
                naive = naive.max(entries.iter().filter(|(at, _)| *at + 1_000_000 > now).map(|(_, a)| *a).sum());
            }
            prop_assert_eq!(log.max(), naive);
        }
    }

    #[test]
    fn two_arrivals_exactly_one_length_apart_are_never_in_one_window() {
        let mut log = ArrivalLog::new([1_000]);
        log.record(0);
        log.record(1_000_000);
        assert_eq!(log.maxima().collect::<Vec<_>>(), [(1_000, 1)]);
        log.record(1_999_999);
        assert_eq!(log.maxima().collect::<Vec<_>>(), [(1_000, 2)]);
    }

    #[test]
    fn a_length_watched_later_counts_from_then_on() {
        let mut log = ArrivalLog::new([1_000]);
        for at in 0..5 {
            log.record(at * 2_000_000);
        }
        log.watch(60_000);
        log.watch(60_000);
        assert_eq!(log.maxima().collect::<Vec<_>>(), [(1_000, 1), (60_000, 0)]);
        log.record(10_000_000);
        log.record(10_000_000);
        assert_eq!(log.maxima().collect::<Vec<_>>(), [(1_000, 2), (60_000, 2)]);
        assert_eq!(log.total(), 7);
    }

    #[test]
    fn what_no_window_can_see_is_not_kept() {
        let mut log = ArrivalLog::new([1_000]);
        for at in 0..10_000u64 {
            log.record(at * 10_000);
        }
        assert!(log.times.len() <= 100);
        assert_eq!(log.total(), 10_000);
    }
}
