//! The stored form of an upstream credential. Its secret travels apart, sealed (see the vault in `actors`).

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::TokenId;
use crate::rare::Rare;

/// The kind and tier of a credential. Names are those of the older project's files, plus `apiKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PoolName {
    /// A key of the official xAI API.
    #[serde(rename = "apiKey")]
    ApiKey,
    /// A web session of a free account.
    #[serde(rename = "ssoBasic")]
    SsoBasic,
    /// A web session of a paying account.
    #[serde(rename = "ssoSuper")]
    SsoSuper,
}

impl PoolName {
    /// Every pool, in the order lists show them.
    pub const ALL: [PoolName; 3] = [PoolName::ApiKey, PoolName::SsoBasic, PoolName::SsoSuper];

    /// The name in files, URLs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            PoolName::ApiKey => "apiKey",
            PoolName::SsoBasic => "ssoBasic",
            PoolName::SsoSuper => "ssoSuper",
        }
    }

    /// The pool of that name, or nothing.
    pub fn parse(name: &str) -> Option<PoolName> {
        PoolName::ALL.into_iter().find(|pool| pool.as_str() == name)
    }
}

/// What an operator decided about a credential; what the upstream makes of it is [`Cooling`] and [`Verdict`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenSwitch {
    /// May be used.
    #[default]
    On,
    /// Set aside by the operator.
    Off,
}

/// The state that lists show: one word that answers "can it work right now?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// Usable now.
    Active,
    /// Resting until a stated time.
    Cooling,
    /// Its team has no money or quota left; parked until funded or cleared.
    Exhausted,
    /// Refused by the upstream for good (bad, blocked or leaked key).
    Expired,
    /// Switched off by the operator.
    Disabled,
}

impl TokenState {
    /// Every state, in the order lists show them.
    pub const ALL: [TokenState; 5] = [
        TokenState::Active,
        TokenState::Cooling,
        TokenState::Exhausted,
        TokenState::Expired,
        TokenState::Disabled,
    ];

    /// The word in JSON, filters and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenState::Active => "active",
            TokenState::Cooling => "cooling",
            TokenState::Exhausted => "exhausted",
            TokenState::Expired => "expired",
            TokenState::Disabled => "disabled",
        }
    }
}

/// Why a token, a token × model or a whole domain rests. A closed set: it labels metrics and log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CoolingCause {
    /// The upstream counted too many requests or tokens for the team and model.
    RateLimited,
    /// The upstream has no capacity for the model.
    Capacity,
    /// Server errors or broken answers in a row.
    ServerErrors,
    /// Timeouts in a row.
    Timeouts,
    /// The team has no credit or reached its spending limit.
    OutOfCredit,
    /// The key is unknown, blocked, disabled or expired upstream.
    BadCredential,
    /// The team or key has no access to the model.
    NoModelAccess,
    /// An operator's rule (`[[xai.rules]]`) or command.
    Operator,
}

impl CoolingCause {
    /// The word in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CoolingCause::RateLimited => "rate_limited",
            CoolingCause::Capacity => "capacity",
            CoolingCause::ServerErrors => "server_errors",
            CoolingCause::Timeouts => "timeouts",
            CoolingCause::OutOfCredit => "out_of_credit",
            CoolingCause::BadCredential => "bad_credential",
            CoolingCause::NoModelAccess => "no_model_access",
            CoolingCause::Operator => "operator",
        }
    }
}

/// A rest with its reason. `until_ms == None` means: until cleared, funded or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooling {
    /// Why.
    pub cause: CoolingCause,
    /// The upstream's words, cleaned of identifiers; at most 300 characters.
    pub detail: String,
    /// When it began, Unix milliseconds.
    pub since_ms: u64,
    /// When it ends, Unix milliseconds.
    pub until_ms: Option<u64>,
}

/// What an upstream credential is, without its secret. A hundred thousand of these are held in memory: what is rarely said
/// takes little room there while it is not, and tokens of one team share its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Who.
    pub id: TokenId,
    /// Kind and tier.
    pub pool: PoolName,
    /// Keyed hash of the secret: finds a credential that is pasted again, on any node.
    pub fingerprint: [u8; 32],
    /// What lists show instead of the secret, such as `xai-ab…wxyz`.
    pub masked: String,
    /// The operator's name for it; may be empty.
    pub label: Rare<String>,
    /// The operator's note; may be empty.
    pub note: Rare<String>,
    /// The operator's tags.
    pub tags: Rare<Vec<String>>,
    /// The operator's switch.
    pub switch: TokenSwitch,
    /// The quota domain, once known: the upstream's team id, or `key:<token id>` where the upstream could not tell a team
    /// and the key counts as its own domain; `None` before the first probe, and then it serves nothing.
    pub team: Option<Arc<str>>,
    /// Models the upstream lists for this key, where they differ from its team's.
    pub models: Rare<Option<Vec<String>>>,
    /// A rest of the whole token.
    pub cooling: Rare<Option<Cooling>>,
    /// Rests of the token for single models.
    pub model_cooling: Rare<Vec<(String, Cooling)>>,
    /// Proxy for calls with this token: `http://…` or `socks5://…`.
    pub proxy: Rare<Option<String>>,
    /// When it was enrolled, Unix milliseconds.
    pub created_ms: u64,
    /// When the upstream last answered a probe of it, Unix milliseconds.
    pub probed_ms: Option<u64>,
    /// When it last served a call, Unix milliseconds; written at most once a minute.
    pub last_used_ms: Option<u64>,
    /// Calls served since enrolment; written with `last_used_ms`.
    pub use_count: u64,
    /// Failures in a row that were its own.
    pub fail_count: u32,
    /// Raised by every change.
    pub version: u64,
    /// Stamp of the last change by an operator (label, note, tags, switch, pool, proxy): the later writer's counts.
    pub edited: u64,
    /// Stamp of the last change by a probe (team, models).
    pub found: u64,
    /// How often the rest of the whole token was ended before its time: a rest of an older epoch does not count.
    pub epoch: u32,
    /// The same for its rests for single models.
    pub model_epoch: u32,
}

/// Limits of a team for a model that the upstream told us; what is `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedLimits {
    /// Requests per second.
    pub rps: Option<u64>,
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Requests per hour.
    pub rph: Option<u64>,
    /// Requests per day.
    pub rpd: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
}

/// What is known of a team: the quota domain that its keys share. Teams that are offered the same models share the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamRecord {
    /// The upstream's team id, or `key:<token id>`.
    pub team: Arc<str>,
    /// Models the upstream lists for it; `None` before the first answer.
    pub models: Option<Arc<[String]>>,
    /// Zero data retention: nothing may be stored upstream.
    pub zdr: bool,
    /// A rest of the whole team.
    pub cooling: Option<Cooling>,
    /// Rests of the team for single models.
    pub model_cooling: Vec<(String, Cooling)>,
    /// Limits learnt from headers, refusals or the Management API, by model, each with the stamp of its change.
    pub learned: Vec<(String, LearnedLimits, u64)>,
    /// Raised by every change.
    pub version: u64,
    /// Stamp of the last change by a probe (models, data retention).
    pub found: u64,
    /// How often the rest of the whole team was ended before its time: a rest of an older epoch does not count.
    pub epoch: u32,
    /// The same for its rests for single models.
    pub model_epoch: u32,
}
