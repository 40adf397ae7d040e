//! Choosing a token, and taking the right to call with it, among 100,000 tokens in 20,000 teams.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench is a test: what fails must stop it"
)]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use grok2api_actors::ledger::{Actual, Want};
use grok2api_actors::token::{Pick, Tried, Wish};
use grok2api_schemas::token::LearnedLimits;

use support::{MODEL, Stand};

fn wants(pick: &Pick) -> Vec<Want> {
    let meters = pick.at.meters();
    let of = |used: &grok2api_actors::token::MeterUse| Want {
        meter: used.meter.clone(),
        units: 1,
    };
    meters.iter().map(of).collect()
}

fn choice(c: &mut Criterion) {
    for (tokens, teams) in [(100, 20), (100_000, 20_000)] {
        let stand = Stand::new(tokens, teams);
        let model = stand.pool.model(MODEL).unwrap();
        let tried = Tried::default();
        let wish = Wish {
            model,
            conversation: None,
            pin: None,
            any_team: false,
            tried: &tried,
        };
        let choose = || stand.pool.choose(&wish, stand.clock.now(), stand.clock.wall()).unwrap();
        let mut group = c.benchmark_group(format!("{tokens} tokens"));
        group.bench_function("choose", |b| b.iter(choose));
        // Every team's grant is asked for once, so that what is measured is the warm path.
        let deadline = Duration::from_secs(5);
        let warm: Vec<Pick> = (0..512).map(|_| choose()).collect();
        for pick in &warm {
            let lease = stand.runtime.block_on(stand.ledger.take(&wants(pick), deadline));
            drop(lease.unwrap_or_else(|shortage| panic!("{}", shortage.meter)));
        }
        let mut at = 0;
        group.bench_function("lease", |b| {
            b.iter_batched(
                || {
                    at = (at + 1) % warm.len();
                    wants(&warm[at])
                },
                |wants| stand.ledger.try_take(&wants),
                BatchSize::SmallInput,
            )
        });
        let _under_way = in_use(&stand, tokens);
        group.bench_function("choose, all in use", |b| b.iter(choose));
        group.finish();
    }
}

/// Some of every team's quota is used and every token has a call under way, so that nothing drawn is as good as can be.
fn in_use(stand: &Stand, tokens: usize) -> Vec<Pick> {
    let tried = Tried::default();
    let model = stand.pool.model(MODEL).unwrap();
    let wish = Wish {
        model,
        conversation: None,
        pin: None,
        any_team: false,
        tried: &tried,
    };
    let mut teams = HashSet::new();
    let mut under_way = Vec::new();
    // Drawn so often, hardly a token is left out.
    for _ in 0..tokens * 8 {
        let pick = stand.pool.choose(&wish, stand.clock.now(), stand.clock.wall()).unwrap();
        if teams.insert(pick.team.id.clone()) {
            let told = LearnedLimits {
                rpm: Some(600),
                ..LearnedLimits::default()
            };
            {
                // What is learnt is saved by an actor.
                let _inside = stand.runtime.enter();
                stand.pool.learn(&pick.team, &pick.at, told);
            }
            let wants = wants(&pick);
            let lease = stand
                .runtime
                .block_on(stand.ledger.take(&wants, Duration::from_secs(5)));
            let mut lease = lease.unwrap_or_else(|shortage| panic!("{}", shortage.meter));
            assert!(lease.confirm_send().is_ok());
            lease.settle(Actual::default());
            assert!(pick.at.headroom() < 1_000);
        }
        if pick.token.in_flight() == 1 {
            under_way.push(pick);
        }
    }
    under_way
}

criterion_group!(benches, choice);
criterion_main!(benches);
