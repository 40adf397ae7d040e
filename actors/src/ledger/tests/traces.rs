//! The shortest ways in which plainer ledgers overspend (`ledger.md` §2, C1 to C9), played step by step: the protocol
//! must not follow, and the mutant that stands for the plainer reading must.

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{OwnerReply, OwnerRequest};
use grok2api_schemas::meter::{Meter, MeterKind};

use super::harness::{NOON, meter};
use crate::bus::{JournalEntry, JournalHead};
use crate::clock::{Mono, WallMs};
use crate::ledger::LedgerOptions;
use crate::ledger::held::Held;
use crate::ledger::mutants::{self, Mutant};
use crate::ledger::owner::Owner;
use crate::ledger::rules::{Moment, Rules};

/// T, milliseconds.
const WINDOW: u64 = 2_000;
/// D, milliseconds.
const SLACK: u64 = 100;
/// Life of a grant, milliseconds.
const LIFE: u64 = 1_000;
/// ε, milliseconds.
const SKEW: u64 = 400;

/// One owner, some holders, and a script that moves time and messages.
struct Script {
    now: u64,
    meter: Meter,
    journal: Vec<JournalEntry>,
    owner: Owner<()>,
    owner_skew: i64,
    holders: Vec<(SessionId, Held)>,
    arrivals: Vec<u64>,
}

fn options(session: SessionId) -> LedgerOptions {
    LedgerOptions {
        session,
        delivery_slack_ms: SLACK,
        grant_life_ms: LIFE,
        max_clock_skew_ms: SKEW,
        day_offset_minutes: 0,
        nodes: 2,
        predecessors_are_dead: false,
    }
}

fn own(journal: &mut Vec<JournalEntry>, moment: Moment) -> Owner<()> {
    let session = SessionId::generate();
    let head = JournalHead {
        last_sequence: journal.last().map_or(0, |entry| entry.sequence),
        incarnation: 1,
    };
    let mut owner = Owner::replay(session, options(session), moment, head, journal).unwrap();
    let append = owner.take_over(moment, 1);
    journal.push(JournalEntry {
        sequence: append.expected + 1,
        payload: append.payload,
    });
    owner.appended(append.expected + 1);
    owner
}

impl Script {
    fn new() -> Script {
        let meter = meter("trace", MeterKind::Requests { window_ms: WINDOW });
        let mut journal = Vec::new();
        // Time starts at an aligned window's boundary, on every clock.
        let now = 100 * WINDOW;
        let moment = Script::reading(now, 0);
        Script {
            now,
            owner: own(&mut journal, moment),
            meter,
            journal,
            owner_skew: 0,
            holders: Vec::new(),
            arrivals: Vec::new(),
        }
    }

    fn reading(now: u64, skew: i64) -> Moment {
        Moment {
            mono: Mono(now * 1000),
            wall: WallMs((NOON.0 + now).saturating_add_signed(skew)),
        }
    }

    fn holder(&mut self) -> usize {
        let session = SessionId::generate();
        let rules = Rules::of(&self.meter, &options(session));
        self.holders
            .push((session, Held::new(rules, Some(1), Mono(self.now * 1000))));
        self.holders.len() - 1
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms;
    }

    /// The holder's next message: what it has to settle, and an ask for one unit if it has none.
    fn says(&mut self, holder: usize) -> OwnerRequest {
        let (session, held) = &mut self.holders[holder];
        held.enqueue(1);
        let out = held.turn(Mono(self.now * 1000), &self.meter, true);
        held.dequeue(1);
        OwnerRequest {
            session: *session,
            learned: Vec::new(),
            settlements: out.settlements,
            asks: out.ask.into_iter().collect(),
            seen: Vec::new(),
        }
    }

    /// The message arrives; what the owner appends is acknowledged at once.
    fn owner_hears(&mut self, request: &OwnerRequest) -> OwnerReply {
        let moment = Script::reading(self.now, self.owner_skew);
        if let Some(((), reply)) = self.owner.receive(moment, request.clone(), ()) {
            self.append();
            return reply;
        }
        self.append().unwrap_or_default()
    }

    fn append(&mut self) -> Option<OwnerReply> {
        let append = self.owner.flush(Script::reading(self.now, self.owner_skew))?;
        self.journal.push(JournalEntry {
            sequence: append.expected + 1,
            payload: append.payload,
        });
        let released = self.owner.appended(append.expected + 1);
        released.replies.into_iter().next_back().map(|((), reply)| reply)
    }

