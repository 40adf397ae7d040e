//! When a node that joins takes over what others decide for.

use grok2api_schemas::ids::SessionId;

use crate::clock::Mono;

/// A join takes its shards over at least this long, and one after the other.
const JOIN_SPREAD_MS: u64 = 1_200;

/// Spreads planned hand-overs over time.
#[derive(Debug, Default)]
pub(super) struct Planner {
    next_at: Mono,
    every_ms: u64,
}

impl Planner {
    /// The next hand-over to make, if it is time.
    pub(super) fn next(&mut self, now: Mono, planned: &[(usize, SessionId)]) -> Option<(usize, SessionId)> {
        let Some(first) = planned.first() else {
            self.every_ms = 0;
            return None;
        };
        if self.every_ms == 0 {
            // The pace is set by the first look at a plan: from its first move to its last.
            let pauses = planned.len().saturating_sub(1).max(1) as u64;
            self.every_ms = (JOIN_SPREAD_MS / pauses).max(100);
        }
        if now < self.next_at {
            return None;
        }
        self.next_at = now.plus_ms(self.every_ms);
        Some(*first)
    }
}
