//! Nodes of different builds over one store: kinds of jobs that one of them does not know.

use std::sync::Arc;

use bytes::Bytes;
use grok2api_schemas::ids::{SessionId, TokenId};
use grok2api_schemas::job::TokenAction;

use super::nodes::{Node, Outside, local_bus, node, running, to_mint, until};
use super::*;
use crate::bus::{BusErrorKind, Expect, codec};
use crate::clock::Clock;
use crate::cluster::{Membership, NodeIdentity};
use crate::jobs::NewItem;
use crate::runtime::ArbiterPool;

/// A job of a kind that is not known yet: what this build is to a newer one.
fn of_a_newer_build(id: JobId) -> Bytes {
    let known = JobRecord {
        id,
        ..running(JobSpec::Provision)
    };
    let mut bytes = codec::encode(codec::VERSION, &known).unwrap().to_vec();
    // Version, identity, the title with its length; then the kind.
    let kind = 1 + 16 + 1 + known.title.len();
    assert_eq!(bytes[kind], 4);
    bytes[kind] = 99;
    bytes.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_kinds_that_are_not_known_are_left_as_they_are() {
    let outside = Arc::new(Outside::default());
    let bus = local_bus();
    let (before, later) = (JobId::generate(), JobId::generate());
    let key = |prefix: &[u8], id: JobId| Bytes::from([prefix, id.as_bytes()].concat());
    let put = async |key: &Bytes, value: Bytes| bus.kv_put("jobs", key.clone(), value, Expect::Absent).await.unwrap();
    let (first, second) = (of_a_newer_build(before), of_a_newer_build(later));
    let was = put(&key(b"job/", before), first.clone()).await;
    let node = node(&bus, &outside, |_| {
        Membership::alone(SessionId::generate(), Clock::system())
    })
    .await;
    let came = put(&key(b"batch/", later), second.clone()).await;
    let over = async |id| node.jobs.get(id).await.unwrap().is_some_and(|job| job.status.is_over());
    // More than are kept.
    for _ in 0..4 {
        let id = node.jobs.create(running(mint()), to_mint(1)).await.unwrap().id;
        until("the job ends", async || over(id).await).await;
    }
    assert_eq!(node.jobs.all().len(), 3, "two that have ended, and the last");
    for (key, id, bytes, revision) in [
        (key(b"job/", before), before, first, was),
        (key(b"batch/", later), later, second, came),
    ] {
        let entry = bus.kv_get("jobs", &key).await.unwrap().unwrap();
        assert_eq!((entry.value, entry.revision), (bytes, revision));
        for result in [
            node.jobs.get(id).await.map(drop),
            node.jobs.change(id, |_| true).await.map(drop),
        ] {
            assert_eq!(result.unwrap_err().kind, BusErrorKind::Corrupt);
        }
    }
    node.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_lie_apart_and_one_from_among_the_others_is_finished_where_it_lies() {
    let outside = Arc::new(Outside::default());
    let bus = local_bus();
    let in_pool = |count: u8| -> Vec<NewItem> {
        let token = |n| NewItem::InPool {
            token: TokenId::from_bytes([n; 16]),
            masked: "xai-…".into(),
        };
        (0..count).map(token).collect()
    };
    let alone = |_: &ArbiterPool| Membership::alone(SessionId::generate(), Clock::system());
    let first = node(&bus, &outside, alone).await;
    let batch = || running(JobSpec::Batch(TokenAction::Disable));
    let id = first.jobs.create(batch(), in_pool(40)).await.unwrap().id;
    let over = async |node: &Node, id| node.jobs.get(id).await.unwrap().is_some_and(|job| job.status.is_over());
    until("the batch ends", async || over(&first, id).await).await;
    let keys = async || -> Vec<Bytes> {
        let all = bus.kv_list("jobs").await.unwrap().into_iter().map(|entry| entry.key);
        all.filter(|key| !key.starts_with(b"item/")).collect()
    };
    assert_eq!(keys().await, [[b"batch/".as_slice(), id.as_bytes()].concat()]);
    first.stop.cancel();

    // A build of between has put one among the others.
    let among = JobRecord { total: 40, ..batch() };
    let chunks = bus.kv_list("jobs").await.unwrap();
    for entry in chunks.iter().filter(|entry| entry.key.starts_with(b"item/")) {
        let chunk = &entry.key[b"item/".len() + 16..];
        let key = [b"item/".as_slice(), among.id.as_bytes(), chunk].concat();
        bus.kv_put("jobs", key.into(), entry.value.clone(), Expect::Absent)
            .await
            .unwrap();
    }
    let key = Bytes::from([b"job/".as_slice(), among.id.as_bytes()].concat());
    let bytes = codec::encode(codec::VERSION, &among).unwrap();
    bus.kv_put("jobs", key.clone(), bytes, Expect::Absent).await.unwrap();
    let second = node(&bus, &outside, alone).await;
    until("that one ends as well", async || over(&second, among.id).await).await;
    assert_eq!(second.jobs.get(among.id).await.unwrap().unwrap().counts.done, 40);
    assert!(keys().await.contains(&key) && keys().await.len() == 2);
    second.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_first_in_line_does_not_take_goes_to_the_next() {
    let outside = Arc::new(Outside::default());
    let bus = local_bus();
    let member = |name: &'static str| {
        let bus = bus.clone();
        move |arbiters: &ArbiterPool| {
            let identity = NodeIdentity {
                node: name.into(),
                session: SessionId::generate(),
                version: String::new(),
                advertise_url: String::new(),
                max_clock_skew_ms: 5_000,
            };
            Membership::start(identity, bus, Clock::system(), arbiters.pick())
        }
    };
    // It lives, and looks after no such jobs: a build that does not know them.
    let arbiters = ArbiterPool::start(1).unwrap();
    let older = member("older")(&arbiters);
    let node = node(&bus, &outside, member("newer")).await;
    until("they see each other", async || node.membership.live() == 2).await;
    let sessions = [older.me(), node.membership.me()];
    let is_older_first = |id: &JobId| crate::token::keeper(sessions.into_iter(), id.as_bytes()) == Some(older.me());
    let id = std::iter::repeat_with(JobId::generate).find(is_older_first).unwrap();
    let record = JobRecord { id, ..running(mint()) };
    node.jobs.create(record, to_mint(5)).await.unwrap();
    until("the next in line does it", async || {
        node.jobs.get(id).await.unwrap().unwrap().status.is_over()
    })
    .await;
    assert_eq!(node.jobs.get(id).await.unwrap().unwrap().counts.done, 5);
    node.stop.cancel();
}
