//! A node that starts while there is no NATS: alive, not ready, and clear about it.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::stage::{plan, upstream};
use crate::support::nats::NatsServers;
use crate::support::{MODEL, Sim, ask};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_nats_says_so_and_hangs_nobody() {
    let Some(mut nats) = NatsServers::one().await else {
        return;
    };
    let sim: Sim = upstream().await;
    let mut node = plan(&sim, &nats.url(), 0).start_warm().await;
    node.http().chat(&ask(MODEL, "hello")).await.ok();
    node.kill();
    nats.stop(0);
    node.relaunch_with(|plan| plan).await;

    let address = nats.address(0).to_string();
    let began = Instant::now();
    node.http().get("/livez").await.ok();
    let red = node.http().get("/readyz").await.with_status(503).json();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let blockers = red["blockers"].as_array().unwrap();
    let bus = blockers.iter().find(|blocker| blocker["name"] == "bus").expect("bus");
    assert!(bus["reason"].as_str().unwrap().contains(&address), "{red}");

    // Calls wait as long as a call may wait for room, and are refused in their dialect.
    let began = Instant::now();
    let chat = node.http().chat(&ask(MODEL, "anybody?")).await.with_status(503);
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_secs(1) && waited < Duration::from_secs(5),
        "{waited:?}"
    );
    assert_eq!(chat.error_code(), "starting");
    assert!(chat.text().contains(&address), "{}", chat.text());
    assert_eq!(chat.header("retry-after"), "1");
    let body = json!({"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]});
    let anthropic = node.http().post("/v1/messages", &body).await;
    assert_eq!((anthropic.status.as_u16(), anthropic.header("retry-after")), (529, "1"));
    assert_eq!(
        anthropic.json()["error"]["type"],
        "overloaded_error",
        "{}",
        anthropic.text()
    );
    node.http().get("/api/v1/admin/tokens").await.with_status(503);

    // Whoever waits when NATS comes is served.
    let late = node.http().clone();
    let (served, ()) = tokio::join!(
        async {
            let began = Instant::now();
            loop {
                let got = late.chat(&ask(MODEL, "now?")).await;
                if got.status == 200 {
                    return began.elapsed();
                }
                assert_eq!(got.status, 503, "{}", got.text());
                assert!(began.elapsed() < Duration::from_secs(30), "{}", got.text());
            }
        },
        nats.restart(0)
    );
    println!("the first call is served {served:.1?} after NATS is started again");
    node.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_nats_ends_when_it_is_told_to() {
    let Some(mut nats) = NatsServers::one().await else {
        return;
    };
    let sim: Sim = upstream().await;
    let mut node = plan(&sim, &nats.url(), 0).start_warm().await;
    node.kill();
    nats.stop(0);
    node.relaunch_with(|plan| plan).await;
    node.http().get("/livez").await.ok();
    let began = Instant::now();
    assert!(node.terminate().await.success());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
