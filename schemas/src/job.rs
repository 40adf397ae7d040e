//! The stored form of a registration job: one record, and its items in chunks. Secrets are sealed in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, SessionId, TokenId};
use crate::token::PoolName;

/// Items of one chunk, which is one value of the store. With the longest secrets, notes and tags it stays below the
/// 1 MB that a value may have.
pub const CHUNK: u32 = 32;

/// Most items of a job.
pub const MOST_ITEMS: u32 = 50_000;

/// Most reasons that a job counts failures by; further ones count as the last.
pub const MOST_REASONS: usize = 20;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It is worked on, or waits for a node that does.
    Running,
    /// It waits for an operator.
    Paused,
    /// An operator stopped it: what is under way comes to its end.
    Stopping,
    /// What it minted is being taken back.
    Revoking,
    /// An operator stopped it.
    Stopped,
    /// Every item has come to its end, well or not.
    Completed,
    /// It was given up; the reason says why.
    Failed,
}

impl JobStatus {
    /// Every status.
    pub const ALL: [JobStatus; 7] = [
        JobStatus::Running,
        JobStatus::Paused,
        JobStatus::Stopping,
        JobStatus::Revoking,
        JobStatus::Stopped,
        JobStatus::Completed,
        JobStatus::Failed,
    ];

    /// The word in JSON and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Running => "running",
            JobStatus::Paused => "paused",
            JobStatus::Stopping => "stopping",
            JobStatus::Revoking => "revoking",
            JobStatus::Stopped => "stopped",
            JobStatus::Completed => "completed",
            JobStatus::Failed => "failed",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<JobStatus> {
        JobStatus::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether some node must work on it.
    pub fn needs_owner(self) -> bool {
        matches!(self, JobStatus::Running | JobStatus::Stopping | JobStatus::Revoking)
    }

    /// Whether it has come to an end.
    pub fn is_over(self) -> bool {
        matches!(self, JobStatus::Stopped | JobStatus::Completed | JobStatus::Failed)
    }
}

/// What is done to one item, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStep {
    /// The credential is had from its source.
    Obtain,
    /// What was had is made a credential of a pool.
    Normalise,
    /// A new key is waited for until every cluster of the upstream knows it.
    Propagate,
    /// The upstream is asked whether it accepts it.
    Verify,
    /// It becomes a token of the pool.
    Enrol,
    /// It is taken back at the upstream.
    Revoke,
    /// What the job does to tokens of the pool is done to it.
    Apply,
}

/// What is done to tokens of the pool, many at once. Doing it twice is as doing it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenAction {
    /// The upstream is asked about them with free calls.
    Refresh,
    /// Rests that an operator may end are ended.
    ClearCooling,
    /// They are switched on.
    Enable,
    /// They are switched off.
    Disable,
    /// They are deleted.
    Delete,
}

/// How an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Nothing was done yet.
    Pending,
    /// Its source is being asked. Written before the call, so that whoever continues knows that it may have happened.
    Obtaining,
    /// It is here, sealed, and not in the pool yet.
    Obtained,
    /// It is in the pool.
    Done,
    /// It was given up.
    Failed,
    /// It was left out: the job was stopped, or its source has no more.
    Skipped,
    /// It was taken back at the upstream.
    Revoked,
}

/// One credential on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobItem {
    /// How it stands.
    pub state: ItemState,
    /// Who began to obtain it: the owner's epoch.
    pub epoch: u32,
    /// When that was, or when it is tried again, Unix milliseconds.
    pub at_ms: u64,
    /// Tries of the present step that failed.
    pub tries: u16,
    /// How often failed items had been retried when this one failed.
    pub redo: u32,
    /// Line of the text that it came from, or its number from 1.
    pub line: u64,
    /// What its source calls it: the name of a minted key.
    pub name: String,
    /// What its source knows it by: the id of a key of the Management API.
    pub foreign: String,
    /// The credential with what goes with it, sealed; empty where there is none.
    pub sealed: Vec<u8>,
    /// The credential's masked form; empty until it is known.
    pub masked: String,
    /// Who it is in the pool; of a batch from the start.
    pub token: Option<TokenId>,
    /// Whether it was new there.
    pub is_new: bool,
    /// Where it failed last.
    pub step: Option<JobStep>,
    /// Why.
    pub reason: String,
}

