//! Settlements that no owner has acknowledged, kept where they outlive the process. Written off the hot path and only once
//! they are old: while owners answer, nothing is written at all.
//!
//! What a process leaves behind its successor settles as closed: a closed report as it is, an open one as if everything
//! that was not given back had been spent, which is what a lapse presumes. Nothing in here is ever spent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{GrantId, Report, Settlement};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::meter::merge;
use crate::bus::codec;
use crate::clock::Mono;
use crate::store::{Store, StoreError, StoreWrite};

/// The store's tree.
const TREE: &str = "spool";
/// A settlement that is not acknowledged after this long is written, milliseconds.
const OLD_MS: u64 = 4_000;
/// Batches that may wait for the disk.
const QUEUE: usize = 4;
/// The most settlements that are kept; what is beyond lapses by presumption.
const MOST: usize = 200_000;

/// What is stored of one grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    settlement: Settlement,
    units: Option<u64>,
}

/// A settlement that waits for its acknowledgement.
#[derive(Debug)]
struct Open {
    row: Row,
    since: Mono,
    written: Option<Report>,
}

/// The spool of one session.
pub(super) struct Spool {
    session: SessionId,
    open: HashMap<GrantId, Open>,
    /// Rows of earlier sessions, by grant, with their keys.
    inherited: HashMap<GrantId, Bytes>,
    deletions: Vec<Bytes>,
    writer: mpsc::Sender<Vec<StoreWrite>>,
    size: Arc<AtomicU64>,
}

impl Spool {
    /// The spool in this store, and what earlier sessions left in it, to be settled as closed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn open(
        store: &Store,
        session: SessionId,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<(Spool, Vec<Settlement>), StoreError> {
        let mut inherited = HashMap::new();
        let mut settlements = Vec::new();
        for (key, value) in store.scan_prefix(TREE, &[])? {
            match codec::decode::<Row>(&value) {
                Ok(row) => {
                    if let Some(settlement) = last_will(&row) {
                        inherited.insert(settlement.grant, Bytes::copy_from_slice(&key));
                        settlements.push(settlement);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "a spooled settlement does not decode; its grant lapses as spent")
                }
            }
        }
        let (writer, batches) = mpsc::channel(QUEUE);
        tracker.spawn(write(store.clone(), batches, stop));
        let spool = Spool {
            session,
            open: HashMap::new(),
            inherited,
            deletions: Vec::new(),
            writer,
            size: Arc::default(),
        };
        spool.count();
        Ok((spool, settlements))
    }

    /// How many settlements are not acknowledged; shared, to be shown.
    pub(super) fn size(&self) -> Arc<AtomicU64> {
        self.size.clone()
    }

    /// A settlement is told, of a grant of so many units.
    pub(super) fn told(&mut self, now: Mono, settlement: &Settlement, units: Option<u64>) {
        if self.inherited.contains_key(&settlement.grant)
            || (self.open.len() >= MOST && !self.open.contains_key(&settlement.grant))
        {
            return;
        }
        let row = || Row {
            settlement: settlement.clone(),
            units,
        };
        let open = self.open.entry(settlement.grant).or_insert_with(|| Open {
            row: row(),
            since: now,
            written: None,
        });
        open.row.settlement.report = merge(open.row.settlement.report, settlement.report);
        self.count();
    }

    /// An owner has this report in its journal.
    pub(super) fn acknowledged(&mut self, now: Mono, grant: GrantId, report: Report) {
        if let Some(key) = self.inherited.remove(&grant) {
            self.deletions.push(key);
            self.count();
        }
        let Some(open) = self.open.get_mut(&grant) else {
            return;
        };
        if merge(open.row.settlement.report, report) == report {
            if open.written.is_some() {
                self.deletions.push(key(self.session, grant));
            }
            self.open.remove(&grant);
            self.count();
        } else {
            open.since = now;
        }
    }

