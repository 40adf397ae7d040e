//! One state of the model, and the steps that lead on from it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Change, Entry, EntryBody, GrantId, OwnerReply, OwnerRequest, Report};
use grok2api_schemas::meter::{Meter, MeterKind};

use crate::bus::{JournalEntry, JournalHead, codec};
use crate::clock::{Mono, WallMs};
use crate::ledger::LedgerOptions;
use crate::ledger::held::Held;
use crate::ledger::mutants::{Mutant, active};
use crate::ledger::owner::{Append, Owner};
use crate::ledger::rules::{Moment, Rules};
use crate::ledger::tests::harness::{NOON, meter};

/// Nodes.
const NODES: usize = 3;
/// What may arrive in any window, by domain.
const LIMITS: [u64; 2] = [1, 2];
/// One step of time, milliseconds.
const TICK_MS: u64 = 100;
/// T, milliseconds.
const WINDOW_MS: u64 = 600;
/// D, milliseconds.
const SLACK_MS: u64 = 100;
/// Life of a grant, milliseconds.
const LIFE_MS: u64 = 300;
/// ε, milliseconds.
const SKEW_MS: u64 = 200;
/// How far each node's wall clock is off: neighbours as far apart as they may be.
const SKEWS: [i64; NODES] = [SKEW_MS as i64 / 2, -(SKEW_MS as i64) / 2, 0];
/// Messages that may be on their way at once.
const ON_THEIR_WAY: usize = 5;

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stored,
    AnswerLost,
    Lost,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Tick,
    /// A holder says what it has to say to who it takes for the owner.
    Speak {
        node: usize,
        to: usize,
    },
    /// The same, giving back all it can.
    Return {
        node: usize,
        to: usize,
    },
    /// It gives its ask up, and will tell again what it told.
    GiveUp {
        node: usize,
    },
    Take {
        node: usize,
        domain: usize,
    },
    Send {
        node: usize,
        domain: usize,
        late: bool,
    },
    /// A message arrives; kept, it arrives again.
    Deliver {
        at: usize,
        keep: bool,
        fate: Fate,
    },
    Lose {
        at: usize,
    },
    /// An owner repeats an append that was not acknowledged.
    Repeat {
        node: usize,
    },
    TakeOver {
        node: usize,
    },
    Crash {
        node: usize,
    },
}

#[derive(Clone)]
struct Node {
    lives: u8,
    session: SessionId,
    held: Vec<Held>,
    /// What a restart would find if grants were stored (for a mutant).
    stored: Vec<Held>,
    taken: [Option<u32>; 2],
    owner: Option<Owner<Tag>>,
}

#[derive(Clone, Debug)]
struct Tag {
    node: usize,
    session: SessionId,
    told: Vec<(usize, GrantId, Report)>,
}

#[derive(Clone)]
enum Message {
    Request { to: usize, tag: Tag, request: OwnerRequest },
    Reply { tag: Tag, reply: OwnerReply },
}

#[derive(Clone)]
pub struct World {
    pub violation: Option<String>,
    now: u64,
    meters: [Meter; 2],
    nodes: Vec<Node>,
    messages: Vec<Message>,
    journal: Vec<JournalEntry>,
    stored: Vec<([u8; 16], u64)>,
    /// When what arrived did, by domain.
    arrivals: Vec<(usize, u64)>,
    sent: u64,
    next_grant: u64,
    faults: u8,
    crashes: u8,
    takeovers: u8,
    ticks: u8,
}

fn options(session: SessionId) -> LedgerOptions {
    LedgerOptions {
        delivery_slack_ms: SLACK_MS,
        grant_life_ms: LIFE_MS,
        max_clock_skew_ms: SKEW_MS,
        day_offset_minutes: 0,
        nodes: NODES,
        predecessors_are_dead: false,
        ..LedgerOptions::alone(session)
    }
}

fn session(node: usize, lives: u8) -> SessionId {
    let mut bytes = [0; 16];
    (bytes[0], bytes[1]) = (node as u8 + 1, lives);
    SessionId::from_bytes(bytes)
}

