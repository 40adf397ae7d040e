//! Several holders and the owner of their shard in virtual time, without faults unless a test makes one: what the pump and
//! the shard's actor do, over messages that take a millisecond or two and appends that take two.

use std::collections::BTreeMap;

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{GrantId, OwnerReply, OwnerRequest, Report};
use grok2api_schemas::meter::{Meter, MeterKind};

use super::harness::NOON;
use crate::bus::{JournalEntry, JournalHead};
use crate::clock::{Mono, WallMs};
use crate::ledger::LedgerOptions;
use crate::ledger::held::Held;
use crate::ledger::owner::Owner;
use crate::ledger::rules::{Moment, Rules};

/// How often a holder looks at every meter, milliseconds.
const BEAT_MS: u64 = 250;
/// How often an owner writes what does not hurry, milliseconds.
const TICK_MS: u64 = 2_000;
/// How often a holder is heard at least, milliseconds.
const HEARTBEAT_MS: u64 = 2_000;
/// How long a message takes, milliseconds.
const MESSAGE_MS: u64 = 1;
/// How long an append takes, milliseconds.
const APPEND_MS: u64 = 2;

/// One holder.
pub struct Holder {
    pub session: SessionId,
    pub held: Vec<Held>,
    pub alive: bool,
    /// Cut off from the owner.
    pub cut: bool,
    spoke_at: u64,
    /// Meters that are looked at without waiting for the beat.
    hurried: Vec<bool>,
    again_at: Vec<u64>,
}

/// One call under way.
#[derive(Clone, Debug)]
pub struct Call {
    pub node: usize,
    pub items: Vec<(usize, u32, u64)>,
}

#[derive(Clone, Debug)]
pub struct Tag {
    node: usize,
    session: SessionId,
    told: Vec<(usize, GrantId, Report)>,
}

enum Event {
    Request {
        request: OwnerRequest,
        tag: Tag,
        urgent: bool,
    },
    Reply {
        tag: Tag,
        reply: OwnerReply,
    },
    Appended {
        sequence: u64,
        owner: u64,
    },
}

/// All of them.
pub struct Cluster {
    /// Milliseconds since the start.
    pub now: u64,
    pub meters: Vec<Meter>,
    pub nodes: Vec<Holder>,
    pub owner: Owner<Tag>,
    /// What arrived at the upstream, by meter: when, and how much.
    pub arrivals: Vec<Vec<(u64, u64)>>,
    /// Messages to and from the owner, and appends.
    pub messages: u64,
    pub appends: u64,
    /// Appends do not get through.
    pub stalled: bool,
    /// The wall clock's distance from noon at the start, milliseconds.
    pub wall_ahead: u64,
    owner_life: u64,
    limits: Vec<Option<u64>>,
    journal: Vec<JournalEntry>,
    events: BTreeMap<u64, Vec<Event>>,
}

fn options(session: SessionId, nodes: usize) -> LedgerOptions {
    LedgerOptions {
        nodes,
        predecessors_are_dead: false,
        day_offset_minutes: 0,
        ..LedgerOptions::alone(session)
    }
}

impl Cluster {
    pub fn new(nodes: usize, meters: &[(Meter, Option<u64>)]) -> Cluster {
        let moment = reading(0, 0);
        let session = SessionId::generate();
        let mut cluster = Cluster {
            now: 0,
            meters: meters.iter().map(|(meter, _)| meter.clone()).collect(),
            limits: meters.iter().map(|(_, limit)| *limit).collect(),
            nodes: Vec::new(),
            owner: owner(&[], session, nodes, moment),
            arrivals: vec![Vec::new(); meters.len()],
            messages: 0,
            appends: 0,
            stalled: false,
            wall_ahead: 0,
            owner_life: 0,
            journal: Vec::new(),
            events: BTreeMap::new(),
        };
        cluster.own(session);
        for _ in 0..nodes {
            let holder = cluster.holder();
            cluster.nodes.push(holder);
        }
        cluster
    }

    fn holder(&self) -> Holder {
        let session = SessionId::generate();
        let options = options(session, self.nodes.len().max(1));
        let at = |(meter, limit): (&Meter, &Option<u64>)| Held::new(Rules::of(meter, &options), *limit, self.mono());
        Holder {
            session,
            held: self.meters.iter().zip(&self.limits).map(at).collect(),
            alive: true,
            cut: false,
            spoke_at: 0,
            hurried: vec![false; self.meters.len()],
            again_at: vec![u64::MAX; self.meters.len()],
        }
    }

    fn mono(&self) -> Mono {
        self.moment().mono
    }

    pub fn moment(&self) -> Moment {
        reading(self.now, self.wall_ahead)
    }

