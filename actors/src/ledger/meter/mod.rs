//! The owner's side of one meter: what is charged, what is outstanding, what may be granted. Pure: every decision takes
//! its moment, every change is data that replays to the same state.

mod apply;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Ask, Change, GrantId, Report, Standing};

pub use self::apply::merge;
pub use self::upstream::Question;
use crate::clock::Mono;
use crate::ledger::charges::Charges;
use crate::ledger::mutants::{Mutant, active};
use crate::ledger::rules::{Class, Moment, Rules};

/// One grant, as its owner sees it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose.
    pub holder: SessionId,
    /// How many units.
    pub units: u64,
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
    /// Everything that was ever charged.
    pub charged_ever: u64,
    /// The latest day ever decided on; the day never goes back, whatever the wall clock does.
    pub today: u32,
}

/// What came of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// That many units.
    Grant(u64),
    /// Nothing now.
    Refuse,
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
            charged_ever: 0,
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
            // One that was closed has nothing to presume; a new owner finds such in the journal.
            .filter(|(_, grant)| !grant.lapsed && !grant.report.closed)
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

    /// Grants for earlier asks of this holder that it does not have: their answers got lost. Nothing was sent of them. But a
    /// share may have been granted in the place of one that its holder gave back ([`OwnerMeter::own_former_shares`]), and
    /// what was sent of that one is still seen: so a share counts as given back, not as never made.
    pub fn forgone(&self, moment: Moment, holder: SessionId, ask: &Ask) -> Vec<Change> {
        let own = self.grants.iter().filter(|(_, grant)| grant.holder == holder);
        let lost =
            own.filter(|(id, grant)| !grant.lapsed && grant.report == Report::default() && !ask.holding.contains(id));
        let is_share = self.rules.class == Class::Share && !active(Mutant::ForgoneShareIsFree);
        lost.map(|(id, grant)| match is_share {
            true => Change::Settled {
                grant: *id,
                report: Report {
                    returned: grant.units,
                    closed: true,
                    ..Report::default()
                },
                until_ms: moment.wall_at(self.rules.seen_until(moment.mono)),
            },
            false => Change::Forgone { grant: *id },
        })
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

    /// Units of a day that are charged, and granted and not settled.
    pub fn load_of(&self, day: u32) -> (u64, u64) {
        let of_day = self.grants.values().filter(|grant| grant.day == Some(day));
        (
            self.charges.of_day(day),
            of_day.map(|grant| grant.held + grant.flight).sum(),
        )
    }

    /// The journal is not what it was: no grants until the upstream has forgotten whatever the lost one granted, or until
    /// the day is over. `life_ms` is for how long grants that are not known may still be sent.
    pub fn refuse(&mut self, since: Moment, life_ms: u64) {
        let until = if self.rules.daily {
            let today = self.rules.day_of(since.wall);
            since.mono.plus_ms(self.rules.ms_to_end_of(today, since.wall))
        } else {
            self.rules.seen_until(since.mono.plus_ms(life_ms))
        };
        self.refuse_until = self.refuse_until.max(until);
    }

    /// Whether a holder that was refused has less than its fair part, so that others are asked to give back.
    pub fn starves(&self, holder: SessionId, nodes: usize) -> bool {
        let own = self.grants.values().filter(|grant| grant.holder == holder);
        let own: u64 = own.map(|grant| grant.held + grant.flight).sum();
        self.limit()
            .is_some_and(|limit| own < self.rules.fair_part(limit, nodes))
    }

    /// Sessions other than this one that are to give back: of slots and shares those that have more than their fair part,
    /// of anything else whoever has units in hand. Where there are fewer than holders, having one is more than fair: slots
    /// come from whichever call ends first, a share from the one that has had it longest, for it cannot be used while it
    /// moves.
    pub fn givers(&self, starving: SessionId, nodes: usize) -> BTreeSet<SessionId> {
        let others = self.grants.iter().filter(|(_, grant)| grant.holder != starving);
        let having = others.filter(|(_, grant)| grant.held > 0);
        let limit = self.limit().unwrap_or(0);
        let is_scarce = limit < nodes as u64;
        match self.rules.class {
            Class::Share if is_scarce => having
                .min_by_key(|(id, _)| id.number)
                .map(|(_, grant)| grant.holder)
                .into_iter()
                .collect(),
            Class::Share | Class::Slots if !is_scarce => {
                let mut had = BTreeMap::<SessionId, u64>::new();
                for (_, grant) in having {
                    *had.entry(grant.holder).or_default() += grant.held + grant.flight;
                }
                let fair = self.rules.fair_part(limit, nodes);
                had.retain(|_, units| *units > fair);
                had.into_keys().collect()
            }
            _ => having.map(|(_, grant)| grant.holder).collect(),
        }
    }

    /// Whether others than this session have units in hand.
    pub fn others_could_give(&self, starving: SessionId) -> bool {
        let mut others = self.grants.values().filter(|grant| grant.holder != starving);
        others.any(|grant| grant.held > 0)
    }

    /// How much of an ask can be granted: never so much that `charged + outstanding` passes the limit, nor of what is set
    /// aside for others.
    pub fn decide(&self, moment: Moment, holder: SessionId, ask: &Ask, nodes: usize, set_aside: u64) -> Decision {
        if moment.mono < self.refuse_until || (ask.need == 0 && ask.want == 0) {
            return Decision::Refuse;
        }
        let Some(limit) = self.limit() else {
            return Decision::Grant(ask.need.max(ask.want));
        };
        let (charged, outstanding) = match ask.ahead {
            true => self.load_of(self.today + 1),
            false => self.load(),
        };
        let free = (limit + self.own_former_shares(holder)).saturating_sub(charged + outstanding);
        let free = free.saturating_sub(set_aside);
        let hoard = self.rules.hoard(free, limit, nodes).saturating_sub(ask.stock);
        // Alone, whoever waits may take all there is; but a day's units in the hand of a process that is killed are lost for
        // the day.
        let units = if ask.need > 0 && nodes <= 1 && !self.rules.is_long() {
            ask.need.max(ask.want)
        } else {
            ask.need.max(ask.want.min(hoard))
        };
        let units = units.min(free);
        if units == 0 || (ask.need > 0 && units < ask.least) {
            Decision::Refuse
        } else {
            Decision::Grant(units)
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