impl World {
    pub fn new() -> World {
        let kind = MeterKind::Requests { window_ms: WINDOW_MS };
        let mut world = World {
            violation: None,
            now: 100 * WINDOW_MS,
            meters: [meter("one", kind), meter("two", kind)],
            nodes: Vec::new(),
            messages: Vec::new(),
            journal: Vec::new(),
            stored: Vec::new(),
            arrivals: Vec::new(),
            sent: 0,
            next_grant: 1,
            faults: 6,
            crashes: 2,
            takeovers: 3,
            ticks: 34,
        };
        for node in 0..NODES {
            let fresh = world.fresh(node, 0);
            world.nodes.push(fresh);
        }
        world.take_over(0);
        world
    }

    fn fresh(&self, node: usize, lives: u8) -> Node {
        let session = session(node, lives);
        let now = self.moment(node).mono;
        let hold = |domain: usize| {
            let rules = Rules::of(&self.meters[domain], &options(session));
            Held::new(rules, Some(LIMITS[domain]), now)
        };
        let held = vec![hold(0), hold(1)];
        Node {
            lives,
            session,
            stored: held.clone(),
            held,
            taken: [None; 2],
            owner: None,
        }
    }

    /// No two nodes share a clock.
    fn moment(&self, node: usize) -> Moment {
        Moment {
            mono: Mono((self.now + 1_000_000 * (node as u64 + 1)) * 1000),
            wall: WallMs((NOON.0 + self.now).saturating_add_signed(SKEWS[node])),
        }
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Everything that decides what happens next.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        (self.now, self.faults, self.crashes, self.takeovers).hash(&mut hash);
        for (at, node) in self.nodes.iter().enumerate() {
            let moment = self.moment(at);
            (node.session, node.taken, node.owner.is_some()).hash(&mut hash);
            for held in &node.held {
                held.fingerprint(moment.mono, &mut hash);
            }
            if let Some(owner) = &node.owner {
                owner.fingerprint(&self.meters, moment, &mut hash);
            }
        }
        // The order in which messages were sent does not matter: any may arrive next.
        let mut on_their_way: Vec<u64> = self.messages.iter().map(World::message_hash).collect();
        on_their_way.sort_unstable();
        on_their_way.hash(&mut hash);
        self.journal
            .last()
            .map(|entry| (entry.sequence, &entry.payload))
            .hash(&mut hash);
        let mut recent: Vec<_> = self.arrivals.clone();
        recent.sort_unstable();
        recent.hash(&mut hash);
        hash.finish()
    }

    fn message_hash(message: &Message) -> u64 {
        let mut hash = DefaultHasher::new();
        match message {
            Message::Request { to, tag, request } => {
                (to, tag.session).hash(&mut hash);
                codec::encode(codec::VERSION, request).unwrap().hash(&mut hash);
            }
            Message::Reply { tag, reply } => {
                tag.session.hash(&mut hash);
                codec::encode(codec::VERSION, reply).unwrap().hash(&mut hash);
            }
        }
        hash.finish()
    }

