//! When rests end and probes are due, and how fast probes may follow each other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use grok2api_schemas::ids::TokenId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{Mono, WallMs};

/// Whose rest ends, or who is to be probed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resting {
    Token(TokenId),
    /// The team, or one of its models. Every token has a timer here: what names it is small.
    Team(Arc<str>),
    /// Not a rest: the token is to be probed.
    Probe(TokenId),
}

/// Rests by their end. One task sleeps until the next.
#[derive(Default)]
pub(super) struct Timers {
    queue: Mutex<BinaryHeap<Reverse<(u64, Resting)>>>,
    changed: Notify,
}

impl Timers {
    pub(super) fn add(&self, until_ms: u64, resting: Resting) {
        self.queue.lock().push(Reverse((until_ms, resting)));
        self.changed.notify_one();
    }

    /// Takes what is due; answers also when the next one is.
    pub(super) fn due(&self, now: WallMs) -> (Vec<Resting>, Option<u64>) {
        let mut queue = self.queue.lock();
        let mut due = Vec::new();
        while queue.peek().is_some_and(|Reverse((until, _))| *until <= now.0) {
            if let Some(Reverse((_, resting))) = queue.pop() {
                due.push(resting);
            }
        }
        (due, queue.peek().map(|Reverse((until, _))| *until))
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Tokens that are to be probed, in order.
#[derive(Default)]
pub(super) struct ProbeQueue {
    waiting: Mutex<VecDeque<TokenId>>,
    more: Notify,
}

impl ProbeQueue {
    pub(super) fn push(&self, token: TokenId) {
        self.waiting.lock().push_back(token);
        self.more.notify_one();
    }

    pub(super) async fn next(&self) -> TokenId {
        loop {
            let (next, is_more) = {
                let mut waiting = self.waiting.lock();
                (waiting.pop_front(), !waiting.is_empty())
            };
            if let Some(next) = next {
                if is_more {
                    // One wake-up may stand for several pushes: hand it on.
                    self.more.notify_one();
                }
                return next;
            }
            self.more.notified().await;
        }
    }
}

/// Enrolments of at least this many hold probes back: an import is written first, then looked at.
const BULK: usize = 100;
/// The next batch of an import comes within this, milliseconds.
const BULK_GAP_MS: u64 = 500;
/// So many probes in a row that found nobody mean that the upstream is away, not that a proxy of some token is.
const AWAY_AFTER: u32 = 16;
/// Between two probes of one worker while the upstream is away: from a second to half a minute.
const AWAY_PAUSE_MS: u64 = 1_000;
const AWAY_PAUSE_CAP_MS: u64 = 30_000;

/// What slows probes down: an import under way, and an upstream that is away. A hundred thousand tokens that each knock
/// on a closed door once a minute would cost more than serving does.
#[derive(Default)]
pub(super) struct ProbePace {
    /// Until when an import is taken to be under way, microseconds of the monotonic clock.
    bulk_until: AtomicU64,
    /// Probes in a row that found nobody.
    away: AtomicU32,
    back: Notify,
}

impl ProbePace {
    /// So many tokens are being enrolled together.
    pub(super) fn enrols(&self, tokens: usize, now: Mono) {
        if tokens >= BULK {
            let until = now.0.saturating_add(BULK_GAP_MS * 1_000);
            self.bulk_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// How long a probe that was just taken from the queue waits for an import.
    pub(super) fn waits_for_import(&self, now: Mono) -> Option<Duration> {
        let left = self.bulk_until.load(Ordering::Relaxed).saturating_sub(now.0);
        (left > 0).then(|| Duration::from_micros(left))
    }

    /// What a probe found; how long its worker rests before the next one.
    pub(super) fn found(&self, is_away: bool) -> Option<Duration> {
        if !is_away {
            if self.away.swap(0, Ordering::Relaxed) >= AWAY_AFTER {
                self.back.notify_waiters();
            }
            return None;
        }
        let in_a_row = self.away.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let over = in_a_row.checked_sub(AWAY_AFTER)?;
        let pause = AWAY_PAUSE_MS.saturating_mul(1 << (over / AWAY_AFTER).min(16));
        Some(Duration::from_millis(pause.min(AWAY_PAUSE_CAP_MS)))
    }

    /// Rests for so long, or until the upstream is back.
    pub(super) async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = self.back.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_is_away_is_asked_less_and_less_until_it_is_back() {
        let pace = ProbePace::default();
        for _ in 0..AWAY_AFTER - 1 {
            assert_eq!(pace.found(true), None, "a few may be a proxy's fault");
        }
        assert_eq!(pace.found(true), Some(Duration::from_millis(AWAY_PAUSE_MS)));
        let last = (0..1_000).filter_map(|_| pace.found(true)).last();
        assert_eq!(last, Some(Duration::from_millis(AWAY_PAUSE_CAP_MS)));
        assert_eq!(pace.found(false), None);
        assert_eq!(pace.found(true), None, "it begins anew");
    }

    #[test]
    fn an_import_holds_probes_back_for_a_moment_and_a_single_token_does_not() {
        let pace = ProbePace::default();
        pace.enrols(1, Mono(1_000_000));
        assert_eq!(pace.waits_for_import(Mono(1_000_000)), None);
        pace.enrols(BULK, Mono(1_000_000));
        assert_eq!(pace.waits_for_import(Mono(1_200_000)), Some(Duration::from_millis(300)));
        assert_eq!(pace.waits_for_import(Mono(1_500_000)), None);
    }
}
