//! A rolling upgrade and its way back: nodes of this build and of one that speaks the previous codec (feature
//! `previous-codec`) are one cluster under load, while one after the other is replaced and one is killed. Only where the other
//! build is there: `tests/run --long` makes it, and names it.

use std::ffi::OsString;

use serde_json::json;
use tokio::time::Instant;

use super::stage::{Stage, wait};
use crate::support::nats::NatsServers;

const PREVIOUS: &str = "GROK2API_TEST_PREVIOUS";

/// The build of the previous codec.
pub fn previous() -> Option<OsString> {
    let program = std::env::var_os(PREVIOUS);
    if program.is_none() {
        println!("left out: {PREVIOUS} does not name a program built with the feature previous-codec");
    }
    program
}

/// Three nodes of one build become three of the other.
async fn replaced_one_by_one(day: &str, from: Option<OsString>, to: Option<OsString>) {
    let Some(nats) = NatsServers::one().await else { return };
    let urls = vec![nats.url(); 3];
    let mut stage = Stage::set_over(nats, &urls, |_, plan| plan.build(from.clone())).await;
    let load = stage.demand();
    wait(6).await;
    assert_eq!(stage.edit(0).await, 200);
    for at in 0..3 {
        let began = Instant::now();
        // The last one goes without a word.
        if at == 2 {
            stage.nodes[at].kill();
        } else {
            assert!(stage.nodes[at].terminate().await.success());
        }
        stage.nodes[at].restart_with(|plan| plan.build(to.clone())).await;
        stage.point_at_all();
        stage.shared_out(at, 3).await;
        println!("node {at} is replaced in {:.1?}", began.elapsed());
        // What either build writes, the other reads: the configuration here, tokens, keys and journals all along.
        assert_eq!(stage.edit(at).await, 200);
        assert_eq!(stage.edit((at + 1) % 3).await, 200);
        wait(3).await;
    }
    if to.is_none() {
        // Nobody is left who knows only the older one.
        let newest = json!({"cluster": {"codec_version": 2}});
        stage.admin(1).post("/config", &newest).await.ok();
        wait(5).await;
    }
    let seen = load.end().await;
    stage.judge(day, &seen, 1).await;
    seen.assert_in_form(Some(2));
    let harmed = seen.harmed(Some(2));
    assert!(harmed.is_empty(), "{harmed:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs a build of the previous codec"]
async fn a_cluster_is_upgraded_node_by_node() {
    let Some(previous) = previous() else { return };
    replaced_one_by_one("an upgrade", Some(previous), None).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs a build of the previous codec"]
async fn an_upgrade_is_taken_back_node_by_node() {
    let Some(previous) = previous() else { return };
    replaced_one_by_one("an upgrade taken back", None, Some(previous)).await;
}
