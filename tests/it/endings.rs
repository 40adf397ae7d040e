//! How long a call may last, whoever waits for it: the limit of the whole call, what is read to its end while the process
//! ends, and a rest that is over before the request's patience is.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{MODEL, Plan, Sim, ask, ask_streamed, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_the_whole_call_counts_from_its_start() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).set("xai.request_timeout_secs", 3).start_warm().await;
    let began = Instant::now();
    // Nothing for 2 s, then events for much longer than the call may last.
    let request = ask_streamed(MODEL, "Tell me a story [[sim:first_token=2000;pace=300]]");
    let mut stream = gateway.http().open_chat(&request).await;
    let ending = stream.finish().await;
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(2_700) && took < Duration::from_millis(4_200),
        "{took:?} {ending:?}"
    );
    let text = &stream.text;
    assert!(
        text.contains("upstream_timeout") && text.contains("whole call"),
        "{text}"
    );
    // Its token is not to blame for a long answer.
    let token = &gateway.admin().await.tokens().await[0];
    assert_eq!(
        (&token["state"], &token["model_cooling"]),
        (&json!("active"), &json!([]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_to_its_end_for_nobody_is_let_finish_at_shutdown() {
    let sim = Sim::with_teams(1).await;
    let mut gateway = Plan::of(&sim, 1).start_warm().await;
    let admin = gateway.admin().await;
    let key = admin
        .new_key(json!({"name": "d", "on_disconnect": "drain", "budget_usd": 5.0}))
        .await;
    let client = gateway.as_client(&key.secret);
    let streamed = ask_streamed(MODEL, "Tell me a story [[sim:pace=350]]");
    let mut stream = client.open_chat(&streamed).await;
    stream.events(2).await;
    let id = stream.headers["x-request-id"].to_str().unwrap().to_owned();
    drop(stream);
    let whole = ask(MODEL, "Hello [[sim:delay=8000]]");
    let call = client.try_chat(&whole);
    assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
    let status = gateway.terminate().await;
    assert!(status.success());
    let said = gateway.process().output();
    assert!(
        said.contains("still waiting") && said.contains("\"unread\":2"),
        "the lines of every 5 s say what is waited for: {said}"
    );
    let stats = sim.stats().await;
    assert_eq!((&stats["completed"], &stats["cancelled"]), (&json!(2), &json!(0)));
    gateway.restart().await;
    let admin = gateway.admin().await;
    let record = admin.request(&id).await;
    assert_eq!(record["presumed"], false, "{record}");
    assert!(record["cost_ticks"].as_u64().unwrap() > 0, "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grace_bounds_what_is_read_for_nobody() {
    let sim = Sim::with_teams(1).await;
    let mut gateway = Plan::of(&sim, 1).set("server.grace_secs", 1).start_warm().await;
    let admin = gateway.admin().await;
    let key = admin.new_key(json!({"name": "d", "on_disconnect": "drain"})).await;
    let request = ask_streamed(MODEL, "Tell me a story [[sim:pace=2000]]");
    let mut stream = gateway.as_client(&key.secret).open_chat(&request).await;
    stream.events(1).await;
    let id = stream.headers["x-request-id"].to_str().unwrap().to_owned();
    drop(stream);
    let began = Instant::now();
    assert!(gateway.terminate().await.success());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    gateway.restart().await;
    let record = gateway.admin().await.request(&id).await;
    assert_eq!(
        (&record["outcome"], &record["presumed"]),
        (&json!("client_gone"), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_team_is_asked_again_when_its_rest_ends_within_the_patience() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).set("clients.max_wait_ms", 4_000).start_warm().await;
    for stream in [false, true] {
        let prompt = format!("Hello {stream} [[sim:error=rate-rps;times=1]]");
        let mut request = ask(MODEL, &prompt);
        request["stream"] = json!(stream);
        let before = sim.total().await;
        gateway.http().chat(&request).await.ok();
        assert_eq!(sim.total().await - before, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_that_outlasts_the_patience_is_told_at_once() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).set("clients.max_wait_ms", 5_000).start_warm().await;
    let rule = json!({
        "when": {"path": "/v1/chat/completions"},
        "do": {"error": "rate-rps-rpm", "headers": {"retry-after": "40"}},
    });
    sim.script(rule).await;
    for _ in 0..2 {
        let began = Instant::now();
        let got = gateway.http().chat(&ask(MODEL, "Hello")).await;
        assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
        assert_eq!(got.status, 429, "{}", got.text());
        let after: u64 = got.header("retry-after").parse().unwrap();
        assert!((36..=41).contains(&after), "{after}");
    }
    assert_eq!(sim.total().await, 1, "a resting team is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_model_is_answered_with_the_one_that_was_meant() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let mistyped = format!("{MODEL}x");
    let got = gateway.http().chat(&ask(&mistyped, "Hello")).await.with_status(404);
    let told = got.error();
    assert_eq!(told["param"], "model", "{told}");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains(&mistyped) && message.contains(&format!("Did you mean {MODEL}?")),
        "{message}"
    );
    let got = gateway
        .http()
        .chat(&ask("nothing-of-the-kind", "Hello"))
        .await
        .with_status(404);
    assert!(!got.text().contains("Did you mean"), "{}", got.text());
    eventually("both are in the log", Duration::from_secs(5), || async {
        let admin = gateway.admin().await;
        let bad = admin.requests("outcome=bad_request").await;
        if bad.len() == 2 {
            Ok(())
        } else {
            Err(format!("{bad:?}"))
        }
    })
    .await;
}
