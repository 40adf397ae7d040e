//! kill -9 of the node that decides for most, under load; its return on the old data directory.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::stage::{SOON, Stage, wait};
use crate::support::nats::NatsServers;
use crate::support::{MODEL, ask, ask_streamed, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_is_replaced_and_comes_back_on_its_old_data() {
    let Some(nats) = NatsServers::one().await else { return };
    let mut stage = Stage::set(nats, 3).await;
    let slots = stage.admin(0).new_key(json!({"name": "slots", "concurrency": 3})).await;
    let load = stage.demand();
    wait(6).await;
    assert_eq!(stage.edit(1).await, 200);

    // A key's slots are all in use, through the node that is about to die.
    let victim = stage.busiest().await;
    let client = stage.nodes[victim].as_client(&slots.secret);
    let mut held = Vec::new();
    for at in 0..3 {
        let request = ask_streamed(MODEL, &format!("[[sim:pace=2000]] A long answer {at}"));
        let mut stream = client.open_chat(&request).await;
        stream.events(1).await;
        held.push(stream);
    }
    let elsewhere = stage.nodes[0].as_client(&slots.secret);
    elsewhere.chat(&ask(MODEL, "No room")).await.with_status(429);

    stage.nodes[victim].kill();
    let killed_at = Instant::now();
    let survivor = if victim == 1 { 2 } else { 1 };
    let decided = async {
        stage.shared_out(0, 2).await;
        killed_at.elapsed()
    };
    let freed = async {
        eventually("the slots of a killed node are free", SOON, || async {
            let got = elsewhere.chat(&ask(MODEL, "Room?")).await;
            if got.status == 200 { Ok(()) } else { Err(got.text()) }
        })
        .await;
        killed_at.elapsed()
    };
    let (decided, freed) = tokio::join!(decided, freed);
    drop(held);
    assert_eq!(stage.edit(survivor).await, 200);
    wait(3).await;

    stage.nodes[victim].restart().await;
    stage.point_at_all();
    stage.shared_out(survivor, 3).await;
    wait(3).await;
    let seen = load.end().await;
    println!("the shards of a killed node are decided again after {decided:.1?}, its slots are free after {freed:.1?}");
    // The three long answers, and what was asked while the slots were in use, are of another key.
    stage.judge_with("a node is killed and comes back", &seen, 1, 4).await;
    seen.assert_in_form(Some(victim));
    let harmed = seen.harmed(Some(victim));
    assert!(harmed.is_empty(), "{harmed:?}");
    assert!(decided <= Duration::from_secs(5), "{decided:?}");
    assert!(freed <= Duration::from_secs(10), "{freed:?}");
}
