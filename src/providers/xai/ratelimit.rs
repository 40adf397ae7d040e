//! What xAI says about its limits: headers on answers, sentences in refusals. It sends no reset times.

use std::sync::LazyLock;

use grok2api_actors::clock::WallMs;
use http::HeaderMap;
use http::header::RETRY_AFTER;
use regex::Regex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::sanitise::pattern;

/// The `x-ratelimit-*` headers of an answer. They count the team's requests and tokens for the model; xAI does not
/// document over which window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// Requests allowed.
    pub limit_requests: Option<u64>,
    /// Requests left.
    pub remaining_requests: Option<u64>,
    /// Tokens allowed.
    pub limit_tokens: Option<u64>,
    /// Tokens left.
    pub remaining_tokens: Option<u64>,
}

impl RateHeaders {
    /// Reads what is there; what is not a number counts as not there.
    pub fn read(headers: &HeaderMap) -> RateHeaders {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        RateHeaders {
            limit_requests: number("x-ratelimit-limit-requests"),
            remaining_requests: number("x-ratelimit-remaining-requests"),
            limit_tokens: number("x-ratelimit-limit-tokens"),
            remaining_tokens: number("x-ratelimit-remaining-tokens"),
        }
    }

    /// Whether none of them was there.
    pub fn is_empty(&self) -> bool {
        *self == RateHeaders::default()
    }
}

/// `Retry-After` (seconds, perhaps with a fraction, or an HTTP date) or `retry-after-ms`, as milliseconds from `now`. Not
/// capped: the caller decides how far a hint is believed.
pub fn retry_after_ms(headers: &HeaderMap, now: WallMs) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let count = |text: &str, scale: f64| {
        let value: f64 = text.parse().ok()?;
        // The conversion saturates.
        (value.is_finite() && value >= 0.0).then(|| (value * scale).ceil() as u64)
    };
    if let Some(ms) = text("retry-after-ms").and_then(|text| count(text, 1.0)) {
        return Some(ms);
    }
    let text = text(RETRY_AFTER.as_str())?;
    count(text, 1000.0).or_else(|| {
        // An HTTP date is a date of e-mail in GMT.
        let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        let at_ms = u64::try_from(at.unix_timestamp()).ok()?.saturating_mul(1000);
        Some(at_ms.saturating_sub(now.0))
    })
}

/// Limits of a team and model that a refusal named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The team it named. Never for a client's eyes.
    pub team: Option<String>,
    /// The model it named, aliases resolved.
    pub model: Option<String>,
}

/// The window of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Per {
    /// 1 s
    Second,
    /// 60 s
    Minute,
    /// 1 h
    Hour,
    /// 24 h
    Day,
}

/// A refusal that says which limits were reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitText {
    /// All limits it names, reached or not.
    pub limits: LearnedLimits,
    /// The longest window whose limit was reached; `None` if it names limits and none as reached.
    pub longest_reached: Option<Per>,
}

/// Reads "Too many requests for team T and model M. Your team's rate limit is — Requests per Second (actual/limit): 2/2,
/// …"; `None` if the text names no limit.
pub fn read_limits(text: &str) -> Option<LimitText> {
    static LIMIT: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(requests|tokens)\s+per\s+(second|minute|hour|day)\s*\(actual/limit\)\s*:\s*([\d,_]+)\s*/\s*([\d,_]+)",
        )
    });
    static SUBJECT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)\bfor team (\S+) and model ([A-Za-z0-9][A-Za-z0-9_.:/-]*?)\.?(?:\s|$)"));
    let mut read = LimitText::default();
    let mut any = false;
    for found in LIMIT.captures_iter(text) {
        let word = |index: usize| found.get(index).map(|word| word.as_str()).unwrap_or_default();
        let (Some(actual), Some(limit)) = (grouped(word(3)), grouped(word(4))) else {
            continue;
        };
        any = true;
        let per = match word(2).to_ascii_lowercase().as_str() {
            "second" => Per::Second,
            "minute" => Per::Minute,
            "hour" => Per::Hour,
            _ => Per::Day,
        };
        let limits = &mut read.limits;
        let place = match (word(1).eq_ignore_ascii_case("requests"), per) {
            (true, Per::Second) => Some(&mut limits.rps),
            (true, Per::Minute) => Some(&mut limits.rpm),
            (true, Per::Hour) => Some(&mut limits.rph),
            (true, Per::Day) => Some(&mut limits.rpd),
            (false, Per::Minute) => Some(&mut limits.tpm),
            (false, _) => None,
        };
        if let Some(place) = place {
            *place = Some(limit);
        }
        if actual >= limit {
            read.longest_reached = read.longest_reached.max(Some(per));
        }
    }
    if let Some(found) = SUBJECT.captures(text) {
        let word = |index: usize| found.get(index).map(|word| word.as_str().to_owned());
        read.limits.team = word(1);
        read.limits.model = word(2);
    }
    any.then_some(read)
}

/// A number with separators between groups of digits.
fn grouped(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests;