/// Some items of a job, as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobChunk {
    /// At most [`CHUNK`].
    pub items: Vec<JobItem>,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobSpec {
    /// Credentials that were pasted or uploaded.
    List,
    /// New keys of a team, through the Management API.
    Mint(MintSpec),
    /// New secrets for keys of a team; the old ones go on for a while.
    Rotate(RotateSpec),
    /// Keys of a team are deleted at the upstream.
    Revoke,
    /// Credentials of a service that the operator runs.
    Provision,
    /// Something is done to tokens of the pool.
    Batch(TokenAction),
}

impl JobSpec {
    /// The word in JSON.
    pub fn kind(&self) -> JobKind {
        match self {
            JobSpec::List => JobKind::List,
            JobSpec::Mint(_) => JobKind::Mint,
            JobSpec::Rotate(_) => JobKind::Rotate,
            JobSpec::Revoke => JobKind::Revoke,
            JobSpec::Provision => JobKind::Provision,
            JobSpec::Batch(_) => JobKind::Batch,
        }
    }
}

/// See [`JobSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Credentials that were pasted or uploaded.
    List,
    /// New keys of a team, through the Management API.
    Mint,
    /// New secrets for keys of a team; the old ones go on for a while.
    Rotate,
    /// Keys of a team are deleted at the upstream.
    Revoke,
    /// Credentials of a service that the operator runs.
    Provision,
    /// Something is done to tokens of the pool.
    Batch,
}

/// What new keys may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintSpec {
    /// The team.
    pub team: String,
    /// Access list.
    pub acls: Vec<String>,
    /// Requests a second.
    pub qps: Option<u32>,
    /// Requests a minute.
    pub qpm: Option<u32>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// When they expire, as the Management API takes it.
    pub expire_time: Option<String>,
}

/// How keys get new secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateSpec {
    /// How long the old secrets go on, milliseconds.
    pub overlap_ms: u64,
    /// When the new ones expire, as the Management API takes it.
    pub expire_time: Option<String>,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobCounts {
    /// Items that are in the pool, or done as the job wants them.
    pub done: u32,
    /// Of them new in the pool.
    pub added: u32,
    /// Of them in the pool before.
    pub existing: u32,
    /// Items that were given up.
    pub failed: u32,
    /// Items left out.
    pub skipped: u32,
    /// Items taken back.
    pub revoked: u32,
    /// Tries that failed, those that were repeated included.
    pub errors: u32,
    /// Failed items by step and reason, the most frequent first.
    pub reasons: Vec<JobReason>,
}

/// Failed items of one step and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobReason {
    /// Where.
    pub step: JobStep,
    /// Why.
    pub reason: String,
    /// How many.
    pub items: u32,
}

/// A registration job. Its items are stored apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Which.
    pub id: JobId,
    /// What the operator calls it.
    pub title: String,
    /// What it does.
    pub spec: JobSpec,
    /// The pool of credentials that do not say.
    pub pool: Option<PoolName>,
    /// How it stands.
    pub status: JobStatus,
    /// Why it stands so, where there is something to say.
    pub reason: String,
    /// How many items it has.
    pub total: u32,
    /// Items that are worked on at a time.
    pub concurrency: u32,
    /// Failed tries after which it is given up.
    pub max_errors: u32,
    /// How long it may run, milliseconds; 0 = without end.
    pub max_runtime_ms: u64,
    /// Whether the upstream is asked before a credential is enrolled.
    pub verify: bool,
    /// Whether a stop takes back what was minted.
    pub take_back: bool,
    /// How often failed items were put back.
    pub redo: u32,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// By whom.
    pub created_by: String,
    /// Since when it runs without a pause, Unix milliseconds; 0 while it does not.
    pub running_since_ms: u64,
    /// How long it ran before that, milliseconds.
    pub ran_ms: u64,
    /// When it ended, Unix milliseconds.
    pub finished_ms: Option<u64>,
    /// The node that works on it.
    pub owner: Option<SessionId>,
    /// That node's name.
    pub owner_node: String,
    /// Grows with every owner.
    pub epoch: u32,
    /// How far it is.
    pub counts: JobCounts,
}
