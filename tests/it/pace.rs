//! Limits of the upstream: never passed in any sliding window by the judge's count of arrivals, and not by sending
//! nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::load::{self, Outcome};
use crate::support::{MODEL, Plan, Sim, ask};

/// The fullest window of that length, per team and model.
fn fullest(arrivals: &Value, window_ms: u64) -> Vec<(String, u64)> {
    let rows = arrivals["arrivals"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let windows = row["windows"].as_array().unwrap();
            let window = windows.iter().find(|window| window["window_ms"] == window_ms).unwrap();
            let name = format!("{} {}", row["team"], row["model"]);
            (name, window["max"].as_u64().unwrap())
        })
        .collect()
}

fn report(what: &str, arrivals: &Value, outcome: &Outcome) {
    println!("{what}: {}", outcome.describe());
    for row in arrivals["arrivals"].as_array().unwrap() {
        println!(
            "  {} {}: {} arrivals, {} refused, {}",
            row["team"], row["model"], row["total"], row["refused"], row["windows"]
        );
    }
}

async fn with_limits(limits: Value, written: &str, max_wait_ms: u64) -> (Sim, crate::support::Gateway) {
    let team = |at: usize| {
        let mut team = Sim::team(at);
        team["limits"] = json!({"*": limits});
        team
    };
    let sim = Sim::play(json!({"teams": [team(0), team(1)]})).await;
    let mut plan = Plan::of(&sim, 2).set("clients.max_wait_ms", max_wait_ms);
    for at in 0..2 {
        plan = plan.limits(&Sim::team_id(at), "*", written);
    }
    let gateway = plan.start_warm().await;
    (sim, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_a_second_stay_under_the_limit_and_use_it() {
    let limit = 20;
    let (sim, gateway) = with_limits(json!({"rps": limit}), "rps = 20", 60_000).await;
    let total = 300;
    let outcome = load::run(gateway.http(), total, 64, |at| ask(MODEL, &format!("call {at}"))).await;
    let arrivals = sim.arrivals().await;
    report("rps", &arrivals, &outcome);
    outcome.assert_all_ok(total);
    assert_eq!(arrivals["over"], 0, "{arrivals}");
    for (name, most) in fullest(&arrivals, 1_000) {
        assert!(most <= limit, "{name}: {most} in a second");
    }
    let share = total as f64 / outcome.took.as_secs_f64() / (2 * limit) as f64;
    println!("share of the limit used: {:.1} %", share * 100.0);
    assert!(share >= 0.75, "only {share:.2} of the limit was used");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_a_minute_stay_under_the_limit_and_use_it() {
    let limit = 120;
    let (sim, gateway) = with_limits(json!({"rpm": limit}), "rpm = 120", 100_000).await;
    // The first minute's worth at once, and some of the second's.
    let total = 2 * 120 + 60;
    let outcome = load::run(gateway.http(), total, 128, |at| ask(MODEL, &format!("call {at}"))).await;
    let arrivals = sim.arrivals().await;
    report("rpm", &arrivals, &outcome);
    outcome.assert_all_ok(total);
    assert_eq!(arrivals["over"], 0, "{arrivals}");
    for (name, most) in fullest(&arrivals, 60_000) {
        assert!(most <= limit && most >= limit * 95 / 100, "{name}: {most} in a minute");
    }
    assert!(outcome.took < Duration::from_secs(75), "{:?}", outcome.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_a_time_stay_under_the_limit_and_use_it() {
    let limit = 6;
    let (sim, gateway) = with_limits(json!({"concurrency": limit}), "concurrency = 6", 60_000).await;
    let outcome = load::run(gateway.http(), 200, 64, |at| {
        ask(MODEL, &format!("call {at} [[sim:first_token=60]]"))
    })
    .await;
    let arrivals = sim.arrivals().await;
    report("concurrency", &arrivals, &outcome);
    outcome.assert_all_ok(200);
    for row in arrivals["arrivals"].as_array().unwrap() {
        assert_eq!(row["refused"], 0, "{row}");
        assert_eq!(row["concurrency"]["max"], limit, "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_quota_is_used_the_client_learns_when_it_comes_back() {
    let (sim, gateway) = with_limits(json!({"rpm": 5}), "rpm = 5", 300).await;
    let outcome = load::run(gateway.http(), 40, 16, |at| ask(MODEL, &format!("call {at}"))).await;
    assert_eq!(outcome.count(200), 10, "{}", outcome.describe());
    assert_eq!(outcome.count(429), 30, "{}", outcome.describe());
    assert_eq!(sim.total().await, 10);
    let refused = gateway.http().chat(&ask(MODEL, "One more")).await.with_status(429);
    refused.error();
    assert_eq!(refused.header("x-grok2api-reason"), "pool");
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&after), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_learnt_from_a_refusal_is_kept_from_then_on() {
    let mut team = Sim::team(0);
    team["limits"] = json!({"*": {"rpm": 30}});
    let sim = Sim::play(json!({"teams": [team, Sim::team(1)]})).await;
    // Nobody tells the gateway.
    let gateway = Plan::of(&sim, 2).start_warm().await;
    let outcome = load::run(gateway.http(), 200, 16, |at| ask(MODEL, &format!("call {at}"))).await;
    outcome.assert_all_ok(200);
    let arrivals = sim.arrivals().await;
    report("learnt", &arrivals, &outcome);
    let rows = arrivals["arrivals"].as_array().unwrap();
    let limited = rows.iter().find(|row| row["team"] == Sim::team_id(0)).unwrap();
    let over = limited["windows"][1]["over"].as_u64().unwrap();
    assert!(over <= 16, "more than what was in flight when it was learnt: {limited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_written_late_is_charged_again() {
    let counted = |text: &str| -> u64 {
        let line = text
            .lines()
            .find(|line| line.starts_with("grok2api_ledger_late_total "));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap()
    };
    let team = |slack: u64| async move {
        let sim = Sim::with_teams(1).await;
        let plan = Plan::of(&sim, 1)
            .set("xai.delivery_slack_ms", slack)
            .set("clients.max_wait_ms", 300);
        (plan.limits(&Sim::team_id(0), "*", "rpm = 10").start_warm().await, sim)
    };
    // Nothing is written within no time at all, so with no slack every call is late.
    let (gateway, sim) = team(0).await;
    let mut answered = 0;
    while gateway.http().chat(&ask(MODEL, "How late is it?")).await.status == 200 {
        answered += 1;
    }
    assert!((5..=6).contains(&answered), "ten units are five late calls: {answered}");
    assert_eq!(sim.total().await, answered);
    assert_eq!(counted(&gateway.http().get("/metrics").await.text()), answered);

    let (gateway, _sim) = team(5_000).await;
    for _ in 0..10 {
        gateway
            .http()
            .chat(&ask(MODEL, "How late is it?"))
            .await
            .with_status(200);
    }
    assert_eq!(counted(&gateway.http().get("/metrics").await.text()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_use_of_a_limit_is_left_to_them() {
    let limit = 20;
    let mut team = Sim::team(0);
    team["limits"] = json!({"*": {"rpm": limit}});
    let sim = Sim::play(json!({"teams": [team]})).await;
    let plan = Plan::of(&sim, 1).set("clients.max_wait_ms", 300);
    let gateway = plan.limits(&Sim::team_id(0), "*", "rpm = 20").start_warm().await;
    // Somebody else calls with the same key, past the gateway.
    let stranger = sim.http().with_bearer(&Sim::key(0));
    for _ in 0..12 {
        stranger
            .post("/v1/chat/completions", &ask(MODEL, "Not through the gateway"))
            .await
            .ok();
    }
    // The first answers tell of it; a moment later the ledger knows.
    let mut answered = 0;
    for _ in 0..20 {
        answered += u64::from(gateway.http().chat(&ask(MODEL, "What is left?")).await.status == 200);
        tokio::time::sleep(Duration::from_millis(700)).await;
        if answered == 1 {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
        }
    }
    let arrivals = sim.arrivals().await;
    println!("{answered} answered beside 12 of a stranger's, of {limit}");
    assert_eq!(arrivals["arrivals"][0]["refused"], 0, "{arrivals}");
    assert!((6..=8).contains(&answered), "{answered}");
}
