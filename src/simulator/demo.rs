//! The upstream of `grok2api --demo`: three teams, of which one gets into its limits and one fails now and then, so that
//! cooling and recovery show within a minute; the third is always well.

use std::collections::BTreeMap;

use super::misbehave::{Effects, Rhythm, Rule, When};
use super::scenario::{KeyEntry, KeyOptions, Limits, Scenario, SimulatorOptions, TeamOptions, secret_from};

const NORTH: &str = "5e1f0000-0000-4000-8000-00000000a001";
const EAST: &str = "5e1f0000-0000-4000-8000-00000000a002";
const SOUTH: &str = "5e1f0000-0000-4000-8000-00000000a003";

/// Team, key names.
const KEYS: [(&str, &[&str]); 3] = [
    (NORTH, &["demo north 1", "demo north 2", "demo north 3"]),
    (EAST, &["demo east 1", "demo east 2"]),
    (SOUTH, &["demo south 1", "demo south 2"]),
];

/// The secrets to enrol for the demo, with a label each.
pub fn demo_keys() -> Vec<(String, String)> {
    KEYS.iter()
        .flat_map(|(_, names)| names.iter())
        .map(|name| (secret_from(name), (*name).to_owned()))
        .collect()
}

impl SimulatorOptions {
    /// The demo.
    pub fn demo() -> SimulatorOptions {
        let limits = [
            (
                NORTH,
                Limits {
                    rps: Some(20),
                    rpm: Some(600),
                    tpm: Some(2_000_000),
                    ..Limits::default()
                },
            ),
            (
                EAST,
                Limits {
                    rps: Some(2),
                    rpm: Some(30),
                    tpm: Some(200_000),
                    ..Limits::default()
                },
            ),
            (
                SOUTH,
                Limits {
                    rps: Some(5),
                    rpm: Some(120),
                    tpm: Some(500_000),
                    ..Limits::default()
                },
            ),
        ];
        let teams = KEYS
            .iter()
            .map(|(id, names)| TeamOptions {
                id: (*id).to_owned(),
                limits: BTreeMap::from_iter(
                    limits
                        .iter()
                        .filter(|(team, _)| team == id)
                        .map(|(_, limits)| ("*".to_owned(), *limits)),
                ),
                keys: names
                    .iter()
                    .map(|name| {
                        KeyEntry::Full(KeyOptions {
                            secret: secret_from(name),
                            name: (*name).to_owned(),
                            ..KeyOptions::default()
                        })
                    })
                    .collect(),
                ..TeamOptions::default()
            })
            .collect();
        let now_and_then = |team: &str, path: &str, rhythm: Rhythm, act: Effects| Rule {
            when: When {
                team: Some(team.to_owned()),
                path: Some(path.to_owned()),
                ..When::default()
            },
            rhythm: Some(rhythm),
            act,
            ..Rule::default()
        };
        let error = |id: &str, detail: Option<&str>| Effects {
            error: Some(id.to_owned()),
            detail: detail.map(str::to_owned),
            ..Effects::default()
        };
        let rules = vec![
            // Somebody else uses the team's quota up.
            now_and_then(
                SOUTH,
                "/v1/chat/completions",
                Rhythm {
                    every_ms: 40_000,
                    from_ms: 6_000,
                    for_ms: 14_000,
                },
                error("rate-rps", Some("Requests per Second (actual/limit): 5/5")),
            ),
            // Nothing of it answers, free calls neither.
            now_and_then(
                EAST,
                "*",
                Rhythm {
                    every_ms: 40_000,
                    from_ms: 24_000,
                    for_ms: 8_000,
                },
                error("unavailable-503", None),
            ),
        ];
        SimulatorOptions::new(Scenario {
            teams,
            rules,
            ..Scenario::default()
        })
    }
}
