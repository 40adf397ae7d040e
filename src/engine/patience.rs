//! How long a call waits for room.

use std::time::Duration;

use tokio::time::Instant;

/// What is waited for decides how long. Quota that comes back is waited for as long as the operator says. A decision that
/// nobody can take at the moment, because the node that takes it has died or the bus is away, is waited for as long as grants
/// live on top: it is not known that anything is used up, and another node decides within seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    for_quota: Instant,
    for_decision: Instant,
}

impl Patience {
    /// From `now` on: `max_wait` is the operator's (`clients.max_wait_ms`), `grant_life` the ledger's.
    pub(super) fn from(now: Instant, max_wait: Duration, grant_life: Duration) -> Patience {
        let for_quota = now + max_wait;
        Patience {
            for_quota,
            for_decision: for_quota + grant_life,
        }
    }

    /// How much is left at `now`.
    pub(super) fn left(&self, now: Instant, is_undecided: bool) -> Duration {
        let end = if is_undecided {
            self.for_decision
        } else {
            self.for_quota
        };
        end.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_waited_for_longer_than_quota() {
        let now = Instant::now();
        let patience = Patience::from(now, Duration::from_secs(2), Duration::from_secs(30));
        let later = now + Duration::from_secs(3);
        assert_eq!(patience.left(now, false), Duration::from_secs(2));
        assert_eq!(patience.left(later, false), Duration::ZERO);
        assert_eq!(patience.left(later, true), Duration::from_secs(29));
        assert_eq!(patience.left(now + Duration::from_secs(32), true), Duration::ZERO);
    }
}
