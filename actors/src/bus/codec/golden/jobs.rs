//! Jobs: their records and items.

use grok2api_schemas::ids::JobId;
use grok2api_schemas::job::{
    ItemState, JobChunk, JobCounts, JobItem, JobReason, JobRecord, JobSpec, JobStatus, JobStep, MintSpec, RotateSpec,
    TokenAction,
};

use super::*;

fn job(spec: JobSpec) -> JobRecord {
    JobRecord {
        id: JobId::from_bytes([9; 16]),
        title: "a job".into(),
        spec,
        pool: Some(PoolName::ApiKey),
        status: JobStatus::Running,
        reason: String::new(),
        total: 500,
        concurrency: 4,
        max_errors: 2_500,
        max_runtime_ms: 60_000,
        verify: true,
        take_back: false,
        redo: 1,
        created_ms: 1_700_000_000_000,
        created_by: "admin".into(),
        running_since_ms: 1_700_000_000_001,
        ran_ms: 7,
        finished_ms: None,
        owner: Some(session(7)),
        owner_node: "node-a".into(),
        epoch: 2,
        counts: JobCounts {
            done: 300,
            failed: 1,
            errors: 3,
            reasons: vec![JobReason {
                step: JobStep::Verify,
                reason: "blocked".into(),
                items: 1,
            }],
            ..JobCounts::default()
        },
    }
}

fn item(state: ItemState) -> JobItem {
    JobItem {
        state,
        epoch: 2,
        at_ms: 1_700_000_000_000,
        tries: 1,
        redo: 0,
        line: 33,
        name: "pool-1".into(),
        foreign: "key_1".into(),
        sealed: vec![1, 2, 3],
        masked: "xai-ab…wxyz".into(),
        token: Some(TokenId::from_bytes([1; 16])),
        is_new: true,
        step: Some(JobStep::Propagate),
        reason: String::new(),
    }
}

pub(super) fn check(golden: &mut Golden) {
    golden.same("job-list", &job(JobSpec::List));
    let mint = MintSpec {
        team: "team-1".into(),
        acls: vec!["api-key:model:*".into()],
        qps: None,
        qpm: Some(60),
        tpm: Some(5_000),
        expire_time: None,
    };
    golden.same("job-mint", &job(JobSpec::Mint(mint)));
    let rotate = RotateSpec {
        overlap_ms: 3_600_000,
        expire_time: None,
    };
    golden.same("job-rotate", &job(JobSpec::Rotate(rotate)));
    golden.same("job-revoke", &job(JobSpec::Revoke));
    golden.same("job-provision", &job(JobSpec::Provision));
    // Under a key of their own (`jobs::shelf`): builds from before cannot read the kind.
    golden.same("job-batch", &job(JobSpec::Batch(TokenAction::Delete)));
    let items = vec![item(ItemState::Obtaining), item(ItemState::Done)];
    golden.same("job-items", &JobChunk { items });
}
