//! Limits of client keys, exact to the request however many ask at once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::load;
use crate::support::{Gateway, MODEL, Plan, Sim, ask, ask_streamed, eventually};

async fn stage() -> (Sim, Gateway) {
    let sim = Sim::with_teams(4).await;
    let gateway = Plan::of(&sim, 4).start_warm().await;
    (sim, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_a_day_are_exact() {
    let (sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    for (limit, in_flight) in [(0, 8), (1, 64), (97, 128), (150, 256)] {
        sim.reset().await;
        let key = admin
            .new_key(json!({"name": "day", "limits": {"chat_per_day": limit}}))
            .await;
        let client = gateway.as_client(&key.secret);
        let outcome = load::run(&client, 300, in_flight, |at| ask(MODEL, &format!("call {at}"))).await;
        assert_eq!(outcome.count(200), limit, "{}", outcome.describe());
        assert_eq!(outcome.count(429), 300 - limit, "{}", outcome.describe());
        assert_eq!(sim.total().await as usize, limit, "what was refused went upstream");
        let shown = admin.key(&key.id).await;
        assert_eq!(shown["usage_today"]["chat_used"], limit, "{shown}");
        assert_eq!(shown["remaining_today"]["chat"], 0, "{shown}");

        let refused = client.chat(&ask(MODEL, "One more")).await.with_status(429);
        refused.error();
        assert_eq!(refused.header("x-grok2api-reason"), "client_limit");
        // Midnight is mostly further away than an SDK should sleep: then the body says when, and not to retry. A key
        // that may do nothing at all is not told a time.
        match refused.json()["error"]["retry_after_seconds"].as_u64() {
            Some(seconds) => {
                assert!(seconds > 120);
                assert_eq!(refused.header("retry-after"), "120");
                assert_eq!(refused.header("x-should-retry"), "false");
            }
            None if limit == 0 => assert_eq!(refused.header("retry-after"), ""),
            None => {
                let after: u64 = refused.header("retry-after").parse().unwrap();
                assert!((1..=120).contains(&after), "{after}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_calls_count_as_both() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let key = admin
        .new_key(json!({"name": "both", "limits": {"chat_per_day": 3}}))
        .await;
    let client = gateway.as_client(&key.secret);
    for at in 0..3 {
        client.chat(&ask(MODEL, &format!("call {at}"))).await.ok();
    }
    client.chat(&ask(MODEL, "One more")).await.with_status(429);
    // Other keys, and the scripts' own, are not concerned.
    gateway.http().chat(&ask(MODEL, "Hello")).await.ok();
    // A raised limit counts at once; what is used stays used.
    admin
        .patch(&format!("/keys/{}", key.id), &json!({"chat_limit": 5}))
        .await
        .ok();
    client.chat(&ask(MODEL, "Now?")).await.ok();
    client.chat(&ask(MODEL, "And now?")).await.ok();
    client.chat(&ask(MODEL, "Still?")).await.with_status(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_a_minute_are_exact() {
    let (sim, gateway) = stage().await;
    let key = gateway
        .admin()
        .await
        .new_key(json!({"name": "minute", "rpm": 60}))
        .await;
    let client = gateway.as_client(&key.secret);
    let outcome = load::run(&client, 200, 64, |at| ask(MODEL, &format!("call {at}"))).await;
    assert_eq!(outcome.count(200), 60, "{}", outcome.describe());
    assert_eq!(outcome.count(429), 140, "{}", outcome.describe());
    assert_eq!(sim.total().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_a_time_are_exact_and_wait_for_their_turn() {
    let sim = Sim::play(json!({"first_token_ms": 150, "teams": (0..4).map(Sim::team).collect::<Vec<_>>()})).await;
    let gateway = Plan::of(&sim, 4).set("clients.max_wait_ms", 30_000).start_warm().await;
    let admin = gateway.admin().await;
    let key = admin.new_key(json!({"name": "eight", "concurrency": 8})).await;
    let client = gateway.as_client(&key.secret);
    let outcome = load::run(&client, 96, 64, |at| {
        if at % 2 == 0 {
            ask(MODEL, &format!("call {at}"))
        } else {
            ask_streamed(MODEL, &format!("call {at}"))
        }
    })
    .await;
    outcome.assert_all_ok(96);
    assert_eq!(sim.stat("max_in_flight").await, 8, "at most, and also at least");

    // Who does not want to wait is told so.
    let impatient = admin.new_key(json!({"name": "one", "concurrency": 1})).await;
    let client = gateway.as_client(&impatient.secret);
    let mut slow = client
        .open_chat(&ask_streamed(MODEL, "[[sim:pace=300]] A long answer"))
        .await;
    slow.events(1).await;
    drop(slow);
    // The slot of a client that has gone is free again at once.
    client.chat(&ask(MODEL, "My turn")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_key_refuses_after_its_patience() {
    let (_sim, gateway) = stage().await;
    let key = gateway
        .admin()
        .await
        .new_key(json!({"name": "one", "concurrency": 1}))
        .await;
    let client = gateway.as_client(&key.secret);
    let mut slow = client
        .open_chat(&ask_streamed(MODEL, "[[sim:pace=400]] A long answer"))
        .await;
    slow.events(1).await;
    let began = tokio::time::Instant::now();
    let refused = client.chat(&ask(MODEL, "Me too")).await.with_status(429);
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_millis(1500) && waited < Duration::from_secs(6),
        "clients.max_wait_ms is 2000, it was {waited:?}"
    );
    assert_eq!(refused.header("x-grok2api-reason"), "client_limit");
    refused.error();
}

/// Ticks in a USD.
const USD: f64 = 1e10;

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_budget_is_never_passed() {
    let (sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let budget = 0.1;
    let key = admin
        .new_key(json!({"name": "strict", "budget_usd": budget, "strict": true}))
        .await;
    let client = gateway.as_client(&key.secret);
    // A bound of about $0.001 each; a call costs about half of it.
    let outcome = load::run(&client, 600, 64, |at| {
        let mut request = ask("grok-4.3", &format!("call {at}, at some length"));
        request["max_tokens"] = json!(400);
        request
    })
    .await;
    let spent = sim.stat("cost_in_usd_ticks").await as f64 / USD;
    println!("{spent} of {budget}: {}", outcome.describe());
    assert!(spent <= budget, "{spent} of {budget}: {}", outcome.describe());
    assert!(outcome.count(200) > 50, "{}", outcome.describe());
    assert_eq!(outcome.count(200) + outcome.count(429), 600, "{}", outcome.describe());
    eventually("what was spent is shown", Duration::from_secs(5), || async {
        let told = admin.key(&key.id).await["usage_today"]["spent_usd"].as_f64().unwrap();
        if (told - spent).abs() < 1e-9 {
            Ok(())
        } else {
            Err(format!("{told} is shown, {spent} was spent"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_key_is_served_without_max_tokens() {
    let (sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    for budget in [0.05, 0.5, 5.0] {
        sim.reset().await;
        let key = admin
            .new_key(json!({"name": "strict", "budget_usd": budget, "strict": true}))
            .await;
        let client = gateway.as_client(&key.secret);
        // The gateway sets the cap, from what is left.
        for at in 0..5 {
            let got = client.chat(&ask("grok-4.3", &format!("call {at} of ${budget}"))).await;
            assert_eq!(got.status, 200, "${budget}, call {at}: {}", got.text());
        }
        assert!(sim.stat("cost_in_usd_ticks").await as f64 / USD <= budget);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_passed_by_calls_in_flight_at_most() {
    let sim = Sim::with_teams(4).await;
    let gateway = Plan::of(&sim, 4)
        .set("clients.default_reservation_usd", 0.0004)
        .set("clients.default_reservation_tokens", 60)
        .start_warm()
        .await;
    let admin = gateway.admin().await;
    let budget = 0.02;
    let key = admin.new_key(json!({"name": "soft", "budget_usd": budget})).await;
    let client = gateway.as_client(&key.secret);
    let in_flight = 16;
    let outcome = load::run(&client, 600, in_flight, |at| {
        ask(MODEL, &format!("call {at}, at some length"))
    })
    .await;
    let spent = sim.stat("cost_in_usd_ticks").await as f64 / USD;
    let each = spent / outcome.count(200).max(1) as f64;
    println!("{spent} of {budget}, {each} a call: {}", outcome.describe());
    assert!(
        spent <= budget + in_flight as f64 * each * 1.5,
        "{spent} of {budget}, {each} a call: {}",
        outcome.describe()
    );
    assert!(spent >= 0.5 * budget, "{spent} of {budget}: {}", outcome.describe());
    let refused = client.chat(&ask(MODEL, "One more")).await.with_status(429);
    assert_eq!(refused.error_code(), "insufficient_quota");
    assert_eq!(refused.header("x-should-retry"), "false");
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_usage_is_a_value_and_missing_usage_is_not() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let key = admin.new_key(json!({"name": "usage", "budget_usd": 1.0})).await;
    let client = gateway.as_client(&key.secret);
    let spent = || async {
        let shown = admin.key(&key.id).await;
        shown["usage_today"]["spent_usd"].as_f64().unwrap()
    };
    for stream in [false, true] {
        let call = |fault: &str| -> Value {
            let prompt = format!("Hello [[sim:usage={fault}]]");
            if stream {
                ask_streamed(MODEL, &prompt)
            } else {
                ask(MODEL, &prompt)
            }
        };
        let before = spent().await;
        let got = client.chat(&call("zero")).await.ok();
        let record = admin.request(got.header("x-request-id")).await;
        assert_eq!(record["usage"]["total_tokens"], 0, "{record}");
        assert_eq!(record["presumed"], false, "{record}");
        eventually("nothing is charged", Duration::from_secs(5), || async {
            let now = spent().await;
            if now == before {
                Ok(())
            } else {
                Err(format!("{before} → {now}"))
            }
        })
        .await;
        for fault in ["missing", "null"] {
            let before = spent().await;
            let got = client.chat(&call(fault)).await.ok();
            let record = admin.request(got.header("x-request-id")).await;
            assert_eq!(record["usage"]["total_tokens"], Value::Null, "{record}");
            assert_eq!(record["presumed"], true, "{record}");
            assert!(spent().await > before, "the reservation stands");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_and_switched_off_keys_are_refused() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let key = admin.new_key(json!({"name": "short"})).await;
    let client = gateway.as_client(&key.secret);
    client.chat(&ask(MODEL, "Hello")).await.ok();
    for (change, back) in [
        (json!({"is_active": false}), json!({"is_active": true})),
        (json!({"expires_at": 1_600_000_000}), json!({"expires_at": null})),
    ] {
        admin.patch(&format!("/keys/{}", key.id), &change).await.ok();
        client.chat(&ask(MODEL, "Hello")).await.with_status(401).error();
        admin.patch(&format!("/keys/{}", key.id), &back).await.ok();
        client.chat(&ask(MODEL, "Hello")).await.ok();
    }
    let rotated = admin.post(&format!("/keys/{}/rotate", key.id), &json!({})).await.ok();
    let secret = rotated.json()["data"]["key"].as_str().unwrap().to_owned();
    client.chat(&ask(MODEL, "Hello")).await.with_status(401);
    gateway.as_client(&secret).chat(&ask(MODEL, "Hello")).await.ok();
    admin.delete(&format!("/keys/{}", key.id)).await.ok();
    gateway
        .as_client(&secret)
        .chat(&ask(MODEL, "Hello"))
        .await
        .with_status(401);
}
