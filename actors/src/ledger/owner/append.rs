//! What an owner appends: changes, and snapshots that let older entries go.

use bytes::Bytes;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Entry, EntryBody, OwnerReply, Takeover};
use grok2api_schemas::meter::Meter;

use super::{Append, InFlight, Owner, Part, Released};
use crate::bus::codec;
use crate::ledger::rules::Moment;

/// Entries after which a snapshot is due.
pub(super) const SNAPSHOT_ENTRIES: u64 = 1024;
/// Bytes after which a snapshot is due.
const SNAPSHOT_BYTES: usize = 512 * 1024;
/// Meters in one chunk of a snapshot.
pub(super) const CHUNK_METERS: usize = 512;

/// A snapshot being written, chunk by chunk.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct SnapshotWork {
    left: Vec<Meter>,
    index: u32,
    first_sequence: Option<u64>,
}

impl<T> Owner<T> {
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
        let Some(InFlight { append, replies, part }) = self.in_flight.take() else {
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

    /// The append on its way, to be repeated as it is.
    pub fn repeat(&self) -> Option<Append> {
        self.in_flight.as_ref().map(|on_its_way| on_its_way.append.clone())
    }

    /// What decides what happens next, hashed; for tests. `meters` says in which order.
    #[cfg(test)]
    pub fn fingerprint(&self, meters: &[Meter], moment: Moment, hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let state = self.state.snapshot(meters, 0, true, moment);
        codec::encode(codec::VERSION, &state).unwrap().hash(hash);
        codec::encode(codec::VERSION, &self.pending).unwrap().hash(hash);
        (
            self.last_sequence,
            self.epoch,
            self.in_flight.is_some(),
            self.waiting.len(),
        )
            .hash(hash);
        for line in meters.iter().filter_map(|meter| self.lines.get(meter)) {
            line.fingerprint(moment.mono, hash);
        }
    }

    /// Sets the number of the next grant on this thread, and answers what it was; for tests.
    #[cfg(test)]
    pub fn number_grants(next: Option<u64>) -> Option<u64> {
        super::answer::NEXT_GRANT.replace(next)
    }

    /// Snapshots after few entries and in small chunks, for tests.
    #[cfg(test)]
    pub fn snapshot_often(&mut self) {
        self.snapshot_entries = 30;
        self.chunk_meters = 1;
    }

    /// Whether a snapshot is due, or not all of it is written.
    pub fn owes_snapshot(&self) -> bool {
        self.snapshot.is_some()
            || self.entries_since_snapshot >= self.snapshot_entries
            || self.bytes_since_snapshot >= SNAPSHOT_BYTES
    }

    fn flush_snapshot(&mut self, moment: Moment) -> Option<Append> {
        if !self.owes_snapshot() {
            return None;
        }
        if self.snapshot.is_none() {
            self.snapshot = Some(SnapshotWork {
                left: self.state.meters().map(|(name, _)| name.clone()).collect(),
                index: 0,
                first_sequence: None,
            });
            let takeover = Takeover {
                incarnation: self.head.incarnation,
                predecessors_are_dead: false,
            };
            if let Some(suspicion) = self.suspicion(moment, takeover) {
                // What is purged with the entries before it must not be forgotten.
                let part = Part::Snapshot { last: false };
                return Some(self.compose(moment, EntryBody::Suspect(suspicion), Vec::new(), part));
            }
        }
        let work = self.snapshot.as_mut()?;
        let take = work.left.len().min(self.chunk_meters);
        let meters: Vec<Meter> = work.left.drain(..take).collect();
        let (index, last) = (work.index, work.left.is_empty());
        work.index += 1;
        let chunk = self.state.snapshot(&meters, index, last, moment);
        Some(self.compose(moment, EntryBody::Snapshot(chunk), Vec::new(), Part::Snapshot { last }))
    }

    pub(super) fn compose(
        &mut self,
        moment: Moment,
        body: EntryBody,
        replies: Vec<(T, OwnerReply)>,
        part: Part,
    ) -> Append {
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
        self.in_flight = Some(InFlight {
            append: append.clone(),
            replies,
            part,
        });
        append
    }
}