    fn holder_hears(&mut self, holder: usize, reply: &OwnerReply) {
        for answer in &reply.answers {
            self.holders[holder].1.answer(Mono(self.now * 1000), answer);
        }
    }

    /// Asks and gets an answer within a millisecond or two.
    fn exchange(&mut self, holder: usize) -> OwnerReply {
        let request = self.says(holder);
        self.wait(1);
        let reply = self.owner_hears(&request);
        self.holder_hears(holder, &reply);
        reply
    }

    fn take(&mut self, holder: usize) -> Option<u32> {
        self.holders[holder]
            .1
            .reserve(Mono(self.now * 1000), 1, false, false)
            .ok()
    }

    /// Sends what was taken, if it may; it arrives `delivery` later.
    fn send(&mut self, holder: usize, key: u32, delivery: u64) -> bool {
        let now = Mono(self.now * 1000);
        let held = &mut self.holders[holder].1;
        if !held.may_send(now, key, 1) {
            return false;
        }
        held.sent(now, key, 1);
        held.over(key, 1, None);
        self.arrivals.push(self.now + delivery);
        true
    }

    /// Takes and sends at once.
    fn call(&mut self, holder: usize, delivery: u64) -> bool {
        self.take(holder).is_some_and(|key| self.send(holder, key, delivery))
    }

    /// Another node becomes the owner from the journal, its wall clock off by `skew`.
    fn succession(&mut self, skew: i64) {
        self.owner_skew = skew;
        self.owner = own(&mut self.journal, Script::reading(self.now, skew));
    }

    /// Asks every few milliseconds until something is granted, and sends it at once.
    fn insist(&mut self, holder: usize, for_ms: u64) -> bool {
        let end = self.now + for_ms;
        while self.now < end {
            self.exchange(holder);
            if self.call(holder, 0) {
                return true;
            }
            self.wait(4);
        }
        false
    }

    fn most(&mut self) -> usize {
        self.arrivals.sort_unstable();
        let all = &self.arrivals;
        let within = |from: u64| all.iter().filter(|at| (from..from + WINDOW).contains(at)).count();
        all.iter().map(|from| within(*from)).max().unwrap_or(0)
    }
}

/// Plays a trace as it is and with the mutant: at most one call in any window, and two.
fn play(mutant: Mutant, trace: impl Fn(&mut Script)) {
    let mut script = Script::new();
    trace(&mut script);
    assert_eq!(script.most(), 1, "the protocol overspends: {:?}", script.arrivals);
    assert!(
        script.arrivals.len() >= 2,
        "the protocol sends nothing more: {:?}",
        script.arrivals
    );
    mutants::with(Some(mutant), || {
        let mut script = Script::new();
        trace(&mut script);
        assert!(script.most() > 1, "{mutant:?} was not caught: {:?}", script.arrivals);
    });
}

#[test]
fn c1_a_unit_granted_at_the_end_of_a_window_and_spent_in_the_next() {
    play(Mutant::WindowOfReceipt, |script| {
        let (a, b) = (script.holder(), script.holder());
        script.wait(WINDOW - 300);
        script.exchange(a);
        script.wait(290);
        assert!(script.call(a, 60));
        script.exchange(a);
        script.wait(20);
        script.insist(b, 2 * WINDOW);
    });
}

#[test]
fn c2_counted_in_the_owners_aligned_window_of_receipt() {
    play(Mutant::WindowOfReceipt, |script| {
        let (a, b) = (script.holder(), script.holder());
        script.exchange(a);
        script.wait(WINDOW / 2);
        script.exchange(a);
        assert!(script.call(a, 0) || script.insist(a, 3 * WINDOW));
        script.exchange(a);
        script.insist(b, 2 * WINDOW);
    });
}

#[test]
fn c2b_an_upstream_window_that_slides() {
    play(Mutant::WindowOfReceipt, |script| {
        let (a, b) = (script.holder(), script.holder());
        script.wait(WINDOW - 100);
        script.exchange(a);
        assert!(script.call(a, 0));
        script.exchange(a);
        script.insist(b, 2 * WINDOW);
    });
}

