//! What a refusal or failure of xAI means: who is at fault, whether another token would do better, who rests for how long,
//! and what the client learns if it is final. By status *and* text, for one status carries many meanings (a bad key is a
//! 400). Pure: the same input gives the same verdict.
//!
//! Two rules stand above the table. A refusal that a client's own request can bring about never cools anybody, and texts
//! that may repeat what the client sent are only believed about keys and teams where they begin with those words: nobody
//! may talk a token dead.

pub(super) mod client;
mod judge;
mod said;

use grok2api_actors::clock::WallMs;
use grok2api_schemas::token::CoolingCause;
use http::HeaderMap;

use crate::engine::error::GatewayError;

use super::ratelimit::{LearnedLimits, retry_after_ms};
use super::rules::Rules;
use super::sanitise::clean;
use said::Said;

/// The longest that a hint of the upstream is believed, milliseconds: five minutes. `Retry-After` of its edge is 60 to
/// 120 s.
pub const MAX_HINT_MS: u64 = 300_000;
/// Characters of the upstream's words in a cooling's reason.
const DETAIL_CHARS: usize = 300;

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The key is unknown, blocked or expired: it will not come back.
    KeyDead,
    /// The key was refused for a reason we do not know.
    KeyRefused,
    /// The team has no credit, reached its spending limit or is blocked: all its keys are useless until that changes.
    TeamBroke,
    /// The team's limit for the model.
    RateLimited,
    /// The team or the key may not use the model, or there is no such model.
    ModelUnavailable,
    /// The upstream has no capacity for the model; other keys seldom help.
    Capacity,
    /// A failure of the upstream. Several in a row say something about a token; one does not.
    Transient,
    /// We asked wrongly (no credential sent).
    GatewayFault,
    /// The request is at fault.
    ClientError,
    /// A rule of the operator decided; the failure counts for nothing else.
    Ruled,
}

impl Class {
    /// The word in the request log and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::KeyDead => "key_dead",
            Class::KeyRefused => "key_refused",
            Class::TeamBroke => "team_broke",
            Class::RateLimited => "rate_limited",
            Class::ModelUnavailable => "model_unavailable",
            Class::Capacity => "capacity",
            Class::Transient => "transient",
            Class::GatewayFault => "gateway_fault",
            Class::ClientError => "client_error",
            Class::Ruled => "ruled",
        }
    }
}

/// Whether and where to try again, before the client's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Not.
    No,
    /// With another token, at once.
    OtherToken,
    /// With a token of another team, at once; another key of the same team fares no better.
    OtherTeam,
    /// After a short pause (half a second, growing), rather with another team where there is one.
    Backoff,
}

/// What rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoolScope {
    /// The token.
    Token,
    /// The token, for this model.
    TokenModel,
    /// All tokens of its team, for this model.
    TeamModel,
    /// All tokens of its team.
    Team,
}

/// Who rests, why and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolWhat {
    /// Who.
    pub scope: CoolScope,
    /// Why.
    pub cause: CoolingCause,
    /// Milliseconds; `None` = until cleared, replaced or, for want of credit, until a free probe finds it funded.
    pub for_ms: Option<u64>,
}

/// What a refusal means, in full.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What it is.
    pub class: Class,
    /// Whether to try again.
    pub retry: Retry,
    /// Who rests.
    pub cool: Option<CoolWhat>,
    /// What the client learns if this is final; clean of identifiers. The upstream's own words are in `detail`.
    pub client: GatewayError,
    /// The upstream's words for the log and the cooling's reason: clean of identifiers, at most 300 characters.
    pub detail: String,
    /// Limits that the refusal named.
    pub learned: Option<LearnedLimits>,
    /// The upstream may have done the work, and may bill it: the lease stands as spent, and calls that create paid objects
    /// are not repeated.
    pub maybe_executed: bool,
}

/// What the verdict depends on besides the answer.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The model as it was sent to the upstream.
    pub model: &'a str,
    /// The model as the client named it: what error texts show.
    pub shown_model: &'a str,
    /// The operator's rules.
    pub rules: &'a Rules,
    /// Now, for a `Retry-After` that is a date.
    pub now: WallMs,
}

/// The verdict on an answer that is not a success. Of `body`, the first 64 KiB count. A 2xx or 3xx status means that its
/// body was not what it should be.
pub fn classify(status: u16, headers: &HeaderMap, body: &[u8], ctx: &Context<'_>) -> Verdict {
    let said = Said::read(headers, body);
    verdict(status, &said, retry_after_ms(headers, ctx.now), false, ctx)
}

/// The verdict on an event of a stream that is not a chat chunk, by its `event` name and data; `None` if it reports no
/// failure. Data that is not a JSON object is a failure: no client could read it.
pub fn classify_stream_event(name: Option<&[u8]>, data: &[u8], ctx: &Context<'_>) -> Option<Verdict> {
    let said = Said::read_event(name, data)?;
    Some(verdict(said.status_in_stream(), &said, None, true, ctx))
}

/// `executed`: the upstream had begun to answer.
fn verdict(status: u16, said: &Said, hint_ms: Option<u64>, executed: bool, ctx: &Context<'_>) -> Verdict {
    let mut verdict = judge::judge(status, said, hint_ms.map(|ms| ms.min(MAX_HINT_MS)), ctx);
    verdict.maybe_executed |= executed;
    verdict.detail = clean(&said.message, ctx.model, ctx.shown_model, DETAIL_CHARS);
    if verdict.client.detail.is_none() {
        verdict.client.detail = Some(format!(
            "upstream {status} {}: {}",
            verdict.class.as_str(),
            verdict.detail
        ));
    }
    ctx.rules.apply(status, [&said.raw, &said.message], ctx.model, verdict)
}

#[cfg(test)]
mod tests;
