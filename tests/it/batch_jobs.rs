//! Batches of tokens as jobs of a cluster: owners that are killed half-way, and nodes of a build that knows no batches.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bad_days::previous;
use crate::jobs::{SOON, job, sim_of, start, until};
use crate::support::admin::Admin;
use crate::support::cut::CutProxy;
use crate::support::nats::NatsServers;
use crate::support::{Gateway, Plan, Sim, eventually};

const NAMES: [&str; 3] = ["node0", "node1", "node2"];
/// What each message takes while an owner is to be killed half-way: so a job lasts, however fast the machine is.
const SLOW: Duration = Duration::from_millis(20);

/// Three nodes, each with its own wire to NATS, and an administrator of each.
struct Cluster {
    sim: Sim,
    _nats: NatsServers,
    wires: Vec<CutProxy>,
    nodes: Vec<Gateway>,
    token: String,
}

impl Cluster {
    async fn start(tokens: usize, builds: [Option<OsString>; 3]) -> Option<Cluster> {
        let nats = NatsServers::one().await?;
        let sim = sim_of(tokens).await;
        let (mut nodes, mut wires) = (Vec::new(), Vec::new());
        for (name, build) in NAMES.into_iter().zip(builds) {
            let wire = CutProxy::start(nats.address(0)).await;
            let plan = Plan::new(&sim.base_url())
                .env("NATS_URL", &format!("nats://{}", wire.address()))
                .set("cluster.node_id", name)
                .build(build);
            nodes.push(plan.start().await);
            wires.push(wire);
        }
        let token = nodes[0].admin().await.token().to_owned();
        Some(Cluster {
            sim,
            _nats: nats,
            wires,
            nodes,
            token,
        })
    }

    fn admin(&self, at: usize) -> Admin {
        Admin::with_token(self.nodes[at].http(), &self.token)
    }

    fn slow_down(&self, delay: Duration) {
        for wire in &self.wires {
            wire.delay(delay);
        }
    }

    /// Waits until a node knows so many tokens, and answers their ids.
    async fn tokens(&self, at: usize, count: usize) -> Vec<Value> {
        eventually("the node knows the tokens", SOON, || async {
            match self.admin(at).tokens().await.len() {
                found if found == count => Ok(()),
                found => Err(found.to_string()),
            }
        })
        .await;
        let tokens = self.admin(at).tokens().await;
        tokens.iter().map(|token| token["id"].clone()).collect()
    }

