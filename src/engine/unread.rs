//! Calls that go on without their client, because its key's policy is to read what was asked for to its end. The end of the
//! process waits for them as it does for those that somebody reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Those calls, counted.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    held: AtomicUsize,
    unread: AtomicUsize,
    cut: CancellationToken,
}

/// One call that is read to its end whatever its client does; counts until dropped.
pub(super) struct Reading {
    counts: Arc<Counts>,
    is_unread: bool,
}

impl Unread {
    /// Counts one more that goes on if its client leaves.
    pub(super) fn hold(&self) -> Reading {
        self.0.held.fetch_add(1, Ordering::AcqRel);
        Reading {
            counts: self.0.clone(),
            is_unread: false,
        }
    }

    /// Calls that go on, or will if their client leaves.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }

    /// Calls whose client has left.
    pub fn count(&self) -> usize {
        self.0.unread.load(Ordering::Relaxed)
    }

    /// Ends them all; they settle with what was seen of their answers.
    pub fn cut_off(&self) {
        self.0.cut.cancel();
    }
}

impl Reading {
    /// The client has left.
    pub(super) fn abandon(&mut self) {
        if !std::mem::replace(&mut self.is_unread, true) {
            self.counts.unread.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What `work` comes to, unless the limit passes or all are cut off.
    pub(super) async fn within<F: Future>(&self, limit: Option<Duration>, work: F) -> Option<F::Output> {
        let bounded = async {
            match limit {
                Some(limit) => tokio::time::timeout(limit, work).await.ok(),
                None => Some(work.await),
            }
        };
        tokio::select! {
            biased;
            done = bounded => done,
            () = self.counts.cut.cancelled() => None,
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.is_unread {
            self.counts.unread.fetch_sub(1, Ordering::Relaxed);
        }
        self.counts.held.fetch_sub(1, Ordering::AcqRel);
    }
}
