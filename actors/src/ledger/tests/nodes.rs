//! Several nodes over one bus, in virtual time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::meter::MeterKind;
use tokio_util::task::TaskTracker;

use super::cut_bus::{CutBus, Trouble};
use super::harness::{Arrivals, RPM, World, in_virtual_time, meter, one, pass};
use crate::bus::BusHandle;
use crate::bus::faults::{Faults, FaultyBus};
use crate::bus::local::LocalBus;
use crate::clock::Clock;
use crate::cluster::{Membership, NodeIdentity};
use crate::ledger::handle::shard_of;
use crate::ledger::{Actual, HeldMeter, Ledger, LedgerOptions, ShortageKind, Want};
use crate::store::Store;

mod joins;
mod journals;
mod rebase;
mod scarce;
mod stalls;
mod usage;

const WAIT: Duration = Duration::from_secs(2);

/// One bus, and whoever joins it.
struct Cluster {
    clock: Clock,
    tracker: TaskTracker,
    shared: BusHandle,
    trouble: Arc<Trouble>,
}

struct Node {
    ledger: Ledger,
    membership: Membership,
    bus: Arc<CutBus>,
}

impl Cluster {
    fn new(world: &World) -> Cluster {
        let shared = LocalBus::new(Store::temporary().unwrap(), world.clock.clone());
        Cluster::over(world, shared)
    }

    fn over(world: &World, shared: BusHandle) -> Cluster {
        Cluster {
            clock: world.clock.clone(),
            tracker: world.tracker.clone(),
            shared,
            trouble: Arc::default(),
        }
    }

    async fn join(&self) -> Node {
        self.join_with(&Store::temporary().unwrap()).await
    }

    async fn join_with(&self, store: &Store) -> Node {
        let session = SessionId::generate();
        let bus = CutBus::new(self.shared.clone(), self.trouble.clone());
        let arbiters = [actix_rt::Arbiter::current()];
        let identity = NodeIdentity {
            node: "node".into(),
            session,
            version: "0".into(),
            advertise_url: String::new(),
            max_clock_skew_ms: 5_000,
        };
        let membership = Membership::start(identity, bus.clone(), self.clock.clone(), arbiters[0].clone());
        let options = LedgerOptions {
            predecessors_are_dead: false,
            ..LedgerOptions::alone(session)
        };
        let ledger = Ledger::join(
            bus.clone(),
            self.clock.clone(),
            self.tracker.clone(),
            &arbiters,
            options,
            membership.clone(),
            Some(store),
        )
        .await
        .unwrap();
        Node {
            ledger,
            membership,
            bus,
        }
    }

    /// So many nodes, once every shard is decided for by whom it should be.
    async fn of(&self, count: usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(self.join().await);
        }
        self.settle(&nodes).await;
        nodes
    }

    async fn settle(&self, nodes: &[Node]) {
        for _ in 0..400 {
            if nodes.iter().all(|node| node.is_settled(nodes.len())) {
                return;
            }
            pass(50).await;
        }
        panic!("the shards did not find their owners");
    }
}

impl Node {
    fn is_settled(&self, nodes: usize) -> bool {
        let snapshot = self.membership.snapshot();
        snapshot.live == nodes
            && (0..SHARDS).all(|shard| {
                let claim = snapshot.claim(shard).map(|(session, _)| session);
                claim.is_some() && claim == snapshot.named(shard)
            })
    }

    fn meter(&self, team: &str, kind: MeterKind, limit: u64) -> Arc<HeldMeter> {
        self.ledger.meter(&meter(team, kind), Some(limit))
    }

    /// Takes and sends one unit; answers whether, and how long it took in virtual milliseconds.
    async fn send(&self, want: &Arc<HeldMeter>, wait: Duration) -> (bool, u64) {
        let began = tokio::time::Instant::now();
        let sent = match self.ledger.take(&[one(want)], wait).await {
            Ok(mut lease) => {
                let sent = lease.confirm_send().is_ok();
                lease.settle(Actual::default());
                sent
            }
            Err(_) => false,
        };
        (sent, began.elapsed().as_millis() as u64)
    }
}

/// A team whose meters stand in that shard.
fn team_in(shard: u16, salt: &str) -> String {
    let mut names = (0..).map(|n| format!("{salt}{n}"));
    names.find(|team| shard_of(&meter(team, RPM).domain) == shard).unwrap()
}

