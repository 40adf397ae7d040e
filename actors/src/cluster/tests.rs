//! The pure parts: who is named, who is silent, whose clock is off.

use std::collections::HashMap;

use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::cluster::{Beat, NodeLoad, ShardClaim};
use grok2api_schemas::ids::SessionId;

use super::assign::name_owners;
use super::clocks::ClockWatch;
use super::view::View;
use crate::clock::{Mono, WallMs};
use crate::ledger::Moment;

const SKEW_MS: u64 = 5_000;

fn at(ms: u64) -> Moment {
    Moment {
        mono: Mono(1_000_000_000 + ms * 1000),
        wall: WallMs(1_700_000_000_000 + ms),
    }
}

fn beat(session: SessionId, number: u64, now: Moment) -> Beat {
    Beat {
        session,
        node: "node".into(),
        number,
        version: String::new(),
        advertise_url: String::new(),
        wall_ms: now.wall.0,
        started_ms: 0,
        may_own: true,
        draining: false,
        leaving: false,
        shards: Vec::new(),
        load: NodeLoad::default(),
    }
}

fn sessions(count: usize) -> Vec<SessionId> {
    (0..count).map(|_| SessionId::generate()).collect()
}

fn counts(sessions: &[SessionId]) -> HashMap<SessionId, usize> {
    let mut counts = HashMap::new();
    for owner in name_owners(sessions).into_iter().flatten() {
        *counts.entry(owner).or_default() += 1;
    }
    counts
}

#[test]
fn shards_are_shared_out_evenly_and_the_same_everywhere() {
    for n in 1..=8 {
        let all = sessions(n);
        let counts = counts(&all);
        let (most, least) = (counts.values().max().unwrap(), counts.values().min().unwrap());
        assert_eq!(counts.len(), n);
        assert!(most - least <= 1, "{n} nodes: {counts:?}");
        let mut shuffled = all.clone();
        shuffled.reverse();
        shuffled.push(all[0]);
        assert_eq!(name_owners(&all), name_owners(&shuffled));
    }
    assert!(name_owners(&[]).iter().all(Option::is_none));
}

#[test]
fn a_join_moves_its_share_and_nothing_else() {
    for n in 2..=8 {
        for _ in 0..50 {
            let all = sessions(n);
            let before = name_owners(&all[..n - 1]);
            let after = name_owners(&all);
            let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
            assert!(
                moved.len() * n <= usize::from(SHARDS),
                "{} of 16 moved to the {n}th",
                moved.len()
            );
            assert!(moved.iter().all(|(_, new)| **new == Some(all[n - 1])));
        }
    }
}

#[test]
fn what_a_death_moves_between_the_living_is_bounded() {
    let (mut moved, mut rounds) = (0, 0);
    for n in 3..=6 {
        for gone in 0..n {
            for _ in 0..20 {
                let all = sessions(n);
                let living: Vec<_> = all.iter().copied().filter(|session| *session != all[gone]).collect();
                let (before, after) = (name_owners(&all), name_owners(&living));
                let needless = before
                    .iter()
                    .zip(&after)
                    .filter(|(old, new)| old != new && **old != Some(all[gone]));
                moved += needless.count();
                rounds += 1;
            }
        }
    }
    let average = moved as f64 / f64::from(rounds);
    assert!(average < 5.0, "{average} of 16 shards move between nodes that live");
}

/// Three nodes that hear each other every second, seen by the first.
fn three_nodes() -> (View, Vec<SessionId>) {
    let all = sessions(3);
    let mut view = View::new(all[0], SKEW_MS, at(0));
    for second in 0..5 {
        for session in &all {
            view.hear(at(second * 1000), beat(*session, second + 1, at(second * 1000)));
        }
    }
    (view, all)
}

fn live(view: &View, me: SessionId, ms: u64) -> usize {
    view.snapshot(at(ms).mono, &beat(me, 99, at(ms))).live
}

#[test]
fn three_missed_beats_are_silence() {
    let (mut view, all) = three_nodes();
    for ms in [4_000, 5_000, 6_000] {
        for session in &all[..2] {
            view.hear(at(ms), beat(*session, ms / 1000 + 1, at(ms)));
        }
    }
    assert_eq!(live(&view, all[0], 6_900), 3);
    for session in &all[..2] {
        view.hear(at(7_000), beat(*session, 8, at(7_000)));
    }
    assert_eq!(live(&view, all[0], 7_050), 2);
    let snapshot = view.snapshot(at(7_050).mono, &beat(all[0], 99, at(7_050)));
    assert_eq!(snapshot.silent_for_ms(all[2]), Some(3_050));
    assert!(snapshot.named.iter().flatten().all(|owner| *owner != all[2]));
}

