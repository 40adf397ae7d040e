//! Who did what as an administrator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::accounts::Role;
use crate::ids::AuditId;

/// One field that changed. Secrets stand masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditChange {
    /// Which.
    pub field: String,
    /// What it was; at most 300 characters.
    pub before: String,
    /// What it is; at most 300 characters.
    pub after: String,
}

/// One action. Stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// Which; ids order actions by time.
    pub id: AuditId,
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// On which node; empty alone.
    pub node: String,
    /// The account.
    pub who: String,
    /// What it may do.
    pub role: Role,
    /// The address that it came from; empty for NATS.
    pub from: String,
    /// Such as `tokens.delete`.
    pub action: String,
    /// On what: at most 20 ids.
    pub ids: Vec<String>,
    /// How many ids there were.
    pub count: u64,
    /// More of it; may be empty.
    pub details: String,
    /// What it changed.
    pub changes: Vec<AuditChange>,
}

/// Which actions, newest first. Filters add up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditListAsk {
    /// Of this account.
    pub who: Option<String>,
    /// Whose name begins so: `tokens`, `keys.create`.
    pub action: Option<String>,
    /// Whose account, ids, details or changes contain this, whatever the case.
    pub text: Option<String>,
    /// Done then or later, Unix milliseconds.
    pub since_ms: Option<u64>,
    /// Done before, Unix milliseconds.
    pub until_ms: Option<u64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<AuditId>,
    /// Rows of a page, 1 to 1,000; not sent = 50.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
}

/// A page of actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPage {
    /// Newest first.
    pub items: Vec<AuditRecord>,
    /// For older ones; `null` = there are none.
    pub next_cursor: Option<AuditId>,
    /// Actions that match, over all pages.
    pub total: u64,
}
