//! What fails underneath: lost answers, a bus that stalls, another owner, a journal that grows.

use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Ask, OwnerRequest};
use grok2api_schemas::meter::{DayBucket, MeterKind};

use super::harness::{Arrivals, NOON, RPM, in_virtual_time, key_meter, meter, one, pass};
use crate::bus::JournalHead;
use crate::clock::{Mono, WallMs};
use crate::ledger::LedgerOptions;
use crate::ledger::handle::shard_of;
use crate::ledger::owner::{Distrust, Owner};
use crate::ledger::rules::Moment;

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

#[test]
fn a_journal_that_is_older_than_remembered_grants_nothing_until_it_can_have_been_forgotten() {
    let kind = MeterKind::Requests { window_ms: 60_000 };
    let known = meter("team", kind);
    let at = |ms: u64| Moment {
        mono: Mono((3_600_000 + ms) * 1000),
        wall: WallMs(NOON.0 + ms),
    };
    let options = LedgerOptions {
        predecessors_are_dead: false,
        nodes: 3,
        ..LedgerOptions::alone(SessionId::generate())
    };
    let head = |last_sequence, incarnation| JournalHead {
        last_sequence,
        incarnation,
    };
    let replayed = |head: JournalHead| Owner::<()>::replay(options.session, options, at(0), head, &[]).unwrap();
    // The first start of a fresh cluster: nothing is remembered.
    let mut fresh = replayed(head(0, 7));
    fresh.compare(at(0), None);
    assert_eq!(fresh.distrusts(at(0), &known), None);
    let remembered = fresh.remember();
    assert_eq!(remembered, head(0, 7));
    // The same journal, grown by others: nothing is wrong.
    let mut same = replayed(head(0, 7));
    same.compare(at(0), Some(remembered));
    assert_eq!(same.distrusts(at(0), &known), None);

    let restored = |found, remembered| {
        let mut owner = replayed(found);
        owner.compare(at(0), Some(remembered));
        owner
    };
    for (mut owner, reason) in [
        (restored(head(0, 8), head(40, 7)), Distrust::AnotherLife),
        (
            restored(head(0, 7), head(40, 7)),
            Distrust::Older {
                remembered: 40,
                found: 0,
            },
        ),
        (restored(head(39, 7), head(38, 7)), Distrust::Missing { through: 39 }),
    ] {
        let append = owner.take_over(at(0), 7);
        owner.appended(append.expected + 1);
        let (why, until) = owner.distrusts(at(0), &known).expect("it is not trusted");
        assert_eq!(why, reason);
        assert!(!why.to_string().is_empty());
        // A full life of grants that nobody knows of, the window, and the slack.
        assert_eq!(until, at(30_000 + 60_000 + 250).mono);
        let ask = |number| OwnerRequest {
            asks: vec![Ask {
                number,
                meter: known.clone(),
                configured: Some(10),
                need: 1,
                least: 1,
                want: 0,
                stock: 0,
                holding: Vec::new(),
                renew: Vec::new(),
                ahead: false,
            }],
            ..OwnerRequest::of(options.session)
        };
        let granted = |owner: &mut Owner<()>, number, ms| {
            owner.receive(at(ms), ask(number), ());
            let append = owner.flush(at(ms));
            let replies = append.map_or(Vec::new(), |append| owner.appended(append.expected + 1).replies);
            replies.iter().any(|(_, reply)| reply.answers[0].granted.is_some())
        };
        assert!(!granted(&mut owner, 1, 10));
        assert!(!granted(&mut owner, 2, 90_000));
        assert!(granted(&mut owner, 3, 90_251));
        assert_eq!(owner.distrusts(at(90_251), &known), None);
        // A client's day is not counted anew: nothing until midnight.
        let day = key_meter(MeterKind::PerDay(DayBucket::Chat));
        let (_, until) = owner.distrusts(at(90_251), &day).expect("the day is not over");
        assert!(until > at(3_600_000).mono);
    }
}