#[test]
fn nodes_share_the_shards_and_one_limit() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let nodes = cluster.of(3).await;
        let owned: Vec<usize> = nodes.iter().map(|node| node.ledger.owned().len()).collect();
        assert_eq!(owned.iter().sum::<usize>(), 16);
        assert!(owned.iter().all(|count| (5..=6).contains(count)), "{owned:?}");

        let arrivals = Arrivals::default();
        let meters: Vec<_> = nodes.iter().map(|node| node.meter("team", RPM, 60)).collect();
        let mut by_node = [0; 3];
        for _ in 0..2_400 {
            for (at, (node, meter)) in nodes.iter().zip(&meters).enumerate() {
                if let Ok(mut lease) = node.ledger.try_take(&[one(meter)])
                    && lease.confirm_send().is_ok()
                {
                    arrivals.note(world.clock.now(), 1);
                    by_node[at] += 1;
                }
            }
            pass(100).await;
        }
        assert!(arrivals.most_in(60_000) <= 60, "{}", arrivals.most_in(60_000));
        let used = arrivals.total();
        assert!(used >= 4 * 60 * 90 / 100, "{used} of 240 used");
        assert!(by_node.iter().all(|sent| *sent > 20), "one starves: {by_node:?}");
    });
}

#[test]
fn a_join_moves_its_share_slowly_and_nobody_waits() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let mut nodes = cluster.of(2).await;
        let before = nodes[0].membership.snapshot().claims.clone();
        let began = world.clock.now();
        nodes.push(cluster.join().await);
        let (mut worst, mut asked, mut first_move, mut last_move, mut moved) = (0, 0, None, None, 0);
        while world.clock.now() < began.plus_ms(5_000) {
            // A team that nobody has asked about: every one waits for its owner.
            let node = &nodes[asked % 2];
            let fresh = node.meter(&format!("fresh{asked}"), RPM, 100);
            let (sent, waited) = node.send(&fresh, WAIT).await;
            assert!(sent, "a request failed during the join");
            worst = worst.max(waited);
            asked += 1;
            let now_moved = nodes[2].ledger.owned().len();
            if now_moved != moved {
                first_move.get_or_insert(world.clock.now());
                last_move = Some(world.clock.now());
                moved = now_moved;
            }
            pass(7).await;
        }
        cluster.settle(&nodes).await;
        let after = nodes[0].membership.snapshot().claims.clone();
        let changed = before
            .iter()
            .zip(&after)
            .filter(|(old, new)| old.map(|(session, _)| session) != new.map(|(session, _)| session));
        assert!(changed.count() <= 6, "more than 1.2/3 of 16 shards moved");
        let over = last_move.unwrap().ms_since(first_move.unwrap());
        assert!(over >= 1_000, "all within {over} ms");
        assert!(worst <= 50, "a request waited {worst} ms");
        assert!(asked > 200);
    });
}

#[test]
fn a_killed_owners_shards_decide_again_within_5_s_and_its_slots_are_free_within_10() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let nodes = cluster.of(3).await;
        // Slots in a shard of the one that is killed, and in a shard of another.
        let shards = [&nodes[2], &nodes[0]].map(|node| node.ledger.owned()[0].shard);
        let teams = shards.map(|shard| team_in(shard, "slots"));
        let mut held = Vec::new();
        for team in &teams {
            let slots = nodes[2].meter(team, MeterKind::Concurrency, 4);
            for _ in 0..4 {
                let mut lease = nodes[2].ledger.take(&[one(&slots)], WAIT).await.unwrap();
                lease.confirm_send().unwrap();
                held.push(lease);
            }
        }
        pass(1_500).await;
        let lost: Vec<u16> = nodes[2].ledger.owned().iter().map(|claim| claim.shard).collect();
        let killed_at = world.clock.now();
        nodes[2].bus.cut.store(true, Ordering::SeqCst);
        nodes[2].ledger.kill();

        for shard in lost {
            let team = team_in(shard, "again");
            let fresh = nodes[0].meter(&team, RPM, 100);
            while !nodes[0].send(&fresh, Duration::from_millis(100)).await.0 {
                pass(20).await;
            }
        }
        let decides = world.clock.now().ms_since(killed_at);
        assert!(decides <= 5_000, "{decides} ms");
        for team in &teams {
            let slots = nodes[1].meter(team, MeterKind::Concurrency, 4);
            while !nodes[1].send(&slots, Duration::from_millis(100)).await.0 {
                assert!(world.clock.now().ms_since(killed_at) < 30_000, "never free");
                pass(20).await;
            }
            let free = world.clock.now().ms_since(killed_at);
            assert!((6_000..=10_000).contains(&free), "{free} ms");
        }
        std::mem::forget(held);
    });
}

