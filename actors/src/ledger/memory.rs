//! What this node remembers of the journals beyond its own life, so that a journal that was wiped or restored is not taken
//! for a fresh quota. Written off the hot path: every few seconds, and at the end.
//!
//! A memory that lags is harmless: it says that the journal reached at least so far.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::owner::Distrust;
use crate::bus::JournalHead;
use crate::clock::Mono;
use crate::store::{Store, StoreError, StoreWrite};

/// The store's tree.
const TREE: &str = "journals";
/// What changed is written this often.
const WRITE_EVERY: Duration = Duration::from_secs(3);

/// What is known of one journal.
#[derive(Clone, Copy, Debug)]
struct Known {
    head: JournalHead,
    is_written: bool,
}

/// The journals as this node last saw them, and which of them it does not trust.
#[derive(Debug, Default)]
pub(super) struct JournalMemory {
    known: Mutex<BTreeMap<u16, Known>>,
    distrusted: Mutex<BTreeMap<u16, (Distrust, Mono)>>,
}

impl JournalMemory {
    /// What earlier lives of this node left in the store. What does not decode counts as not remembered: it is said.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn open(store: &Store) -> Result<JournalMemory, StoreError> {
        let memory = JournalMemory::default();
        for (key, value) in store.scan_prefix(TREE, &[])? {
            let Some((shard, head)) = decode(&key, &value) else {
                tracing::error!("what this node remembers of a journal does not decode; it is forgotten");
                continue;
            };
            memory.known.lock().insert(shard, Known { head, is_written: true });
        }
        Ok(memory)
    }

    /// What is remembered of a journal.
    pub(super) fn of(&self, shard: u16) -> Option<JournalHead> {
        self.known.lock().get(&shard).map(|known| known.head)
    }

    /// The journal was seen to stand there, and is trusted or known not to be.
    pub(super) fn note(&self, shard: u16, head: JournalHead) {
        let mut known = self.known.lock();
        if known.get(&shard).is_none_or(|known| known.head != head) {
            let is_written = false;
            known.insert(shard, Known { head, is_written });
        }
    }

    /// Whether the journal of this shard is trusted, as its owner on this node sees it; until when not.
    pub(super) fn distrust(&self, shard: u16, reason: Option<(Distrust, Mono)>) {
        let mut distrusted = self.distrusted.lock();
        match reason {
            Some(reason) => distrusted.insert(shard, reason),
            None => distrusted.remove(&shard),
        };
    }

    /// How many journals of this node's shards grant nothing because they are not trusted, and why the first is not.
    pub(super) fn distrusted(&self, now: Mono) -> Option<(usize, Distrust)> {
        let distrusted = self.distrusted.lock();
        let mut still = distrusted.values().filter(|(_, until)| *until > now);
        let (reason, _) = still.next()?;
        Some((1 + still.count(), *reason))
    }

    /// What has to be written.
    fn take_news(&self) -> Vec<StoreWrite> {
        let mut known = self.known.lock();
        let news = known.iter_mut().filter(|(_, known)| !known.is_written);
        news.map(|(shard, known)| {
            known.is_written = true;
            StoreWrite {
                tree: TREE,
                key: Bytes::copy_from_slice(&shard.to_be_bytes()),
                value: Some(encode(known.head)),
            }
        })
        .collect()
    }

    fn forget_writing(&self, news: &[StoreWrite]) {
        let mut known = self.known.lock();
        for write in news {
            let shard = write.key.as_ref().try_into().map(u16::from_be_bytes);
            if let Ok(shard) = shard
                && let Some(known) = known.get_mut(&shard)
            {
                known.is_written = false;
            }
        }
    }

    async fn write(&self, store: &Store) {
        let news = self.take_news();
        if news.is_empty() {
            return;
        }
        if let Err(error) = store.write(news.clone()).await {
            tracing::warn!(%error, "what this node saw of the journals was not written; it is tried again");
            self.forget_writing(&news);
        }
    }
}

/// Writes what is news until the node ends, and once more then.
pub(super) async fn keep(memory: Arc<JournalMemory>, store: Store, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = tokio::time::sleep(WRITE_EVERY) => memory.write(&store).await,
        }
    }
    memory.write(&store).await;
}

fn encode(head: JournalHead) -> Bytes {
    let mut value = [0; 16];
    let (sequence, incarnation) = value.split_at_mut(8);
    sequence.copy_from_slice(&head.last_sequence.to_be_bytes());
    incarnation.copy_from_slice(&head.incarnation.to_be_bytes());
    Bytes::copy_from_slice(&value)
}

fn decode(key: &[u8], value: &[u8]) -> Option<(u16, JournalHead)> {
    let (sequence, incarnation) = value.split_at_checked(8)?;
    Some((
        u16::from_be_bytes(key.try_into().ok()?),
        JournalHead {
            last_sequence: u64::from_be_bytes(sequence.try_into().ok()?),
            incarnation: u64::from_be_bytes(incarnation.try_into().ok()?),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_seen_outlives_the_process() {
        let store = Store::temporary().unwrap();
        let head = |last_sequence| JournalHead {
            last_sequence,
            incarnation: u64::MAX - 1,
        };
        let memory = JournalMemory::open(&store).unwrap();
        assert_eq!(memory.of(3), None);
        memory.note(3, head(7));
        memory.note(3, head(9));
        memory.note(15, head(1));
        memory.write(&store).await;
        assert!(memory.take_news().is_empty(), "written once");
        let again = JournalMemory::open(&store).unwrap();
        assert_eq!(
            (again.of(3), again.of(15), again.of(4)),
            (Some(head(9)), Some(head(1)), None)
        );
        again.note(3, head(9));
        assert!(again.take_news().is_empty(), "nothing new");
    }
}
