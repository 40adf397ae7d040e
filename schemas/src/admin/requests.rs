//! The request log: what became of one client request, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, RequestId, TokenId};

/// How a request ended. Closed: it labels metrics, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered to its end.
    Success,
    /// The client hung up before the end.
    ClientGone,
    /// The request was wrong (a 4xx of ours, or one of the upstream's about the request itself).
    BadRequest,
    /// No credential of ours, or a wrong one.
    Unauthenticated,
    /// The key may not do this.
    Forbidden,
    /// A limit of the client key.
    ClientLimit,
    /// The client key's budget.
    ClientBudget,
    /// No token could serve it at that time.
    PoolLimit,
    /// No token can serve it until an operator acts.
    PoolUnusable,
    /// The upstream was at capacity.
    UpstreamBusy,
    /// The upstream failed.
    UpstreamFailed,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The answer broke off after its first byte.
    StreamBroken,
    /// This node took no more calls.
    Overloaded,
    /// This node was shutting down.
    ShuttingDown,
    /// Deliberately not done here.
    NotOffered,
    /// A fault of ours.
    Internal,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 17] = [
        Outcome::Success,
        Outcome::ClientGone,
        Outcome::BadRequest,
        Outcome::Unauthenticated,
        Outcome::Forbidden,
        Outcome::ClientLimit,
        Outcome::ClientBudget,
        Outcome::PoolLimit,
        Outcome::PoolUnusable,
        Outcome::UpstreamBusy,
        Outcome::UpstreamFailed,
        Outcome::UpstreamTimeout,
        Outcome::StreamBroken,
        Outcome::Overloaded,
        Outcome::ShuttingDown,
        Outcome::NotOffered,
        Outcome::Internal,
    ];

    /// The word in JSON, filters and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::ClientGone => "client_gone",
            Outcome::BadRequest => "bad_request",
            Outcome::Unauthenticated => "unauthenticated",
            Outcome::Forbidden => "forbidden",
            Outcome::ClientLimit => "client_limit",
            Outcome::ClientBudget => "client_budget",
            Outcome::PoolLimit => "pool_limit",
            Outcome::PoolUnusable => "pool_unusable",
            Outcome::UpstreamBusy => "upstream_busy",
            Outcome::UpstreamFailed => "upstream_failed",
            Outcome::UpstreamTimeout => "upstream_timeout",
            Outcome::StreamBroken => "stream_broken",
            Outcome::Overloaded => "overloaded",
            Outcome::ShuttingDown => "shutting_down",
            Outcome::NotOffered => "not_offered",
            Outcome::Internal => "internal",
        }
    }

    /// The outcome of that word.
    pub fn parse(word: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// Why a token was not used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassedOver {
    /// It was used.
    Chosen,
    /// Another was better placed: affinity or headroom.
    LessHeadroom,
    /// The token rests.
    TokenCooling,
    /// The token rests for this model.
    ModelCooling,
    /// Its team rests.
    TeamCooling,
    /// A meter of its team or its own is used up.
    NoUnits,
    /// All its slots are taken.
    NoSlots,
    /// It does not serve this model.
    NoModel,
    /// It already failed this request.
    TriedAlready,
    /// Switched off, expired or exhausted.
    NotUsable,
}

/// One token that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateView {
    /// Who.
    pub token_id: TokenId,
    /// Its masked form.
    pub token: String,
    /// Used, or why not.
    pub reason: PassedOver,
    /// Which meter, until when: words for a person; may be empty.
    pub detail: String,
}

/// One call upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// With which token.
    pub token_id: TokenId,
    /// Its masked form.
    pub token: String,
    /// Its quota domain.
    pub team: Option<String>,
    /// The upstream's status; `None` if it did not answer.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// The upstream's words, cleaned of identifiers; at most 300 characters.
    pub message: Option<String>,
    /// From the start of the request to the start of this attempt, milliseconds.
    pub started_ms: u32,
    /// How long it took: to its end, or to its failure, milliseconds.
    pub took_ms: u32,
}

/// Usage as the upstream counted it; absent where it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageView {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Of them read from the upstream's cache.
    pub cached_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// Tokens of reasoning.
    pub reasoning_tokens: Option<u64>,
    /// All of them, as the upstream adds up.
    pub total_tokens: Option<u64>,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimingView {
    /// Waiting for a slot or a unit, milliseconds.
    pub queue_ms: u32,
    /// From the start of the attempt that answered to its first byte, milliseconds.
    pub upstream_first_byte_ms: Option<u32>,
    /// From the request's head to the end of the answer, milliseconds.
    pub total_ms: u32,
    /// Spent by the gateway itself, microseconds.
    pub overhead_us: u32,
}

/// What became of one client request. Stored as it is; ids order records by arrival.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRecord {
    /// Which; as in `x-request-id`.
    pub id: RequestId,
    /// When it arrived, Unix milliseconds.
    pub time_ms: u64,
    /// Which node answered it; empty alone.
    pub node: String,
    /// Whose key; `None` for the configured one, an anonymous or an unauthenticated call.
    pub key_id: Option<KeyId>,
    /// The key's name at that time.
    pub key_name: String,
    /// Such as `/v1/chat/completions`.
    pub route: String,
    /// The model as the client named it.
    pub model: String,
    /// The upstream model, aliases resolved; empty if it never came to that.
    pub upstream_model: String,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// From which address.
    pub client_ip: String,
    /// The status we answered with.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// `error.code` of the answer, if it was an error.
    pub error_code: Option<String>,
    /// `error.message` of the answer.
    pub error_message: Option<String>,
    /// Tokens that were looked at, at most [`MAX_CANDIDATES`].
    pub candidates: Vec<CandidateView>,
    /// How many more there were.
    pub candidates_left_out: u32,
    /// Calls upstream, in order.
    pub attempts: Vec<AttemptView>,
    /// Where the time went.
    pub timing: TimingView,
    /// What the upstream counted.
    pub usage: UsageView,
    /// What it cost, ticks of 1e-10 USD.
    pub cost_ticks: Option<u64>,
    /// Set when the call was charged its reservation because nobody said what it cost.
    pub presumed: bool,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

/// Most candidates that a record holds.
pub const MAX_CANDIDATES: usize = 16;

/// Which requests; values inside a filter are alternatives, filters add up. Newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestQuery {
    /// Of this client key.
    pub key: Option<KeyId>,
    /// Naming this model, or served by it.
    pub model: Option<String>,
    /// With this token.
    pub token: Option<TokenId>,
    /// That ended so; empty = any.
    pub outcomes: Vec<Outcome>,
    /// That arrived then or later, Unix milliseconds.
    pub since_ms: Option<u64>,
    /// That arrived before, Unix milliseconds.
    pub until_ms: Option<u64>,
    /// Whose id, key name, model, route, address, error code or error message contains this, whatever the case.
    pub text: Option<String>,
    /// Older than this request.
    pub cursor: Option<RequestId>,
    /// At most that many; the doors allow 1 to 1,000.
    pub limit: usize,
}

/// A page of the request log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPage {
    /// Newest first.
    pub items: Vec<RequestRecord>,
    /// For older ones; `null` = there are none. A page can be short, even empty, and have a cursor: a search looks at a
    /// bounded number of records at a time.
    pub next_cursor: Option<String>,
    /// Records in the log, whatever the filters.
    pub total: u64,
}
