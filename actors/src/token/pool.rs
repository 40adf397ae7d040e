//! The pool: every token of this node's mirror, what may serve now, and the doors through which state changes.
//!
//! Reading (choice) takes short read locks; every change of membership goes through one writer lock, in memory, in
//! microseconds, before anything is written: a token that the upstream refused is out at once. What has to last is then
//! written by the token's actor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::meter::{Domain, Meter};
use grok2api_schemas::token::{Cooling, CoolingCause, LearnedLimits, TeamRecord, TokenSwitch};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::TokenActors;
use super::affinity::Affinity;
use super::choice::Pick;
use super::cooling::{self, CoolingPolicy, Penalty, Scope, SoftFailure};
use super::eligible::{self, Eligible, ModelId};
use super::entry::{MeterUse, NOWHERE, Team, TeamModel, Token};
use super::limits::LimitBook;
use super::probe::{Facts, ProbeReport, Prober};
use super::timers::{ProbeQueue, Resting, Timers};
use crate::bus::BusHandle;
use crate::clock::{Clock, Mono, WallMs};
use crate::egress::ProxySpec;
use crate::ledger::Ledger;
use crate::runtime::ArbiterPool;
use crate::vault::Vault;

/// How the pool behaves.
#[derive(Clone)]
pub struct PoolOptions {
    /// The provider whose tokens these are.
    pub provider: &'static str,
    /// Rests and their caps.
    pub cooling: CoolingPolicy,
    /// Limits that the configuration states.
    pub limits: LimitBook,
    /// Canonical name of an upstream model: models that share limits share it.
    pub canonical: Arc<dyn Fn(&str) -> String + Send + Sync>,
    /// Share of a token's slots that one conversation may hold.
    pub swarm_share: f64,
    /// How long a conversation stays bound after its last call.
    pub binding_life_ms: u64,
    /// Proxy for tokens that name none.
    pub proxy: ProxySpec,
    /// First probe of a team parked for want of credit; doubles each time it is parked again.
    pub parked_probe_ms: u64,
    /// Probes at a time.
    pub probes: usize,
    /// A token is probed again after this long; 0 = only on demand.
    pub refresh_every_ms: u64,
}

/// What the pool is built from.
pub struct PoolParts {
    /// Where records are kept and events told.
    pub bus: BusHandle,
    /// Seals secrets.
    pub vault: Arc<Vault>,
    /// Time.
    pub clock: Clock,
    /// Quotas.
    pub ledger: Ledger,
    /// Asks the upstream.
    pub prober: Arc<dyn Prober>,
    /// Where token actors run.
    pub arbiters: ArbiterPool,
    /// Runs background work.
    pub tracker: TaskTracker,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Counters for metrics.
#[derive(Debug, Default)]
pub struct PoolCounters {
    /// Rests begun, by scope and cause: see [`Pool::cooling_events`].
    events: DashMap<(&'static str, &'static str), AtomicU64>,
    /// Probes made.
    pub probes: AtomicU64,
    /// Probes that found the upstream away.
    pub probes_unreachable: AtomicU64,
}

/// A handle on the pool.
#[derive(Clone)]
pub struct Pool(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) bus: BusHandle,
    pub(super) vault: Arc<Vault>,
    pub(super) clock: Clock,
    ledger: Ledger,
    pub(super) prober: Arc<dyn Prober>,
    pub(super) options: PoolOptions,
    limits: ArcSwap<LimitBook>,
    pub(super) tokens: RwLock<BTreeMap<TokenId, Arc<Token>>>,
    pub(super) by_fingerprint: DashMap<[u8; 32], TokenId>,
    pub(super) teams: DashMap<String, Arc<Team>>,
    eligible: Eligible,
    affinity: Affinity,
    /// Held while membership changes; never across an await.
    writer: Mutex<()>,
    /// Held while tokens come or go, across the write.
    pub(super) roster: tokio::sync::Mutex<()>,
    pub(super) timers: Timers,
    pub(super) probes: ProbeQueue,
    /// When the log was last told that the upstream is away, microseconds; 0 = never.
    pub(super) told_away: AtomicU64,
    pub(super) actors: TokenActors,
    /// Told when a token becomes usable: requests that wait try again.
    changed: tokio::sync::Notify,
    /// Counters for metrics.
    pub counters: PoolCounters,
}

