//! Who rests, for how long, and why: pure decisions. `now` is an argument, nothing here holds a handle.

use grok2api_schemas::token::{Cooling, CoolingCause, TeamRecord, TokenRecord, TokenState, TokenSwitch};

use crate::clock::WallMs;

/// What a failure is the fault of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The key.
    Token,
    /// The key, for one model.
    TokenModel,
    /// The team, for one model.
    TeamModel,
    /// The team.
    Team,
}

impl Scope {
    /// The word in metrics, logs and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Token => "token",
            Scope::TokenModel => "token_model",
            Scope::TeamModel => "team_model",
            Scope::Team => "team",
        }
    }
}

/// A failure that is somebody's definite fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// Whose.
    pub scope: Scope,
    /// Why.
    pub cause: CoolingCause,
    /// For how long; `None` = until cleared, funded or replaced.
    pub for_ms: Option<u64>,
    /// The upstream's words, cleaned; shown to operators.
    pub detail: String,
}

/// A failure that blames nobody until it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SoftFailure {
    /// 5xx, a broken or unreadable answer.
    ServerError,
    /// No answer, or a stalled one.
    Timeout,
}

/// How long and how often. Defaults: the figures of `xai-api.md` §20 where it names them, else a compromise between
/// giving up a token too early and letting it fail too many clients.
#[derive(Clone, Copy, Debug)]
pub struct CoolingPolicy {
    /// Soft failures in a row that make a token × model rest.
    pub soft_failures: u32,
    /// First rest after that many; doubles each time up to the cap.
    pub soft_rest_ms: u64,
    /// The longest such rest: an outage upstream rests every token, and none of them is to be missing for long after it.
    pub soft_cap_ms: u64,
    /// No hint of the upstream, rule or doubling makes a rest longer than this.
    pub cap_ms: u64,
}

impl Default for CoolingPolicy {
    fn default() -> Self {
        CoolingPolicy {
            soft_failures: 3,
            soft_rest_ms: 5_000,
            soft_cap_ms: 60_000,
            cap_ms: 15 * 60_000,
        }
    }
}

/// Soft failures in a row of one token × model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    failures: u32,
    rests: u32,
}

impl Streak {
    /// A success ends it.
    #[cfg(test)]
    fn succeed(&mut self) {
        *self = Streak::default();
    }

    /// Counts a soft failure; answers the rest it leads to, if it is one too many.
    pub fn fail(&mut self, failure: SoftFailure, policy: &CoolingPolicy) -> Option<Penalty> {
        self.failures += 1;
        if self.failures < policy.soft_failures {
            return None;
        }
        let for_ms = policy
            .soft_rest_ms
            .saturating_mul(1 << self.rests.min(16))
            .min(policy.soft_cap_ms)
            .min(policy.cap_ms);
        self.rests = self.rests.saturating_add(1);
        // One failure after the rest is enough for the next: it has not recovered.
        self.failures = policy.soft_failures - 1;
        let (cause, word) = match failure {
            SoftFailure::ServerError => (CoolingCause::ServerErrors, "failed answers"),
            SoftFailure::Timeout => (CoolingCause::Timeouts, "timeouts"),
        };
        Some(Penalty {
            scope: Scope::TokenModel,
            cause,
            for_ms: Some(for_ms),
            detail: format!("{word} in a row: {}", policy.soft_failures + self.rests - 1),
        })
    }
}

/// The rest that a penalty means, merged with the one that is running: the longer one stands, so that a late or lesser
/// message never frees anybody early.
pub fn rest(running: Option<&Cooling>, penalty: &Penalty, now: WallMs, policy: &CoolingPolicy) -> Cooling {
    let until_ms = penalty.for_ms.map(|ms| now.0 + ms.min(policy.cap_ms));
    let fresh = Cooling {
        cause: penalty.cause,
        detail: penalty.detail.chars().take(300).collect(),
        since_ms: now.0,
        until_ms,
    };
    match running.filter(|running| !is_over(running, now)) {
        Some(running) if ends_later(running.until_ms, until_ms) => running.clone(),
        Some(running) => Cooling {
            since_ms: running.since_ms,
            ..fresh
        },
        None => fresh,
    }
}

