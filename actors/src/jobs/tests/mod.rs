mod nodes;
mod properties;
mod versions;

use grok2api_schemas::ids::JobId;
use grok2api_schemas::job::{
    ItemState, JobCounts, JobItem, JobRecord, JobSpec, JobStatus, JobStep, MintSpec, RotateSpec,
};

use super::run::{Done, Run, Task};
use super::source::{Admitted, Fault, FaultKind};

fn record(spec: JobSpec, total: u32) -> JobRecord {
    JobRecord {
        id: JobId::generate(),
        title: "a job".into(),
        spec,
        pool: None,
        status: JobStatus::Running,
        reason: String::new(),
        total,
        concurrency: 3,
        max_errors: 30.max(total * 5),
        max_runtime_ms: 0,
        verify: true,
        take_back: false,
        redo: 0,
        created_ms: 1,
        created_by: "admin".into(),
        running_since_ms: 1,
        ran_ms: 0,
        finished_ms: None,
        owner: None,
        owner_node: String::new(),
        epoch: 1,
        counts: JobCounts::default(),
    }
}

fn item(state: ItemState) -> JobItem {
    JobItem {
        state,
        epoch: 0,
        at_ms: 0,
        tries: 0,
        redo: 0,
        line: 1,
        name: "a-key".into(),
        foreign: String::new(),
        sealed: if state == ItemState::Obtained {
            vec![1]
        } else {
            Vec::new()
        },
        masked: String::new(),
        token: None,
        is_new: false,
        step: None,
        reason: String::new(),
    }
}

fn items(count: u32, state: ItemState) -> Vec<JobItem> {
    (0..count).map(|_| item(state)).collect()
}

fn mint() -> JobSpec {
    JobSpec::Mint(MintSpec::default())
}

fn supplied(index: u32) -> Done {
    Done::Supplied {
        sealed: vec![index as u8],
        masked: "xai-…".into(),
        foreign: format!("k{index}"),
    }
}

fn admitted(is_new: bool) -> Done {
    Done::Admitted(Admitted {
        token: grok2api_schemas::ids::TokenId::generate(),
        masked: "xai-…".into(),
        is_new,
        note: String::new(),
    })
}

#[test]
fn items_go_through_their_steps_and_the_job_ends() {
    let mut run = Run::of(record(mint(), 4), items(4, ItemState::Pending), 10_000);
    let turn = run.next(5);
    assert_eq!(turn.begin, [(0, Task::Obtain), (1, Task::Obtain), (2, Task::Obtain)]);
    // What begins is to be written before it does.
    let dirty = run.take_dirty();
    assert_eq!(dirty.len(), 1);
    assert_eq!(dirty[0].1[0].state, ItemState::Obtaining);
    assert_eq!((dirty[0].1[0].epoch, dirty[0].1[3].state), (1, ItemState::Pending));
    run.finish(0, Ok(supplied(0)), 6);
    assert_eq!(run.next(6).begin, [(0, Task::Admit)]);
    run.finish(0, Ok(admitted(true)), 7);
    assert!(run.item(0).unwrap().sealed.is_empty(), "no secret stays behind");
    assert_eq!(run.next(7).begin, [(3, Task::Obtain)]);
    for index in 1..4 {
        run.finish(index, Ok(supplied(index)), 8);
    }
    assert_eq!(run.next(8).begin.len(), 3);
    for index in 1..4 {
        run.finish(index, Ok(admitted(index != 1)), 9);
    }
    assert!(run.next(9).begin.is_empty());
    assert_eq!(run.verdict(), Some(&(JobStatus::Completed, String::new())));
    let counts = run.counts();
    assert_eq!((counts.done, counts.added, counts.existing), (4, 3, 1));
}

#[test]
fn a_failed_step_is_tried_again_later_and_given_up_in_the_end() {
    let mut run = Run::of(record(JobSpec::List, 1), items(1, ItemState::Obtained), 0);
    let again = |after| Fault::new(JobStep::Verify, FaultKind::Again(after), "the upstream is away");
    let mut now = 10;
    let mut waits = Vec::new();
    for _ in 0..5 {
        assert_eq!(run.next(now).begin, [(0, Task::Admit)]);
        run.finish(0, Err(again(None)), now);
        let turn = run.next(now);
        assert!(turn.begin.is_empty() && run.verdict().is_none());
        waits.push(turn.wake_at.unwrap() - now);
        now = turn.wake_at.unwrap();
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000]);
    run.next(now);
    run.finish(0, Err(again(None)), now);
    run.next(now);
    assert_eq!(run.verdict().unwrap().0, JobStatus::Completed);
    let counts = run.counts();
    assert_eq!((counts.failed, counts.errors), (1, 6));
    assert_eq!((counts.reasons[0].step, counts.reasons[0].items), (JobStep::Verify, 1));
    // An operator puts it back; errors begin anew.
    let mut record = run.record().clone();
    record.redo += 1;
    record.status = JobStatus::Running;
    record.counts.errors = 0;
    run.follow(record);
    assert_eq!(run.next(now).begin, [(0, Task::Admit)]);
    run.finish(0, Err(again(Some(90_000))), now);
    assert_eq!(
        run.next(now).wake_at,
        Some(now + 90_000),
        "what the other side asks for counts"
    );
    assert!(run.counts().reasons.is_empty());
}

