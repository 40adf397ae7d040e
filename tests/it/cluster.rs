//! Several gateways over a real NATS server: they share shards and limits, and outlive each other.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::nats::NatsServers;
use crate::support::{Admin, Gateway, MODEL, Plan, Sim, ask, eventually};

const SOON: Duration = Duration::from_secs(30);

/// So many gateways on one bus, in front of one upstream, once they share out the shards.
async fn cluster(sim: &Sim, nats: &NatsServers, count: usize) -> Vec<Gateway> {
    let mut nodes = Vec::new();
    for at in 0..count {
        let plan = Plan::of(sim, if at == 0 { 1 } else { 0 })
            .env("NATS_URL", &nats.url())
            .limits(&Sim::team_id(0), "*", "rpm = 60")
            .set("cluster.node_id", format!("node{at}"))
            .set("server.drain_delay_secs", 3);
        nodes.push(plan.start().await);
    }
    nodes[0].admin().await.wait_for_tokens(1).await;
    shared_out(&nodes[0].admin().await, count).await;
    nodes
}

async fn status(admin: &Admin) -> Value {
    admin.get("/cluster").await.ok().json()
}

/// Waits until so many nodes live and every shard is decided for by whom it should be.
async fn shared_out(admin: &Admin, count: usize) {
    eventually("every shard has its owner", SOON, || async {
        let view = status(admin).await;
        let live = view["nodes"].as_array().unwrap().iter();
        let live = live.filter(|node| node["state"] == "live").count();
        let shards = view["shards"].as_array().unwrap();
        let right = shards
            .iter()
            .all(|shard| !shard["owner"].is_null() && shard["owner"] == shard["named"]);
        if live == count && right {
            Ok(())
        } else {
            Err(view.to_string())
        }
    })
    .await;
}

/// Asks every node in turn, `each` times, without waiting between; answers how many succeeded.
async fn ask_all(nodes: &[Gateway], each: usize) -> usize {
    let mut succeeded = 0;
    for at in 0..each {
        for node in nodes {
            let got = node.http().chat(&ask(MODEL, &format!("call {at}"))).await;
            match got.status.as_u16() {
                200 => succeeded += 1,
                429 | 503 => assert_ne!(got.header("retry-after"), "", "{}", got.text()),
                _ => panic!("{} {}", got.status, got.text()),
            }
        }
    }
    succeeded
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_hold_one_limit_and_the_death_of_one_is_mended() {
    let Some(nats) = NatsServers::one().await else {
        return;
    };
    let mut team = Sim::team(0);
    team["limits"] = json!({"*": {"rpm": 60}});
    let sim = Sim::play(json!({"teams": [team]})).await;
    let mut nodes = cluster(&sim, &nats, 3).await;
    let admin = nodes[0].admin().await;
    let view = status(&admin).await;
    assert_eq!(view["bus"]["kind"], "nats", "{view}");
    assert!(view["bus"]["latency_us"].as_u64().is_some_and(|us| us > 0), "{view}");
    for node in view["nodes"].as_array().unwrap() {
        assert!((5..=6).contains(&node["shards"].as_array().unwrap().len()), "{view}");
    }

    let before = sim.total().await;
    let succeeded = ask_all(&nodes, 40).await;
    assert!((30..=60).contains(&succeeded), "{succeeded} of 60");

    // The owner of most is killed: whoever is left decides again.
    let killed_at = Instant::now();
    nodes[2].kill();
    nodes.truncate(2);
    shared_out(&admin, 2).await;
    let took = killed_at.elapsed();
    println!("{succeeded} of 60 used; the shards of a killed node decide again after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    let more = ask_all(&nodes, 20).await;
    assert!(succeeded + more <= 60, "{succeeded} and {more} in a minute");
    assert!(sim.total().await - before >= (succeeded + more) as u64);
    let refused = sim.stat("refused").await;
    assert_eq!(refused, 0, "overspent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_a_node_without_a_lapse_and_a_bus_that_comes_back_is_used() {
    let Some(mut nats) = NatsServers::one().await else {
        return;
    };
    let sim = Sim::with_teams(1).await;
    let mut nodes = cluster(&sim, &nats, 2).await;
    let admin = nodes[0].admin().await;
    assert!(ask_all(&nodes, 10).await >= 20);

    let missing = admin.post("/cluster/drain", &json!({"node": "nobody"})).await;
    assert_eq!(missing.status, 404, "{}", missing.text());
    admin.post("/cluster/drain", &json!({"node": "node1"})).await.ok();
    let ended = nodes[1].process().wait(SOON).await;
    assert!(ended.success(), "{ended}");
    nodes.truncate(1);
    shared_out(&admin, 1).await;
    let metrics = nodes[0].http().get("/metrics").await.ok().text();
    let lapsed = metrics
        .lines()
        .find(|line| line.starts_with("grok2api_ledger_lapses_total"));
    assert!(lapsed.is_none_or(|line| line.ends_with(" 0")), "{lapsed:?}");

    nats.kill(0);
    eventually("not ready without a bus", SOON, || async {
        let got = nodes[0].http().get("/readyz").await;
        match got.status.as_u16() {
            503 if got.text().contains("\"bus\"") => Ok(()),
            _ => Err(got.text()),
        }
    })
    .await;
    nats.restart(0).await;
    nodes[0].wait_ready().await;
    eventually("quotas again", SOON, || async {
        match ask_all(&nodes, 1).await {
            1 => Ok(()),
            _ => Err("refused".to_owned()),
        }
    })
    .await;
}
