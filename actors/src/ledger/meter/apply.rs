//! Changes of a meter: the same in the same order give the same state, live and in replay.

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Change, GrantId, Report};

use super::{Grant, OwnerMeter};
use crate::clock::Mono;
use crate::ledger::mutants::{Mutant, active};
use crate::ledger::rules::{Anchor, Class};

/// Merges two reports: the maximum of each count.
pub fn merge(a: Report, b: Report) -> Report {
    Report {
        sent: a.sent.max(b.sent),
        done: a.done.max(b.done),
        cost: a.cost.max(b.cost),
        returned: a.returned.max(b.returned),
        closed: a.closed || b.closed,
    }
}

impl OwnerMeter {
    /// Makes a change. The same changes in the same order give the same state, live and in replay.
    pub fn apply(&mut self, change: &Change, anchor: &Anchor) {
        match *change {
            Change::Limit { configured, learned } => {
                self.configured = configured;
                self.learned = learned;
            }
            Change::Granted {
                grant,
                holder,
                units,
                life_ends_ms,
                day,
                ask,
            } => {
                let fresh = Grant {
                    holder,
                    units,
                    life_end: life_ends_ms.map(|ms| anchor.mono(ms)),
                    day,
                    ask,
                    report: Report::default(),
                    held: units,
                    flight: 0,
                    presumed: 0,
                    presumed_until: Mono(0),
                    lapsed: false,
                };
                if self.rules.class == Class::Share {
                    self.give_back_former_shares(holder, fresh.held);
                }
                self.grants.insert(grant, fresh);
            }
            Change::Forgone { grant } => {
                if let Some(grant) = self.grants.get_mut(&grant) {
                    grant.held = 0;
                    grant.report.closed = true;
                }
            }
            Change::Renewed { grant, life_ends_ms } => {
                if let Some(grant) = self.grants.get_mut(&grant) {
                    grant.life_end = Some(anchor.mono(life_ends_ms));
                }
            }
            Change::Settled {
                grant,
                report,
                until_ms,
            } => self.apply_report(grant, report, anchor.mono(until_ms)),
            Change::Lapsed { grant, until_ms } => self.apply_lapse(grant, anchor.mono(until_ms)),
            Change::Abandoned { grant, until_ms } => self.apply_abandonment(grant, anchor.mono(until_ms)),
            Change::Foreign { units, until_ms } => self.charges.add(anchor.mono(until_ms), units),
            Change::Rebased { charged, until_ms } => {
                self.charges.clear_window();
                for grant in self.grants.values_mut() {
                    grant.presumed = 0;
                }
                self.refuse_until = Mono(0);
                self.charges.add(anchor.mono(until_ms), charged);
            }
            Change::Stranger { units, day, until_ms } => {
                let until = anchor.mono(until_ms);
                self.charge(day, until, units);
                self.refuse_until = self.refuse_until.max(until);
            }
        }
    }

    fn give_back_former_shares(&mut self, holder: SessionId, mut units: u64) {
        let own = self.grants.values_mut().filter(|grant| grant.holder == holder);
        for grant in own {
            let taken = units.min(grant.presumed);
            self.charges.take_back(grant.presumed_until, taken);
            grant.presumed -= taken;
            units -= taken;
        }
    }

