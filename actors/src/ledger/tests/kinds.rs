//! Each kind of meter, as callers of the ledger see it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api_schemas::meter::{DayBucket, MeterKind};

use super::harness::{Arrivals, NOON, RPM, in_virtual_time, key_meter, meter, one, pass};
use crate::clock::WallMs;
use crate::ledger::{Actual, CallLease, ShortageKind, Want};

const WAIT: Duration = Duration::from_secs(2);
const TPM: MeterKind = MeterKind::Tokens { window_ms: 60_000 };
const CHATS: MeterKind = MeterKind::PerDay(DayBucket::Chat);

fn sent(mut lease: CallLease) -> CallLease {
    lease.confirm_send().unwrap();
    lease
}

#[test]
fn an_unknown_limit_lets_few_first_calls_out_until_the_upstream_answers() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), None);
        let mut first = Vec::new();
        for _ in 0..8 {
            first.push(sent(ledger.take(&[one(&requests)], WAIT).await.unwrap()));
        }
        let shortage = ledger
            .take(&[one(&requests)], Duration::from_millis(300))
            .await
            .unwrap_err();
        assert_eq!(shortage.kind, ShortageKind::Dry);
        requests.answered();
        for _ in 0..42 {
            sent(ledger.take(&[one(&requests)], WAIT).await.unwrap());
        }
        assert_eq!((requests.limit(), requests.headroom()), (None, 1000));
        // Everything was counted, so a limit that is learned now binds at once.
        ledger.learn(requests.meter(), 60);
        assert_eq!(requests.limit(), Some(60));
        let mut more = 0;
        while let Ok(lease) = ledger.take(&[one(&requests)], Duration::from_millis(500)).await {
            sent(lease);
            more += 1;
        }
        assert_eq!(more, 10);
        pass(61_000).await;
        assert!(ledger.take(&[one(&requests)], WAIT).await.is_ok());
    });
}

#[test]
fn a_limit_of_the_configuration_is_lowered_by_what_the_upstream_says_and_never_raised() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(20));
        ledger.learn(requests.meter(), 50);
        assert_eq!(requests.limit(), Some(20));
        sent(ledger.take(&[one(&requests)], WAIT).await.unwrap());
        ledger.learn(requests.meter(), 5);
        pass(300).await;
        let mut more = 0;
        while let Ok(lease) = ledger.take(&[one(&requests)], Duration::from_millis(500)).await {
            sent(lease);
            more += 1;
        }
        assert_eq!(more, 4);
        // The operator's new word counts.
        let again = ledger.meter(requests.meter(), Some(30));
        let mut more = 0;
        while let Ok(lease) = ledger.take(&[one(&again)], Duration::from_millis(500)).await {
            sent(lease);
            more += 1;
        }
        assert_eq!(more, 25);
    });
}

#[test]
fn ten_a_second_are_paced_with_the_slack_and_most_of_them_used() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let arrivals = Arrivals::default();
        let paced = ledger.meter(&meter("team", MeterKind::Paced { window_ms: 1_000 }), Some(10));
        for caller in 0..20 {
            let (ledger, paced, clock) = (ledger.clone(), paced.clone(), world.clock.clone());
            let arrivals = arrivals.clone();
            world.tracker.spawn(async move {
                let mut random = fastrand::Rng::with_seed(caller);
                loop {
                    if let Ok(mut lease) = ledger.take(&[one(&paced)], WAIT).await
                        && lease.confirm_send().is_ok()
                    {
                        arrivals.note(clock.now().plus_ms(random.u64(0..250)), 1);
                    }
                }
            });
        }
        let from = world.clock.now();
        pass(100_000).await;
        let used = arrivals.between(from, world.clock.now());
        let most = arrivals.most_in(1_000);
        println!("{most} in the fullest second, {used} in 100 s");
        assert!(most <= 10, "{most} in a second");
        assert!(used >= 750, "{used} of 1000");
    });
}

#[test]
fn calls_in_flight_are_never_more_than_the_slots() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let slots = ledger.meter(&meter("team", MeterKind::Concurrency), Some(5));
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(sent(ledger.take(&[one(&slots)], WAIT).await.unwrap()));
        }
        // A stream may outlive every grant's life.
        pass(120_000).await;
        assert_eq!(slots.headroom(), 0);
        assert!(ledger.take(&[one(&slots)], WAIT).await.is_err());
        let (ledger2, slots2) = (ledger.clone(), slots.clone());
        let waiter = actix_rt::spawn(async move { ledger2.take(&[one(&slots2)], WAIT).await.map(drop) });
        pass(50).await;
        held.pop().unwrap().settle(Actual::default());
        waiter.await.unwrap().unwrap();
        held.clear();
        pass(20_000).await;
        let standing = ledger.inspect().await;
        let at_owner = standing.iter().find(|at| at.meter == *slots.meter());
        assert!(
            at_owner.is_none_or(|at| at.outstanding == 0),
            "idle slots went back: {standing:?}"
        );
        assert!(slots.headroom() > 0);
    });
}

