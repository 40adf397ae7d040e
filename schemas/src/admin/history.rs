//! What happened to a credential, as nodes remember it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::TokenId;
use crate::token::{CoolingCause, TokenState};
use crate::token_event::{EventScope, TokenHappening};

/// Whose history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenHistoryAsk {
    /// Which credential.
    pub id: TokenId,
}

/// One change of a credential, or of its whole team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenChange {
    /// When it was heard of, Unix milliseconds.
    pub time_ms: u64,
    /// What happened.
    pub event: TokenHappening,
    /// What the credential could do then. Of a change of the team: what another credential of it could.
    pub state: TokenState,
    /// Whom a rest concerned.
    pub scope: Option<EventScope>,
    /// The model, where it was for one.
    pub model: Option<String>,
    /// Why it rested.
    pub cause: Option<CoolingCause>,
    /// The upstream's words.
    pub detail: Option<String>,
    /// When the rest was to end, Unix milliseconds; `null` = until cleared, funded or replaced, or it was no rest.
    pub until_ms: Option<u64>,
    /// The node that saw it; empty alone.
    pub node: String,
    /// The version of the record it made.
    pub version: u64,
    /// Rests cleared before, of its scope.
    pub epoch: u32,
}

impl TokenChange {
    /// What tells one change from another, whichever node remembers it.
    pub fn mark(&self) -> impl Eq + std::hash::Hash + '_ {
        (
            self.event,
            self.scope,
            self.version,
            self.epoch,
            self.model.as_deref(),
            self.until_ms,
        )
    }
}

/// What happened to a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenHistoryView {
    /// The newest first; the last 64 of the credential and of its team, as long as there is room for them.
    pub changes: Vec<TokenChange>,
    /// Nodes that live and did not answer.
    pub unanswered: Vec<String>,
}
