//! The holder's side of one meter: grants in hand, calls that took of them, what to tell the owner and what to ask of it.
//! Pure: `now` is an argument.

mod answer;
mod foreign;
mod grant;
mod limits;
mod pace;
mod recall;
mod turn;

use std::collections::{BTreeMap, VecDeque};

use grok2api_schemas::ledger::Standing;

use self::foreign::Foreign;
use self::grant::{HeldGrant, retire, usable};
pub use self::turn::{Asks, Outgoing};
use crate::clock::Mono;
use crate::ledger::demand::Demand;
use crate::ledger::mutants::{Mutant, active};
use crate::ledger::rules::{Class, Rules};

/// First calls in flight on a meter whose limit is not known, until the upstream has answered one.
pub const FIRST_CALLS: u64 = 8;
/// Why nothing could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Nothing in hand, and the owner has not said no.
    Cold,
    /// The owner has nothing either, or the pace is used up; units come back in about that many milliseconds, if known.
    Dry(Option<u64>),
    /// Can never be: the limit is 0, or smaller than what is asked.
    Zero,
}

/// An ask that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u64,
    at: Mono,
    urgent: bool,
    least: u64,
}

/// The holder's side of one meter.
#[derive(Clone, Debug)]
pub struct Held {
    /// How the meter counts.
    pub rules: Rules,
    /// The limit in force, as far as this node knows.
    pub limit: Option<u64>,
    configured: Option<u64>,
    learned: Option<u64>,
    grants: Vec<HeldGrant>,
    next_key: u32,
    asked: Option<Asked>,
    next_ask: u64,
    /// The owner had nothing: ask again then; and when it expects units back.
    dry_until: Mono,
    /// The owner had nothing to hoard: do not ask ahead before.
    ahead_after: Mono,
    release_at: Option<Mono>,
    heard_no: bool,
    /// The fewest units that were refused; a call that wants less is worth asking for.
    refused: u64,
    demand: Demand,
    /// Units that a failed take wanted since the last ask, and the fewest of use.
    missed: u64,
    missed_least: u64,
    /// What calls wait for: how many calls by units, and the sum.
    queue: BTreeMap<u64, u32>,
    queued: u64,
    /// Calls that took of this meter and are not settled.
    open: u64,
    /// The upstream has answered a call: the first-calls bound is over.
    answered: bool,
    /// Sends on this clock, for shares.
    stamps: VecDeque<(Mono, u64)>,
    stamped: u64,
    pace_taken: u64,
    used: u64,
    used_at: Mono,
    standing: Standing,
    /// When the owner said that, if it ever did.
    stood_at: Option<Mono>,
    /// When the day that is counted ends, for meters by the day.
    day_end: Option<Mono>,
    /// The ask under way is for the next day's units; and they are not asked for again before.
    asked_ahead: bool,
    next_day_after: Mono,
    /// What the upstream says is used, if it is more than is known here, and not told yet.
    seen: Option<u64>,
    foreign: Foreign,
    /// Units went back for another holder, when; and the owner is to hear of it at once.
    recalled_at: Option<Mono>,
    hastens: bool,
    /// Units that are in use and go back to the owner, not to the next call, as soon as they are not: how many, and until
    /// when another wants them.
    owed: u64,
    owed_until: Mono,
}

impl Held {
    /// A meter with nothing in hand.
    pub fn new(rules: Rules, configured: Option<u64>, now: Mono) -> Held {
        Held {
            rules,
            limit: configured,
            configured,
            learned: None,
            grants: Vec::new(),
            next_key: 1,
            asked: None,
            next_ask: 1,
            dry_until: Mono(0),
            ahead_after: Mono(0),
            release_at: None,
            heard_no: false,
            refused: 0,
            demand: Demand::new(now),
            missed: 0,
            missed_least: 0,
            queue: BTreeMap::new(),
            queued: 0,
            open: 0,
            answered: false,
            stamps: VecDeque::new(),
            stamped: 0,
            pace_taken: 0,
            used: 0,
            used_at: now,
            standing: Standing::default(),
            stood_at: None,
            day_end: None,
            asked_ahead: false,
            next_day_after: Mono(0),
            seen: None,
            foreign: Foreign::default(),
            recalled_at: None,
            hastens: false,
            owed: 0,
            owed_until: Mono(0),
        }
    }

