//! A cluster in a bottle: holders and owners as they are in production, on clocks that disagree, over messages that are
//! late, lost, doubled and out of order, with crashes, restarts and owners that duel. The judge stands at the upstream
//! and knows the true time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{GrantId, OwnerReply, OwnerRequest, Report};
use grok2api_schemas::meter::{Meter, MeterKind};

use super::harness::meter;
use crate::bus::{JournalEntry, JournalHead};
use crate::clock::{Mono, WallMs};
use crate::ledger::LedgerOptions;
use crate::ledger::held::Held;
use crate::ledger::mutants::{Mutant, active};
use crate::ledger::owner::{Append, Owner};
use crate::ledger::rules::{Moment, Rules};

/// Life of a grant in the simulation, milliseconds: short, so that much happens.
const LIFE_MS: u64 = 1_500;
/// D, milliseconds.
const SLACK_MS: u64 = 200;
/// ε, milliseconds; each clock is off by at most half of it.
const SKEW_MS: u64 = 800;
/// The wall time at the start.
const EPOCH_MS: u64 = super::harness::NOON.0;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub kind: MeterKind,
    pub limit: u64,
    pub nodes: usize,
    pub seconds: u64,
    pub seed: u64,
    /// The most units of a call.
    pub weight: u64,
    /// What happens to messages; drawn from the seed if not given.
    pub chaos: Option<Chaos>,
}

/// Of a hundred messages, how many fare how.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// Get lost.
    pub lost: u8,
    /// Come twice.
    pub doubled: u8,
    /// Come so late that a grant may have lapsed.
    pub late: u8,
}

/// What the judge saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    pub most: u64,
    pub sent: u64,
    pub appends: u64,
    pub takeovers: u64,
}

#[derive(Clone)]
enum Event {
    /// A holder's turn.
    Turn { node: usize, life: u64 },
    /// A caller wants a lease.
    Take { node: usize, life: u64 },
    /// A lease is sent, or given back.
    Send {
        node: usize,
        life: u64,
        key: u32,
        units: u64,
        cancel: bool,
    },
    /// A call is over.
    Over {
        node: usize,
        life: u64,
        key: u32,
        units: u64,
        call: usize,
    },
    /// A request reaches the node that was believed to be the owner.
    Request {
        to: usize,
        from: usize,
        request: OwnerRequest,
        told: Vec<(GrantId, Report)>,
        asked_at: u64,
    },
    /// An answer reaches its holder.
    Reply {
        to: usize,
        session: SessionId,
        reply: OwnerReply,
        told: Vec<(GrantId, Report)>,
        from: usize,
        asked_at: u64,
    },
    /// An ask is given up.
    GiveUp { node: usize, life: u64, ask: u64 },
    /// An append reaches the journal.
    Append { node: usize, owner: u64, append: Append },
    /// The journal's answer reaches the owner.
    Appended {
        node: usize,
        owner: u64,
        append: Append,
        result: Result<u64, ()>,
    },
    /// An owner's tick.
    Tick { node: usize, owner: u64 },
    /// A node looks at the journal and takes it over.
    TakeOver { node: usize, life: u64 },
    /// A process dies, and another begins.
    Crash { node: usize },
}

struct Scheduled(u64, u64, Event);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Where an answer goes: the holder's node, its session, what it told, and when it asked.
#[derive(Clone, Debug)]
struct Tag {
    node: usize,
    session: SessionId,
    told: Vec<(GrantId, Report)>,
    asked_at: u64,
}

struct Node {
    life: u64,
    session: SessionId,
    /// Offset of its boot-time clock, milliseconds.
    boot_ms: u64,
    /// Its wall clock's error, milliseconds.
    skew_ms: i64,
    held: Held,
    /// What a restart would find if grants were stored (for a mutant).
    stored: Option<Held>,
    owner: Option<Owner<Tag>>,
    owner_life: u64,
    open: Vec<usize>,
}

/// One call at the upstream: when it was seen, when it ended, how much it counts.
#[derive(Clone, Copy, Debug)]
struct Call {
    from: u64,
    to: Option<u64>,
    seen: u64,
    units: u64,
}

pub struct Simulation {
    scenario: Scenario,
    meter: Meter,
    rules: Rules,
    random: fastrand::Rng,
    now: u64,
    count: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    nodes: Vec<Node>,
    journal: Vec<JournalEntry>,
    ids: BTreeMap<[u8; 16], u64>,
    calls: Vec<Call>,
    verdict: Verdict,
    chaos: Chaos,
    /// How long a process lives on average.
    lives_ms: u64,
}

