//! The leader of the journals dies, in a JetStream cluster of three.

use tokio::time::Instant;

use super::stage::{Stage, wait};
use crate::support::nats::NatsServers;

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_jetstream_leader_is_not_noticed_at_steady_demand() {
    let Some(nats) = NatsServers::three().await else { return };
    let urls = vec![nats.url(); 3];
    let mut stage = Stage::set_over(nats, &urls, |_, plan| plan.set("nats.replicas", 3)).await;
    let load = stage.demand();
    // Until 15 s of demand are in hand.
    wait(10).await;
    let leader = stage.nats.leader_of("grok2api_journal").await.expect("a leader");
    stage.nats.kill(leader);
    let killed_at = Instant::now();
    wait(1).await;
    // An edit takes as long as the election.
    let edited = stage.edit(1).await;
    println!(
        "an edit during the election: {edited} after {:.1?}",
        killed_at.elapsed()
    );
    wait(12).await;
    stage.nats.restart(leader).await;
    wait(2).await;
    assert_eq!(stage.edit(2).await, 200);
    let seen = load.end().await;
    stage.judge("a JetStream leader is killed", &seen, 0).await;
    seen.assert_in_form(None);
    let harmed = seen.harmed(None);
    assert!(harmed.is_empty(), "{harmed:?}");
}
