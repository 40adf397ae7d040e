//! Limits refuse, are shared by the keys of a team, and the judge sees everything.

use http::StatusCode;
use serde_json::{Value, json};

use super::client::{Sim, ask};

fn two_teams(limits: Value) -> Value {
    json!({"teams": [
        {"id": "a", "limits": {"grok-4*": limits}, "keys": ["xai-a-one", "xai-a-two"]},
        {"id": "b", "keys": ["xai-b"]},
    ]})
}

async fn call(sim: &Sim, key: &str, model: &str) -> (StatusCode, Value) {
    let got = sim.post("/v1/chat/completions", key, &ask(model, "hi")).await;
    (got.status, got.json())
}

fn row(sim: &Sim, team: &str, model: &str) -> Value {
    let report = sim.running.arrivals();
    let rows = report["arrivals"].as_array().unwrap();
    rows.iter()
        .find(|row| row["team"] == team && row["model"] == model)
        .unwrap()
        .clone()
}

#[tokio::test]
async fn keys_of_a_team_share_its_limits_and_refused_calls_count() {
    let sim = Sim::play(two_teams(json!({"rps": 2, "rpm": 3}))).await;
    assert_eq!(call(&sim, "xai-a-one", "grok-4.6").await.0, StatusCode::OK);
    assert_eq!(call(&sim, "xai-a-two", "grok-4.6").await.0, StatusCode::OK);
    let (status, body) = call(&sim, "xai-a-one", "grok-4.6").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(body["code"], "resource-exhausted");
    let text = body["error"].as_str().unwrap();
    assert!(
        text.starts_with("Too many requests for team a and model grok-4.6. Your team's rate limit is — Requests per Second (actual/limit): 2/2"),
        "{text}"
    );
    // A model has its own counters, and so has a team.
    assert_eq!(call(&sim, "xai-a-one", "grok-4.5").await.0, StatusCode::OK);
    assert_eq!(call(&sim, "xai-b", "grok-4.6").await.0, StatusCode::OK);
    // The second is over; the minute has seen three, one of them refused.
    sim.time.advance_ms(1_000);
    let (status, body) = call(&sim, "xai-a-two", "grok-4.6").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains("Requests per Minute (actual/limit): 3/3"),
        "{body}"
    );
    sim.time.advance_ms(60_000);
    assert_eq!(call(&sim, "xai-a-two", "grok-4.6").await.0, StatusCode::OK);

    let seen = row(&sim, "a", "grok-4.6");
    assert_eq!((&seen["total"], &seen["refused"]), (&json!(5), &json!(2)));
    assert_eq!(seen["refused_by"], json!({"rps": 1, "rpm": 1}));
    assert_eq!(
        seen["windows"],
        json!([
            {"window_ms": 1000, "limit": 2, "max": 3, "over": 1},
            {"window_ms": 60000, "limit": 3, "max": 4, "over": 1},
        ])
    );
    assert_eq!(sim.running.arrivals()["over"], 2);
}

#[tokio::test]
async fn successes_tell_what_is_left_and_refusals_do_not() {
    let sim = Sim::play(two_teams(json!({"rpm": 2, "tpm": 100_000}))).await;
    let body = ask("grok-4.6", "hi");
    let got = sim.post("/v1/chat/completions", "xai-a-one", &body).await;
    assert_eq!(got.headers["x-ratelimit-limit-requests"], "2");
    assert_eq!(got.headers["x-ratelimit-remaining-requests"], "1");
    assert_eq!(got.headers["x-ratelimit-limit-tokens"], "100000");
    sim.post("/v1/chat/completions", "xai-a-one", &body).await;
    let refused = sim.post("/v1/chat/completions", "xai-a-one", &body).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!refused.headers.contains_key("x-ratelimit-limit-requests"));
    assert!(refused.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn tokens_and_credit_run_out() {
    let sim = Sim::play(json!({"teams": [
        {"id": "a", "limits": {"*": {"tpm": 60}}, "keys": ["xai-a"]},
        {"id": "b", "credit_ticks": 1, "keys": ["xai-b"]},
    ]}))
    .await;
    let (status, answer) = call(&sim, "xai-a", "grok-4.6").await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = call(&sim, "xai-a", "grok-4.6").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let used = answer["usage"]["total_tokens"].as_u64().unwrap();
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains(&format!("Tokens per Minute (actual/limit): {used}/60")),
        "{body}"
    );
    assert_eq!(row(&sim, "a", "grok-4.6")["tokens"]["max"], json!(used));
    assert_eq!(
        row(&sim, "a", "grok-4.6")["cost_in_usd_ticks"],
        answer["usage"]["cost_in_usd_ticks"]
    );
    sim.time.advance_ms(60_000);
    assert_eq!(call(&sim, "xai-a", "grok-4.6").await.0, StatusCode::OK);

    assert_eq!(call(&sim, "xai-b", "grok-4.6").await.0, StatusCode::OK);
    let (status, body) = call(&sim, "xai-b", "grok-4.6").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .starts_with("Your team b has either used all available credits")
    );
}

