//! The stream of records of a node that is alone: a window in memory. What outlives the process is the request log, which
//! has a place of its own in the store.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::bus::{RecordBatch, RecordsFrom};

/// The most bytes that are kept for those who follow from the past.
const MOST_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Records {
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    batches: VecDeque<RecordBatch>,
    bytes: usize,
    closed: bool,
}

impl Default for Records {
    fn default() -> Records {
        Records {
            kept: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }
}

impl Records {
    pub fn append(&self, batch: Bytes, at_ms: u64) -> u64 {
        let mut kept = self.kept.lock();
        let sequence = *self.last.borrow() + 1;
        kept.bytes += batch.len();
        kept.batches.push_back(RecordBatch {
            sequence,
            at_ms,
            payload: batch,
        });
        while kept.bytes > MOST_BYTES
            && let Some(oldest) = kept.batches.pop_front()
        {
            kept.bytes -= oldest.payload.len();
        }
        self.last.send_replace(sequence);
        sequence
    }

    pub fn close(&self) {
        self.kept.lock().closed = true;
        self.last.send_modify(|_| {});
    }

    pub fn follow(records: &std::sync::Arc<Records>, from: RecordsFrom) -> BoxStream<'static, RecordBatch> {
        let mut told = records.last.subscribe();
        let next = match from {
            RecordsFrom::Now => *told.borrow_and_update() + 1,
            RecordsFrom::Oldest => 0,
            RecordsFrom::Sequence(sequence) => sequence,
            RecordsFrom::Since(at_ms) => {
                let kept = records.kept.lock();
                let first = kept.batches.iter().find(|batch| batch.at_ms >= at_ms);
                first.map_or_else(|| *records.last.borrow() + 1, |batch| batch.sequence)
            }
        };
        let records = records.clone();
        unfold((records, told, next), |(records, mut told, next)| async move {
            loop {
                {
                    let kept = records.kept.lock();
                    let at = kept.batches.partition_point(|batch| batch.sequence < next);
                    if let Some(batch) = kept.batches.get(at).cloned() {
                        drop(kept);
                        let next = batch.sequence + 1;
                        return Some((batch, (records, told, next)));
                    }
                    if kept.closed {
                        return None;
                    }
                }
                told.changed().await.ok()?;
            }
        })
        .boxed()
    }
}
