//! Upstream credentials as the admin doors show and take them. No answer here holds a secret.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::page::{Cursor, SortKey};
use crate::ids::TokenId;
use crate::token::{CoolingCause, PoolName, TokenState, TokenSwitch};

/// One credential in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Who.
    pub id: TokenId,
    /// The masked form, such as `xai-ab…wxyz`. The older project answered the secret under this name.
    pub token: String,
    /// Kind and tier.
    pub pool: PoolName,
    /// The older project's word for the pool.
    pub token_type: TokenType,
    /// Whether it can work right now.
    pub state: TokenState,
    /// Why not, if it rests.
    pub cause: Option<CoolingCause>,
    /// The upstream's words, cleaned of identifiers.
    pub detail: Option<String>,
    /// Since when it has been in this state, Unix milliseconds, where known.
    pub since_ms: Option<u64>,
    /// When it works again, Unix milliseconds; `null` = not by itself.
    pub until_ms: Option<u64>,
    /// Whether `clear-cooling` can bring it back.
    pub clearable: bool,
    /// The quota domain, once known.
    pub team: Option<String>,
    /// How many models the upstream listed for it.
    pub models: u64,
    /// Rests for single models, for the detail view and tooltips.
    pub model_cooling: Vec<ModelCoolingView>,
    /// The operator's name for it.
    pub label: String,
    /// The operator's note.
    pub note: String,
    /// The operator's tags.
    pub tags: Vec<String>,
    /// Its proxy with user and password masked, such as `http://***@proxy:8080`.
    pub proxy: Option<String>,
    /// When it was enrolled, Unix milliseconds.
    pub created_ms: u64,
    /// When the upstream last answered a probe of it, Unix milliseconds.
    pub probed_ms: Option<u64>,
    /// When it last served a call, Unix milliseconds.
    pub last_used_ms: Option<u64>,
    /// Calls served since it was enrolled.
    pub use_count: u64,
    /// Failures in a row that were its own.
    pub fail_count: u32,
    /// Calls in flight on this node.
    pub in_flight: u32,
    /// The meter of its team that is used most of all, as this node last heard; `null` = none with a limit.
    #[serde(default)]
    pub tightest: Option<MeterView>,
    /// The older project's four words, see [`OlderStatus`].
    pub status: OlderStatus,
    /// Uses left, as far as known; 0 when `quota_known` is false.
    pub quota: u64,
    /// Whether `quota` is a fact.
    pub quota_known: bool,
    /// Heavy uses left; -1 when `heavy_quota_known` is false.
    pub heavy_quota: i64,
    /// Whether `heavy_quota` is a fact.
    pub heavy_quota_known: bool,
}

/// A token's rest for one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCoolingView {
    /// The upstream model.
    pub model: String,
    /// Why.
    pub cause: CoolingCause,
    /// When it ends, Unix milliseconds.
    pub until_ms: Option<u64>,
}

/// The older project's word for a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TokenType {
    /// A key of the official API.
    #[serde(rename = "apiKey")]
    ApiKey,
    /// A web session of a free account.
    #[serde(rename = "sso")]
    Sso,
    /// A web session of a paying account.
    #[serde(rename = "ssoSuper")]
    SsoSuper,
}

impl From<PoolName> for TokenType {
    fn from(pool: PoolName) -> TokenType {
        match pool {
            PoolName::ApiKey => TokenType::ApiKey,
            PoolName::SsoBasic => TokenType::Sso,
            PoolName::SsoSuper => TokenType::SsoSuper,
        }
    }
}

/// The older project's words for a state. An exhausted credential was `cooling` there, an expired one `invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OlderStatus {
    /// Usable.
    Active,
    /// Resting or out of quota.
    Cooling,
    /// Refused by the upstream for good.
    #[serde(alias = "expired")]
    Invalid,
    /// Switched off.
    Disabled,
}

impl From<TokenState> for OlderStatus {
    fn from(state: TokenState) -> OlderStatus {
        match state {
            TokenState::Active => OlderStatus::Active,
            TokenState::Cooling | TokenState::Exhausted => OlderStatus::Cooling,
            TokenState::Expired => OlderStatus::Invalid,
            TokenState::Disabled => OlderStatus::Disabled,
        }
    }
}

/// What a list is ordered by; the id decides between equals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenSort {
    /// When it was enrolled.
    #[default]
    Created,
    /// When it last served a call; never = 0.
    LastUsed,
    /// Calls served.
    UseCount,
    /// Failures in a row.
    FailCount,
    /// The operator's name.
    Label,
}

/// Which credentials, in which order, how many. Values inside a filter are alternatives; filters add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenQuery {
    /// Of one of these pools; empty = any.
    pub pools: Vec<PoolName>,
    /// In one of these states; empty = any.
    pub states: Vec<TokenState>,
    /// Whose id, masked form, label, note, team or a tag contains this, whatever the case.
    pub text: Option<String>,
    /// Of this quota domain.
    pub team: Option<String>,
    /// Ordered by.
    pub sort: TokenSort,
    /// Largest first.
    pub descending: bool,
    /// From behind this row on.
    pub cursor: Option<Cursor>,
    /// At most that many rows; the doors allow 1 to 1,000.
    pub limit: usize,
}

