//! kill -9 in the middle of load, and a start on what is left: nothing that was acknowledged is lost, nothing is spent
//! twice.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::load;
use crate::support::{Admin, MODEL, Plan, Sim, ask, ask_streamed, eventually};

/// What must be the same before and after: of tokens and of keys.
async fn picture(admin: &Admin) -> Value {
    let mut tokens: Vec<Value> = admin
        .tokens()
        .await
        .iter()
        .map(|token| {
            let of = |name: &str| token[name].clone();
            json!([
                of("id"),
                of("token"),
                of("pool"),
                of("state"),
                of("cause"),
                of("until_ms"),
                of("team"),
                of("label"),
                of("note"),
                of("tags")
            ])
        })
        .collect();
    tokens.sort_by_key(ToString::to_string);
    let keys = admin.get("/keys").await.ok().json();
    let keys: Vec<Value> = keys["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            let of = |name: &str| key[name].clone();
            json!([
                of("id"),
                of("name"),
                of("display_key"),
                of("is_active"),
                of("chat_limit"),
                of("rpm"),
                of("concurrency"),
                of("budget_usd"),
                of("allowed_models"),
                of("on_disconnect"),
                of("expires_at")
            ])
        })
        .collect();
    json!({"tokens": tokens, "keys": keys})
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_as_they_were() {
    let sim = Sim::with_teams(4).await;
    let mut gateway = Plan::of(&sim, 4).start_warm().await;
    let admin = gateway.admin().await;
    // One team out of money, one key switched off, one with a label.
    let rule = json!({
        "when": {"team": Sim::team_id(1), "path": "/v1/chat/completions"}, "do": {"error": "credits-exhausted-403"},
    });
    let rule = sim.script(rule).await[0];
    for at in 0..100 {
        gateway.http().chat(&ask(MODEL, &format!("call {at}"))).await.ok();
        if sim.hits(rule).await > 0 {
            break;
        }
    }
    let off = admin.token_of(&Sim::key(2)).await;
    let path = format!("/tokens/{}", off["id"].as_str().unwrap());
    admin
        .patch(&path, &json!({"switch": "off", "note": "not today"}))
        .await
        .ok();
    let named = admin.token_of(&Sim::key(3)).await;
    let path = format!("/tokens/{}", named["id"].as_str().unwrap());
    admin
        .patch(&path, &json!({"label": "Käthe", "tags": ["a", "b"]}))
        .await
        .ok();
    let key = admin
        .new_key(json!({
            "name": "kept", "rpm": 77, "concurrency": 3, "budget_usd": 1.5, "allowed_models": ["grok-4*"],
            "limits": {"chat_per_day": 1000}, "on_disconnect": "drain:30",
        }))
        .await;
    let gone = admin.new_key(json!({"name": "gone"})).await;
    admin.delete(&format!("/keys/{}", gone.id)).await.ok();
    let before = picture(&admin).await;
    assert!(before.to_string().contains("exhausted"), "{before}");

    gateway.kill();
    gateway.restart().await;
    // The environment names the same credentials again: none is added, none is changed.
    let admin = gateway.admin().await;
    let after = picture(&admin).await;
    assert_eq!(after, before);
    gateway.as_client(&key.secret).chat(&ask(MODEL, "Hello")).await.ok();
    gateway
        .as_client(&gone.secret)
        .chat(&ask(MODEL, "Hello"))
        .await
        .with_status(401);
    // The team is still not asked: its rest outlived the process.
    let met = sim.hits(rule).await;
    for at in 0..20 {
        gateway.http().chat(&ask(MODEL, &format!("after {at}"))).await.ok();
    }
    assert_eq!(
        sim.hits(rule).await,
        met,
        "a resting team was asked again after the restart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_overspends_nothing() {
    let per_team = 40;
    let teams: Vec<Value> = (0..3)
        .map(|at| {
            let mut team = Sim::team(at);
            team["limits"] = json!({"*": {"rpm": per_team}});
            team
        })
        .collect();
    let sim = Sim::play(json!({"teams": teams, "first_token_ms": 20})).await;
    let mut plan = Plan::of(&sim, 3).set("clients.max_wait_ms", 1_000);
    for at in 0..3 {
        plan = plan.limits(&Sim::team_id(at), "*", "rpm = 40");
    }
    let mut gateway = plan.start_warm().await;
    let admin = gateway.admin().await;
    let key = admin
        .new_key(json!({"name": "day", "limits": {"chat_per_day": 100}}))
        .await;
    let mut answered = 0;
    for round in 0..3 {
        let client = gateway.as_client(&key.secret);
        let calls = load::run(&client, 120, 16, move |at| {
            ask(MODEL, &format!("round {round} call {at}"))
        });
        // Long enough for some calls, too short for all.
        let interrupted = tokio::time::timeout(Duration::from_millis(150 + 100 * round), calls).await;
        if let Ok(outcome) = interrupted {
            answered += outcome.count(200);
        }
        gateway.kill();
        gateway.restart().await;
    }
    let client = gateway.as_client(&key.secret);
    let outcome = load::run(&client, 200, 16, |at| ask(MODEL, &format!("last {at}"))).await;
    answered += outcome.count(200);
    let arrivals = sim.arrivals().await;
    assert_eq!(arrivals["over"], 0, "{arrivals}");
    let total = sim.total().await;
    println!("{answered} answered, {total} arrived; {}", outcome.describe());
    assert!(total <= 100, "the key may call 100 times a day, {total} arrived");
    let shown = gateway.admin().await.key(&key.id).await;
    let used = shown["usage_today"]["chat_used"].as_u64().unwrap();
    assert!(used >= total && used <= 100, "{used} counted, {total} arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_use_is_there_once_and_calls_in_flight_are_presumed() {
    let sim = Sim::with_teams(2).await;
    let mut gateway = Plan::of(&sim, 2).start_warm().await;
    let admin = gateway.admin().await;
    let key = admin
        .new_key(json!({"name": "counted", "budget_usd": 10.0, "limits": {"chat_per_day": 1000}}))
        .await;
    let client = gateway.as_client(&key.secret);
    let outcome = load::run(&client, 50, 8, |at| ask(MODEL, &format!("call {at}"))).await;
    outcome.assert_all_ok(50);
    let cost = sim.stat("cost_in_usd_ticks").await as f64 / 1e10;
    let used = |shown: &Value| {
        (
            shown["usage_today"]["chat_used"].as_u64().unwrap(),
            shown["usage_today"]["spent_usd"].as_f64().unwrap(),
        )
    };
    eventually("all is settled", Duration::from_secs(10), || async {
        let (count, spent) = used(&admin.key(&key.id).await);
        if count == 50 && (spent - cost).abs() < 1e-9 {
            Ok(())
        } else {
            Err(format!("{count} calls, {spent} of {cost}"))
        }
    })
    .await;
    // Settlements are written within a few seconds; from then on they outlive anything.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut in_flight = Vec::new();
    for at in 0..3 {
        let request = ask_streamed(MODEL, &format!("Story {at} [[sim:pace=500]]"));
        let mut stream = client.open_chat(&request).await;
        stream.events(1).await;
        in_flight.push(stream);
    }
    gateway.kill();
    drop(in_flight);
    gateway.restart().await;
    let admin = gateway.admin().await;
    let (count, spent) = used(&admin.key(&key.id).await);
    assert!(count >= 53, "50 settled and 3 in flight, {count} are charged");
    assert!(spent >= cost, "{spent} of at least {cost}");
    // What the dead process had in hand stays charged, and no more than that.
    assert!(count <= 53 + 60, "{count}");
    // The log still has what was acknowledged.
    let records = admin.requests("limit=1000").await;
    let kept = records.iter().filter(|record| record["outcome"] == "success").count();
    assert!(kept >= 40, "{kept} of 50 records; the ring is written in batches");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_gives_back_what_was_not_used() {
    let sim = Sim::with_teams(2).await;
    let mut gateway = Plan::of(&sim, 2).start_warm().await;
    let key = gateway
        .admin()
        .await
        .new_key(json!({"name": "day", "limits": {"chat_per_day": 100}}))
        .await;
    for round in 0..3 {
        let client = gateway.as_client(&key.secret);
        let outcome = load::run(&client, 20, 8, move |at| {
            ask(MODEL, &format!("round {round} call {at}"))
        })
        .await;
        outcome.assert_all_ok(20);
        let status = gateway.terminate().await;
        assert!(status.success(), "{status}");
        gateway.restart().await;
        let shown = gateway.admin().await.key(&key.id).await;
        assert_eq!(shown["usage_today"]["chat_used"], 20 * (round + 1), "{shown}");
    }
    let client = gateway.as_client(&key.secret);
    let outcome = load::run(&client, 60, 8, |at| ask(MODEL, &format!("last {at}"))).await;
    assert_eq!(outcome.count(200), 40, "{}", outcome.describe());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_streams_finish() {
    let sim = Sim::play(json!({"pace_ms": 40, "teams": [Sim::team(0)]})).await;
    let mut gateway = Plan::of(&sim, 1).start_warm().await;
    let mut streams = Vec::new();
    for at in 0..10 {
        let mut stream = gateway
            .http()
            .open_chat(&ask_streamed(MODEL, &format!("Story {at}")))
            .await;
        stream.events(2).await;
        streams.push(stream);
    }
    gateway.process().signal(rustix::process::Signal::TERM);
    for stream in &mut streams {
        assert_eq!(stream.finish().await, crate::support::http::Ending::Clean);
        assert!(stream.text.ends_with("data: [DONE]\n\n"), "{}", stream.text);
    }
    let status = gateway.process().wait(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
    assert_eq!(sim.stat("cancelled").await, 0);
}
