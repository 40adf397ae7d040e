//! What several holders make of one limit together: never more than it, nearly all of it, and none of them starves.

use grok2api_schemas::meter::{DayBucket, MeterKind};

use super::cluster::{Call, Cluster, requests};
use super::harness::{key_meter, meter};

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
        println!("{limit} a second: {most} in the fullest, {:.1} % used", share * 100.0);
        assert!(most <= limit, "{most} of {limit}");
        assert!(share >= 0.75, "{share}");
    }
}

/// What three nodes do with a client key's meter while one of them is killed, and the owner after it.
struct Outcome {
    /// Calls that were made, by all.
    made: u64,
    /// Units that the killed node had sent and not settled, or had in hand.
    lost: u64,
    cluster: Cluster,
}

/// Every node wants to call ten times a second; each call takes 340 ms and costs what `cost` says. After 5 s one node is
/// killed, after 8 s the owner.
fn calls_across_a_kill(kind: MeterKind, limit: u64, units: u64, ms: u64, cost: impl Fn(u64) -> Option<u64>) -> Outcome {
    let mut cluster = Cluster::new(3, &[(key_meter(kind), Some(limit))]);
    for node in 0..3 {
        cluster.queue(node, 0, units);
    }
    let (mut under_way, mut made, mut lost) = (Vec::<(u64, Call)>::new(), 0, 0);
    let mut is_killed = false;
    cluster.run(ms, |cluster| {
        let now = cluster.now;
        // With nothing on its way to it: that would be lost, too, and is in nobody's hand.
        if now >= 5_000 && !is_killed && cluster.nodes[1].held[0].asks().is_none() {
            is_killed = true;
            lost = cluster.stock(1, 0);
            for (_, call) in under_way.extract_if(.., |(_, call)| call.node == 1) {
                lost += call.items[0].2;
            }
            cluster.kill(1);
        }
        if now == 8_000 {
            cluster.succeed();
        }
        for (_, call) in under_way.extract_if(.., |(end, _)| *end <= now) {
            cluster.over(&call, cost(made));
        }
        for node in 0..3 {
            if (now + 31 * node as u64).is_multiple_of(100)
                && let Some(call) = cluster.call(node, &[(0, units)])
            {
                made += 1;
                under_way.push((now + 340, call));
            }
        }
    });
    Outcome { made, lost, cluster }
}

#[test]
fn a_keys_calls_per_minute_hold_across_nodes_and_a_kill() {
    let outcome = calls_across_a_kill(requests(60_000), 90, 1, 180_000, |_| None);
    let most = outcome.cluster.most_in(0, 60_000);
    println!(
        "{} made, {most} in the fullest minute, {} lost",
        outcome.made, outcome.lost
    );
    assert!(most <= 90, "{most}");
    // Three windows, of which the kill cost what the node had in hand.
    assert!(outcome.made >= 3 * 85 - outcome.lost, "{}", outcome.made);
}

#[test]
fn a_keys_calls_per_day_hold_across_nodes_and_a_kill() {
    let kind = MeterKind::PerDay(DayBucket::Chat);
    let outcome = calls_across_a_kill(kind, 400, 1, 60_000, |_| None);
    println!("{} of 400 made, {} lost", outcome.made, outcome.lost);
    assert!(outcome.made <= 400, "{}", outcome.made);
    assert!(
        outcome.made + outcome.lost >= 400,
        "{} + {}",
        outcome.made,
        outcome.lost
    );
    // A twentieth of the limit at most, and what was in flight.
    assert!(outcome.lost <= 20 + 41, "{}", outcome.lost);
}

#[test]
fn a_keys_tokens_per_minute_hold_across_nodes_and_a_kill() {
    let outcome = calls_across_a_kill(MeterKind::Tokens { window_ms: 60_000 }, 90_000, 500, 180_000, |n| {
        Some(100 + n % 400)
    });
    // Every reservation is a bound: not even what was reserved ever passes the limit.
    let least_cost = 100;
    println!("{} calls made, {} units lost", outcome.made, outcome.lost);
    assert!(
        outcome.made > 3 * 90_000 / 500,
        "settled at less than reserved: {}",
        outcome.made
    );
    let most = outcome.cluster.most_in(0, 60_000);
    let charged = outcome.cluster.load(0);
    assert!(charged.0 + charged.1 <= 90_000, "{charged:?}");
    assert!(most * least_cost / 500 <= 90_000, "{most}");
}

