//! The meters that a call touches, and what the upstream tells of their limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grok2api_schemas::meter::{Domain, Meter, MeterKind};
use grok2api_schemas::token::{LearnedLimits, TeamRecord};
use parking_lot::RwLock;

use super::cooling::CoolingPolicy;
use super::eligible::ModelId;
use super::limits::LimitBook;
use super::merge;
use super::pool::Pool;
use super::team::{MeterUse, MeterUses, Team, TeamModel};
use crate::clock::Mono;

/// A limit that the upstream told is raised at most this often, milliseconds.
const RAISE_EVERY_MS: u64 = 60_000;

impl Pool {
    /// A team for a model, with its meters; made at its first use.
    pub fn team_model(&self, team: &Arc<Team>, model: ModelId) -> Arc<TeamModel> {
        if let Some(at) = team.models.read().get(&model) {
            return at.clone();
        }
        let name = self.model_name(model).unwrap_or_default();
        let made = Arc::new(TeamModel {
            meters: RwLock::new(self.meters(&team.record(), &name)),
            model: name,
            answered: std::sync::atomic::AtomicBool::new(false),
            told: AtomicU64::new(0),
            raised_at: AtomicU64::new(0),
        });
        team.models.write().entry(model).or_insert(made).clone()
    }

    fn meters(&self, team: &TeamRecord, model: &str) -> MeterUses {
        let canonical = (self.0.options.canonical)(model);
        let limits = self.0.limits.load();
        let is_hard = limits.is_hard(team, &canonical);
        limits
            .meters(team, &canonical)
            .into_iter()
            .map(|(kind, limit, takes)| {
                let domain = Domain::TeamModel {
                    provider: self.0.options.provider.to_owned(),
                    team: team.team.as_ref().to_owned(),
                    model: canonical.clone(),
                };
                let meter = self.0.ledger.meter(&Meter { domain, kind }, limit);
                meter.set_hard(is_hard && kind == MeterKind::Concurrency);
                MeterUse { meter, takes }
            })
            .collect()
    }

    /// Rests that begin from now on follow this policy.
    pub fn set_cooling(&self, policy: CoolingPolicy) {
        self.0.cooling.store(Arc::new(policy));
    }

    /// Puts new limits of the configuration into force.
    pub fn set_limits(&self, book: LimitBook) {
        self.0.limits.store(Arc::new(book));
        self.remeter_all();
    }

    /// Makes all meters anew.
    pub(super) fn remeter_all(&self) {
        for team in self.0.teams.iter() {
            self.remeter(&team);
        }
    }

    /// The upstream answered a call: what its head told of limits, and that meters without a limit may open up.
    pub fn note_answer(&self, team: &Arc<Team>, at: &TeamModel, told: LearnedLimits) {
        let seen = at.told.swap(
            told.rpm.unwrap_or(0) ^ told.tpm.unwrap_or(0).rotate_left(32),
            Ordering::Relaxed,
        );
        let now = told.rpm.unwrap_or(0) ^ told.tpm.unwrap_or(0).rotate_left(32);
        if now != 0 && seen != now {
            self.learn(team, at, told);
        }
        if !at.answered.swap(true, Ordering::Relaxed) {
            for used in at.meters().iter() {
                used.meter.answered();
            }
        }
    }

    /// An answer to a call sent at `sent` told how many requests a minute are allowed, and how many are left.
    pub fn note_remaining(&self, at: &TeamModel, sent: Mono, limit: u64, remaining: u64) {
        let minute = MeterKind::Requests { window_ms: 60_000 };
        for used in at.meters().iter().filter(|used| used.meter.meter().kind == minute) {
            used.meter.note_remaining(sent, limit, remaining);
        }
    }

    /// Takes note of limits that the upstream told. A lower one counts at once, a higher one at most once a minute: what
    /// one server says and another contradicts must not swing the quota with every answer.
    pub fn learn(&self, team: &Arc<Team>, at: &TeamModel, told: LearnedLimits) {
        let now = self.0.clock.now();
        let last_raised = Mono(at.raised_at.load(Ordering::Relaxed));
        let may_raise = last_raised == Mono(0) || now.ms_since(last_raised) >= RAISE_EVERY_MS;
        let take = |known: Option<u64>, told: Option<u64>| match (known, told) {
            (Some(known), Some(told)) if told > known && !may_raise => Some(known),
            (known, told) => told.or(known),
        };
        let model = (self.0.options.canonical)(&at.model);
        let known = team
            .record()
            .learned
            .iter()
            .find(|(name, ..)| *name == model)
            .map(|(_, limits, _)| *limits);
        let before = known.unwrap_or_default();
        let after = LearnedLimits {
            rps: take(before.rps, told.rps),
            rpm: take(before.rpm, told.rpm),
            rph: take(before.rph, told.rph),
            rpd: take(before.rpd, told.rpd),
            tpm: take(before.tpm, told.tpm),
        };
        if before == after {
            return;
        }
        at.raised_at.store(now.0, Ordering::Relaxed);
        let tag = self.tag();
        team.change(|record| {
            let version = record.version;
            match record.learned.iter_mut().find(|(name, ..)| *name == model) {
                Some((_, limits, at)) => (*limits, *at) = (after, merge::stamp(version, *at, tag)),
                None => record
                    .learned
                    .push((model.clone(), after, merge::stamp(version, 0, tag))),
            }
            record.learned.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        });
        tracing::info!(
            team = %team.id, %model, rps = after.rps, rpm = after.rpm, rph = after.rph, rpd = after.rpd, tpm = after.tpm,
            "the upstream told its limits for a team and model"
        );
        self.remeter(team);
        self.0.actors.save_team(self, team);
    }

    /// Makes a team's meters anew: its limits, or the names that its models are counted under, have changed.
    pub(super) fn remeter(&self, team: &Team) {
        let record = team.record();
        for at in team.models.read().values() {
            *at.meters.write() = self.meters(&record, &at.model);
        }
    }
}