    fn apply_report(&mut self, id: GrantId, report: Report, until: Mono) {
        let class = self.rules.class;
        let Some(mut grant) = self.grants.remove(&id) else {
            return;
        };
        let before = grant.report;
        let merged = if active(Mutant::SettleByIncrement) {
            add_up(before, report)
        } else {
            merge(before, report)
        };
        grant.report = merged;
        let newly_returned = merged.returned - before.returned;
        match class {
            Class::Slots => {
                grant.held -= newly_returned.min(grant.held);
                if merged.closed {
                    grant.held = 0;
                }
            }
            Class::Share => {
                let released = if merged.closed {
                    grant.held
                } else {
                    newly_returned.min(grant.held)
                };
                grant.held -= released;
                self.presume(&mut grant, until, released);
            }
            Class::Units | Class::Amount => {
                let newly_sent = merged.sent - before.sent;
                let from_hand = newly_sent.min(grant.held);
                grant.held -= from_hand;
                self.unpresume(&mut grant, newly_sent - from_hand);
                grant.flight += newly_sent;
                let newly_done = merged.done - before.done;
                let landed = newly_done.min(grant.flight);
                grant.flight -= landed;
                self.unpresume(&mut grant, newly_done - landed);
                self.charge(grant.day, until, merged.cost - before.cost);
                if !grant.lapsed {
                    grant.held -= newly_returned.min(grant.held);
                }
                if merged.closed || active(Mutant::OpenReplacesPresumption) {
                    let presumed = grant.presumed;
                    self.unpresume(&mut grant, presumed);
                }
                if merged.closed {
                    grant.held = 0;
                    grant.flight = 0;
                }
            }
        }
        self.grants.insert(id, grant);
    }

    fn apply_lapse(&mut self, id: GrantId, until: Mono) {
        let Some(mut grant) = self.grants.remove(&id) else {
            return;
        };
        grant.lapsed = true;
        let held = std::mem::take(&mut grant.held);
        if !active(Mutant::LapseIsFree) && self.rules.class != Class::Slots {
            self.presume(&mut grant, until, held);
        }
        self.grants.insert(id, grant);
    }

    fn apply_abandonment(&mut self, id: GrantId, until: Mono) {
        let Some(mut grant) = self.grants.remove(&id) else {
            return;
        };
        if self.rules.class == Class::Slots {
            grant.held = 0;
            grant.lapsed = true;
        }
        let flight = std::mem::take(&mut grant.flight);
        self.presume(&mut grant, until, flight);
        self.grants.insert(id, grant);
    }

    /// Every other session is known to be dead since `moment` at the latest: its grants end here, and nothing of theirs
    /// is seen later than a window from now, whatever their clocks said.
    pub fn bury_all_but(&mut self, survivor: SessionId, latest: Mono) {
        let ids: Vec<GrantId> = self.grants.keys().copied().collect();
        for id in ids {
            let dead = self.grants.get(&id).is_some_and(|grant| grant.holder != survivor);
            if dead {
                self.apply_abandonment(id, latest);
                self.apply_lapse(id, latest);
            }
        }
        self.charges.cap(latest);
        for grant in self.grants.values_mut() {
            grant.presumed_until = grant.presumed_until.min(latest);
        }
    }

    fn charge(&mut self, day: Option<u32>, until: Mono, units: u64) {
        self.charged_ever = self.charged_ever.saturating_add(units);
        match day {
            Some(day) => self.charges.add_day(day, units),
            None => self.charges.add(until, units),
        }
    }

    fn presume(&mut self, grant: &mut Grant, until: Mono, units: u64) {
        if units == 0 || (active(Mutant::ShareMovesAtOnce) && self.rules.class == Class::Share) {
            return;
        }
        let before = grant.presumed;
        self.unpresume(grant, before);
        grant.presumed = before + units;
        grant.presumed_until = grant.presumed_until.max(until);
        self.charge(grant.day, grant.presumed_until, grant.presumed);
    }

    fn unpresume(&mut self, grant: &mut Grant, units: u64) {
        let units = units.min(grant.presumed);
        grant.presumed -= units;
        match grant.day {
            Some(day) => self.charges.take_back_day(day, units),
            None => {
                self.charges.take_back(grant.presumed_until, units);
            }
        }
    }
}

/// The plain reading of a settlement, for the mutant.
fn add_up(a: Report, b: Report) -> Report {
    Report {
        sent: a.sent + b.sent,
        done: a.done + b.done,
        cost: a.cost + b.cost,
        returned: a.returned + b.returned,
        closed: a.closed || b.closed,
    }
}
