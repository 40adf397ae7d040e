//! What a simulator is started with: teams, their keys and limits, pace, and scripted misbehaviour.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::misbehave::Rule;
use super::models::ModelOptions;

/// Where a simulator listens and what it plays.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// The address to bind; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The teams, keys, limits and misbehaviour.
    pub scenario: Scenario,
}

impl SimulatorOptions {
    /// A scenario on a free loopback port.
    pub fn new(scenario: Scenario) -> SimulatorOptions {
        SimulatorOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            scenario,
        }
    }

    /// The same, on this loopback port.
    pub fn on_port(mut self, port: u16) -> SimulatorOptions {
        self.listen.set_port(port);
        self
    }
}

impl Default for SimulatorOptions {
    /// One team without limits, one key: [`Scenario::DEFAULT_KEY`].
    fn default() -> SimulatorOptions {
        SimulatorOptions::new(Scenario::default())
    }
}

/// The play. Read from JSON; unknown fields are refused, so that a typing error does not become a silent default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Milliseconds between two chunks of an answer. 0: as fast as the socket takes them.
    pub pace_ms: u64,
    /// Milliseconds before the first chunk.
    pub first_token_ms: u64,
    /// How long the URL of an image or video is good.
    pub media_url_ms: u64,
    /// How long a video takes.
    pub video_ms: u64,
    /// If set, every answer has exactly this many visible chunks (for load tests).
    pub answer_chunks: Option<usize>,
    /// The teams. Keys may stand inside them or in `keys`. None, and none generated: the default one.
    #[serde(default)]
    pub teams: Vec<TeamOptions>,
    /// Keys that name their team.
    pub keys: Vec<KeyOptions>,
    /// Teams made by number, for load tests: their keys are [`generated_secret`].
    pub generate: Option<Generate>,
    /// Models beside the built-in ones.
    pub models: Vec<ModelOptions>,
    /// Misbehaviour from the start.
    pub rules: Vec<Rule>,
    /// What the Management API takes as bearer.
    pub management_key: String,
    /// Lengths of sliding windows that the judge watches for every team and model, beside 1 s, 60 s and those of the
    /// configured limits, in milliseconds.
    pub judge_windows_ms: Vec<u64>,
}

impl Scenario {
    /// The one key of the default scenario.
    pub const DEFAULT_KEY: &'static str = "xai-simulator";

    /// Reads a scenario file.
    pub fn from_file(path: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ScenarioError(format!("cannot read scenario {}: {error}", path.display())))?;
        Scenario::from_json(&text).map_err(|error| ScenarioError(format!("scenario {}: {}", path.display(), error.0)))
    }

    /// Reads a scenario from JSON text. Without teams it gets the default one.
    pub fn from_json(text: &str) -> Result<Scenario, ScenarioError> {
        let mut scenario: Scenario = serde_json::from_str(text).map_err(|error| ScenarioError(error.to_string()))?;
        if scenario.teams.is_empty() && scenario.generate.is_none() {
            scenario.teams = vec![default_team()];
        }
        Ok(scenario)
    }

    /// One team without limits that answers as fast as it can, for load tests.
    pub fn fast() -> Scenario {
        Scenario {
            pace_ms: 0,
            first_token_ms: 0,
            ..Scenario::default()
        }
    }
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            pace_ms: 36,
            first_token_ms: 250,
            media_url_ms: 600_000,
            video_ms: 3_000,
            answer_chunks: None,
            teams: vec![default_team()],
            keys: Vec::new(),
            generate: None,
            models: Vec::new(),
            rules: Vec::new(),
            management_key: super::management::DEFAULT_KEY.to_owned(),
            judge_windows_ms: Vec::new(),
        }
    }
}

fn default_team() -> TeamOptions {
    TeamOptions {
        id: "5e1f0000-0000-4000-8000-000000000001".to_owned(),
        keys: vec![KeyEntry::Secret(Scenario::DEFAULT_KEY.to_owned())],
        ..TeamOptions::default()
    }
}

