//! What an operator does: a node is ended with SIGTERM, and two nodes are given one name.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::stage::{SOON, Stage, plan, wait};
use crate::support::http::{Ending, events};
use crate::support::nats::NatsServers;
use crate::support::{MODEL, ask_streamed};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_a_node_that_is_told_to_end() {
    let Some(nats) = NatsServers::one().await else { return };
    let mut stage = Stage::set(nats, 3).await;
    let load = stage.demand();
    wait(4).await;
    let mut streams = Vec::new();
    for at in 0..6 {
        let request = ask_streamed(MODEL, &format!("[[sim:pace=250]] A long answer {at}"));
        let mut stream = stage.client(2).open_chat(&request).await;
        stream.events(1).await;
        streams.push(stream);
    }
    assert_eq!(stage.edit(2).await, 200);
    let began = Instant::now();
    let read = streams.iter_mut().map(|stream| stream.finish());
    let mut leaving = stage.nodes.pop().unwrap();
    let (ended, endings) = tokio::join!(leaving.terminate(), join_all(read));
    println!("a node that is told to end has ended after {:.1?}", began.elapsed());
    assert!(ended.success(), "{ended}");
    for (stream, ending) in streams.iter().zip(endings) {
        let last = events(&stream.text).pop();
        assert_eq!(
            (ending, last.as_deref()),
            (Ending::Clean, Some("[DONE]")),
            "a dropped stream"
        );
    }
    stage.shared_out(0, 2).await;
    wait(2).await;
    let seen = load.end().await;
    stage.judge("a node is told to end", &seen, 0).await;
    seen.assert_in_form(None);
    let harmed = seen.harmed(None);
    assert!(harmed.is_empty(), "{harmed:?}");
    for node in 0..2 {
        let lapsed = stage.metric(node, "grok2api_ledger_lapses_total").await;
        assert_eq!(lapsed, 0.0, "grants lapsed on node {node}");
    }
}

/// Who owns each shard, as the first node sees it.
async fn owners(stage: &Stage) -> Vec<String> {
    let view = stage.view(0).await;
    let shards = view["shards"].as_array().unwrap().iter();
    shards
        .map(|shard| shard["owner"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_takes_its_share_slowly_and_nobody_notices() {
    let Some(nats) = NatsServers::one().await else { return };
    let mut stage = Stage::set(nats, 2).await;
    let load = stage.demand();
    wait(6).await;
    let before = owners(&stage).await;
    let began = Instant::now();
    let mut moves = Vec::new();
    let third = {
        let mut known = before.clone();
        let mut start = std::pin::pin!(plan(&stage.sim, &stage.nats.url(), 2).start());
        let mut started = None;
        // What is seen to move, until nothing has for a while.
        while moves.last().is_none_or(|last: &Instant| last.elapsed().as_secs() < 4) || started.is_none() {
            assert!(began.elapsed() < SOON, "{} moves in {SOON:?}", moves.len());
            tokio::select! {
                node = &mut start, if started.is_none() => started = Some(node),
                () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
            }
            let now = owners(&stage).await;
            for (at, owner) in now.iter().enumerate().filter(|(_, owner)| !owner.is_empty()) {
                if known[at] != *owner {
                    known[at].clone_from(owner);
                    moves.push(Instant::now());
                }
            }
        }
        started.unwrap()
    };
    stage.nodes.push(third);
    stage.point_at_all();
    stage.shared_out(0, 3).await;
    let after = owners(&stage).await;
    let moved: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    let newcomers: BTreeSet<_> = moved.iter().map(|at| &after[*at]).collect();
    assert_eq!(newcomers.len(), 1, "shards move to the new node and to no other");
    // 1.2 of a third of sixteen.
    assert!(
        (1..=6).contains(&moved.len()) && moves.len() == moved.len(),
        "{moves:?} {moved:?}"
    );
    let over = *moves.last().unwrap() - moves[0];
    println!(
        "a node that joins takes {} of {} shards over {over:.1?}",
        moved.len(),
        before.len()
    );
    assert!(over.as_millis() >= 900, "all within {over:?}");
    wait(4).await;
    assert_eq!(stage.edit(2).await, 200);
    let seen = load.end().await;
    stage.judge("a node joins", &seen, 0).await;
    seen.assert_in_form(None);
    let harmed = seen.harmed(None);
    assert!(harmed.is_empty(), "{harmed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_one_name_are_two_nodes() {
    let Some(nats) = NatsServers::one().await else { return };
    let mut stage = Stage::set(nats, 2).await;
    let load = stage.demand();
    wait(3).await;
    let twin = plan(&stage.sim, &stage.nats.url(), 1).start().await;
    stage.nodes.push(twin);
    stage.point_at_all();
    stage.shared_out(0, 3).await;
    assert_eq!(stage.edit(2).await, 200);
    let view = stage.view(0).await;
    let nodes = view["nodes"].as_array().unwrap().iter();
    assert_eq!(nodes.filter(|node| node["node"] == "node1").count(), 2, "{view}");
    // Which of the two is meant must be said.
    let drain = stage.admin(0).post("/cluster/drain", &json!({"node": "node1"})).await;
    drain.with_status(409);
    wait(5).await;
    // The one ends; the other is not taken for it.
    let mut leaving = stage.nodes.remove(1);
    stage.targets.lock().remove(1);
    assert!(leaving.process().terminate(SOON).await.success());
    stage.shared_out(0, 2).await;
    wait(2).await;
    let seen = load.end().await;
    stage.judge("two nodes have one name", &seen, 0).await;
    seen.assert_in_form(None);
    let harmed = seen.harmed(None);
    assert!(harmed.is_empty(), "{harmed:?}");
}
