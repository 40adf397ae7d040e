//! Jobs over a bus: alone, and of two nodes of which one dies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use grok2api_schemas::ids::{SessionId, TokenId};
use grok2api_schemas::job::TokenAction;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::bus::BusHandle;
use crate::bus::local::LocalBus;
use crate::clock::Clock;
use crate::cluster::{Membership, NodeIdentity};
use crate::jobs::source::{Order, Payload, Source, Supplied, Workshop};
use crate::jobs::{JobParts, Jobs, NewItem};
use crate::runtime::ArbiterPool;
use crate::store::Store;
use crate::vault::{MasterKey, Vault};

/// The outside, for both nodes: who minted what, and who enrolled it.
#[derive(Default)]
pub(super) struct Outside {
    minted: Mutex<HashMap<String, u32>>,
    enrolled: Mutex<HashMap<String, TokenId>>,
    withdrawn: Mutex<Vec<TokenId>>,
    applied: Mutex<Vec<(TokenAction, TokenId)>>,
    /// How long each call takes, milliseconds.
    pace_ms: u64,
}

struct Shop(Arc<Outside>);
struct Mint(Arc<Outside>);

impl Source for Mint {
    fn settles_ms(&self) -> u64 {
        300
    }

    fn obtain<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Supplied, Fault>> {
        Box::pin(async move {
            *self.0.minted.lock().entry(order.name.clone()).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(self.0.pace_ms)).await;
            Ok(self.of(order))
        })
    }

    fn recover<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Option<Supplied>, Fault>> {
        let there = self.0.minted.lock().contains_key(&order.name);
        let supplied = there.then(|| self.of(order));
        Box::pin(async move { Ok(supplied) })
    }

    fn revoke<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<(), Fault>> {
        self.0.minted.lock().remove(&order.name);
        Box::pin(async { Ok(()) })
    }
}

impl Mint {
    fn of(&self, order: &Order) -> Supplied {
        Supplied {
            payload: Payload::of(format!("xai-secret-of-{}", order.name)),
            foreign: format!("id-{}", order.name),
        }
    }
}

impl Workshop for Shop {
    fn source(&self, spec: &JobSpec) -> Result<Arc<dyn Source>, String> {
        match spec {
            JobSpec::Provision => Err("jobs.provisioner_url is not set".into()),
            _ => Ok(Arc::new(Mint(self.0.clone()))),
        }
    }

    fn admit<'a>(&'a self, _: &'a JobRecord, payload: Payload) -> BoxFuture<'a, Result<Admitted, Fault>> {
        Box::pin(async move {
            if payload.secret.contains("refused") {
                return Err(Fault::new(JobStep::Verify, FaultKind::Never, "the upstream says no"));
            }
            let mut enrolled = self.0.enrolled.lock();
            let is_new = !enrolled.contains_key(&payload.secret);
            let token = *enrolled.entry(payload.secret.clone()).or_insert_with(TokenId::generate);
            Ok(Admitted {
                token,
                masked: "xai-…".into(),
                is_new,
                note: String::new(),
            })
        })
    }

    fn apply(&self, action: TokenAction, token: TokenId) -> BoxFuture<'_, Result<String, Fault>> {
        self.0.applied.lock().push((action, token));
        Box::pin(async { Ok(String::new()) })
    }

    fn withdraw(&self, token: TokenId) -> BoxFuture<'_, Result<(), Fault>> {
        self.0.withdrawn.lock().push(token);
        Box::pin(async { Ok(()) })
    }
}

pub(super) struct Node {
    pub(super) jobs: Jobs,
    pub(super) membership: Membership,
    pub(super) stop: CancellationToken,
}