/// Whether it rests for want of credit.
fn is_parked(cooling: Option<&Cooling>, now: WallMs) -> bool {
    cooling.is_some_and(|cooling| cooling.cause == CoolingCause::OutOfCredit && !cooling::is_over(cooling, now))
}

/// Whether a probe that found all well ends a rest: one of a kind that probes look for, and that stood when it began. What
/// a free call cannot show (a rate limit, an operator's rule) runs its time.
fn refutes(before: Option<&Cooling>, now: Option<&Cooling>) -> bool {
    let is_seen_by_probes =
        |cooling: &Cooling| matches!(cooling.cause, CoolingCause::BadCredential | CoolingCause::OutOfCredit);
    now.is_some_and(|cooling| is_seen_by_probes(cooling) && before == Some(cooling))
}

/// A limit that the upstream told is raised at most this often, milliseconds.
const RAISE_EVERY_MS: u64 = 60_000;

/// Names that are kept of models which no team lists.
const MODEL_NAMES: usize = 4_096;

/// Bindings kept at most: 200,000 × about 120 B.
const BINDINGS: usize = 200_000;

impl Pool {
    pub(super) fn build(parts: PoolParts, options: PoolOptions) -> Pool {
        Pool(Arc::new(Inner {
            actors: TokenActors::new(
                parts.arbiters,
                parts.tracker.clone(),
                parts.stop.clone(),
                options.probes,
            ),
            bus: parts.bus,
            vault: parts.vault,
            clock: parts.clock,
            ledger: parts.ledger,
            prober: parts.prober,
            limits: ArcSwap::from_pointee(options.limits.clone()),
            affinity: Affinity::new(BINDINGS, options.binding_life_ms),
            options,
            tokens: RwLock::new(BTreeMap::new()),
            by_fingerprint: DashMap::new(),
            teams: DashMap::new(),
            eligible: Eligible::default(),
            writer: Mutex::new(()),
            roster: tokio::sync::Mutex::new(()),
            timers: Timers::default(),
            probes: ProbeQueue::default(),
            told_away: AtomicU64::new(0),
            changed: tokio::sync::Notify::new(),
            counters: PoolCounters::default(),
        }))
    }

    pub(super) fn eligible(&self) -> &Eligible {
        &self.0.eligible
    }

    pub(super) fn affinity(&self) -> &Affinity {
        &self.0.affinity
    }

    pub(super) fn swarm_share(&self) -> f64 {
        self.0.options.swarm_share
    }

    /// Resolves when a token has become usable (again).
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Wakes all who wait, and one that comes next: it may have been busy with the last change.
    pub(super) fn notify_changed(&self) {
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }

    /// The id of an upstream model that some team lists, or that may be asked of a team whose list is not known.
    pub fn model(&self, name: &str) -> Option<ModelId> {
        match self.0.eligible.find(name) {
            Some(id) if self.offered_by(id) > 0 => Some(id),
            Some(id) => Some(id),
            // Clients write what they like: beyond a bound, names that nobody lists are not remembered.
            None if self.has_unlisted_teams() && self.0.eligible.len() < MODEL_NAMES => {
                Some(self.0.eligible.intern(name))
            }
            None => None,
        }
    }

    /// Whether any team lists the model, usable or not.
    pub fn is_offered(&self, model: ModelId) -> bool {
        self.offered_by(model) > 0 || self.has_unlisted_teams()
    }

    fn offered_by(&self, model: ModelId) -> u32 {
        self.0
            .eligible
            .set(model)
            .map_or(0, |set| set.offered_by.load(Ordering::Relaxed))
    }

    /// Whether a team exists whose models are not known.
    fn has_unlisted_teams(&self) -> bool {
        self.0.eligible.any.offered_by.load(Ordering::Relaxed) > 0
    }

    /// Every model that some team lists, in no order.
    pub fn offered_models(&self) -> Vec<Arc<str>> {
        self.0.eligible.offered()
    }

    /// The name behind a model's id.
    pub fn model_name(&self, model: ModelId) -> Option<Arc<str>> {
        self.0.eligible.set(model).map(|set| set.name.clone())
    }