#[test]
fn a_drain_returns_every_grant_and_hands_every_shard_over() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let mut nodes = cluster.of(3).await;
        let arrivals = Arrivals::default();
        let limit = 3_600;
        let mut refused = 0;
        let mut leaving = None;
        for tick in 0..600 {
            for node in &nodes {
                let meter = node.meter("team", RPM, limit);
                match node.ledger.try_take(&[one(&meter)]) {
                    Ok(mut lease) => {
                        lease.confirm_send().unwrap();
                        arrivals.note(world.clock.now(), 1);
                    }
                    Err(_) => refused += u32::from(tick > 100),
                }
            }
            if tick == 300 {
                let node = nodes.remove(1);
                node.membership.drain();
                leaving = Some(actix_rt::spawn(async move {
                    pass(3_000).await;
                    node.ledger.close().await;
                    node
                }));
            }
            pass(100).await;
        }
        let left = leaving.unwrap().await.unwrap();
        cluster.settle(&nodes).await;
        assert!(left.ledger.owned().is_empty());
        assert_eq!(left.ledger.spooled(), 0);
        assert_eq!(refused, 0);
        let mut presumed = 0;
        for node in &nodes {
            presumed += node.ledger.counters().presumed_units.load(Ordering::Relaxed);
            presumed += node.ledger.inspect().await.iter().map(|at| at.presumed).sum::<u64>();
        }
        assert_eq!(presumed, 0, "units lapsed");
        assert!(arrivals.most_in(60_000) <= limit);
    });
}

#[test]
fn a_stall_of_the_journals_passes_unseen_at_steady_demand() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let nodes = cluster.of(3).await;
        let teams: Vec<String> = (0..6).map(|n| format!("team{n}")).collect();
        let arrivals: Vec<Arrivals> = teams.iter().map(|_| Arrivals::default()).collect();
        let mut refused = 0;
        for tick in 0..1_200_usize {
            match tick {
                600 => cluster.trouble.stalled.store(true, Ordering::SeqCst),
                700 => cluster.trouble.stalled.store(false, Ordering::SeqCst),
                _ => {}
            }
            for (at, node) in nodes.iter().enumerate() {
                let team = (tick + at) % teams.len();
                let meter = node.meter(&teams[team], RPM, 600);
                match node.ledger.try_take(&[one(&meter)]) {
                    Ok(mut lease) => {
                        lease.confirm_send().unwrap();
                        arrivals[team].note(world.clock.now(), 1);
                    }
                    Err(_) => refused += u32::from(tick > 200),
                }
            }
            pass(100).await;
        }
        assert_eq!(refused, 0, "a client noticed a stall of 10 s");
        assert!(arrivals.iter().all(|arrivals| arrivals.most_in(60_000) <= 600));
    });
}

#[test]
fn a_node_that_is_cut_off_serves_from_its_grants_and_then_says_why_not() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let nodes = cluster.of(2).await;
        let arrivals = Arrivals::default();
        let meters: Vec<_> = nodes.iter().map(|node| node.meter("team", RPM, 2_400)).collect();
        let (mut served_while_cut, mut away, mut late) = (0, 0, 0);
        for tick in 0..2_000_u64 {
            let cut = (400..1_000).contains(&tick);
            nodes[1].bus.cut.store(cut, Ordering::SeqCst);
            for (at, (node, meter)) in nodes.iter().zip(&meters).enumerate() {
                match node.ledger.try_take(&[one(meter)]) {
                    Ok(mut lease) => {
                        if lease.confirm_send().is_ok() {
                            arrivals.note(world.clock.now(), 1);
                            served_while_cut += u32::from(cut && at == 1);
                            late += u32::from(at == 1 && (720..1_000).contains(&tick));
                        }
                    }
                    Err(shortage) if cut && at == 1 => {
                        if shortage.kind == ShortageKind::Away {
                            assert!(shortage.retry_after_ms.is_some());
                            assert!(shortage.to_string().contains("bus away"), "{shortage}");
                            away += 1;
                        }
                    }
                    Err(shortage) => assert!(!(200..400).contains(&tick) || tick > 1_200, "{at} {tick} {shortage}"),
                }
            }
            if tick == 900 {
                assert!(!nodes[1].membership.snapshot().connected);
                assert!(nodes[1].ledger.owned().len() <= 8);
            }
            pass(100).await;
        }
        assert!(
            served_while_cut >= 100,
            "{served_while_cut} served from what was in hand"
        );
        assert_eq!(late, 0, "served after the grants' life");
        assert!(away > 200, "{away} told that the bus is away");
        assert!(arrivals.most_in(60_000) <= 2_400);
        let (sent, _) = nodes[1].send(&meters[1], WAIT).await;
        assert!(sent, "it does not recover by itself");
        cluster.settle(&nodes).await;
    });
}

