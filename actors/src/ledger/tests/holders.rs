//! What several holders make of one limit together: never more than it, nearly all of it, and none of them starves.

use grok2api_schemas::meter::MeterKind;

use super::cluster::{Call, Cluster, requests};
use super::harness::meter;

/// Callers at every node that call again as soon as they were answered, for so long. Each call takes 20 ms.
fn saturate(cluster: &mut Cluster, callers: usize, ms: u64) {
    let nodes = cluster.nodes.len();
    for node in 0..nodes {
        for _ in 0..callers {
            cluster.queue(node, 0, 1);
        }
    }
    let mut under_way: Vec<Vec<(u64, Call)>> = vec![Vec::new(); nodes];
    cluster.run(ms, |cluster| {
        for (node, calls) in under_way.iter_mut().enumerate() {
            let now = cluster.now;
            for (_, call) in calls.extract_if(.., |(end, _)| *end <= now) {
                cluster.over(&call, None);
                cluster.queue(node, 0, 1);
            }
            while calls.len() < callers {
                let Some(call) = cluster.call(node, &[(0, 1)]) else {
                    break;
                };
                cluster.nodes[node].held[0].dequeue(1);
                calls.push((now + 20, call));
            }
        }
    });
}

#[test]
fn three_nodes_use_a_limit_per_minute_to_95_percent() {
    for limit in [30, 120, 600] {
        let mut cluster = Cluster::new(3, &[(meter("team", requests(60_000)), Some(limit))]);
        saturate(&mut cluster, 20, 305_000);
        let most = cluster.most_in(0, 60_000);
        let used = cluster.between(0, 0, 300_000);
        let share = used as f64 / (5 * limit) as f64;
        println!(
            "{limit} a minute: {most} in the fullest, {:.1} % of 5 minutes used, {} messages, {} appends",
            share * 100.0,
            cluster.messages,
            cluster.appends
        );
        assert!(most <= limit, "{most} of {limit}");
        assert!(share >= 0.95, "{share}");
    }
}

#[test]
fn three_nodes_use_a_limit_per_second_to_75_percent() {
    for limit in [12, 30] {
        let kind = MeterKind::Paced { window_ms: 1_000 };
        let mut cluster = Cluster::new(3, &[(meter("team", kind), Some(limit))]);
        saturate(&mut cluster, 20, 60_000);
        let most = cluster.most_in(0, 1_000);
        let share = cluster.between(0, 10_000, 60_000) as f64 / (50 * limit) as f64;
        println!(
            "{limit} a second: {most} in the fullest, {:.1} % used",
            share * 100.0
        );
        assert!(most <= limit, "{most} of {limit}");
        assert!(share >= 0.75, "{share}");
    }
}
