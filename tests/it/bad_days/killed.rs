//! kill -9 of the node that decides for most, under load; its return on the old data directory.

use std::time::Duration;

use grok2api_schemas::meter::{Domain, Meter, MeterKind};
use serde_json::json;
use tokio::time::Instant;

use super::load::STEADY;
use super::stage::{SOON, Stage, wait};
use crate::support::nats::NatsServers;
use crate::support::{MODEL, Sim, ask, ask_streamed, eventually};

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

/// What team 0's requests of the steady model count now, on a node's word.
async fn counted(stage: &Stage, token: &str) -> u64 {
    let quotas = stage.admin(0).get(&format!("/tokens/{token}/quotas")).await.ok().json();
    let mut meters = quotas["meters"].as_array().unwrap().iter();
    let meter = meters.find(|meter| meter["kind"] == "requests" && meter["model"] == STEADY);
    meter.map_or(0, |meter| meter["used"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes"]
async fn what_a_killed_node_had_in_hand_is_free_after_its_life_and_the_window() {
    const LIFE: Duration = Duration::from_secs(30);
    const WINDOW: Duration = Duration::from_secs(60);
    let Some(nats) = NatsServers::one().await else { return };
    let mut stage = Stage::set(nats, 3).await;
    let token = stage.admin(0).token_of(&Sim::key(0)).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let load = stage.demand();
    wait(12).await;
    let view = stage.view(0).await;
    let victim = stage.busiest().await;
    let name = format!("node{victim}");
    let mut nodes = view["nodes"].as_array().unwrap().iter();
    let session = nodes.find(|node| node["node"] == name.as_str()).unwrap()["session"].clone();
    stage.nodes[victim].kill();
    let killed_at = Instant::now();
    let seen = load.end().await;
    let in_hand = || -> u64 {
        let grants = stage.journal.grants().into_iter();
        let of_victim = grants.filter(|grant| session == grant.holder.as_str() && *grant.meter == steady_meter());
        of_victim.map(|grant| grant.open_units()).sum()
    };
    stage.shared_out(0, 2).await;
    let lost = in_hand();
    assert!(lost > 0, "it had nothing in hand");
    // Nobody asks for anything now: what counts goes down to what the dead node had, and then to nothing.
    let free_at = loop {
        let counted = counted(&stage, &token).await;
        let since = killed_at.elapsed();
        if counted < lost {
            break since;
        }
        assert!(
            since < LIFE + WINDOW + Duration::from_secs(25),
            "{counted} still count after {since:?}"
        );
        wait(1).await;
    };
    println!("{lost} units of a killed node are free {free_at:.1?} after the kill");
    assert!(
        free_at >= WINDOW,
        "free after {free_at:?}, while the upstream may still see them"
    );
    stage.nodes[victim].restart().await;
    stage.shared_out(0, 3).await;
    stage
        .judge("a node is killed, and what it had is free again", &seen, 1)
        .await;
}

fn steady_meter() -> Meter {
    Meter {
        domain: Domain::TeamModel {
            provider: "xai".to_owned(),
            team: Sim::team_id(0),
            model: STEADY.to_owned(),
        },
        kind: MeterKind::Requests { window_ms: 60_000 },
    }
}
