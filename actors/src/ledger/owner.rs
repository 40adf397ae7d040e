//! The protocol of a shard's owner, without I/O: requests come in with the moment they are received, appends go out, and
//! answers are released only when the append that holds them is acknowledged. The actor around it and the simulation in
//! the tests drive the same code.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{
    Answer, Ask, Change, Changes, Entry, EntryBody, GrantId, Granted, MeterChanges, OwnerReply, OwnerRequest,
    Settlement, Standing, Takeover,
};
use grok2api_schemas::meter::Meter;

use super::LedgerOptions;
use super::meter::Decision;
use super::mutants::{Mutant, active};
use super::rules::{Anchor, Class, Moment};
use super::shard::ShardState;
use crate::bus::codec;
use crate::bus::{JournalEntry, JournalHead};
use crate::clock::Mono;

/// A session silent for this long has lost its slots, milliseconds (`ledger.md` §1: slots free in ≤ 10 s).
pub const SILENCE_MS: u64 = 8_000;
/// How often a session with something open here is noted in the journal, milliseconds.
const HEARD_EVERY_MS: u64 = 2_000;
/// Entries after which a snapshot is due.
const SNAPSHOT_ENTRIES: u64 = 1024;
/// Bytes after which a snapshot is due.
const SNAPSHOT_BYTES: usize = 512 * 1024;
/// Meters in one chunk of a snapshot.
const CHUNK_METERS: usize = 512;

/// Grant numbers of this process: one count for all shards and all turns as owner, so that none is ever reused.
static GRANTS_MADE: AtomicU64 = AtomicU64::new(0);

/// Where an append must go, byte for byte, however often it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The last sequence that the owner saw.
    pub expected: u64,
    /// Makes a retry harmless.
    pub message_id: [u8; 16],
    /// The entry.
    pub payload: Bytes,
}

/// Counts of what happened, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Grants made.
    pub grants: u64,
    /// Grants that lapsed with units in hand.
    pub lapses: u64,
    /// Units presumed spent.
    pub presumed: u64,
    /// Settlements of grants that this journal never made.
    pub strangers: u64,
}

/// What an acknowledged append releases.
#[derive(Debug)]
pub struct Released<T> {
    /// Answers that may now be sent.
    pub replies: Vec<(T, OwnerReply)>,
    /// Entries before this sequence are covered by a snapshot.
    pub purge_before: Option<u64>,
}

/// A shard's owner. `T` says where an answer goes.
#[derive(Debug)]
pub struct Owner<T> {
    options: LedgerOptions,
    session: SessionId,
    state: ShardState,
    last_sequence: u64,
    epoch: u64,
    pending: Changes,
    index: HashMap<Meter, usize>,
    waiting: Vec<(T, OwnerReply)>,
    in_flight: Option<InFlight<T>>,
    heard_written: HashMap<SessionId, Mono>,
    entries_since_snapshot: u64,
    bytes_since_snapshot: usize,
    snapshot: Option<SnapshotWork>,
    snapshot_entries: u64,
    chunk_meters: usize,
    tally: Tally,
}

/// An append on its way, the answers that it releases, and what it is.
type InFlight<T> = (Append, Vec<(T, OwnerReply)>, Part);

/// What an append in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Takeover,
    Changes,
    Snapshot { last: bool },
}

/// A snapshot being written, chunk by chunk.
#[derive(Debug)]
struct SnapshotWork {
    left: Vec<Meter>,
    index: u32,
    first_sequence: Option<u64>,
}

/// What could not be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which entry.
    pub sequence: u64,
    /// Why.
    pub reason: String,
}

