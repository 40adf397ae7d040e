//! The owner's side of one meter: what is charged, what is outstanding, what may be granted. Pure: every decision takes
//! its moment, every change is data that replays to the same state.

use std::collections::BTreeMap;

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Ask, Change, GrantId, Report, Standing};

use super::charges::Charges;
use super::mutants::{Mutant, active};
use super::rules::{Anchor, Class, Moment, Rules};
use crate::clock::Mono;

/// One grant, as its owner sees it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose.
    pub holder: SessionId,
    /// How many units; `None` = without a number.
    pub units: Option<u64>,
    /// End of its life on our clock.
    pub life_end: Option<Mono>,
    /// The day it counts to.
    pub day: Option<u32>,
    /// The number of the ask that it answered.
    pub ask: u64,
    /// The last report.
    pub report: Report,
    /// Units that may still be sent: outstanding.
    pub held: u64,
    /// Units in flight: outstanding.
    pub flight: u64,
    /// Units presumed spent: part of the charges.
    pub presumed: u64,
    /// When those are released.
    pub presumed_until: Mono,
    /// Whether its life has ended.
    pub lapsed: bool,
}

/// One meter, as its owner sees it.
#[derive(Clone, Debug)]
pub struct OwnerMeter {
    /// How it counts.
    pub rules: Rules,
    /// Limit by configuration.
    pub configured: Option<u64>,
    /// Limit by the upstream's own words.
    pub learned: Option<u64>,
    /// What the upstream may still see.
    pub charges: Charges,
    /// Grants that are not forgotten.
    pub grants: BTreeMap<GrantId, Grant>,
    /// No grants before this time: the journal is not what it was.
    pub refuse_until: Mono,
    /// The latest day ever decided on; the day never goes back, whatever the wall clock does.
    pub today: u32,
}

