//! One node's wall clock is wrong: by what is tolerated, and by more.

use std::path::{Path, PathBuf};

use super::stage::{Stage, wait};
use crate::support::Plan;
use crate::support::nats::NatsServers;

/// Debian's libfaketime. Without it the test is left out, and says so; in CI it may not be.
fn library() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let found = found
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .chain([PathBuf::from("/usr/lib/faketime/libfaketimeMT.so.1")])
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must have libfaketime: .ci/machine installs it"
        );
        eprintln!("LEFT OUT: no libfaketime: .ci/machine installs it");
    }
    found
}

fn ahead(plan: Plan, library: &Path, seconds: &str) -> Plan {
    plan.env("LD_PRELOAD", &library.display().to_string())
        .env("FAKETIME", seconds)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_may_be_two_seconds_off() {
    let Some(library) = library() else { return };
    let Some(nats) = NatsServers::one().await else { return };
    let urls = vec![nats.url(); 3];
    let mut stage = Stage::set_over(nats, &urls, |at, plan| match at {
        2 => ahead(plan, &library, "+2s"),
        _ => plan,
    })
    .await;
    let view = stage.view(0).await;
    let skewed = view["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["node"] == "node2")
        .unwrap();
    let ahead_ms = skewed["clock_ahead_ms"].as_i64().unwrap();
    assert!((1_500..=2_500).contains(&ahead_ms), "{view}");
    assert!(!skewed["shards"].as_array().unwrap().is_empty(), "{view}");
    let load = stage.demand();
    wait(8).await;
    assert_eq!(stage.edit(2).await, 200);
    // Its shards go to others whose clocks are behind it, and back.
    stage.nodes[2].terminate().await;
    stage.shared_out(0, 2).await;
    stage.nodes[2].restart_with(|plan| ahead(plan, &library, "-2s")).await;
    stage.point_at_all();
    stage.shared_out(0, 3).await;
    wait(5).await;
    let seen = load.end().await;
    stage.judge("a clock is 2 s ahead, then 2 s behind", &seen, 0).await;
    seen.assert_in_form(None);
    let harmed = seen.harmed(None);
    assert!(harmed.is_empty(), "{harmed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_four_seconds_off_owns_nothing() {
    let Some(library) = library() else { return };
    let Some(nats) = NatsServers::one().await else { return };
    let mut stage = Stage::set(nats, 3).await;
    // Half of cluster.max_clock_skew_secs is the most.
    stage.nodes[2].terminate().await;
    stage.shared_out(0, 2).await;
    stage.nodes[2].relaunch_with(|plan| ahead(plan, &library, "+4s")).await;
    stage
        .readiness(2, "a clock that is off", |status, text| {
            status == 503 && text.contains("clock")
        })
        .await;
    let view = stage.view(0).await;
    let skewed = view["nodes"].as_array().unwrap().iter();
    let skewed = skewed.filter(|node| node["state"] == "clock_off").count();
    assert_eq!(skewed, 1, "{view}");
}
