//! Watches. A watcher that is slow loses no key: of several changes to one key it reads the last, so what waits for it is
//! never more than the bucket holds.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::bus::KvChange;

/// Everybody who watches, by bucket.
#[derive(Default)]
pub(super) struct Watchers {
    by_bucket: Mutex<HashMap<&'static str, Vec<Weak<Watcher>>>>,
}

#[derive(Default)]
struct Watcher {
    unread: Mutex<Unread>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Unread {
    in_order: BTreeMap<u64, KvChange>,
    by_key: HashMap<Bytes, u64>,
    /// Changes up to this revision are known or from before the watch.
    seen: u64,
    ended: bool,
}

impl Watchers {
    /// A watch of what comes after the revision `seen`.
    pub fn watch(&self, bucket: &'static str, seen: u64) -> BoxStream<'static, KvChange> {
        let watcher = Arc::new(Watcher::default());
        watcher.unread.lock().seen = seen;
        let mut by_bucket = self.by_bucket.lock();
        let watchers = by_bucket.entry(bucket).or_default();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(&watcher));
        Box::pin(Changes { watcher })
    }

    /// Called in the order of the commits; what was told before is not told again.
    pub fn tell(&self, bucket: &'static str, changes: Vec<KvChange>) {
        for watcher in self.alive(bucket) {
            let mut unread = watcher.unread.lock();
            for change in &changes {
                if change.revision <= unread.seen {
                    continue;
                }
                unread.seen = change.revision;
                if let Some(overtaken) = unread.by_key.insert(change.key.clone(), change.revision) {
                    unread.in_order.remove(&overtaken);
                }
                unread.in_order.insert(change.revision, change.clone());
            }
            drop(unread);
            watcher.waker.wake();
        }
    }

    /// How many watchers there are, and how many changes wait for them.
    pub fn depth(&self) -> (usize, usize) {
        let buckets: Vec<&'static str> = self.by_bucket.lock().keys().copied().collect();
        let watchers: Vec<Arc<Watcher>> = buckets.into_iter().flat_map(|bucket| self.alive(bucket)).collect();
        let unread = watchers
            .iter()
            .map(|watcher| watcher.unread.lock().in_order.len())
            .sum();
        (watchers.len(), unread)
    }

    /// Ends every watch once it has read what waits for it.
    pub fn close(&self) {
        let all = std::mem::take(&mut *self.by_bucket.lock());
        for watcher in all.into_values().flatten().filter_map(|watcher| watcher.upgrade()) {
            watcher.unread.lock().ended = true;
            watcher.waker.wake();
        }
    }

    fn alive(&self, bucket: &'static str) -> Vec<Arc<Watcher>> {
        let mut by_bucket = self.by_bucket.lock();
        let Some(watchers) = by_bucket.get_mut(bucket) else {
            return Vec::new();
        };
        let mut alive = Vec::with_capacity(watchers.len());
        watchers.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                alive.push(watcher);
                true
            }
            None => false,
        });
        alive
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.close();
    }
}

struct Changes {
    watcher: Arc<Watcher>,
}

impl Stream for Changes {
    type Item = KvChange;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<KvChange>> {
        // First the waker, then the look: a change between the two wakes us.
        self.watcher.waker.register(cx.waker());
        let mut unread = self.watcher.unread.lock();
        match unread.in_order.pop_first() {
            Some((_, change)) => {
                unread.by_key.remove(&change.key);
                Poll::Ready(Some(change))
            }
            None if unread.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