/// What came of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// That many units; `None` = without a number.
    Grant(Option<u64>),
    /// Nothing now.
    Refuse,
}

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
    /// A meter that nothing is known of.
    pub fn new(rules: Rules) -> OwnerMeter {
        OwnerMeter {
            rules,
            configured: None,
            learned: None,
            charges: Charges::new(rules.window_ms),
            grants: BTreeMap::new(),
            refuse_until: Mono(0),
            today: 0,
        }
    }

    /// The limit in force: the configured one, lowered by what the upstream says; without configuration, the latter.
    pub fn limit(&self) -> Option<u64> {
        match (self.configured, self.learned) {
            (Some(configured), Some(learned)) => Some(configured.min(learned)),
            (configured, learned) => configured.or(learned),
        }
    }

    /// The change that a holder's configured limit makes. An operator's new word clears what was learned before.
    pub fn configure(&self, configured: Option<u64>) -> Option<Change> {
        (self.configured != configured).then_some(Change::Limit {
            configured,
            learned: if configured.is_some() && self.configured.is_some() {
                None
            } else {
                self.learned
            },
        })
    }

    /// The change that a limit read off the upstream makes: it fills in what is not configured, and only lowers what is.
    pub fn learn(&self, learned: u64) -> Option<Change> {
        let news = match self.configured {
            Some(configured) => learned < configured && self.learned.is_none_or(|known| learned < known),
            None => self.learned != Some(learned),
        };
        news.then_some(Change::Limit {
            configured: self.configured,
            learned: Some(learned),
        })
    }

    /// Units that the upstream may still see, and units granted and not settled.
    pub fn load(&self) -> (u64, u64) {
        let today = self.rules.daily.then_some(self.today);
        let outstanding = self
            .grants
            .values()
            .filter(|grant| today.is_none() || grant.day == today)
            .map(|grant| grant.held + grant.flight)
            .sum();
        let charged = match today {
            Some(day) => self.charges.of_day(day),
            None => self.charges.total(),
        };
        (charged, outstanding)
    }

    /// Everything that is charged, whatever its window or day.
    pub fn charges_total(&self) -> u64 {
        self.charges.total() + self.charges.days().map(|(_, units)| units).sum::<u64>()
    }

    /// Lets time pass: releases charges, turns the day, forgets what is finished. Nothing in here needs the journal.
    pub fn expire(&mut self, moment: Moment) {
        if self.rules.daily {
            self.today = self.today.max(self.rules.day_of(moment.wall));
        }
        self.charges.expire(moment.mono, self.today);
        let (rules, today) = (self.rules, self.today);
        self.grants.retain(|_, grant| {
            if grant.presumed > 0 && !rules.daily && self.charges.release_of(grant.presumed_until) <= moment.mono {
                grant.presumed = 0;
            }
            let idle = grant.held == 0 && grant.flight == 0;
            let forgotten = match grant.day {
                Some(day) => idle && (grant.report.closed || day < today),
                None if rules.mortal() => {
                    idle && grant.presumed == 0
                        && (grant.report.closed
                            || (grant.lapsed && grant.life_end.is_none_or(|end| rules.seen_until(end) <= moment.mono)))
                }
                None => idle && (grant.report.closed || grant.lapsed),
            };
            !forgotten
        });
    }

    /// Grants whose life has ended and that nobody has booked as lapsed yet.
    pub fn due_lapses(&self, moment: Moment) -> Vec<Change> {
        self.grants
            .iter()
            .filter(|(_, grant)| !grant.lapsed)
            .filter_map(|(id, grant)| {
                let end = grant.life_end.filter(|end| *end <= moment.mono)?;
                Some(Change::Lapsed {
                    grant: *id,
                    until_ms: moment.wall_at(self.rules.seen_until(end)),
                })
            })
            .collect()
    }

    /// What it means that a session is silent: presumptions for what it had in flight, and its slots back.
    pub fn abandon(&self, moment: Moment, session: SessionId) -> Vec<Change> {
        let until_ms = moment.wall_at(self.rules.seen_until(moment.mono));
        self.grants
            .iter()
            .filter(|(_, grant)| grant.holder == session)
            .filter(|(_, grant)| grant.flight > 0 || (self.rules.class == Class::Slots && grant.held > 0))
            .map(|(id, _)| Change::Abandoned { grant: *id, until_ms })
            .collect()
    }

    /// What a settlement changes; `None` if nothing is new in it or the grant is finished and forgotten.
    pub fn settle(&self, moment: Moment, id: GrantId, report: Report) -> Option<Change> {
        let grant = self.grants.get(&id)?;
        if !active(Mutant::SettleByIncrement) && merge(grant.report, report) == grant.report {
            return None;
        }
        Some(Change::Settled {
            grant: id,
            report,
            until_ms: moment.wall_at(self.rules.seen_until(moment.mono)),
        })
    }

    /// Whether this ask, or a later one of the same holder, has been granted before: it came twice or late.
    pub fn is_stale(&self, holder: SessionId, ask: &Ask) -> bool {
        let mut own = self.grants.values().filter(|grant| grant.holder == holder);
        own.any(|grant| grant.ask >= ask.number)
    }

    /// Grants for earlier asks of this holder that it does not have: their answers got lost.
    pub fn forgone(&self, holder: SessionId, ask: &Ask) -> Vec<Change> {
        let own = self.grants.iter().filter(|(_, grant)| grant.holder == holder);
        own.filter(|(id, grant)| !grant.lapsed && grant.report == Report::default() && !ask.holding.contains(id))
            .map(|(id, _)| Change::Forgone { grant: *id })
            .collect()
    }

    /// Shares of this holder that may live on.
    pub fn renewals(&self, moment: Moment, holder: SessionId, ask: &Ask) -> Vec<Change> {
        let Some(limit) = self.limit() else {
            return Vec::new();
        };
        let (charged, outstanding) = self.load();
        if charged + outstanding > limit || self.rules.class != Class::Share || moment.mono < self.refuse_until {
            return Vec::new();
        }
        ask.renew
            .iter()
            .filter(|id| {
                self.grants
                    .get(id)
                    .is_some_and(|grant| grant.holder == holder && !grant.lapsed && !grant.report.closed)
            })
            .map(|id| Change::Renewed {
                grant: *id,
                life_ends_ms: moment.wall_at(moment.mono.plus_ms(self.rules.life_ms)),
            })
            .collect()
    }

    /// How much of an ask can be granted: never so much that `charged + outstanding` passes the limit.
    pub fn decide(&self, moment: Moment, holder: SessionId, ask: &Ask, nodes: usize) -> Decision {
        if moment.mono < self.refuse_until || (ask.need == 0 && ask.want == 0) {
            return Decision::Refuse;
        }
        let Some(limit) = self.limit() else {
            return Decision::Grant(None);
        };
        let (charged, outstanding) = self.load();
        let free = (limit + self.own_former_shares(holder)).saturating_sub(charged + outstanding);
        let hoard = self.rules.hoard(free, limit, nodes).saturating_sub(ask.stock);
        let units = if ask.need > 0 && nodes <= 1 {
            ask.need.max(ask.want)
        } else {
            ask.need.max(ask.want.min(hoard))
        };
        let units = units.min(free);
        if units == 0 || (ask.need > 0 && units < ask.least) {
            Decision::Refuse
        } else {
            Decision::Grant(Some(units))
        }
    }

    /// Units of shares that this holder gave back or let lapse, still charged. It may have them again at once: its own
    /// count of its sends goes on, so its new share and its old sends are held to the limit together.
    fn own_former_shares(&self, holder: SessionId) -> u64 {
        if self.rules.class != Class::Share {
            return 0;
        }
        let own = self.grants.values().filter(|grant| grant.holder == holder);
        own.map(|grant| grant.presumed).sum()
    }

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
                    held: units.unwrap_or(0),
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

    /// How the meter stands, for the holder.
    pub fn standing(&self, moment: Moment, least: u64) -> Standing {
        let (charged, outstanding) = self.load();
        let limit = self.limit();
        let short = limit.map(|limit| (charged + outstanding + least.max(1)).saturating_sub(limit));
        let next_release_ms = match short {
            None | Some(0) => None,
            Some(_) if self.rules.daily => Some(self.rules.ms_to_end_of(self.today, moment.wall)),
            Some(short) => self
                .charges
                .released_by(short)
                .map(|at| at.us_since(moment.mono).div_ceil(1000)),
        };
        let refused = self.refuse_until.us_since(moment.mono).div_ceil(1000);
        Standing {
            limit,
            charged,
            outstanding,
            next_release_ms: if refused > 0 {
                Some(refused.max(next_release_ms.unwrap_or(0)))
            } else {
                next_release_ms
            },
        }
    }

    /// Whether there is nothing worth remembering: no charge, no grant, no learned limit.
    pub fn is_blank(&self) -> bool {
        self.charges.is_empty() && self.grants.is_empty() && self.learned.is_none() && self.refuse_until == Mono(0)
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
