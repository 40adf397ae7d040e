//! Shares of a rate: so many sends in any T + D on the holder's own clock.

use super::grant::usable;
use super::{Held, Lack};
use crate::clock::Mono;
use crate::ledger::mutants::{Mutant, active};

/// Stamps of sends that are kept where no limit bounds them.
const STAMPS_KEPT: usize = 16_384;

impl Held {
    /// T + D on this clock.
    fn pace_ms(&self) -> u64 {
        if active(Mutant::PaceWithoutSlack) {
            self.rules.window_ms
        } else {
            self.rules.window_ms + self.rules.slack_ms
        }
    }

    pub(super) fn share(&self, now: Mono) -> u64 {
        let alive = self.grants.iter().filter(|grant| !grant.retired && usable(grant, now));
        alive
            .map(|grant| grant.units.saturating_sub(grant.report.returned))
            .sum()
    }

    pub(super) fn forget_stamps(&mut self, now: Mono) {
        let pace_ms = self.pace_ms();
        while let Some((at, units)) = self.stamps.front().copied()
            && (at.plus_ms(pace_ms) <= now || (self.limit.is_none() && self.stamps.len() > STAMPS_KEPT))
        {
            self.stamps.pop_front();
            self.stamped -= units;
        }
    }

    pub(super) fn reserve_pace(&mut self, now: Mono, units: u64) -> Result<(), Lack> {
        self.forget_stamps(now);
        if self.limit.is_none() {
            // Nothing to share: the sends of the last window are remembered, and bind as soon as there is a limit.
            self.pace_taken += units;
            return Ok(());
        }
        let share = self.share(now);
        if self.stamped + self.pace_taken + units <= share {
            self.pace_taken += units;
            return Ok(());
        }
        if share < units {
            return Err(self.lack(now, units));
        }
        let pace_ms = self.pace_ms();
        let next = self
            .stamps
            .front()
            .map(|(at, _)| at.plus_ms(pace_ms).us_since(now).div_ceil(1000));
        Err(Lack::Dry(next))
    }
}
