//! NATS comes back with less than it had, while the nodes go on: restored from a backup, or with nothing at all.

use std::path::Path;

use super::stage::{SOON, Stage, plan, wait};
use crate::support::nats::NatsServers;
use crate::support::{Gateway, eventually};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_that_is_restored_from_a_backup_is_no_fresh_quota() {
    let Some(nats) = NatsServers::one().await else { return };
    let mut stage = Stage::set(nats, 2).await;
    let files = stage.nats.dir().join("n0/js");
    let backup = tempfile::tempdir().unwrap();
    stage.nats.stop(0);
    copy(&files, &backup.path().join("js"));
    stage.nats.restart(0).await;
    stage.shared_out(0, 2).await;
    let load = stage.demand();
    wait(12).await;
    stage.nats.stop(0);
    stage.nats.wipe(0);
    copy(&backup.path().join("js"), &files);
    stage.nats.restart(0).await;
    let red = stage
        .readiness(0, "a node that knows that the journal is older", |status, text| {
            status == 503 && text.contains("restored from a backup")
        })
        .await;
    println!("/readyz says so after {red:.1?}");
    wait(15).await;
    let seen = load.end().await;
    println!("{}", seen.describe());
    seen.assert_in_form(None);
    let arrivals = stage.sim.arrivals().await;
    assert_eq!(arrivals["over"], 0, "a fresh quota: {arrivals}");
    assert_eq!(stage.sim.stat("refused").await, 0, "{arrivals}");
    let late = seen
        .0
        .iter()
        .filter(|call| call.outcome == Ok(503) || call.outcome == Ok(429));
    assert!(late.count() > 0, "nobody was told to come back");
    for node in 0..2 {
        assert_eq!(stage.admin(node).tokens().await.len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_that_is_wiped_is_neither_a_fresh_quota_nor_another_key() {
    let Some(nats) = NatsServers::one().await else { return };
    let mut stage = Stage::set(nats, 2).await;
    let load = stage.demand();
    wait(8).await;
    stage.nats.kill(0);
    stage.nats.wipe(0);
    stage.nats.restart(0).await;
    let red = stage
        .readiness(0, "a node that knows that the journal is another", |status, text| {
            status == 503 && text.contains("wiped and made anew")
        })
        .await;
    println!("/readyz says so after {red:.1?}");
    // Who joins now is handed the key that the others have.
    let newcomer = plan(&stage.sim, &stage.nats.url(), 2).launch().await;
    let key_of = |node: &Gateway| std::fs::read_to_string(node.data().join("master.key")).unwrap_or_default();
    eventually("the newcomer has a key", SOON, || async {
        if key_of(&newcomer).is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    assert_eq!(key_of(&newcomer), key_of(&stage.nodes[0]), "two keys in one cluster");
    wait(10).await;
    let seen = load.end().await;
    println!("{}", seen.describe());
    let arrivals = stage.sim.arrivals().await;
    assert_eq!(arrivals["over"], 0, "a fresh quota: {arrivals}");
    assert_eq!(stage.sim.stat("refused").await, 0, "{arrivals}");
    for node in &stage.nodes {
        node.assert_alive().await;
    }
}
