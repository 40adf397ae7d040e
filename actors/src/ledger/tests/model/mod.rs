//! A model check of ownership, grants and settlement over the code that runs in production: three nodes, two quota domains
//! in one journal. From every state every step is taken that can happen there: a message arrives, is lost, arrives and
//! arrives again later, or after another; an append is stored and its answer lost; a process dies and begins anew; another
//! node takes the shard over while the old owner goes on; a lease is sent at once or late; time passes. All states up to
//! the frontier's size are visited breadth first, the rest by seeded walks on from there. States are told apart by a hash
//! of everything that decides what happens next, time included.
//!
//! Checked in every state: no more arrivals in any window of T than the limit, a grant is made once and closed once; at the
//! end of every walk: when faults end, every domain is served again, and nothing stays outstanding.
//!
//! The short form runs with the other tests. The long form, a million states and more:
//! `cargo test -p grok2api-actors --lib -- --ignored --nocapture nothing_is_overspent_in_a_million` (figures: `benches/README.md`).

mod explore;
mod world;

use self::explore::{Budget, Explored, explore};
use crate::ledger::mutants::{self, Mutant};

/// For the suite.
const SHORT: Budget = Budget {
    frontier: 3_000,
    states: 40_000,
    walks: u64::MAX,
    steps: 60,
};
/// For the long form.
const LONG: Budget = Budget {
    frontier: 60_000,
    states: 1_200_000,
    walks: u64::MAX,
    steps: 70,
};
/// What a mutant may take to be found.
const MUTANT: Budget = Budget {
    frontier: 0,
    states: usize::MAX,
    walks: 30_000,
    steps: 90,
};

fn check(budget: Budget, seed: u64) -> Explored {
    let explored = explore(budget, seed);
    println!("{explored:?}");
    assert_eq!(explored.violation, None);
    assert!(explored.states >= budget.states, "only {} states", explored.states);
    assert!(
        explored.sent > explored.walks / 2,
        "the model hardly sends: {}",
        explored.sent
    );
    explored
}

#[test]
fn nothing_is_overspent_whatever_happens() {
    check(SHORT, 1);
}

#[test]
#[ignore = "a million states: see the command above"]
fn nothing_is_overspent_in_a_million_states() {
    let explored = check(LONG, 2);
    assert!(explored.states >= 1_000_000);
}

/// The protocol with one of its parts switched off overspends.
fn finds(mutant: Mutant) {
    let explored = mutants::with(Some(mutant), || explore(MUTANT, 3));
    println!("{mutant:?}: {explored:?}");
    assert!(
        explored
            .violation
            .as_ref()
            .is_some_and(|found| found.contains("overspent")),
        "{mutant:?} was not found in {} walks",
        explored.walks
    );
}

#[test]
fn finds_that_compare_and_set_is_off() {
    finds(Mutant::NoCompareAndSet);
}

#[test]
fn finds_that_life_is_not_counted_from_sending() {
    finds(Mutant::LifeFromReceipt);
}

#[test]
fn finds_that_grants_outlive_their_session() {
    finds(Mutant::RestartReuses);
}

#[test]
fn finds_that_settlements_are_not_absolute() {
    finds(Mutant::SettleByIncrement);
}

#[test]
fn finds_that_charges_reset_at_a_boundary() {
    finds(Mutant::WindowOfReceipt);
}

#[test]
fn finds_that_skew_is_not_allowed_for_at_takeover() {
    finds(Mutant::TrustStored);
}

#[test]
fn finds_that_delivery_is_not_allowed_for() {
    finds(Mutant::NoDelivery);
}