#[test]
fn a_keys_budget_holds_across_nodes_and_a_kill_and_the_killed_calls_are_presumed() {
    let outcome = calls_across_a_kill(MeterKind::UsdPerDay, 300_000, 1_000, 60_000, |_| Some(700));
    let mut cluster = outcome.cluster;
    cluster.run(10_000, |_| {});
    let (charged, outstanding) = cluster.load(0);
    let presumed = cluster.presumed(0);
    println!(
        "{} calls made; {charged} charged, {outstanding} outstanding, {presumed} presumed",
        outcome.made
    );
    assert!(charged + outstanding <= 300_000, "{charged} + {outstanding}");
    assert!(
        charged + outstanding >= 290_000,
        "the budget is used: {charged} + {outstanding}"
    );
    assert!(
        outcome.lost > 0 && presumed > 0,
        "{} lost, {presumed} presumed",
        outcome.lost
    );
    assert!(outcome.made * 700 <= charged, "every call is in what is charged");
}

#[test]
fn a_keys_calls_at_a_time_hold_across_nodes_and_a_killed_nodes_are_free_within_ten_seconds() {
    let mut cluster = Cluster::new(3, &[(key_meter(MeterKind::Concurrency), Some(9))]);
    let mut calls = Vec::new();
    for at in 0..9 {
        calls.push(cluster.insist(at % 3, &[(0, 1)], 2_000).expect("a slot"));
    }
    assert!(cluster.insist(0, &[(0, 1)], 2_000).is_none(), "nine are under way");
    cluster.kill(1);
    let killed = cluster.now;
    for _ in 0..3 {
        calls.push(cluster.insist(2, &[(0, 1)], 12_000).expect("a slot of the killed node"));
        assert!(
            cluster.now - killed <= 10_000,
            "{} ms after the kill",
            cluster.now - killed
        );
    }
    assert!(
        cluster.insist(0, &[(0, 1)], 2_000).is_none(),
        "nine are under way again"
    );
    // Its process comes back, and has none of its old slots.
    cluster.restart(1);
    assert!(cluster.insist(1, &[(0, 1)], 2_000).is_none());
    for call in calls.iter().filter(|call| call.node == 2) {
        cluster.over(call, None);
    }
    assert!(cluster.insist(1, &[(0, 1)], 2_000).is_some());
}

#[test]
fn what_one_node_keeps_in_hand_is_bounded_by_what_is_free_and_by_its_peers() {
    // (window, limit, the most that one of three nodes may have in hand without anybody waiting)
    for (window_ms, limit, most) in [
        (60_000, 60, 10),
        (600_000, 60, 10),
        (72_000_000, 80, 4),
        (3_600_000, 1_000, 50),
    ] {
        let mut cluster = Cluster::new(3, &[(meter("team", requests(window_ms)), Some(limit))]);
        let call = cluster.insist(1, &[(0, 1)], 1_000).expect("a unit");
        cluster.over(&call, None);
        let mut highest = 0;
        // Demand far beyond the limit, as seen by one node: what it asks for ahead is cut to its part.
        cluster.run(8_000, |cluster| {
            if cluster.now.is_multiple_of(400)
                && let Some(call) = cluster.call(1, &[(0, 1)])
            {
                cluster.over(&call, None);
            }
            highest = highest.max(cluster.stock(1, 0));
        });
        println!(
            "{limit} per {window_ms} ms: {highest} in hand at most, {} sent",
            cluster.between(0, 0, 8_000)
        );
        assert!(highest <= most, "{highest} in hand of {limit} per {window_ms} ms");
        assert!(highest > 0);
    }
}