    /// Takes units, or says why not. `first_calls` bounds calls in flight while the limit is unknown and unanswered;
    /// `again` marks a call that has been noted as missing these units before.
    pub fn reserve(&mut self, now: Mono, units: u64, first_calls: bool, again: bool) -> Result<u32, Lack> {
        self.demand.wanted();
        let lack = match self.limit {
            Some(limit) if limit == 0 || units > limit => return Err(Lack::Zero),
            None if first_calls && !self.answered && self.open >= FIRST_CALLS => return Err(Lack::Dry(None)),
            _ if self.rules.class == Class::Share => match self.reserve_pace(now, units) {
                Ok(()) => return Ok(self.took(now, 0, units)),
                Err(lack) => lack,
            },
            _ => match self
                .grants
                .iter_mut()
                .find(|grant| usable(grant, now) && grant.stock() >= units)
            {
                Some(grant) => {
                    grant.taken += units;
                    let key = grant.key;
                    return Ok(self.took(now, key, units));
                }
                None => self.lack(now, units),
            },
        };
        self.miss(if again { 0 } else { units }, units);
        Err(lack)
    }

    /// Notes that units will be wanted that are not in hand, because the call waits for another meter first. Answers
    /// whether the owner should be asked.
    pub fn foresee(&mut self, now: Mono, units: u64) -> bool {
        self.demand.wanted();
        let short = match self.limit {
            Some(limit) if limit == 0 || units > limit => false,
            _ if self.heard_no && units >= self.refused => false,
            limit if self.rules.class == Class::Share => limit.is_some() && self.share(now) == 0,
            _ => !self
                .grants
                .iter()
                .any(|grant| usable(grant, now) && grant.stock() >= units),
        };
        if short {
            self.miss(units, units);
        }
        short
    }

    /// A call waits for units.
    pub fn enqueue(&mut self, units: u64) {
        *self.queue.entry(units).or_default() += 1;
        self.queued = self.queued.saturating_add(units);
    }

    /// It waits no more.
    pub fn dequeue(&mut self, units: u64) {
        if let Some(calls) = self.queue.get_mut(&units) {
            *calls -= 1;
            if *calls == 0 {
                self.queue.remove(&units);
            }
            self.queued = self.queued.saturating_sub(units);
        }
    }

    /// The fewest units that a call waits for or has missed; 0 if none does.
    fn least(&self) -> u64 {
        match (self.queue.first_key_value(), self.missed_least) {
            (Some((queued, _)), 0) => *queued,
            (Some((queued, _)), missed) => missed.min(*queued),
            (None, missed) => missed,
        }
    }

    fn miss(&mut self, more: u64, units: u64) {
        self.missed = self.missed.saturating_add(more);
        self.missed_least = if self.missed_least == 0 {
            units
        } else {
            self.missed_least.min(units)
        };
    }

    fn took(&mut self, now: Mono, key: u32, units: u64) -> u32 {
        self.open += 1;
        self.demand.took(now, units);
        self.used = self.used.saturating_add(units);
        key
    }

    fn lack(&self, now: Mono, units: u64) -> Lack {
        if self.heard_no && units >= self.refused {
            let release = self.release_at.filter(|at| *at > now);
            Lack::Dry(release.map(|at| at.us_since(now).div_ceil(1000)))
        } else {
            Lack::Cold
        }
    }

    /// Gives back what was taken and not sent.
    pub fn unreserve(&mut self, key: u32, units: u64) {
        self.open = self.open.saturating_sub(1);
        self.used = self.used.saturating_sub(units);
        match self.grant_mut(key) {
            Some(grant) => grant.taken = grant.taken.saturating_sub(units),
            None => self.pace_taken = self.pace_taken.saturating_sub(units),
        }
    }

    /// Whether what was taken may still be sent.
    pub fn may_send(&mut self, now: Mono, key: u32, units: u64) -> bool {
        if active(Mutant::NoCheckAtSend) {
            return true;
        }
        if self.rules.class == Class::Share && key == 0 {
            self.forget_stamps(now);
            return match self.limit {
                Some(_) => self.stamped + units <= self.share(now),
                None => true,
            };
        }
        match self.grant_mut(key) {
            Some(grant) => now < grant.life_end,
            None => false,
        }
    }

    /// It is being sent; call after [`Held::may_send`].
    pub fn sent(&mut self, now: Mono, key: u32, units: u64) {
        if self.rules.class == Class::Share {
            self.stamps.push_back((now, units));
            self.stamped += units;
        }
        let class = self.rules.class;
        match self.grant_mut(key) {
            None => self.pace_taken = self.pace_taken.saturating_sub(units),
            Some(grant) => match class {
                Class::Slots => {}
                Class::Amount => {
                    grant.taken = grant.taken.saturating_sub(units);
                    grant.report.sent += units;
                }
                Class::Units | Class::Share => {
                    grant.taken = grant.taken.saturating_sub(units);
                    grant.report.sent += units;
                    grant.report.done += units;
                    grant.report.cost += units;
                }
            },
        }
    }

