//! What watchers hear of client keys, jobs and the configuration: JSON, published when the change is durable. Nodes do not depend
//! on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, KeyId};
use crate::job::{JobCounts, JobStatus};

/// What happened to a client key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyHappening {
    /// It was made.
    Created,
    /// It was changed.
    Updated,
    /// It got a new secret.
    Rotated,
    /// It was deleted.
    Deleted,
}

/// A client key changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyEvent {
    /// What happened.
    pub event: KeyHappening,
    /// Which.
    pub id: KeyId,
    /// The operator's name for it.
    pub name: String,
    /// The version of its record; grows with every change.
    pub version: u64,
}

/// The configuration that the nodes share changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigEvent {
    /// Its new revision, as `config.get` shows it.
    pub revision: String,
    /// Keys whose value changed, such as `clients.max_wait_ms`. Values are not told: some are secrets.
    pub keys: Vec<String>,
    /// The administrator who changed it.
    pub changed_by: String,
    /// The node that he did it on.
    pub node: String,
}

/// A registration job went on: at most twice a second, and whenever its status changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobEvent {
    /// Which.
    pub id: JobId,
    /// How it stands.
    pub status: JobStatus,
    /// Why it stands so; may be empty.
    pub reason: String,
    /// How many items it has.
    pub total: u32,
    /// How far it is.
    pub counts: JobCounts,
    /// The node that works on it; empty alone.
    pub node: String,
    /// How many owners it has had.
    pub epoch: u32,
}