#[test]
fn a_node_that_starves_gets_what_another_keeps_in_hand() {
    let mut cluster = Cluster::new(3, &[(meter("team", requests(60_000)), Some(30))]);
    let call = cluster.insist(0, &[(0, 1)], 1_000).expect("a unit");
    cluster.over(&call, None);
    // Node 0 takes nearly all there is, for calls that give up waiting at once.
    for _ in 0..29 {
        cluster.queue(0, 0, 1);
    }
    cluster.run(20, |_| {});
    for _ in 0..29 {
        cluster.nodes[0].held[0].dequeue(1);
    }
    assert!(cluster.stock(0, 0) >= 20, "{} in hand", cluster.stock(0, 0));
    let began = cluster.now;
    // It stays in use, so nothing goes back for idleness.
    let mut got = Vec::new();
    while got.len() < 10 {
        let call = cluster.insist(1, &[(0, 1)], 4_000).expect("a unit that was recalled");
        got.push(call);
        if let Some(call) = cluster.call(0, &[(0, 1)]) {
            cluster.over(&call, None);
        }
    }
    println!("ten units for the other node within {} ms", cluster.now - began);
    // The next heartbeat of the other node brings the recall, and it is looked for units once a second.
    assert!(cluster.now - began < 3_500);
    assert!(cluster.most_in(0, 60_000) <= 30);
}

#[test]
fn a_node_that_comes_late_gets_a_share_of_a_rate() {
    let kind = MeterKind::Paced { window_ms: 1_000 };
    let mut cluster = Cluster::new(2, &[(meter("team", kind), Some(10))]);
    // The first node alone takes it all, and goes on calling.
    cluster.queue(0, 0, 1);
    let mut calls = [0_u64; 2];
    cluster.run(30_000, |cluster| {
        if cluster.now == 5_000 {
            cluster.queue(1, 0, 1);
        }
        for (node, made) in calls.iter_mut().enumerate() {
            if (node == 0 || cluster.now >= 5_000) && cluster.call(node, &[(0, 1)]).is_some() {
                *made += 1;
            }
        }
    });
    println!("{calls:?} in 30 s, {} in the fullest second", cluster.most_in(0, 1_000));
    assert!(cluster.most_in(0, 1_000) <= 10);
    // A fair part of the 25 s that it wanted to call in would be 100.
    assert!(calls[1] >= 50, "{calls:?}");
    assert!(calls[0] + calls[1] >= 180, "{calls:?}");
}

#[test]
fn midnight_is_no_stall_and_every_day_has_its_own_units() {
    let kind = MeterKind::PerDay(DayBucket::Chat);
    let mut cluster = Cluster::new(3, &[(key_meter(kind), Some(200))]);
    // Two minutes before midnight of UTC, the reset time zone here.
    let to_midnight = 86_400_000 - cluster.moment().wall.0 % 86_400_000;
    cluster.wall_ahead = to_midnight - 120_000;
    for node in 0..3 {
        let call = cluster.insist(node, &[(0, 1)], 1_000).expect("a unit");
        cluster.over(&call, None);
    }
    let midnight = 120_000;
    let (mut refused, mut sent) = (0, [3_u64, 0]);
    let rest = midnight + 30_000 - cluster.now;
    cluster.run(rest, |cluster| {
        // One call in three seconds at each node; and nothing is granted in the two seconds around midnight.
        cluster.stalled = cluster.now.abs_diff(midnight) < 2_000;
        for node in 0..3 {
            let asks =
                (cluster.now + 1_000 * node as u64).is_multiple_of(3_000) || cluster.now == midnight + 5 + node as u64;
            if asks {
                match cluster.call(node, &[(0, 1)]) {
                    Some(call) => {
                        sent[usize::from(cluster.now > midnight)] += 1;
                        cluster.over(&call, None);
                    }
                    None if cluster.now > midnight && cluster.now < midnight + 100 => refused += 1,
                    None => {}
                }
            }
        }
    });
    println!("{sent:?} sent before and after midnight, {refused} refused just after it");
    assert_eq!(refused, 0, "a client noticed midnight");
    assert!(sent[0] <= 200 && sent[0] >= 100 && sent[1] >= 25, "{sent:?}");
    let (charged, _) = cluster.load(0);
    assert!(charged <= sent[1] + 6, "{charged} charged to the new day");
}

#[test]
fn next_days_units_are_of_no_use_before_midnight_and_never_more_than_the_day_has() {
    let kind = MeterKind::PerDay(DayBucket::Chat);
    let mut cluster = Cluster::new(2, &[(key_meter(kind), Some(10))]);
    let to_midnight = 86_400_000 - cluster.moment().wall.0 % 86_400_000;
    cluster.wall_ahead = to_midnight - 40_000;
    let (midnight, mut sent) = (40_000, [0_u64, 0]);
    for node in 0..2 {
        cluster.queue(node, 0, 1);
    }
    cluster.run(80_000, |cluster| {
        for node in 0..2 {
            if let Some(call) = cluster.call(node, &[(0, 1)]) {
                sent[usize::from(cluster.now >= midnight)] += 1;
                cluster.over(&call, None);
            }
        }
    });
    assert_eq!(sent, [10, 10]);
}

