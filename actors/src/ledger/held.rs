//! The holder's side of one meter: grants in hand, calls that took of them, what to tell the owner and what to ask of it.
//! Pure: `now` is an argument.

use std::collections::VecDeque;

use grok2api_schemas::ledger::{Answer, Ask, GrantId, Report, Settlement, Standing};
use grok2api_schemas::meter::Meter;

use super::demand::Demand;
use super::handle::MeterStatus;
use super::mutants::{Mutant, active};
use super::rules::{Class, Rules};
use crate::clock::Mono;

/// First calls in flight on a meter whose limit is not known, until the upstream has answered one.
pub const FIRST_CALLS: u64 = 8;
/// Demand that should be in hand, milliseconds: below this, more is asked for.
const LOW_WATER_MS: u64 = 15_000;
/// Demand that is asked for, milliseconds.
const TARGET_MS: u64 = 20_000;
/// Units that nobody takes for this long go back, milliseconds.
const IDLE_MS: u64 = 5_000;
/// A settlement that is not acknowledged is told again after this long, milliseconds.
const TELL_AGAIN_MS: u64 = 4_000;
/// An ask without an answer is given up after this long, milliseconds.
const ASK_LOST_MS: u64 = 10_000;
/// The longest and shortest pause before an owner that had nothing is asked again, milliseconds.
const RETRY_MS: std::ops::RangeInclusive<u64> = 20..=100;
/// Stamps of sends that are kept where no limit bounds them.
const STAMPS_KEPT: usize = 16_384;

/// A grant in hand.
#[derive(Clone, Debug)]
struct HeldGrant {
    key: u32,
    id: GrantId,
    units: Option<u64>,
    life_end: Mono,
    day: Option<u32>,
    /// Units of leases that are taken and not sent; for slots, of calls that are not over.
    taken: u64,
    report: Report,
    told: Report,
    told_at: Mono,
    acknowledged: Report,
    /// Nothing is taken of it any more.
    retired: bool,
}

impl HeldGrant {
    /// Units that can still be taken.
    fn stock(&self) -> u64 {
        match self.units {
            Some(units) if !self.retired => units.saturating_sub(self.report.sent + self.taken + self.report.returned),
            _ => 0,
        }
    }

    /// Units of calls whose end is not known yet.
    fn flight(&self) -> u64 {
        self.report.sent - self.report.done.min(self.report.sent)
    }
}

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
    asked: Option<(u64, Mono, bool)>,
    next_ask: u64,
    /// The owner had nothing: ask again then; and when it expects units back.
    dry_until: Mono,
    release_at: Option<Mono>,
    heard_no: bool,
    demand: Demand,
    /// Units that a failed take wanted since the last ask, and the fewest of use.
    missed: u64,
    missed_least: u64,
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
}

