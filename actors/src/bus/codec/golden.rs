//! What each version of the codec wrote, kept for ever: `golden/v<version>.hex`, a line a record. A line that changes is a
//! record that nodes of that version no longer understand; `UPDATE_GOLDEN=1` only adds lines that are missing.

mod jobs;
mod messages;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use grok2api_schemas::admin::accounts::{AccountRecord, Role, SessionRecord};
use grok2api_schemas::bus::changes::{ConfigChanged, RowChanged, SharedConfig};
use grok2api_schemas::bus::join::{KeyReply, KeyRequest};
use grok2api_schemas::client_key::{DailyLimits, DisconnectPolicy, KeyLimits, KeyRecord};
use grok2api_schemas::ids::{KeyId, SessionId, TokenId};
use grok2api_schemas::ledger::{Change, Changes, Entry, EntryBody, GrantId, MeterChanges, Report, Suspicion, Takeover};
use grok2api_schemas::meter::{Domain, Meter, MeterKind};
use grok2api_schemas::since::Since;
use grok2api_schemas::token::{Cooling, CoolingCause, LearnedLimits, PoolName, TeamRecord, TokenRecord, TokenSwitch};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{OLDEST, VERSION, decode, encode};

struct Golden {
    version: u8,
    lines: BTreeMap<String, String>,
    added: bool,
}

