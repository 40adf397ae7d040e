//! How long a node serves from what it has in hand.

use super::*;

/// Milliseconds for which nobody should notice that a node is cut off.
const UNNOTICED_MS: u64 = 13_000;

#[test]
fn a_node_that_is_cut_off_for_thirteen_seconds_is_not_noticed_at_whatever_moment_it_happens() {
    // Between two exchanges, and at each of them.
    for offset in (0..8_000).step_by(500) {
        in_virtual_time(move |world| async move {
            let cluster = Cluster::new(&world);
            let nodes = cluster.of(3).await;
            let teams: Vec<String> = (0..4).map(|n| format!("team{n}")).collect();
            let cut_at = world.clock.now().plus_ms(20_000 + offset);
            let end = cut_at.plus_ms(UNNOTICED_MS);
            let began = world.clock.now();
            // Ten calls a second, through all nodes and teams in turn.
            for call in 0.. {
                let now = world.clock.now();
                if now >= end {
                    break;
                }
                nodes[2].bus.cut.store(now >= cut_at, Ordering::SeqCst);
                let node = &nodes[call % 3];
                let meter = node.meter(&teams[call / 3 % 4], RPM, 600);
                if now.ms_since(began) < 2_000 {
                    node.send(&meter, WAIT).await;
                } else {
                    let lease = node.ledger.try_take(&[one(&meter)]);
                    let after = now.ms_since(cut_at);
                    let sent = lease.is_ok_and(|mut lease| lease.confirm_send().is_ok());
                    assert!(sent || now < began.plus_ms(10_000), "{offset} {after} ms after the cut");
                }
                pass(100).await;
            }
        });
    }
}
