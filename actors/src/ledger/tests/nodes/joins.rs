//! What clients notice while a node joins one that has been alone and holds all there is.

use super::*;

/// The default of `clients.max_wait_ms`.
const PATIENCE: Duration = Duration::from_millis(2_000);

#[test]
fn no_request_fails_when_a_second_node_joins_whatever_kind_of_quota_the_first_one_holds() {
    let kinds = [
        (RPM, 200),
        (MeterKind::Paced { window_ms: 1_000 }, 10),
        (MeterKind::Concurrency, 8),
        (MeterKind::Tokens { window_ms: 60_000 }, 400),
    ];
    for (kind, limit) in kinds {
        in_virtual_time(move |world| async move {
            let cluster = Cluster::new(&world);
            let mut nodes = cluster.of(1).await;
            let arrivals = Arrivals::default();
            let mut worst = 0;
            // One request a second on each node there is, for a minute; the second one comes after 20 s.
            for second in 0..60 {
                if second == 20 {
                    nodes.push(cluster.join().await);
                }
                for (at, node) in nodes.iter().enumerate() {
                    let meter = node.meter("team", kind, limit);
                    let (sent, waited) = node.send(&meter, PATIENCE).await;
                    assert!(
                        sent,
                        "{kind:?}: refused on node {at} in second {second} after {waited} ms"
                    );
                    arrivals.note(world.clock.now(), 1);
                    worst = worst.max(waited);
                }
                pass(1_000).await;
            }
            println!("{kind:?}: the longest wait was {worst} ms");
        });
    }
}

#[test]
fn who_starves_is_served_within_the_patience_of_a_caller() {
    for (kind, limit) in [(RPM, 4), (MeterKind::Concurrency, 4)] {
        in_virtual_time(move |world| async move {
            let cluster = Cluster::new(&world);
            let nodes = cluster.of(2).await;
            // The first has all of it in hand, and uses one now and then.
            let greedy = nodes[0].meter("team", kind, limit);
            let mut taken = Vec::new();
            for _ in 0..limit {
                taken.push(nodes[0].ledger.take(&[one(&greedy)], PATIENCE).await.unwrap());
            }
            drop(taken);
            pass(600).await;
            let starving = nodes[1].meter("team", kind, limit);
            let (sent, waited) = nodes[1].send(&starving, PATIENCE).await;
            assert!(sent, "{kind:?}: starved for {waited} ms");
            println!("{kind:?}: served after {waited} ms");
            assert!(waited <= 600, "{kind:?}: {waited} ms");
        });
    }
}
