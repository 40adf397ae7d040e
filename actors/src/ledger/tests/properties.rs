//! The promises of the five kinds of meter, over random schedules; and the proof that the simulation can find a fault.

use grok2api_schemas::meter::{DayBucket, MeterKind};
use proptest::prelude::*;

use super::simulation::{Chaos, Scenario, Simulation, Verdict};
use crate::ledger::mutants::{self, Mutant};

/// A window long enough for everything to happen in, milliseconds.
const WINDOW_MS: u64 = 4_000;

const REQUESTS: MeterKind = MeterKind::Requests { window_ms: WINDOW_MS };
/// Shorter than a grant's life, so that what is sent after a lapse is not covered by luck.
const QUICK: MeterKind = MeterKind::Requests { window_ms: 800 };
/// Shorter still, for what is sent long after a lapse.
const BRIEF: MeterKind = MeterKind::Requests { window_ms: 200 };
/// Schedules that a mutant may take to be found.
const SCHEDULES: u64 = 10_000;

const TOKENS: MeterKind = MeterKind::Tokens { window_ms: WINDOW_MS };
const PACED: MeterKind = MeterKind::Paced { window_ms: 1_000 };

fn scenario(kind: MeterKind, limit: u64, nodes: usize, seed: u64) -> Scenario {
    Scenario {
        kind,
        limit,
        nodes,
        seconds: 60,
        seed,
        weight: if matches!(kind, MeterKind::Tokens { .. }) { 3 } else { 1 },
        chaos: None,
    }
}

