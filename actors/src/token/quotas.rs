//! How much of a token's meters is used: what an operator looks at.

use std::collections::BTreeMap;

use grok2api_schemas::admin::tokens::{MeterView, MeterWord, TokenQuotas};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::meter::{Domain, Meter, MeterKind};

use super::pool::Pool;
use super::team::Team;

/// Most meters that are shown.
const MOST: usize = 200;

impl Pool {
    /// The meters of a token's team and models, as all nodes have used them; `None` without such a token. Nothing is counted
    /// from now on that was not counted before.
    pub async fn quotas(&self, id: TokenId) -> Option<TokenQuotas> {
        let token = self.find(id)?;
        let Some(team) = token.team() else {
            return Some(TokenQuotas {
                team: None,
                meters: Vec::new(),
                left_out: 0,
            });
        };
        let record = team.record();
        // Models that were served, that the upstream told limits of, and that may be asked for.
        let served: Vec<String> = team.models.read().values().map(|at| at.model.to_string()).collect();
        let own = token.record();
        let offered = own.models.as_deref().or(record.models.as_deref()).unwrap_or_default();
        let told = record.learned.iter().map(|(model, ..)| model.as_str());
        let named = served
            .iter()
            .map(String::as_str)
            .chain(told)
            .chain(offered.iter().map(String::as_str));
        let mut wanted: BTreeMap<Meter, Option<u64>> = BTreeMap::new();
        let limits = self.0.limits.load_full();
        for model in named {
            let canonical = (self.0.options.canonical)(model);
            for (kind, limit, _) in limits.meters(&record, &canonical) {
                let domain = Domain::TeamModel {
                    provider: self.0.options.provider.to_owned(),
                    team: record.team.as_ref().to_owned(),
                    model: canonical.clone(),
                };
                wanted.insert(Meter { domain, kind }, limit);
            }
        }
        let asked: Vec<Meter> = wanted.keys().cloned().collect();
        let used = self.0.ledger.used(&asked).await;
        let mut meters: Vec<MeterView> = Vec::new();
        for (meter, limit) in wanted {
            let standing = used.get(&meter).copied().unwrap_or_default();
            let held = self.0.ledger.status_of(&meter);
            let limit = held.as_ref().and_then(|held| held.limit).or(limit);
            if limit.is_none() && standing.used + standing.in_hand == 0 {
                continue;
            }
            let Domain::TeamModel { model, .. } = meter.domain else {
                continue;
            };
            let (kind, window_ms) = word(meter.kind);
            meters.push(MeterView {
                model,
                kind,
                window_ms,
                limit,
                used: standing.used,
                reserved: standing.in_hand,
                next_release_ms: held.and_then(|held| held.next_release_ms),
            });
        }
        // What is used most of all stands first; a model's meters stay together.
        let share = |meter: &MeterView| match meter.limit {
            Some(limit) => (meter.used + meter.reserved) as f64 / limit.max(1) as f64,
            None => 0.0,
        };
        let mut tightest: BTreeMap<String, f64> = BTreeMap::new();
        for meter in &meters {
            let most = tightest.entry(meter.model.clone()).or_default();
            *most = most.max(share(meter));
        }
        meters.sort_by(|a, b| {
            let of = |meter: &MeterView| tightest.get(&meter.model).copied().unwrap_or(0.0);
            of(b)
                .total_cmp(&of(a))
                .then_with(|| a.model.cmp(&b.model))
                .then_with(|| (a.kind, a.window_ms).cmp(&(b.kind, b.window_ms)))
        });
        let left_out = meters.len().saturating_sub(MOST) as u64;
        meters.truncate(MOST);
        Some(TokenQuotas {
            team: own.team.as_deref().map(str::to_owned),
            meters,
            left_out,
        })
    }
}

/// The meter of a team of which the largest share is used, as this node last heard. A few atomics.
pub(super) fn tightest(team: &Team) -> Option<MeterView> {
    let models = team.models.read();
    let mut tightest: Option<(f64, MeterView)> = None;
    for at in models.values() {
        for of in at.meters().iter() {
            let Some(limit) = of.meter.limit() else { continue };
            let used = of.meter.used_in_window();
            let share = used as f64 / limit.max(1) as f64;
            if tightest.as_ref().is_some_and(|(most, _)| *most >= share) {
                continue;
            }
            let (kind, window_ms) = word(of.meter.meter().kind);
            let view = MeterView {
                model: at.model.to_string(),
                kind,
                window_ms,
                limit: Some(limit),
                used,
                reserved: 0,
                next_release_ms: None,
            };
            tightest = Some((share, view));
        }
    }
    tightest.map(|(_, view)| view)
}

fn word(kind: MeterKind) -> (MeterWord, Option<u64>) {
    match kind {
        MeterKind::Requests { window_ms } | MeterKind::Paced { window_ms } => (MeterWord::Requests, Some(window_ms)),
        MeterKind::Tokens { window_ms } => (MeterWord::Tokens, Some(window_ms)),
        MeterKind::Usd { window_ms } => (MeterWord::Usd, Some(window_ms)),
        MeterKind::UsdPerDay => (MeterWord::Usd, None),
        MeterKind::Concurrency => (MeterWord::Concurrency, None),
        MeterKind::PerDay(_) => (MeterWord::Requests, None),
    }
}
