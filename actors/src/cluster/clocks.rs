//! Whether this node's wall clock can be trusted to date what it writes. Owners' clocks must agree within ε; a node that
//! cannot promise that owns nothing. Pure.

use crate::clock::Mono;
use crate::ledger::Moment;

/// After a step of the wall clock a node owns nothing for this long: what it wrote before is dated by another clock.
const STEP_REST_MS: u64 = 60_000;

/// Watches the wall clock against the monotonic one.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    tolerance_ms: u64,
    last: Moment,
    stepped: Option<(Mono, i64)>,
}

impl ClockWatch {
    /// A watch that begins now and tolerates ε/2.
    pub fn new(now: Moment, max_skew_ms: u64) -> ClockWatch {
        ClockWatch {
            tolerance_ms: max_skew_ms / 2,
            last: now,
            stepped: None,
        }
    }

    /// Looks at both clocks; to be called every second or so.
    pub fn look(&mut self, now: Moment) {
        let passed_ms = now.mono.us_since(self.last.mono) as i64 / 1000;
        let step_ms = now.wall.0 as i64 - self.last.wall.0 as i64 - passed_ms;
        if step_ms.unsigned_abs() > self.tolerance_ms {
            self.stepped = Some((now.mono, step_ms));
        }
        self.last = now;
    }

    /// Why the clock cannot be trusted, if so. `offsets` says how far each peer's clock is ahead of this one,
    /// milliseconds; of two clocks that disagree, `is_eldest` breaks the tie.
    pub fn objection(&self, now: Mono, offsets: &[i64], is_eldest: bool) -> Option<String> {
        if let Some((at, step_ms)) = self.stepped
            && now.ms_since(at) < STEP_REST_MS
        {
            return Some(format!(
                "the clock of this node was set by {step_ms} ms; it owns no quotas for {} s",
                STEP_REST_MS / 1000
            ));
        }
        let mut all: Vec<i64> = offsets.to_vec();
        all.push(0);
        all.sort_unstable();
        // Of an even number, neither of the middle two is the better one; with two nodes the elder is believed.
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        let distance = |median: i64| median.unsigned_abs();
        let nearest = distance(low).min(distance(high));
        let tied = all.len() == 2 && low.abs_diff(high) > self.tolerance_ms && !is_eldest;
        let off_ms = if tied {
            distance(low).max(distance(high))
        } else {
            nearest
        };
        (off_ms > self.tolerance_ms).then(|| {
            format!(
                "the clock of this node is {off_ms} ms off from its peers'; more than {} ms is half of \
                 cluster.max_clock_skew_secs, so it owns no quotas",
                self.tolerance_ms
            )
        })
    }
}
