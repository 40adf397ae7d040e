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

/// What a client key may do holds for it over all nodes together, whichever it turns to.
#[tokio::test(flavor = "multi_thread")]
async fn limits_and_the_budget_of_a_client_key_hold_over_all_nodes() {
    let Some(nats) = NatsServers::one().await else {
        return;
    };
    let sim = Sim::with_teams(1).await;
    let plan = |at: usize| {
        Plan::of(&sim, 1)
            .env("NATS_URL", &nats.url())
            .set("clients.max_wait_ms", 500)
            .set("cluster.node_id", format!("node{at}"))
    };
    let first = plan(0).start_warm().await;
    let (second, third) = tokio::join!(plan(1).start_warm(), plan(2).start_warm());
    let nodes = [first, second, third];
    let admin = nodes[0].admin().await;
    shared_out(&admin, 3).await;
    let known = async |key: &str| {
        for node in &nodes {
            let client = node.as_client(key);
            eventually("the key on every node", SOON, || async {
                match client.get("/v1/models").await.status.as_u16() {
                    200 => Ok(()),
                    other => Err(other.to_string()),
                }
            })
            .await;
        }
    };
    // Everybody asks at once, every node in turn; what was served.
    let rush = async |key: &str, calls: usize, request: &dyn Fn(usize) -> Value| {
        let asked = (0..calls).map(|at| {
            let (client, request) = (nodes[at % 3].as_client(key), request(at));
            async move { client.chat(&request).await }
        });
        let mut served = 0;
        for got in futures::future::join_all(asked).await {
            match got.status.as_u16() {
                200 => served += 1,
                429 => assert_eq!(got.header("x-grok2api-reason"), "client_limit", "{}", got.text()),
                other => panic!("{other} {}", got.text()),
            }
        }
        served
    };
    let plain = |at: usize| ask(MODEL, &format!("call {at}"));

    let minute = admin.new_key(json!({"name": "minute", "rpm": 30})).await;
    known(&minute.secret).await;
    let began = Instant::now();
    let mut served = 0;
    for _ in 0..4 {
        served += rush(&minute.secret, 30, &plain).await;
    }
    assert!(began.elapsed() < Duration::from_secs(55), "too slow to tell");
    assert!((20..=30).contains(&served), "{served} of 30 a minute");

    let day = admin
        .new_key(json!({"name": "day", "limits": {"chat_per_day": 47}}))
        .await;
    known(&day.secret).await;
    let (mut served, began) = (0, Instant::now());
    while served < 47 {
        served += rush(&day.secret, 12, &plain).await;
        assert!(
            began.elapsed() < SOON,
            "only {served} of 47 a day: some are never given back"
        );
    }
    assert_eq!(served, 47);
    assert_eq!(rush(&day.secret, 12, &plain).await, 0, "one more than a day has");

    let slots = admin.new_key(json!({"name": "slots", "concurrency": 3})).await;
    known(&slots.secret).await;
    let slow = |at: usize| ask(MODEL, &format!("[[sim:first_token=3000]] call {at}"));
    let served = rush(&slots.secret, 12, &slow).await;
    assert!((1..=3).contains(&served), "{served} at a time, of 3");

    let before = sim.stat("cost_in_usd_ticks").await as f64 / 1e10;
    let budget = 0.05;
    let money = admin
        .new_key(json!({"name": "money", "budget_usd": budget, "strict": true}))
        .await;
    known(&money.secret).await;
    let costly = |at: usize| {
        let mut request = ask("grok-4.3", &format!("call {at}, at some length"));
        request["max_tokens"] = json!(400);
        request
    };
    let mut served = 0;
    for _ in 0..6 {
        served += rush(&money.secret, 30, &costly).await;
    }
    let spent = sim.stat("cost_in_usd_ticks").await as f64 / 1e10 - before;
    println!("{served} calls spent {spent} of {budget} USD");
    assert!(spent <= budget, "{spent} of {budget}");
    assert!(spent > budget * 0.4, "{spent} of {budget}");
    let told = async |node: &Gateway| {
        let admin = Admin::with_token(node.http(), admin.token());
        admin.key(&money.id).await["usage_today"]["spent_usd"].as_f64().unwrap()
    };
    for node in &nodes {
        eventually("every node says what was spent", SOON, || async {
            let told = told(node).await;
            if (told - spent).abs() < 1e-9 {
                Ok(())
            } else {
                Err(format!("{told}, and {spent} was"))
            }
        })
        .await;
    }
}