pub(super) async fn node(
    bus: &BusHandle,
    outside: &Arc<Outside>,
    membership: impl FnOnce(&ArbiterPool) -> Membership,
) -> Node {
    let arbiters = ArbiterPool::start(1).unwrap();
    let membership = membership(&arbiters);
    let stop = CancellationToken::new();
    let parts = JobParts {
        bus: bus.clone(),
        vault: Arc::new(Vault::of(
            &MasterKey::configured(&"0123456789abcdef".to_owned().into()).unwrap(),
        )),
        clock: Clock::system(),
        membership: membership.clone(),
        arbiters,
        workshop: Arc::new(Shop(outside.clone())),
        keep: Box::new(|| 2),
    };
    let jobs = Jobs::start(parts, &TaskTracker::new(), stop.clone()).await.unwrap();
    Node { jobs, membership, stop }
}

pub(super) fn local_bus() -> BusHandle {
    LocalBus::new(Store::temporary().unwrap(), Clock::system())
}

pub(super) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..6_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in 60 s: {what}");
}

pub(super) fn to_mint(count: usize) -> Vec<NewItem> {
    (0..count)
        .map(|n| NewItem::ToObtain {
            name: format!("key-{n}"),
            foreign: String::new(),
        })
        .collect()
}

pub(super) fn running(spec: JobSpec) -> JobRecord {
    let now = Clock::system().wall().0;
    let mut record = record(spec, 0);
    (record.running_since_ms, record.epoch, record.max_errors) = (now, 0, 100);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_done_with_reasons_and_only_so_many_ended_jobs_stay() {
    let outside = Arc::new(Outside::default());
    let bus = local_bus();
    let node = node(&bus, &outside, |_| {
        Membership::alone(SessionId::generate(), Clock::system())
    })
    .await;
    let here = |line, secret: &str| NewItem::Here {
        line,
        payload: Payload::of(secret.into()),
    };
    let items = vec![
        here(1, "xai-one"),
        here(2, "xai-one"),
        here(3, "xai-refused"),
        NewItem::Invalid {
            line: 5,
            reason: "has spaces".into(),
        },
    ];
    let id = node.jobs.create(running(JobSpec::List), items).await.unwrap().id;
    let over = async |id| node.jobs.get(id).await.unwrap().is_some_and(|job| job.status.is_over());
    until("the job ends", async || over(id).await).await;
    let job = node.jobs.get(id).await.unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Completed);
    assert_eq!((job.counts.added, job.counts.existing, job.counts.failed), (1, 1, 2));
    let (failed, next) = node.jobs.items(&job, &[ItemState::Failed], 0, 10).await.unwrap();
    assert_eq!(failed.len(), 2);
    assert_eq!(
        (failed[0].1.line, failed[1].1.reason.as_str(), next),
        (3, "has spaces", None)
    );
    // No stored byte holds a secret.
    for entry in bus.kv_list("jobs").await.unwrap() {
        assert!(!entry.value.windows(7).any(|some| some == b"xai-one"));
    }

    let no_source = node
        .jobs
        .create(running(JobSpec::Provision), to_mint(3))
        .await
        .unwrap()
        .id;
    until("it is given up", async || over(no_source).await).await;
    let given_up = node.jobs.get(no_source).await.unwrap().unwrap();
    assert_eq!(
        (given_up.status, given_up.reason.as_str()),
        (JobStatus::Failed, "jobs.provisioner_url is not set")
    );
    for _ in 0..2 {
        let id = node.jobs.create(running(mint()), to_mint(1)).await.unwrap().id;
        until("one more ends", async || over(id).await).await;
    }
    node.jobs.create(running(mint()), to_mint(1)).await.unwrap();
    assert!(node.jobs.get(id).await.unwrap().is_none(), "the oldest is forgotten");
    node.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_pauses_goes_on_and_takes_back_what_it_minted() {
    let outside = Arc::new(Outside {
        pace_ms: 5,
        ..Outside::default()
    });
    let node = node(&local_bus(), &outside, |_| {
        Membership::alone(SessionId::generate(), Clock::system())
    })
    .await;
    let id = node.jobs.create(running(mint()), to_mint(200)).await.unwrap().id;
    let job = async || node.jobs.get(id).await.unwrap().unwrap();
    until("some are done", async || job().await.counts.done > 3).await;
    let set = |status, take_back| {
        move |record: &mut JobRecord| {
            (record.status, record.take_back) = (status, take_back);
            true
        }
    };
    node.jobs.change(id, set(JobStatus::Paused, false)).await.unwrap();
    until("it is let go", async || job().await.owner.is_none()).await;
    let rested = outside.minted.lock().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(outside.minted.lock().len(), rested, "nothing happens in a pause");
    assert!(rested < 200);
    node.jobs.change(id, set(JobStatus::Running, false)).await.unwrap();
    until("more are done", async || job().await.counts.done as usize > rested + 5).await;
    node.jobs.change(id, set(JobStatus::Stopping, true)).await.unwrap();
    until("it is over", async || job().await.status == JobStatus::Stopped).await;
    let job = job().await;
    assert!(outside.minted.lock().is_empty(), "everything was taken back");
    assert_eq!(outside.enrolled.lock().len(), outside.withdrawn.lock().len());
    assert!(job.counts.revoked as usize >= outside.withdrawn.lock().len());
    // One for each time it was begun; a store that is slow to answer makes its owner begin anew.
    assert!(job.epoch >= 2, "{}", job.epoch);
    node.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_continues_where_the_owner_died_and_nothing_is_done_twice() {
    let outside = Arc::new(Outside {
        pace_ms: 10,
        ..Outside::default()
    });
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
    let nodes = [
        node(&bus, &outside, member("one")).await,
        node(&bus, &outside, member("two")).await,
    ];
    until("they see each other", async || {
        nodes.iter().all(|node| node.membership.live() == 2)
    })
    .await;
    let id = nodes[0].jobs.create(running(mint()), to_mint(300)).await.unwrap().id;
    let job = async |at: usize| nodes[at].jobs.get(id).await.unwrap().unwrap();
    until("half of it is done", async || job(0).await.counts.done > 60).await;
    let owner = job(0).await.owner.unwrap();
    let at = nodes.iter().position(|node| node.membership.me() == owner).unwrap();
    // It dies: no word, no last write.
    nodes[at].membership.die();
    nodes[at].stop.cancel();
    nodes[at].jobs.0.live.clear();
    let other = 1 - at;
    until("the other finishes it", async || job(other).await.status.is_over()).await;
    let done = job(other).await;
    assert_eq!(
        (done.status, done.counts.done, done.epoch),
        (JobStatus::Completed, 300, 2)
    );
    let minted = outside.minted.lock();
    assert_eq!(minted.len(), 300);
    assert!(minted.values().all(|times| *times == 1), "{minted:?}");
    assert_eq!(outside.enrolled.lock().len(), 300);
    nodes[other].stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_does_it_does_to_each_token_and_nothing_is_obtained() {
    let outside = Arc::new(Outside::default());
    let bus = local_bus();
    let node = node(&bus, &outside, |_| {
        Membership::alone(SessionId::generate(), Clock::system())
    })
    .await;
    let tokens: Vec<TokenId> = (0..70_u8).map(|n| TokenId::from_bytes([n; 16])).collect();
    let items = tokens.iter().map(|token| NewItem::InPool {
        token: *token,
        masked: "xai-…".into(),
    });
    let spec = JobSpec::Batch(TokenAction::Disable);
    let id = node.jobs.create(running(spec), items.collect()).await.unwrap().id;
    let over = async || node.jobs.get(id).await.unwrap().is_some_and(|job| job.status.is_over());
    until("the job ends", over).await;
    let job = node.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.status, job.counts.done), (JobStatus::Completed, 70));
    assert_eq!((job.counts.added, job.counts.existing), (0, 0));
    let mut applied = outside.applied.lock().clone();
    applied.sort_by_key(|(_, token)| *token);
    let expected: Vec<(TokenAction, TokenId)> = tokens.iter().map(|token| (TokenAction::Disable, *token)).collect();
    assert_eq!(applied, expected);
    assert!(outside.minted.lock().is_empty() && outside.enrolled.lock().is_empty());
    node.stop.cancel();
}
