//! What becomes of an item when a task of it has ended, well or not.

use grok2api_schemas::job::{ItemState, JobItem, JobKind, JobStatus};

use super::{Done, Run, Task};
use crate::jobs::source::{Fault, FaultKind};

/// A step that failed this often is given up.
const MOST_TRIES: u16 = 6;
/// The wait after the first failure; doubles with every further one.
const FIRST_BACKOFF_MS: u64 = 1_000;
/// The longest wait, whatever the other side asks for.
const LONGEST_BACKOFF_MS: u64 = 300_000;
/// A key that is not known everywhere after so many looks is given up.
const MOST_WAITS: u16 = 120;
/// Longest reason, characters.
const LONGEST_REASON: usize = 300;

impl Run {
    /// Tells how a task went.
    pub fn finish(&mut self, index: u32, outcome: Result<Done, Fault>, now: u64) {
        let Some(task) = self.busy.remove(&index) else { return };
        match outcome {
            Ok(done) => self.went_well(index, done),
            Err(fault) => self.went_wrong(index, task, fault, now),
        }
    }

    fn went_well(&mut self, index: u32, done: Done) {
        let is_revoking = self.record.spec.kind() == JobKind::Revoke;
        match done {
            Done::Supplied {
                sealed,
                masked,
                foreign,
            } => self.change(index, |item| {
                item.state = ItemState::Obtained;
                item.sealed = sealed;
                item.masked = masked;
                if !foreign.is_empty() {
                    item.foreign = foreign;
                }
                item.begin_step();
            }),
            Done::NotBegun => self.change(index, |item| {
                item.state = ItemState::Pending;
                item.begin_step();
            }),
            Done::Admitted(admitted) => self.change(index, |item| {
                item.state = ItemState::Done;
                item.token = Some(admitted.token);
                item.masked = admitted.masked;
                item.is_new = admitted.is_new;
                // It is kept in the pool from now on, and nowhere else.
                item.sealed = Vec::new();
                item.begin_step();
                item.reason = cut(&admitted.note);
            }),
            Done::Applied(note) => self.change(index, |item| {
                item.state = ItemState::Done;
                item.begin_step();
                item.reason = cut(&note);
            }),
            Done::TakenBack => self.change(index, |item| {
                item.state = if is_revoking {
                    ItemState::Done
                } else {
                    ItemState::Revoked
                };
                item.sealed = Vec::new();
                item.begin_step();
            }),
        }
        self.enqueue(index);
    }

    fn went_wrong(&mut self, index: u32, task: Task, fault: Fault, now: u64) {
        let Fault { step, reason, kind } = fault;
        let reason = cut(&reason);
        let tries = self.item(index).map_or(0, |item| item.tries).saturating_add(1);
        let again_at = now + backoff_ms(tries, index, None);
        match kind {
            FaultKind::Wait(after_ms) if tries < MOST_WAITS => self.change(index, |item| {
                item.at_ms = now + after_ms.min(LONGEST_BACKOFF_MS);
                item.tries = tries;
                item.step = Some(step);
                item.reason = reason;
            }),
            FaultKind::Perhaps if task == Task::Obtain => {
                self.counts.errors = self.counts.errors.saturating_add(1);
                // It stays `Obtaining`, and is nobody's: what became of it is found out when that can be known.
                self.change(index, |item| {
                    item.epoch = 0;
                    item.at_ms = now;
                    item.step = Some(step);
                    item.reason = reason;
                });
            }
            FaultKind::Again(_) | FaultKind::Perhaps if tries < MOST_TRIES => {
                self.counts.errors = self.counts.errors.saturating_add(1);
                let again_at = match kind {
                    FaultKind::Again(asked) => now + backoff_ms(tries, index, asked),
                    _ => again_at,
                };
                self.change(index, |item| {
                    if task == Task::Obtain {
                        item.state = ItemState::Pending;
                    }
                    item.at_ms = again_at;
                    item.tries = tries;
                    item.step = Some(step);
                    item.reason = reason;
                });
            }
            FaultKind::Empty => {
                self.change(index, |item| item.state = ItemState::Pending);
                self.skip_pending(&reason);
                self.note = reason;
                return;
            }
            FaultKind::Hopeless => {
                self.counts.errors = self.counts.errors.saturating_add(1);
                self.change(index, |item| {
                    if task == Task::Obtain {
                        item.state = ItemState::Pending;
                    }
                    item.step = Some(step);
                    item.reason.clone_from(&reason);
                });
                self.verdict = Some((JobStatus::Failed, reason));
            }
            _ => {
                self.counts.errors = self.counts.errors.saturating_add(1);
                if self.record.status == JobStatus::Revoking {
                    self.kept.insert(index);
                    self.change(index, |item| {
                        item.step = Some(step);
                        item.reason = reason;
                    });
                    return;
                }
                let redo = self.record.redo;
                self.change(index, |item| {
                    item.state = ItemState::Failed;
                    item.redo = redo;
                    item.tries = tries;
                    item.step = Some(step);
                    item.reason = reason;
                });
            }
        }
        self.enqueue(index);
    }

    /// Leaves out what was not begun.
    fn skip_pending(&mut self, reason: &str) {
        for index in 0..self.items.len() as u32 {
            if self.item(index).is_some_and(|item| item.state == ItemState::Pending) {
                self.change(index, |item| {
                    item.state = ItemState::Skipped;
                    reason.clone_into(&mut item.reason);
                });
            }
        }
        self.fill_queue();
    }
}

/// What a step leaves behind when the next begins.
pub(super) trait BeginStep {
    fn begin_step(&mut self);
}

impl BeginStep for JobItem {
    fn begin_step(&mut self) {
        self.at_ms = 0;
        self.tries = 0;
        self.step = None;
        self.reason = String::new();
    }
}

/// Doubling, apart from each other by the item's place, and at least what the other side asks for.
fn backoff_ms(tries: u16, index: u32, asked: Option<u64>) -> u64 {
    let doubled = FIRST_BACKOFF_MS << tries.saturating_sub(1).min(10);
    let spread = u64::from(index.wrapping_mul(2_654_435_761) % 500);
    (doubled + spread).max(asked.unwrap_or(0)).min(LONGEST_BACKOFF_MS)
}

fn cut(reason: &str) -> String {
    reason.chars().take(LONGEST_REASON).collect()
}