#[test]
fn what_a_killed_node_took_with_it_for_hours_comes_back_by_asking_the_upstream() {
    let window_ms = 72_000_000;
    let mut cluster = Cluster::new(3, &[(meter("account", requests(window_ms)), Some(80))]);
    let wants = [(0, 1)];
    for at in 0..30 {
        let call = cluster.insist(at % 3, &wants, 2_000).expect("a unit");
        cluster.over(&call, None);
        cluster.run(500, |_| {});
    }
    let sent = 30;
    assert!(cluster.stock(1, 0) > 0, "nothing to lose");
    cluster.kill(1);
    cluster.run(35_000, |_| {});
    assert!(cluster.presumed(0) > 0);
    let name = cluster.meters[0].clone();
    assert_eq!(cluster.owner.wants_rebase(), std::slice::from_ref(&name));
    let question = cluster.owner.question(&name).unwrap();
    // Calls go on between the mark, the question and its answer.
    let call = cluster.insist(0, &wants, 2_000).expect("a unit");
    cluster.over(&call, None);
    cluster.run(300, |_| {});
    let remaining = 80 - cluster.between(0, 0, cluster.now);
    let call = cluster.insist(2, &wants, 2_000).expect("a unit");
    cluster.over(&call, None);
    cluster.run(3_000, |_| {});
    let before = cluster.load(0);
    let moment = cluster.moment();
    cluster.owner.rebase(moment, &name, question, remaining);
    let after = cluster.load(0);
    println!("{before:?} charged and outstanding before, {after:?} after");
    assert!(after.0 < before.0, "nothing came back");
    assert_eq!(cluster.presumed(0), 0);
    let mut more = sent + 2;
    while let Some(call) = cluster.insist(0, &wants, 2_000) {
        cluster.over(&call, None);
        more += 1;
    }
    assert!((76..=80).contains(&more), "{more} of 80 sent");
    // The successor reads the same in the journal.
    let known = cluster.load(0);
    cluster.succeed();
    assert!(cluster.load(0).0 + cluster.load(0).1 >= known.0 + known.1);
}

#[test]
fn strangers_use_is_charged_once_and_only_ever_lowers() {
    let mut cluster = Cluster::new(2, &[(meter("team", requests(60_000)), Some(40))]);
    let mut ours = 0;
    for node in [0, 1] {
        let call = cluster.insist(node, &[(0, 1)], 1_000).expect("a unit");
        cluster.over(&call, None);
        ours += 1;
    }
    // Somebody else has made 25 calls; every answer says so, some of them late.
    let now = cluster.moment().mono;
    for remaining in [13, 14, 13, 15] {
        cluster.nodes[0].held[0].note_remaining(now, now, 40, remaining);
    }
    cluster.run(3_000, |_| {});
    let (charged, outstanding) = cluster.load(0);
    assert!(charged + outstanding >= 27, "{charged} + {outstanding}");
    cluster.nodes[1].held[0].note_remaining(now, now, 40, 13);
    cluster.run(1_000, |_| {});
    while let Some(call) = cluster.insist(0, &[(0, 1)], 1_000) {
        cluster.over(&call, None);
        ours += 1;
    }
    println!("{ours} of ours beside 25 of a stranger's, limit 40");
    assert!((13..=15).contains(&ours), "{ours}");
    // Another limit than ours, or more left than allowed: not the window that we count.
    for (limit, remaining) in [(480, 2), (40, 41)] {
        assert!(!cluster.nodes[1].held[0].note_remaining(now, now, limit, remaining));
    }
    // A minute later it is all there again.
    cluster.run(62_000, |_| {});
    assert_eq!(cluster.load(0).0, 0);
    // An upstream that says "none left" and answers all the same is not believed.
    let mut told = 0;
    for _ in 0..6 {
        cluster.run(2_000, |_| {});
        let now = cluster.moment().mono;
        told += u32::from(cluster.nodes[0].held[0].note_remaining(now, now, 40, 0));
    }
    assert!(told <= 3, "{told}");
    assert!(cluster.insist(1, &[(0, 1)], 1_000).is_some());
}
