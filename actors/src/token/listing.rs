//! The pool as rows, counts and metrics show it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use grok2api_schemas::admin::tokens::{ModelCoolingView, PoolCount, TokenCounts, TokenView};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{Cooling, CoolingCause, PoolName, TokenState, TokenSwitch};

use super::cooling;
use super::entry::Token;
use super::pool::Pool;
use super::quotas;
use crate::clock::WallMs;
use crate::egress::ProxySpec;

impl Pool {
    /// How one token stands.
    pub fn view(&self, id: TokenId) -> Option<TokenView> {
        self.find(id).map(|token| self.view_of(&token))
    }

    pub(super) fn view_of(&self, token: &Token) -> TokenView {
        let now = self.0.clock.wall();
        let record = token.record();
        let team = token.team();
        let team_record = team.as_ref().map(|team| team.record());
        let (state, cooling) = cooling::state(&record, team_record.as_deref(), now);
        let resting = |(model, cooling): &(String, grok2api_schemas::token::Cooling)| {
            (!cooling::is_over(cooling, now)).then(|| ModelCoolingView {
                model: model.clone(),
                cause: cooling.cause,
                until_ms: cooling.until_ms,
            })
        };
        let model_cooling = record
            .model_cooling
            .iter()
            .chain(team_record.iter().flat_map(|team| team.model_cooling.iter()))
            .filter_map(resting)
            .collect();
        let models = record
            .models
            .as_deref()
            .or(team_record.as_ref().and_then(|team| team.models.as_deref()));
        let last_used = token.last_used_ms.load(Ordering::Relaxed);
        TokenView {
            id: record.id,
            token: record.masked.clone(),
            pool: record.pool,
            token_type: record.pool.into(),
            state,
            cause: cooling.map(|cooling| cooling.cause),
            detail: cooling.map(|cooling| cooling.detail.clone()),
            since_ms: cooling.map(|cooling| cooling.since_ms),
            until_ms: cooling.and_then(|cooling| cooling.until_ms),
            clearable: cooling.is_some(),
            team: record.team.as_deref().map(str::to_owned),
            models: models.map_or(0, |models| models.len() as u64),
            model_cooling,
            label: (*record.label).clone(),
            note: (*record.note).clone(),
            tags: (*record.tags).clone(),
            proxy: record
                .proxy
                .as_deref()
                .and_then(|url| ProxySpec::parse(url).ok())
                .and_then(|proxy| proxy.masked()),
            created_ms: record.created_ms,
            probed_ms: record.probed_ms,
            last_used_ms: Some(last_used).filter(|ms| *ms > 0).or(record.last_used_ms),
            use_count: record.use_count + u64::from(token.unsaved_uses.load(Ordering::Relaxed)),
            fail_count: record.fail_count,
            in_flight: token.in_flight(),
            tightest: team.as_deref().and_then(quotas::tightest),
            status: state.into(),
            quota: 0,
            quota_known: false,
            heavy_quota: -1,
            heavy_quota_known: false,
        }
    }

    /// How many tokens there are, by state and pool.
    pub fn counts(&self) -> TokenCounts {
        let now = self.0.clock.wall();
        let mut counts = TokenCounts {
            teams: self
                .0
                .teams
                .iter()
                .filter(|team| team.tokens.load(Ordering::Relaxed) > 0)
                .count() as u64,
            ..TokenCounts::default()
        };
        let mut pools: Vec<PoolCount> = PoolName::ALL
            .into_iter()
            .map(|pool| PoolCount {
                pool,
                total: 0,
                active: 0,
            })
            .collect();
        for token in self.0.tokens.read().values() {
            let record = token.peek();
            let team = token.team().map(|team| team.record());
            let (state, _) = cooling::state(&record, team.as_deref(), now);
            counts.total += 1;
            counts.total_calls += record.use_count + u64::from(token.unsaved_uses.load(Ordering::Relaxed));
            let slot = match state {
                TokenState::Active => &mut counts.active,
                TokenState::Cooling => &mut counts.cooling,
                TokenState::Exhausted => &mut counts.exhausted,
                TokenState::Expired => &mut counts.expired,
                TokenState::Disabled => &mut counts.disabled,
            };
            *slot += 1;
            if let Some(pool) = pools.iter_mut().find(|entry| entry.pool == record.pool) {
                pool.total += 1;
                pool.active += u64::from(state == TokenState::Active);
            }
        }
        counts.pools = pools;
        counts
    }