    /// A team for a model, with its meters; made at its first use.
    pub fn team_model(&self, team: &Arc<Team>, model: ModelId) -> Arc<TeamModel> {
        if let Some(at) = team.models.get(&model) {
            return at.clone();
        }
        let name = self.model_name(model).unwrap_or_default();
        let made = Arc::new(TeamModel {
            meters: ArcSwap::from_pointee(self.meters(&team.record(), &name)),
            model: name,
            answered: std::sync::atomic::AtomicBool::new(false),
            told: AtomicU64::new(0),
            raised_at: AtomicU64::new(0),
        });
        team.models.entry(model).or_insert(made).clone()
    }

    fn meters(&self, team: &TeamRecord, model: &str) -> Vec<MeterUse> {
        let canonical = (self.0.options.canonical)(model);
        self.0
            .limits
            .load()
            .meters(team, &canonical)
            .into_iter()
            .map(|(kind, limit, takes)| {
                let domain = Domain::TeamModel {
                    provider: self.0.options.provider.to_owned(),
                    team: team.team.clone(),
                    model: canonical.clone(),
                };
                MeterUse {
                    meter: self.0.ledger.meter(&Meter { domain, kind }, limit),
                    takes,
                }
            })
            .collect()
    }

    /// Puts new limits of the configuration into force.
    pub fn set_limits(&self, book: LimitBook) {
        self.0.limits.store(Arc::new(book));
        for team in self.0.teams.iter() {
            let record = team.record();
            for at in team.models.iter() {
                at.meters.store(Arc::new(self.meters(&record, &at.model)));
            }
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
            for used in at.meters.load().iter() {
                used.meter.answered();
            }
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
            .find(|(name, _)| *name == model)
            .map(|(_, limits)| *limits);
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
        let record = team.change(
            |record| match record.learned.iter_mut().find(|(name, _)| *name == model) {
                Some((_, limits)) => *limits = after,
                None => record.learned.push((model.clone(), after)),
            },
        );
        tracing::info!(
            team = %team.id, %model, rps = after.rps, rpm = after.rpm, rph = after.rph, rpd = after.rpd, tpm = after.tpm,
            "the upstream told its limits for a team and model"
        );
        for other in team.models.iter() {
            if (self.0.options.canonical)(&other.model) == model {
                other.meters.store(Arc::new(self.meters(&record, &other.model)));
            }
        }
        self.0.actors.save_team(self, team);
    }

    /// Whether some usable token has not been told its domain by the upstream yet.
    pub fn is_finding_out(&self) -> bool {
        self.0.tokens.read().values().any(|token| {
            token.team.load().is_none() && {
                let record = token.record();
                record.switch == TokenSwitch::On && record.cooling.is_none()
            }
        })
    }

    /// Messages that wait for token actors now.
    pub fn mailbox_depth(&self) -> usize {
        self.0.actors.waiting()
    }

    /// Token actors that are live now.
    pub fn live_actors(&self) -> usize {
        self.0.actors.live()
    }

    // === What happened to a call ===

    /// A call succeeded.
    pub fn succeeded(&self, pick: &Pick) {
        let token = &pick.token;
        token.streaks.succeed(&pick.at.model);
        token.last_used_ms.store(self.0.clock.wall().0, Ordering::Relaxed);
        self.0.actors.used(self, token);
    }

    /// A call failed in a way that blames nobody by itself.
    pub fn failed_softly(&self, pick: &Pick, failure: SoftFailure) -> Option<Penalty> {
        let policy = &self.0.options.cooling;
        let now = self.0.clock.wall();
        let rests_already = pick
            .token
            .record()
            .model_cooling
            .iter()
            .any(|(model, cooling)| **model == *pick.at.model && !cooling::is_over(cooling, now));
        if rests_already {
            // One outage breaks all calls that are under way: that is one failure, not a row that doubles the rest.
            return None;
        }
        let penalty = pick.token.streaks.fail(&pick.at.model, failure, policy)?;
        self.penalise(&pick.token, &pick.team, &pick.at.model, &penalty);
        Some(penalty)
    }

    /// A call failed and somebody is to blame: they rest, at once, on this node; the actor writes and tells.
    pub fn penalise(&self, token: &Arc<Token>, team: &Arc<Team>, model: &str, penalty: &Penalty) {
        self.penalise_as(token, team, model, penalty, false);
    }

    /// `by_probe`: a probe found it, not a call.
    fn penalise_as(&self, token: &Arc<Token>, team: &Arc<Team>, model: &str, penalty: &Penalty, by_probe: bool) {
        let now = self.0.clock.wall();
        let policy = &self.0.options.cooling;
        // A hundred calls that were under way when the credit ran out park the team once.
        let was_parked = match penalty.scope {
            Scope::Token | Scope::TokenModel => is_parked(token.record().cooling.as_ref(), now),
            Scope::Team | Scope::TeamModel => is_parked(team.record().cooling.as_ref(), now),
        };
        let parks = penalty.cause == CoolingCause::OutOfCredit && (by_probe || !was_parked);
        let until = {
            let _writer = self.0.writer.lock();
            match penalty.scope {
                Scope::Token => {
                    let record = token.change(|record| {
                        record.cooling = Some(cooling::rest(record.cooling.as_ref(), penalty, now, policy));
                        record.fail_count = record.fail_count.saturating_add(1);
                    });
                    self.dismiss_token(token);
                    record
                        .cooling
                        .as_ref()
                        .and_then(|c| c.until_ms)
                        .map(|until| (until, Resting::Token(token.id)))
                }
                Scope::TokenModel => {
                    let mut until = None;
                    token.change(|record| {
                        record
                            .model_cooling
                            .retain(|(_, cooling)| !cooling::is_over(cooling, now));
                        let running = record
                            .model_cooling
                            .iter()
                            .find(|(name, _)| name == model)
                            .map(|(_, c)| c.clone());
                        let rest = cooling::rest(running.as_ref(), penalty, now, policy);
                        until = rest.until_ms;
                        record.model_cooling.retain(|(name, _)| name != model);
                        record.model_cooling.push((model.to_owned(), rest));
                    });
                    until.map(|until| (until, Resting::Token(token.id)))
                }
                Scope::TeamModel => {
                    let mut until = None;
                    team.change(|record| {
                        record
                            .model_cooling
                            .retain(|(_, cooling)| !cooling::is_over(cooling, now));
                        let running = record
                            .model_cooling
                            .iter()
                            .find(|(name, _)| name == model)
                            .map(|(_, c)| c.clone());
                        let rest = cooling::rest(running.as_ref(), penalty, now, policy);
                        until = rest.until_ms;
                        record.model_cooling.retain(|(name, _)| name != model);
                        record.model_cooling.push((model.to_owned(), rest));
                    });
                    if let Some(id) = self.0.eligible.find(model) {
                        self.0.eligible.dismiss(team, id);
                    }
                    until.map(|until| (until, Resting::TeamModel(team.id.to_string(), model.to_owned())))
                }
                Scope::Team => {
                    let record = team.change(|record| {
                        record.cooling = Some(cooling::rest(record.cooling.as_ref(), penalty, now, policy));
                    });
                    self.dismiss_team(team);
                    record
                        .cooling
                        .as_ref()
                        .and_then(|c| c.until_ms)
                        .map(|until| (until, Resting::Team(team.id.to_string())))
                }
            }
        };
        if let Some((until, resting)) = until {
            self.0.timers.add(until, resting);
        }
        self.count_event(penalty.scope.as_str(), penalty.cause);
        tracing::warn!(
            token = %token.id, masked = %token.record().masked, team = %team.id, %model,
            scope = penalty.scope.as_str(), cause = penalty.cause.as_str(), for_ms = penalty.for_ms, detail = %penalty.detail,
            "an upstream credential or team rests"
        );
        self.0.actors.cooled(self, token, team, penalty, parks);
    }

    /// Plans a probe of a token, unless an earlier one is planned.
    pub(super) fn plan_probe(&self, token: &Token, in_ms: u64) {
        let at_ms = self.0.clock.wall().0 + in_ms;
        if token.plan_probe(at_ms) {
            self.0.timers.add(at_ms, Resting::Probe(token.id));
        }
    }

    fn count_event(&self, scope: &'static str, cause: CoolingCause) {
        self.0
            .counters
            .events
            .entry((scope, cause.as_str()))
            .or_default()
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Rests begun since start, by scope and cause.
    pub fn cooling_events(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.0
            .counters
            .events
            .iter()
            .map(|e| (e.key().0, e.key().1, e.value().load(Ordering::Relaxed)))
            .collect()
    }

    /// Hits, borrows, rebinds, and bindings held.
    pub fn affinity_counts(&self) -> (u64, u64, u64, usize) {
        let c = &self.0.affinity.counters;
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (read(&c.hits), read(&c.borrows), read(&c.rebinds), self.0.affinity.len())
    }

    // === Membership: callers hold the writer lock ===

    pub(super) fn with_writer<T>(&self, change: impl FnOnce() -> T) -> T {
        let _writer = self.0.writer.lock();
        change()
    }

    /// Puts a token and its team where their records say they belong.
    pub(super) fn place(&self, token: &Arc<Token>) {
        let now = self.0.clock.wall();
        let record = token.record();
        let usable = record.switch == TokenSwitch::On
            && !token.is_gone()
            && record
                .cooling
                .as_ref()
                .is_none_or(|cooling| cooling::is_over(cooling, now));
        let Some(team) = token.team() else { return };
        if usable {
            if eligible::admit_token(&team, token) {
                self.place_team(&team, now);
            }
            self.notify_changed();
        } else {
            self.dismiss_token(token);
        }
    }

    fn dismiss_token(&self, token: &Arc<Token>) {
        if let Some(team) = token.team()
            && eligible::dismiss_token(&team, token)
        {
            self.dismiss_team(&team);
        }
    }

    fn dismiss_team(&self, team: &Arc<Team>) {
        let models: Vec<ModelId> = team.positions.lock().iter().map(|(model, _)| *model).collect();
        for model in models {
            self.0.eligible.dismiss(team, model);
        }
        self.0.eligible.dismiss_any(team);
    }

    /// Puts a team into the set of every model that it can serve now.
    pub(super) fn place_team(&self, team: &Arc<Team>, now: WallMs) {
        let record = team.record();
        let rests = record
            .cooling
            .as_ref()
            .is_some_and(|cooling| !cooling::is_over(cooling, now));
        if rests || team.live_tokens() == 0 {
            self.dismiss_team(team);
            return;
        }
        let models: Vec<ModelId> = team.positions.lock().iter().map(|(model, _)| *model).collect();
        for model in models {
            let name = self.model_name(model).unwrap_or_default();
            let resting = record
                .model_cooling
                .iter()
                .any(|(m, cooling)| **m == *name && !cooling::is_over(cooling, now));
            if resting {
                self.0.eligible.dismiss(team, model);
            } else {
                self.0.eligible.admit(team, model);
            }
        }
        if record.models.is_none() {
            self.0.eligible.admit_any(team);
        }
        self.notify_changed();
    }

    /// Makes a team offer exactly these models.
    pub(super) fn list_models(&self, team: &Arc<Team>, names: &[String]) {
        let ids: Vec<ModelId> = names.iter().map(|name| self.0.eligible.intern(name)).collect();
        let has_tokens = team.tokens.load(Ordering::Relaxed) > 0;
        let gone: Vec<ModelId> = team
            .positions
            .lock()
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| !ids.contains(id))
            .collect();
        for id in gone {
            self.0.eligible.dismiss(team, id);
            team.positions.lock().retain(|(model, _)| *model != id);
            if has_tokens {
                self.offer(id, false);
            }
        }
        for id in ids {
            let mut positions = team.positions.lock();
            if !positions.iter().any(|(model, _)| *model == id) {
                positions.push((id, NOWHERE));
                drop(positions);
                if has_tokens {
                    self.offer(id, true);
                }
            }
        }
    }

    fn offer(&self, model: ModelId, more: bool) {
        if let Some(set) = self.0.eligible.set(model) {
            count_offer(&set.offered_by, more);
        }
    }

    /// Counts a token as one of its team's, or no longer. The first and the last decide what the team offers.
    fn count_token(&self, team: &Team, joins: bool) {
        let turns = if joins {
            team.tokens.fetch_add(1, Ordering::Relaxed) == 0
        } else {
            team.tokens.fetch_sub(1, Ordering::Relaxed) == 1
        };
        if !turns {
            return;
        }
        let models: Vec<ModelId> = team.positions.lock().iter().map(|(model, _)| *model).collect();
        for model in models {
            self.offer(model, joins);
        }
        if team.record().models.is_none() {
            count_offer(&self.0.eligible.any.offered_by, joins);
        }
    }

    /// Makes a token one of this team's. It stands in no list yet.
    pub(super) fn join(&self, token: &Token, team: &Arc<Team>) {
        let before = token.team.swap(Some(team.clone()));
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, team)) {
            return;
        }
        self.count_token(team, true);
        if let Some(before) = before {
            self.count_token(&before, false);
        }
    }

    /// The token was deleted. It keeps its team, for calls that are under way.
    pub(super) fn leave(&self, token: &Token, comes_back: bool) {
        if let Some(team) = token.team() {
            self.count_token(&team, comes_back);
        }
    }

    /// The team of that id, made if it is new.
    pub(super) fn team_entry(&self, id: &str, stored: Option<TeamRecord>) -> Arc<Team> {
        if let Some(team) = self.0.teams.get(id) {
            return team.clone();
        }
        let record = stored.unwrap_or_else(|| TeamRecord {
            team: id.to_owned(),
            models: None,
            zdr: false,
            cooling: None,
            model_cooling: Vec::new(),
            learned: Vec::new(),
            version: 0,
        });
        let models = record.models.clone();
        let team = self
            .0
            .teams
            .entry(id.to_owned())
            .or_insert_with(|| Arc::new(Team::new(record)))
            .clone();
        if let Some(models) = models {
            self.list_models(&team, &models);
        }
        team
    }

    // === What a probe found ===

    /// The rests of a token and its team, as they are when a probe begins.
    pub(super) fn rests_of(token: &Token) -> (Option<Cooling>, Option<Cooling>) {
        let of_team = token.team().and_then(|team| team.record().cooling.clone());
        (token.record().cooling.clone(), of_team)
    }

    /// Applies what a probe found; answers whether the upstream accepts the token. `before`: the rests when it began.
    pub(super) fn apply_probe(
        &self,
        token: &Arc<Token>,
        report: &ProbeReport,
        before: &(Option<Cooling>, Option<Cooling>),
    ) -> bool {
        self.0.counters.probes.fetch_add(1, Ordering::Relaxed);
        let now = self.0.clock.wall();
        let (facts, penalty) = match report {
            ProbeReport::Usable(facts) => (facts, None),
            ProbeReport::Refused { penalty, facts } => (facts, Some(penalty)),
            ProbeReport::Unreachable(reason) => {
                self.0.counters.probes_unreachable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(token = %token.id, %reason, "probe found the upstream away");
                return false;
            }
        };
        let thought = token.team();
        let team = self.settle_domain(token, facts, now);
        let knew_team = thought
            .zip(team.as_ref())
            .is_some_and(|(thought, team)| Arc::ptr_eq(&thought, team));
        match (penalty, team) {
            (Some(penalty), Some(team)) => {
                self.penalise_as(token, &team, "", penalty, true);
                false
            }
            (Some(penalty), None) => {
                // No team is known, so the key itself rests.
                token.change(|record| {
                    record.cooling = Some(cooling::rest(
                        record.cooling.as_ref(),
                        penalty,
                        now,
                        &self.0.options.cooling,
                    ));
                });
                self.0.actors.save(self, token);
                false
            }
            (None, team) => {
                self.with_writer(|| {
                    token.change(|record| {
                        if refutes(before.0.as_ref(), record.cooling.as_ref()) {
                            record.cooling = None;
                            record.fail_count = 0;
                        }
                        record.probed_ms = Some(now.0);
                    });
                    if let Some(team) = &team
                        && let of_team = team.record()
                        // Which team it would be was not known when the probe began.
                        && let stood = if knew_team { &before.1 } else { &of_team.cooling }
                        && refutes(stood.as_ref(), of_team.cooling.as_ref())
                    {
                        team.change(|record| record.cooling = None);
                        self.place_team(team, now);
                    }
                    self.place(token);
                });
                if let Some(team) = &team {
                    self.0.actors.save_team(self, team);
                }
                self.0.actors.save(self, token);
                true
            }
        }
    }

    /// Ties a token to its quota domain, as far as it is known, and notes what else the probe told of it.
    fn settle_domain(&self, token: &Arc<Token>, facts: &Facts, now: WallMs) -> Option<Arc<Team>> {
        let record = token.record();
        let limits = self.0.limits.load();
        let id = limits
            .team_of(&record)
            .map(str::to_owned)
            .or_else(|| facts.team.clone())
            .or_else(|| record.team.clone())
            .or_else(|| facts.cannot_tell_team.then(|| format!("key:{}", record.id)))?;
        let _writer = self.0.writer.lock();
        if token.is_gone() {
            return None;
        }
        let moved = record.team.as_deref() != Some(id.as_str());
        let left = if moved { token.team() } else { None };
        if moved {
            self.dismiss_token(token);
        }
        let team = self.team_entry(&id, None);
        self.join(token, &team);
        if moved {
            // A list of its own was measured against the old team's.
            token.change(|record| {
                record.team = Some(id.clone());
                record.models = None;
            });
        }
        if let Some(models) = &facts.models {
            self.settle_models(token, &team, models, moved);
        }
        if let Some(zdr) = facts.zdr
            && team.record().zdr != zdr
        {
            team.change(|record| record.zdr = zdr);
        }
        self.place(token);
        self.place_team(&team, now);
        drop(_writer);
        self.settle_offers(left.into_iter());
        for (model, told) in &facts.limits {
            let model = self.0.eligible.intern(model);
            let at = self.team_model(&team, model);
            self.learn(&team, &at, *told);
        }
        Some(team)
    }

    /// What the upstream lists for a token. A team offers what any of its keys may use; a key keeps a list of its own only
    /// where that is less: keys of one team may be allowed different models, but few are.
    fn settle_models(&self, token: &Arc<Token>, team: &Arc<Team>, models: &[String], moved: bool) {
        let mut models = models.to_vec();
        models.sort_unstable();
        models.dedup();
        let record = token.record();
        let known = team.record().models.clone();
        // What keys listed that are no longer here does not count.
        let is_only_key = team.tokens.load(Ordering::Relaxed) == 1;
        let mut all = known.clone().filter(|_| !is_only_key).unwrap_or_default();
        all.extend(models.iter().cloned());
        all.sort_unstable();
        all.dedup();
        let own = Some(&models).filter(|own| **own != all).cloned();
        let before = if moved {
            None
        } else {
            record.models.as_ref().or(known.as_ref())
        };
        let lost_some = before.is_some_and(|before| before.iter().any(|name| !models.contains(name)));
        if record.models != own {
            token.change(|record| record.models = own);
        }
        if lost_some && let Some(union) = self.models_of_keys(team) {
            all = union;
        }
        if known.as_ref() != Some(&all) {
            if known.is_none() {
                self.0.eligible.dismiss_any(team);
                if team.tokens.load(Ordering::Relaxed) > 0 {
                    count_offer(&self.0.eligible.any.offered_by, false);
                }
            }
            team.change(|record| record.models = Some(all.clone()));
            self.list_models(team, &all);
            if token.record().models.as_ref() == Some(&all) {
                token.change(|record| record.models = None);
            }
        }
    }

    /// Teams that lost keys offer what those that are left may use.
    pub(super) fn settle_offers(&self, teams: impl Iterator<Item = Arc<Team>>) {
        let mut unions: BTreeMap<Box<str>, Option<BTreeSet<String>>> = teams
            .filter(|team| team.tokens.load(Ordering::Relaxed) > 0 && team.record().models.is_some())
            .map(|team| (team.id.clone(), Some(BTreeSet::new())))
            .collect();
        if unions.is_empty() {
            return;
        }
        let _writer = self.0.writer.lock();
        for token in self.0.tokens.read().values().filter(|token| !token.is_gone()) {
            let Some(team) = token.team() else { continue };
            if let Some(slot) = unions.get_mut(&team.id)
                && let Some(union) = slot
            {
                match &token.record().models {
                    Some(own) => union.extend(own.iter().cloned()),
                    None => *slot = None,
                }
            }
        }
        for (id, union) in unions {
            let team = self.0.teams.get(&*id).map(|team| team.clone());
            if let (Some(team), Some(union)) = (team, union) {
                let models: Vec<String> = union.into_iter().collect();
                if team.record().models.as_ref() != Some(&models) {
                    team.change(|record| record.models = Some(models.clone()));
                    self.list_models(&team, &models);
                    self.0.actors.save_team(self, &team);
                }
            }
        }
    }

    /// What the keys of a team may use together, if each of them has a list of its own.
    fn models_of_keys(&self, team: &Arc<Team>) -> Option<Vec<String>> {
        let mut union = BTreeSet::new();
        for token in self.0.tokens.read().values() {
            let is_of_team = token.team.load().as_ref().is_some_and(|of| Arc::ptr_eq(of, team));
            if is_of_team && !token.is_gone() {
                union.extend(token.record().models.as_ref()?.iter().cloned());
            }
        }
        Some(union.into_iter().collect())
    }
}

fn count_offer(count: &std::sync::atomic::AtomicU32, more: bool) {
    if more {
        count.fetch_add(1, Ordering::Relaxed);
    } else {
        count.fetch_sub(1, Ordering::Relaxed);
    }
}