impl<T> Owner<T> {
    /// Replays a journal. Nothing is decided before the takeover that [`Owner::take_over`] composes is appended.
    ///
    /// # Errors
    /// An entry does not decode: a shard whose past is unknown decides nothing.
    pub fn replay(
        session: SessionId,
        options: LedgerOptions,
        moment: Moment,
        head: JournalHead,
        entries: &[JournalEntry],
    ) -> Result<Owner<T>, Unreadable> {
        let mut state = ShardState::new(options);
        let mut bytes = 0;
        for stored in entries {
            let entry: Entry = codec::decode(&stored.payload).map_err(|error| Unreadable {
                sequence: stored.sequence,
                reason: error.to_string(),
            })?;
            state.replay(&entry, moment);
            bytes += stored.payload.len();
        }
        for (_, meter) in state.meters_mut() {
            meter.expire(moment);
        }
        if state.incarnation().is_some_and(|known| known != head.incarnation) {
            tracing::error!("the journal is not the one that was written here: no grants for one window");
            state.distrust(moment.mono);
        }
        Ok(Owner {
            options,
            session,
            state,
            last_sequence: head.last_sequence,
            epoch: 0,
            pending: Changes::default(),
            index: HashMap::new(),
            waiting: Vec::new(),
            in_flight: None,
            heard_written: HashMap::new(),
            entries_since_snapshot: entries.len() as u64,
            bytes_since_snapshot: bytes,
            snapshot: None,
            snapshot_entries: SNAPSHOT_ENTRIES,
            chunk_meters: CHUNK_METERS,
            tally: Tally::default(),
        })
    }

    /// The entry that makes this session the owner: every later append of an older one fails.
    pub fn take_over(&mut self, moment: Moment, incarnation: u64) -> Append {
        let takeover = Takeover {
            incarnation,
            predecessors_are_dead: self.options.predecessors_are_dead,
        };
        self.state.hear_all(moment.mono);
        self.state.apply_takeover(self.session, moment.mono, &takeover);
        self.compose(moment, EntryBody::Takeover(takeover), Vec::new(), Part::Takeover)
    }

    /// Whether the takeover stands.
    pub fn owns(&self) -> bool {
        self.epoch > 0
    }

    /// The state, to look at.
    pub fn state(&self) -> &ShardState {
        &self.state
    }

    /// Counts since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// A request of a holder, received at `moment`. An answer that promises nothing is given at once; others are released
    /// by [`Owner::appended`].
    pub fn receive(&mut self, moment: Moment, request: OwnerRequest, tag: T) -> Option<(T, OwnerReply)> {
        let session = request.session;
        self.state.hear(session, moment.mono);
        let mut reply = OwnerReply::default();
        for (meter, limit) in &request.learned {
            let change = self.state.meter_mut(meter).learn(*limit);
            self.make(moment, meter, change);
        }
        for settlement in &request.settlements {
            self.sweep(moment, &settlement.meter);
            self.settle(moment, session, settlement, &mut reply);
        }
        let mut promises = false;
        for ask in &request.asks {
            self.sweep(moment, &ask.meter);
            let answer = self.answer(moment, session, ask);
            promises |= answer.granted.is_some() || !answer.renewed.is_empty();
            reply.answers.push(answer);
        }
        self.note_heard(moment, session, &request);
        let settled_in_journal = self.is_quiet() && !promises;
        if settled_in_journal {
            reply.acknowledged = true;
            return Some((tag, reply));
        }
        if (!request.asks.is_empty() && !promises) || active(Mutant::GrantBeforeAppend) {
            // The settlements that came along are repeated until a later request acknowledges them.
            return Some((tag, reply));
        }
        reply.acknowledged = true;
        self.waiting.push((tag, reply));
        None
    }

    /// Nothing waits to be written.
    fn is_quiet(&self) -> bool {
        self.pending.meters.is_empty() && self.pending.heard.is_empty() && self.in_flight.is_none()
    }

    /// Whether there is something to append.
    pub fn has_pending(&self) -> bool {
        !self.pending.meters.is_empty() || !self.pending.heard.is_empty() || !self.waiting.is_empty()
    }