    /// Starts a batch and kills its owner half-way; answers who finished it, and how it ended.
    async fn batch_without_its_owner(&mut self, action: &str, ids: &[Value]) -> (usize, Value) {
        self.slow_down(SLOW);
        let ask = json!({"batch": {"action": action, "ids": ids}, "concurrency": 4});
        let id = start(&self.admin(0), ask).await;
        eventually("it is half done", SOON, || async {
            let job = job(&self.admin(0), &id).await;
            match job["counts"]["done"].as_u64().unwrap_or(0) >= 60 {
                true => Ok(()),
                false => Err(job.to_string()),
            }
        })
        .await;
        let owner = job(&self.admin(0), &id).await["node"].clone();
        let at = NAMES.iter().position(|name| owner == *name).unwrap();
        self.nodes[at].kill();
        self.slow_down(Duration::ZERO);
        let survivor = (at + 1) % 3;
        let ended = until(&self.admin(survivor), &id, "completed").await;
        assert!(
            ended["epoch"].as_u64().unwrap() >= 2,
            "another owner finished it: {ended}"
        );
        // Either of the others tells the same, item for item.
        for teller in [survivor, (at + 2) % 3] {
            let told = until(&self.admin(teller), &id, "completed").await;
            assert_eq!(
                (
                    &told["counts"]["done"],
                    &told["counts"]["failed"],
                    &told["counts"]["skipped"]
                ),
                (&json!(ids.len()), &json!(0), &json!(0)),
                "{told}"
            );
            let report = self
                .admin(teller)
                .get(&format!("/jobs/{id}?limit=1000"))
                .await
                .ok()
                .json();
            let mut times = BTreeMap::<&str, u32>::new();
            for item in report["items"].as_array().unwrap() {
                assert_eq!(
                    (&item["state"], &item["reason"]),
                    (&json!("done"), &json!("")),
                    "{item}"
                );
                *times.entry(item["token_id"].as_str().unwrap()).or_default() += 1;
            }
            assert_eq!(times.len(), ids.len());
            for id in ids {
                assert_eq!(times.get(id.as_str().unwrap()), Some(&1), "{id}");
            }
        }
        (at, ended)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_owner_is_killed_half_way_is_finished_exactly_once() {
    let Some(mut cluster) = Cluster::start(500, [None, None, None]).await else {
        return;
    };
    let secrets: Vec<String> = (0..500).map(Sim::key).collect();
    cluster.admin(0).import(&secrets).await;
    let mut ids = Vec::new();
    for at in 0..3 {
        ids = cluster.tokens(at, 500).await;
    }

    let (killed, _) = cluster.batch_without_its_owner("disable", &ids).await;
    for at in (0..3).filter(|at| *at != killed) {
        eventually("every token is switched off", SOON, || async {
            let tokens = cluster.admin(at).tokens().await;
            let off = tokens.iter().filter(|token| token["state"] == "disabled").count();
            match off == 500 && tokens.len() == 500 {
                true => Ok(()),
                false => Err(format!("{off} of {}", tokens.len())),
            }
        })
        .await;
    }

    cluster.nodes[killed].restart().await;
    cluster.tokens(killed, 500).await;
    let (killed, _) = cluster.batch_without_its_owner("delete", &ids).await;
    for at in (0..3).filter(|at| *at != killed) {
        cluster.tokens(at, 0).await;
    }
    // What it found done already is done, and stays gone when the killed node comes back.
    cluster.nodes[killed].restart().await;
    cluster.tokens(killed, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs a build of the previous codec"]
async fn older_nodes_leave_batches_alone_and_read_them_once_they_are_replaced() {
    let Some(previous) = previous() else { return };
    let older = Some(previous);
    let Some(mut cluster) = Cluster::start(60, [older.clone(), older, None]).await else {
        return;
    };
    let listed = |at: usize| {
        let admin = cluster.admin(at);
        async move {
            let page = admin.get("/jobs?limit=100").await.ok().json();
            let kinds = page["items"].as_array().unwrap().iter();
            let kinds = kinds.map(|job| (job["id"].as_str().unwrap().to_owned(), job["kind"].clone()));
            kinds.collect::<BTreeMap<String, Value>>()
        }
    };
    // A list of the older build, then batches of the newer one: whichever node comes first for them, it is the newer that
    // does them.
    let lines: String = (0..60).map(|n| Sim::key(n) + "\n").collect();
    let of_older = start(&cluster.admin(0), json!({"list": {"lines": lines}})).await;
    for at in 0..3 {
        until(&cluster.admin(at), &of_older, "completed").await;
    }
    let ids = cluster.tokens(2, 60).await;
    let mut batches = Vec::new();
    for action in ["disable", "enable", "clear_cooling", "disable"] {
        let ask = json!({"batch": {"action": action, "ids": ids}});
        let id = start(&cluster.admin(2), ask).await;
        let ended = until(&cluster.admin(2), &id, "completed").await;
        assert_eq!(ended["counts"]["done"], 60, "{ended}");
        batches.push(id);
    }
    let newer = listed(2).await;
    assert_eq!(newer.len(), 5, "{newer:?}");
    assert!(batches.iter().all(|id| newer[id] == "batch"), "{newer:?}");
    for at in 0..2 {
        assert_eq!(listed(at).await.into_keys().collect::<Vec<_>>(), [of_older.as_str()]);
        let one = cluster.admin(at).get(&format!("/jobs/{}", batches[0])).await;
        assert_eq!(one.status, 404, "{}", one.text());
    }

    // The newer node rests in the middle of one, and dies: nobody takes it over, nobody loses it; an older node starts
    // beside it, and works on jobs that it knows.
    cluster.slow_down(SLOW);
    let ask = json!({"batch": {"action": "enable", "ids": ids}, "concurrency": 1});
    let waiting = start(&cluster.admin(2), ask).await;
    eventually("it is under way", SOON, || async {
        let job = job(&cluster.admin(2), &waiting).await;
        match job["counts"]["done"].as_u64().unwrap_or(0) {
            0 => Err(job.to_string()),
            _ => Ok(()),
        }
    })
    .await;
    cluster.nodes[2].kill();
    cluster.slow_down(Duration::ZERO);
    cluster.nodes[0].kill();
    cluster.nodes[0].restart().await;
    let again = start(&cluster.admin(0), json!({"list": {"lines": Sim::key(0)}})).await;
    until(&cluster.admin(1), &again, "completed").await;

    // The other two are replaced: they read what lay there, and finish what was begun.
    for at in 0..2 {
        assert!(cluster.nodes[at].terminate().await.success());
        cluster.nodes[at].restart_with(|plan| plan.build(None)).await;
    }
    for at in 0..2 {
        let ended = until(&cluster.admin(at), &waiting, "completed").await;
        assert_eq!(ended["counts"]["done"], 60, "{ended}");
        for id in &batches {
            let job = job(&cluster.admin(at), id).await;
            assert_eq!(
                (&job["kind"], &job["counts"]["done"]),
                (&json!("batch"), &json!(60)),
                "{job}"
            );
        }
    }
    assert_eq!(cluster.tokens(0, 60).await.len(), 60);
    drop(cluster.sim);
}
