//! The cluster as an operator sees it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `GET /cluster` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// Every node that was heard of lately, this one included, by name.
    pub nodes: Vec<NodeView>,
    /// Every shard.
    pub shards: Vec<ShardView>,
    /// What the nodes speak over.
    pub bus: BusView,
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It takes part.
    Live,
    /// It hands over what it has.
    Draining,
    /// Its clock disagrees with its peers', so it owns nothing.
    ClockOff,
    /// It has not been heard for three beats.
    Silent,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Its name; two nodes may have the same.
    pub node: String,
    /// This life of it.
    pub session: String,
    /// Whether it is the node that answers.
    pub is_self: bool,
    /// How it is.
    pub state: NodeState,
    /// The program's version.
    pub version: String,
    /// Where other nodes reach it; empty if nowhere.
    pub advertise_url: String,
    /// When it started, Unix milliseconds.
    pub started_ms: u64,
    /// How long ago it was last heard, milliseconds.
    pub heard_ms_ago: u64,
    /// How far its clock is ahead of the answering node's, milliseconds.
    pub clock_ahead_ms: i64,
    /// Shards that it decides for.
    pub shards: Vec<u16>,
    /// Requests of clients under way.
    pub in_flight: u32,
    /// Meters that it has used.
    pub meters: u32,
}

/// One shard of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShardView {
    /// Which.
    pub shard: u16,
    /// The session that decides for it; `null` while nobody does.
    pub owner: Option<String>,
    /// That session's node.
    pub node: Option<String>,
    /// The session that should; differs from `owner` during a hand-over.
    pub named: Option<String>,
    /// The journal sequence of the owner's takeover.
    pub epoch: Option<u64>,
    /// Grants that are not settled.
    pub grants: u32,
    /// Units granted and not settled.
    pub outstanding: u64,
    /// Meters that something is known of.
    pub meters: u32,
}

/// What the nodes speak over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BusView {
    /// `local` or `nats`.
    pub kind: String,
    /// Whether this node hears itself over it.
    pub connected: bool,
    /// From this node's last beat to its hearing it, microseconds; `null` before the first.
    pub latency_us: Option<u64>,
    /// Since this node last heard itself, milliseconds: more than a second means that the bus lags or is away.
    pub lag_ms: u64,
    /// Requests to owners on other nodes since the start.
    pub requests: u64,
    /// Of those, without an answer.
    pub requests_lost: u64,
    /// Settlements that no owner has acknowledged yet.
    pub spooled: u64,
}

/// What `POST /cluster/drain` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// A node's name or session. Not set: the node that answers.
    #[serde(default)]
    pub node: Option<String>,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainAnswer {
    /// The node that hands over and ends.
    pub node: String,
    /// Its session.
    pub session: String,
}
