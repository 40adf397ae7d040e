//! What watchers hear of upstream credentials: JSON on `event.token`. The nodes themselves use it, for speed; what counts
//! in the end is the record, which arrives a little later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, TokenId};
use crate::token::{CoolingCause, TokenState};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenHappening {
    /// A rest began or became longer.
    Cooled,
    /// A rest for want of credit or quota began.
    Exhausted,
    /// The upstream refused the credential for good.
    Expired,
    /// A rest ended: by time, by a probe, or cleared by an operator.
    Recovered,
    /// An operator switched it off.
    Disabled,
    /// An operator changed it, or a probe learnt something new of it.
    Updated,
    /// It was enrolled.
    Added,
    /// It was deleted.
    Deleted,
}

/// Whom a rest concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventScope {
    /// The credential.
    Token,
    /// The credential, for one model.
    TokenModel,
    /// Its team (the quota domain), for one model.
    TeamModel,
    /// Its team.
    Team,
}

/// A token or team changed state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenEvent {
    /// What happened.
    pub event: TokenHappening,
    /// The credential, or one of several that were added or deleted together.
    pub id: TokenId,
    /// What lists show instead of the secret.
    pub masked: String,
    /// Its quota domain, once known.
    #[serde(default)]
    pub team: Option<String>,
    /// What it can do now.
    pub state: TokenState,
    /// Whom a rest concerns.
    #[serde(default)]
    pub scope: Option<EventScope>,
    /// The model, where the scope is for one.
    #[serde(default)]
    pub model: Option<String>,
    /// Why it rests.
    #[serde(default)]
    pub cause: Option<CoolingCause>,
    /// The upstream's words, cleaned of identifiers.
    #[serde(default)]
    pub detail: Option<String>,
    /// When the rest began, Unix milliseconds.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// When it ends, Unix milliseconds; absent while it lasts until cleared, funded or replaced.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// The node's session that saw it.
    pub node: SessionId,
    /// The version of the record of the token, or of the team where the scope is a team's. Grows with every change.
    pub version: u64,
    /// How often rests of that scope were cleared before: a rest of an older epoch does not count any more.
    pub epoch: u32,
    /// How many credentials were added or deleted together, where it is more than one.
    #[serde(default)]
    pub count: Option<u64>,
}