#[test]
fn a_bus_that_is_away_makes_nobody_silent() {
    let (mut view, all) = three_nodes();
    for ms in [5_000, 6_900, 20_000] {
        view.tick(at(ms));
        assert_eq!(live(&view, all[0], ms), 3, "after {ms} ms without any beat");
    }
    let away = view.snapshot(at(20_000).mono, &beat(all[0], 99, at(20_000)));
    assert!(!away.connected);
    // Itself comes back first: the others get their three beats.
    view.hear(at(20_100), beat(all[0], 30, at(20_100)));
    assert_eq!(live(&view, all[0], 20_200), 3);
    for ms in [21_100, 22_100, 23_100] {
        view.hear(at(ms), beat(all[0], ms / 1000 + 10, at(ms)));
    }
    assert_eq!(live(&view, all[0], 23_200), 1);
}

#[test]
fn late_and_repeated_beats_undo_nothing() {
    let (mut view, all) = three_nodes();
    let mut last = beat(all[1], 50, at(4_500));
    last.leaving = true;
    view.hear(at(4_500), last);
    assert_eq!(live(&view, all[0], 4_600), 2, "who leaves need not fall silent first");
    view.hear(at(4_600), beat(all[1], 49, at(4_600)));
    view.hear(at(4_700), beat(all[1], 51, at(4_700)));
    assert_eq!(live(&view, all[0], 4_800), 2, "a session that left does not come back");
}

#[test]
fn the_latest_takeover_is_the_owner() {
    let (mut view, all) = three_nodes();
    let claim = |epoch| {
        vec![ShardClaim {
            shard: 3,
            epoch,
            grants: 0,
            outstanding: 0,
            meters: 0,
        }]
    };
    for (session, epoch) in [(all[1], 40), (all[2], 30)] {
        let mut says = beat(session, 60, at(4_500));
        says.shards = claim(epoch);
        view.hear(at(4_500), says);
    }
    let snapshot = view.snapshot(at(4_600).mono, &beat(all[0], 99, at(4_600)));
    assert_eq!(
        snapshot.claim(3).map(|(session, claim)| (session, claim.epoch)),
        Some((all[1], 40))
    );
}

#[test]
fn two_sessions_of_one_name_both_count() {
    let (view, all) = three_nodes();
    let snapshot = view.snapshot(at(4_100).mono, &beat(all[0], 99, at(4_100)));
    assert!(snapshot.nodes.iter().all(|node| node.beat.node == "node"));
    assert_eq!(snapshot.live, 3);
}

#[test]
fn a_clock_that_is_off_owns_nothing() {
    let watch = ClockWatch::new(at(0), SKEW_MS);
    let now = at(1_000).mono;
    assert_eq!(watch.objection(now, &[], true), None);
    assert_eq!(watch.objection(now, &[2_000, -300], false), None);
    // Of three, one is off: its peers are not.
    assert_eq!(watch.objection(now, &[0, 9_000], false), None);
    let said = watch.objection(now, &[-9_000, -9_100], true).unwrap();
    assert!(said.contains("9000 ms off"), "{said}");
    // Of two, nobody knows which: the elder is believed.
    assert_eq!(watch.objection(now, &[9_000], true), None);
    assert!(watch.objection(now, &[9_000], false).is_some());
    assert_eq!(watch.objection(now, &[2_000], false), None);
}

#[test]
fn a_clock_that_was_set_owns_nothing_for_a_while() {
    let mut watch = ClockWatch::new(at(0), SKEW_MS);
    watch.look(at(1_000));
    let mut jumped = at(2_000);
    jumped.wall = WallMs(jumped.wall.0 + 3_000);
    watch.look(jumped);
    let said = watch.objection(at(2_100).mono, &[], true).unwrap();
    assert!(said.contains("set by 3000 ms"), "{said}");
    let mut later = at(70_000);
    later.wall = WallMs(later.wall.0 + 3_000);
    watch.look(later);
    assert_eq!(watch.objection(later.mono, &[], true), None);
}