impl TokenView {
    /// What this row is ordered by.
    pub fn sort_key(&self, sort: TokenSort) -> SortKey {
        match sort {
            TokenSort::Created => SortKey::Number(self.created_ms),
            TokenSort::LastUsed => SortKey::Number(self.last_used_ms.unwrap_or(0)),
            TokenSort::UseCount => SortKey::Number(self.use_count),
            TokenSort::FailCount => SortKey::Number(u64::from(self.fail_count)),
            TokenSort::Label => SortKey::Text(self.label.clone()),
        }
    }
}

/// A change to one credential; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenPatch {
    /// The operator's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The operator's note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The operator's tags, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// On or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<TokenSwitch>,
    /// Its proxy; an empty text takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
}

impl TokenPatch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == TokenPatch::default()
    }
}

/// A credential to enrol. Holds a secret: it is neither printed nor serialised.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct NewToken {
    /// The secret, normalised (see `ops::normalise`).
    pub secret: String,
    /// Kind and tier.
    pub pool: PoolName,
    /// The operator's name for it.
    #[serde(default)]
    pub label: String,
    /// The operator's note.
    #[serde(default)]
    pub note: String,
    /// The operator's tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its proxy.
    #[serde(default)]
    pub proxy: Option<String>,
    /// On or off from the start.
    #[serde(default)]
    pub switch: TokenSwitch,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken")
            .field("pool", &self.pool)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// What became of one credential that was to be enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnrolOutcome {
    /// Who it is now; `None` if it was refused.
    pub id: Option<TokenId>,
    /// The masked form.
    pub masked: String,
    /// What happened.
    pub result: EnrolResult,
}

/// See [`EnrolOutcome`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnrolResult {
    /// It is new.
    Added,
    /// It was here already and is unchanged.
    Existing,
    /// It cannot be a credential of that pool, for this reason.
    Invalid(String),
}

/// What a refresh of one credential found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefreshOutcome {
    /// Who.
    pub id: TokenId,
    /// Whether the upstream answered and accepted it.
    pub ok: bool,
    /// Its state now. A refresh never switches a disabled credential on.
    pub state: TokenState,
    /// What went wrong, cleaned of identifiers.
    pub detail: Option<String>,
}

/// How many credentials there are, by state and by pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCounts {
    /// All.
    pub total: u64,
    /// Usable now.
    pub active: u64,
    /// Resting.
    pub cooling: u64,
    /// Without money or quota.
    pub exhausted: u64,
    /// Refused by the upstream for good.
    pub expired: u64,
    /// Switched off.
    pub disabled: u64,
    /// By pool.
    pub pools: Vec<PoolCount>,
    /// Quota domains that are known.
    pub teams: u64,
    /// Calls served since enrolment, summed.
    pub total_calls: u64,
}

/// How many credentials one pool has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolCount {
    /// The pool.
    pub pool: PoolName,
    /// All of it.
    pub total: u64,
    /// Usable now.
    pub active: u64,
}

/// How much of a credential's meters is used, over all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenQuotas {
    /// The quota domain that the meters are of; credentials of one team share them. `null` = not known yet.
    pub team: Option<String>,
    /// Its meters, model by model: those with a limit, and those that something was used of.
    pub meters: Vec<MeterView>,
    /// How many more there are.
    pub left_out: u64,
}

/// One counted limit of a team, for one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeterView {
    /// The upstream model.
    pub model: String,
    /// What is counted.
    pub kind: MeterWord,
    /// In any window of this length, milliseconds; `null` = by the day, or at a time.
    pub window_ms: Option<u64>,
    /// The limit; `null` = not known.
    pub limit: Option<u64>,
    /// What counts against it now. USD are ticks of 1e-10 USD.
    pub used: u64,
    /// What nodes hold ready and have not used.
    pub reserved: u64,
    /// When the next units come back, milliseconds from now, if this node knows.
    pub next_release_ms: Option<u64>,
}

/// What a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeterWord {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
    /// Spend, ticks of 1e-10 USD.
    Usd,
    /// Calls in flight.
    Concurrency,
}

/// Whose activity is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenActivityAsk {
    /// Which credentials; at most 100.
    #[schemars(length(min = 1, max = 100))]
    pub ids: Vec<TokenId>,
}

/// What credentials served in the last hour, over all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenActivity {
    /// When the first step begins, Unix milliseconds.
    pub since_ms: u64,
    /// Length of a step, milliseconds.
    pub step_ms: u64,
    /// Those that served anything; the others are left out.
    pub items: Vec<TokenSteps>,
}

/// What one served, step by step, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenSteps {
    /// Which.
    pub id: TokenId,
    /// Calls that were answered.
    pub ok: Vec<u16>,
    /// Calls that failed.
    pub failed: Vec<u16>,
}
