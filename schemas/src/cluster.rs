//! What nodes of a cluster say to each other about themselves, and how a holder reaches an owner on another node. Lengths
//! are in milliseconds, dates in Unix milliseconds of the node that speaks.

use serde::{Deserialize, Serialize};

use crate::ids::SessionId;
use crate::ledger::{OwnerReply, OwnerRequest};
use crate::meter::Meter;

/// A node says that it lives. Published every second, and at once when something in it changed that others act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// This life of the process. Two nodes of one name are two sessions.
    pub session: SessionId,
    /// The node's name: a label.
    pub node: String,
    /// Grows with every beat of the session: a late one undoes nothing.
    pub number: u64,
    /// The program's version.
    pub version: String,
    /// Where other nodes reach it over HTTP; empty if nowhere.
    pub advertise_url: String,
    /// Its wall clock.
    pub wall_ms: u64,
    /// When the process started.
    pub started_ms: u64,
    /// Whether it may own shards: its clock agrees with its peers', and it is not on its way out.
    pub may_own: bool,
    /// It hands over what it has and takes nothing new.
    pub draining: bool,
    /// This is its last word.
    pub leaving: bool,
    /// Shards that it decides for.
    pub shards: Vec<ShardClaim>,
    /// What it is busy with.
    pub load: NodeLoad,
}

/// A shard that a node decides for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardClaim {
    /// Which.
    pub shard: u16,
    /// The sequence of its takeover.
    pub epoch: u64,
    /// Grants that are not settled.
    pub grants: u32,
    /// Units granted and not settled.
    pub outstanding: u64,
    /// Meters that something is known of.
    pub meters: u32,
}

/// What a node is busy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Requests of clients under way.
    pub in_flight: u32,
    /// Meters that the node has used.
    pub meters: u32,
}

/// What one node asks of another, at the other's session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NodeRequest {
    /// Asks and settlements of a holder, shard by shard.
    Exchange(Vec<ShardRequest>),
    /// The asker is to own this shard: write what is pending and let go of it.
    Yield {
        /// Which.
        shard: u16,
    },
    /// Hand everything over and end.
    Drain,
    /// Give back what is not needed of these meters: another node starves.
    Recall {
        /// Which.
        meters: Vec<Meter>,
    },
    /// What is known of the meters of these client keys. Nodes of an older program do not understand it, and do not answer.
    KeyUsage(Vec<String>),
    /// What is known of these meters, answered as [`NodeReply::KeyUsage`]. Older nodes do not answer.
    Usage(Vec<Meter>),
}

/// A holder's request to the owner of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardRequest {
    /// Which shard.
    pub shard: u16,
    /// Whether somebody waits for the answer.
    pub urgent: bool,
    /// What is asked and told.
    pub request: OwnerRequest,
}

/// What a node answers to a [`NodeRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NodeReply {
    /// To an exchange: one part per shard, in the order of the request.
    Exchange(Vec<ShardReply>),
    /// Done, or under way.
    Done,
    /// Every meter of those keys that this node decides for or has units of.
    KeyUsage(Vec<MeterUsage>),
}

/// What one node knows of a meter's use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterUsage {
    /// Which.
    pub meter: Meter,
    /// Charged and granted, as its owner has it; `None` where another node decides.
    pub counted: Option<u64>,
    /// Of that, units in this node's hand: granted, and not used yet.
    pub in_hand: u64,
}

/// What the owner of a shard answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ShardReply {
    /// It decided.
    Answered {
        /// In this epoch: an answer of an older one than the shard's present owner has says nothing.
        epoch: u64,
        /// What.
        reply: OwnerReply,
    },
    /// It does not decide for this shard (any more). Nothing came of the request.
    NotMine,
}
