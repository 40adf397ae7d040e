//! A node that is cut off breaks off its calls of a hard limit before the others stop counting them.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::stage::SOON;
use crate::support::cut::CutProxy;
use crate::support::http::Ending;
use crate::support::nats::NatsServers;
use crate::support::{MODEL, Plan, Sim, ask, ask_streamed, eventually};

const LIMITS: &str = "concurrency = 2\nconcurrency_hard = true";

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_hard_limit_end_where_nobody_may_count_them() {
    let Some(nats) = NatsServers::one().await else { return };
    let wire = CutProxy::start(nats.address(0)).await;
    let mut team = Sim::team(0);
    team["limits"] = json!({"*": {"concurrency": 2}});
    let sim = Sim::play(json!({"answer_chunks": 60, "teams": [team]})).await;
    let plan = |url: &str, keys: usize, name: &str| {
        Plan::of(&sim, keys)
            .env("NATS_URL", url)
            .set("cluster.node_id", name)
            .set("clients.max_wait_ms", 0)
    };
    let near = plan(&nats.url(), 1, "near").limits(&Sim::team_id(0), "*", LIMITS);
    let near = near.start_warm().await;
    let far = plan(&format!("nats://{}", wire.address()), 0, "far").start().await;
    let key = near.admin().await.new_key(json!({"name": "clients"})).await;
    let (near_client, far_client) = (near.as_client(&key.secret), far.as_client(&key.secret));
    eventually("the far node serves", SOON, || async {
        let got = far_client.chat(&ask(MODEL, "Ready?")).await;
        if got.status == 200 { Ok(()) } else { Err(got.text()) }
    })
    .await;

    // Both slots are in use there: by an answer that has begun, and by one that has not.
    let long = ask_streamed(MODEL, "[[sim:pace=1000]] A long answer");
    let mut stream = loop {
        let mut stream = far_client.open_chat(&long).await;
        if stream.status == 200 {
            stream.events(1).await;
            break stream;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let silent = ask(MODEL, "[[sim:first_token=60000]] A late answer");
    let waiting = async {
        loop {
            let got = far_client.chat(&silent).await;
            // Until the slot has come over from the other node.
            if got.error_code() == "cut_off" {
                return got;
            }
            assert!([429, 503].contains(&got.status.as_u16()), "{}", got.text());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let cut = async {
        eventually("both slots are in use", SOON, || async {
            let arrivals = sim.arrivals().await;
            let open = arrivals["arrivals"].as_array().unwrap().iter();
            let now: u64 = open.map(|row| row["concurrency"]["now"].as_u64().unwrap()).sum();
            if now == 2 { Ok(()) } else { Err(arrivals.to_string()) }
        })
        .await;
        wire.cut();
        let cut_at = Instant::now();
        let ending = stream.finish().await;
        println!(
            "the answer that had begun was broken off {:.1?} after the cut",
            cut_at.elapsed()
        );
        assert_eq!(ending, Ending::Clean);
        assert!(stream.text.contains("\"cut_off\""), "{}", stream.text);
        cut_at
    };
    let (late, cut_at) = tokio::join!(waiting, cut);
    assert_eq!(late.status, 503, "{}", late.text());
    // The others have both slots now, and never had a third beside them.
    eventually("both slots are free elsewhere", SOON, || async {
        let short = ask(MODEL, "Room? [[sim:first_token=500]]");
        let calls = join_all((0..2).map(|_| near_client.chat(&short))).await;
        match calls.iter().find(|got| got.status != 200) {
            None => Ok(()),
            Some(refused) => Err(refused.text()),
        }
    })
    .await;
    println!("both slots are in use elsewhere {:.1?} after the cut", cut_at.elapsed());
    let arrivals = sim.arrivals().await;
    for row in arrivals["arrivals"].as_array().unwrap() {
        assert_eq!(row["refused"], 0, "{row}");
        assert!(row["concurrency"]["max"].as_u64() <= Some(2), "{row}");
    }

    wire.restore();
    eventually("the far node serves again", SOON, || async {
        let got = far_client.chat(&ask(MODEL, "Again?")).await;
        if got.status == 200 { Ok(()) } else { Err(got.text()) }
    })
    .await;
}