    /// The head was written later than D after it was checked: it counts once more.
    pub fn sent_late(&mut self, now: Mono, key: u32, units: u64) {
        match self.rules.class {
            Class::Share => {
                self.stamps.push_back((now, units));
                self.stamped += units;
            }
            Class::Units => {
                self.used = self.used.saturating_add(units);
                if let Some(grant) = self.grant_mut(key) {
                    // Out of what is in hand, if it is there; else beyond what was granted.
                    if grant.stock() >= units {
                        grant.report.sent += units;
                        grant.report.done += units;
                    }
                    grant.report.cost += units;
                }
            }
            Class::Amount | Class::Slots => {}
        }
    }

    /// A call that was sent is over. `actual` is its cost for amounts; `None` lets the reservation stand.
    pub fn over(&mut self, key: u32, units: u64, actual: Option<u64>) {
        self.open = self.open.saturating_sub(1);
        let class = self.rules.class;
        let cost = actual.unwrap_or(units);
        match class {
            Class::Amount => self.used = self.used.saturating_sub(units).saturating_add(cost),
            Class::Slots => self.used = self.used.saturating_sub(units),
            Class::Units | Class::Share => {}
        }
        let Some(grant) = self.grant_mut(key) else {
            return;
        };
        match class {
            Class::Amount => {
                grant.report.done += units;
                grant.report.cost += cost;
                self.pay_beyond(key, cost.saturating_sub(units));
            }
            Class::Slots => grant.taken = grant.taken.saturating_sub(units),
            Class::Units | Class::Share => {}
        }
    }

    /// What a call cost beyond its reservation comes out of what is in hand, the call's own grant first: else whatever was
    /// granted ahead would still be there to spend when the limit is passed already. Its cost is reported with the call, so
    /// these units are done with at no cost of their own.
    fn pay_beyond(&mut self, key: u32, mut units: u64) {
        if units == 0 {
            return;
        }
        let day = self
            .grants
            .iter()
            .find(|grant| grant.key == key)
            .and_then(|grant| grant.day);
        for own in [true, false] {
            let grants = self.grants.iter_mut().filter(|grant| (grant.key == key) == own);
            for grant in grants.filter(|grant| grant.day == day) {
                let paid = grant.stock().min(units);
                grant.report.sent += paid;
                grant.report.done += paid;
                units -= paid;
            }
        }
    }

    fn grant_mut(&mut self, key: u32) -> Option<&mut HeldGrant> {
        self.grants.iter_mut().find(|grant| grant.key == key)
    }

    /// The upstream has answered a call of this meter.
    pub fn answered(&mut self) {
        self.answered = true;
    }

    /// What decides what happens next, hashed; for tests.
    #[cfg(test)]
    pub fn fingerprint(&self, now: Mono, hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let report = |report: &grok2api_schemas::ledger::Report| {
            (report.sent, report.done, report.cost, report.returned, report.closed)
        };
        for grant in &self.grants {
            (
                grant.id,
                grant.units,
                grant.life_end,
                grant.day,
                grant.taken,
                grant.retired,
            )
                .hash(hash);
            (report(&grant.report), report(&grant.told), report(&grant.acknowledged)).hash(hash);
        }
        self.asked
            .map(|asked| (asked.number, asked.at, asked.urgent, asked.least))
            .hash(hash);
        (self.limit, self.open, self.heard_no, self.refused).hash(hash);
        (self.dry_until.us_since(now), self.stamps.iter().collect::<Vec<_>>()).hash(hash);
        (self.owed, self.owed_until.us_since(now), self.hastens).hash(hash);
    }

    /// The number of the ask that waits for its answer; for tests.
    #[cfg(test)]
    pub fn asks(&self) -> Option<u64> {
        self.asked.map(|asked| asked.number)
    }

    /// Everything that is not in use goes back now, for a graceful end.
    pub fn wind_up(&mut self) {
        for grant in &mut self.grants {
            retire(grant, self.rules.class);
        }
    }

    /// Units in hand that can be taken.
    pub fn stock(&self, now: Mono) -> u64 {
        if self.rules.class == Class::Share {
            return self.share(now).saturating_sub(self.stamped + self.pace_taken);
        }
        self.grants
            .iter()
            .filter(|grant| usable(grant, now))
            .map(HeldGrant::stock)
            .sum()
    }

    /// Units that the owner counts as handed out, and that no call has taken: in hand, and on their way back.
    pub fn unused(&self, now: Mono) -> u64 {
        if self.rules.class == Class::Share {
            return self.stock(now);
        }
        let begun = self.grants.iter().filter(|grant| grant.starts <= now);
        begun.map(HeldGrant::unused).sum()
    }

    /// Whether anything is in hand or in flight that the owner must hear of.
    pub fn is_settled(&self) -> bool {
        self.asked.is_none() && self.grants.iter().all(|grant| grant.report == grant.acknowledged)
    }
}
