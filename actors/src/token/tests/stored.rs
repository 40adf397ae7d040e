//! What is stored does not follow the form that records have in memory.

use grok2api_schemas::token::{Cooling, LearnedLimits};
use serde::{Deserialize, Serialize};

use super::*;
use crate::bus::codec;

/// Version 1 of a token's record, field by field.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredToken {
    id: TokenId,
    pool: PoolName,
    fingerprint: [u8; 32],
    masked: String,
    label: String,
    note: String,
    tags: Vec<String>,
    switch: TokenSwitch,
    team: Option<String>,
    models: Option<Vec<String>>,
    cooling: Option<Cooling>,
    model_cooling: Vec<(String, Cooling)>,
    proxy: Option<String>,
    created_ms: u64,
    probed_ms: Option<u64>,
    last_used_ms: Option<u64>,
    use_count: u64,
    fail_count: u32,
    version: u64,
    edited: u64,
    found: u64,
    epoch: u32,
    model_epoch: u32,
}

/// Version 1 of a team's record.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredTeam {
    team: String,
    models: Option<Vec<String>>,
    zdr: bool,
    cooling: Option<Cooling>,
    model_cooling: Vec<(String, Cooling)>,
    learned: Vec<(String, LearnedLimits, u64)>,
    version: u64,
    found: u64,
    epoch: u32,
    model_epoch: u32,
}

fn rest() -> Cooling {
    Cooling {
        cause: CoolingCause::RateLimited,
        detail: "words".to_owned(),
        since_ms: 3,
        until_ms: Some(300),
    }
}

fn token(is_full: bool) -> StoredToken {
    let text = |text: &str| if is_full { text.to_owned() } else { String::new() };
    StoredToken {
        id: TokenId::from_bytes([7; 16]),
        pool: PoolName::SsoBasic,
        fingerprint: [9; 32],
        masked: "xai-…wxyz".to_owned(),
        label: text("a label"),
        note: text("a note"),
        tags: if is_full { vec![text("a"), text("b")] } else { vec![] },
        switch: TokenSwitch::Off,
        team: is_full.then(|| text("team-a")),
        models: is_full.then(|| vec![text("m"), text("n")]),
        cooling: is_full.then(rest),
        model_cooling: if is_full { vec![(text("m"), rest())] } else { vec![] },
        proxy: is_full.then(|| text("http://127.0.0.1:1")),
        created_ms: 5,
        probed_ms: is_full.then_some(6),
        last_used_ms: is_full.then_some(7),
        use_count: 8,
        fail_count: 9,
        version: 10,
        edited: 11,
        found: 12,
        epoch: 13,
        model_epoch: 14,
    }
}

fn team(is_full: bool) -> StoredTeam {
    StoredTeam {
        team: "team-a".to_owned(),
        models: is_full.then(|| vec!["m".to_owned(), "n".to_owned()]),
        zdr: is_full,
        cooling: is_full.then(rest),
        model_cooling: if is_full {
            vec![("m".to_owned(), rest())]
        } else {
            vec![]
        },
        learned: if is_full {
            vec![(
                "m".to_owned(),
                LearnedLimits {
                    rpm: Some(1),
                    ..LearnedLimits::default()
                },
                2,
            )]
        } else {
            vec![]
        },
        version: 3,
        found: 4,
        epoch: 5,
        model_epoch: 6,
    }
}

#[test]
fn records_are_written_as_ever_and_read_back_whatever_is_empty() {
    for is_full in [false, true] {
        let bytes = codec::encode(1, &token(is_full)).unwrap();
        let record: TokenRecord = codec::decode(&bytes).unwrap();
        assert_eq!(record.label.as_str(), if is_full { "a label" } else { "" });
        assert_eq!(codec::encode(1, &record).unwrap(), bytes);
        assert_eq!(codec::encode(1, &record.clone()).unwrap(), bytes);
        let bytes = codec::encode(1, &team(is_full)).unwrap();
        let record: TeamRecord = codec::decode(&bytes).unwrap();
        assert_eq!(record.models.is_some(), is_full);
        assert_eq!(codec::encode(1, &record).unwrap(), bytes);
    }
}

/// 100,000 of them are in memory.
#[test]
fn a_record_in_memory_stays_small() {
    assert!(size_of::<TokenRecord>() <= 232, "{}", size_of::<TokenRecord>());
    assert!(size_of::<TeamRecord>() <= 184, "{}", size_of::<TeamRecord>());
    assert!(size_of::<Token>() <= 152, "{}", size_of::<Token>());
}
