//! A node's ledger in virtual time: tokio's paused clock moves our manual one along, and everything runs on one thread.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::meter::{Domain, Meter, MeterKind};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::memory_bus::MemoryBus;
use crate::clock::{Clock, ManualClock, Mono, WallMs};
use crate::ledger::{HeldMeter, Ledger, LedgerOptions, Want};

/// Noon of a day, so that midnight is far.
pub const NOON: WallMs = WallMs(1_700_000_000_000 / 86_400_000 * 86_400_000 + 4 * 3_600_000);

/// Time, and the bus that outlives nodes.
pub struct World {
    pub clock: Clock,
    pub manual: Arc<ManualClock>,
    pub bus: Arc<MemoryBus>,
    pub tracker: TaskTracker,
}

/// Runs a test in virtual time.
pub fn in_virtual_time<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    actix::System::with_tokio_rt(runtime).block_on(async {
        let (clock, manual) = Clock::manual(NOON);
        let hand = manual.clone();
        let start = tokio::time::Instant::now();
        actix_rt::spawn(async move {
            let mut passed = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let now = start.elapsed().as_millis() as u64;
                hand.advance_ms(now - passed);
                passed = now;
            }
        });
        test(World {
            clock,
            manual,
            bus: MemoryBus::new(),
            tracker: TaskTracker::new(),
        })
        .await;
    });
}

impl World {
    pub fn options(&self) -> LedgerOptions {
        LedgerOptions::alone(SessionId::generate())
    }

    /// Lets hours pass at once; timers notice within a second.
    pub async fn leap(&self, ms: u64) {
        self.manual.advance_ms(ms);
        pass(1_000).await;
    }

    pub async fn start(&self) -> Ledger {
        self.start_with(self.options()).await
    }

    pub async fn start_with(&self, options: LedgerOptions) -> Ledger {
        let arbiters = [actix_rt::Arbiter::current()];
        Ledger::start(
            self.bus.clone(),
            self.clock.clone(),
            self.tracker.clone(),
            &arbiters,
            options,
        )
        .await
        .unwrap()
    }
}

pub fn meter(team: &str, kind: MeterKind) -> Meter {
    Meter {
        domain: Domain::TeamModel {
            provider: "xai".into(),
            team: team.into(),
            model: "grok-4".into(),
        },
        kind,
    }
}

pub const RPM: MeterKind = MeterKind::Requests { window_ms: 60_000 };

/// A meter of a client key.
pub fn key_meter(kind: MeterKind) -> Meter {
    Meter {
        domain: Domain::ClientKey("key_1".into()),
        kind,
    }
}

pub async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub fn one(meter: &Arc<HeldMeter>) -> Want {
    Want {
        meter: meter.clone(),
        units: 1,
    }
}

/// What arrived at the upstream, and when.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<(u64, u64)>>>);

impl Arrivals {
    pub fn note(&self, at: Mono, units: u64) {
        self.0.lock().push((at.0, units));
    }

    pub fn total(&self) -> u64 {
        self.0.lock().iter().map(|(_, units)| units).sum()
    }

    /// The most that arrived in any window of this length.
    pub fn most_in(&self, window_ms: u64) -> u64 {
        let mut all = self.0.lock().clone();
        all.sort_unstable();
        let (mut most, mut sum, mut first) = (0, 0, 0);
        for (at, units) in &all {
            sum += units;
            while all[first].0 + window_ms * 1000 <= *at {
                sum -= all[first].1;
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }

    /// Arrivals between two instants.
    pub fn between(&self, from: Mono, to: Mono) -> u64 {
        let all = self.0.lock();
        let inside = all.iter().filter(|(at, _)| (from.0..to.0).contains(at));
        inside.map(|(_, units)| units).sum()
    }
}
