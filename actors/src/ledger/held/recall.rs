//! Giving back for another holder that starves.

use super::Held;
use super::grant::{HeldGrant, usable};
use crate::clock::Mono;
use crate::ledger::rules::Class;

/// A holder that nobody asked for so long gives back all it has when it is recalled, milliseconds.
const RECALL_IDLE_MS: u64 = 500;
/// Demand that a holder keeps in hand when it is recalled, milliseconds.
const RECALL_KEEPS_MS: u64 = 1_000;
/// After a recall nothing is asked for ahead of demand for so long, milliseconds.
const RECALL_REST_MS: u64 = 2_000;
/// After something was given back, and is where it should go, a recall says nothing new for so long, milliseconds.
const RECALL_AGAIN_MS: u64 = 1_000;
/// What is in use when it is recalled goes back if it comes free within so long, milliseconds: after that the other will
/// have said again that it starves, or does not any more.
const OWED_FOR_MS: u64 = 2_500;

impl Held {
    /// Another holder starves: what is not needed at once goes back. A share gives up what is idle, or else half. What is in
    /// use, a slot or a share that cannot be parted, goes back once it is not. Comes twice, by message and with an answer:
    /// the second time changes nothing.
    pub fn recall(&mut self, now: Mono) {
        let moves_ms = match self.rules.class {
            Class::Share => self.rules.window_ms + self.rules.slack_ms,
            _ => 0,
        };
        let again_ms = RECALL_AGAIN_MS + moves_ms;
        let has_given = self.recalled_at.is_some_and(|at| now.ms_since(at) < again_ms);
        // The only one that there is to give is another one than last time.
        if has_given && self.turns_over(now) != 1 {
            return;
        }
        let busy = self.queued > 0 || !self.demand.is_idle(now, RECALL_IDLE_MS);
        if self.rules.class == Class::Share {
            let keep = if busy { self.share(now).div_ceil(2) } else { 0 };
            let excess = self.share(now).saturating_sub(keep);
            self.give_back_share(now, excess);
            if excess == 0 {
                self.owe(now);
            }
            return;
        }
        let soon = (self.demand.per_second() * RECALL_KEEPS_MS as f64 / 1000.0).ceil() as u64;
        let keep = if busy { soon.max(self.queued) } else { 0 };
        let excess = self.stock(now).saturating_sub(keep);
        self.give_back_stock(now, excess);
        if excess == 0 {
            self.owe(now);
        }
        // What was given up for another is not asked for again at the next turn.
        self.ahead_after = now.plus_ms(RECALL_REST_MS);
    }

    /// Units that come free again and again: a share, or slots in use and not.
    fn turns_over(&self, now: Mono) -> u64 {
        match self.rules.class {
            Class::Share => self.share(now),
            Class::Slots => {
                let alive = self.grants.iter().filter(|grant| !grant.retired && usable(grant, now));
                alive
                    .map(|grant| grant.units.saturating_sub(grant.report.returned))
                    .sum()
            }
            Class::Units | Class::Amount => 0,
        }
    }

    /// Half of what is in use goes back as it comes free; of what is granted, and not here yet, one.
    fn owe(&mut self, now: Mono) {
        self.owed = match self.rules.class {
            Class::Units | Class::Amount => 0,
            Class::Share | Class::Slots if self.asked.is_some() => self.turns_over(now).div_ceil(2).max(1),
            Class::Share | Class::Slots => self.turns_over(now).div_ceil(2),
        };
        self.owed_until = now.plus_ms(OWED_FOR_MS);
        self.pay(now);
    }

    /// Gives back what is owed and not in use. Answers whether anything went back: the owner is to hear of it at once.
    pub fn pay(&mut self, now: Mono) -> bool {
        if self.owed == 0 {
            return false;
        }
        if now >= self.owed_until {
            self.owed = 0;
            return false;
        }
        let free = match self.rules.class {
            // What was sent of it keeps it from being used again for as long as it takes to move. What is taken and not
            // sent yet needs it.
            Class::Share => {
                self.forget_stamps(now);
                self.stamped.min(self.share(now).saturating_sub(self.pace_taken))
            }
            _ => self.stock(now),
        };
        let paid = free.min(self.owed);
        self.owed -= paid;
        match self.rules.class {
            Class::Share => self.give_back_share(now, paid),
            _ => self.give_back_stock(now, paid),
        }
        paid > 0
    }

    fn give_back_share(&mut self, now: Mono, mut units: u64) {
        self.gave_back(now, units);
        for grant in self.grants.iter_mut().filter(|grant| !grant.retired) {
            let back = units.min(grant.units.saturating_sub(grant.report.returned));
            grant.report.returned += back;
            units -= back;
        }
    }

    fn give_back_stock(&mut self, now: Mono, mut units: u64) {
        self.gave_back(now, units);
        for grant in self.grants.iter_mut().filter(|grant| usable(grant, now)) {
            let back = units.min(HeldGrant::stock(grant));
            grant.report.returned += back;
            units -= back;
        }
    }

    fn gave_back(&mut self, now: Mono, units: u64) {
        if units > 0 {
            self.recalled_at = Some(now);
            self.hastens = true;
        }
    }
}
