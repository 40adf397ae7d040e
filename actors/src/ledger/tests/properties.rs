//! The promises of the five kinds of meter, over random schedules; and the proof that the simulation can find a fault.

use grok2api_schemas::meter::{DayBucket, MeterKind};

use super::simulation::{Scenario, Simulation, Verdict};
use crate::ledger::mutants::{self, Mutant};

/// A window long enough for everything to happen in, milliseconds.
const WINDOW_MS: u64 = 4_000;

const REQUESTS: MeterKind = MeterKind::Requests { window_ms: WINDOW_MS };
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
    }
}

/// Runs many schedules; answers how many units were sent in all.
fn hold(kind: MeterKind, limits: &[u64], nodes: usize, schedules: u64) -> u64 {
    let mut sent = 0;
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

/// How many schedules it takes to find the mutant.
fn hunt(mutant: Mutant, kind: MeterKind, nodes: usize, schedules: u64) -> Option<u64> {
    mutants::with(Some(mutant), || {
        (0..schedules).find(|seed| {
            let limit = 1 + seed % 3;
            let limit = if matches!(kind, MeterKind::Tokens { .. }) {
                limit + 3
            } else {
                limit
            };
            Simulation::run(scenario(kind, limit, nodes, *seed)).most > limit
        })
    })
}

fn found(mutant: Mutant, kind: MeterKind, nodes: usize) {
    let seed = hunt(mutant, kind, nodes, 2_000);
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

macro_rules! mutant {
    ($name:ident, $mutant:ident, $kind:expr, $nodes:expr) => {
        #[test]
        fn $name() {
            found(Mutant::$mutant, $kind, $nodes);
        }
    };
}

mutant!(finds_the_window_of_receipt, WindowOfReceipt, REQUESTS, 2);
mutant!(finds_the_absolute_expiry, AbsoluteExpiry, REQUESTS, 2);
mutant!(finds_life_counted_from_receipt, LifeFromReceipt, REQUESTS, 2);
mutant!(finds_settlements_that_add_up, SettleByIncrement, REQUESTS, 2);
mutant!(finds_stored_times_that_are_trusted, TrustStored, REQUESTS, 2);
mutant!(finds_delivery_that_is_not_charged, NoDelivery, REQUESTS, 2);
mutant!(finds_a_lapse_that_is_free, LapseIsFree, REQUESTS, 2);
mutant!(finds_a_grant_before_its_append, GrantBeforeAppend, REQUESTS, 2);
mutant!(
    finds_a_presumption_that_an_open_report_replaces,
    OpenReplacesPresumption,
    REQUESTS,
    2
);
mutant!(finds_a_lease_that_is_checked_too_early, NoCheckAtSend, REQUESTS, 2);
mutant!(finds_a_restart_that_reuses_grants, RestartReuses, REQUESTS, 2);
mutant!(finds_grants_bound_to_a_node_id, GrantsOfANodeId, REQUESTS, 2);
mutant!(finds_a_share_that_moves_at_once, ShareMovesAtOnce, PACED, 2);
mutant!(finds_a_pace_without_slack, PaceWithoutSlack, PACED, 2);
