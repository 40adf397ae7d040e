//! What is told the moment a shared record changes. The watch of its bucket says the same, later and surely.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::admin::requests::RequestRecord;
use crate::admin::rollups::RollupRow;
use crate::ids::{SessionId, TokenId};

/// A row of a bucket changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowChanged {
    /// The row's key.
    pub key: Vec<u8>,
    /// Its new value as it is stored; `None` = deleted.
    pub value: Option<Vec<u8>>,
    /// The value's revision; of a deleted row the last one that it had.
    pub revision: u64,
}

/// The shared configuration changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChanged {
    /// Its new revision.
    pub revision: u64,
}

/// The configuration that nodes share, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedConfig {
    /// When it was changed, Unix milliseconds.
    pub changed_ms: u64,
    /// Who changed it; empty for the first node's file.
    pub changed_by: String,
    /// The values that are set, as JSON (section → key → value), sealed: passwords are among them.
    pub sealed: Vec<u8>,
}

/// Requests that a node answered: many records a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldRecords {
    /// The log that they were written to first.
    pub writer: SessionId,
    /// The life of the node that tells.
    pub session: SessionId,
    /// Grows with every message of that life: one that comes twice is known by it.
    pub number: u64,
    /// The records.
    pub records: Vec<Arc<RequestRecord>>,
}

/// A node that was not there asks another for the sums of hours that are over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumsAsked {
    /// From this hour since 1970.
    pub from_hour: u64,
    /// To before this one.
    pub until_hour: u64,
    /// Where the answer before ended; empty at first.
    pub after: Vec<u8>,
}

/// Some of these sums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumsTold {
    /// Rows, in the order of their keys.
    pub rows: Vec<RollupRow>,
    /// Where they end; empty = there are no more.
    pub next: Vec<u8>,
    /// Whether the node that tells still lacks hours itself.
    pub is_partial: bool,
}

/// Somebody tries to log in as an administrator, or has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginTried {
    /// Stands for the node that tells.
    pub teller: SessionId,
    /// The client's network.
    pub network: IpAddr,
    /// A hash of the account's name.
    pub account: u64,
    /// Told a second time: it was the right password.
    pub succeeded: bool,
}

/// What became of conversations on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationsTold {
    /// The node that tells.
    pub teller: SessionId,
    /// Conversations that it bound, to which token, and when, Unix milliseconds.
    pub bound: Vec<(u64, TokenId, u64)>,
    /// Bindings that an operator cleared.
    pub cleared: Option<ConversationsCleared>,
}

/// Bindings that an operator cleared: those made until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationsCleared {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Which.
    pub which: WhichConversations,
}

/// Some conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhichConversations {
    /// Every one.
    All,
    /// Those bound to a token.
    Of(TokenId),
    /// These.
    These(Vec<u64>),
}

/// Models that the upstream lists, with their aliases, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedModels {
    /// By id.
    pub models: Vec<(String, Vec<String>)>,
}
