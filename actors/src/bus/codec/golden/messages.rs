//! What nodes say to each other, and the snapshots that owners write.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use grok2api_schemas::admin::requests::{
    AttemptView, CandidateView, Outcome, PassedOver, RequestRecord, TimingView, UsageView,
};
use grok2api_schemas::bus::changes::{
    ConversationsCleared, ConversationsTold, ListedModels, LoginTried, ToldRecords, WhichConversations,
};
use grok2api_schemas::cluster::{
    Beat, MeterUsage, NodeLoad, NodeReply, NodeRequest, ShardClaim, ShardReply, ShardRequest,
};
use grok2api_schemas::ids::RequestId;
use grok2api_schemas::ledger::{
    Answer, Ask, GrantSnapshot, Granted, MeterSnapshot, OwnerReply, OwnerRequest, Settlement, SnapshotChunk, Standing,
};
use grok2api_schemas::meter::DayBucket;

use super::*;

const MS: u64 = 1_700_000_000_000;

fn meter() -> Meter {
    Meter {
        domain: Domain::TeamModel {
            provider: "xai".into(),
            team: "team-1".into(),
            model: "grok-4".into(),
        },
        kind: MeterKind::Requests { window_ms: 60_000 },
    }
}

fn grant(number: u64) -> GrantId {
    GrantId {
        owner: session(6),
        number,
    }
}

fn report() -> Report {
    Report {
        sent: 30,
        done: 29,
        cost: 29,
        returned: 1,
        closed: true,
    }
}

fn snapshot() -> SnapshotChunk {
    SnapshotChunk {
        index: 2,
        last: true,
        meters: vec![MeterSnapshot {
            meter: meter(),
            configured: Some(480),
            learned: None,
            charges: vec![(7, MS)],
            days: vec![(19_675, 3)],
            grants: vec![GrantSnapshot {
                grant: grant(12),
                holder: session(7),
                units: 30,
                life_ends_ms: Some(MS),
                day: None,
                ask: 5,
                report: report(),
                held: 4,
                flight: 3,
                presumed: 2,
                presumed_until_ms: MS,
                lapsed: false,
            }],
        }],
        owners: vec![grant(300)],
    }
}

fn asked() -> NodeRequest {
    NodeRequest::Exchange(vec![ShardRequest {
        shard: 15,
        urgent: true,
        request: OwnerRequest {
            learned: vec![(meter(), 480)],
            settlements: vec![Settlement {
                meter: meter(),
                grant: grant(12),
                day: Some(19_675),
                report: report(),
            }],
            asks: vec![Ask {
                number: 5,
                meter: meter(),
                configured: Some(480),
                need: 1,
                least: 1,
                want: 20,
                stock: 0,
                holding: vec![grant(13)],
                renew: vec![grant(14)],
                ahead: false,
            }],
            seen: vec![(meter(), 9)],
            ..OwnerRequest::of(session(7))
        },
    }])
}

fn used() -> NodeReply {
    let meter = |kind| Meter {
        domain: Domain::ClientKey("key_1".to_owned()),
        kind,
    };
    NodeReply::KeyUsage(vec![
        MeterUsage {
            meter: meter(MeterKind::PerDay(DayBucket::Chat)),
            counted: Some(300),
            in_hand: 7,
        },
        MeterUsage {
            meter: meter(MeterKind::UsdPerDay),
            counted: None,
            in_hand: 0,
        },
    ])
}

fn answered() -> NodeReply {
    let reply = OwnerReply {
        answers: vec![Answer {
            meter: meter(),
            ask: 5,
            granted: Some(Granted {
                grant: grant(15),
                units: 20,
                life_ms: Some(30_000),
                day: None,
                starts_ms: 0,
            }),
            renewed: vec![grant(14)],
            standing: Standing {
                limit: Some(480),
                charged: 100,
                outstanding: 20,
                next_release_ms: Some(1_000),
            },
        }],
        acknowledged: true,
        gone: vec![(meter(), grant(1))],
        recalled: vec![meter()],
    };
    NodeReply::Exchange(vec![ShardReply::Answered { epoch: 41, reply }, ShardReply::NotMine])
}

