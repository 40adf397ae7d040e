//! Registration jobs as the admin doors take and show them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, TokenId};
use crate::job::{ItemState, JobCounts, JobKind, JobStatus, JobStep, TokenAction};
use crate::token::PoolName;

/// A job to start: one of `list`, `mint`, `rotate`, `revoke`, `provision` and `batch` says what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobStartAsk {
    /// What to call it; not sent = by what it does.
    pub title: Option<String>,
    /// Credentials in a text.
    pub list: Option<ListAsk>,
    /// New keys of your team, through the Management API (xai.management_key).
    pub mint: Option<MintAsk>,
    /// New secrets for keys of your team; the old ones go on for a while.
    pub rotate: Option<RotateAsk>,
    /// Keys of your team that are deleted at the upstream.
    pub revoke: Option<KeysAsk>,
    /// Credentials of a service that you run (jobs.provisioner_url).
    pub provision: Option<ProvisionAsk>,
    /// Something that is done to tokens of the pool.
    pub batch: Option<BatchAsk>,
    /// The pool of credentials that do not say; not sent = as they look.
    pub pool: Option<PoolName>,
    /// Items that are worked on at a time; not sent = register.register_threads.
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<u32>,
    /// Failed tries after which it is given up; not sent = register.max_errors.
    pub max_errors: Option<u32>,
    /// How long it may run, in minutes, 0 = without end; not sent = register.max_runtime_minutes.
    pub max_runtime_minutes: Option<u32>,
    /// Whether the upstream is asked before a credential is enrolled; not sent = yes.
    pub verify: Option<bool>,
}

/// Credentials in a text. Holds secrets: it is neither printed nor written.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAsk {
    /// One credential or JSON object a line, CSV with a header line, a JSON list, or an export of the older project.
    pub lines: String,
}

impl fmt::Debug for ListAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListAsk").field("bytes", &self.lines.len()).finish()
    }
}

/// New keys of a team.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MintAsk {
    /// How many; not sent = register.default_count.
    pub count: Option<u32>,
    /// Their names: `{n}` stands for the number from 1. Not sent = `grok2api-{n}`. The job's own mark is put behind it.
    pub name: Option<String>,
    /// The team; not sent = the one that the management key belongs to.
    pub team: Option<String>,
    /// Access list; not sent = every endpoint and model. A key without one can do nothing.
    pub acls: Option<Vec<String>>,
    /// Requests a second.
    pub qps: Option<u32>,
    /// Requests a minute.
    pub qpm: Option<u32>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// When they expire, such as `2027-01-01T00:00:00Z`.
    pub expire_time: Option<String>,
}

/// Keys of a team that get new secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RotateAsk {
    /// The team; not sent = the one that the management key belongs to.
    pub team: Option<String>,
    /// Ids of the Management API.
    pub keys: Vec<String>,
    /// Or every active key whose name begins with this.
    pub named: Option<String>,
    /// How long the old secrets go on, in hours, at most 168; not sent = 24.
    pub overlap_hours: Option<u32>,
    /// When the new ones expire, such as `2027-01-01T00:00:00Z`.
    pub expire_time: Option<String>,
}

/// Keys of a team.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeysAsk {
    /// The team; not sent = the one that the management key belongs to.
    pub team: Option<String>,
    /// Ids of the Management API.
    pub keys: Vec<String>,
    /// Or every active key whose name begins with this.
    pub named: Option<String>,
}

/// Credentials of a provisioner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisionAsk {
    /// How many; not sent = register.default_count.
    pub count: Option<u32>,
}

/// What is done to tokens of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchAsk {
    /// What.
    pub action: TokenAction,
    /// Which tokens, each once: 1 to 50,000.
    pub ids: Vec<TokenId>,
}

/// Which jobs to list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobListAsk {
    /// That stand so; empty = any.
    pub statuses: Vec<JobStatus>,
    /// `next_cursor` of the page before.
    pub cursor: Option<JobId>,
    /// Rows of a page, 1 to 1,000; not sent = 50.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
}

/// One job with some of its items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobGetAsk {
    /// Which.
    pub id: JobId,
    /// Only items that stand so; empty = any.
    #[serde(default)]
    pub states: Vec<ItemState>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<u32>,
    /// Items, 0 to 1,000; not sent = 50.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub limit: Option<u64>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobAsk {
    /// Which.
    pub id: JobId,
}

/// A job that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobResumeAsk {
    /// Which.
    pub id: JobId,
    /// Try items that failed once more.
    #[serde(default)]
    pub failed: bool,
}

/// A job that is to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobStopAsk {
    /// Which.
    pub id: JobId,
    /// Delete at the upstream, and in the pool, what it minted. Also for a job that has ended.
    #[serde(default)]
    pub revoke: bool,
}

/// A job as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// Which.
    pub id: JobId,
    /// What the operator calls it.
    pub title: String,
    /// What it does.
    pub kind: JobKind,
    /// What is done to tokens, where that is what it does.
    pub action: Option<TokenAction>,
    /// The pool of credentials that do not say.
    pub pool: Option<PoolName>,
    /// How it stands.
    pub status: JobStatus,
    /// Why it stands so; may be empty.
    pub reason: String,
    /// How many items it has.
    pub total: u32,
    /// How far it is.
    pub counts: JobCounts,
    /// Items that are worked on at a time.
    pub concurrency: u32,
    /// Failed tries after which it is given up.
    pub max_errors: u32,
    /// How long it may run, milliseconds; 0 = without end.
    pub max_runtime_ms: u64,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// By whom.
    pub created_by: String,
    /// How long it has run, milliseconds.
    pub ran_ms: u64,
    /// When it ended, Unix milliseconds.
    pub finished_ms: Option<u64>,
    /// The node that works on it; empty while none does, and alone.
    pub node: String,
    /// How many owners it has had.
    pub epoch: u32,
    /// Whether it minted keys that a stop with `revoke` takes back.
    pub can_revoke: bool,
}

/// One item of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobItemView {
    /// Its place, from 0.
    pub index: u32,
    /// Line of the text that it came from, or its number from 1.
    pub line: u64,
    /// How it stands.
    pub state: ItemState,
    /// What its source calls it; may be empty.
    pub name: String,
    /// The credential's masked form; may be empty.
    pub token: String,
    /// Who it is in the pool.
    pub token_id: Option<TokenId>,
    /// Whether it was new there.
    pub is_new: bool,
    /// Where it failed last.
    pub step: Option<JobStep>,
    /// Why; may be empty.
    pub reason: String,
    /// Tries of the present step that failed.
    pub tries: u16,
}

/// A page of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobPage {
    /// Newest first.
    pub items: Vec<JobView>,
    /// For older ones; `null` = there are none.
    pub next_cursor: Option<JobId>,
    /// Jobs that match, over all pages.
    pub total: u64,
}

/// A job with some of its items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobDetail {
    /// The job.
    pub job: JobView,
    /// Its items, in order.
    pub items: Vec<JobItemView>,
    /// For further ones; `null` = there are none. A page can be short and have a cursor: a search looks at a bounded number
    /// of items at a time.
    pub next_cursor: Option<u32>,
}
