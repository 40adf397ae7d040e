//! Registration jobs: credentials that are added in bulk, each obtained, normalised, verified at the upstream and enrolled,
//! with progress, limits and an end.
//!
//! A job is owned by one node, which follows from who lives; it claims the job by writing so where nobody, or nobody who
//! lives, is the owner. Where that one does not, because its build does not know such jobs or it has too many, the next
//! in line does. Decisions are pure ([`run`]), everything they rest on is in the store, and what they begin is
//! written before it is begun: when the owner dies another continues, and no item is done twice.

mod actor;
pub mod run;
mod shelf;
pub mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use grok2api_schemas::bus::events::JobEvent;
use grok2api_schemas::bus::subjects::{buckets, events};
use grok2api_schemas::ids::{JobId, SessionId, TokenId};
use grok2api_schemas::job::{ItemState, JobItem, JobRecord, JobStep};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::actor::{Ended, JobActor, Leave, Look, sealing_context};
use self::source::{Payload, Workshop};
use crate::bus::{BusError, BusErrorKind, BusHandle, Expect};
use crate::clock::{Clock, Mono};
use crate::cluster::Membership;
use crate::mirror::{Mirror, Row, Rows, Unreadable};
use crate::runtime::ArbiterPool;
use crate::supervise::Supervised;
use crate::token::{mask, place_in_line};
use crate::vault::Vault;

/// How often is looked who should own what, beside when something changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Messages that may wait for a job actor: each only makes it look.
const MAILBOX: usize = 8;
/// A job that nobody takes goes to the next in line after so long, to the one after that in twice the time, milliseconds.
const TAKEN_WITHIN_MS: u64 = 3_000;
/// Jobs that one node works on at a time; further ones wait.
const AT_A_TIME: usize = 64;
/// Times that a change is tried where others write the same record.
const TRIES: usize = 8;
/// How long an ending node waits for what is under way.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// Items looked at for one page.
const LOOKED_AT: u32 = 6_400;

/// What jobs are built from.
pub struct JobParts {
    /// Where they are kept.
    pub bus: BusHandle,
    /// Seals credentials on their way.
    pub vault: Arc<Vault>,
    /// Time.
    pub clock: Clock,
    /// Who lives.
    pub membership: Membership,
    /// Where job actors run.
    pub arbiters: ArbiterPool,
    /// Sources, and the way into the pool.
    pub workshop: Arc<dyn Workshop>,
    /// Ended jobs that are kept; asked whenever one ends.
    pub keep: Box<dyn Fn() -> usize + Send + Sync>,
}

/// A new item, as its source or the operator has it.
#[derive(Debug)]
pub enum NewItem {
    /// It is to be had from the source, which calls it this, or knows it by this.
    ToObtain {
        /// What it is to be called.
        name: String,
        /// What the source knows it by; may be empty.
        foreign: String,
    },
    /// It is here.
    Here {
        /// Its line.
        line: u64,
        /// It.
        payload: Payload,
    },
    /// It is a token of the pool, that something is done to.
    InPool {
        /// Which.
        token: TokenId,
        /// Its masked form.
        masked: String,
    },
    /// It is nothing.
    Invalid {
        /// Its line.
        line: u64,
        /// Why.
        reason: String,
    },
}

/// Every registration job. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    bus: BusHandle,
    vault: Arc<Vault>,
    clock: Clock,
    membership: Membership,
    arbiters: ArbiterPool,
    workshop: Arc<dyn Workshop>,
    keep: Box<dyn Fn() -> usize + Send + Sync>,
    records: Arc<Mirror<JobRecord>>,
    live: DashMap<JobId, (Supervised<JobActor>, Arc<Ended>)>,
    wake: Arc<Notify>,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jobs({}, {} here)", self.0.records.len(), self.0.live.len())
    }
}

