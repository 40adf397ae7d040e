//! The upstream simulator as a process of its own.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::Http;
use super::process::{Process, find_address, program};

/// A running simulator.
#[derive(Debug)]
pub struct Sim {
    process: Process,
    url: String,
    http: Http,
    _files: TempDir,
}

impl Sim {
    /// Plays a scenario. Answers come at once unless it says otherwise.
    pub async fn play(scenario: Value) -> Sim {
        Sim::play_on(0, scenario).await
    }

    /// The same on a fixed port.
    pub async fn play_on(port: u16, scenario: Value) -> Sim {
        let files = tempfile::tempdir().unwrap();
        let mut with_pace = json!({"pace_ms": 0, "first_token_ms": 0});
        for (name, value) in scenario.as_object().unwrap() {
            with_pace[name] = value.clone();
        }
        let file = files.path().join("scenario.json");
        std::fs::write(&file, with_pace.to_string()).unwrap();
        let mut command = program();
        command
            .current_dir(files.path())
            .args(["simulate", "--port", &port.to_string(), "--scenario"])
            .arg(&file);
        let mut process = Process::start("simulator", command, files.path());
        let url = process
            .wait_for("its address", Duration::from_secs(30), |said| {
                find_address(said, |_| true)
            })
            .await;
        Sim {
            http: Http::new(&url),
            process,
            url,
            _files: files,
        }
    }

    /// `count` teams named `team0`… of one key each, `xai-key-0`…, without limits.
    pub async fn with_teams(count: usize) -> Sim {
        Sim::play(json!({"teams": (0..count).map(Sim::team).collect::<Vec<_>>()})).await
    }

    /// One team of [`Sim::with_teams`].
    pub fn team(at: usize) -> Value {
        json!({"id": Sim::team_id(at), "keys": [Sim::key(at)]})
    }

    /// The id of that team: of the form that xAI's have, so that a leak can be told.
    pub fn team_id(at: usize) -> String {
        format!("7ea00000-0000-4000-8000-{at:012}")
    }

    /// The secret of its key: of the length and alphabet of a real one.
    pub fn key(at: usize) -> String {
        let digits: String = blake3::hash(format!("test key {at}").as_bytes())
            .to_hex()
            .chars()
            .cycle()
            .take(80)
            .collect();
        format!("xai-{digits}")
    }

    /// What `GROK2API__XAI__BASE_URL` must be.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of it.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Adds misbehaviour; the ids of the rules.
    pub async fn script(&self, rules: Value) -> Vec<u64> {
        let got = self.http.post("/__sim/script", &rules).await.ok();
        serde_json::from_value(got.json()["ids"].clone()).unwrap()
    }

    /// Takes all misbehaviour away.
    pub async fn behave(&self) {
        self.http.delete("/__sim/script").await.ok();
    }

    /// How often the rule was applied.
    pub async fn hits(&self, rule: u64) -> u64 {
        let rules = self.http.get("/__sim/script").await.ok().json();
        rules
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["id"] == rule)
            .map_or(0, |one| one["hits"].as_u64().unwrap())
    }

    /// Adds or changes a team.
    pub async fn set_team(&self, team: Value) {
        self.http.post("/__sim/team", &team).await.ok();
    }

    /// Adds or changes a key.
    pub async fn set_key(&self, key: Value) {
        self.http.post("/__sim/key", &key).await.ok();
    }

    /// Forgets all counts.
    pub async fn reset(&self) {
        self.http.post("/__sim/reset?keep_rules", &json!({})).await.ok();
    }

    /// The judge's evidence.
    pub async fn arrivals(&self) -> Value {
        self.http.get("/__sim/arrivals").await.ok().json()
    }

    /// Every arrival, whatever became of it.
    pub async fn total(&self) -> u64 {
        let arrivals = self.arrivals().await;
        let rows = arrivals["arrivals"].as_array().unwrap();
        rows.iter().map(|row| row["total"].as_u64().unwrap()).sum()
    }

    /// Totals.
    pub async fn stats(&self) -> Value {
        self.http.get("/__sim/stats").await.ok().json()
    }

    /// One total.
    pub async fn stat(&self, name: &str) -> u64 {
        let stats = self.stats().await;
        stats[name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    /// What one key was used for.
    pub async fn key_report(&self, secret: &str) -> Value {
        let keys = self.http.get("/__sim/keys").await.ok().json();
        let found = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|key| key["secret"] == secret);
        found.unwrap_or_else(|| panic!("no such key in {keys}")).clone()
    }

    /// Chat calls that a key made.
    pub async fn chats_of(&self, secret: &str) -> u64 {
        let report = self.key_report(secret).await;
        report["routes"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(route, _)| route.contains("chat"))
            .map(|(_, count)| count.as_u64().unwrap())
            .sum()
    }
}