/// How many times as many schedules as in the suite: `GROK2API_TEST_SCHEDULES=50`.
fn thoroughness() -> u64 {
    let factor = std::env::var("GROK2API_TEST_SCHEDULES").ok();
    factor.and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// Runs many schedules; answers how many units were sent in all.
fn hold(kind: MeterKind, limits: &[u64], nodes: usize, schedules: u64) -> u64 {
    let mut sent = 0;
    let schedules = schedules * thoroughness();
    for seed in 0..schedules {
        for limit in limits {
            let scenario = scenario(kind, *limit, nodes, seed);
            let Verdict { most, sent: units, .. } = Simulation::run(scenario);
            assert!(most <= *limit, "{most} of {limit} with {scenario:?}");
            sent += units;
        }
    }
    println!("{kind:?}, {nodes} nodes: {sent} sent in {schedules} schedules of {limits:?}");
    sent
}

/// How many schedules it takes to find the mutant. Some need messages that are mostly lost, or mostly doubled.
fn found(mutant: Mutant, kind: MeterKind, chaos: Option<Chaos>) {
    let seed = mutants::with(Some(mutant), || {
        (0..SCHEDULES).find(|seed| {
            let limit = 1 + seed % 4;
            let scenario = Scenario {
                chaos,
                ..scenario(kind, limit, 2, *seed)
            };
            Simulation::run(scenario).most > limit
        })
    });
    println!("{mutant:?}: found in schedule {seed:?}");
    assert!(
        seed.is_some(),
        "{mutant:?} was not found: the simulation proves nothing about it"
    );
}

#[test]
fn requests_never_pass_their_limit_in_any_sliding_window() {
    assert!(hold(REQUESTS, &[1, 2, 5], 3, 60) > 0);
    assert!(hold(REQUESTS, &[1, 3], 2, 60) > 0);
    assert!(hold(QUICK, &[1, 3], 2, 60) > 0);
}

#[test]
fn requests_of_one_node_never_pass_their_limit_across_its_restarts() {
    assert!(hold(REQUESTS, &[1, 3, 10], 1, 100) > 0);
}

#[test]
fn tokens_never_pass_their_limit_when_every_reservation_is_a_bound() {
    assert!(hold(TOKENS, &[4, 10], 3, 60) > 0);
    assert!(hold(TOKENS, &[4, 10], 1, 60) > 0);
}

#[test]
fn paced_shares_never_pass_their_limit_in_any_window() {
    assert!(hold(PACED, &[1, 4, 8], 3, 60) > 0);
    assert!(hold(PACED, &[1, 4], 1, 60) > 0);
}

#[test]
fn calls_in_flight_are_exact() {
    assert!(hold(MeterKind::Concurrency, &[1, 4], 3, 60) > 0);
    assert!(hold(MeterKind::Concurrency, &[1, 4], 1, 60) > 0);
}

#[test]
fn a_day_is_never_passed() {
    assert!(hold(MeterKind::PerDay(DayBucket::Chat), &[1, 20], 3, 40) > 0);
    assert!(hold(MeterKind::PerDay(DayBucket::Chat), &[1, 20], 1, 40) > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48 * thoroughness() as u32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any kind, any number of nodes, any weather.
    #[test]
    fn no_limit_is_ever_passed(
        kind in prop::sample::select(vec![REQUESTS, QUICK, BRIEF, TOKENS, PACED]),
        limit in 3_u64..20,
        nodes in 1_usize..5,
        seed in any::<u64>(),
        lost in 0_u8..50,
        doubled in 0_u8..50,
        late in 0_u8..50,
    ) {
        let scenario = Scenario {
            chaos: Some(Chaos { lost, doubled, late }),
            ..scenario(kind, limit, nodes, seed)
        };
        let verdict = Simulation::run(scenario);
        prop_assert!(verdict.most <= limit, "{} of {limit} with {scenario:?}", verdict.most);
    }
}

#[test]
fn without_faults_most_of_a_limit_is_used() {
    let calm = Some(Chaos {
        lost: 0,
        doubled: 0,
        late: 0,
    });
    for nodes in 1..=3 {
        let (mut sent, mut appends, mut takeovers) = (0, 0, 0);
        for seed in 0..20 {
            let verdict = Simulation::run(Scenario {
                chaos: calm,
                ..scenario(REQUESTS, 12, nodes, seed)
            });
            sent += verdict.sent;
            appends += verdict.appends;
            takeovers += verdict.takeovers;
        }
        let share = sent as f64 / (20.0 * 12.0 * 60.0 / 4.0);
        println!(
            "{nodes} nodes: {:.0} % used, {appends} appends, {takeovers} takeovers",
            share * 100.0
        );
        assert!(share > 0.5, "{share}");
    }
}

macro_rules! mutant {
    ($name:ident, $mutant:ident, $kind:expr, $chaos:expr) => {
        #[test]
        fn $name() {
            found(Mutant::$mutant, $kind, $chaos);
        }
    };
}

const DOUBLED: Option<Chaos> = Some(Chaos {
    lost: 0,
    doubled: 60,
    late: 10,
});
const LATE: Option<Chaos> = Some(Chaos {
    lost: 10,
    doubled: 10,
    late: 50,
});

mutant!(finds_the_window_of_receipt, WindowOfReceipt, REQUESTS, None);
mutant!(finds_the_absolute_expiry, AbsoluteExpiry, BRIEF, None);
mutant!(finds_life_counted_from_receipt, LifeFromReceipt, QUICK, None);
mutant!(finds_settlements_that_add_up, SettleByIncrement, QUICK, DOUBLED);
mutant!(finds_stored_times_that_are_trusted, TrustStored, REQUESTS, None);
mutant!(finds_delivery_that_is_not_charged, NoDelivery, QUICK, None);
mutant!(finds_a_lapse_that_is_free, LapseIsFree, QUICK, None);
mutant!(finds_a_grant_before_its_append, GrantBeforeAppend, QUICK, None);
mutant!(
    finds_a_presumption_that_an_open_report_replaces,
    OpenReplacesPresumption,
    REQUESTS,
    LATE
);
mutant!(finds_a_lease_that_is_checked_too_early, NoCheckAtSend, QUICK, None);
mutant!(finds_a_restart_that_reuses_grants, RestartReuses, REQUESTS, None);
mutant!(finds_grants_bound_to_a_node_id, GrantsOfANodeId, REQUESTS, None);
mutant!(finds_a_share_that_moves_at_once, ShareMovesAtOnce, PACED, None);
mutant!(finds_a_pace_without_slack, PaceWithoutSlack, PACED, None);

#[test]
fn finds_a_lost_share_that_is_free() {
    // Takes shares of more than one unit, and messages that are lost.
    let most = |seed| Simulation::run(scenario(PACED, 4, 3, seed)).most;
    let seed = mutants::with(Some(Mutant::ForgoneShareIsFree), || {
        (0..SCHEDULES).find(|seed| most(*seed) > 4)
    });
    assert!(seed.is_some(), "not found: the simulation proves nothing about it");
}
