//! What a call does to its meters: take, confirm, settle, with one meter and with six.

#![expect(clippy::panic, reason = "a bench is a test: what fails must stop it")]

mod support;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use grok2api_actors::ledger::{Actual, Want};
use grok2api_schemas::meter::{DayBucket, Domain, Meter, MeterKind};

use support::Stand;

fn ledger(c: &mut Criterion) {
    let stand = Stand::new(1, 1);
    let meter = |name: &str, kind: MeterKind, limit: Option<u64>| {
        let domain = Domain::ClientKey(name.to_owned());
        stand.ledger.meter(&Meter { domain, kind }, limit)
    };
    let one = |name: &str, kind: MeterKind, limit: Option<u64>, units: u64| Want {
        meter: meter(name, kind, limit),
        units,
    };
    const PLENTY: Option<u64> = Some(1_000_000_000_000);
    let minute = MeterKind::Requests { window_ms: 60_000 };
    let sets = [
        ("1 meter", vec![one("a", minute, None, 1)]),
        (
            "6 meters",
            vec![
                one("b", minute, PLENTY, 1),
                one("b", MeterKind::Tokens { window_ms: 60_000 }, PLENTY, 100),
                one("b", MeterKind::Concurrency, PLENTY, 1),
                one("b", MeterKind::UsdPerDay, None, 1_000),
                one("b", MeterKind::PerDay(DayBucket::Chat), None, 1),
                one("c", minute, None, 1),
            ],
        ),
    ];
    let mut group = c.benchmark_group("ledger");
    for (name, wants) in &sets {
        let take = || match stand.ledger.try_take(wants) {
            Ok(lease) => lease,
            Err(_) => stand
                .runtime
                .block_on(stand.ledger.take(wants, Duration::from_secs(5)))
                .unwrap_or_else(|shortage| panic!("{}", shortage.meter)),
        };
        drop(take());
        group.bench_function(format!("take and give back, {name}"), |b| b.iter(take));
        group.bench_function(format!("take, confirm, settle, {name}"), |b| {
            b.iter(|| {
                let mut lease = take();
                assert!(lease.confirm_send().is_ok());
                lease.settle(Actual {
                    tokens: Some(70),
                    usd_ticks: Some(700),
                });
            })
        });
    }
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