#[tokio::test]
async fn calls_at_the_same_time_are_limited() {
    let sim = Sim::play(json!({"pace_ms": 20, "teams": [
        {"id": "a", "limits": {"*": {"concurrency": 1}}, "keys": ["xai-simulator"]},
    ]}))
    .await;
    let first = sim
        .open_chat(&super::client::ask_streamed("grok-4.6", "hi"))
        .await
        .unwrap();
    let (status, body) = call(&sim, "xai-simulator", "grok-4.6").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains("Concurrent Requests (actual/limit): 1/1")
    );
    http_body_util::BodyExt::collect(first.into_body()).await.unwrap();
    assert_eq!(call(&sim, "xai-simulator", "grok-4.6").await.0, StatusCode::OK);
    assert_eq!(
        row(&sim, "a", "grok-4.6")["concurrency"],
        json!({"now": 0, "max": 2, "limit": 1})
    );
}

#[tokio::test]
async fn a_key_has_ceilings_of_its_own() {
    let sim = Sim::play(json!({
        "teams": [{"id": "a", "keys": ["xai-free"]}],
        "keys": [{"secret": "xai-narrow", "team": "a", "qpm": 1}],
    }))
    .await;
    assert_eq!(call(&sim, "xai-narrow", "grok-4.6").await.0, StatusCode::OK);
    let (status, body) = call(&sim, "xai-narrow", "grok-4.5").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(body["error"].as_str().unwrap().contains("API key xa***ow"), "{body}");
    assert_eq!(call(&sim, "xai-free", "grok-4.6").await.0, StatusCode::OK);
    // The team counted it too.
    assert_eq!(row(&sim, "a", "grok-4.5")["total"], 1);
}

#[tokio::test]
async fn teams_and_keys_change_while_it_runs() {
    let sim = Sim::play(two_teams(json!({"rpm": 1}))).await;
    sim.post(
        "/__sim/team",
        "",
        &json!({"id": "a", "limits": {"*": {"rpm": 2, "rph": 2}}}),
    )
    .await;
    assert_eq!(call(&sim, "xai-a-one", "grok-4.6").await.0, StatusCode::OK);
    assert_eq!(call(&sim, "xai-a-one", "grok-4.6").await.0, StatusCode::OK);
    assert_eq!(
        call(&sim, "xai-a-one", "grok-4.6").await.0,
        StatusCode::TOO_MANY_REQUESTS
    );
    sim.post("/__sim/team", "", &json!({"id": "b", "funded": false})).await;
    let (status, body) = call(&sim, "xai-b", "grok-4.6").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        body["error"].as_str().unwrap().contains("https://console.x.ai/team/b."),
        "{body}"
    );
    assert_eq!(sim.get("/v1/models", "xai-b").await.status, StatusCode::FORBIDDEN);
    assert_eq!(sim.get("/v1/api-key", "xai-b").await.status, StatusCode::OK);
    sim.post("/__sim/key", "", &json!({"secret": "xai-a-two", "blocked": true}))
        .await;
    let (status, body) = call(&sim, "xai-a-two", "grok-4.5").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body["error"].as_str().unwrap().contains("Blocked due to API key leak"));
    assert_eq!(
        sim.get("/v1/api-key", "xai-a-two").await.json()["api_key_blocked"],
        true
    );
    sim.post("/__sim/key", "", &json!({"secret": "xai-new", "team": "a"}))
        .await;
    assert_eq!(call(&sim, "xai-new", "grok-4.5").await.0, StatusCode::OK);
    let reset = sim.post("/__sim/reset", "", &json!({})).await;
    assert_eq!(reset.status, StatusCode::OK);
    assert_eq!(call(&sim, "xai-a-one", "grok-4.6").await.0, StatusCode::OK);
    let keys = sim.get("/__sim/keys", "").await.json();
    let used: u64 = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|key| key["routes"]["chat"].as_u64())
        .sum();
    assert_eq!(used, 1);
}