impl Golden {
    fn file(version: u8) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/bus/codec/golden/v{version}.hex"))
    }

    fn load(version: u8) -> Golden {
        let text = fs::read_to_string(Golden::file(version)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let (name, hex) = line.split_once(' ')?;
            Some((name.to_owned(), hex.to_owned()))
        });
        Golden {
            version,
            lines: lines.collect(),
            added: false,
        }
    }

    /// `newest` is what is written; `then` is what comes back from this version.
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, newest: &T, then: &T) {
        let written = encode(self.version, newest).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_new = !self.lines.contains_key(name) && std::env::var_os("UPDATE_GOLDEN").is_some();
        if is_new {
            self.lines.insert(name.to_owned(), hex.clone());
            self.added = true;
        }
        let golden = self
            .lines
            .get(name)
            .unwrap_or_else(|| panic!("no golden bytes of {name}"));
        assert_eq!(
            *golden, hex,
            "version {} writes {name} in another way now",
            self.version
        );
        let bytes: Vec<u8> = (0..golden.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&golden[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(
            decode::<T>(&bytes).unwrap(),
            *then,
            "{name} of version {}",
            self.version
        );
    }

    fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: &T) {
        self.check(name, value, value);
    }

    fn close(self) {
        if self.added {
            let lines: Vec<String> = self.lines.iter().map(|(name, hex)| format!("{name} {hex}\n")).collect();
            fs::create_dir_all(Golden::file(self.version).parent().unwrap()).unwrap();
            fs::write(Golden::file(self.version), lines.concat()).unwrap();
        }
    }
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

fn cooling() -> Cooling {
    Cooling {
        cause: CoolingCause::OutOfCredit,
        detail: "no credit left".into(),
        since_ms: 1_700_000_000_000,
        until_ms: Some(1_700_000_060_000),
    }
}

fn token() -> TokenRecord {
    TokenRecord {
        id: TokenId::from_bytes([1; 16]),
        pool: PoolName::ApiKey,
        fingerprint: [2; 32],
        masked: "xai-ab…wxyz".into(),
        label: "first".to_owned().into(),
        note: String::new().into(),
        tags: vec!["a".into()].into(),
        switch: TokenSwitch::On,
        team: Some("team-1".into()),
        models: None.into(),
        cooling: Some(cooling()).into(),
        model_cooling: vec![("grok-4".into(), cooling())].into(),
        proxy: None.into(),
        created_ms: 1_700_000_000_000,
        probed_ms: Some(1),
        last_used_ms: None,
        use_count: 300,
        fail_count: 2,
        version: 7,
        edited: 11,
        found: 12,
        epoch: 1,
        model_epoch: 2,
    }
}

fn team() -> TeamRecord {
    TeamRecord {
        team: "team-1".into(),
        models: Some(["grok-4".into()].into()),
        zdr: true,
        cooling: None,
        model_cooling: vec![("grok-4".into(), cooling())],
        learned: vec![(
            "grok-4".into(),
            LearnedLimits {
                rpm: Some(480),
                ..LearnedLimits::default()
            },
            14,
        )],
        version: 9,
        found: 13,
        epoch: 3,
        model_epoch: 4,
    }
}

fn key() -> KeyRecord {
    KeyRecord {
        id: KeyId::from_bytes([3; 16]),
        name: "ci".into(),
        fingerprint: [4; 32],
        display_key: "sk-abc...wxyz".into(),
        is_active: true,
        allowed_models: vec!["grok-*".into()],
        limits: KeyLimits {
            daily: DailyLimits {
                chat: Some(0),
                ..DailyLimits::default()
            },
            rpm: Some(60),
            strict: true,
            ..KeyLimits::default()
        },
        on_disconnect: DisconnectPolicy::DrainUpTo(5),
        expires_ms: None,
        created_ms: 1_700_000_000_000,
        last_used_ms: Some(1_700_000_000_001),
        version: 1,
    }
}

fn admin_session(node: &str) -> SessionRecord {
    SessionRecord {
        username: "admin".into(),
        role: Role::Admin,
        csrf_token: "c".into(),
        password_mark: [5; 32],
        created_ms: 1,
        expires_ms: 2,
        client_ip: "192.0.2.1".into(),
        opened_on: Since(node.into()),
    }
}

fn entry(body: EntryBody) -> Entry {
    Entry {
        writer: session(6),
        at_ms: 1_700_000_000_000,
        epoch: 41,
        body,
    }
}

fn changes() -> Changes {
    let grant = GrantId {
        owner: session(6),
        number: 12,
    };
    let granted = Change::Granted {
        grant,
        holder: session(7),
        units: 30,
        life_ends_ms: Some(1_700_000_030_000),
        day: None,
        ask: 5,
    };
    let settled = Change::Settled {
        grant,
        report: Report {
            sent: 30,
            done: 29,
            cost: 29,
            returned: 0,
            closed: false,
        },
        until_ms: 1_700_000_090_000,
    };
    Changes {
        meters: vec![MeterChanges {
            meter: Meter {
                domain: Domain::TeamModel {
                    provider: "xai".into(),
                    team: "team-1".into(),
                    model: "grok-4".into(),
                },
                kind: MeterKind::Requests { window_ms: 60_000 },
            },
            changes: vec![granted, settled, Change::Lapsed { grant, until_ms: 8 }],
        }],
        heard: vec![session(7)],
    }
}

#[test]
fn every_version_is_written_and_read_as_it_was() {
    for version in OLDEST..=VERSION {
        let mut golden = Golden::load(version);
        golden.same("token", &token());
        golden.same("team", &team());
        golden.same("client-key", &key());
        golden.same(
            "account",
            &AccountRecord {
                username: "admin".into(),
                role: Role::Admin,
                password_hash: "$argon2id$…".into(),
                created_ms: 1,
            },
        );
        let node = if version == 1 { "" } else { "node-a" };
        golden.check("admin-session", &admin_session("node-a"), &admin_session(node));
        golden.same(
            "journal-takeover",
            &entry(EntryBody::Takeover(Takeover {
                incarnation: 3,
                predecessors_are_dead: false,
            })),
        );
        golden.same("journal-changes", &entry(EntryBody::Changes(changes())));
        let suspicion = Suspicion {
            takeover: Takeover {
                incarnation: 3,
                predecessors_are_dead: false,
            },
            since_ms: 1_700_000_000_000,
        };
        golden.same("journal-suspect", &entry(EntryBody::Suspect(suspicion)));
        golden.same(
            "row-changed",
            &RowChanged {
                key: vec![1, 2],
                value: Some(vec![3]),
                revision: 300,
            },
        );
        golden.same("config-changed", &ConfigChanged { revision: 70_000 });
        golden.same(
            "shared-config",
            &SharedConfig {
                changed_ms: 1,
                changed_by: "admin".into(),
                sealed: vec![9; 3],
            },
        );
        golden.same(
            "key-request",
            &KeyRequest {
                key_id: [1; 8],
                public_key: [2; 32],
            },
        );
        golden.same("key-reply", &KeyReply::Sealed(vec![1, 2, 3]));
        golden.same("key-refusal", &KeyReply::BringYourOwn);
        messages::check(&mut golden);
        jobs::check(&mut golden);
        golden.close();
    }
}
