//! Everything that a script can ask for happens.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Sim, ask, ask_streamed};
use crate::simulator::errors;
use crate::simulator::{SimulatorOptions, demo_keys};

/// Reads a body until it ends or breaks; what came, and whether it ended well.
async fn drain(response: http::Response<hyper::body::Incoming>) -> (String, bool) {
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(frame.data_ref().unwrap()),
            Err(_) => return (String::from_utf8_lossy(&text).into_owned(), false),
        }
    }
    (String::from_utf8_lossy(&text).into_owned(), true)
}

fn events(text: &str) -> usize {
    text.matches("data: ").count()
}

/// Polls the totals until one of them is `wanted`.
async fn until(sim: &Sim, name: &str, wanted: u64) {
    for _ in 0..200 {
        if sim.running.stats()[name] == json!(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} is not {wanted}: {}", sim.running.stats());
}

#[tokio::test]
async fn every_case_of_the_table_can_be_provoked() {
    let sim = Sim::play(json!({})).await;
    for id in errors::ids() {
        sim.script(json!({"times": 1, "do": {"error": id}})).await;
        let got = sim.chat(&ask("grok-4.6", "hi")).await;
        assert!(got.status.as_u16() >= 400, "{id}: {}", got.status);
        assert!(
            !got.text().contains(['{', '}']) || serde_json::from_slice::<Value>(&got.body).is_ok(),
            "{id}"
        );
        let after = sim.chat(&ask("grok-4.6", "hi")).await;
        assert_eq!(after.status, StatusCode::OK, "{id} happened twice");
    }
    let got = sim
        .post("/__sim/script", "", &json!({"do": {"error": "no-such-thing"}}))
        .await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    let got = sim.post("/__sim/script", "", &json!({"do": {"mistyped": 1}})).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn rules_find_their_requests() {
    let sim = Sim::play(json!({"teams": [
        {"id": "a", "keys": ["xai-one", "xai-two"]}, {"id": "b", "keys": ["xai-three"]},
    ]}))
    .await;
    sim.script(json!([
        {"when": {"key": "xai-one", "model": "grok-4.*"}, "skip": 1, "do": {"status": 418, "body": {"tea": true}}},
        {"when": {"team": "b", "path": "/v1/models*"}, "do": {"error": "unavailable-503"}},
    ]))
    .await;
    let status = async |key: &str, model: &str| {
        sim.post("/v1/chat/completions", key, &ask(model, "hi"))
            .await
            .status
            .as_u16()
    };
    assert_eq!(status("xai-one", "grok-4.6").await, 200, "skipped");
    assert_eq!(status("xai-one", "grok-3-mini").await, 200);
    assert_eq!(status("xai-one", "grok-4.6").await, 418);
    assert_eq!(status("xai-two", "grok-4.6").await, 200);
    assert_eq!(status("xai-three", "grok-4.6").await, 200);
    assert_eq!(sim.get("/v1/models", "xai-three").await.status.as_u16(), 503);
    assert_eq!(sim.get("/v1/models", "xai-one").await.status.as_u16(), 200);
    let listed = sim.get("/__sim/script", "").await.json();
    assert_eq!(listed[0]["hits"], 1);
    assert_eq!(listed[1]["hits"], 1);
}

#[tokio::test]
async fn a_rhythm_and_an_end_are_kept() {
    let sim = Sim::play(json!({"rules": [
        {"rhythm": {"every_ms": 1000, "from_ms": 200, "for_ms": 100}, "do": {"status": 503}},
        {"for_ms": 5000, "when": {"model": "grok-4.5"}, "do": {"status": 500}},
    ]}))
    .await;
    let status = async |model: &str| sim.chat(&ask(model, "hi")).await.status.as_u16();
    assert_eq!(status("grok-4.6").await, 200);
    sim.time.advance_ms(250);
    assert_eq!(status("grok-4.6").await, 503);
    sim.time.advance_ms(100);
    assert_eq!(status("grok-4.6").await, 200);
    assert_eq!(status("grok-4.5").await, 500);
    sim.time.advance_ms(5_000);
    assert_eq!(status("grok-4.5").await, 200);
}

#[tokio::test]
async fn streams_are_cut_stalled_and_spoilt() {
    let sim = Sim::play(json!({})).await;
    let streamed = async |act: Value| {
        sim.script(json!({"times": 1, "do": act})).await;
        drain(sim.open_chat(&ask_streamed("grok-4.6", "hi")).await.unwrap()).await
    };
    let (text, ended) = streamed(json!({"cut_after": 3})).await;
    assert_eq!((events(&text), ended), (3, false));
    let (text, ended) = streamed(json!({"event_error": "chat-midstream-flat"})).await;
    assert!(
        ended && text.starts_with("data: {\"code\":\"The service is currently unavailable\""),
        "{text}"
    );
    assert_eq!(events(&text), 1);
    let (text, _) = streamed(json!({"event_error": "capacity-429", "event_at": 4})).await;
    assert_eq!(events(&text), 5);
    let (text, _) = streamed(json!({"event_error": "responses-error-event"})).await;
    assert!(text.starts_with("event: error\ndata: {"));
    let (text, ended) = streamed(json!({"drop_done": true})).await;
    assert!(ended && !text.contains("[DONE]"));
    let (text, _) = streamed(json!({"garbage_at": 1})).await;
    assert!(serde_json::from_str::<Value>(text.split("\n\n").nth(1).unwrap().trim_start_matches("data: ")).is_err());
    let (text, _) = streamed(json!({"huge_chunk": 300_000})).await;
    assert!(text.len() > 300_000 && text.ends_with("[DONE]\n\n"));
    let begun = Instant::now();
    let (_, ended) = streamed(json!({"stall_after": 2, "stall_ms": 150})).await;
    assert!(ended && begun.elapsed() >= Duration::from_millis(150));
    let begun = Instant::now();
    streamed(json!({"delay_ms": 120})).await;
    assert!(begun.elapsed() >= Duration::from_millis(120));
    assert_eq!(sim.running.stats()["cut"], 1);
}

#[tokio::test]
async fn answers_in_one_piece_are_spoilt_too() {
    let sim = Sim::play(json!({})).await;
    let whole = async |act: Value| {
        sim.script(json!({"times": 1, "do": act})).await;
        drain(sim.open_chat(&ask("grok-4.6", "hi")).await.unwrap()).await
    };
    let (text, ended) = whole(json!({"cut_after": 2})).await;
    assert!(!ended && text.starts_with("{\"id\":"));
    let (text, ended) = whole(json!({"garbage_at": 3})).await;
    assert!(ended && serde_json::from_str::<Value>(&text).is_err());
    let begun = Instant::now();
    let (text, ended) = whole(json!({"pace_ms": 10})).await;
    assert!(ended && begun.elapsed() >= Duration::from_millis(100) && serde_json::from_str::<Value>(&text).is_ok());
    let (text, _) = whole(json!({"usage": "missing"})).await;
    assert!(!text.contains("\"usage\""));
    let (text, _) = whole(json!({"usage": "null"})).await;
    assert!(text.contains("\"usage\":null"));
    let (text, _) = whole(json!({"usage": "zero"})).await;
    assert!(text.contains("\"total_tokens\":0"));
    let (text, _) = whole(json!({"answer": "exactly this"})).await;
    assert!(text.contains("\"content\":\"exactly this\""));
    sim.script(json!({"times": 1, "do": {"content_type": "text/html", "headers": {"retry-after": "7"}}}))
        .await;
    let got = sim.chat(&ask("grok-4.6", "hi")).await;
    assert_eq!(
        (&got.headers["content-type"], &got.headers["retry-after"]),
        (&"text/html".parse().unwrap(), &"7".parse().unwrap())
    );
}

#[tokio::test]
async fn connections_are_cut_and_refused() {
    let sim = Sim::play(json!({})).await;
    sim.script(json!({"when": {"path": "/v1/models"}, "do": {"cut_before_head": true}}))
        .await;
    assert!(sim.open(http::Method::GET, "/v1/models", &[], "").await.is_err());
    sim.script(json!({"times": 1, "do": {"refuse_ms": 1000}})).await;
    assert!(sim.open_chat(&ask("grok-4.6", "hi")).await.is_err());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = sim.open_chat(&ask("grok-4.6", "hi")).await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    sim.time.advance_ms(1_100);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(sim.chat(&ask("grok-4.6", "hi")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn magic_prompts_reach_through_and_can_end() {
    let sim = Sim::play(json!({})).await;
    let got = sim.chat(&ask("grok-4.6", "please [[sim:error=rate-rps]]")).await;
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(got.json()["error"].as_str().unwrap().contains("(actual/limit): 2/2"));
    let once = ask("grok-4.6", "please [[sim:error=unavailable-503;times=2]] now");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(sim.chat(&once).await.status.as_u16());
    }
    assert_eq!(statuses, [503, 503, 200]);
    let got = sim
        .chat(&ask("grok-4.6", "[[sim:status=529]][[sim:retry_after=3]]"))
        .await;
    assert_eq!(
        (got.status.as_u16(), got.headers["retry-after"].to_str().unwrap()),
        (529, "3")
    );
    let (text, ended) = drain(
        sim.open_chat(&ask_streamed("grok-4.6", "hi [[sim:cut=4]]"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!((events(&text), ended), (4, false));
    assert_eq!(
        sim.chat(&ask("grok-4.6", "not [[sim:nonsense]]")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed_and_pays_for_what_it_got() {
    let sim = Sim::play(json!({"pace_ms": 20})).await;
    let mut response = sim.open_chat(&ask_streamed("grok-4.6", "hi")).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(sim.running.stats()["in_flight"], 1);
    drop(response);
    until(&sim, "cancelled", 1).await;
    assert_eq!(sim.running.stats()["in_flight"], 0);
    let row = sim.running.arrivals()["arrivals"][0].clone();
    let tokens = row["tokens"]["total"].as_u64().unwrap();
    assert!((8..40).contains(&tokens), "{row}");
    assert!(row["cost_in_usd_ticks"].as_u64().unwrap() > 0);
    // Also before the head, and in a stall.
    let whole = ask("grok-4.6", "hi");
    let waiting = sim.open_chat(&whole);
    assert!(tokio::time::timeout(Duration::from_millis(100), waiting).await.is_err());
    until(&sim, "cancelled", 2).await;
    let mut stalled = sim
        .open_chat(&ask_streamed("grok-4.6", "hi [[sim:stall=1]]"))
        .await
        .unwrap();
    stalled.body_mut().frame().await.unwrap().unwrap();
    drop(stalled);
    until(&sim, "cancelled", 3).await;
    assert_eq!(sim.running.keys()["keys"][0]["cancelled"], 3);
}

#[tokio::test]
async fn the_demo_has_three_teams_of_which_one_is_always_well() {
    let options = SimulatorOptions::demo();
    let mut scenario = serde_json::to_value(&options.scenario).unwrap();
    scenario["pace_ms"] = json!(0);
    scenario["first_token_ms"] = json!(0);
    let sim = Sim::play(scenario).await;
    let mut bad_seconds = std::collections::BTreeMap::<String, Vec<u64>>::new();
    for second in 0..60u64 {
        for (secret, label) in demo_keys() {
            let got = sim.post("/v1/chat/completions", &secret, &ask("grok-4.6", "hi")).await;
            let team = label.split(' ').nth(1).unwrap().to_owned();
            if got.status != StatusCode::OK {
                bad_seconds.entry(team).or_default().push(second);
            }
        }
        sim.time.advance_ms(1_000);
    }
    assert_eq!(demo_keys().len(), 7);
    assert!(!bad_seconds.contains_key("north"), "{bad_seconds:?}");
    for team in ["east", "south"] {
        let bad = &bad_seconds[team];
        assert!(bad.len() >= 4 && bad.len() < 100, "{team}: {bad:?}");
    }
}