    /// How many tokens of the official API each team has that are not switched off, and how many have no known team.
    pub fn team_sizes(&self) -> (BTreeMap<String, u64>, u64) {
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        let mut without = 0;
        for token in self.0.tokens.read().values() {
            let record = token.record();
            if record.pool != PoolName::ApiKey || record.switch == TokenSwitch::Off {
                continue;
            }
            match record.team.as_deref() {
                Some(team) => *sizes.entry(team.to_owned()).or_default() += 1,
                None => without += 1,
            }
        }
        (sizes, without)
    }

    /// A token of a team that can be asked with: one that works if there is one, else any that is not switched off.
    pub fn any_of_team(&self, team: &str) -> Option<Arc<Token>> {
        let now = self.0.clock.wall();
        let mut resting = None;
        for token in self.0.tokens.read().values() {
            let record = token.record();
            let is_of_it = record.team.as_deref() == Some(team);
            if !is_of_it || record.pool != PoolName::ApiKey || record.switch == TokenSwitch::Off {
                continue;
            }
            let team = token.team().map(|team| team.record());
            if cooling::state(&record, team.as_deref(), now).0 == TokenState::Active {
                return Some(token.clone());
            }
            resting.get_or_insert_with(|| token.clone());
        }
        resting
    }

    /// Tokens by pool and state, for metrics.
    pub fn states(&self) -> BTreeMap<(PoolName, TokenState), u64> {
        let now = self.0.clock.wall();
        let mut states = BTreeMap::new();
        for token in self.0.tokens.read().values() {
            let record = token.record();
            let team = token.team().map(|team| team.record());
            *states
                .entry((record.pool, cooling::state(&record, team.as_deref(), now).0))
                .or_default() += 1;
        }
        states
    }

    /// What keeps tokens from serving, most frequent first: cause, how many, and the earliest end.
    pub fn hindrances(&self, model: Option<&str>) -> Vec<(CoolingCause, u64, Option<u64>)> {
        let now = self.0.clock.wall();
        let mut causes: BTreeMap<CoolingCause, (u64, Option<u64>)> = BTreeMap::new();
        for token in self.0.tokens.read().values() {
            if let Some((_, cooling)) = rest_of(token, model, now) {
                let entry = causes.entry(cooling.cause).or_default();
                entry.0 += 1;
                entry.1 = match (entry.1, cooling.until_ms) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
        let mut list: Vec<_> = causes
            .into_iter()
            .map(|(cause, (count, until))| (cause, count, until))
            .collect();
        list.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        list
    }

    /// Some of the tokens that would serve a model if they did not rest.
    pub fn resting(&self, model: &str, most: usize) -> Vec<Resting> {
        let now = self.0.clock.wall();
        let tokens = self.0.tokens.read();
        let resting = tokens.values().filter_map(|token| {
            let (scope, cooling) = rest_of(token, Some(model), now)?;
            Some(Resting {
                token: token.clone(),
                scope,
                cause: cooling.cause,
                until_ms: cooling.until_ms,
            })
        });
        resting.take(most).collect()
    }
}

/// A token that rests.
#[derive(Clone)]
pub struct Resting {
    /// Which.
    pub token: Arc<Token>,
    /// How much of it.
    pub scope: RestScope,
    /// Why.
    pub cause: CoolingCause,
    /// Until when, Unix milliseconds; `None` until an operator acts.
    pub until_ms: Option<u64>,
}

/// What of a token rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestScope {
    /// All of it.
    Token,
    /// One model, on it or on its whole team.
    Model,
    /// Its team.
    Team,
}

/// The rest that keeps a token from serving; `None` if nothing does, or if it would not serve anyhow: switched off (its rests
/// end without its serving again), or without the model.
fn rest_of(token: &Token, model: Option<&str>, now: WallMs) -> Option<(RestScope, Cooling)> {
    let record = token.record();
    if record.switch == TokenSwitch::Off {
        return None;
    }
    let team = token.team().map(|team| team.record());
    let (_, whole) = cooling::state(&record, team.as_deref(), now);
    let whole = whole.map(|cooling| {
        let is_own = record.cooling.as_ref().is_some_and(|own| std::ptr::eq(own, cooling));
        (if is_own { RestScope::Token } else { RestScope::Team }, cooling)
    });
    let of_model = || {
        record
            .model_cooling
            .iter()
            .chain(team.iter().flat_map(|team| team.model_cooling.iter()))
            .find(|(name, cooling)| Some(name.as_ref()) == model && !cooling::is_over(cooling, now))
            .map(|(_, cooling)| (RestScope::Model, cooling))
    };
    let (scope, cooling) = whole.or_else(of_model)?;
    let listed = record
        .models
        .as_deref()
        .or(team.as_ref().and_then(|team| team.models.as_deref()));
    let may_serve = |model: &str| listed.is_none_or(|names| names.iter().any(|name| name == model));
    model.is_none_or(may_serve).then(|| (scope, cooling.clone()))
}
