//! NATS goes away and comes back; one node is cut off from it; it is slow.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::load::Seen;
use super::stage::{SOON, Stage, wait};
use crate::support::cut::CutProxy;
use crate::support::eventually;
use crate::support::nats::NatsServers;

/// NATS is stopped under load, for so long; a node is killed meanwhile and has to come back with it.
async fn nats_stops(seconds: u64) -> (Seen, Instant) {
    let Some(nats) = NatsServers::one().await else {
        return (Seen(Vec::new()), Instant::now());
    };
    let mut stage = Stage::set(nats, 3).await;
    let load = stage.demand();
    wait(10).await;
    stage.nats.stop(0);
    let stopped_at = Instant::now();
    wait(2).await;
    assert_ne!(stage.edit(0).await, 200, "nobody has this edit");
    // Its clients go elsewhere. It starts while there is no NATS, and waits for it.
    let mut restarted = stage.nodes.pop().unwrap();
    restarted.kill();
    let back = async {
        restarted.restart().await;
        restarted
    };
    let away = async {
        let red = stage.readiness(0, "not ready without a bus", |status, text| {
            status == 503 && text.contains("\"bus\"")
        });
        let red = red.await + Duration::from_secs(2);
        println!("/readyz is red {red:.1?} after NATS has stopped");
        tokio::time::sleep_until(stopped_at + Duration::from_secs(seconds)).await;
        stage.nats.restart(0).await;
        Instant::now()
    };
    let (restarted, returned_at) = tokio::join!(back, away);
    println!(
        "a node that started without NATS is ready {:.1?} after its return",
        returned_at.elapsed()
    );
    stage.nodes.push(restarted);
    stage.point_at_all();
    stage.readiness(0, "ready again", |status, _| status == 200).await;
    println!(
        "a node that went on is ready {:.1?} after its return",
        returned_at.elapsed()
    );
    stage.shared_out(0, 3).await;
    assert_eq!(stage.edit(2).await, 200);
    wait(3).await;
    let seen = load.end().await;
    let day = format!("NATS is stopped for {seconds} s");
    stage.judge(&day, &seen, 1).await;
    stage.explain(0, &seen.harmed(Some(2))).await;
    seen.assert_in_form(Some(2));
    println!(
        "  the last steady call failed {:.1?} after the return of NATS",
        seen.recovered_after(returned_at)
    );
    assert!(seen.recovered_after(returned_at) < Duration::from_secs(10));
    (seen, returned_at)
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_stops_and_starts_again() {
    let (seen, _) = nats_stops(12).await;
    // What was in hand lasts that long; who finds none left, because a dead node's clients came too, waits.
    let harmed = seen.harmed(Some(2));
    assert!(harmed.is_empty(), "{harmed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_stops_for_longer_than_grants_live() {
    nats_stops(35).await;
}

/// Three nodes, each with a wire of its own to NATS.
async fn wired() -> Option<(Stage, Vec<CutProxy>)> {
    let nats = NatsServers::one().await?;
    let wires = join_all((0..3).map(|_| CutProxy::start(nats.address(0)))).await;
    let url = |wire: &CutProxy| {
        let address: SocketAddr = wire.address();
        format!("nats://{address}")
    };
    let urls: Vec<String> = wires.iter().map(url).collect();
    Some((Stage::set_over(nats, &urls, |_, plan| plan).await, wires))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_cut_off_and_comes_back() {
    let Some((stage, wires)) = wired().await else { return };
    let spare = stage.admin(0).new_key(json!({"name": "deleted meanwhile"})).await;
    let far = &stage.nodes[2];
    let opens = async |secret: &str| far.as_client(secret).get("/v1/models").await.status.as_u16();
    eventually("a key on the node that is to be cut off", SOON, || async {
        match opens(&spare.secret).await {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let load = stage.demand();
    // What is in hand goes by the demand of the last seconds: it has to be steady for as long as it is to last.
    wait(20).await;
    wires[2].cut();
    let cut_at = Instant::now();
    let others = async {
        stage.shared_out(0, 2).await;
        cut_at.elapsed()
    };
    let red = stage.readiness(2, "a node without a bus is not ready", |status, _| status == 503);
    let (decided, red) = tokio::join!(others, red);
    println!("the others decide {decided:.1?} after the cut; the node says that it is cut off after {red:.1?}");
    // What it cannot hear of: an edit, a key that goes and one that comes, a changed token.
    assert_eq!(stage.edit(0).await, 200);
    let admin = stage.admin(0);
    admin.delete(&format!("/keys/{}", spare.id)).await.ok();
    let fresh = admin.new_key(json!({"name": "made meanwhile"})).await;
    let token = admin.tokens().await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/tokens/{token}");
    admin.patch(&path, &json!({"label": "changed meanwhile"})).await.ok();
    assert_eq!(opens(&spare.secret).await, 200, "it was not cut off");
    tokio::time::sleep_until(cut_at + Duration::from_secs(13)).await;
    wires[2].restore();
    let restored_at = Instant::now();
    stage.readiness(2, "ready again", |status, _| status == 200).await;
    eventually("it knows what it missed", SOON, || async {
        let config = stage.admin(2).get("/config").await.ok().json();
        let wait = &config["clients"]["max_wait_ms"];
        let token = stage.admin(2).get(&path).await.ok().json();
        let label = &token.get("data").unwrap_or(&token)["label"];
        let keys = (opens(&spare.secret).await, opens(&fresh.secret).await);
        if *wait == 2_001 && *label == "changed meanwhile" && keys == (401, 200) {
            Ok(())
        } else {
            Err(format!("{wait} {label} {keys:?}"))
        }
    })
    .await;
    println!(
        "it knows what it missed {:.1?} after the wire is mended",
        restored_at.elapsed()
    );
    stage.shared_out(0, 3).await;
    println!(
        "it takes part again {:.1?} after the wire is mended",
        restored_at.elapsed()
    );
    wait(2).await;
    assert_eq!(stage.edit(2).await, 200);
    let seen = load.end().await;
    stage.judge("a node is cut off from NATS for 13 s", &seen, 0).await;
    seen.assert_in_form(None);
    let harmed = seen.harmed(None);
    assert!(harmed.is_empty(), "{harmed:?}");
    assert!(decided < Duration::from_secs(6), "{decided:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_bus_slows_nobody_down() {
    let Some((stage, wires)) = wired().await else { return };
    let load = stage.demand();
    wait(5).await;
    for wire in &wires {
        wire.delay(Duration::from_millis(200));
    }
    wait(12).await;
    let view = stage.view(0).await;
    println!("latency of the bus: {}", view["bus"]["latency_us"]);
    assert!(view["bus"]["latency_us"].as_u64().unwrap() >= 400_000, "{view}");
    assert_eq!(stage.edit(1).await, 200);
    for wire in &wires {
        wire.delay(Duration::ZERO);
    }
    wait(2).await;
    let seen = load.end().await;
    stage.judge("every message takes 200 ms", &seen, 0).await;
    seen.assert_in_form(None);
    let harmed = seen.harmed(None);
    assert!(harmed.is_empty(), "{harmed:?}");
}