#[test]
fn tokens_are_reserved_and_then_cost_what_they_cost() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let tokens = ledger.meter(&meter("team", TPM), Some(10_000));
        let want = |units| Want {
            meter: tokens.clone(),
            units,
        };
        let big = sent(ledger.take(&[want(8_000)], WAIT).await.unwrap());
        assert!(ledger.take(&[want(3_000)], Duration::from_millis(500)).await.is_err());
        // A long call keeps its reservation beyond the life of its grant.
        pass(45_000).await;
        assert!(ledger.take(&[want(3_000)], Duration::from_millis(500)).await.is_err());
        big.settle(Actual {
            tokens: Some(1_000),
            usd_ticks: None,
        });
        sent(ledger.take(&[want(3_000)], WAIT).await.unwrap()).settle(Actual {
            tokens: Some(0),
            usd_ticks: None,
        });
        // Zero is a value: 1,000 of 10,000 are used, and 9,000 can be had as one.
        let rest = sent(ledger.take(&[want(9_000)], WAIT).await.unwrap());
        // A cost that is not known lets the reservation stand; more than was reserved is charged, too.
        drop(rest);
        assert_eq!(ledger.counters().presumed.load(Ordering::Relaxed), 1);
        assert!(ledger.take(&[want(500)], Duration::from_millis(500)).await.is_err());
        pass(62_000).await;
        sent(ledger.take(&[want(100)], WAIT).await.unwrap()).settle(Actual {
            tokens: Some(9_950),
            usd_ticks: None,
        });
        // What was in hand before the overshoot may be used; nothing is granted after it.
        let _in_hand = ledger.take(&[want(100)], Duration::from_millis(500)).await;
        assert!(ledger.take(&[want(100)], Duration::from_millis(500)).await.is_err());
    });
}

#[test]
fn a_day_is_exact_and_begins_anew_at_midnight_of_the_reset_time_zone() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let chats = ledger.meter(&key_meter(CHATS), Some(17));
        for day in 0..2 {
            let mut used = 0;
            while let Ok(lease) = ledger.take(&[one(&chats)], Duration::from_millis(500)).await {
                sent(lease).settle(Actual::default());
                used += 1;
            }
            assert_eq!(used, 17, "day {day}");
            let shortage = ledger.try_take(&[one(&chats)]).unwrap_err();
            assert_eq!(shortage.kind, ShortageKind::Dry);
            // Noon, so half a day.
            let until_midnight = shortage.retry_after_ms.unwrap();
            assert!(
                until_midnight <= 12 * 3_600_000 && until_midnight > 11 * 3_600_000,
                "{until_midnight}"
            );
            world.leap(until_midnight - 3_000).await;
            assert!(ledger.take(&[one(&chats)], Duration::from_millis(500)).await.is_err());
            pass(63_000).await;
            assert!(chats.headroom() > 0, "the new day shows");
            world.leap(12 * 3_600_000 - 60_000).await;
        }
    });
}

#[test]
fn a_wall_clock_that_steps_back_gives_no_second_day() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let chats = ledger.meter(&key_meter(CHATS), Some(3));
        for _ in 0..3 {
            sent(ledger.take(&[one(&chats)], WAIT).await.unwrap());
        }
        world.manual.set_wall(WallMs(NOON.0 - 86_400_000));
        assert!(ledger.take(&[one(&chats)], WAIT).await.is_err());
    });
}

#[test]
fn spend_without_a_budget_is_counted() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let spend = ledger.meter(&key_meter(MeterKind::UsdPerDay), None);
        for _ in 0..30 {
            let want = Want {
                meter: spend.clone(),
                units: 1_000,
            };
            sent(ledger.take(&[want], WAIT).await.unwrap()).settle(Actual {
                tokens: None,
                usd_ticks: Some(70),
            });
        }
        assert_eq!(spend.used_in_window(), 2_100);
        pass(40_000).await;
        assert_eq!(spend.used_in_window(), 2_100);
        let at_owner = ledger.inspect().await;
        assert_eq!(
            at_owner.iter().find(|at| at.meter == *spend.meter()).unwrap().charged,
            2_100
        );
        // A budget that is set now counts what was spent.
        let spend = ledger.meter(spend.meter(), Some(2_500));
        let want = |units| Want {
            meter: spend.clone(),
            units,
        };
        assert!(ledger.take(&[want(401)], Duration::from_millis(500)).await.is_err());
        assert!(ledger.take(&[want(400)], Duration::from_millis(500)).await.is_ok());
    });
}

#[test]
fn what_a_call_costs_beyond_its_reservation_comes_out_of_what_is_in_hand() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let spend = ledger.meter(&key_meter(MeterKind::UsdPerDay), Some(100_000));
        let want = || Want {
            meter: spend.clone(),
            units: 1,
        };
        // Each is guessed at one tick and costs a tenth of the budget. One after the other: none is in flight beside it.
        let mut served = 0;
        for _ in 0..60 {
            if let Ok(lease) = ledger.take(&[want()], Duration::from_millis(500)).await {
                sent(lease).settle(Actual {
                    tokens: None,
                    usd_ticks: Some(10_000),
                });
                served += 1;
            }
            pass(1_000).await;
        }
        assert_eq!(served, 10, "{} of 100000 were spent", spend.used_in_window());
        assert_eq!(spend.used_in_window(), 100_000);
    });
}

