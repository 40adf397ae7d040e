//! Load with kill -9 in the middle of it, again and again: nothing overspent, nothing lost, the process stays small.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::load;
use crate::support::{MODEL, Plan, Sim, ask, ask_streamed};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes four minutes"]
async fn kills_under_load_overspend_nothing() {
    let teams: Vec<_> = (0..4)
        .map(|at| {
            let mut team = Sim::team(at);
            team["limits"] = json!({"*": {"rpm": 120}});
            team
        })
        .collect();
    let sim = Sim::play(json!({"teams": teams, "first_token_ms": 30})).await;
    let mut plan = Plan::of(&sim, 4).set("clients.max_wait_ms", 1_000);
    for at in 0..4 {
        plan = plan.limits(&Sim::team_id(at), "*", "rpm = 120");
    }
    let mut gateway = plan.start_warm().await;
    let key = gateway
        .admin()
        .await
        .new_key(json!({"name": "day", "limits": {"chat_per_day": 1500}}))
        .await;
    let began = Instant::now();
    let mut rounds = 0_u64;
    while began.elapsed() < Duration::from_secs(220) {
        let client = gateway.as_client(&key.secret);
        let calls = load::run(&client, 2_000, 32, move |at| {
            let prompt = format!("round {rounds} call {at}");
            if at % 2 == 0 {
                ask(MODEL, &prompt)
            } else {
                ask_streamed(MODEL, &prompt)
            }
        });
        let _ = tokio::time::timeout(Duration::from_millis(2_000 + 700 * (rounds % 7)), calls).await;
        gateway.kill();
        gateway.restart().await;
        rounds += 1;
    }
    let arrivals = sim.arrivals().await;
    let total = sim.total().await;
    println!("{rounds} kills, {total} arrivals");
    for row in arrivals["arrivals"].as_array().unwrap() {
        println!("{} {}: {} {}", row["team"], row["model"], row["total"], row["windows"]);
    }
    assert_eq!(arrivals["over"], 0, "{arrivals}");
    assert!(total <= 1_500, "{total} arrivals for a key with 1500 a day");
    assert!(total > 300, "{total} arrivals are no load");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes"]
async fn a_process_under_load_stays_small() {
    let sim = Sim::play(json!({"answer_chunks": 30, "generate": {"teams": 20, "keys_per_team": 5}})).await;
    let keys = sim.http().get("/__sim/keys").await.ok().json();
    let keys = keys["keys"].as_array().unwrap().iter();
    let keys: Vec<String> = keys.map(|key| key["secret"].as_str().unwrap().to_owned()).collect();
    let gateway = Plan::new(&sim.base_url()).keys(keys).start_warm().await;
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap()
            .to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut after = Vec::new();
    for round in 0..5 {
        let outcome = load::run(gateway.http(), 10_000, 64, move |at| {
            let prompt = format!("round {round} call {at}");
            if at % 4 == 0 {
                ask_streamed(MODEL, &prompt)
            } else {
                ask(MODEL, &prompt)
            }
        })
        .await;
        outcome.assert_all_ok(10_000);
        after.push(resident());
        println!("round {round}: {} KB resident; {}", after[round], outcome.describe());
    }
    let (early, late) = (after[1], after[4]);
    assert!(late < early + early / 4, "it grows: {after:?}");
}