/// A team: what the upstream counts against.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeamOptions {
    /// As `/v1/api-key` reports it; xAI's are UUIDs.
    pub id: String,
    /// Whether it ever bought credits. If not, every call is refused.
    pub funded: bool,
    /// Whether xAI blocked it.
    pub blocked: bool,
    /// What it may spend, in ticks of 1/10,000,000,000 USD. Absent: no end.
    pub credit_ticks: Option<u64>,
    /// Zero data retention.
    pub zdr: bool,
    /// Names or globs of the models it may use.
    pub models: Vec<String>,
    /// Limits by model name or glob; the most specific pattern counts, each model on its own.
    pub limits: BTreeMap<String, Limits>,
    /// Its keys: secrets, or objects as in [`Scenario::keys`] without a team.
    pub keys: Vec<KeyEntry>,
}

impl Default for TeamOptions {
    fn default() -> TeamOptions {
        TeamOptions {
            id: String::new(),
            funded: true,
            blocked: false,
            credit_ticks: None,
            zdr: false,
            models: vec!["*".to_owned()],
            limits: BTreeMap::new(),
            keys: Vec::new(),
        }
    }
}

/// A key inside a team.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum KeyEntry {
    /// Only the secret.
    Secret(String),
    /// With its own ceilings or flags.
    Full(KeyOptions),
}

impl From<KeyEntry> for KeyOptions {
    fn from(entry: KeyEntry) -> KeyOptions {
        match entry {
            KeyEntry::Secret(secret) => KeyOptions {
                secret,
                ..KeyOptions::default()
            },
            KeyEntry::Full(options) => options,
        }
    }
}

/// One API key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyOptions {
    /// What a client sends as bearer.
    pub secret: String,
    /// The id of its team.
    pub team: String,
    /// The name that a person gave it.
    pub name: String,
    /// Requests per second of this key alone.
    pub qps: Option<u64>,
    /// Requests per minute of this key alone.
    pub qpm: Option<u64>,
    /// Tokens per minute of this key alone.
    pub tpm: Option<u64>,
    /// Blocked by the leak scanner.
    pub blocked: bool,
    /// Switched off by its owner.
    pub disabled: bool,
    /// Past its expiry.
    pub expired: bool,
    /// `api-key:endpoint:<name>|*` and `api-key:model:<name>|*`.
    pub acls: Vec<String>,
}

impl Default for KeyOptions {
    fn default() -> KeyOptions {
        KeyOptions {
            secret: String::new(),
            team: String::new(),
            name: "simulated key".to_owned(),
            qps: None,
            qpm: None,
            tpm: None,
            blocked: false,
            disabled: false,
            expired: false,
            acls: vec!["api-key:endpoint:*".to_owned(), "api-key:model:*".to_owned()],
        }
    }
}

/// Ceilings of one team and model. Absent: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests in any second.
    pub rps: Option<u64>,
    /// Requests in any minute.
    pub rpm: Option<u64>,
    /// Requests in any hour.
    pub rph: Option<u64>,
    /// Requests in any 24 hours.
    pub rpd: Option<u64>,
    /// Tokens (prompt, cached, reasoning, visible) in any minute.
    pub tpm: Option<u64>,
    /// Calls at the same time.
    pub concurrency: Option<u64>,
}

/// Teams and keys by number.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// How many teams.
    pub teams: usize,
    /// How many keys each.
    pub keys_per_team: usize,
    /// The limits of each team, as in [`TeamOptions::limits`].
    #[serde(default)]
    pub limits: BTreeMap<String, Limits>,
}

/// The secret of key `key` (from 0) of generated team `team` (from 0): of the length and alphabet of a real one.
pub fn generated_secret(team: usize, key: usize) -> String {
    secret_from(&format!("generated {team} {key}"))
}

/// The id of generated team `team` (from 0).
pub fn generated_team(team: usize) -> String {
    format!("5e1f0000-0000-4000-9000-{team:012}")
}

/// A stable secret made from a name. Derived rather than written down, so that no scanner takes the source for a leak.
pub(super) fn secret_from(name: &str) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = [0u8; 80];
    blake3::Hasher::new_derive_key("grok2api simulator secret")
        .update(name.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    let tail: String = bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect();
    format!("xai-{tail}")
}

/// Whether `name` fits `pattern`, in which `*` stands for anything.
pub(super) fn glob_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some(at) = rest.find(middle) else { return false };
            rest = &rest[at + middle.len()..];
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

/// Why a scenario cannot be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError(pub String);

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}