#[test]
fn limits_end_a_job_with_their_reason_once_nothing_is_under_way() {
    let mut of_errors = record(JobSpec::List, 9);
    of_errors.max_errors = 2;
    let mut run = Run::of(of_errors, items(9, ItemState::Obtained), 0);
    run.next(10);
    for index in 0..2 {
        let fault = Fault::new(JobStep::Verify, FaultKind::Never, "refused");
        run.finish(index, Err(fault), 10);
    }
    assert!(run.next(10).begin.is_empty());
    assert_eq!(run.verdict(), None, "one is still under way");
    run.finish(2, Ok(admitted(true)), 11);
    assert_eq!(
        run.verdict(),
        Some(&(JobStatus::Failed, "Too many failures (2/2).".to_owned()))
    );

    let mut of_time = record(JobSpec::List, 9);
    (of_time.max_runtime_ms, of_time.ran_ms) = (120_000, 100_000);
    let mut run = Run::of(of_time, items(9, ItemState::Obtained), 0);
    let turn = run.next(10_000);
    assert_eq!(turn.wake_at, Some(20_001), "what it ran before a pause counts");
    for (index, _) in turn.begin {
        run.finish(index, Ok(admitted(true)), 11_000);
    }
    run.next(20_001);
    assert_eq!(run.verdict().unwrap().1, "Timeout after 2 minutes.");

    let mut run = Run::of(record(JobSpec::Provision, 9), items(9, ItemState::Pending), 0);
    run.next(10);
    let fault = Fault::new(JobStep::Obtain, FaultKind::Hopeless, "the signature is wrong");
    run.finish(0, Err(fault), 10);
    run.finish(1, Ok(supplied(1)), 10);
    run.finish(2, Ok(supplied(2)), 10);
    assert_eq!(
        run.verdict(),
        Some(&(JobStatus::Failed, "the signature is wrong".to_owned()))
    );
}

#[test]
fn a_source_that_runs_dry_ends_the_job_well() {
    let mut run = Run::of(record(JobSpec::Provision, 5), items(5, ItemState::Pending), 0);
    run.next(10);
    run.finish(0, Ok(supplied(0)), 10);
    run.finish(
        1,
        Err(Fault::new(JobStep::Obtain, FaultKind::Empty, "it has no more")),
        10,
    );
    run.finish(2, Ok(supplied(2)), 10);
    let turn = run.next(10);
    assert_eq!(turn.begin, [(0, Task::Admit), (2, Task::Admit)]);
    run.finish(0, Ok(admitted(true)), 10);
    run.finish(2, Ok(admitted(true)), 10);
    run.next(10);
    assert_eq!(
        run.verdict(),
        Some(&(JobStatus::Completed, "it has no more".to_owned()))
    );
    assert_eq!((run.counts().done, run.counts().skipped), (2, 3));
}

#[test]
fn a_stop_waits_for_what_is_under_way_and_takes_back_what_was_minted() {
    let mut run = Run::of(record(mint(), 6), items(6, ItemState::Pending), 5_000);
    run.next(10);
    run.finish(0, Ok(supplied(0)), 10);
    run.next(10);
    run.finish(0, Ok(admitted(true)), 11);
    run.finish(1, Err(Fault::new(JobStep::Obtain, FaultKind::Perhaps, "no answer")), 11);
    let mut stopped = run.record().clone();
    (stopped.status, stopped.take_back) = (JobStatus::Stopping, true);
    run.follow(stopped.clone());
    assert!(run.next(12).begin.is_empty());
    assert_eq!(run.verdict(), None);
    run.finish(2, Ok(supplied(2)), 13);
    run.next(13);
    assert_eq!(run.verdict().unwrap().0, JobStatus::Revoking);
    stopped.status = JobStatus::Revoking;
    run.follow(stopped);
    let turn = run.next(14);
    assert_eq!(turn.begin, [(0, Task::Revoke), (2, Task::Revoke)]);
    assert_eq!(
        turn.wake_at,
        Some(5_011),
        "what may have been minted is asked about when that is known"
    );
    assert!(run.token_of(0).is_some());
    run.finish(0, Ok(Done::TakenBack), 15);
    let fault = Fault::new(JobStep::Revoke, FaultKind::Never, "not allowed");
    run.finish(2, Err(fault), 15);
    assert_eq!(run.next(5_011).begin, [(1, Task::Recover)]);
    run.finish(1, Ok(supplied(1)), 5_012);
    assert_eq!(run.next(5_012).begin, [(1, Task::Revoke)]);
    run.finish(1, Ok(Done::TakenBack), 5_013);
    run.next(5_014);
    assert_eq!(
        run.verdict(),
        Some(&(JobStatus::Stopped, "1 could not be taken back".to_owned()))
    );
    assert_eq!(run.counts().revoked, 2);
}

#[test]
fn keys_that_are_revoked_or_rotated_go_their_way() {
    let mut keys = items(2, ItemState::Pending);
    keys[0].foreign = "k0".into();
    let mut run = Run::of(record(JobSpec::Revoke, 2), keys, 0);
    assert_eq!(run.next(1).begin, [(0, Task::Revoke), (1, Task::Revoke)]);
    run.finish(0, Ok(Done::TakenBack), 2);
    run.finish(1, Ok(Done::TakenBack), 2);
    run.next(2);
    assert_eq!((run.verdict().unwrap().0, run.counts().done), (JobStatus::Completed, 2));

    let mut run = Run::of(
        record(JobSpec::Rotate(RotateSpec::default()), 1),
        items(1, ItemState::Pending),
        0,
    );
    assert_eq!(run.next(1).begin, [(0, Task::Obtain)]);
}
