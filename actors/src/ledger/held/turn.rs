//! A holder's turn: what goes back, what is told, what is asked for.

use grok2api_schemas::ledger::{Ask, Settlement};
use grok2api_schemas::meter::Meter;

use super::grant::{HeldGrant, retire, usable};
use super::{Asked, Held};
use crate::clock::Mono;
use crate::ledger::rules::Class;

/// Demand that should be in hand, milliseconds: below this, more is asked for at the next exchange, so that 14 s are there
/// when the answer comes.
const LOW_WATER_MS: u64 = 18_000;
/// Demand that is asked for, milliseconds.
const TARGET_MS: u64 = 23_000;
/// Units count as in hand while they live for another so many hundredths of their life: with the exchanges' pause and the
/// margin at the end, that outlives a bus that stands still for 13 s.
const FRESH_PERCENT: u64 = 65;
/// Of a limit, so much may be charged or in somebody's hand before every unit that comes back early is of use.
const SCARCE_PERCENT: u64 = 90;
/// Units that nobody takes for this long go back, milliseconds.
const IDLE_MS: u64 = 5_000;
/// A settlement that is not acknowledged is told again after this long, milliseconds.
const TELL_AGAIN_MS: u64 = 6_500;
/// Units of the next day are asked for so long before it begins, milliseconds.
const NEXT_DAY_AHEAD_MS: u64 = 60_000;
/// An ask without an answer is given up after this long, milliseconds.
const ASK_LOST_MS: u64 = 10_000;
/// Stands in for a limit that is not known. A meter without one is granted in numbers like any other, and without bound: so
/// what a killed node had in flight is charged, though its last settlements were never told.
const UNBOUNDED: u64 = u64::MAX >> 2;

/// What a turn is the occasion to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: the node winds up.
    None,
    /// What somebody waits for.
    Urgent,
    /// That, and what is foreseen of meters that are nearly used up.
    Brisk,
    /// That, and what is foreseen of all.
    All,
}

/// What a turn of the pump sends for this meter.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// A limit that was read off the upstream.
    pub learned: Option<u64>,
    /// What the upstream says is used, where that is more than is known here.
    pub seen: Option<u64>,
    /// Settlements to tell (again).
    pub settlements: Vec<Settlement>,
    /// An ask.
    pub ask: Option<Ask>,
    /// Whether the ask (or a return that somebody waits for) cannot wait for the owner's tick.
    pub urgent: bool,
    /// Whether the owner should hear of it soon: little is left, or slots are in use.
    pub is_brisk: bool,
    /// When this meter wants another turn even if nothing happens.
    pub again_at: Option<Mono>,
    /// Nothing in hand, nothing to tell.
    pub at_rest: bool,
    /// When a meter at rest wants to be looked at again.
    pub look_at: Option<Mono>,
}

impl Held {
    /// A turn in which everything may be asked for, or nothing.
    #[cfg(test)]
    pub fn turn(&mut self, now: Mono, meter: &Meter, open: bool) -> Outgoing {
        self.turn_for(now, meter, if open { Asks::All } else { Asks::None })
    }

    /// One turn: returns what is idle or near its end, tells what changed, asks for what is short. What is asked for ahead of
    /// demand is asked for when its message goes out, because its life begins then.
    pub fn turn_for(&mut self, now: Mono, meter: &Meter, asks: Asks) -> Outgoing {
        self.demand.roll(now);
        self.fade_used(now);
        if self.asked.is_some_and(|asked| now.ms_since(asked.at) >= ASK_LOST_MS) {
            self.asked = None;
        }
        self.retire_stale(now);
        let mut out = Outgoing {
            learned: self.learned.take(),
            seen: self.seen.take(),
            ..Outgoing::default()
        };
        out.is_brisk = self.is_brisk();
        if asks != Asks::None {
            let ahead = asks == Asks::All || (asks == Asks::Brisk && out.is_brisk);
            self.ask(now, meter, ahead, &mut out);
        }
        self.tell(now, meter, &mut out);
        out.urgent |= std::mem::take(&mut self.hastens) && !out.settlements.is_empty();
        out.at_rest =
            self.grants.is_empty() && self.asked.is_none() && self.queued == 0 && self.demand.is_idle(now, IDLE_MS);
        if out.at_rest {
            out.look_at = self.look_at(now);
        }
        out
    }

    fn retire_stale(&mut self, now: Mono) {
        let class = self.rules.class;
        let margin = self.retire_margin_ms();
        let idle = self.queued == 0 && self.demand.is_idle(now, IDLE_MS);
        for grant in &mut self.grants {
            let ending = now.plus_ms(margin) >= grant.life_end;
            // A share costs nothing while it is idle; giving it back would make the next burst wait for T + D.
            let unused = idle && class != Class::Share && grant.starts <= now;
            if !grant.retired && (ending || unused) {
                retire(grant, class);
            }
        }
    }

    /// How long before its end a grant is given back, so that it does not lapse on the way, milliseconds.
    fn retire_margin_ms(&self) -> u64 {
        if self.rules.daily {
            0
        } else {
            (self.rules.life_ms / 15).min(2_000)
        }
    }

    fn tell(&mut self, now: Mono, meter: &Meter, out: &mut Outgoing) {
        self.grants.retain(|grant| !grant.acknowledged.closed);
        let class = self.rules.class;
        for grant in &mut self.grants {
            let over = grant.retired || now >= grant.life_end;
            if over && !grant.retired {
                retire(grant, class);
            }
            if over && grant.taken == 0 && grant.flight() == 0 {
                grant.report.closed = true;
            }
            let news = grant.report != grant.told;
            let unheard = grant.report != grant.acknowledged && now.ms_since(grant.told_at) >= TELL_AGAIN_MS;
            if news || unheard {
                grant.told = grant.report;
                grant.told_at = now;
                out.settlements.push(Settlement {
                    meter: meter.clone(),
                    grant: grant.id,
                    day: grant.day,
                    report: grant.report,
                });
            }
        }
    }

