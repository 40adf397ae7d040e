//! What an owner makes of settlements and asks.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Answer, Ask, Change, GrantId, Granted, OwnerReply, OwnerRequest, Settlement, Standing};
use grok2api_schemas::meter::Meter;

use super::{Owner, Starving};
use crate::ledger::meter::{Decision, OwnerMeter, Question};
use crate::ledger::rules::{Class, Moment};

/// How often a session with something open here is noted in the journal, milliseconds.
const HEARD_EVERY_MS: u64 = 2_000;
/// For how long others are asked to give back after a session got less than its part, milliseconds.
const STARVES_FOR_MS: u64 = 2_500;
/// A holder is told no more often than this that another starves of a meter, milliseconds.
const RECALL_EVERY_MS: u64 = 500;
/// When a holder that starves should ask again while others have what it needs, milliseconds: they are asked to give back,
/// which takes a message and an append.
const GIVEN_BACK_MS: u64 = 250;
/// A holder that waits asks again after so long at the latest, milliseconds.
pub const LONGEST_PAUSE_MS: u64 = 1_000;
/// Grant numbers of this process: one count for all shards and all turns as owner, so that none is ever reused.
static GRANTS_MADE: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
thread_local! {
    /// The number of the next grant on this thread, for tests in which equal histories must give equal states.
    pub static NEXT_GRANT: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

fn next_grant_number() -> u64 {
    #[cfg(test)]
    if let Some(number) = NEXT_GRANT.get() {
        NEXT_GRANT.set(Some(number + 1));
        return number;
    }
    GRANTS_MADE.fetch_add(1, Ordering::Relaxed) + 1
}

impl<T> Owner<T> {
    pub(super) fn settle(
        &mut self,
        moment: Moment,
        session: SessionId,
        settlement: &Settlement,
        reply: &mut OwnerReply,
    ) {
        let meter = self.state.meter_mut(&settlement.meter);
        if meter.grants.contains_key(&settlement.grant) {
            let change = meter.settle(moment, settlement.grant, settlement.report);
            self.make(moment, &settlement.meter, change);
        } else if !self.state.ever_made(settlement.grant) {
            let meter = self.state.meter_mut(&settlement.meter);
            let until = meter.rules.seen_until(moment.mono);
            let change = Change::Stranger {
                units: settlement.report.cost.max(settlement.report.sent),
                day: settlement.day,
                until_ms: moment.wall_at(until),
            };
            tracing::error!(
                meter = %settlement.meter, %session,
                "a settlement for a grant that this journal never made: the journal was rolled back; no grants for one window"
            );
            self.make(moment, &settlement.meter, Some(change));
            reply.gone.push((settlement.meter.clone(), settlement.grant));
        } else if !settlement.report.closed {
            reply.gone.push((settlement.meter.clone(), settlement.grant));
        }
    }

    pub(super) fn answer(&mut self, moment: Moment, session: SessionId, ask: &Ask) -> Answer {
        let change = self.state.meter_mut(&ask.meter).configure(ask.configured);
        self.make(moment, &ask.meter, change);
        if self.state.meter_mut(&ask.meter).is_stale(session, ask) {
            return Answer {
                meter: ask.meter.clone(),
                ask: ask.number,
                granted: None,
                renewed: Vec::new(),
                standing: self.standing(moment, &ask.meter, ask.least),
            };
        }
        for change in self.state.meter_mut(&ask.meter).forgone(moment, session, ask) {
            self.make(moment, &ask.meter, Some(change));
        }
        let renewals = self.state.meter_mut(&ask.meter).renewals(moment, session, ask);
        let mut renewed = Vec::new();
        for change in renewals {
            if let Change::Renewed { grant, .. } = change {
                renewed.push(grant);
            }
            self.make(moment, &ask.meter, Some(change));
        }
        let nodes = self.options.nodes;
        // Reservations differ in size: a small one does not wait for a large one.
        let has_line = self.state.meter_mut(&ask.meter).rules.class != Class::Amount && nodes > 1 && !ask.ahead;
        let line = self.lines.get(&ask.meter).filter(|_| has_line);
        let set_aside = line.map_or(0, |line| line.set_aside(moment.mono, session, ask.need > 0));
        let meter = self.state.meter_mut(&ask.meter);
        let granted = match meter.decide(moment, session, ask, nodes, set_aside) {
            Decision::Refuse => None,
            Decision::Grant(units) => {
                let rules = meter.rules;
                let day = rules.daily.then_some(meter.today + u32::from(ask.ahead));
                let life_ms = match day {
                    Some(day) => Some(rules.ms_to_end_of(day, moment.wall)),
                    None => rules.mortal().then_some(rules.life_ms),
                };
                Some(Granted {
                    grant: GrantId {
                        owner: self.session,
                        number: next_grant_number(),
                    },
                    units,
                    life_ms,
                    day,
                    starts_ms: match day {
                        Some(day) if ask.ahead => rules.ms_to_end_of(day - 1, moment.wall) + 1,
                        _ => 0,
                    },
                })
            }
        };
        let is_short = ask.need > 0 && granted.is_none_or(|granted| granted.units < ask.need);
        // A share on its way from one holder to the next is charged until it is there: no more is called back meanwhile.
        let is_coming = meter.rules.class == Class::Share && meter.charges.total() > 0;
        let may_starve = is_short && !is_coming && moment.mono >= meter.refuse_until;
        let starves = may_starve && meter.starves(session, nodes);
        let is_held_by_others = starves && meter.others_could_give(session);
        if !is_short
            && let Some(known) = self.starving.get_mut(&ask.meter)
            && known.session == session
        {
            known.is_over = true;
            // Units come in small parts where little is left: who was told a moment ago is not told again for each of them.
            // What goes round whole, one call after the other, waits for nothing.
            if meter.rules.class != Class::Units {
                known.told.clear();
            }
        }
        if starves {
            let starving = self.starving.entry(ask.meter.clone()).or_insert(Starving {
                session,
                since: moment.mono,
                is_over: false,
                told: BTreeMap::new(),
            });
            (starving.session, starving.since, starving.is_over) = (session, moment.mono, false);
        }
        if let Some(granted) = granted {
            let change = Change::Granted {
                grant: granted.grant,
                holder: session,
                units: granted.units,
                life_ends_ms: granted.life_ms.map(|life| moment.wall_at(moment.mono.plus_ms(life))),
                day: granted.day,
                ask: ask.number,
            };
            self.make(moment, &ask.meter, Some(change));
        }
        let mut standing = self.standing(moment, &ask.meter, ask.least);
        if is_held_by_others {
            // Not when charges are released, but when the others give back.
            let release = standing.next_release_ms.unwrap_or(GIVEN_BACK_MS);
            standing.next_release_ms = Some(release.min(GIVEN_BACK_MS));
        }
        if has_line {
            let got = granted.map_or(0, |granted| granted.units);
            self.stand_in_line(moment, session, ask, got, standing.next_release_ms);
        }
        Answer {
            meter: ask.meter.clone(),
            ask: ask.number,
            granted,
            renewed,
            standing,
        }
    }

    /// Notes that a session got so many units of what it asked for, and what it still waits for.
    fn stand_in_line(&mut self, moment: Moment, session: SessionId, ask: &Ask, got: u64, hint_ms: Option<u64>) {
        let missing = ask.need.saturating_sub(got);
        let meter = self.state.meter_mut(&ask.meter);
        let Some(limit) = meter.limit() else { return };
        let claim = missing.min(meter.rules.fair_part(limit, self.options.nodes));
        let again_ms = hint_ms.unwrap_or(0).clamp(meter.rules.retry_ms(), LONGEST_PAUSE_MS);
        // Where nobody ever waits there is no line.
        let line = match self.lines.get_mut(&ask.meter) {
            Some(line) => line,
            None if missing == 0 => return,
            None => self.lines.entry(ask.meter.clone()).or_default(),
        };
        if got > 0 {
            line.serve(moment.mono, session);
        }
        match claim {
            0 => line.leave(session),
            _ => line.wait(moment.mono, session, claim, again_ms),
        }
    }

    /// Asks for what this session can spare of meters of which another starves.
    pub(super) fn recall(&mut self, moment: Moment, session: SessionId, reply: &mut OwnerReply) {
        if self.starving.is_empty() {
            return;
        }
        let (state, nodes) = (&self.state, self.options.nodes);
        self.starving
            .retain(|_, starving| moment.mono.ms_since(starving.since) < STARVES_FOR_MS);
        for (name, starving) in self.starving.iter().filter(|(_, starving)| !starving.is_over) {
            let givers = state.meter(name).map(|meter| meter.givers(starving.session, nodes));
            if givers.is_some_and(|givers| givers.contains(&session)) {
                reply.recalled.push(name.clone());
            }
        }
    }

    /// Whom to tell at once that another starves of meters that they hold, and of which. What gets lost is told again with
    /// the next answer; what comes twice changes nothing.
    pub fn take_recalls(&mut self, moment: Moment) -> BTreeMap<SessionId, Vec<Meter>> {
        let mut recalls = BTreeMap::<SessionId, Vec<Meter>>::new();
        for (name, starving) in &mut self.starving {
            let is_over = starving.is_over || moment.mono.ms_since(starving.since) >= STARVES_FOR_MS;
            let Some(meter) = self.state.meter(name).filter(|_| !is_over) else {
                continue;
            };
            starving
                .told
                .retain(|_, at| moment.mono.ms_since(*at) < RECALL_EVERY_MS);
            for holder in meter.givers(starving.session, self.options.nodes) {
                if let Entry::Vacant(untold) = starving.told.entry(holder) {
                    untold.insert(moment.mono);
                    recalls.entry(holder).or_default().push(name.clone());
                }
            }
        }
        recalls
    }

    /// What the upstream was asked, and a mark of how the meter stood before.
    pub fn question(&self, meter: &Meter) -> Option<Question> {
        self.state.meter(meter).map(OwnerMeter::question)
    }

    /// Meters of which so much is lost, for so long, that the upstream should be asked what is left.
    pub fn wants_rebase(&self) -> Vec<Meter> {
        let lost = self.state.meters().filter(|(_, meter)| meter.wants_rebase());
        lost.map(|(name, _)| name.clone()).collect()
    }

    /// The upstream answered a question that was sent after `question` was marked: so many units are left.
    /// Answers whether that is taken.
    pub fn rebase(&mut self, moment: Moment, meter: &Meter, question: Question, remaining: u64) -> bool {
        self.sweep(moment, meter);
        let change = self.state.meter_mut(meter).rebase(moment, question, remaining);
        self.make(moment, meter, change);
        change.is_some()
    }

    fn standing(&self, moment: Moment, meter: &Meter, least: u64) -> Standing {
        self.state
            .meter(meter)
            .map(|meter| meter.standing(moment, least))
            .unwrap_or_default()
    }

    /// A session with slots or calls in flight here is noted in the journal every so often.
    pub(super) fn note_heard(&mut self, moment: Moment, session: SessionId, request: &OwnerRequest) {
        let due = self
            .heard_written
            .get(&session)
            .is_none_or(|last| moment.mono.ms_since(*last) >= HEARD_EVERY_MS);
        let open = request.settlements.iter().any(|settlement| {
            self.state.meter(&settlement.meter).is_some_and(|meter| {
                meter.rules.class == Class::Slots
                    || meter
                        .grants
                        .get(&settlement.grant)
                        .is_some_and(|grant| grant.flight > 0)
            })
        });
        if due && open && session != self.session {
            self.pending.heard.push(session);
            self.heard_written.insert(session, moment.mono);
        }
    }
}
