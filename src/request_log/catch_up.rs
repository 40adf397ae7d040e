//! The sums of hours that a node was not there for. It follows the records that the bus still has; what is older it takes
//! from the other nodes, row by row: the one that counted more requests is the whole one, for a row of an hour that is over
//! only grows by stragglers. So a node that joins late, or lost its disk, shows the same 31 days as the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_actors::bus::{BusHandle, codec};
use grok2api_actors::store::{StoreError, StoreWrite};
use grok2api_schemas::bus::changes::{SumsAsked, SumsTold};
use grok2api_schemas::bus::subjects::nodes;
use grok2api_schemas::ids::SessionId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RequestLog;
use super::rollups::{self, HOUR_MS, KEPT_HOURS};
use super::shared::FOLLOWED;

/// Hours that are still to be taken from others: the first, and the one behind the last.
const LACKING_KEY: &[u8] = b"sums";
/// Rows of one answer: about 250 kB.
const ROWS_TOLD: usize = 1_000;
/// How long another node has to answer.
const WITHIN: Duration = Duration::from_secs(5);
/// A node that was away for less has missed nothing: the bus keeps records for longer.
const SHORT_MS: u64 = 10 * 60_000;
/// An hour is over so long after its end: by then nodes have told what they counted in it.
const GRACE_MS: u64 = 5 * 60_000;
/// Before the first asking: what the bus has is counted first.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// Between two askings that found nobody, or only nodes that lack hours themselves; it doubles up to the second.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
const AGAIN_AT_MOST: Duration = Duration::from_secs(600);
/// Where all others lack hours for so many askings, there is nobody who has them.
const ASKINGS: u32 = 12;

/// Who else is there.
#[derive(Clone)]
pub struct Peers {
    /// This life of this node.
    pub me: SessionId,
    /// The other nodes that live.
    pub others: Arc<dyn Fn() -> Vec<SessionId> + Send + Sync>,
}

/// Hours, the last one not included.
pub(super) type Hours = std::ops::Range<u64>;

fn subject(session: SessionId) -> String {
    format!("{}.{session}", nodes::SUMS_ASK)
}

impl RequestLog {
    /// Notes which hours this node may lack: all, where it never followed the others; those since it did last, else.
    pub(super) async fn note_lacking(&self, followed_at_ms: Option<u64>) -> Result<(), StoreError> {
        let now_ms = self.inner.clock.wall().0;
        let until = now_ms / HOUR_MS + 1;
        let oldest = until.saturating_sub(KEPT_HOURS);
        let from = match followed_at_ms {
            Some(at) if now_ms.saturating_sub(at) < SHORT_MS => return Ok(()),
            Some(at) => (at / HOUR_MS).max(oldest),
            None => oldest,
        };
        let from = self.lacking()?.map_or(from, |lacking| lacking.start.min(from));
        self.set_lacking(Some(from..until)).await
    }

    fn lacking(&self) -> Result<Option<Hours>, StoreError> {
        let bytes = self.inner.store.get(FOLLOWED, LACKING_KEY)?;
        let hours = bytes.and_then(|bytes| {
            let (from, until) = bytes.split_at_checked(8)?;
            Some(u64::from_le_bytes(from.try_into().ok()?)..u64::from_le_bytes(until.try_into().ok()?))
        });
        Ok(hours.filter(|hours| !hours.is_empty()))
    }

    async fn set_lacking(&self, hours: Option<Hours>) -> Result<(), StoreError> {
        let hours = hours.filter(|hours| !hours.is_empty());
        self.inner.is_partial.store(hours.is_some(), Ordering::Relaxed);
        let value = hours.map(|hours| [hours.start.to_le_bytes(), hours.end.to_le_bytes()].concat().into());
        let write = StoreWrite {
            tree: FOLLOWED,
            key: Bytes::from_static(LACKING_KEY),
            value,
        };
        self.inner.store.write(vec![write]).await
    }