    /// Every step that can be taken here.
    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.ticks > 0 {
            moves.push(Move::Tick);
        }
        let room = self.messages.len() < ON_THEIR_WAY;
        for node in 0..NODES {
            for to in 0..NODES {
                if room && self.nodes[to].owner.is_some() {
                    moves.push(Move::Speak { node, to });
                    if self.nodes[node]
                        .held
                        .iter()
                        .any(|held| held.stock(self.moment(node).mono) > 0)
                    {
                        moves.push(Move::Return { node, to });
                    }
                }
            }
            if self.nodes[node].held.iter().any(|held| held.asks().is_some()) {
                moves.push(Move::GiveUp { node });
            }
            for domain in 0..2 {
                if self.nodes[node].taken[domain].is_some() {
                    moves.push(Move::Send {
                        node,
                        domain,
                        late: false,
                    });
                    moves.push(Move::Send {
                        node,
                        domain,
                        late: true,
                    });
                } else if self.nodes[node].held[domain].stock(self.moment(node).mono) > 0 {
                    moves.push(Move::Take { node, domain });
                }
            }
            match &self.nodes[node].owner {
                Some(owner) if owner.is_appending() => moves.push(Move::Repeat { node }),
                None if self.takeovers > 0 => moves.push(Move::TakeOver { node }),
                _ => {}
            }
            if self.crashes > 0 {
                moves.push(Move::Crash { node });
            }
        }
        for at in 0..self.messages.len() {
            let kept = [false, true];
            for keep in kept.into_iter().filter(|keep| !keep || self.faults > 0) {
                moves.push(Move::Deliver {
                    at,
                    keep,
                    fate: Fate::Stored,
                });
            }
            if self.faults > 0 {
                moves.push(Move::Lose { at });
                if matches!(self.messages[at], Message::Request { .. }) {
                    moves.push(Move::Deliver {
                        at,
                        keep: false,
                        fate: Fate::AnswerLost,
                    });
                    moves.push(Move::Deliver {
                        at,
                        keep: false,
                        fate: Fate::Lost,
                    });
                }
            }
        }
        moves
    }

    pub fn step(&mut self, step: Move) {
        Owner::<Tag>::number_grants(Some(self.next_grant));
        match step {
            Move::Tick => {
                self.now += TICK_MS;
                self.ticks = self.ticks.saturating_sub(1);
                let now = self.now;
                self.arrivals.retain(|(_, at)| at + WINDOW_MS > now);
            }
            Move::Speak { node, to } => self.speak(node, to, false),
            Move::Return { node, to } => self.speak(node, to, true),
            Move::GiveUp { node } => self.give_up(node),
            Move::Take { node, domain } => {
                let now = self.moment(node).mono;
                self.nodes[node].taken[domain] = self.nodes[node].held[domain].reserve(now, 1, false, false).ok();
            }
            Move::Send { node, domain, late } => self.send(node, domain, late),
            Move::Deliver { at, keep, fate } => {
                let message = if keep {
                    self.messages[at].clone()
                } else {
                    self.messages.swap_remove(at)
                };
                self.faults -= u8::from(keep) + u8::from(fate != Fate::Stored);
                self.deliver(message, fate);
            }
            Move::Lose { at } => {
                self.messages.swap_remove(at);
                self.faults -= 1;
            }
            Move::Repeat { node } => {
                if let Some(append) = self.nodes[node].owner.as_ref().and_then(Owner::repeat) {
                    self.append(node, append, Fate::Stored);
                }
            }
            Move::TakeOver { node } => {
                self.takeovers -= 1;
                self.take_over(node);
            }
            Move::Crash { node } => self.crash(node),
        }
        self.next_grant = Owner::<Tag>::number_grants(None).unwrap_or(self.next_grant);
    }

    // ---- holders

    fn speak(&mut self, node: usize, to: usize, give_back: bool) {
        let now = self.moment(node).mono;
        let holder = &mut self.nodes[node];
        let mut request = OwnerRequest::of(holder.session);
        let mut told = Vec::new();
        for (domain, held) in holder.held.iter_mut().enumerate() {
            if give_back {
                held.wind_up();
            } else {
                held.enqueue(LIMITS[domain]);
            }
            let out = held.turn(now, &self.meters[domain], !give_back);
            if !give_back {
                held.dequeue(LIMITS[domain]);
            }
            told.extend(out.settlements.iter().map(|told| (domain, told.grant, told.report)));
            request.settlements.extend(out.settlements);
            request.asks.extend(out.ask);
        }
        if request.settlements.is_empty() && request.asks.is_empty() {
            return;
        }
        let session = holder.session;
        self.messages.push(Message::Request {
            to,
            tag: Tag { node, session, told },
            request,
        });
    }

    fn give_up(&mut self, node: usize) {
        let now = self.moment(node).mono;
        for held in &mut self.nodes[node].held {
            if let Some(ask) = held.asks() {
                held.ask_failed(ask, now);
            }
            held.not_told();
        }
    }

    fn send(&mut self, node: usize, domain: usize, late: bool) {
        let now = self.moment(node).mono;
        let holder = &mut self.nodes[node];
        let Some(key) = holder.taken[domain].take() else {
            return;
        };
        let held = &mut holder.held[domain];
        if !held.may_send(now, key, 1) {
            return held.unreserve(key, 1);
        }
        held.sent(now, key, 1);
        held.over(key, 1, None);
        self.sent += 1;
        let seen = self.now + if late { SLACK_MS } else { 0 };
        self.arrivals.push((domain, seen));
        let of_domain = || self.arrivals.iter().filter(|(of, _)| *of == domain).map(|(_, at)| *at);
        let fullest = of_domain().map(|from| of_domain().filter(|at| (from..from + WINDOW_MS).contains(at)).count());
        let most = fullest.max().unwrap_or(0) as u64;
        if most > LIMITS[domain] {
            self.violation = Some(format!(
                "overspent: {most} of {} in {:?}",
                LIMITS[domain], self.arrivals
            ));
        }
    }

    fn crash(&mut self, node: usize) {
        self.crashes = self.crashes.saturating_sub(1);
        let lives = self.nodes[node].lives + 1;
        let mut fresh = self.fresh(node, lives);
        if active(Mutant::RestartReuses) {
            fresh.session = self.nodes[node].session;
            fresh.held = self.nodes[node].stored.clone();
            fresh.stored = fresh.held.clone();
        }
        self.nodes[node] = fresh;
    }

    // ---- owners and the journal

    fn deliver(&mut self, message: Message, fate: Fate) {
        match message {
            Message::Request { to, tag, request } => {
                let moment = self.moment(to);
                let Some(owner) = self.nodes[to].owner.as_mut().filter(|owner| owner.owns()) else {
                    return;
                };
                if let Some((tag, reply)) = owner.receive(moment, request, tag) {
                    self.messages.push(Message::Reply { tag, reply });
                }
                self.flush(to, fate);
            }
            Message::Reply { tag, reply } => self.hear(tag, &reply),
        }
    }

    fn hear(&mut self, tag: Tag, reply: &OwnerReply) {
        let now = self.moment(tag.node).mono;
        let holder = &mut self.nodes[tag.node];
        if holder.session != tag.session {
            return;
        }
        if reply.acknowledged {
            for (domain, grant, report) in tag.told {
                holder.held[domain].acknowledge(grant, report);
            }
        }
        for (meter, grant) in &reply.gone {
            let domain = usize::from(*meter != self.meters[0]);
            holder.held[domain].gone(*grant);
        }
        for answer in &reply.answers {
            let domain = usize::from(answer.meter != self.meters[0]);
            holder.held[domain].answer(now, answer);
            if answer.granted.is_some() {
                holder.stored[domain] = holder.held[domain].clone();
            }
        }
    }

    fn flush(&mut self, node: usize, fate: Fate) {
        let moment = self.moment(node);
        if let Some(append) = self.nodes[node].owner.as_mut().and_then(|owner| owner.flush(moment)) {
            self.append(node, append, fate);
        }
    }

    fn append(&mut self, node: usize, append: Append, fate: Fate) {
        if fate == Fate::Lost {
            return;
        }
        let known = self
            .stored
            .iter()
            .find(|(id, _)| *id == append.message_id)
            .map(|(_, at)| *at);
        let last = self.journal.last().map_or(0, |entry| entry.sequence);
        let sequence = match known {
            Some(sequence) => sequence,
            None if last == append.expected || active(Mutant::NoCompareAndSet) => {
                self.journal.push(JournalEntry {
                    sequence: last + 1,
                    payload: append.payload,
                });
                self.stored.push((append.message_id, last + 1));
                last + 1
            }
            None => {
                // Another session decided first: it steps down.
                self.nodes[node].owner = None;
                return;
            }
        };
        if fate == Fate::AnswerLost {
            return;
        }
        let Some(owner) = self.nodes[node].owner.as_mut() else {
            return;
        };
        for (tag, reply) in owner.appended(sequence).replies {
            self.messages.push(Message::Reply { tag, reply });
        }
        self.flush(node, Fate::Stored);
    }

    fn take_over(&mut self, node: usize) {
        let moment = self.moment(node);
        let head = JournalHead {
            last_sequence: self.journal.last().map_or(0, |entry| entry.sequence),
            incarnation: 1,
        };
        let session = self.nodes[node].session;
        let mut owner = Owner::replay(session, options(session), moment, head, &self.journal).unwrap();
        let append = owner.take_over(moment, 1);
        self.nodes[node].owner = Some(owner);
        self.append(node, append, Fate::Stored);
    }

    // ---- the end of a walk

    /// Faults end: every domain is served again, everything that was granted is settled, and each grant was made once and
    /// closed once.
    pub fn calm(&mut self) {
        self.messages.clear();
        self.takeovers = 1;
        for node in 0..NODES {
            self.nodes[node].owner = None;
            self.give_up(node);
            for domain in 0..2 {
                if let Some(key) = self.nodes[node].taken[domain].take() {
                    self.nodes[node].held[domain].unreserve(key, 1);
                }
            }
        }
        self.step(Move::TakeOver { node: 1 });
        let (mut served, mut tick) = ([false; 2], 0);
        let patience = (2 * LIFE_MS + WINDOW_MS + SLACK_MS + SKEW_MS) / TICK_MS + 3;
        while tick < patience {
            self.step(Move::Tick);
            tick += 1;
            for node in 0..NODES {
                self.exchange(Move::Speak { node, to: 1 });
                for (domain, served) in served.iter_mut().enumerate() {
                    let before = self.sent;
                    self.step(Move::Take { node, domain });
                    self.step(Move::Send {
                        node,
                        domain,
                        late: true,
                    });
                    *served |= self.sent > before;
                }
            }
        }
        if self.violation.is_none() && served != [true; 2] {
            self.violation = Some(format!("stuck: served {served:?} after {tick} ticks of calm"));
        }
        for _ in 0..patience {
            self.step(Move::Tick);
            for node in 0..NODES {
                self.exchange(Move::Return { node, to: 1 });
            }
        }
        let moment = self.moment(1);
        if let Some(owner) = self.nodes[1].owner.as_mut() {
            owner.tick(moment);
            for (meter, state) in owner.state().meters() {
                if self.violation.is_none() && state.load() != (0, 0) {
                    self.violation = Some(format!(
                        "left over at {meter}: {:?} of {:?}",
                        state.load(),
                        state.grants
                    ));
                }
            }
        }
        self.check_grants();
    }

    /// One message there, and its answer back.
    fn exchange(&mut self, step: Move) {
        self.step(step);
        while !self.messages.is_empty() {
            self.step(Move::Deliver {
                at: 0,
                keep: false,
                fate: Fate::Stored,
            });
        }
    }

    fn check_grants(&mut self) {
        let mut closed: HashMap<GrantId, bool> = HashMap::new();
        for stored in &self.journal {
            let entry: Entry = codec::decode(&stored.payload).unwrap();
            let EntryBody::Changes(changes) = entry.body else {
                continue;
            };
            for change in changes.meters.iter().flat_map(|of| &of.changes) {
                let twice = match change {
                    Change::Granted { grant, .. } => closed.insert(*grant, false).map(|_| (grant, "made")),
                    Change::Settled { grant, report, .. } if report.closed => closed
                        .insert(*grant, true)
                        .filter(|closed| *closed)
                        .map(|_| (grant, "closed")),
                    _ => None,
                };
                if let Some((grant, what)) = twice
                    && self.violation.is_none()
                {
                    self.violation = Some(format!("{grant:?} was {what} twice"));
                }
            }
        }
    }
}