/// A rest that ends less than this much later than the one that is running is no news.
const NEWS_MS: u64 = 1_000;

/// Whether a rest says more than the one that is running. A hundred calls that were under way when a limit was hit are
/// refused one after the other: they make one rest, one write and one message, not a hundred.
pub fn is_news(running: Option<&Cooling>, rest: &Cooling, now: WallMs) -> bool {
    match running.filter(|running| !is_over(running, now)) {
        None => true,
        Some(running) if running == rest => false,
        Some(running) if running.cause != rest.cause => true,
        Some(running) => match (running.until_ms, rest.until_ms) {
            (Some(running), Some(rest)) => rest >= running.saturating_add(NEWS_MS),
            (a, b) => a != b,
        },
    }
}

fn ends_later(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
        _ => false,
    }
}

/// Whether a rest has run out.
pub fn is_over(cooling: &Cooling, now: WallMs) -> bool {
    cooling.until_ms.is_some_and(|until| until <= now.0)
}

/// The one word for a token, and the rest behind it.
pub fn state<'a>(
    token: &'a TokenRecord,
    team: Option<&'a TeamRecord>,
    now: WallMs,
) -> (TokenState, Option<&'a Cooling>) {
    let running = |cooling: &'a Option<Cooling>| cooling.as_ref().filter(|cooling| !is_over(cooling, now));
    let of_token = running(&token.cooling);
    let of_team = team.and_then(|team| running(&team.cooling));
    if token.switch == TokenSwitch::Off {
        return (TokenState::Disabled, of_token.or(of_team));
    }
    match of_token.or(of_team) {
        None => (TokenState::Active, None),
        Some(cooling) => {
            let state = match cooling.cause {
                CoolingCause::BadCredential => TokenState::Expired,
                CoolingCause::OutOfCredit => TokenState::Exhausted,
                _ => TokenState::Cooling,
            };
            (state, Some(cooling))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penalty(for_ms: Option<u64>) -> Penalty {
        Penalty {
            scope: Scope::Team,
            cause: CoolingCause::RateLimited,
            for_ms,
            detail: "limit".to_owned(),
        }
    }

    #[test]
    fn a_hint_is_honoured_up_to_the_cap() {
        let policy = CoolingPolicy::default();
        let rest = rest(None, &penalty(Some(u64::MAX / 2)), WallMs(1_000), &policy);
        assert_eq!(rest.until_ms, Some(1_000 + policy.cap_ms));
    }

    #[test]
    fn a_lesser_penalty_never_shortens_a_rest_and_a_rest_that_is_over_does_not_count() {
        let policy = CoolingPolicy::default();
        let long = rest(None, &penalty(Some(60_000)), WallMs(0), &policy);
        assert_eq!(rest(Some(&long), &penalty(Some(1_000)), WallMs(10), &policy), long);
        assert_eq!(
            rest(Some(&long), &penalty(Some(1_000)), WallMs(60_000), &policy).until_ms,
            Some(61_000)
        );
        let for_ever = rest(Some(&long), &penalty(None), WallMs(10), &policy);
        assert_eq!((for_ever.until_ms, for_ever.since_ms), (None, 0));
        assert_eq!(rest(Some(&for_ever), &penalty(Some(5)), WallMs(20), &policy), for_ever);
    }

    #[test]
    fn soft_failures_cool_after_the_third_and_longer_each_time() {
        let policy = CoolingPolicy::default();
        let mut streak = Streak::default();
        assert_eq!(streak.fail(SoftFailure::Timeout, &policy), None);
        assert_eq!(streak.fail(SoftFailure::ServerError, &policy), None);
        let first = streak.fail(SoftFailure::Timeout, &policy).unwrap();
        assert_eq!((first.cause, first.for_ms), (CoolingCause::Timeouts, Some(5_000)));
        assert_eq!(
            streak.fail(SoftFailure::ServerError, &policy).unwrap().for_ms,
            Some(10_000)
        );
        for _ in 0..20 {
            let next = streak.fail(SoftFailure::ServerError, &policy).unwrap();
            assert!(next.for_ms.unwrap() <= 60_000);
        }
        streak.succeed();
        assert_eq!(streak.fail(SoftFailure::Timeout, &policy), None);
    }
}