#[test]
fn what_a_cut_off_node_used_is_settled_by_its_next_life() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let store = Store::temporary().unwrap();
        let nodes = [cluster.join().await, cluster.join_with(&store).await];
        cluster.settle(&nodes).await;
        // In a shard of the node that lives on.
        let team = team_in(nodes[0].ledger.owned()[0].shard, "spool");
        let kind = MeterKind::Tokens { window_ms: 3_600_000 };
        let spend = nodes[1].meter(&team, kind, 1_000_000);
        let want = Want {
            meter: spend.clone(),
            units: 1_000,
        };
        let mut lease = nodes[1].ledger.take(std::slice::from_ref(&want), WAIT).await.unwrap();
        lease.confirm_send().unwrap();
        pass(3_000).await;
        nodes[1].bus.cut.store(true, Ordering::SeqCst);
        lease.settle(Actual {
            tokens: Some(7),
            usd_ticks: None,
        });
        // Idle: the rest goes back, the grant is closed; nobody hears of it.
        pass(12_000).await;
        assert!(nodes[1].ledger.spooled() > 0);
        nodes[1].ledger.kill();
        pass(30_000).await;
        let (charged, ..) = standing(&[&nodes[0]], &spend).await;
        assert!(charged >= 1_000, "{charged}: a lapse presumes what was reserved");

        let again = cluster.join_with(&store).await;
        pass(4_000).await;
        let (charged, outstanding, presumed) = standing(&[&nodes[0], &again], &spend).await;
        assert_eq!((charged, outstanding, presumed), (7, 0, 0));
        pass(1_000).await;
        assert_eq!(again.ledger.spooled(), 0);
        assert_eq!(store.len("spool").unwrap(), 0, "what is settled is forgotten");
    });
}

/// What stands at the owners of a meter: charged, outstanding, presumed.
async fn standing(nodes: &[&Node], of: &HeldMeter) -> (u64, u64, u64) {
    let mut sum = (0, 0, 0);
    for node in nodes {
        for at in node.ledger.inspect().await {
            if at.meter == *of.meter() {
                sum = (sum.0 + at.charged, sum.1 + at.outstanding, sum.2 + at.presumed);
            }
        }
    }
    sum
}

#[test]
fn duplicates_losses_and_reordering_never_pass_a_limit() {
    for seed in 0..6 {
        in_virtual_time(move |world| async move {
            let local = LocalBus::new(Store::temporary().unwrap(), world.clock.clone());
            let faulty = FaultyBus::new(local, seed, Faults::default());
            let cluster = Cluster::over(&world, faulty.clone());
            let nodes = cluster.of(3).await;
            faulty.set_faults(Faults {
                delay: Duration::from_millis(150),
                drop: 0.05,
                duplicate: 0.3,
                ..Faults::default()
            });
            let arrivals = Arrivals::default();
            let meters: Vec<_> = nodes.iter().map(|node| node.meter("team", RPM, 60)).collect();
            for _ in 0..900 {
                for (node, meter) in nodes.iter().zip(&meters) {
                    if let Ok(mut lease) = node.ledger.try_take(&[one(meter)])
                        && lease.confirm_send().is_ok()
                    {
                        arrivals.note(world.clock.now(), 1);
                    }
                }
                pass(200).await;
            }
            assert!(arrivals.most_in(60_000) <= 60, "seed {seed}");
            assert!(arrivals.total() >= 100, "seed {seed}: {} sent", arrivals.total());
        });
    }
}

#[test]
fn a_thousand_requests_a_second_cost_less_than_a_hundred_messages() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let nodes = cluster.of(3).await;
        // 50 teams whose limits are twice the demand.
        let meters: Vec<Vec<_>> = nodes
            .iter()
            .map(|node| (0..50).map(|n| node.meter(&format!("team{n}"), RPM, 2_400)).collect())
            .collect();
        let mut sent = 0_u64;
        let mut before = 0;
        for tick in 0..6_000_usize {
            for at in 0..10 {
                let (node, team) = ((tick + at) % 3, (tick * 10 + at * 7) % 50);
                if let Ok(mut lease) = nodes[node].ledger.try_take(&[one(&meters[node][team])]) {
                    lease.confirm_send().unwrap();
                    sent += u64::from(tick >= 2_000);
                }
            }
            if tick == 2_000 {
                before = cluster.trouble.messages.load(Ordering::SeqCst);
            }
            pass(10).await;
        }
        let messages = cluster.trouble.messages.load(Ordering::SeqCst) - before;
        let trouble = &cluster.trouble;
        println!(
            "{messages} messages for {sent} requests in 40 s; since the start {} appends, {} requests, {} beats",
            trouble.appends.load(Ordering::SeqCst),
            trouble.requests.load(Ordering::SeqCst),
            trouble.beats.load(Ordering::SeqCst)
        );
        assert!(sent >= 39_500, "{sent}");
        assert!(messages * 10 <= sent, "{messages} messages for {sent} requests");
    });
}
