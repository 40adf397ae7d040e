//! How each kind of meter counts, and the clock readings that owners decide on.

use grok2api_schemas::meter::{Meter, MeterKind};

use super::mutants::{Mutant, active};
use crate::clock::{Clock, Mono, WallMs};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// The shortest and longest pause before an owner that had nothing is asked again, milliseconds.
pub const RETRY_MS: std::ops::RangeInclusive<u64> = 20..=100;
/// Windows longer than this are dear to lose: of their limit, a holder keeps at most a twentieth in hand.
const LONG_WINDOW_MS: u64 = 600_000;

/// What a unit of a meter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Each unit is one call, spent when it is sent.
    Units,
    /// Units are a rate: so many sends in any window on the holder's own clock.
    Share,
    /// Units are reserved per call and settled by its cost.
    Amount,
    /// Units are calls in flight.
    Slots,
}

/// A meter's kind with the node's settings: everything that a decision needs besides state and `now`.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What a unit is.
    pub class: Class,
    /// Counted by the day of the reset time zone instead of a window.
    pub daily: bool,
    /// The window T, milliseconds; 0 for slots and for days.
    pub window_ms: u64,
    /// D: how late the upstream may count a send, milliseconds.
    pub slack_ms: u64,
    /// Life of a grant, milliseconds.
    pub life_ms: u64,
    /// Minutes that the reset time zone is ahead of UTC.
    pub day_offset_minutes: i32,
}

impl Rules {
    /// The rules of a meter under these settings.
    pub fn of(meter: &Meter, options: &super::LedgerOptions) -> Rules {
        let (class, daily, window_ms) = match meter.kind {
            MeterKind::Requests { window_ms } => (Class::Units, false, window_ms),
            MeterKind::Paced { window_ms } => (Class::Share, false, window_ms),
            MeterKind::Tokens { window_ms } | MeterKind::Usd { window_ms } => (Class::Amount, false, window_ms),
            MeterKind::UsdPerDay => (Class::Amount, true, 0),
            MeterKind::Concurrency => (Class::Slots, false, 0),
            MeterKind::PerDay(_) => (Class::Units, true, 0),
        };
        Rules {
            class,
            daily,
            window_ms,
            slack_ms: options.delivery_slack_ms,
            life_ms: options.grant_life_ms,
            day_offset_minutes: options.day_offset_minutes,
        }
    }

    /// Until when the upstream's window may see something that was sent no later than `sent`.
    pub fn seen_until(&self, sent: Mono) -> Mono {
        let slack = if active(Mutant::NoDelivery) { 0 } else { self.slack_ms };
        if active(Mutant::WindowOfReceipt) && self.class == Class::Units && self.window_ms > 0 {
            let window_us = self.window_ms * 1000;
            return Mono((sent.0 / window_us + 1) * window_us);
        }
        sent.plus_ms(self.window_ms + slack)
    }

    /// Whether a grant of this meter ends with its life (slots end with their session).
    pub fn mortal(&self) -> bool {
        self.class != Class::Slots
    }

    /// The day that `wall` belongs to in the reset time zone.
    pub fn day_of(&self, wall: WallMs) -> u32 {
        (self.shifted(wall) / DAY_MS) as u32
    }

    /// Milliseconds from `wall` to the end of `day`; zero if it is over.
    pub fn ms_to_end_of(&self, day: u32, wall: WallMs) -> u64 {
        ((u64::from(day) + 1) * DAY_MS).saturating_sub(self.shifted(wall))
    }

    fn shifted(&self, wall: WallMs) -> u64 {
        wall.0
            .saturating_add_signed(i64::from(self.day_offset_minutes) * 60_000)
    }

    /// Whether what lapses is lost for longer than an operator can wait: a day, or more than 10 minutes.
    pub fn is_long(&self) -> bool {
        self.daily || self.window_ms > LONG_WINDOW_MS
    }

    /// The pause before an owner that had nothing and knows of no release is asked again, milliseconds.
    pub fn retry_ms(&self) -> u64 {
        match self.class {
            // They come free at any time, and mostly on the node that has them.
            Class::Slots => *RETRY_MS.end(),
            _ => (self.window_ms / 200).clamp(*RETRY_MS.start(), *RETRY_MS.end()),
        }
    }

    /// What each of so many holders would get if all wanted it.
    pub fn fair_part(&self, limit: u64, nodes: usize) -> u64 {
        (limit / nodes.max(1) as u64).max(1)
    }

    /// The most that one holder should keep in hand without anybody waiting, of a meter with `free` units under `limit`.
    pub fn hoard(&self, free: u64, limit: u64, nodes: usize) -> u64 {
        let fair = (free / (2 * nodes.max(1) as u64)).max(1);
        if self.is_long() {
            fair.min((limit / 20).max(1))
        } else {
            fair
        }
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For lives and windows.
    pub mono: Mono,
    /// For what is stored.
    pub wall: WallMs,
}

impl Moment {
    /// Now.
    pub fn now(clock: &Clock) -> Moment {
        Moment {
            mono: clock.now(),
            wall: clock.wall(),
        }
    }

    /// The wall time at which this clock will read `at`, rounded up to a millisecond.
    pub fn wall_at(&self, at: Mono) -> u64 {
        let ahead_us = at.0 as i64 - self.mono.0 as i64;
        let ahead_ms = ahead_us.div_euclid(1000) + i64::from(ahead_us.rem_euclid(1000) > 0);
        self.wall.0.saturating_add_signed(ahead_ms)
    }
}

/// Turns stored wall times into this process's own clock.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    /// Both clocks, read together.
    pub moment: Moment,
    /// Added to what another session wrote: how far its clock may have been ahead of ours (ε).
    pub skew_ms: u64,
}

impl Anchor {
    /// For entries that this session writes at `moment`.
    pub fn own(moment: Moment) -> Anchor {
        Anchor { moment, skew_ms: 0 }
    }

    /// For entries of other sessions, replayed at `moment`.
    pub fn foreign(moment: Moment, skew_ms: u64) -> Anchor {
        let skew_ms = if active(Mutant::TrustStored) { 0 } else { skew_ms };
        Anchor { moment, skew_ms }
    }

    /// When a stored wall time is reached at the latest.
    pub fn mono(&self, wall_ms: u64) -> Mono {
        let ahead_ms = wall_ms as i64 + self.skew_ms as i64 - self.moment.wall.0 as i64;
        Mono(self.moment.mono.0.saturating_add_signed(ahead_ms.saturating_mul(1000)))
    }
}
