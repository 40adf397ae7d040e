//! Many callers against one node: never over a limit, and nearly all of it used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::meter::MeterKind;
use tokio_util::task::TaskTracker;

use super::harness::{Arrivals, RPM, World, in_virtual_time, meter, one};
use super::memory_bus::MemoryBus;
use crate::clock::Clock;
use crate::ledger::{Actual, Ledger, LedgerOptions, ShortageKind};

const WAIT: Duration = Duration::from_secs(2);

fn callers(world: &World, ledger: &Ledger, teams: usize, callers: usize, limit: u64, kind: MeterKind) -> Vec<Arrivals> {
    let arrivals: Vec<Arrivals> = (0..teams).map(|_| Arrivals::default()).collect();
    for caller in 0..callers {
        let team = caller % teams;
        let (ledger, clock) = (ledger.clone(), world.clock.clone());
        let arrivals = arrivals[team].clone();
        world.tracker.spawn(async move {
            let requests = ledger.meter(&meter(&format!("team{team}"), kind), Some(limit));
            let slots = ledger.meter(&meter(&format!("team{team}"), MeterKind::Concurrency), Some(200));
            let mut random = fastrand::Rng::with_seed(caller as u64);
            loop {
                let Ok(mut lease) = ledger.take(&[one(&requests), one(&slots)], WAIT).await else {
                    tokio::time::sleep(Duration::from_millis(random.u64(10..50))).await;
                    continue;
                };
                tokio::time::sleep(Duration::from_millis(random.u64(0..3))).await;
                if lease.confirm_send().is_ok() {
                    let mut arrival = clock.now();
                    arrival.0 += random.u64(0..250_000);
                    arrivals.note(arrival, 1);
                    tokio::time::sleep(Duration::from_millis(random.u64(5..50))).await;
                }
                lease.settle(Actual::default());
            }
        });
    }
    arrivals
}

#[test]
fn five_teams_at_600_a_minute_are_used_to_95_percent_and_never_passed() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let started = world.clock.now();
        let arrivals = callers(&world, &ledger, 5, 256, 600, RPM);
        tokio::time::sleep(Duration::from_secs(300)).await;
        for (team, arrived) in arrivals.iter().enumerate() {
            let most = arrived.most_in(60_000);
            let used = arrived.between(started, world.clock.now());
            println!("team{team}: {most} in the fullest window, {used} in 300 s");
            assert!(most <= 600, "team{team} sent {most} in a window");
            assert!(used as f64 >= 0.95 * 3000.0, "team{team} used {used} of 3000");
        }
        let appends = world.bus.appends.load(Ordering::SeqCst);
        println!("{appends} appends; {:?}", ledger.counters());
    });
}

#[test]
fn kill_and_restart_on_the_same_journal_spends_nothing_twice() {
    in_virtual_time(|world| async move {
        let arrivals = Arrivals::default();
        let mut random = fastrand::Rng::with_seed(7);
        for _life in 0..12 {
            let ledger = world.start().await;
            let requests = ledger.meter(&meter("team", RPM), Some(100));
            let until = world.clock.now().plus_ms(random.u64(50..40_000));
            let mut kept = Vec::new();
            while world.clock.now() < until {
                match ledger.take(&[one(&requests)], Duration::from_millis(100)).await {
                    Ok(mut lease) => {
                        if random.u8(0..10) > 0 && lease.confirm_send().is_ok() {
                            arrivals.note(world.clock.now().plus_ms(random.u64(0..250)), 1);
                            if random.bool() {
                                lease.settle(Actual::default());
                            } else {
                                kept.push(lease);
                            }
                        }
                    }
                    Err(shortage) => assert_ne!(shortage.kind, ShortageKind::Zero),
                }
                tokio::time::sleep(Duration::from_millis(random.u64(1..60))).await;
            }
            ledger.kill();
        }
        let most = arrivals.most_in(60_000);
        println!("{} sent, {most} in the fullest window", arrivals.total());
        assert!(most <= 100, "{most} of 100 in a window");
        assert!(arrivals.total() > 200);
    });
}

#[test]
fn a_graceful_end_gives_everything_back_and_the_next_life_goes_on_at_once() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(100));
        for _ in 0..30 {
            let mut lease = ledger.take(&[one(&requests)], WAIT).await.unwrap();
            lease.confirm_send().unwrap();
        }
        ledger.close().await;
        assert!(
            ledger.try_take(&[one(&requests)]).is_err(),
            "a closed ledger hands out nothing"
        );
        let again = world.start().await;
        let requests = again.meter(&meter("team", RPM), Some(100));
        let mut leases = Vec::new();
        for _ in 0..70 {
            leases.push(again.take(&[one(&requests)], WAIT).await.unwrap());
        }
        let shortage = again.take(&[one(&requests)], WAIT).await.unwrap_err();
        assert_eq!(shortage.kind, ShortageKind::Dry);
        assert_eq!(again.counters().lapses.load(Ordering::Relaxed), 0);
    });
}

/// On real threads and the machine's clock: callers race on the same meters while owners live on threads of their own.
#[test]
fn callers_on_many_threads_never_pass_a_limit() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .enable_all()
            .build()
            .unwrap()
    };
    actix::System::with_tokio_rt(runtime).block_on(async {
        let options = LedgerOptions {
            delivery_slack_ms: 20,
            ..LedgerOptions::alone(SessionId::generate())
        };
        let arbiters = [actix_rt::Arbiter::new(), actix_rt::Arbiter::new()];
        let handles: Vec<_> = arbiters.iter().map(|arbiter| arbiter.handle()).collect();
        let (clock, tracker) = (Clock::system(), TaskTracker::new());
        let ledger = Ledger::start(MemoryBus::new(), clock.clone(), tracker.clone(), &handles, options)
            .await
            .unwrap();
        let quick = MeterKind::Requests { window_ms: 500 };
        let requests = ledger.meter(&meter("team", quick), Some(100));
        let slots = ledger.meter(&meter("team", MeterKind::Concurrency), Some(7));
        let (arrivals, in_flight) = (Arrivals::default(), Arc::new(AtomicU64::new(0)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .enable_all()
            .build()
            .unwrap();
        for caller in 0..64 {
            let (ledger, clock, arrivals) = (ledger.clone(), clock.clone(), arrivals.clone());
            let (wants, in_flight) = ([one(&requests), one(&slots)], in_flight.clone());
            tracker.spawn_on(
                async move {
                    let mut random = fastrand::Rng::with_seed(caller);
                    let end = clock.now().plus_ms(4_000);
                    while clock.now() < end {
                        let Ok(mut lease) = ledger.take(&wants, Duration::from_millis(700)).await else {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                            continue;
                        };
                        let before = clock.now();
                        if lease.confirm_send().is_ok() {
                            assert!(
                                in_flight.fetch_add(1, Ordering::SeqCst) < 7,
                                "more in flight than slots"
                            );
                            arrivals.note(before, 1);
                            tokio::time::sleep(Duration::from_millis(random.u64(0..5))).await;
                            in_flight.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                },
                runtime.handle(),
            );
        }
        tokio::time::sleep(Duration::from_millis(4_800)).await;
        let most = arrivals.most_in(500);
        println!("{most} in the fullest half second, {} in 4 s", arrivals.total());
        assert!(most <= 100, "{most}");
        assert!(arrivals.total() >= 400, "{}", arrivals.total());
        ledger.close().await;
        assert_eq!(ledger.counters().lapses.load(Ordering::Relaxed), 0);
        runtime.shutdown_background();
    });
}
