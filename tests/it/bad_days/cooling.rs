//! How soon every node knows that a credential must rest.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::stage::Stage;
use crate::support::http::Http;
use crate::support::nats::NatsServers;
use crate::support::{MODEL, Sim, ask};

const ROUNDS: usize = 40;
/// How exactly it is seen.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Watches a token over HTTP until it does not serve; when it was seen.
async fn rests(http: Http, path: &str) -> Instant {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let asked = Instant::now();
        let got = http.get(path).await.ok().json();
        let token = got.get("data").unwrap_or(&got);
        if token["state"] != "active" {
            // It was so before the question was answered, at the latest.
            return Instant::now();
        }
        assert!(asked < end, "still active: {token}");
        // Three of these watch on two cores: without a pause they measure each other.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How long after the node that met it the other two knew of a rest, sorted. None without NATS.
async fn lags_of_rests() -> Option<Vec<Duration>> {
    let nats = NatsServers::one().await?;
    let stage = Stage::set(nats, 3).await;
    let token = stage.admin(0).token_of(&Sim::key(0)).await;
    let id = token["id"].as_str().unwrap();
    let path = format!("/api/v1/admin/tokens/{id}");
    let when = json!({"team": Sim::team_id(0), "path": "/v1/chat/completions"});
    let mut lags = Vec::new();
    for round in 0..ROUNDS {
        // The node that meets it, in turn.
        let meets = round % 3;
        stage
            .sim
            .script(json!({"when": when, "times": 1, "do": {"error": "credits-exhausted-403"}}))
            .await;
        let admins: Vec<Http> = (0..3).map(|node| stage.admin(node).http().clone()).collect();
        let watched = join_all(admins.into_iter().map(|http| rests(http, &path)));
        let met = async {
            for at in 0..200 {
                stage
                    .client(meets)
                    .chat(&ask(MODEL, &format!("round {round} {at}")))
                    .await
                    .ok();
                let state = stage.admin(meets).get(&format!("/tokens/{id}")).await.ok().json();
                if state.get("data").unwrap_or(&state)["state"] != "active" {
                    return;
                }
            }
            panic!("no call met the error");
        };
        let (seen, ()) = tokio::join!(watched, met);
        for (node, at) in seen.iter().enumerate() {
            if node != meets {
                lags.push(at.saturating_duration_since(seen[meets]));
            }
        }
        stage.sim.behave().await;
        stage
            .admin(0)
            .post(&format!("/tokens/{id}/clear-cooling"), &json!({}))
            .await
            .ok();
        for node in 0..3 {
            let admin = stage.admin(node);
            crate::support::eventually("active everywhere", Duration::from_secs(10), || async {
                let got = admin.get(&format!("/tokens/{id}")).await.ok().json();
                let state = got.get("data").unwrap_or(&got)["state"].clone();
                if state == "active" {
                    Ok(())
                } else {
                    Err(state.to_string())
                }
            })
            .await;
        }
    }
    lags.sort_unstable();
    let quantile = |q: f64| lags[((lags.len() - 1) as f64 * q) as usize];
    println!(
        "a rest is seen on the other two nodes {:.1?} (p50), {:.1?} (p99), {:.1?} (most) after the node that met it, {} times",
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
        lags.len()
    );
    Some(lags)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_is_told_that_a_credential_rests() {
    let Some(lags) = lags_of_rests().await else { return };
    // Whoever had to look for it would take a second; how fast the machine is does not matter.
    assert!(lags[lags.len() / 2] < Duration::from_millis(250), "{lags:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for a machine that does nothing else"]
async fn every_node_knows_within_milliseconds_that_a_credential_rests() {
    let Some(lags) = lags_of_rests().await else { return };
    assert!(
        lags[(lags.len() - 1) * 99 / 100] <= Duration::from_millis(10),
        "{lags:?}"
    );
}