    /// Whether an append is on its way.
    pub fn is_appending(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Time passes: lapses are booked, silent sessions abandoned, blank meters forgotten.
    pub fn tick(&mut self, moment: Moment) {
        if !self.owns() {
            return;
        }
        let names: Vec<Meter> = self.state.meters().map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.sweep(moment, name);
        }
        let silent = self.state.silent(moment.mono, SILENCE_MS, self.session);
        for session in silent {
            self.heard_written.remove(&session);
            for name in &names {
                let changes = self
                    .state
                    .meter(name)
                    .map(|meter| meter.abandon(moment, session))
                    .unwrap_or_default();
                for change in changes {
                    self.make(moment, name, Some(change));
                }
            }
        }
        if self.is_quiet() {
            self.state.forget_blank();
        }
    }

    /// The next append, if there is something to write and none is on its way.
    pub fn flush(&mut self, moment: Moment) -> Option<Append> {
        if self.in_flight.is_some() || !self.owns() {
            return None;
        }
        if self.has_pending() {
            self.index.clear();
            let changes = std::mem::take(&mut self.pending);
            let waiting = std::mem::take(&mut self.waiting);
            return Some(self.compose(moment, EntryBody::Changes(changes), waiting, Part::Changes));
        }
        self.flush_snapshot(moment)
    }

    /// The last append (or its byte-for-byte repetition) is acknowledged at `sequence`.
    pub fn appended(&mut self, sequence: u64) -> Released<T> {
        let mut released = Released {
            replies: Vec::new(),
            purge_before: None,
        };
        let Some((append, replies, part)) = self.in_flight.take() else {
            return released;
        };
        released.replies = replies;
        self.last_sequence = sequence;
        self.entries_since_snapshot += 1;
        self.bytes_since_snapshot += append.payload.len();
        match part {
            Part::Takeover => self.epoch = sequence,
            Part::Changes => {}
            Part::Snapshot { last } => {
                if let Some(work) = &mut self.snapshot {
                    let first = *work.first_sequence.get_or_insert(sequence);
                    if last {
                        self.snapshot = None;
                        self.entries_since_snapshot = 0;
                        self.bytes_since_snapshot = 0;
                        released.purge_before = Some(first);
                    }
                }
            }
        }
        released
    }

    /// Own appends were failing and go through again: nobody was silent meanwhile.
    pub fn recovered(&mut self, moment: Moment) {
        self.state.hear_all(moment.mono);
    }

    /// The append on its way, to be repeated as it is.
    pub fn repeat(&self) -> Option<Append> {
        self.in_flight.as_ref().map(|(append, _, _)| append.clone())
    }

    /// Snapshots after few entries and in small chunks, for tests.
    #[cfg(test)]
    pub fn snapshot_often(&mut self) {
        self.snapshot_entries = 30;
        self.chunk_meters = 1;
    }

    fn flush_snapshot(&mut self, moment: Moment) -> Option<Append> {
        let due = self.entries_since_snapshot >= self.snapshot_entries || self.bytes_since_snapshot >= SNAPSHOT_BYTES;
        if self.snapshot.is_none() {
            if !due {
                return None;
            }
            self.snapshot = Some(SnapshotWork {
                left: self.state.meters().map(|(name, _)| name.clone()).collect(),
                index: 0,
                first_sequence: None,
            });
        }
        let work = self.snapshot.as_mut()?;
        let take = work.left.len().min(self.chunk_meters);
        let meters: Vec<Meter> = work.left.drain(..take).collect();
        let (index, last) = (work.index, work.left.is_empty());
        work.index += 1;
        let chunk = self.state.snapshot(&meters, index, last, moment);
        Some(self.compose(moment, EntryBody::Snapshot(chunk), Vec::new(), Part::Snapshot { last }))
    }

