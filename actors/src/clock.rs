//! The one source of time. [`Mono`] (CLOCK_BOOTTIME) measures lives and windows: it goes on in suspend and is never set.
//! [`WallMs`] dates what is stored or shown. `tokio::time` is only for sleeping, never for deciding.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds on CLOCK_BOOTTIME. Comparable within one boot of one machine only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// This instant plus milliseconds.
    pub const fn plus_ms(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Milliseconds from `earlier` to here; zero if `earlier` is later.
    pub const fn ms_since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }

    /// Microseconds from `earlier` to here; zero if `earlier` is later.
    pub const fn us_since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since the Unix epoch, as this machine believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallMs(pub u64);

/// A handle on time: the machine's, or a test's own.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<ManualClock>),
}

/// A clock that moves only when a test says so.
#[derive(Debug, Default)]
pub struct ManualClock {
    mono_us: AtomicU64,
    wall_ms: AtomicU64,
}

impl ManualClock {
    /// Moves both clocks forward.
    pub fn advance_ms(&self, ms: u64) {
        self.mono_us.fetch_add(ms * 1000, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_wall(&self, wall: WallMs) {
        self.wall_ms.store(wall.0, Ordering::SeqCst);
    }
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock for tests, at `wall` and one hour after boot.
    pub fn manual(wall: WallMs) -> (Clock, Arc<ManualClock>) {
        let manual = Arc::new(ManualClock {
            mono_us: AtomicU64::new(3_600_000_000),
            wall_ms: AtomicU64::new(wall.0),
        });
        (Clock(Source::Manual(manual.clone())), manual)
    }

    /// Now, for lives and windows.
    pub fn now(&self) -> Mono {
        match &self.0 {
            Source::System => {
                let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Mono(t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1000)
            }
            Source::Manual(manual) => Mono(manual.mono_us.load(Ordering::SeqCst)),
        }
    }

    /// How long until [`Clock::now`] is a whole multiple of this period; never nothing. What looks around every so often
    /// sleeps for so long: everything wakes at the same moment then, and the process rests in between, which takes two fifths off
    /// what a node costs that has nothing to do (`benches/README.md`).
    pub fn until_next(&self, period: Duration) -> Duration {
        let period_us = (period.as_micros() as u64).max(1);
        Duration::from_micros(period_us - self.now().0 % period_us)
    }

    /// Now, for dates.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn wall(&self) -> WallMs {
        match &self.0 {
            Source::System => {
                // Through libc, where a test can put a wrong clock before it.
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                WallMs(since_epoch.as_millis() as u64)
            }
            Source::Manual(manual) => WallMs(manual.wall_ms.load(Ordering::SeqCst)),
        }
    }
}