#[test]
fn all_meters_or_none() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(10));
        let slots = ledger.meter(&meter("team", MeterKind::Concurrency), Some(1));
        let wants = [one(&requests), one(&slots)];
        let lease = ledger.take(&wants, WAIT).await.unwrap();
        for _ in 0..50 {
            assert_eq!(ledger.try_take(&wants).unwrap_err().meter, *slots.meter());
        }
        drop(lease);
        for _ in 0..10 {
            sent(ledger.take(&wants, WAIT).await.unwrap());
        }
        assert_eq!(ledger.take(&wants, WAIT).await.unwrap_err().meter, *requests.meter());
    });
}

#[test]
fn what_can_never_be_is_said_at_once() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let none = ledger.meter(&meter("none", RPM), Some(0));
        assert_eq!(none.headroom(), 0);
        assert_eq!(ledger.try_take(&[one(&none)]).unwrap_err().kind, ShortageKind::Zero);
        let tokens = ledger.meter(&meter("small", TPM), Some(100));
        let want = Want {
            meter: tokens,
            units: 101,
        };
        assert_eq!(ledger.take(&[want], WAIT).await.unwrap_err().kind, ShortageKind::Zero);
    });
}

#[test]
fn a_lease_is_one_write_within_the_life_of_its_grant() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), Some(10));
        let mut lease = ledger.take(&[one(&requests)], WAIT).await.unwrap();
        lease.confirm_send().unwrap();
        assert!(lease.confirm_send().is_err(), "a second write needs a second lease");
        let mut old = ledger.take(&[one(&requests)], WAIT).await.unwrap();
        pass(30_001).await;
        assert!(old.confirm_send().is_err());
        assert_eq!(ledger.counters().lease_lapsed.load(Ordering::Relaxed), 2);
        drop(old);
        // Written too late, it counts twice.
        let mut late = ledger.take(&[one(&requests)], WAIT).await.unwrap();
        late.confirm_send().unwrap();
        assert!(!late.written(world.clock.now().plus_ms(250)));
        pass(300).await;
        assert!(late.written(world.clock.now()));
        assert!(!late.written(world.clock.now()), "once is enough");
        drop(late);
        assert_eq!(ledger.counters().late.load(Ordering::Relaxed), 1);
        let mut more = 0;
        while let Ok(lease) = ledger.take(&[one(&requests)], Duration::from_millis(500)).await {
            sent(lease);
            more += 1;
        }
        assert_eq!(more, 7);
    });
}

#[test]
fn a_cold_call_asks_for_all_its_meters_at_once() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let wants = [
            one(&ledger.meter(&meter("team", RPM), Some(10))),
            one(&ledger.meter(&meter("team", MeterKind::Concurrency), Some(10))),
            one(&ledger.meter(&key_meter(CHATS), Some(10))),
            one(&ledger.meter(&key_meter(RPM), Some(10))),
        ];
        let began = world.clock.now();
        ledger.take(&wants, WAIT).await.unwrap();
        // One round trip with one append of 2 ms, and the beat of the virtual clock.
        assert!(
            world.clock.now().ms_since(began) <= 6,
            "{} ms",
            world.clock.now().ms_since(began)
        );
    });
}

#[test]
fn calls_in_flight_at_a_kill_are_presumed_where_no_limit_is_known() {
    in_virtual_time(|world| async move {
        let ledger = world.start().await;
        let requests = ledger.meter(&meter("team", RPM), None);
        let spend = ledger.meter(&key_meter(MeterKind::UsdPerDay), None);
        requests.answered();
        let wants = [
            one(&requests),
            Want {
                meter: spend.clone(),
                units: 1_000,
            },
        ];
        // Calls that no settlement was written for: the kill comes before the pump's next beat.
        let mut in_flight = Vec::new();
        for _ in 0..30 {
            in_flight.push(sent(ledger.take(&wants, WAIT).await.unwrap()));
        }
        ledger.kill();
        std::mem::forget(in_flight);
        let again = world.start().await;
        let standing = again.inspect().await;
        let at = |meter| standing.iter().find(|at| at.meter == meter).unwrap();
        let requests = at(requests.meter().clone());
        let spend = at(spend.meter().clone());
        assert!(requests.charged >= 30 && requests.presumed > 0, "{requests:?}");
        assert!(spend.charged >= 30_000 && spend.presumed >= 30_000, "{spend:?}");
        // And not without measure: what lay in hand beside them is presumed, too.
        assert!(
            requests.charged <= 60 && spend.charged <= 120_000,
            "{requests:?} {spend:?}"
        );
    });
}