#[test]
fn c3_an_absolute_expiry_on_clocks_that_disagree() {
    play(Mutant::AbsoluteExpiry, |script| {
        let (a, b) = (script.holder(), script.holder());
        script.owner_skew = SKEW as i64;
        let reply = script.exchange(a);
        let key = script.take(a).unwrap();
        if mutants::active(Mutant::AbsoluteExpiry) {
            let grant = reply.answers[0].granted.unwrap().grant;
            let end = Mono((script.now + LIFE + SKEW) * 1000);
            script.holders[a].1.force_life(grant, end);
        }
        script.wait(LIFE + SKEW - 10);
        // The holder's wall clock is behind: by it, the lease lives. Its report does not come through.
        script.send(a, key, SLACK);
        script.insist(b, 2 * WINDOW);
        script.wait(WINDOW + LIFE);
        script.insist(b, 2 * WINDOW);
    });
}

#[test]
fn c4_life_counted_from_the_receipt_of_the_grant() {
    play(Mutant::LifeFromReceipt, |script| {
        let (a, b) = (script.holder(), script.holder());
        let request = script.says(a);
        let reply = script.owner_hears(&request);
        script.wait(LIFE - 10);
        script.holder_hears(a, &reply);
        let key = script.take(a);
        script.wait(LIFE - 20);
        if let Some(key) = key {
            script.send(a, key, SLACK);
        }
        script.insist(b, 2 * WINDOW);
        script.wait(WINDOW + LIFE);
        script.insist(b, 2 * WINDOW);
    });
}

#[test]
fn c5_a_return_that_comes_twice_after_the_owner_changed() {
    // With a limit of 2, so that a return and a lease in hand are of one grant.
    let trace = |script: &mut Script| {
        let (a, b) = (script.holder(), script.holder());
        for holder in [a, b] {
            script.holders[holder].1.configure(Some(2));
        }
        let mut request = script.says(a);
        request.asks[0].need = 2;
        let reply = script.owner_hears(&request);
        script.holder_hears(a, &reply);
        let key = script.take(a).unwrap();
        script.holders[a].1.wind_up();
        let mut returned = script.says(a);
        returned.asks.clear();
        script.owner_hears(&returned);
        script.succession(0);
        script.owner_hears(&returned);
        // b may have what a gave back, and no more.
        script.insist(b, 50);
        script.insist(b, 50);
        script.send(a, key, 0);
    };
    let mut script = Script::new();
    trace(&mut script);
    assert_eq!((script.most(), script.arrivals.len()), (2, 2));
    mutants::with(Some(Mutant::SettleByIncrement), || {
        let mut script = Script::new();
        trace(&mut script);
        assert_eq!(script.most(), 3);
    });
}

#[test]
fn c6_a_restart_finds_unlapsed_grants_as_they_were() {
    play(Mutant::RestartReuses, |script| {
        let a = script.holder();
        script.exchange(a);
        let stored = script.holders[a].1.clone();
        assert!(script.call(a, 0));
        // Killed before it could settle; the next life has another session and nothing in hand.
        let again = script.holder();
        if mutants::active(Mutant::RestartReuses) {
            script.holders[again] = (script.holders[a].0, stored);
        }
        script.call(again, 0);
        script.insist(again, 3 * WINDOW);
    });
}

#[test]
fn c7_two_processes_with_one_node_id() {
    play(Mutant::GrantsOfANodeId, |script| {
        let (a, twin) = (script.holder(), script.holder());
        let request = script.says(a);
        // The twin asks with the same words; the owner's answer to one of them reaches both.
        let asked = script.says(twin);
        let reply = script.owner_hears(&request);
        script.holder_hears(a, &reply);
        if mutants::active(Mutant::GrantsOfANodeId) {
            script.holder_hears(twin, &reply);
        } else {
            let refused = script.owner_hears(&asked);
            script.holder_hears(twin, &refused);
        }
        assert!(script.call(a, 0));
        script.call(twin, 0);
        script.exchange(a);
        script.insist(twin, 2 * WINDOW);
    });
}

#[test]
fn c8_a_new_owner_trusts_stored_release_times() {
    play(Mutant::TrustStored, |script| {
        let (a, b) = (script.holder(), script.holder());
        script.exchange(a);
        assert!(script.call(a, SLACK));
        script.exchange(a);
        // The successor's wall clock is ahead by ε.
        script.succession(SKEW as i64);
        script.insist(b, 2 * WINDOW);
    });
}

#[test]
fn c9_delivery_that_is_late() {
    play(Mutant::NoDelivery, |script| {
        let (a, b) = (script.holder(), script.holder());
        script.exchange(a);
        assert!(script.call(a, SLACK));
        script.exchange(a);
        script.insist(b, 2 * WINDOW);
    });
}
