//! What fails underneath: lost answers, a bus that stalls, another owner, a journal that grows.

use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api_schemas::meter::MeterKind;

use super::harness::{Arrivals, RPM, in_virtual_time, meter, one, pass};
use crate::ledger::LedgerOptions;
use crate::ledger::handle::shard_of;

const WAIT: Duration = Duration::from_secs(2);

#[test]
fn an_append_whose_answer_is_lost_is_repeated_and_counts_once() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(10));
        world.bus.lose_next_answer.store(true, Ordering::SeqCst);
        let mut sent = 0;
        while let Ok(mut lease) = ledger.take(&[one(&requests)], WAIT).await {
            lease.confirm_send().unwrap();
            sent += 1;
        }
        assert_eq!(sent, 10);
        assert!(ledger.counters().append_retries.load(Ordering::Relaxed) >= 1);
        assert_eq!(ledger.counters().step_downs.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_stall_of_the_bus_passes_unseen_at_steady_demand_and_nothing_is_granted_in_it() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(2_400));
        let arrivals = Arrivals::default();
        let mut refused = 0;
        for tick in 0..1_800 {
            match tick {
                // From the 40th second on, for 8 s.
                800 => world.bus.unreachable.store(true, Ordering::SeqCst),
                960 => world.bus.unreachable.store(false, Ordering::SeqCst),
                _ => {}
            }
            match ledger.try_take(&[one(&requests)]) {
                Ok(mut lease) => {
                    lease.confirm_send().unwrap();
                    arrivals.note(world.clock.now(), 1);
                }
                Err(_) if tick > 100 => refused += 1,
                Err(_) => {}
            }
            pass(50).await;
        }
        assert_eq!(refused, 0, "a client noticed");
        assert!(arrivals.most_in(60_000) <= 2_400);
        let appends = world.bus.appends.load(Ordering::SeqCst);
        assert!(appends < 16 + 90, "{appends} appends for 1,800 calls in 90 s");
    });
}

#[test]
fn a_burst_beyond_what_is_in_hand_waits_out_a_stall_without_invented_quota() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(100));
        drop(ledger.take(&[one(&requests)], WAIT).await.unwrap());
        world.bus.unreachable.store(true, Ordering::SeqCst);
        let mut sent = 0;
        while let Ok(mut lease) = ledger.take(&[one(&requests)], Duration::from_millis(200)).await {
            lease.confirm_send().unwrap();
            sent += 1;
        }
        assert!(sent < 30, "{sent} sent from what was in hand");
        pass(20_000).await;
        world.bus.unreachable.store(false, Ordering::SeqCst);
        while let Ok(mut lease) = ledger.take(&[one(&requests)], Duration::from_secs(5)).await {
            lease.confirm_send().unwrap();
            sent += 1;
        }
        assert!((70..=100).contains(&sent), "{sent}");
    });
}

#[test]
fn two_processes_on_one_journal_do_not_both_decide() {
    in_virtual_time(|world| async move {
        let options = || LedgerOptions {
            predecessors_are_dead: false,
            nodes: 2,
            ..world.options()
        };
        let first = world.start_with(options()).await;
        let mine = first.meter(&meter("team", RPM), Some(40));
        let arrivals = Arrivals::default();
        for _ in 0..5 {
            let mut lease = first.take(&[one(&mine)], WAIT).await.unwrap();
            lease.confirm_send().unwrap();
            arrivals.note(world.clock.now(), 1);
        }
        let second = world.start_with(options()).await;
        let theirs = second.meter(&meter("team", RPM), Some(40));
        let until = world.clock.now().plus_ms(180_000);
        let mut by_second = 0;
        while world.clock.now() < until {
            for (ledger, meter) in [(&first, &mine), (&second, &theirs)] {
                if let Ok(mut lease) = ledger.take(&[one(meter)], Duration::from_millis(20)).await
                    && lease.confirm_send().is_ok()
                {
                    arrivals.note(world.clock.now(), 1);
                    by_second += u32::from(std::ptr::eq(ledger, &second));
                }
            }
            pass(100).await;
        }
        assert!(arrivals.most_in(60_000) <= 40, "{}", arrivals.most_in(60_000));
        assert!(by_second > 10, "{by_second}");
        assert!(first.counters().step_downs.load(Ordering::Relaxed) >= 1);
    });
}

#[test]
fn a_journal_is_cut_by_snapshots_and_replays_to_the_same() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(300));
        let shard = shard_of(&requests.meter().domain);
        let until = world.clock.now().plus_ms(20 * 60_000);
        let mut longest = 0;
        while world.clock.now() < until {
            if let Ok(mut lease) = ledger.take(&[one(&requests)], WAIT).await {
                lease.confirm_send().unwrap();
            }
            pass(190).await;
            longest = longest.max(world.bus.entries(shard).len());
        }
        assert!(world.bus.appends.load(Ordering::SeqCst) > 1_300, "nothing to cut");
        assert!(longest < 1_300, "{longest} entries");
        pass(3_000).await;
        let before = ledger.inspect().await;
        ledger.kill();
        let again = world.start().await;
        let after = again.inspect().await;
        let charged = |standing: &[crate::ledger::OwnerStanding]| -> u64 {
            standing.iter().map(|meter| meter.charged + meter.outstanding).sum()
        };
        assert!(charged(&after) >= charged(&before), "{before:?} {after:?}");
        assert!(charged(&after) <= charged(&before) + 30);
    });
}

#[test]
fn a_journal_of_another_life_grants_nothing_for_one_window() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(10));
        ledger
            .take(&[one(&requests)], WAIT)
            .await
            .unwrap()
            .confirm_send()
            .unwrap();
        ledger.close().await;
        world.bus.incarnation.store(2, Ordering::SeqCst);
        let again = world.start().await;
        let requests = again.meter(&meter("team", RPM), Some(10));
        let shortage = again.take(&[one(&requests)], WAIT).await.unwrap_err();
        assert!(shortage.retry_after_ms.is_some_and(|ms| ms > 50_000), "{shortage:?}");
        pass(61_000).await;
        assert!(again.take(&[one(&requests)], WAIT).await.is_ok());
    });
}

#[test]
fn a_shard_whose_actor_dies_is_built_anew_and_its_grants_live_on() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(50));
        let slots = ledger.meter(&meter("team", MeterKind::Concurrency), Some(2));
        let shard = shard_of(&requests.meter().domain);
        let mut leases = Vec::new();
        for _ in 0..2 {
            leases.push(ledger.take(&[one(&requests), one(&slots)], WAIT).await.unwrap());
        }
        ledger.fault(shard).await;
        for lease in &mut leases {
            lease.confirm_send().unwrap();
        }
        assert!(
            ledger.take(&[one(&slots)], WAIT).await.is_err(),
            "slots of living calls are not given twice"
        );
        leases.clear();
        let mut sent = 2;
        while let Ok(mut lease) = ledger.take(&[one(&requests), one(&slots)], WAIT).await {
            lease.confirm_send().unwrap();
            sent += 1;
        }
        assert_eq!(sent, 50);
    });
}
