//! The simulated upstream's state: teams, keys, their meters, deferred answers, caches and counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use dashmap::DashMap;
use grok2api_actors::clock::{Clock, Mono};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::files::StoredFile;
use super::kept::Kept;
use super::management::Management;
use super::media::{Hosted, ImageJob, VideoJob};
use super::meter::Meter;
use super::misbehave::Script;
use super::models::Models;
use super::responses::StoredResponse;
use super::scenario::{
    KeyOptions, Limits, Scenario, ScenarioError, TeamOptions, generated_secret, generated_team, glob_matches,
};

/// Conversations remembered for the prompt cache; over this the memory starts anew.
const MAX_CONVERSATIONS: usize = 100_000;

/// A team.
#[derive(Debug)]
pub struct Team {
    pub id: String,
    pub user_id: String,
    pub funded: AtomicBool,
    pub blocked: AtomicBool,
    pub zdr: AtomicBool,
    pub credit_ticks: RwLock<Option<u64>>,
    pub spent_ticks: AtomicU64,
    pub models: RwLock<Vec<String>>,
    pub limits: RwLock<BTreeMap<String, Limits>>,
    /// By resolved model id.
    pub meters: DashMap<String, Arc<Meter>>,
}

impl Team {
    /// The limits of a model: its own entry, else the longest pattern that fits, else none.
    pub fn limits_for(&self, model: &str) -> Limits {
        let limits = self.limits.read();
        if let Some(exact) = limits.get(model) {
            return *exact;
        }
        limits
            .iter()
            .filter(|(pattern, _)| glob_matches(pattern, model))
            .max_by_key(|(pattern, _)| pattern.len())
            .map_or_else(Limits::default, |(_, limits)| *limits)
    }

    /// Whether it may use the model.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.read().iter().any(|pattern| glob_matches(pattern, model))
    }

    /// Whether its credit is spent.
    pub fn exhausted(&self) -> bool {
        self.credit_ticks
            .read()
            .is_some_and(|credit| self.spent_ticks.load(Ordering::Relaxed) >= credit)
    }
}

/// A key.
#[derive(Debug)]
pub struct Key {
    pub secret: String,
    pub id: String,
    pub name: String,
    pub team: Arc<Team>,
    pub blocked: AtomicBool,
    pub disabled: AtomicBool,
    pub expired: AtomicBool,
    pub acls: Vec<String>,
    pub meter: Meter,
    pub tally: Mutex<KeyTally>,
}

/// What a key was used for.
#[derive(Clone, Debug, Default)]
pub struct KeyTally {
    /// Requests by route.
    pub routes: BTreeMap<&'static str, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Calls whose client hung up.
    pub cancelled: u64,
}

impl Key {
    /// Whether its ACLs allow this (`endpoint`, `chat`), (`model`, `grok-4.6`).
    pub fn allows(&self, kind: &str, name: &str) -> bool {
        let prefix = format!("api-key:{kind}:");
        self.acls
            .iter()
            .filter_map(|acl| acl.strip_prefix(&prefix))
            .any(|granted| glob_matches(granted, name))
    }

    /// As the API shows it: `xai-...b14o`.
    pub fn shown(&self) -> String {
        let tail: String = self
            .secret
            .chars()
            .rev()
            .take(4)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        format!("xai-...{tail}")
    }
}

/// Totals.
#[derive(Debug, Default)]
pub struct Stats {
    pub requests: AtomicU64,
    pub unknown_keys: AtomicU64,
    pub in_flight: AtomicI64,
    pub max_in_flight: AtomicI64,
    pub completed: AtomicU64,
    pub cancelled: AtomicU64,
    pub cut: AtomicU64,
    pub refused: AtomicU64,
    pub connections: AtomicI64,
    pub connections_total: AtomicU64,
}

/// A deferred answer.
#[derive(Clone, Debug)]
pub struct Deferred {
    pub team: String,
    pub ready: Mono,
    pub body: Bytes,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    pub clock: Clock,
    pub scenario: Scenario,
    pub models: Models,
    pub teams: DashMap<String, Arc<Team>>,
    pub keys: DashMap<String, Arc<Key>>,
    pub script: Script,
    pub stats: Stats,
    pub deferred: DashMap<String, Deferred>,
    /// By id.
    pub responses: DashMap<String, StoredResponse>,
    pub files: DashMap<String, StoredFile>,
    /// Skills and batches, by id.
    pub kept: DashMap<String, Kept>,
    /// By name.
    pub media: DashMap<String, Hosted>,
    /// By request id.
    pub videos: DashMap<String, VideoJob>,
    /// Pictures that are fetched later.
    pub pictures: DashMap<String, ImageJob>,
    /// Keys that the Management API made.
    pub management: Management,
    /// Prompt tokens of the last call of a conversation, by (team, conversation).
    conversations: DashMap<(String, String), u64>,
    /// Until when (on the clock) nobody may connect.
    pub refuse_until: watch::Sender<Mono>,
}