    /// Whether [`Spool::flush`] may have something to do before long.
    pub(super) fn has_work(&self) -> bool {
        !self.open.is_empty() || !self.deletions.is_empty()
    }

    /// Hands what became old, and what may be forgotten, to the disk. If the disk is behind, the next call does.
    pub(super) fn flush(&mut self, now: Mono) {
        let Ok(place) = self.writer.try_reserve() else {
            return;
        };
        let mut batch: Vec<StoreWrite> = self
            .deletions
            .drain(..)
            .map(|key| StoreWrite {
                tree: TREE,
                key,
                value: None,
            })
            .collect();
        for (grant, open) in &mut self.open {
            let report = open.row.settlement.report;
            if now.ms_since(open.since) < OLD_MS || open.written == Some(report) {
                continue;
            }
            match codec::encode(codec::VERSION, &open.row) {
                Ok(value) => batch.push(StoreWrite {
                    tree: TREE,
                    key: key(self.session, *grant),
                    value: Some(value),
                }),
                Err(error) => tracing::error!(%error, "a settlement does not encode for the spool"),
            }
            open.written = Some(report);
        }
        if !batch.is_empty() {
            place.send(batch);
        }
    }

    fn count(&self) {
        let size = self.open.len() + self.inherited.len();
        self.size.store(size as u64, Ordering::Relaxed);
    }
}

/// What a successor settles of a grant that its holder took to the grave.
fn last_will(row: &Row) -> Option<Settlement> {
    let mut settlement = row.settlement.clone();
    let report = &mut settlement.report;
    if !report.closed {
        // How many it had nobody knows: it lapses.
        let kept = row.units?.saturating_sub(report.returned);
        report.cost = report.cost.saturating_add(kept.saturating_sub(report.done));
        report.sent = report.sent.max(kept);
        report.done = report.sent;
        report.closed = true;
    }
    Some(settlement)
}

fn key(session: SessionId, grant: GrantId) -> Bytes {
    let mut key = Vec::with_capacity(40);
    key.extend_from_slice(session.as_bytes());
    key.extend_from_slice(grant.owner.as_bytes());
    key.extend_from_slice(&grant.number.to_be_bytes());
    key.into()
}

async fn write(store: Store, mut batches: mpsc::Receiver<Vec<StoreWrite>>, stop: CancellationToken) {
    loop {
        let batch = tokio::select! {
            biased;
            batch = batches.recv() => batch,
            () = stop.cancelled() => return,
        };
        let Some(batch) = batch else {
            return;
        };
        if let Err(error) = store.write(batch).await {
            tracing::error!(%error, "settlements could not be spooled: if this process ends now, their grants lapse as spent");
        }
    }
}

#[cfg(test)]
mod tests {
    use grok2api_schemas::meter::{Domain, Meter, MeterKind};

    use super::*;

    fn row(report: Report, units: Option<u64>) -> Row {
        Row {
            settlement: Settlement {
                meter: Meter {
                    domain: Domain::Token("tok".into()),
                    kind: MeterKind::Tokens { window_ms: 60_000 },
                },
                grant: GrantId {
                    owner: SessionId::generate(),
                    number: 1,
                },
                day: None,
                report,
            },
            units,
        }
    }

    #[test]
    fn a_dead_process_has_spent_what_it_did_not_give_back() {
        let open = Report {
            sent: 60,
            done: 40,
            cost: 15,
            returned: 10,
            closed: false,
        };
        let will = last_will(&row(open, Some(100))).unwrap().report;
        // 40 reserved units cost 15; of the 90 that were kept, the other 50 are presumed.
        let closed = Report {
            sent: 90,
            done: 90,
            cost: 65,
            returned: 10,
            closed: true,
        };
        assert_eq!(will, closed);
        let said = Report { closed: true, ..open };
        assert_eq!(
            last_will(&row(said, Some(100))).unwrap().report,
            said,
            "its last word stands"
        );
        assert!(last_will(&row(open, None)).is_none(), "nobody knows how many");
    }
}
