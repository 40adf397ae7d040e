//! The table: status and text to verdict.

use grok2api_schemas::token::CoolingCause;

use crate::engine::error::GatewayError;

use super::super::ratelimit::{Per, read_limits};
use super::said::Said;
use super::{Class, Context, CoolScope, CoolWhat, MAX_HINT_MS, Retry, Verdict, client};

/// How long a team and model rest after a refusal for too many requests per second: the window, and half of another for
/// the way there.
const SECOND_MS: u64 = 1_500;
/// After one for a minute's limit: in a window that slides, half of it is free again by then; one that jumps has jumped
/// with even odds. What is learned from the text paces the calls after that.
const MINUTE_MS: u64 = 30_000;
/// After one for an hour's or a day's limit.
const LONG_MS: u64 = MAX_HINT_MS;
/// After one that names no limit.
const UNNAMED_MS: u64 = 5_000;
/// How long a team and model rest when the upstream has no capacity: long enough to try elsewhere first, short enough not
/// to matter when there is no elsewhere.
const CAPACITY_MS: u64 = 1_000;
/// What the client is told to wait when the upstream has no capacity ("a few minutes", it says; its own SDK waits seconds).
const CAPACITY_CLIENT_MS: u64 = 5_000;
/// How long a team or key is not asked for a model that it has no access to.
const NO_MODEL_MS: u64 = 600_000;
/// How long a token rests that was refused for an unknown reason.
const REFUSED_MS: u64 = 60_000;

pub(super) fn judge(status: u16, said: &Said, hint_ms: Option<u64>, ctx: &Context<'_>) -> Verdict {
    let text = Words {
        lower: said.message.to_lowercase(),
        code: said.code.to_ascii_lowercase(),
        // The request's own words may come back in a refusal of its form.
        echoes: said.is_plain || !matches!(status, 401 | 402 | 403 | 429),
    };
    if matches!(status, 400 | 403) && text.is_about_content() {
        return Verdict {
            // The check itself is billed.
            maybe_executed: true,
            ..verdict(
                Class::ClientError,
                Retry::No,
                None,
                client::rejected(status, true, said, ctx),
            )
        };
    }
    if text.is_dead_key(status) {
        return verdict(
            Class::KeyDead,
            Retry::OtherToken,
            cool(CoolScope::Token, CoolingCause::BadCredential, None),
            client::credential_refused(),
        );
    }
    if status == 402 || text.is_out_of_credit() {
        return verdict(
            Class::TeamBroke,
            Retry::OtherTeam,
            cool(CoolScope::Team, CoolingCause::OutOfCredit, None),
            client::out_of_credit(),
        );
    }
    if text.is_blocked_team(status) {
        return verdict(
            Class::TeamBroke,
            Retry::OtherTeam,
            cool(CoolScope::Team, CoolingCause::BadCredential, None),
            client::credential_refused(),
        );
    }
    if (status == 429 || status >= 500) && text.is_about_capacity() {
        return Verdict {
            maybe_executed: status >= 500,
            ..verdict(
                Class::Capacity,
                Retry::Backoff,
                cool(CoolScope::TeamModel, CoolingCause::Capacity, Some(CAPACITY_MS)),
                client::busy(Some(hint_ms.unwrap_or(CAPACITY_CLIENT_MS))),
            )
        };
    }
    if let Some(scope) = text.missing_model(status) {
        let retry = match scope {
            CoolScope::TeamModel => Retry::OtherTeam,
            _ => Retry::OtherToken,
        };
        return verdict(
            Class::ModelUnavailable,
            retry,
            cool(scope, CoolingCause::NoModelAccess, Some(NO_MODEL_MS)),
            client::no_such_model(ctx.shown_model),
        );
    }
    match status {
        429 => rate_limited(said, hint_ms),
        // Refused before the API saw it, or by something that is not the API: the edge, a proxy, a wrong base URL.
        400..=499 if said.is_html && status != 413 => transient(status, hint_ms, false),
        401 => verdict(
            Class::GatewayFault,
            Retry::OtherToken,
            cool(CoolScope::Token, CoolingCause::BadCredential, Some(REFUSED_MS)),
            client::credential_refused(),
        ),
        403 => verdict(
            Class::KeyRefused,
            Retry::OtherToken,
            cool(CoolScope::Token, CoolingCause::BadCredential, Some(REFUSED_MS)),
            client::credential_refused(),
        ),
        408 | 409 | 421 | 425 => transient(status, hint_ms, status == 408),
        400..=499 => verdict(
            Class::ClientError,
            Retry::No,
            None,
            client::rejected(status, false, said, ctx),
        ),
        _ => transient(status, hint_ms, may_have_run(status)),
    }
}

fn verdict(class: Class, retry: Retry, cool: Option<CoolWhat>, client: GatewayError) -> Verdict {
    Verdict {
        class,
        retry,
        cool,
        client,
        detail: String::new(),
        learned: None,
        maybe_executed: false,
    }
}

