//! The client hangs up: the upstream call ends or is read to its end, as the key's policy says, and is settled right.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::admin::NewKey;
use crate::support::{Admin, Gateway, MODEL, Plan, Sim, ask, ask_streamed, eventually};

async fn stage() -> (Sim, Gateway, Admin) {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let admin = gateway.admin().await;
    (sim, gateway, admin)
}

/// Begins a stream of about 3 s, reads a little, hangs up; the id of the request.
async fn hang_up(gateway: &Gateway, key: &NewKey) -> String {
    let request = ask_streamed(MODEL, "Tell me a story [[sim:pace=60]]");
    let mut stream = gateway.as_client(&key.secret).open_chat(&request).await;
    assert_eq!(stream.status, 200);
    stream.events(2).await;
    stream.headers["x-request-id"].to_str().unwrap().to_owned()
}

async fn becomes(sim: &Sim, name: &str, value: u64, limit: Duration) {
    eventually(&format!("{name} is {value}"), limit, || async {
        let stats = sim.stats().await;
        if stats[name] == value {
            Ok(())
        } else {
            Err(stats.to_string())
        }
    })
    .await;
}

async fn spent(admin: &Admin, key: &NewKey) -> f64 {
    admin.key(&key.id).await["usage_today"]["spent_usd"].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_stops_the_upstream_call_at_once() {
    let (sim, gateway, admin) = stage().await;
    let key = admin
        .new_key(json!({"name": "c", "on_disconnect": "cancel", "budget_usd": 1.0, "concurrency": 1}))
        .await;
    let id = hang_up(&gateway, &key).await;
    becomes(&sim, "cancelled", 1, Duration::from_secs(1)).await;
    let record = admin.request(&id).await;
    assert_eq!(record["outcome"], "client_gone", "{record}");
    assert_eq!(record["presumed"], true, "nobody said what it cost: {record}");
    assert!(spent(&admin, &key).await > 0.0, "the reservation stands");
    // Its slot is free.
    gateway.as_client(&key.secret).chat(&ask(MODEL, "Next")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_while_nothing_has_come_yet() {
    let (sim, gateway, admin) = stage().await;
    let key = admin.new_key(json!({"name": "c", "concurrency": 1})).await;
    let client = gateway.as_client(&key.secret);
    for stream in [false, true] {
        sim.reset().await;
        let mut request = ask(MODEL, "Hello [[sim:delay=20000]]");
        request["stream"] = json!(stream);
        let call = client.try_chat(&request);
        assert!(tokio::time::timeout(Duration::from_millis(400), call).await.is_err());
        becomes(&sim, "in_flight", 0, Duration::from_secs(2)).await;
        client.chat(&ask(MODEL, "Next")).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_reads_to_the_end_for_exact_usage() {
    let (sim, gateway, admin) = stage().await;
    let key = admin
        .new_key(json!({"name": "d", "on_disconnect": "drain", "budget_usd": 1.0}))
        .await;
    let id = hang_up(&gateway, &key).await;
    becomes(&sim, "completed", 1, Duration::from_secs(15)).await;
    assert_eq!(sim.stat("cancelled").await, 0);
    let record = admin.request(&id).await;
    assert_eq!(record["outcome"], "client_gone", "{record}");
    assert_eq!(record["presumed"], false, "{record}");
    let cost = sim.stat("cost_in_usd_ticks").await;
    assert_eq!(record["cost_ticks"], cost, "{record}");
    eventually("exactly that is charged", Duration::from_secs(5), || async {
        let told = spent(&admin, &key).await;
        if (told - cost as f64 / 1e10).abs() < 1e-9 {
            Ok(())
        } else {
            Err(format!("{told}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_up_to_a_second_ends_after_it() {
    let (sim, gateway, admin) = stage().await;
    let key = admin
        .new_key(json!({"name": "n", "on_disconnect": "drain:1", "budget_usd": 1.0}))
        .await;
    let began = tokio::time::Instant::now();
    let id = hang_up(&gateway, &key).await;
    becomes(&sim, "cancelled", 1, Duration::from_secs(5)).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(800), "not drained: {took:?}");
    let record = admin.request(&id).await;
    assert_eq!(record["presumed"], true, "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_hang_up_leave_nothing_behind() {
    let (sim, gateway, admin) = stage().await;
    let key = admin
        .new_key(json!({"name": "m", "on_disconnect": "cancel", "concurrency": 40}))
        .await;
    let client = gateway.as_client(&key.secret);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count();
    let before = descriptors();
    for _ in 0..5 {
        let mut streams = Vec::new();
        for at in 0..40 {
            let request = ask_streamed(MODEL, &format!("Story {at} [[sim:pace=200]]"));
            let mut stream = client.open_chat(&request).await;
            stream.events(1).await;
            streams.push(stream);
        }
        drop(streams);
        becomes(&sim, "in_flight", 0, Duration::from_secs(5)).await;
    }
    eventually("descriptors are given back", Duration::from_secs(10), || async {
        let now = descriptors();
        // A few connections stay in pools.
        if now <= before + 60 {
            Ok(())
        } else {
            Err(format!("{before} → {now}"))
        }
    })
    .await;
    eventually("every call is counted", Duration::from_secs(5), || async {
        let keys: Value = admin.key(&key.id).await;
        if keys["usage_today"]["chat_used"] == 200 {
            Ok(())
        } else {
            Err(keys.to_string())
        }
    })
    .await;
}
