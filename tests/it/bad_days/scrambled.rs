//! What nodes tell the owners of quotas comes twice, late, and out of order.

use futures::future::join_all;

use super::stage::{Stage, wait};
use crate::support::nats::NatsServers;
use crate::support::scramble::Scrambler;

/// Requests from node to node: asks and settlements.
const ASKED: &str = "grok2api.node.ask.";

#[tokio::test(flavor = "multi_thread")]
async fn settlements_that_come_twice_and_out_of_order_count_once() {
    let Some(nats) = NatsServers::one().await else { return };
    let wires = join_all((0..3).map(|node| Scrambler::start(nats.address(0), ASKED, node))).await;
    let urls: Vec<String> = wires.iter().map(Scrambler::url).collect();
    let mut stage = Stage::set_over(nats, &urls, |_, plan| plan).await;
    let load = stage.demand();
    wait(12).await;
    assert_eq!(stage.edit(1).await, 200);
    // A second copy may find another owner than the first.
    let owner = stage.busiest().await;
    assert!(stage.nodes[owner].terminate().await.success());
    stage.nodes[owner].restart().await;
    stage.point_at_all();
    stage.shared_out(0, 3).await;
    wait(8).await;
    let seen = load.end().await;
    let (twice, overtaken) = wires
        .iter()
        .map(Scrambler::done)
        .fold((0, 0), |sum, wire| (sum.0 + wire.0, sum.1 + wire.1));
    println!("{twice} messages to owners came twice, {overtaken} were overtaken");
    // An owner may grant what a late copy asks for: that nobody gets, and it lapses. What was used is told exactly.
    stage.judge("settlements come twice and out of order", &seen, 1).await;
    assert_eq!(stage.told(), stage.sim.total().await);
    assert!(twice >= 15 && overtaken >= 15, "{twice} twice, {overtaken} overtaken");
    seen.assert_in_form(None);
    let harmed = seen.harmed(None);
    assert!(harmed.is_empty(), "{harmed:?}");
}