impl Jobs {
    /// Reads the jobs and looks after them until `stop`.
    ///
    /// # Errors
    /// The bus cannot be read. A record that does not decode, of a kind that only a newer build knows, is left as it is.
    pub async fn start(parts: JobParts, tracker: &TaskTracker, stop: CancellationToken) -> Result<Jobs, BusError> {
        let wake = Arc::new(Notify::new());
        let woken = wake.clone();
        let rows = Rows {
            bucket: buckets::JOBS,
            prefixes: shelf::record_prefixes(),
            announced_on: Some(events::JOB_RECORD),
            unreadable: Unreadable::SetAside,
        };
        let records = Mirror::start_of(
            parts.bus.clone(),
            rows,
            tracker,
            stop.clone(),
            Box::new(move |_, _| woken.notify_one()),
        )
        .await?;
        let jobs = Jobs(Arc::new(Inner {
            bus: parts.bus,
            vault: parts.vault,
            clock: parts.clock,
            membership: parts.membership,
            arbiters: parts.arbiters,
            workshop: parts.workshop,
            keep: parts.keep,
            records,
            live: DashMap::new(),
            wake,
        }));
        let keeper = jobs.clone();
        tracker.spawn(async move {
            let mut untaken = HashMap::new();
            loop {
                keeper.look(&mut untaken).await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = keeper.0.wake.notified() => {}
                    () = tokio::time::sleep(keeper.0.clock.until_next(LOOK_EVERY)) => {}
                }
            }
        });
        Ok(jobs)
    }

    /// Makes a job of these items. `record` says what it is; its counts and owner do not matter.
    ///
    /// # Errors
    /// The bus cannot be written: there is no such job then.
    pub async fn create(&self, mut record: JobRecord, items: Vec<NewItem>) -> Result<Arc<JobRecord>, BusError> {
        let (id, kind) = (record.id, record.spec.kind());
        if !shelf::is_known(kind) {
            let words = "this build knows no jobs of that kind";
            return Err(BusError::new(BusErrorKind::Storage, words));
        }
        record.total = items.len() as u32;
        let items = items
            .into_iter()
            .enumerate()
            .map(|(index, item)| self.0.stored(id, index as u32, item))
            .collect::<Result<Vec<JobItem>, BusError>>()?;
        shelf::write_all(&self.0.bus, id, items).await?;
        let put = self.0.records.put(shelf::record_key(id, kind), record, Expect::Absent);
        let record = put.await?;
        self.0.tell(&record);
        self.forget_old().await;
        Ok(record)
    }

    /// Every job, newest first.
    pub fn all(&self) -> Vec<Arc<JobRecord>> {
        let mut all: Vec<Arc<JobRecord>> = self.0.records.all().into_iter().map(|(_, row)| row.value).collect();
        all.sort_by_key(|record| std::cmp::Reverse(record.id));
        all
    }

    /// One job; another node may have made it a moment ago.
    ///
    /// # Errors
    /// The bus cannot be read; `Corrupt` if only a newer build can read the job.
    pub async fn get(&self, id: JobId) -> Result<Option<Arc<JobRecord>>, BusError> {
        let found = self.0.find(id).await?;
        Ok(found.map(|(_, row)| row.value))
    }

    /// Changes a job's record, unless `change` answers false; the record after it, `None` if it was not changed or is not
    /// there.
    ///
    /// # Errors
    /// The bus cannot be read or written.
    pub async fn change(
        &self,
        id: JobId,
        change: impl FnMut(&mut JobRecord) -> bool,
    ) -> Result<Option<Arc<JobRecord>>, BusError> {
        let changed = self.0.change(id, change).await?;
        if let Some(record) = &changed {
            self.0.tell(record);
            self.0.wake.notify_one();
        }
        Ok(changed)
    }

    /// Items from a place on that stand so (`states` empty = all), at most `limit`; and where to go on.
    ///
    /// # Errors
    /// The bus cannot be read.
    pub async fn items(
        &self,
        record: &JobRecord,
        states: &[ItemState],
        from: u32,
        limit: usize,
    ) -> Result<(Vec<(u32, JobItem)>, Option<u32>), BusError> {
        let mut found = Vec::new();
        let mut at = from;
        let end = record.total.min(from.saturating_add(LOOKED_AT));
        while at < end && found.len() < limit {
            let chunk = at / grok2api_schemas::job::CHUNK;
            let (_, items) = shelf::read(&self.0.bus, record.id, chunk).await?;
            let first = chunk * grok2api_schemas::job::CHUNK;
            for (place, item) in items.into_iter().enumerate() {
                let index = first + place as u32;
                if index < at {
                    continue;
                }
                if found.len() >= limit {
                    break;
                }
                at = index + 1;
                if states.is_empty() || states.contains(&item.state) {
                    found.push((index, item));
                }
            }
            if at <= first {
                break;
            }
        }
        let next = (at < record.total && limit > 0).then_some(at);
        Ok((found, next))
    }

    /// The node leaves: what is under way comes to its end, jobs go to others.
    pub async fn close(&self) {
        for live in &self.0.live {
            let _ = live.0.mailbox().offer(Leave);
        }
        let gone = async {
            while self.0.live.iter().any(|live| !live.1.is_set()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(LEAVE_WITHIN, gone).await.is_err() {
            tracing::warn!(
                "some registration jobs did not come to rest within 5 s: whoever continues them finds out where they stood"
            );
        }
        self.0.live.clear();
    }

    /// Takes on what is this node's, and lets go of what is not any more. `untaken` says since when nobody took a job that
    /// somebody should.
    async fn look(&self, untaken: &mut HashMap<JobId, Mono>) {
        let inner = &self.0;
        inner.live.retain(|_, (_, ended)| !ended.is_set());
        if inner.membership.is_draining() {
            for live in &inner.live {
                let _ = live.0.mailbox().offer(Leave);
            }
            return;
        }
        let (now, rows) = (inner.clock.now(), inner.records.all());
        let before = std::mem::take(untaken);
        for (_, row) in rows {
            let record = &row.value;
            let id = record.id;
            if let Some(live) = inner.live.get(&id) {
                // A full mailbox looks soon anyway.
                let _ = live.0.mailbox().offer(Look);
                continue;
            }
            if !record.status.needs_owner() {
                continue;
            }
            let Some(place) = inner.place_in_line(record) else {
                continue;
            };
            let since = before.get(&id).copied().unwrap_or(now);
            untaken.insert(id, since);
            if inner.live.len() < AT_A_TIME && now.ms_since(since) >= place as u64 * TAKEN_WITHIN_MS {
                match inner.claim(id).await {
                    Ok(Some(record)) => inner.clone().take_on(&record),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(job = %id, %error, "a job cannot be claimed; trying again"),
                }
            }
        }
    }

    /// Forgets ended jobs, the oldest first, where there are more than are kept.
    async fn forget_old(&self) {
        let over: Vec<Arc<JobRecord>> = self
            .all()
            .into_iter()
            .filter(|record| record.status.is_over())
            .skip((self.0.keep)())
            .collect();
        for record in over {
            let Some((key, row)) = self.0.known(record.id) else {
                continue;
            };
            let gone = async {
                self.0.records.delete(key, row.revision).await?;
                shelf::forget(&self.0.bus, record.id, record.total).await
            };
            if let Err(error) = gone.await {
                tracing::warn!(job = %record.id, %error, "a job that is over could not be forgotten");
            }
        }
    }
}

impl Inner {
    fn me(&self) -> SessionId {
        self.membership.me()
    }

    /// A job's row with its key, as far as it is known here.
    fn known(&self, id: JobId) -> Option<(Bytes, Row<JobRecord>)> {
        shelf::record_keys(id).find_map(|key| {
            let row = self.records.get(&key)?;
            Some((key, row))
        })
    }

    /// The same, asking the bus where nothing is known.
    async fn find(&self, id: JobId) -> Result<Option<(Bytes, Row<JobRecord>)>, BusError> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        for key in shelf::record_keys(id) {
            if let Some(row) = self.records.get_or_read(&key).await? {
                return Ok(Some((key, row)));
            }
        }
        Ok(None)
    }

    /// How many nodes come before this one for a job that no node owns that lives; `None` if one does, or nobody can say.
    fn place_in_line(&self, record: &JobRecord) -> Option<usize> {
        if !self.membership.is_clustered() {
            return Some(0);
        }
        let snapshot = self.membership.snapshot();
        if !snapshot.settled || !snapshot.connected {
            return None;
        }
        if let Some(owner) = record.owner
            && owner != snapshot.me
            && snapshot.is_live(owner)
        {
            return None;
        }
        let live = snapshot.nodes.iter().filter(|node| node.live && !node.beat.draining);
        let sessions = live.map(|node| node.beat.session);
        Some(place_in_line(snapshot.me, sessions, record.id.as_bytes()))
    }

    /// Writes that this node owns it; `None` if another was faster.
    async fn claim(&self, id: JobId) -> Result<Option<Arc<JobRecord>>, BusError> {
        let (me, node) = (self.me(), self.membership.identity().node.clone());
        self.change(id, |record| {
            let may = record.status.needs_owner() && self.place_in_line(record).is_some();
            if may {
                record.owner = Some(me);
                record.owner_node.clone_from(&node);
                record.epoch += 1;
            }
            may
        })
        .await
    }

    fn take_on(self: Arc<Self>, record: &JobRecord) {
        let (id, epoch) = (record.id, record.epoch);
        let ended = Arc::new(Ended::default());
        let (jobs, place) = (self.clone(), ended.clone());
        let actor = Supervised::start(
            format!("job/{id}"),
            self.arbiters.pick(),
            MAILBOX,
            self.clock.clone(),
            move || JobActor::new(jobs.clone(), id, epoch, place.clone()),
        );
        tracing::info!(job = %id, epoch, "this node works on a registration job");
        self.live.insert(id, (actor, ended));
    }

    async fn change(
        &self,
        id: JobId,
        mut change: impl FnMut(&mut JobRecord) -> bool,
    ) -> Result<Option<Arc<JobRecord>>, BusError> {
        let mut last = None;
        for _ in 0..TRIES {
            let Some((key, row)) = self.find(id).await? else {
                return Ok(None);
            };
            let mut record = JobRecord::clone(&row.value);
            if !change(&mut record) {
                return Ok(None);
            }
            match self
                .records
                .put(key.clone(), record, Expect::Revision(row.revision))
                .await
            {
                Ok(record) => return Ok(Some(record)),
                Err(error) if error.kind == BusErrorKind::Conflict => {
                    self.records.refresh(&key).await?;
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| BusError::new(BusErrorKind::Conflict, "others write the same record")))
    }

    /// Tells watchers.
    fn tell(&self, record: &JobRecord) {
        let event = JobEvent {
            id: record.id,
            status: record.status,
            reason: record.reason.clone(),
            total: record.total,
            counts: record.counts.clone(),
            node: record.owner_node.clone(),
            epoch: record.epoch,
        };
        match serde_json::to_vec(&event) {
            Ok(bytes) => self.bus.publish(events::JOB, Bytes::from(bytes)),
            Err(error) => tracing::error!(%error, "a job's event does not serialise"),
        }
    }

    fn stored(&self, id: JobId, index: u32, item: NewItem) -> Result<JobItem, BusError> {
        let blank = JobItem {
            state: ItemState::Pending,
            epoch: 0,
            at_ms: 0,
            tries: 0,
            redo: 0,
            line: u64::from(index) + 1,
            name: String::new(),
            foreign: String::new(),
            sealed: Vec::new(),
            masked: String::new(),
            token: None,
            is_new: false,
            step: None,
            reason: String::new(),
        };
        Ok(match item {
            NewItem::ToObtain { name, foreign } => JobItem { name, foreign, ..blank },
            NewItem::Here { line, payload } => JobItem {
                state: ItemState::Obtained,
                line,
                name: payload.label.clone(),
                masked: mask(payload.secret.trim()),
                sealed: self
                    .seal(&sealing_context(id, index), &payload)
                    .map_err(|fault| BusError::new(BusErrorKind::Storage, fault.reason))?,
                ..blank
            },
            NewItem::InPool { token, masked } => JobItem {
                token: Some(token),
                masked,
                ..blank
            },
            NewItem::Invalid { line, reason } => JobItem {
                state: ItemState::Failed,
                line,
                step: Some(JobStep::Normalise),
                reason,
                ..blank
            },
        })
    }
}