    /// What is in hand is told again at the next turn: the message was not sent.
    pub fn not_told(&mut self) {
        for grant in &mut self.grants {
            grant.told = grant.acknowledged;
        }
    }

    /// Whether every unit that comes back early is of use, or the owner must hear often that the session lives.
    fn is_brisk(&self) -> bool {
        if self.rules.class == Class::Slots {
            return !self.grants.is_empty();
        }
        let used = self.standing.charged + self.standing.outstanding;
        let is_scarce = |limit: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(SCARCE_PERCENT);
        !self.grants.is_empty() && (self.heard_no || self.limit.is_some_and(is_scarce))
    }

    fn ask(&mut self, now: Mono, meter: &Meter, may_ask_ahead: bool, out: &mut Outgoing) {
        if self.limit == Some(0) {
            return;
        }
        let wanted = self.queued.max(self.missed);
        let idle = wanted == 0 && self.demand.is_idle(now, IDLE_MS);
        if idle {
            return;
        }
        let renew_at = self.rules.life_ms / 2;
        let mut renew = Vec::new();
        let (need, want) = match (self.limit, self.rules.class) {
            (None, Class::Share) => return self.missed_none(),
            (Some(limit), Class::Share) => {
                let share = self.share(now);
                for grant in &self.grants {
                    if !grant.retired && usable(grant, now) && now.plus_ms(renew_at) >= grant.life_end {
                        renew.push(grant.id);
                    }
                }
                if share >= limit && renew.is_empty() {
                    return self.missed_none();
                }
                (if share == 0 { wanted } else { 0 }, limit.saturating_sub(share))
            }
            (limit, _) => {
                let limit = limit.unwrap_or(UNBOUNDED);
                let least = self.least();
                let fits = |grant: &HeldGrant| usable(grant, now) && grant.stock() >= least;
                if self.rules.class == Class::Amount && least > 0 && !self.grants.iter().any(fits) {
                    // No grant in hand holds the reservation: the crumbs go back with the same message.
                    self.wind_up();
                }
                let fresh = self.fresh_stock(now);
                let stock = self.stock(now);
                let per_second = self.demand.per_second();
                let low = units_in(LOW_WATER_MS, per_second).min(limit);
                let target = units_in(TARGET_MS, per_second).min(limit);
                let need = wanted.saturating_sub(stock).min(limit);
                let first = if need > 0 { need + self.opening(limit, need) } else { 0 };
                let short = if fresh < low { target.saturating_sub(fresh) } else { 0 };
                (need, first.max(short))
            }
        };
        let (want, ahead) = match self.next_day(now) {
            Some(units) if need == 0 => (units, true),
            _ => (want, false),
        };
        if need == 0 && want == 0 && renew.is_empty() {
            return self.missed_none();
        }
        let urgent = need > 0;
        if self.asked.is_some_and(|asked| asked.urgent || !urgent) {
            return;
        }
        if !urgent && !may_ask_ahead {
            return self.missed_none();
        }
        let least = match self.rules.class {
            Class::Amount => self.least().clamp(1, need.max(1)),
            _ => 1,
        };
        if need == 0 && renew.is_empty() && !ahead && now < self.ahead_after {
            return;
        }
        if now < self.dry_until && renew.is_empty() && !ahead && least >= self.refused {
            out.again_at = Some(self.dry_until);
            return;
        }
        let number = self.next_ask;
        self.next_ask += 1;
        self.asked = Some(Asked {
            number,
            at: now,
            urgent,
            least,
        });
        self.asked_ahead = ahead;
        self.missed_none();
        out.urgent = urgent;
        out.ask = Some(Ask {
            number,
            meter: meter.clone(),
            configured: self.configured,
            need,
            least,
            want,
            stock: if ahead { 0 } else { self.stock(now) },
            holding: self.grants.iter().map(|grant| grant.id).collect(),
            renew,
            ahead,
        });
    }

    /// Units of the next day to ask for now: in the last minute before midnight, where there is demand and none is in hand.
    fn next_day(&self, now: Mono) -> Option<u64> {
        let end = self.day_end.filter(|end| self.rules.daily && now < *end)?;
        let near = end.us_since(now) <= NEXT_DAY_AHEAD_MS * 1000;
        let there = self.grants.iter().any(|grant| !grant.retired && grant.starts > now);
        let wanted = near && !there && now >= self.next_day_after;
        wanted.then(|| units_in(TARGET_MS, self.demand.per_second()).max(1))
    }

    /// What a first ask takes on top of what is needed, so that a client that calls one by one does not ask each time.
    fn opening(&self, limit: u64, need: u64) -> u64 {
        match self.rules.class {
            Class::Amount => need,
            _ if self.rules.daily => 1,
            _ => (limit / 10).min(8),
        }
    }

    /// Units in hand that outlive a stall of the bus.
    fn fresh_stock(&self, now: Mono) -> u64 {
        let far = now.plus_ms(self.rules.life_ms * FRESH_PERCENT / 100);
        let fresh = self.grants.iter().filter(|grant| usable(grant, far));
        fresh.map(HeldGrant::stock).sum()
    }

    pub(super) fn missed_none(&mut self) {
        self.missed = 0;
        self.missed_least = 0;
    }
}

/// Units that a demand takes in a time.
fn units_in(ms: u64, per_second: f64) -> u64 {
    (per_second * ms as f64 / 1000.0).ceil() as u64
}