fn beat() -> Beat {
    Beat {
        session: session(7),
        node: "node-a".into(),
        number: 300,
        version: "0.1.0".into(),
        advertise_url: "http://node-a:8000".into(),
        wall_ms: MS,
        started_ms: MS - 1,
        may_own: true,
        draining: false,
        leaving: false,
        shards: vec![ShardClaim {
            shard: 3,
            epoch: 41,
            grants: 2,
            outstanding: 50,
            meters: 4,
        }],
        load: NodeLoad {
            in_flight: 9,
            meters: 8,
        },
    }
}

fn request() -> RequestRecord {
    RequestRecord {
        id: RequestId::from_bytes([8; 16]),
        time_ms: MS,
        node: "node-a".into(),
        key_id: Some(KeyId::from_bytes([3; 16])),
        key_name: "ci".into(),
        route: "/v1/chat/completions".into(),
        model: "grok-4".into(),
        upstream_model: "grok-4-0709".into(),
        stream: true,
        client_ip: "192.0.2.1".into(),
        status: 429,
        outcome: Outcome::PoolLimit,
        error_code: Some("pool_limit".into()),
        error_message: None,
        candidates: vec![CandidateView {
            token_id: TokenId::from_bytes([1; 16]),
            token: "xai-ab…wxyz".into(),
            reason: PassedOver::NoUnits,
            detail: "0 of 480".into(),
        }],
        candidates_left_out: 1,
        attempts: vec![AttemptView {
            token_id: TokenId::from_bytes([1; 16]),
            token: "xai-ab…wxyz".into(),
            team: Some("team-1".into()),
            status: Some(429),
            outcome: Outcome::UpstreamBusy,
            message: None,
            started_ms: 1,
            took_ms: 2,
        }],
        timing: TimingView {
            queue_ms: 1,
            upstream_first_byte_ms: Some(2),
            total_ms: 3,
            overhead_us: 150,
        },
        usage: UsageView {
            prompt_tokens: Some(10),
            ..UsageView::default()
        },
        cost_ticks: None,
        presumed: true,
        bytes_in: 500,
        bytes_out: 70_000,
    }
}

pub(super) fn check(golden: &mut Golden) {
    golden.same("journal-snapshot", &entry(EntryBody::Snapshot(snapshot())));
    golden.same("node-request", &asked());
    golden.same("node-request-yield", &NodeRequest::Yield { shard: 3 });
    golden.same("node-request-drain", &NodeRequest::Drain);
    golden.same(
        "node-request-key-usage",
        &NodeRequest::KeyUsage(vec!["key_1".to_owned()]),
    );
    golden.same("node-request-usage", &NodeRequest::Usage(vec![meter()]));
    golden.same("node-reply-key-usage", &used());
    golden.same("node-request-recall", &NodeRequest::Recall { meters: vec![meter()] });
    golden.same("node-reply", &answered());
    golden.same("node-reply-done", &NodeReply::Done);
    golden.same("beat", &beat());
    golden.same(
        "told-records",
        &ToldRecords {
            writer: session(5),
            session: session(7),
            number: 4,
            records: vec![Arc::new(request())],
        },
    );
    golden.same(
        "listed-models",
        &ListedModels {
            models: vec![("grok-4-0709".into(), vec!["grok-4".into()])],
        },
    );
    golden.same(
        "login-tried",
        &LoginTried {
            teller: session(7),
            network: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            account: u64::MAX,
            succeeded: false,
        },
    );
    golden.same(
        "conversations-told",
        &ConversationsTold {
            teller: session(7),
            bound: vec![(u64::MAX, TokenId::from_bytes([1; 16]), MS)],
            cleared: Some(ConversationsCleared {
                at_ms: MS,
                which: WhichConversations::These(vec![1]),
            }),
        },
    );
}