    /// Answers what others lack and asks for what this node does, until `stop`.
    pub(super) fn exchange_sums(
        &self,
        bus: &BusHandle,
        peers: &Peers,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let (log, served, me, until) = (self.clone(), bus.clone(), peers.me, stop.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = log.tell_sums(served, me) => {}
            }
        });
        let (log, bus, peers, until) = (self.clone(), bus.clone(), peers.clone(), stop.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = log.catch_up(bus, peers) => {}
            }
        });
    }

    pub(super) async fn tell_sums(&self, bus: BusHandle, me: SessionId) {
        loop {
            let mut asked = bus.serve(&subject(me));
            while let Some(request) = asked.next().await {
                let Ok(asked) = codec::decode::<SumsAsked>(&request.payload) else {
                    // Of a newer program: it runs into its deadline.
                    continue;
                };
                let log = self.clone();
                // One at a time: nobody waits for it.
                let told = tokio::task::spawn_blocking(move || log.sums_for(&asked)).await;
                match told {
                    Ok(Ok(told)) => {
                        if let Ok(bytes) = codec::encode(codec::VERSION, &told) {
                            // Whoever asked may have given up.
                            let _ = request.reply.send(bytes);
                        }
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "sums are not told to another node"),
                    Err(error) => tracing::warn!(%error, "sums are not told to another node"),
                }
            }
            // The bus let go of the subject.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn sums_for(&self, asked: &SumsAsked) -> Result<SumsTold, StoreError> {
        let (rows, next) = rollups::stretch(
            &self.inner.store,
            asked.from_hour..asked.until_hour,
            &asked.after,
            ROWS_TOLD,
        )?;
        Ok(SumsTold {
            rows,
            next,
            is_partial: self.inner.is_partial.load(Ordering::Relaxed),
        })
    }

    async fn catch_up(&self, bus: BusHandle, peers: Peers) {
        let mut pause = FIRST_AFTER;
        let mut left = ASKINGS;
        loop {
            tokio::time::sleep(pause).await;
            let lacking = match self.lacking() {
                Ok(Some(lacking)) => lacking,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "which sums are lacking cannot be read");
                    return;
                }
            };
            let over = self.inner.clock.wall().0.saturating_sub(GRACE_MS) / HOUR_MS;
            let ready = lacking.start..lacking.end.min(over);
            let done = match ready.is_empty() {
                true => false,
                false => self.take_sums(&bus, &(peers.others)(), ready.clone()).await,
            };
            // Where nobody has more, trying on is of no use.
            left = left.saturating_sub(u32::from(!ready.is_empty() && !(peers.others)().is_empty()));
            if done || left == 0 {
                if let Err(error) = self.set_lacking(Some(ready.end..lacking.end)).await {
                    tracing::warn!(%error, "sums of other nodes are asked for again");
                }
                (pause, left) = (AGAIN_AFTER, ASKINGS);
            } else if !ready.is_empty() {
                pause = (pause * 2).clamp(AGAIN_AFTER, AGAIN_AT_MOST);
            } else {
                // The last hours are not over yet.
                pause = AGAIN_AT_MOST / 10;
            }
        }
    }

    /// Asks other nodes for hours that are over. True if one answered that lacks nothing itself.
    pub(super) async fn take_sums(&self, bus: &BusHandle, others: &[SessionId], hours: Hours) -> bool {
        let mut whole = false;
        for session in others {
            match self.take_sums_of(bus, *session, hours.clone()).await {
                Ok((rows, is_partial)) => {
                    whole |= !is_partial;
                    tracing::debug!(%session, rows, "sums taken from another node");
                }
                Err(reason) => tracing::debug!(%session, %reason, "another node does not tell its sums"),
            }
        }
        whole
    }

    async fn take_sums_of(
        &self,
        bus: &BusHandle,
        session: SessionId,
        hours: Hours,
    ) -> Result<(usize, bool), Box<dyn std::error::Error + Send + Sync>> {
        let mut after = Vec::new();
        let mut taken = 0;
        loop {
            let asked = SumsAsked {
                from_hour: hours.start,
                until_hour: hours.end,
                after,
            };
            let payload = codec::encode(codec::VERSION, &asked)?;
            let answer = bus.request(&subject(session), payload, WITHIN).await?;
            let told: SumsTold = codec::decode(&answer)?;
            taken += told.rows.len();
            let of_hours = told.rows.into_iter().filter(|row| hours.contains(&row.hour));
            // Held while rows are read and written: no batch of records comes between.
            let sizes = self.inner.sizes.lock().await;
            let better = rollups::better(&self.inner.store, of_hours)?;
            if !better.is_empty() {
                self.inner.store.write(rollups::Rollups::writes(&better)).await?;
                self.inner.rollups.replace(better);
            }
            drop(sizes);
            if told.next.is_empty() {
                return Ok((taken, told.is_partial));
            }
            after = told.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use grok2api_actors::bus::local::LocalBus;
    use grok2api_actors::clock::{Clock, WallMs};
    use grok2api_actors::store::Store;
    use grok2api_schemas::admin::requests::Outcome;
    use grok2api_schemas::admin::rollups::RollupAsk;

    use super::super::RequestLogOptions;
    use super::super::tests::record;
    use super::*;

    const NOW_MS: u64 = 1_800_000 * HOUR_MS;

    async fn log(records: &[(u64, &str, &str)]) -> RequestLog {
        let (clock, _) = Clock::manual(WallMs(NOW_MS));
        let log = RequestLog::open(Store::temporary().unwrap(), clock, RequestLogOptions::default()).unwrap();
        for (hours_ago, node, model) in records {
            let mut record = record(model, Outcome::Success);
            record.time_ms = NOW_MS - hours_ago * HOUR_MS;
            (*node).clone_into(&mut record.node);
            assert!(log.offer(record));
        }
        log.flush().await.unwrap();
        log
    }

    fn all(log: &RequestLog) -> u64 {
        let ask = RollupAsk {
            since_ms: Some(0),
            ..RollupAsk::default()
        };
        log.rollups(&ask).unwrap().total.requests
    }

    #[tokio::test]
    async fn a_node_that_comes_late_takes_the_hours_that_it_was_not_there_for_once() {
        let (clock, _) = Clock::manual(WallMs(NOW_MS));
        let bus: BusHandle = LocalBus::new(Store::temporary().unwrap(), clock);
        // The older node saw three requests a week ago in one hour, two hours ago one of a third node, and now one.
        let old = log(&[
            (170, "a", "m"),
            (170, "a", "m"),
            (170, "b", "m"),
            (2, "c", "m"),
            (0, "a", "m"),
        ])
        .await;
        // The younger one heard of a part of them over the bus, and answered one itself two hours ago.
        let young = log(&[(170, "a", "m"), (2, "d", "m"), (0, "a", "m")]).await;
        let (one, two) = (SessionId::generate(), SessionId::generate());
        let told = old.clone();
        let tracker = TaskTracker::new();
        let served = bus.clone();
        tracker.spawn(async move { told.tell_sums(served, one).await });
        tokio::task::yield_now().await;

        young.note_lacking(None).await.unwrap();
        let lacking = young.lacking().unwrap().unwrap();
        assert_eq!(
            (lacking.start, lacking.end),
            (NOW_MS / HOUR_MS + 1 - KEPT_HOURS, NOW_MS / HOUR_MS + 1)
        );
        let over = lacking.start..NOW_MS / HOUR_MS;
        assert!(young.take_sums(&bus, &[one], over.clone()).await);
        assert_eq!((all(&old), all(&young)), (5, 6));
        // Again, and from itself or nobody: nothing is counted twice.
        assert!(young.take_sums(&bus, &[one], over.clone()).await);
        assert!(
            !young.take_sums(&bus, &[two], over.clone()).await,
            "nobody answers there"
        );
        assert_eq!(all(&young), 6);
        young.set_lacking(Some(over.end..lacking.end)).await.unwrap();
        assert_eq!(young.lacking().unwrap(), Some(over.end..lacking.end));
        young.set_lacking(None).await.unwrap();
        assert_eq!(young.lacking().unwrap(), None);

        // A short absence is no absence; a long one begins where it began.
        young.note_lacking(Some(NOW_MS - SHORT_MS / 2)).await.unwrap();
        assert_eq!(young.lacking().unwrap(), None);
        young.note_lacking(Some(NOW_MS - 30 * HOUR_MS)).await.unwrap();
        assert_eq!(young.lacking().unwrap().unwrap().start, NOW_MS / HOUR_MS - 30);
        // A node that lacks hours says so.
        tracker.spawn(async move { young.tell_sums(bus, two).await });
    }

    #[tokio::test]
    async fn sums_are_told_in_pieces() {
        let many: Vec<(u64, String)> = (0..40).map(|n| (5 + n % 3, format!("model-{n}"))).collect();
        let records: Vec<(u64, &str, &str)> = many
            .iter()
            .map(|(hours, model)| (*hours, "a", model.as_str()))
            .collect();
        let log = log(&records).await;
        let hours = NOW_MS / HOUR_MS - 10..NOW_MS / HOUR_MS;
        let (mut after, mut seen) = (Vec::new(), 0);
        loop {
            let (rows, next) = rollups::stretch(&log.inner.store, hours.clone(), &after, 7).unwrap();
            assert!(rows.len() <= 7);
            seen += rows.len();
            after = next;
            if after.is_empty() {
                break;
            }
        }
        assert_eq!(seen, 40);
    }
}
