//! When rests end and probes are due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use grok2api_schemas::ids::TokenId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::WallMs;

/// Whose rest ends, or who is to be probed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resting {
    Token(TokenId),
    Team(String),
    TeamModel(String, String),
    /// Not a rest: the token is to be probed.
    Probe(TokenId),
}

/// Rests by their end. One task sleeps until the next.
#[derive(Default)]
pub(super) struct Timers {
    queue: Mutex<BinaryHeap<Reverse<(u64, Resting)>>>,
    changed: Notify,
}

/// Probes that are due and wait for one of a bounded number of tasks: a hundred thousand new tokens are a queue of ids, not
/// a hundred thousand tasks.
#[derive(Default)]
pub(super) struct Backlog {
    state: Mutex<(VecDeque<TokenId>, usize)>,
}

impl Backlog {
    /// Queues a probe; answers whether a task has to be started for the queue.
    pub(super) fn push(&self, id: TokenId, most: usize) -> bool {
        let mut state = self.state.lock();
        state.0.push_back(id);
        let starts = state.1 < most.max(1);
        state.1 += usize::from(starts);
        starts
    }

    /// The next probe for a task; a task that gets none is over.
    pub(super) fn next(&self) -> Option<TokenId> {
        let mut state = self.state.lock();
        let next = state.0.pop_front();
        state.1 -= usize::from(next.is_none());
        next
    }
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
