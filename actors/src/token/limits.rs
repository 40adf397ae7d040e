//! Which meters a call touches: limits from the configuration first, then what the upstream told us. What is not known is
//! not invented: a team × model without any limit still has its requests counted, so that a limit learnt later binds at
//! once.

use grok2api_schemas::config::{Limits, TeamConfig};
use grok2api_schemas::meter::MeterKind;
use grok2api_schemas::token::{LearnedLimits, TeamRecord, TokenRecord};

use super::team::Takes;

/// All that the configuration says of teams.
#[derive(Clone, Debug, Default)]
pub struct LimitBook {
    teams: Vec<TeamConfig>,
}

/// Ticks in a US dollar (`xai-api.md` §3).
pub const USD_TICKS: u64 = 10_000_000_000;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

impl LimitBook {
    /// A book of these teams.
    pub fn new(teams: Vec<TeamConfig>) -> LimitBook {
        LimitBook { teams }
    }

    /// The team that the configuration names for a token, by its label or masked form.
    pub fn team_of(&self, token: &TokenRecord) -> Option<&str> {
        self.teams
            .iter()
            .find(|team| {
                team.keys
                    .iter()
                    .any(|key| *key == token.masked || (!key.is_empty() && *key == *token.label))
            })
            .map(|team| team.id.as_str())
    }

    /// The meters of a team × model, with their limits and what a call takes of each.
    pub fn meters(&self, team: &TeamRecord, model: &str) -> Vec<(MeterKind, Option<u64>, Takes)> {
        let stated = self.stated(&team.team, model).cloned().unwrap_or_default();
        let learned = learned(team, model);
        let usd_ticks = stated.usd_per_day.map(|usd| (usd * USD_TICKS as f64) as u64);
        let mut meters = Vec::with_capacity(4);
        let mut add = |limit: Option<u64>, kind: MeterKind, takes: Takes| {
            if limit.is_some() {
                meters.push((kind, limit, takes));
            }
        };
        add(
            stated.rps.or(learned.rps),
            MeterKind::Paced { window_ms: SECOND_MS },
            Takes::One,
        );
        add(
            stated.rpm.or(learned.rpm),
            MeterKind::Requests { window_ms: MINUTE_MS },
            Takes::One,
        );
        add(
            stated.rph.or(learned.rph),
            MeterKind::Requests { window_ms: HOUR_MS },
            Takes::One,
        );
        add(
            stated.rpd.or(learned.rpd),
            MeterKind::Requests { window_ms: DAY_MS },
            Takes::One,
        );
        add(
            stated.tpm.or(learned.tpm),
            MeterKind::Tokens { window_ms: MINUTE_MS },
            Takes::Tokens,
        );
        add(usd_ticks, MeterKind::UsdPerDay, Takes::UsdTicks);
        add(stated.concurrency, MeterKind::Concurrency, Takes::One);
        if meters.is_empty() {
            meters.push((MeterKind::Requests { window_ms: MINUTE_MS }, None, Takes::One));
        }
        meters
    }

    /// Whether calls at a time of a team × model are a hard limit.
    pub fn is_hard(&self, team: &TeamRecord, model: &str) -> bool {
        self.stated(&team.team, model)
            .is_some_and(|limits| limits.concurrency_hard)
    }

    fn stated(&self, team: &str, model: &str) -> Option<&Limits> {
        self.teams
            .iter()
            .find(|entry| entry.id == team)
            .and_then(|entry| entry.limits_for(model))
    }
}

fn learned(team: &TeamRecord, model: &str) -> LearnedLimits {
    team.learned
        .iter()
        .find(|(name, ..)| name == model)
        .map(|(_, limits, _)| *limits)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(id: &str) -> TeamRecord {
        TeamRecord {
            team: id.into(),
            models: None,
            zdr: false,
            cooling: None,
            model_cooling: Vec::new(),
            learned: Vec::new(),
            version: 0,
            found: 0,
            epoch: 0,
            model_epoch: 0,
        }
    }

    #[test]
    fn the_most_specific_pattern_speaks_and_a_limit_learnt_fills_only_what_is_not_stated() {
        let rpm = |n| Limits {
            rpm: Some(n),
            ..Limits::default()
        };
        let book = LimitBook::new(vec![TeamConfig {
            id: "a".to_owned(),
            keys: vec![],
            limits: [("*", rpm(1)), ("grok-4*", rpm(2)), ("grok-4.6", rpm(3))]
                .map(|(pattern, limits)| (pattern.to_owned(), limits))
                .into(),
        }]);
        let minute = MeterKind::Requests { window_ms: 60_000 };
        let limit = |team: &TeamRecord, model: &str| {
            book.meters(team, model)
                .into_iter()
                .find(|(kind, _, _)| *kind == minute)
                .and_then(|(_, limit, _)| limit)
        };
        let mut a = team("a");
        assert_eq!(
            (limit(&a, "grok-3"), limit(&a, "grok-4.5"), limit(&a, "grok-4.6")),
            (Some(1), Some(2), Some(3))
        );
        a.learned.push((
            "grok-3".to_owned(),
            LearnedLimits {
                rps: Some(5),
                rpm: Some(9),
                ..LearnedLimits::default()
            },
            1,
        ));
        assert_eq!(limit(&a, "grok-3"), Some(1));
        assert_eq!(
            book.meters(&a, "grok-3")[0],
            (MeterKind::Paced { window_ms: 1_000 }, Some(5), Takes::One)
        );
        assert_eq!(book.meters(&team("b"), "m"), vec![(minute, None, Takes::One)]);
    }
}