/// What a turn of the pump sends for this meter.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// A limit that was read off the upstream.
    pub learned: Option<u64>,
    /// Settlements to tell (again).
    pub settlements: Vec<Settlement>,
    /// An ask.
    pub ask: Option<Ask>,
    /// Whether the ask (or a return that somebody waits for) cannot wait for the owner's tick.
    pub urgent: bool,
    /// When this meter wants another turn even if nothing happens.
    pub again_at: Option<Mono>,
    /// Nothing in hand, nothing to tell.
    pub at_rest: bool,
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
            release_at: None,
            heard_no: false,
            demand: Demand::new(now),
            missed: 0,
            missed_least: 0,
            open: 0,
            answered: false,
            stamps: VecDeque::new(),
            stamped: 0,
            pace_taken: 0,
            used: 0,
            used_at: now,
            standing: Standing::default(),
        }
    }

    /// Takes units, or says why not. `first_calls` bounds calls in flight while the limit is unknown and unanswered.
    pub fn reserve(&mut self, now: Mono, units: u64, first_calls: bool) -> Result<u32, Lack> {
        self.demand.wanted(units);
        let lack = match self.limit {
            Some(limit) if limit == 0 || units > limit => return Err(Lack::Zero),
            Some(_) if self.rules.class == Class::Share => match self.reserve_pace(now, units) {
                Ok(()) => return Ok(self.took(now, 0, units)),
                Err(lack) => lack,
            },
            Some(_) => match self
                .grants
                .iter_mut()
                .find(|grant| usable(grant, now) && grant.stock() >= units)
            {
                Some(grant) => {
                    grant.taken += units;
                    let key = grant.key;
                    return Ok(self.took(now, key, units));
                }
                None => self.lack(now),
            },
            None if first_calls && !self.answered && self.open >= FIRST_CALLS => return Err(Lack::Dry(None)),
            None => {
                let unnumbered = |grant: &&mut HeldGrant| grant.units.is_none() && !grant.retired && usable(grant, now);
                match self.grants.iter_mut().find(unnumbered) {
                    Some(grant) => {
                        grant.taken += units;
                        let key = grant.key;
                        return Ok(self.took(now, key, units));
                    }
                    None => Lack::Cold,
                }
            }
        };
        self.missed = self.missed.saturating_add(units);
        self.missed_least = if self.missed_least == 0 {
            units
        } else {
            self.missed_least.min(units)
        };
        Err(lack)
    }

    fn took(&mut self, now: Mono, key: u32, units: u64) -> u32 {
        self.open += 1;
        self.demand.took(now, units);
        self.used = self.used.saturating_add(units);
        key
    }

    fn lack(&self, now: Mono) -> Lack {
        if self.heard_no {
            let release = self.release_at.filter(|at| *at > now);
            Lack::Dry(release.map(|at| at.us_since(now).div_ceil(1000)))
        } else {
            Lack::Cold
        }
    }

    /// T + D on this clock.
    fn pace_ms(&self) -> u64 {
        if active(Mutant::PaceWithoutSlack) {
            self.rules.window_ms
        } else {
            self.rules.window_ms + self.rules.slack_ms
        }
    }

    fn share(&self, now: Mono) -> u64 {
        let alive = self.grants.iter().filter(|grant| !grant.retired && usable(grant, now));
        alive
            .map(|grant| grant.units.unwrap_or(0).saturating_sub(grant.report.returned))
            .sum()
    }

    fn forget_stamps(&mut self, now: Mono) {
        let pace_ms = self.pace_ms();
        while let Some((at, units)) = self.stamps.front().copied()
            && (at.plus_ms(pace_ms) <= now || self.stamps.len() > STAMPS_KEPT)
        {
            self.stamps.pop_front();
            self.stamped -= units;
        }
    }

    fn reserve_pace(&mut self, now: Mono, units: u64) -> Result<(), Lack> {
        self.forget_stamps(now);
        let share = self.share(now);
        if self.stamped + self.pace_taken + units <= share {
            self.pace_taken += units;
            return Ok(());
        }
        if share < units {
            return Err(self.lack(now));
        }
        let pace_ms = self.pace_ms();
        let next = self
            .stamps
            .front()
            .map(|(at, _)| at.plus_ms(pace_ms).us_since(now).div_ceil(1000));
        Err(Lack::Dry(next))
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
                if let Some(grant) = self.grant_mut(key) {
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
            }
            Class::Slots => grant.taken = grant.taken.saturating_sub(units),
            Class::Units | Class::Share => {}
        }
    }

    fn grant_mut(&mut self, key: u32) -> Option<&mut HeldGrant> {
        self.grants.iter_mut().find(|grant| grant.key == key)
    }

    /// The configured limit changed: what is in hand goes back, so that the owner decides anew. Answers whether.
    pub fn configure(&mut self, configured: Option<u64>) -> bool {
        let news = self.configured != configured;
        if news {
            self.configured = configured;
            self.limit = configured;
            self.learned = None;
            self.start_anew();
        }
        news
    }

    /// The upstream named a limit. Fills in what is not configured; only lowers what is. Answers
    /// whether it is news.
    pub fn learn(&mut self, learned: u64) -> bool {
        let news = match self.configured {
            Some(_) => self.limit.is_some_and(|limit| learned < limit),
            None => self.limit != Some(learned),
        };
        if news {
            self.learned = Some(learned);
            self.limit = Some(learned);
            self.start_anew();
        }
        news
    }

    fn start_anew(&mut self) {
        self.dry_until = Mono(0);
        self.heard_no = false;
        self.asked = None;
        for grant in &mut self.grants {
            retire(grant, self.rules.class);
        }
    }

    /// The upstream has answered a call of this meter.
    pub fn answered(&mut self) {
        self.answered = true;
    }

    /// Everything that is not in use goes back now, for a graceful end.
    pub fn wind_up(&mut self) {
        for grant in &mut self.grants {
            retire(grant, self.rules.class);
        }
    }

    /// One turn: returns what is idle or near its end, tells what changed, asks for what is short. `waiting` units are
    /// wanted by calls that wait. `open` is false while the node winds up.
    pub fn turn(&mut self, now: Mono, meter: &Meter, waiting: u64, open: bool) -> Outgoing {
        self.demand.roll(now);
        self.fade_used(now);
        if self.asked.is_some_and(|(_, at, _)| now.ms_since(at) >= ASK_LOST_MS) {
            self.asked = None;
        }
        self.retire_stale(now, waiting);
        let mut out = Outgoing {
            learned: self.learned.take(),
            ..Outgoing::default()
        };
        if open {
            self.ask(now, meter, waiting, &mut out);
        }
        self.tell(now, meter, &mut out);
        out.at_rest =
            self.grants.is_empty() && self.asked.is_none() && waiting == 0 && self.demand.is_idle(now, IDLE_MS);
        out
    }

    fn retire_stale(&mut self, now: Mono, waiting: u64) {
        let class = self.rules.class;
        let margin = self.retire_margin_ms();
        let idle = waiting == 0 && self.demand.is_idle(now, IDLE_MS);
        for grant in &mut self.grants {
            let ending = now.plus_ms(margin) >= grant.life_end;
            // A share costs nothing while it is idle; giving it back would make the next burst wait for T + D.
            let unused = idle && class != Class::Share;
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

    fn ask(&mut self, now: Mono, meter: &Meter, waiting: u64, out: &mut Outgoing) {
        if self.limit == Some(0) {
            return;
        }
        let wanted = waiting.max(self.missed);
        let idle = wanted == 0 && self.demand.is_idle(now, IDLE_MS);
        if idle {
            return;
        }
        let renew_at = LOW_WATER_MS.min(self.rules.life_ms / 2);
        let mut renew = Vec::new();
        let (need, want) = match (self.limit, self.rules.class) {
            (None, _) => {
                let fresh = self
                    .grants
                    .iter()
                    .any(|grant| grant.units.is_none() && !grant.retired && now.plus_ms(renew_at) < grant.life_end);
                if fresh {
                    return self.missed_none();
                }
                (wanted, 1)
            }
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
            (Some(limit), _) => {
                if self.rules.class == Class::Amount && self.missed > 0 {
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
        if need == 0 && want == 0 && renew.is_empty() {
            return self.missed_none();
        }
        let urgent = need > 0;
        if self.asked.is_some_and(|(_, _, was_urgent)| was_urgent || !urgent) {
            return;
        }
        if now < self.dry_until && renew.is_empty() {
            out.again_at = Some(self.dry_until);
            return;
        }
        let number = self.next_ask;
        self.next_ask += 1;
        self.asked = Some((number, now, urgent));
        let least = match self.rules.class {
            Class::Amount => self.missed_least.max(1).min(need.max(1)),
            _ => 1,
        };
        self.missed_none();
        out.urgent = urgent;
        out.ask = Some(Ask {
            number,
            meter: meter.clone(),
            configured: self.configured,
            need,
            least,
            want,
            stock: self.stock(now),
            holding: self.grants.iter().map(|grant| grant.id).collect(),
            renew,
        });
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
        let far = now.plus_ms(self.rules.life_ms / 3);
        let fresh = self.grants.iter().filter(|grant| usable(grant, far));
        fresh.map(HeldGrant::stock).sum()
    }

    fn missed_none(&mut self) {
        self.missed = 0;
        self.missed_least = 0;
    }

    /// The owner answered. Answers how many calls that wait may find something now.
    pub fn answer(&mut self, now: Mono, answer: &Answer) -> u64 {
        let asked = self.asked.filter(|(number, _, _)| *number == answer.ask);
        let mut fresh = 0;
        if let Some(granted) = &answer.granted
            && !self.grants.iter().any(|grant| grant.id == granted.grant)
        {
            // A grant that nobody asked for (any more) is not used, only given back.
            let asked_at = asked.map_or(Mono(0), |(_, at, _)| at);
            let counted_from = if active(Mutant::LifeFromReceipt) { now } else { asked_at };
            let key = self.next_key;
            self.next_key = self.next_key.wrapping_add(1).max(1);
            self.grants.push(HeldGrant {
                key,
                id: granted.grant,
                units: granted.units,
                life_end: granted
                    .life_ms
                    .map_or(Mono(u64::MAX), |life| counted_from.plus_ms(life)),
                day: granted.day,
                taken: 0,
                report: Report::default(),
                told: Report::default(),
                told_at: now,
                acknowledged: Report::default(),
                retired: asked.is_none() || granted.units.is_some() != self.limit.is_some(),
            });
            if let Some(grant) = self.grants.last_mut()
                && grant.retired
            {
                retire_anew(grant, self.rules.class);
            } else {
                fresh = granted.units.unwrap_or(u64::MAX);
            }
        }
        let Some((_, asked_at, _)) = asked else {
            return fresh;
        };
        for id in &answer.renewed {
            if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == *id) {
                grant.life_end = grant.life_end.max(asked_at.plus_ms(self.rules.life_ms));
            }
        }
        self.asked = None;
        self.stand(
            now,
            &answer.standing,
            answer.granted.is_none() && answer.renewed.is_empty(),
        );
        fresh
    }

    fn stand(&mut self, now: Mono, standing: &Standing, refused: bool) {
        if self.learned.is_none() && standing.limit != self.limit {
            self.limit = standing.limit;
            for grant in &mut self.grants {
                if grant.units.is_some() != standing.limit.is_some() {
                    retire(grant, self.rules.class);
                }
            }
        }
        self.used = (standing.charged + standing.outstanding).saturating_sub(self.stock(now));
        self.used_at = now;
        self.standing = *standing;
        self.heard_no = refused;
        self.release_at = standing.next_release_ms.map(|ms| now.plus_ms(ms));
        if refused {
            let pause = (self.rules.window_ms / 200).clamp(*RETRY_MS.start(), *RETRY_MS.end());
            let release = standing.next_release_ms.unwrap_or(pause);
            // Others give back meanwhile, so a distant release is no reason to wait for it alone.
            self.dry_until = now.plus_ms(release.clamp(pause, 1_000));
        }
    }

    /// The ask got lost: the owner may be asked again.
    pub fn ask_failed(&mut self, number: u64, now: Mono) {
        if self.asked.is_some_and(|(asked, _, _)| asked == number) {
            self.asked = None;
            self.dry_until = now.plus_ms(*RETRY_MS.end());
        }
    }

    /// The owner has this report in its journal.
    pub fn acknowledge(&mut self, id: GrantId, report: Report) {
        if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == id) {
            grant.acknowledged = super::meter::merge(grant.acknowledged, report);
        }
        self.grants.retain(|grant| !grant.acknowledged.closed);
    }

    /// The owner holds this grant for finished: nothing more is taken of it.
    pub fn gone(&mut self, id: GrantId) {
        let class = self.rules.class;
        if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == id) {
            retire(grant, class);
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

    /// Whether anything is in hand or in flight that the owner must hear of.
    pub fn is_settled(&self) -> bool {
        self.grants.iter().all(|grant| grant.report == grant.acknowledged)
    }

    /// An estimate of what counts against the limit now: exact at each answer of the owner, fading with the window.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// How the meter stands, as last heard.
    pub fn status(&self, meter: &Meter, now: Mono) -> MeterStatus {
        let Standing {
            charged, outstanding, ..
        } = self.standing;
        MeterStatus {
            meter: meter.clone(),
            limit: self.limit,
            charged,
            outstanding,
            free: self.limit.map(|limit| limit.saturating_sub(charged + outstanding)),
            in_hand: self.stock(now),
            in_flight: self.open,
            next_release_ms: self.release_at.map(|at| at.us_since(now).div_ceil(1000)),
        }
    }

    fn fade_used(&mut self, now: Mono) {
        let passed_ms = now.ms_since(self.used_at);
        if self.rules.window_ms == 0 || passed_ms < 100 {
            return;
        }
        let fading = self.limit.unwrap_or(self.used) as u128 * u128::from(passed_ms) / u128::from(self.rules.window_ms);
        self.used = self.used.saturating_sub(fading.min(u128::from(u64::MAX)) as u64);
        self.used_at = now;
    }
}

/// Units that a demand takes in a time.
fn units_in(ms: u64, per_second: f64) -> u64 {
    (per_second * ms as f64 / 1000.0).ceil() as u64
}

/// Whether calls may take of a grant: alive, and not so near its end that a call would run into it.
fn usable(grant: &HeldGrant, now: Mono) -> bool {
    active(Mutant::NoCheckAtSend) || now < grant.life_end
}

/// Gives back what is not taken; nothing more is taken.
fn retire(grant: &mut HeldGrant, class: Class) {
    if !grant.retired {
        grant.report.returned += match (class, grant.units) {
            (Class::Share, Some(units)) => units.saturating_sub(grant.report.returned),
            _ => grant.stock(),
        };
        grant.retired = true;
    }
}

/// The same for a grant that was never usable.
fn retire_anew(grant: &mut HeldGrant, class: Class) {
    grant.retired = false;
    retire(grant, class);
}