    fn compose(&mut self, moment: Moment, body: EntryBody, replies: Vec<(T, OwnerReply)>, part: Part) -> Append {
        let entry = Entry {
            writer: self.session,
            at_ms: moment.wall.0,
            epoch: self.epoch,
            body,
        };
        let payload = codec::encode(codec::VERSION, &entry).unwrap_or_else(|error| {
            // Entries hold nothing that the codec refuses; an empty payload would fail the next replay loudly.
            tracing::error!(%error, "a journal entry does not encode");
            Bytes::new()
        });
        let append = Append {
            expected: self.last_sequence,
            message_id: *SessionId::generate().as_bytes(),
            payload,
        };
        self.in_flight = Some((append.clone(), replies, part));
        append
    }

    /// Applies a change and notes it for the journal.
    fn make(&mut self, moment: Moment, meter: &Meter, change: Option<Change>) {
        let Some(change) = change else {
            return;
        };
        let before = self.state.meter(meter).map_or(0, |meter| meter.charges_total());
        self.state.apply_changes(
            &Changes {
                meters: vec![MeterChanges {
                    meter: meter.clone(),
                    changes: vec![change],
                }],
                heard: Vec::new(),
            },
            &Anchor::own(moment),
        );
        match change {
            Change::Granted { .. } => self.tally.grants += 1,
            Change::Lapsed { .. } | Change::Abandoned { .. } => {
                let after = self.state.meter(meter).map_or(0, |meter| meter.charges_total());
                if after > before {
                    self.tally.lapses += 1;
                    self.tally.presumed += after - before;
                }
            }
            Change::Stranger { .. } => self.tally.strangers += 1,
            _ => {}
        }
        let slot = match self.index.get(meter) {
            Some(slot) => *slot,
            None => {
                self.pending.meters.push(MeterChanges {
                    meter: meter.clone(),
                    changes: Vec::new(),
                });
                self.index.insert(meter.clone(), self.pending.meters.len() - 1);
                self.pending.meters.len() - 1
            }
        };
        self.pending.meters[slot].changes.push(change);
    }

    fn sweep(&mut self, moment: Moment, name: &Meter) {
        let meter = self.state.meter_mut(name);
        let lapses = meter.due_lapses(moment);
        for lapse in lapses {
            self.make(moment, name, Some(lapse));
        }
        self.state.meter_mut(name).expire(moment);
    }

    fn settle(&mut self, moment: Moment, session: SessionId, settlement: &Settlement, reply: &mut OwnerReply) {
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

    fn answer(&mut self, moment: Moment, session: SessionId, ask: &Ask) -> Answer {
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
        for change in self.state.meter_mut(&ask.meter).forgone(session, ask) {
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
        let meter = self.state.meter_mut(&ask.meter);
        let granted = match meter.decide(moment, session, ask, nodes) {
            Decision::Refuse => None,
            Decision::Grant(units) => {
                let rules = meter.rules;
                let day = rules.daily.then_some(meter.today);
                let life_ms = match day {
                    Some(day) => Some(rules.ms_to_end_of(day, moment.wall)),
                    None => rules.mortal().then_some(rules.life_ms),
                };
                Some(Granted {
                    grant: GrantId {
                        owner: self.session,
                        number: GRANTS_MADE.fetch_add(1, Ordering::Relaxed) + 1,
                    },
                    units,
                    life_ms,
                    day,
                })
            }
        };
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
        Answer {
            meter: ask.meter.clone(),
            ask: ask.number,
            granted,
            renewed,
            standing: self.standing(moment, &ask.meter, ask.least),
        }
    }

    fn standing(&self, moment: Moment, meter: &Meter, least: u64) -> Standing {
        self.state
            .meter(meter)
            .map(|meter| meter.standing(moment, least))
            .unwrap_or_default()
    }

    /// A session with slots or calls in flight here is noted in the journal every so often.
    fn note_heard(&mut self, moment: Moment, session: SessionId, request: &OwnerRequest) {
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
