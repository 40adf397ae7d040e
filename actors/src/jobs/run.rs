//! What a job does next: pure. The actor writes what changed, then does what [`Run::next`] said, then tells
//! [`Run::finish`] how it went.
//!
//! Nothing that the outside sees twice is begun before it is written that it begins: an item found `Obtaining` by whoever
//! did not begin it is asked about, never begun again.

mod outcome;

use std::collections::{BTreeMap, BTreeSet};

use grok2api_schemas::ids::TokenId;
use grok2api_schemas::job::{
    CHUNK, ItemState, JobCounts, JobItem, JobKind, JobReason, JobRecord, JobSpec, JobStatus, JobStep, MOST_REASONS,
    TokenAction,
};

use self::outcome::BeginStep;
use super::source::Admitted;

/// What is done to one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Its source is asked for it.
    Obtain,
    /// Its source is asked what became of an earlier call.
    Recover,
    /// It is made a token.
    Admit,
    /// It is taken back.
    Revoke,
    /// This is done to it.
    Apply(TokenAction),
}

/// What to do now, once what changed is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Begin these.
    pub begin: Vec<(u32, Task)>,
    /// Look again then, Unix milliseconds.
    pub wake_at: Option<u64>,
}

/// How a task went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is had: sealed, with its masked form and what its source knows it by.
    Supplied {
        /// Sealed.
        sealed: Vec<u8>,
        /// Masked.
        masked: String,
        /// The source's id; may be empty.
        foreign: String,
    },
    /// The earlier call did not happen.
    NotBegun,
    /// It is in the pool.
    Admitted(Admitted),
    /// It was taken back.
    TakenBack,
    /// What the job does to tokens was done to it; what the operator should know of it.
    Applied(String),
}

/// A job under way on its owner.
#[derive(Clone, Debug)]
pub struct Run {
    record: JobRecord,
    items: Vec<JobItem>,
    /// Items that wait for their turn, by when it comes.
    queue: BTreeSet<(u64, u32)>,
    busy: BTreeMap<u32, Task>,
    dirty: BTreeSet<u32>,
    reasons: BTreeMap<(JobStep, String), u32>,
    counts: JobCounts,
    settles_ms: u64,
    /// The end that was decided on, while what is under way comes to its own.
    verdict: Option<(JobStatus, String)>,
    /// Items that could not be taken back.
    kept: BTreeSet<u32>,
    /// What its end says where nothing is wrong.
    note: String,
    /// Nothing new is begun: the node leaves.
    is_leaving: bool,
}

impl Run {
    /// Continues a job from what is stored. `record.epoch` is this owner's own.
    pub fn of(record: JobRecord, items: Vec<JobItem>, settles_ms: u64) -> Run {
        let mut run = Run {
            items,
            queue: BTreeSet::new(),
            busy: BTreeMap::new(),
            dirty: BTreeSet::new(),
            reasons: BTreeMap::new(),
            counts: JobCounts {
                errors: record.counts.errors,
                ..JobCounts::default()
            },
            settles_ms,
            verdict: None,
            kept: BTreeSet::new(),
            note: String::new(),
            is_leaving: false,
            record,
        };
        for index in 0..run.items.len() as u32 {
            run.count(index, true);
        }
        run.put_back();
        run.fill_queue();
        run
    }

    /// The job as it was stored last.
    pub fn record(&self) -> &JobRecord {
        &self.record
    }

    /// One item.
    pub fn item(&self, index: u32) -> Option<&JobItem> {
        self.items.get(index as usize)
    }

    /// How far it is.
    pub fn counts(&self) -> JobCounts {
        let mut reasons: Vec<JobReason> = self
            .reasons
            .iter()
            .map(|((step, reason), items)| JobReason {
                step: *step,
                reason: reason.clone(),
                items: *items,
            })
            .collect();
        reasons.sort_by(|a, b| b.items.cmp(&a.items).then_with(|| a.reason.cmp(&b.reason)));
        reasons.truncate(MOST_REASONS);
        JobCounts {
            reasons,
            ..self.counts.clone()
        }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }

    /// Nothing new is begun from now on.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Whether this owner is through with it: nothing is under way, and nothing will be begun.
    pub fn is_through(&self) -> bool {
        self.is_idle() && (self.is_leaving || !self.record.status.needs_owner())
    }

    /// The end to be written, once nothing is under way any more.
    pub fn verdict(&self) -> Option<&(JobStatus, String)> {
        self.verdict.as_ref().filter(|_| self.is_idle())
    }

    /// Chunks that changed since they were taken, with what they hold now.
    pub fn take_dirty(&mut self) -> Vec<(u32, Vec<JobItem>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty
            .into_iter()
            .map(|chunk| {
                let items = self.items.iter().skip((chunk * CHUNK) as usize);
                (chunk, items.take(CHUNK as usize).cloned().collect())
            })
            .collect()
    }

    /// A chunk that could not be written counts as changed.
    pub fn mark_dirty(&mut self, chunk: u32) {
        self.dirty.insert(chunk);
    }

    /// Takes what an operator, or this owner's own write, made of the record. Not what another owner made of it.
    pub fn follow(&mut self, record: JobRecord) {
        let was = std::mem::replace(&mut self.record, record);
        if was.redo != self.record.redo {
            self.counts.errors = self.record.counts.errors;
            self.put_back();
        }
        if (was.redo, was.status) != (self.record.redo, self.record.status) {
            self.verdict = None;
            self.fill_queue();
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: u64) -> Turn {
        if self.is_leaving || self.verdict.is_some() {
            return Turn::default();
        }
        match self.record.status {
            JobStatus::Running => self.next_running(now),
            JobStatus::Stopping => {
                if self.is_idle() {
                    self.verdict = Some(match self.record.take_back {
                        true => (JobStatus::Revoking, String::new()),
                        false => (JobStatus::Stopped, String::new()),
                    });
                }
                Turn::default()
            }
            JobStatus::Revoking => {
                let turn = self.begin(now);
                if self.is_idle() && turn.begin.is_empty() && self.queue.is_empty() {
                    let reason = match self.kept.len() {
                        0 => String::new(),
                        kept => format!("{kept} could not be taken back"),
                    };
                    self.verdict = Some((JobStatus::Stopped, reason));
                }
                turn
            }
            JobStatus::Paused | JobStatus::Stopped | JobStatus::Completed | JobStatus::Failed => Turn::default(),
        }
    }

    fn next_running(&mut self, now: u64) -> Turn {
        let ran_ms = self.record.ran_ms + now.saturating_sub(self.record.running_since_ms);
        let most_ms = self.record.max_runtime_ms;
        if most_ms > 0 && ran_ms >= most_ms {
            let minutes = most_ms / 60_000;
            self.verdict = Some((JobStatus::Failed, format!("Timeout after {minutes} minutes.")));
            return Turn::default();
        }
        if self.counts.errors >= self.record.max_errors.max(1) {
            let reason = format!("Too many failures ({}/{}).", self.counts.errors, self.record.max_errors);
            self.verdict = Some((JobStatus::Failed, reason));
            return Turn::default();
        }
        let mut turn = self.begin(now);
        if self.is_idle() && turn.begin.is_empty() && self.queue.is_empty() {
            self.verdict = Some((JobStatus::Completed, self.note.clone()));
        }
        if most_ms > 0 {
            let end = now + (most_ms - ran_ms);
            turn.wake_at = Some(turn.wake_at.map_or(end, |at| at.min(end)));
        }
        turn
    }

    /// Begins as many as may be worked on at a time, of those whose turn it is.
    fn begin(&mut self, now: u64) -> Turn {
        let mut turn = Turn::default();
        while self.busy.len() < self.record.concurrency.max(1) as usize {
            let Some(&(at, index)) = self.queue.first() else { break };
            if at > now {
                turn.wake_at = Some(at);
                break;
            }
            self.queue.pop_first();
            let Some(task) = self.task_of(index) else { continue };
            if task == Task::Obtain {
                let epoch = self.record.epoch;
                self.change(index, |item| {
                    item.state = ItemState::Obtaining;
                    item.epoch = epoch;
                    item.at_ms = now;
                });
            }
            self.busy.insert(index, task);
            turn.begin.push((index, task));
        }
        turn
    }

    fn task_of(&self, index: u32) -> Option<Task> {
        let item = self.items.get(index as usize)?;
        let takes_back = self.record.status == JobStatus::Revoking || self.record.spec.kind() == JobKind::Revoke;
        match item.state {
            // Whether there is anything to take back has to be found out first.
            ItemState::Obtaining => Some(Task::Recover),
            _ if takes_back => Some(Task::Revoke),
            ItemState::Pending => Some(match self.record.spec {
                JobSpec::Batch(action) => Task::Apply(action),
                _ => Task::Obtain,
            }),
            ItemState::Obtained => Some(Task::Admit),
            ItemState::Done | ItemState::Failed | ItemState::Skipped | ItemState::Revoked => None,
        }
    }

    /// Failed and skipped items of before the last retry are as new.
    fn put_back(&mut self) {
        let redo = self.record.redo;
        let is_list = self.record.spec.kind() == JobKind::List;
        for index in 0..self.items.len() as u32 {
            let Some(item) = self.item(index) else { continue };
            let is_due = item.redo < redo && matches!(item.state, ItemState::Failed | ItemState::Skipped);
            // A line that is no credential stays one.
            let can_be = !is_list || !item.sealed.is_empty();
            if is_due && can_be {
                self.change(index, |item| {
                    item.state = match item.sealed.is_empty() {
                        true => ItemState::Pending,
                        false => ItemState::Obtained,
                    };
                    item.redo = redo;
                    item.begin_step();
                });
            }
        }
    }

    fn fill_queue(&mut self) {
        self.queue.clear();
        for index in 0..self.items.len() as u32 {
            if !self.busy.contains_key(&index) {
                self.enqueue(index);
            }
        }
    }

    /// Puts an item in its place, if it waits for anything.
    fn enqueue(&mut self, index: u32) {
        let Some(item) = self.items.get(index as usize) else {
            return;
        };
        let at = match item.state {
            ItemState::Obtaining => item.at_ms + self.settles_ms,
            _ => item.at_ms,
        };
        let waits = match self.record.status {
            JobStatus::Revoking => {
                let may_be_there = item.state == ItemState::Obtaining || !item.foreign.is_empty();
                may_be_there && item.state != ItemState::Revoked && !self.kept.contains(&index)
            }
            _ => matches!(
                item.state,
                ItemState::Pending | ItemState::Obtaining | ItemState::Obtained
            ),
        };
        if waits {
            self.queue.insert((at, index));
        }
    }

    fn change(&mut self, index: u32, change: impl FnOnce(&mut JobItem)) {
        self.count(index, false);
        if let Some(item) = self.items.get_mut(index as usize) {
            change(item);
            self.dirty.insert(index / CHUNK);
        }
        self.count(index, true);
    }

    /// Counts an item in, or out.
    fn count(&mut self, index: u32, is_in: bool) {
        let Some(item) = self.items.get(index as usize) else {
            return;
        };
        let add = |count: &mut u32| {
            *count = if is_in { *count + 1 } else { count.saturating_sub(1) };
        };
        match item.state {
            ItemState::Done => {
                add(&mut self.counts.done);
                if item.token.is_some() && self.record.spec.kind() != JobKind::Batch {
                    add(match item.is_new {
                        true => &mut self.counts.added,
                        false => &mut self.counts.existing,
                    });
                }
            }
            ItemState::Failed => {
                add(&mut self.counts.failed);
                let key = (item.step.unwrap_or(JobStep::Obtain), item.reason.clone());
                let items = self.reasons.entry(key.clone()).or_default();
                add(items);
                if *items == 0 {
                    self.reasons.remove(&key);
                }
            }
            ItemState::Skipped => add(&mut self.counts.skipped),
            ItemState::Revoked => add(&mut self.counts.revoked),
            ItemState::Pending | ItemState::Obtaining | ItemState::Obtained => {}
        }
    }

    /// Tokens that the job made and that a revocation takes out of the pool.
    pub fn token_of(&self, index: u32) -> Option<TokenId> {
        let item = self.item(index)?;
        item.token.filter(|_| item.is_new)
    }
}