fn cool(scope: CoolScope, cause: CoolingCause, for_ms: Option<u64>) -> Option<CoolWhat> {
    Some(CoolWhat { scope, cause, for_ms })
}

fn rate_limited(said: &Said, hint_ms: Option<u64>) -> Verdict {
    let read = read_limits(&said.message);
    let by_text = match read.as_ref().map(|read| read.longest_reached) {
        Some(Some(Per::Second)) => SECOND_MS,
        Some(Some(Per::Minute)) => MINUTE_MS,
        Some(Some(Per::Hour | Per::Day)) => LONG_MS,
        Some(None) | None => UNNAMED_MS,
    };
    // A hint of zero is no hint.
    let for_ms = hint_ms.filter(|&ms| ms > 0).unwrap_or(by_text);
    Verdict {
        learned: read.map(|read| read.limits),
        ..verdict(
            Class::RateLimited,
            Retry::OtherTeam,
            cool(CoolScope::TeamModel, CoolingCause::RateLimited, Some(for_ms)),
            client::rate_limited(for_ms),
        )
    }
}

fn transient(status: u16, hint_ms: Option<u64>, maybe_executed: bool) -> Verdict {
    Verdict {
        maybe_executed,
        ..verdict(
            Class::Transient,
            Retry::OtherToken,
            None,
            client::failed(status, hint_ms),
        )
    }
}

/// Whether the origin may have seen the call and worked on it. Of Cloudflare's codes, 521, 523, 525, 526 and 530 say that
/// it was never reached.
fn may_have_run(status: u16) -> bool {
    match status {
        521 | 523 | 525 | 526 | 530 => false,
        200..=299 => true,
        _ => status >= 500,
    }
}

struct Words {
    lower: String,
    code: String,
    echoes: bool,
}

impl Words {
    fn starts(&self, beginnings: &[&str]) -> bool {
        beginnings.iter().any(|beginning| self.lower.starts_with(beginning))
    }

    fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.lower.contains(word))
    }

    /// Says it anywhere, or begins with it where the text may repeat the request.
    fn says(&self, beginnings: &[&str], words: &[&str]) -> bool {
        (!self.echoes || self.starts(beginnings)) && self.has(words)
    }

    /// Refused for what the prompt asks: never the token's fault, and asking again with another costs a fee again.
    fn is_about_content(&self) -> bool {
        self.has(&["usage guidelines", "safety_check", "content policy", "moderation"])
    }

    fn is_dead_key(&self, status: u16) -> bool {
        if !matches!(status, 400 | 401 | 403) {
            return false;
        }
        const KEY: [&str; 8] = [
            "api key is ",
            "api key has ",
            "your api key",
            "the api key",
            "this api key",
            "the provided api key",
            "provided api key",
            "the oauth2 access token",
        ];
        const DEAD: [&str; 11] = [
            "blocked",
            "disabled",
            "deactivated",
            "expired",
            "revoked",
            "deleted",
            "suspended",
            "is invalid",
            "not valid",
            "not found",
            "could not be validated",
        ];
        self.code.starts_with("unauthenticated:bad-credentials")
            || self.starts(&["incorrect api key", "invalid api key"])
            || self.starts(&KEY) && self.has(&DEAD)
            || matches!(status, 401 | 403)
                && (self.code.contains("blocked-user") || self.starts(&["user is blocked", "your user is blocked"]))
    }

    fn is_out_of_credit(&self) -> bool {
        self.says(
            &["your team", "your newly created team", "the team", "team "],
            &[
                "used all available credits",
                "monthly spending limit",
                "any credits or licenses",
                "purchase more credits",
                "out of credits",
                "insufficient credits",
            ],
        )
    }

    fn is_blocked_team(&self, status: u16) -> bool {
        status == 403
            && self.starts(&["your team", "the team", "team "])
            && self.has(&[
                "is blocked",
                "is suspended",
                "is disabled",
                "been blocked",
                "been suspended",
                "been disabled",
            ])
    }

    fn is_about_capacity(&self) -> bool {
        self.has(&["at capacity", "high demand"])
    }

    /// Who has no access to the model, if that is what it says.
    fn missing_model(&self, status: u16) -> Option<CoolScope> {
        let names_model = self.starts(&["the model ", "model not found", "model "]);
        match status {
            400 | 404
                if self.starts(&["model not found"])
                    || names_model && self.has(&["does not exist", "not have access", "not found"]) =>
            {
                Some(CoolScope::TeamModel)
            }
            403 if self.has(&["your team"])
                && self.has(&["does not have access", "no access to"])
                && self.has(&["model"]) =>
            {
                Some(CoolScope::TeamModel)
            }
            403 if self.has(&["model"])
                && self.has(&["access", "permission", "not allowed", "not authorized", "not permitted"]) =>
            {
                Some(CoolScope::TokenModel)
            }
            _ => None,
        }
    }
}