impl World {
    /// The state at the start of a scenario.
    pub fn new(scenario: Scenario, clock: Clock) -> Result<World, ScenarioError> {
        let now = clock.now();
        let world = World {
            models: Models::new(&scenario.models),
            teams: DashMap::new(),
            keys: DashMap::new(),
            script: Script::new(now),
            stats: Stats::default(),
            deferred: DashMap::new(),
            responses: DashMap::new(),
            files: DashMap::new(),
            kept: DashMap::new(),
            media: DashMap::new(),
            videos: DashMap::new(),
            pictures: DashMap::new(),
            management: Management::default(),
            conversations: DashMap::new(),
            refuse_until: watch::Sender::new(Mono::default()),
            clock,
            scenario,
        };
        for team in &world.scenario.teams {
            world.add_team(team)?;
        }
        if let Some(generate) = &world.scenario.generate {
            for team in 0..generate.teams {
                world.add_team(&TeamOptions {
                    id: generated_team(team),
                    limits: generate.limits.clone(),
                    keys: (0..generate.keys_per_team)
                        .map(|key| super::scenario::KeyEntry::Secret(generated_secret(team, key)))
                        .collect(),
                    ..TeamOptions::default()
                })?;
            }
        }
        for key in &world.scenario.keys {
            world.add_key(key.clone())?;
        }
        for rule in &world.scenario.rules {
            world.script.add(rule.clone(), &world.clock).map_err(ScenarioError)?;
        }
        Ok(world)
    }

    /// Adds a team with its keys.
    pub fn add_team(&self, options: &TeamOptions) -> Result<(), ScenarioError> {
        if options.id.is_empty() {
            return Err(ScenarioError("a team has no id".to_owned()));
        }
        if self.teams.contains_key(&options.id) {
            return Err(ScenarioError(format!("two teams are called `{}`", options.id)));
        }
        let team = Arc::new(Team {
            id: options.id.clone(),
            user_id: stable_uuid(&format!("user of {}", options.id)),
            funded: AtomicBool::new(options.funded),
            blocked: AtomicBool::new(options.blocked),
            zdr: AtomicBool::new(options.zdr),
            credit_ticks: RwLock::new(options.credit_ticks),
            spent_ticks: AtomicU64::new(0),
            models: RwLock::new(options.models.clone()),
            limits: RwLock::new(options.limits.clone()),
            meters: DashMap::new(),
        });
        self.teams.insert(options.id.clone(), team);
        for entry in &options.keys {
            self.add_key(KeyOptions {
                team: options.id.clone(),
                ..KeyOptions::from(entry.clone())
            })?;
        }
        Ok(())
    }

    /// Adds a key to a team that exists.
    pub fn add_key(&self, options: KeyOptions) -> Result<(), ScenarioError> {
        let team = self
            .teams
            .get(&options.team)
            .map(|team| team.clone())
            .ok_or_else(|| ScenarioError(format!("a key names the team `{}`, which is not there", options.team)))?;
        if options.secret.is_empty() {
            return Err(ScenarioError(format!("a key of team `{}` has no secret", options.team)));
        }
        if self.keys.contains_key(&options.secret) {
            return Err(ScenarioError(format!(
                "two keys have one secret (team `{}`)",
                options.team
            )));
        }
        let limits = Limits {
            rps: options.qps,
            rpm: options.qpm,
            tpm: options.tpm,
            ..Limits::default()
        };
        let key = Key {
            id: stable_uuid(&options.secret),
            name: options.name,
            team,
            blocked: AtomicBool::new(options.blocked),
            disabled: AtomicBool::new(options.disabled),
            expired: AtomicBool::new(options.expired),
            acls: options.acls,
            meter: Meter::new(limits, &self.scenario.judge_windows_ms),
            tally: Mutex::new(KeyTally::default()),
            secret: options.secret,
        };
        self.keys.insert(key.secret.clone(), Arc::new(key));
        Ok(())
    }

    /// The counters of a team and model.
    pub fn meter(&self, team: &Team, model: &str) -> Arc<Meter> {
        if let Some(meter) = team.meters.get(model) {
            return meter.clone();
        }
        team.meters
            .entry(model.to_owned())
            .or_insert_with(|| Arc::new(Meter::new(team.limits_for(model), &self.scenario.judge_windows_ms)))
            .clone()
    }

    /// Whether a file is there for this team.
    pub fn owns_file(&self, team: &str, id: &str) -> bool {
        self.files.get(id).is_some_and(|file| file.team == team)
    }

    /// How many prompt tokens the cache of this conversation holds; remembers this call's.
    pub fn cached_tokens(&self, team: &Team, conversation: &str, prompt: u64) -> u64 {
        if self.conversations.len() > MAX_CONVERSATIONS {
            self.conversations.clear();
        }
        let mut last = self
            .conversations
            .entry((team.id.clone(), conversation.to_owned()))
            .or_insert(0);
        let cached = (*last).min(prompt.saturating_sub(1));
        *last = prompt;
        cached
    }

    /// Forgets counts, deferred answers and caches; rules too if asked. Calls that run go on.
    pub fn reset(&self, rules_too: bool) {
        for team in self.teams.iter() {
            team.spent_ticks.store(0, Ordering::Relaxed);
            for meter in team.meters.iter() {
                meter.reset();
            }
        }
        for key in self.keys.iter() {
            key.meter.reset();
            *key.tally.lock() = KeyTally::default();
        }
        self.deferred.clear();
        self.responses.clear();
        self.files.clear();
        self.media.clear();
        self.videos.clear();
        self.conversations.clear();
        let stats = &self.stats;
        for count in [
            &stats.requests,
            &stats.unknown_keys,
            &stats.completed,
            &stats.cancelled,
            &stats.cut,
            &stats.refused,
        ] {
            count.store(0, Ordering::Relaxed);
        }
        stats
            .max_in_flight
            .store(stats.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
        if rules_too {
            self.script.remove(None);
        }
    }
}

/// A UUID that is the same for the same name, so that ids survive a restart of the simulator.
fn stable_uuid(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// A random UUID, cheaply: it needs to be unlike others, not unguessable.
pub fn random_uuid() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_le_bytes()).into_uuid()
}
