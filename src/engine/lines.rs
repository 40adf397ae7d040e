//! How many log lines a kind of failure gets.

use dashmap::DashMap;
use grok2api_actors::clock::Mono;
use grok2api_schemas::admin::requests::Outcome;

/// One line for each kind of failure in this time, milliseconds.
const EVERY_MS: u64 = 5_000;

/// Failures by kind: when the last line was written, and how many have gone without one since.
#[derive(Default)]
pub(super) struct Lines(DashMap<Outcome, (Mono, u64)>);

impl Lines {
    /// Whether a failure gets a line now; if so, how many before it went without.
    pub(super) fn admit(&self, outcome: Outcome, now: Mono) -> Option<u64> {
        let mut is_first = false;
        let mut entry = self.0.entry(outcome).or_insert_with(|| {
            is_first = true;
            (now, 0)
        });
        if is_first {
            return Some(0);
        }
        let (last, untold) = *entry;
        if now.ms_since(last) >= EVERY_MS {
            *entry = (now, 0);
            return Some(untold);
        }
        *entry = (last, untold + 1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_gets_a_line_every_five_seconds_that_counts_the_rest() {
        let lines = Lines::default();
        let at = |ms: u64| Mono(0).plus_ms(ms);
        assert_eq!(lines.admit(Outcome::UpstreamFailed, at(0)), Some(0));
        assert_eq!(lines.admit(Outcome::UpstreamFailed, at(1)), None);
        assert_eq!(lines.admit(Outcome::PoolLimit, at(2)), Some(0));
        assert_eq!(lines.admit(Outcome::UpstreamFailed, at(4_999)), None);
        assert_eq!(lines.admit(Outcome::UpstreamFailed, at(5_000)), Some(2));
    }
}
