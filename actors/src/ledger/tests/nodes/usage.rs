//! What is shown as used while nodes hold units ahead and give them back.

use grok2api_schemas::meter::{DayBucket, MeterKind};

use super::{Cluster, WAIT};
use crate::ledger::tests::harness::{in_virtual_time, key_meter, pass};

#[test]
fn units_on_their_way_back_to_the_owner_are_not_shown_as_used() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let nodes = cluster.of(3).await;
        let meter = key_meter(MeterKind::PerDay(DayBucket::Chat));
        let held: Vec<_> = nodes
            .iter()
            .map(|node| node.ledger.meter(&meter, Some(10_000)))
            .collect();
        let mut sent = 0;
        for _ in 0..200 {
            for (node, held) in nodes.iter().zip(&held) {
                sent += u64::from(node.send(held, WAIT).await.0);
            }
            pass(20).await;
        }
        assert_eq!(sent, 600);
        // Nobody calls any more: what was held ahead goes back, at each node when it thinks fit.
        let mut in_hand = 0;
        for _ in 0..300 {
            for node in &nodes {
                let shown = node.ledger.used(std::slice::from_ref(&meter)).await[&meter];
                assert!(shown.used <= sent, "{} shown of {sent}", shown.used);
                in_hand = in_hand.max(shown.in_hand);
            }
            pass(100).await;
        }
        assert!(in_hand > 0, "nothing was held ahead");
        let shown = nodes[0].ledger.used(std::slice::from_ref(&meter)).await[&meter];
        assert_eq!((shown.used, shown.in_hand), (sent, 0));
    });
}
