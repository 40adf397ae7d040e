//! One grant in a holder's hand.

use grok2api_schemas::ledger::{GrantId, Report};

use crate::clock::Mono;
use crate::ledger::mutants::{Mutant, active};
use crate::ledger::rules::Class;

/// A grant in hand.
#[derive(Clone, Debug)]
pub(super) struct HeldGrant {
    pub(super) key: u32,
    pub(super) id: GrantId,
    pub(super) units: u64,
    /// Not usable before: units of the next day.
    pub(super) starts: Mono,
    pub(super) life_end: Mono,
    pub(super) day: Option<u32>,
    /// Units of leases that are taken and not sent; for slots, of calls that are not over.
    pub(super) taken: u64,
    pub(super) report: Report,
    pub(super) told: Report,
    pub(super) told_at: Mono,
    pub(super) acknowledged: Report,
    /// Nothing is taken of it any more.
    pub(super) retired: bool,
}

impl HeldGrant {
    /// Units that can still be taken.
    pub(super) fn stock(&self) -> u64 {
        if self.retired {
            return 0;
        }
        self.units
            .saturating_sub(self.report.sent + self.taken + self.report.returned)
    }

    /// Units that no call has taken and whose return the owner has not acknowledged.
    pub(super) fn unused(&self) -> u64 {
        self.units
            .saturating_sub(self.report.sent + self.taken + self.acknowledged.returned)
    }

    /// Units of calls whose end is not known yet.
    pub(super) fn flight(&self) -> u64 {
        self.report.sent - self.report.done.min(self.report.sent)
    }
}

/// Whether calls may take of a grant: alive, and not so near its end that a call would run into it.
pub(super) fn usable(grant: &HeldGrant, now: Mono) -> bool {
    active(Mutant::NoCheckAtSend) || (grant.starts <= now && now < grant.life_end)
}

/// Gives back what is not taken; nothing more is taken.
pub(super) fn retire(grant: &mut HeldGrant, class: Class) {
    if !grant.retired {
        grant.report.returned += match class {
            Class::Share => grant.units.saturating_sub(grant.report.returned),
            _ => grant.stock(),
        };
        grant.retired = true;
    }
}

/// The same for a grant that was never usable.
pub(super) fn retire_anew(grant: &mut HeldGrant, class: Class) {
    grant.retired = false;
    retire(grant, class);
}
