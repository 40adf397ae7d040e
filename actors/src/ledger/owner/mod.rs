//! The protocol of a shard's owner, without I/O: requests come in with the moment they are received, appends go out, and
//! answers are released only when the append that holds them is acknowledged. The actor around it and the simulation in
//! the tests drive the same code.

mod answer;
mod append;
mod distrust;
mod line;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Change, Changes, Entry, EntryBody, MeterChanges, OwnerReply, OwnerRequest, Takeover};
use grok2api_schemas::meter::Meter;

pub use self::answer::LONGEST_PAUSE_MS;
use self::append::{CHUNK_METERS, SNAPSHOT_ENTRIES, SnapshotWork};
pub use self::distrust::Distrust;
use self::line::Line;
use crate::bus::codec;
use crate::bus::{JournalEntry, JournalHead};
use crate::clock::Mono;
use crate::ledger::LedgerOptions;
use crate::ledger::mutants::{Mutant, active};
use crate::ledger::rules::{Anchor, Moment};
use crate::ledger::shard::ShardState;

/// A session silent for this long has lost its slots, milliseconds (`ledger.md` §1: slots free in ≤ 10 s).
pub const SILENCE_MS: u64 = 8_000;
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
#[cfg_attr(test, derive(Clone))]
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
    /// Meters of which a session got less than it needs and than its part, and when.
    starving: HashMap<Meter, Starving>,
    /// Who waits for units of which meter.
    lines: HashMap<Meter, Line>,
    entries_since_snapshot: u64,
    bytes_since_snapshot: usize,
    snapshot: Option<SnapshotWork>,
    snapshot_entries: u64,
    chunk_meters: usize,
    tally: Tally,
    distrust: Option<Distrust>,
    /// The journal as it was replayed.
    head: JournalHead,
}

/// A session that got less of a meter than it needs and than its part.
#[derive(Clone, Debug)]
struct Starving {
    session: SessionId,
    since: Mono,
    /// It has got what it needed since.
    is_over: bool,
    /// Which holders were told so last, and when.
    told: BTreeMap<SessionId, Mono>,
}

/// An append on its way, and the answers that it releases.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct InFlight<T> {
    append: Append,
    replies: Vec<(T, OwnerReply)>,
    part: Part,
}

/// What an append in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Takeover,
    Changes,
    Snapshot { last: bool },
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
        let mut distrust = None;
        if state.incarnation().is_some_and(|known| known != head.incarnation) {
            distrust = Some(Distrust::AnotherLife);
        } else if entries.is_empty() && head.last_sequence > 0 {
            distrust = Some(Distrust::Missing {
                through: head.last_sequence,
            });
        }
        // What an owner before noted in this life of the journal is known.
        let is_marked = state.distrusted_at().is_some();
        if let Some(reason) = distrust {
            tracing::error!(%reason, "the journal is not the one that was written here: no grants for one window");
            state.distrust(moment);
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
            starving: HashMap::new(),
            lines: HashMap::new(),
            entries_since_snapshot: entries.len() as u64,
            bytes_since_snapshot: bytes,
            snapshot: None,
            snapshot_entries: SNAPSHOT_ENTRIES,
            chunk_meters: CHUNK_METERS,
            tally: Tally::default(),
            distrust: distrust.or(is_marked.then_some(Distrust::Inherited)),
            head,
        })
    }

    /// The entry that makes this session the owner: every later append of an older one fails.
    pub fn take_over(&mut self, moment: Moment, incarnation: u64) -> Append {
        let takeover = Takeover {
            incarnation,
            predecessors_are_dead: self.options.predecessors_are_dead,
        };
        self.state.hear_all(moment.mono);
        let before = self.state.charged();
        self.state.apply_takeover(self.session, moment.mono, &takeover);
        self.tally.presumed += self.state.charged().saturating_sub(before);
        // What is in the journal already is not said again: each reading of it adds the skew of clocks.
        let suspicion = self.suspicion(moment, takeover).filter(|_| self.found_suspect());
        let body = match suspicion {
            Some(suspicion) => EntryBody::Suspect(suspicion),
            None => EntryBody::Takeover(takeover),
        };
        self.compose(moment, body, Vec::new(), Part::Takeover)
    }

    /// The sequence of the takeover; 0 before it stands.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many nodes share what is granted from now on.
    pub fn share_among(&mut self, nodes: usize) {
        self.options.nodes = nodes;
    }

    /// A session that is known to have been silent since before this owner began.
    pub fn silent_since(&mut self, session: SessionId, since: Mono) {
        self.state.silent_since(session, since);
    }

    /// Whether a session has been silent for so long that its slots are free: [`Owner::tick`] frees them.
    pub fn has_silent(&self, moment: Moment) -> bool {
        self.owns() && self.state.has_silent(moment.mono, SILENCE_MS, self.session)
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
        for (meter, seen) in &request.seen {
            self.sweep(moment, meter);
            let change = self.state.meter_mut(meter).foreign(moment, session, *seen);
            self.make(moment, meter, change);
        }
        let mut promises = false;
        for ask in &request.asks {
            self.sweep(moment, &ask.meter);
            let answer = self.answer(moment, session, ask);
            promises |= answer.granted.is_some() || !answer.renewed.is_empty();
            reply.answers.push(answer);
        }
        self.note_heard(moment, session, &request);
        self.recall(moment, session, &mut reply);
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
        self.lines.retain(|_, line| line.is_kept(moment.mono));
        if self.is_quiet() {
            self.state.forget_blank();
        }
    }

    /// Own appends were failing and go through again: nobody was silent meanwhile.
    pub fn recovered(&mut self, moment: Moment) {
        self.state.hear_all(moment.mono);
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
}