impl Simulation {
    pub fn run(scenario: Scenario) -> Verdict {
        let mut simulation = Simulation::new(scenario);
        while let Some(Reverse(Scheduled(at, _, event))) = simulation.queue.pop() {
            if at > scenario.seconds * 1000 {
                break;
            }
            simulation.now = at;
            simulation.happen(event);
        }
        simulation.judge()
    }

    fn new(scenario: Scenario) -> Simulation {
        let meter = meter("sim", scenario.kind);
        let mut simulation = Simulation {
            rules: Rules::of(&meter, &options(&scenario, SessionId::generate())),
            scenario,
            meter,
            random: fastrand::Rng::with_seed(scenario.seed),
            now: 0,
            count: 0,
            queue: BinaryHeap::new(),
            nodes: Vec::new(),
            journal: Vec::new(),
            ids: BTreeMap::new(),
            calls: Vec::new(),
            verdict: Verdict::default(),
            chaos: Chaos {
                lost: 5,
                doubled: 15,
                late: 10,
            },
            lives_ms: 5_000,
        };
        if scenario.kind != MeterKind::Concurrency {
            simulation.chaos.lost = simulation.one_of([0, 10, 40]);
        }
        if let Some(chaos) = scenario.chaos {
            simulation.chaos = chaos;
        }
        simulation.lives_ms = simulation.one_of([5_000, 20_000, 60_000]);
        let ahead = simulation.one_of([0, 1, -1]);
        for node in 0..scenario.nodes {
            // Neighbours are as far apart as they may be, one way or the other, or agree.
            let skew_ms = ahead * SKEW_MS as i64 / 2 * if node % 2 == 0 { 1 } else { -1 };
            let boot_ms = simulation.random.u64(1_000_000..9_000_000);
            simulation.nodes.push(Node {
                life: 0,
                session: SessionId::generate(),
                boot_ms,
                skew_ms,
                held: Held::new(simulation.rules, Some(scenario.limit), Mono(boot_ms * 1000)),
                stored: None,
                owner: None,
                owner_life: 0,
                open: Vec::new(),
            });
            simulation.boot(node, true);
        }
        simulation
    }

    fn boot(&mut self, node: usize, first: bool) {
        let life = self.nodes[node].life;
        let jitter = self.random.u64(0..100);
        self.at(jitter, Event::Turn { node, life });
        self.at(jitter, Event::Take { node, life });
        let takes_over = if self.scenario.nodes == 1 || (first && node == 0) {
            1
        } else {
            self.random.u64(500..8_000)
        };
        self.at(takes_over, Event::TakeOver { node, life });
        let crash = self.random.u64(500..2 * self.lives_ms);
        self.at(crash, Event::Crash { node });
    }

    fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[self.random.usize(0..N)]
    }

    fn at(&mut self, in_ms: u64, event: Event) {
        self.count += 1;
        self.queue.push(Reverse(Scheduled(self.now + in_ms, self.count, event)));
    }

    /// A message: mostly quick, sometimes very late, sometimes lost, sometimes twice.
    fn post(&mut self, event: Event) {
        let local = self.scenario.nodes == 1;
        let copies = match self.random.u8(0..100) {
            dice if !local && dice < self.chaos.lost => 0,
            dice if !local && dice >= 100 - self.chaos.doubled => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = match self.random.u8(0..100) {
                _ if local => self.random.u64(0..20),
                dice if dice < self.chaos.late => self.random.u64(0..2 * LIFE_MS),
                dice if dice >= 85 => self.random.u64(0..400),
                _ => self.random.u64(0..15),
            };
            self.at(delay, event.clone());
        }
    }

    fn moment(&self, node: usize) -> Moment {
        let node = &self.nodes[node];
        Moment {
            mono: Mono((self.now + node.boot_ms) * 1000),
            wall: WallMs((EPOCH_MS + self.now).saturating_add_signed(node.skew_ms)),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { node, life } if self.nodes[node].life == life => self.turn(node, life),
            Event::Take { node, life } if self.nodes[node].life == life => self.take(node, life),
            Event::Send {
                node,
                life,
                key,
                units,
                cancel,
            } if self.nodes[node].life == life => {
                self.send(node, life, key, units, cancel);
            }
            Event::Over {
                node,
                life,
                key,
                units,
                call,
            } if self.nodes[node].life == life => {
                self.over(node, key, units, call);
            }
            Event::Request {
                to,
                from,
                request,
                told,
                asked_at,
            } => self.request(to, from, request, told, asked_at),
            Event::Reply {
                to,
                session,
                reply,
                told,
                from,
                asked_at,
            } if self.nodes[to].session == session => self.reply(to, reply, told, from, asked_at),
            Event::GiveUp { node, life, ask } if self.nodes[node].life == life => {
                let now = self.moment(node).mono;
                self.nodes[node].held.ask_failed(ask, now);
            }
            Event::Append { node, owner, append } => {
                let result = self.store(&append);
                self.post(Event::Appended {
                    node,
                    owner,
                    append,
                    result,
                });
            }
            Event::Appended {
                node,
                owner,
                append,
                result,
            } => self.appended(node, owner, append, result),
            Event::Tick { node, owner } if self.nodes[node].owner_life == owner && self.nodes[node].owner.is_some() => {
                let moment = self.moment(node);
                if let Some(owner) = &mut self.nodes[node].owner {
                    owner.tick(moment);
                }
                self.flush(node);
                self.at(500, Event::Tick { node, owner });
            }
            Event::TakeOver { node, life } if self.nodes[node].life == life => self.take_over(node, life),
            Event::Crash { node } => self.crash(node),
            _ => {}
        }
    }

    // ---- holders

    fn turn(&mut self, node: usize, life: u64) {
        let moment = self.moment(node);
        let waiting = self.random.u64(0..=self.scenario.weight + 1);
        let meter = self.meter.clone();
        let recalled = self.random.u8(0..60) == 0;
        let starving = self.random.u8(0..20) == 0;
        let holder = &mut self.nodes[node];
        if recalled {
            holder.held.wind_up();
        }
        // Another starves, or an owner says so that knows nothing.
        if starving {
            holder.held.recall(moment.mono);
        }
        holder.held.pay(moment.mono);
        let wanting = waiting > 0;
        if wanting {
            holder.held.enqueue(waiting);
        }
        let out = holder.held.turn(moment.mono, &meter, true);
        if wanting {
            holder.held.dequeue(waiting);
        }
        let request = OwnerRequest {
            session: holder.session,
            learned: Vec::new(),
            settlements: out.settlements,
            asks: out.ask.into_iter().collect(),
            seen: Vec::new(),
        };
        let told: Vec<_> = request
            .settlements
            .iter()
            .map(|told| (told.grant, told.report))
            .collect();
        if let Some(ask) = request.asks.first() {
            let give_up = self.random.u64(100..3 * LIFE_MS);
            self.at(
                give_up,
                Event::GiveUp {
                    node,
                    life,
                    ask: ask.number,
                },
            );
        }
        // Told to everybody who believes to be the owner; who is not, cannot append.
        for to in 0..self.nodes.len() {
            if self.nodes[to].owner.is_some() {
                let (request, told, asked_at) = (request.clone(), told.clone(), self.now);
                self.post(Event::Request {
                    to,
                    from: node,
                    request,
                    told,
                    asked_at,
                });
            }
        }
        let pause = match self.random.u8(0..8) {
            0 => self.random.u64(20..400),
            _ => self.random.u64(2..40),
        };
        self.at(pause, Event::Turn { node, life });
    }

    fn take(&mut self, node: usize, life: u64) {
        let now = self.moment(node).mono;
        let units = self.random.u64(1..=self.scenario.weight);
        if let Ok(key) = self.nodes[node].held.reserve(now, units, false, false) {
            let pause = match self.random.u8(0..4) {
                0 => self.random.u64(0..LIFE_MS * 2),
                _ => self.random.u64(0..100),
            };
            let cancel = self.random.u8(0..8) == 0;
            self.at(
                pause,
                Event::Send {
                    node,
                    life,
                    key,
                    units,
                    cancel,
                },
            );
        }
        let pause = self.random.u64(2..60);
        self.at(pause, Event::Take { node, life });
    }

    fn send(&mut self, node: usize, life: u64, key: u32, units: u64, cancel: bool) {
        let now = self.moment(node).mono;
        if cancel || !self.nodes[node].held.may_send(now, key, units) {
            return self.nodes[node].held.unreserve(key, units);
        }
        self.nodes[node].held.sent(now, key, units);
        let seen = self.now + self.delivery();
        let takes = match self.random.u8(0..4) {
            0 => self.random.u64(0..3 * LIFE_MS),
            _ => self.random.u64(0..200),
        };
        self.calls.push(Call {
            from: self.now,
            to: None,
            seen,
            units,
        });
        self.verdict.sent += 1;
        let call = self.calls.len() - 1;
        self.nodes[node].open.push(call);
        self.at(
            takes,
            Event::Over {
                node,
                life,
                key,
                units,
                call,
            },
        );
    }

    fn delivery(&mut self) -> u64 {
        match self.random.u8(0..3) {
            0 => SLACK_MS,
            1 => 0,
            _ => self.random.u64(0..=SLACK_MS),
        }
    }

    fn over(&mut self, node: usize, key: u32, units: u64, call: usize) {
        self.nodes[node].open.retain(|open| *open != call);
        self.calls[call].to = Some(self.now);
        if matches!(self.scenario.kind, MeterKind::Tokens { .. } | MeterKind::Usd { .. }) {
            let cost = self.random.u64(0..=units);
            self.calls[call].units = cost;
            if self.random.bool() {
                // The upstream may count a call when it ends.
                self.calls[call].seen = self.now + self.random.u64(0..=SLACK_MS);
            }
            self.nodes[node].held.over(key, units, Some(cost));
        } else {
            self.nodes[node].held.over(key, units, None);
        }
    }

    fn reply(&mut self, to: usize, reply: OwnerReply, told: Vec<(GrantId, Report)>, from: usize, asked_at: u64) {
        let now = self.moment(to).mono;
        let early_ms = self.nodes[from].skew_ms - self.nodes[to].skew_ms;
        let (boot_ms, twin) = (self.nodes[to].boot_ms, (to + 1) % self.nodes.len());
        let holder = &mut self.nodes[to];
        if reply.acknowledged {
            for (grant, report) in told {
                holder.held.acknowledge(grant, report);
            }
        }
        for (_, grant) in &reply.gone {
            holder.held.gone(*grant);
        }
        for answer in &reply.answers {
            holder.held.answer(now, answer);
            if let Some(granted) = &answer.granted {
                if active(Mutant::AbsoluteExpiry) {
                    // The owner's wall time of receipt plus the life, read on the holder's wall clock. The simulation
                    // takes the ask's time for the receipt: messages are mostly quick.
                    let end = (asked_at + LIFE_MS + boot_ms).saturating_add_signed(early_ms);
                    holder.held.force_life(granted.grant, Mono(end * 1000));
                }
                holder.stored = Some(holder.held.clone());
            }
        }
        if active(Mutant::GrantsOfANodeId) && twin != to {
            self.nodes[twin].held = self.nodes[to].held.clone();
            self.nodes[twin].session = self.nodes[to].session;
            self.nodes[twin].boot_ms = boot_ms;
        }
    }

    // ---- owners

    fn request(&mut self, to: usize, from: usize, request: OwnerRequest, told: Vec<(GrantId, Report)>, asked_at: u64) {
        let moment = self.moment(to);
        let tag = Tag {
            node: from,
            session: request.session,
            told,
            asked_at,
        };
        let Some(owner) = self.nodes[to].owner.as_mut().filter(|owner| owner.owns()) else {
            return;
        };
        if let Some((tag, reply)) = owner.receive(moment, request, tag) {
            self.answer(to, tag, reply);
        }
        self.flush(to);
    }

    fn answer(&mut self, from: usize, tag: Tag, reply: OwnerReply) {
        self.post(Event::Reply {
            to: tag.node,
            session: tag.session,
            reply,
            told: tag.told,
            from,
            asked_at: tag.asked_at,
        });
    }

    fn flush(&mut self, node: usize) {
        let moment = self.moment(node);
        let owner_life = self.nodes[node].owner_life;
        if let Some(append) = self.nodes[node].owner.as_mut().and_then(|owner| owner.flush(moment)) {
            self.post_append(node, owner_life, append);
        }
    }

    fn post_append(&mut self, node: usize, owner: u64, append: Append) {
        self.post(Event::Append {
            node,
            owner,
            append: append.clone(),
        });
        // A lost append, or a lost answer, is repeated byte for byte.
        self.at(
            1_000,
            Event::Appended {
                node,
                owner,
                append,
                result: Err(()),
            },
        );
    }

    fn store(&mut self, append: &Append) -> Result<u64, ()> {
        if let Some(sequence) = self.ids.get(&append.message_id) {
            return Ok(*sequence);
        }
        let last = self.journal.last().map_or(0, |entry| entry.sequence);
        if last != append.expected {
            return Ok(0);
        }
        self.journal.push(JournalEntry {
            sequence: last + 1,
            payload: append.payload.clone(),
        });
        self.ids.insert(append.message_id, last + 1);
        self.verdict.appends += 1;
        Ok(last + 1)
    }

    fn appended(&mut self, node: usize, owner_life: u64, append: Append, result: Result<u64, ()>) {
        if self.nodes[node].owner_life != owner_life {
            return;
        }
        let Some(owner) = &mut self.nodes[node].owner else {
            return;
        };
        if owner.repeat().as_ref() != Some(&append) {
            return;
        }
        match result {
            Err(()) => self.post_append(node, owner_life, append),
            Ok(0) => {
                // Somebody else decided first: step down.
                self.nodes[node].owner = None;
                let (life, pause) = (self.nodes[node].life, self.random.u64(1_000..8_000));
                self.at(pause, Event::TakeOver { node, life });
            }
            Ok(sequence) => {
                let released = owner.appended(sequence);
                for (tag, reply) in released.replies {
                    self.answer(node, tag, reply);
                }
                if let Some(before) = released.purge_before {
                    self.journal.retain(|entry| entry.sequence >= before);
                }
                self.flush(node);
            }
        }
    }

    fn take_over(&mut self, node: usize, life: u64) {
        if self.nodes[node].owner.is_some() {
            return;
        }
        let others = self
            .nodes
            .iter()
            .any(|other| other.owner.as_ref().is_some_and(Owner::owns));
        if others && self.random.u8(0..3) > 0 {
            let pause = self.random.u64(1_000..4_000);
            return self.at(pause, Event::TakeOver { node, life });
        }
        let moment = self.moment(node);
        let head = JournalHead {
            last_sequence: self.journal.last().map_or(0, |entry| entry.sequence),
            incarnation: 1,
        };
        let options = options(&self.scenario, self.nodes[node].session);
        let mut owner = Owner::replay(self.nodes[node].session, options, moment, head, &self.journal).unwrap();
        owner.snapshot_often();
        let append = owner.take_over(moment, 1);
        self.nodes[node].owner = Some(owner);
        self.nodes[node].owner_life += 1;
        self.verdict.takeovers += 1;
        let owner = self.nodes[node].owner_life;
        self.post_append(node, owner, append);
        self.at(500, Event::Tick { node, owner });
    }

    fn crash(&mut self, node: usize) {
        let now = self.now;
        let open = std::mem::take(&mut self.nodes[node].open);
        for call in open {
            self.calls[call].to = Some(now);
        }
        let rebooted = self.random.bool();
        let boot_ms = if rebooted {
            self.random.u64(1_000_000..9_000_000)
        } else {
            self.nodes[node].boot_ms
        };
        let crashed = &mut self.nodes[node];
        crashed.life += 1;
        crashed.owner = None;
        crashed.owner_life += 1;
        if active(Mutant::RestartReuses) && crashed.stored.is_some() {
            if let Some(stored) = crashed.stored.clone() {
                crashed.held = stored;
            }
        } else if !active(Mutant::GrantsOfANodeId) {
            crashed.session = SessionId::generate();
            crashed.boot_ms = boot_ms;
            crashed.held = Held::new(self.rules, Some(self.scenario.limit), Mono((now + boot_ms) * 1000));
        }
        self.boot(node, false);
    }

    // ---- the judge

    fn judge(mut self) -> Verdict {
        self.verdict.most = match self.scenario.kind {
            MeterKind::Concurrency => self.most_at_once(),
            MeterKind::PerDay(_) | MeterKind::UsdPerDay => self.calls.iter().map(|call| call.units).sum(),
            _ => self.most_in_window(),
        };
        self.verdict
    }

    fn most_in_window(&mut self) -> u64 {
        self.calls.sort_by_key(|call| call.seen);
        let (mut most, mut sum, mut first) = (0, 0, 0);
        for call in &self.calls {
            sum += call.units;
            while self.calls[first].seen + self.rules.window_ms <= call.seen {
                sum -= self.calls[first].units;
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }

    fn most_at_once(&self) -> u64 {
        let mut edges: Vec<(u64, i64)> = Vec::new();
        for call in &self.calls {
            edges.push((call.from, call.units as i64));
            edges.push((call.to.unwrap_or(u64::MAX), -(call.units as i64)));
        }
        edges.sort_unstable();
        let (mut most, mut sum) = (0, 0);
        for (_, change) in edges {
            sum += change;
            most = most.max(sum);
        }
        most as u64
    }
}

fn options(scenario: &Scenario, session: SessionId) -> LedgerOptions {
    LedgerOptions {
        session,
        delivery_slack_ms: SLACK_MS,
        grant_life_ms: LIFE_MS,
        max_clock_skew_ms: SKEW_MS,
        day_offset_minutes: 0,
        nodes: scenario.nodes,
        predecessors_are_dead: scenario.nodes == 1,
    }
}