    fn own(&mut self, session: SessionId) {
        let moment = self.moment();
        self.owner = owner(&self.journal, session, self.nodes.len().max(3), moment);
        let append = self.owner.take_over(moment, 1);
        self.journal.push(JournalEntry {
            sequence: append.expected + 1,
            payload: append.payload,
        });
        self.owner.appended(append.expected + 1);
        self.owner_life += 1;
    }

    /// The owner is killed; another decides from the journal.
    pub fn succeed(&mut self) {
        self.own(SessionId::generate());
    }

    /// A holder is killed.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
    }

    /// A killed holder's process begins anew.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node] = self.holder();
    }

    fn post(&mut self, in_ms: u64, event: Event) {
        self.events.entry(self.now + in_ms).or_default().push(event);
    }

    /// Lets time pass; `each` is called every millisecond.
    pub fn run(&mut self, ms: u64, mut each: impl FnMut(&mut Cluster)) {
        for _ in 0..ms {
            self.now += 1;
            while let Some(first) = self.events.first_entry()
                && *first.key() <= self.now
            {
                for event in first.remove() {
                    self.happen(event);
                }
            }
            each(self);
            for node in 0..self.nodes.len() {
                if self.nodes[node].alive {
                    self.turns(node);
                }
            }
            if self.now.is_multiple_of(TICK_MS) {
                self.owner.tick(self.moment());
                self.flush();
            }
        }
    }

    fn turns(&mut self, node: usize) {
        let now = self.mono();
        // Not all beat in step.
        let beat = (self.now + 83 * node as u64).is_multiple_of(BEAT_MS);
        let holder = &mut self.nodes[node];
        let mut request = OwnerRequest::of(holder.session);
        let (mut told, mut urgent) = (Vec::new(), false);
        for (index, held) in holder.held.iter_mut().enumerate() {
            let due = holder.again_at[index] <= self.now;
            if !(beat || due || holder.hurried[index]) {
                continue;
            }
            holder.hurried[index] = false;
            if due {
                holder.again_at[index] = u64::MAX;
            }
            let out = held.turn(now, &self.meters[index], true);
            if let Some(again) = out.again_at {
                holder.again_at[index] = holder.again_at[index].min(again.0.div_ceil(1000) - BOOT_MS);
            }
            urgent |= out.urgent;
            told.extend(out.settlements.iter().map(|told| (index, told.grant, told.report)));
            if let Some(limit) = out.learned {
                request.learned.push((self.meters[index].clone(), limit));
            }
            if let Some(seen) = out.seen {
                request.seen.push((self.meters[index].clone(), seen));
            }
            request.settlements.extend(out.settlements);
            request.asks.extend(out.ask);
        }
        let empty = request.seen.is_empty()
            && request.learned.is_empty()
            && request.settlements.is_empty()
            && request.asks.is_empty();
        if empty && !(beat && self.now >= holder.spoke_at + HEARTBEAT_MS) {
            return;
        }
        holder.spoke_at = self.now;
        if holder.cut {
            return;
        }
        let session = holder.session;
        self.messages += 1;
        self.post(
            MESSAGE_MS,
            Event::Request {
                request,
                tag: Tag { node, session, told },
                urgent,
            },
        );
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request { request, tag, urgent } => {
                if let Some((tag, reply)) = self.owner.receive(self.moment(), request, tag) {
                    self.reply(tag, reply);
                }
                if urgent {
                    self.flush();
                }
            }
            Event::Reply { tag, reply } => self.hear(tag, reply),
            Event::Appended { sequence, owner } if owner == self.owner_life => {
                if self.stalled {
                    return self.post(50, Event::Appended { sequence, owner });
                }
                let released = self.owner.appended(sequence);
                for (tag, reply) in released.replies {
                    self.reply(tag, reply);
                }
                self.flush();
            }
            Event::Appended { .. } => {}
        }
    }

    fn reply(&mut self, tag: Tag, reply: OwnerReply) {
        self.messages += 1;
        self.post(MESSAGE_MS, Event::Reply { tag, reply });
    }

    fn flush(&mut self) {
        if let Some(append) = self.owner.flush(self.moment()) {
            let sequence = append.expected + 1;
            self.journal.push(JournalEntry {
                sequence,
                payload: append.payload,
            });
            self.appends += 1;
            let owner = self.owner_life;
            self.post(APPEND_MS, Event::Appended { sequence, owner });
        }
    }

    fn hear(&mut self, tag: Tag, reply: OwnerReply) {
        let now = self.mono();
        let Some(holder) = self
            .nodes
            .get_mut(tag.node)
            .filter(|holder| holder.alive && !holder.cut && holder.session == tag.session)
        else {
            return;
        };
        if reply.acknowledged {
            for (meter, grant, report) in tag.told {
                holder.held[meter].acknowledge(grant, report);
            }
        }
        for (meter, grant) in &reply.gone {
            if let Some(index) = self.meters.iter().position(|known| known == meter) {
                holder.held[index].gone(*grant);
            }
        }
        for meter in &reply.recalled {
            if let Some(index) = self.meters.iter().position(|known| known == meter) {
                holder.held[index].recall(now);
                holder.hurried[index] = true;
            }
        }
        for answer in &reply.answers {
            if let Some(index) = self.meters.iter().position(|known| *known == answer.meter) {
                holder.held[index].answer(now, answer);
                holder.hurried[index] = true;
            }
        }
    }

    /// Takes of every meter or of none, and sends at once.
    pub fn call(&mut self, node: usize, wants: &[(usize, u64)]) -> Option<Call> {
        let now = self.mono();
        if !self.nodes[node].alive {
            return None;
        }
        let mut items: Vec<(usize, u32, u64)> = Vec::new();
        for (meter, units) in wants {
            match self.nodes[node].held[*meter].reserve(now, *units, false, true) {
                Ok(key) => items.push((*meter, key, *units)),
                Err(_) => {
                    for (meter, key, units) in items {
                        self.nodes[node].held[meter].unreserve(key, units);
                    }
                    return None;
                }
            }
        }
        let may = items.iter().all(|(meter, key, units)| {
            let held = &mut self.nodes[node].held[*meter];
            held.may_send(now, *key, *units)
        });
        for (meter, key, units) in &items {
            let held = &mut self.nodes[node].held[*meter];
            if may {
                held.sent(now, *key, *units);
                self.arrivals[*meter].push((self.now, *units));
            } else {
                held.unreserve(*key, *units);
            }
        }
        may.then_some(Call { node, items })
    }

    /// A call is over; `cost` is what amounts really cost.
    pub fn over(&mut self, call: &Call, cost: Option<u64>) {
        for (meter, key, units) in &call.items {
            self.nodes[call.node].held[*meter].over(*key, *units, cost);
        }
    }

    /// Somebody waits at a node for units of a meter.
    pub fn queue(&mut self, node: usize, meter: usize, units: u64) {
        self.nodes[node].held[meter].enqueue(units);
        self.nodes[node].hurried[meter] = true;
    }

    /// A call that is made as soon as it can be, within `wait` milliseconds.
    pub fn insist(&mut self, node: usize, wants: &[(usize, u64)], wait: u64) -> Option<Call> {
        for (meter, units) in wants {
            self.queue(node, *meter, *units);
        }
        let end = self.now + wait;
        let mut made = self.call(node, wants);
        while made.is_none() && self.now < end {
            self.run(1, |_| {});
            made = self.call(node, wants);
        }
        for (meter, units) in wants {
            self.nodes[node].held[*meter].dequeue(*units);
        }
        made
    }

    pub fn stock(&self, node: usize, meter: usize) -> u64 {
        self.nodes[node].held[meter].stock(self.mono())
    }

    /// Units charged and outstanding at the owner.
    pub fn load(&self, meter: usize) -> (u64, u64) {
        let known = self.owner.state().meter(&self.meters[meter]);
        known.map_or((0, 0), |meter| meter.load())
    }

    /// Units presumed spent, at the owner.
    pub fn presumed(&self, meter: usize) -> u64 {
        let known = self.owner.state().meter(&self.meters[meter]);
        known.map_or(0, |meter| meter.grants.values().map(|grant| grant.presumed).sum())
    }

    /// The most that arrived in any window of this length.
    pub fn most_in(&self, meter: usize, window_ms: u64) -> u64 {
        let all = &self.arrivals[meter];
        let (mut most, mut sum, mut first) = (0, 0, 0);
        for (at, units) in all {
            sum += units;
            while all[first].0 + window_ms <= *at {
                sum -= all[first].1;
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }

    /// Arrivals from one time to another.
    pub fn between(&self, meter: usize, from: u64, to: u64) -> u64 {
        let inside = self.arrivals[meter].iter().filter(|(at, _)| (from..to).contains(at));
        inside.map(|(_, units)| units).sum()
    }
}

/// The boot-time clock's reading at the start, milliseconds.
const BOOT_MS: u64 = 3_600_000;

fn reading(now: u64, wall_ahead: u64) -> Moment {
    Moment {
        mono: Mono((BOOT_MS + now) * 1000),
        wall: WallMs(NOON.0 + wall_ahead + now),
    }
}

fn owner(journal: &[JournalEntry], session: SessionId, nodes: usize, moment: Moment) -> Owner<Tag> {
    let head = JournalHead {
        last_sequence: journal.last().map_or(0, |entry| entry.sequence),
        incarnation: 1,
    };
    Owner::replay(session, options(session, nodes), moment, head, journal).unwrap()
}

/// So many requests in a window.
pub const fn requests(window_ms: u64) -> MeterKind {
    MeterKind::Requests { window_ms }
}
