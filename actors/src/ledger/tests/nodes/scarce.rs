//! Meters with fewer units than there are nodes: whoever has one, the others get their turn.

use super::*;

/// What one node asks for.
#[derive(Clone, Copy)]
struct Load {
    /// Callers at once.
    callers: usize,
    /// The pause of each between two calls, milliseconds.
    every_ms: u64,
}

/// As many as there can be.
const GREEDY: Load = Load {
    callers: 4,
    every_ms: 100,
};
/// A call now and then.
const MODEST: Load = Load {
    callers: 1,
    every_ms: 3_000,
};

struct Case {
    kind: MeterKind,
    limit: u64,
    /// The node that decides; 0 is the greedy one, where there is one.
    owner: usize,
    loads: [Load; 3],
    /// How long a call takes, milliseconds.
    takes_ms: u64,
    seconds: u64,
}

/// What came of it, by node.
#[derive(Clone, Debug, Default)]
struct Outcome {
    sent: [u64; 3],
    refused: [u64; 3],
    worst_ms: [u64; 3],
    waited_ms: [u64; 3],
    most: u64,
    appends: u64,
    requests: u64,
}

fn measured(case: Case) -> Outcome {
    let outcome = Arc::new(parking_lot::Mutex::new(Outcome::default()));
    let told = outcome.clone();
    in_virtual_time(move |world| async move {
        let cluster = Cluster::new(&world);
        let nodes: Vec<Arc<Node>> = cluster.of(3).await.into_iter().map(Arc::new).collect();
        let shard = nodes[case.owner].ledger.owned()[0].shard;
        let team = team_in(shard, "scarce");
        let arrivals = Arrivals::default();
        let (appends, requests) = (
            cluster.trouble.appends.load(Ordering::SeqCst),
            cluster.trouble.requests.load(Ordering::SeqCst),
        );
        let end = world.clock.now().plus_ms(case.seconds * 1000);
        let in_flight = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let mut callers = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let load = case.loads[at];
            for caller in 0..load.callers {
                let (node, team, clock) = (node.clone(), team.clone(), world.clock.clone());
                let (arrivals, told, in_flight) = (arrivals.clone(), told.clone(), in_flight.clone());
                callers.push(actix_rt::spawn(async move {
                    pass(37 * (at as u64 + 3 * caller as u64)).await;
                    let meter = node.meter(&team, case.kind, case.limit);
                    while clock.now() < end {
                        let began = tokio::time::Instant::now();
                        let taken = node.ledger.take(&[one(&meter)], WAIT).await.ok();
                        let taken = taken.and_then(|mut lease| lease.confirm_send().is_ok().then_some(lease));
                        let waited = began.elapsed().as_millis() as u64;
                        match taken {
                            Some(lease) => {
                                let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                                arrivals.note(clock.now(), 1);
                                {
                                    let mut told = told.lock();
                                    told.sent[at] += 1;
                                    told.waited_ms[at] += waited;
                                    told.worst_ms[at] = told.worst_ms[at].max(waited);
                                    if case.kind == MeterKind::Concurrency {
                                        told.most = told.most.max(now);
                                    }
                                }
                                pass(case.takes_ms).await;
                                in_flight.fetch_sub(1, Ordering::SeqCst);
                                lease.settle(Actual::default());
                            }
                            None => told.lock().refused[at] += 1,
                        }
                        pass(load.every_ms).await;
                    }
                }));
            }
        }
        for caller in callers {
            caller.await.unwrap();
        }
        let mut told = told.lock();
        if let MeterKind::Paced { window_ms } | MeterKind::Requests { window_ms } = case.kind {
            told.most = arrivals.most_in(window_ms);
        }
        told.appends = cluster.trouble.appends.load(Ordering::SeqCst) - appends;
        told.requests = cluster.trouble.requests.load(Ordering::SeqCst) - requests;
    });
    outcome.lock().clone()
}

const RPS: MeterKind = MeterKind::Paced { window_ms: 1_000 };

/// Kinds with fewer units than nodes: the limit, and how long calls take, milliseconds.
const SCARCE: [(MeterKind, u64, u64); 4] = [
    (RPS, 1, 0),
    (RPS, 2, 0),
    (MeterKind::Concurrency, 1, 300),
    (MeterKind::Concurrency, 2, 300),
];

