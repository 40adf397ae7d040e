//! When rests end and probes are due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use grok2api_schemas::ids::TokenId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::WallMs;

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
