//! What an operator does: a node is ended with SIGTERM, and two nodes are given one name.

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