#[test]
fn where_all_want_more_than_there_is_each_gets_its_turn() {
    for (kind, limit, takes_ms) in SCARCE {
        let outcome = measured(Case {
            kind,
            limit,
            owner: 1,
            loads: [GREEDY; 3],
            takes_ms,
            seconds: 40,
        });
        let sent: u64 = outcome.sent.iter().sum();
        assert!(outcome.most <= limit, "{kind:?} {limit}: {outcome:?}");
        for got in outcome.sent {
            assert!(got >= sent / 4, "{kind:?} {limit}: {outcome:?}");
        }
        // And not by sending nothing: half of what the kind allows, though every turn moves between nodes.
        let allowed = match kind {
            MeterKind::Concurrency => limit * 40_000 / takes_ms,
            _ => limit * 40,
        };
        assert!(
            sent >= allowed / 2,
            "{kind:?} {limit}: {sent} of {allowed}, {outcome:?}"
        );
    }
}

#[test]
fn a_call_now_and_then_finds_its_turn_beside_a_node_that_always_wants_more() {
    for (kind, limit, takes_ms) in SCARCE {
        for owner in [0, 1] {
            let outcome = measured(Case {
                kind,
                limit,
                owner,
                loads: [GREEDY, MODEST, MODEST],
                takes_ms,
                seconds: 60,
            });
            assert!(outcome.most <= limit, "{kind:?} {limit}: {outcome:?}");
            for at in 1..3 {
                // Two that call in the same moment cannot both have the only call a second within two seconds.
                let calls = outcome.sent[at] + outcome.refused[at];
                assert!(outcome.sent[at] * 5 >= calls * 2, "{kind:?} {limit}: {outcome:?}");
            }
            assert!(
                outcome.sent[0] > outcome.sent[1],
                "what they leave is not wasted: {outcome:?}"
            );
        }
    }
}

#[test]
fn units_of_a_window_go_round_as_well() {
    let outcome = measured(Case {
        kind: RPM,
        limit: 2,
        owner: 0,
        loads: [GREEDY, MODEST, MODEST],
        takes_ms: 0,
        seconds: 600,
    });
    assert_eq!(outcome.most, 2);
    assert!(outcome.sent.iter().sum::<u64>() >= 18, "{outcome:?}");
    assert!(outcome.sent.iter().all(|sent| *sent >= 3), "one starves: {outcome:?}");
}

#[test]
#[ignore = "prints a table"]
fn what_scarce_meters_give_each_node() {
    for (name, kind, limit, takes_ms, seconds) in [
        ("rps 1", RPS, 1, 0, 120),
        ("rps 2", RPS, 2, 0, 120),
        ("concurrency 1", MeterKind::Concurrency, 1, 300, 120),
        ("concurrency 2", MeterKind::Concurrency, 2, 300, 120),
        ("concurrency 1, long", MeterKind::Concurrency, 1, 1_500, 120),
        ("rpm 2", RPM, 2, 0, 600),
        ("rpm 30", RPM, 30, 0, 600),
    ] {
        for (loads_name, loads) in [
            ("all greedy", [GREEDY; 3]),
            ("one greedy", [GREEDY, MODEST, MODEST]),
            ("all modest", [MODEST; 3]),
        ] {
            for owner in [0, 1] {
                let outcome = measured(Case {
                    kind,
                    limit,
                    owner,
                    loads,
                    takes_ms,
                    seconds,
                });
                let sent: u64 = outcome.sent.iter().sum();
                let mean = |at: usize| outcome.waited_ms[at] / outcome.sent[at].max(1);
                println!(
                    "{name:20} {loads_name:10} owner {owner}: sent {:?} refused {:?} mean wait {:?} worst {:?} most {} appends/sent {:.2} requests/sent {:.2}",
                    outcome.sent,
                    outcome.refused,
                    [mean(0), mean(1), mean(2)],
                    outcome.worst_ms,
                    outcome.most,
                    outcome.appends as f64 / sent.max(1) as f64,
                    outcome.requests as f64 / sent.max(1) as f64,
                );
            }
        }
    }
}
