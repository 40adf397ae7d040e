//! Choosing a token, and taking the right to call with it, among 100,000 tokens in 20,000 teams.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench is a test: what fails must stop it"
)]

mod support;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use grok2api_actors::ledger::Want;
use grok2api_actors::token::{Pick, Tried, Wish};

use support::{MODEL, Stand};

fn wants(pick: &Pick) -> Vec<Want> {
    let meters = pick.at.meters.load();
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
        let deadline = std::time::Duration::from_secs(5);
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
        group.finish();
    }
}

criterion_group!(benches, choice);
criterion_main!(benches);
