//! What the ledger writes to its journals and what holders and owners say to each other (`README.md`, "Words"). Every
//! time in here is either a length in milliseconds or the wall time (Unix milliseconds) of the session that wrote it.

use serde::{Deserialize, Serialize};

use crate::ids::SessionId;
use crate::meter::Meter;

/// Names a grant for ever: the session that decided it and that session's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GrantId {
    /// The session of the owner that made it.
    pub owner: SessionId,
    /// Grows with every grant of that session; never reused.
    pub number: u64,
}

/// What became of a grant, in absolute counts that only grow: two reports merge by the maximum of each count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Units of calls that were sent (for amounts: what they had reserved).
    pub sent: u64,
    /// Of those, units whose final cost is known, or will never be (for requests: all that were sent).
    pub done: u64,
    /// What the finished ones cost: more or less than `done` for amounts; requests count once per send, late ones twice.
    pub cost: u64,
    /// Units given back: never sent, never to be sent.
    pub returned: u64,
    /// Nothing of this grant is in hand or in flight any more. Only such a report replaces a presumption.
    pub closed: bool,
}

/// One entry of a shard's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The session that wrote it; its wall clock dates everything in it.
    pub writer: SessionId,
    /// When it was composed, Unix milliseconds of the writer.
    pub at_ms: u64,
    /// Sequence of the writer's takeover; 0 in the takeover itself.
    pub epoch: u64,
    /// What happened.
    pub body: EntryBody,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EntryBody {
    /// A new owner: every later append of an older one fails at the sequence check.
    Takeover(Takeover),
    /// Grants, settlements, lapses and limits, in order.
    Changes(Changes),
    /// Part of a snapshot: replaces what was known of these meters.
    Snapshot(SnapshotChunk),
    /// The journal is not the one that was written before: no grants until the upstream can have forgotten what the lost
    /// one granted. Also a takeover, or said again before a snapshot.
    Suspect(Suspicion),
}

/// The first entry of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The journal's life as this owner found it.
    pub incarnation: u64,
    /// No other process can live (the store was locked exclusively): grants of every other session are lapsed from here on.
    pub predecessors_are_dead: bool,
}

/// A takeover of a journal that was wiped or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// The new owner.
    pub takeover: Takeover,
    /// When it was found, Unix milliseconds of the writer.
    pub since_ms: u64,
}

/// Many meters' changes in one entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// By meter, in order within the meter.
    pub meters: Vec<MeterChanges>,
    /// Sessions that were heard from; a right that outlives silence is an append.
    pub heard: Vec<SessionId>,
}

/// Changes of one meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeterChanges {
    /// Whose.
    pub meter: Meter,
    /// In order.
    pub changes: Vec<Change>,
}

/// One change of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The limits as they now stand.
    Limit {
        /// By configuration.
        configured: Option<u64>,
        /// By the upstream's own words.
        learned: Option<u64>,
    },
    /// Units handed to a session.
    Granted {
        /// Which grant.
        grant: GrantId,
        /// To whom.
        holder: SessionId,
        /// How many.
        units: u64,
        /// End of its life, wall time of the writer; `None` for slots, which live with their session.
        life_ends_ms: Option<u64>,
        /// The day it counts to, for meters by the day.
        day: Option<u32>,
        /// The number of the ask that it answers.
        ask: u64,
    },
    /// The grant never reached its holder, who says so: nothing of it was or will be sent.
    Forgone {
        /// Which grant.
        grant: GrantId,
    },
    /// A paced share lives on.
    Renewed {
        /// Which grant.
        grant: GrantId,
        /// New end of its life, wall time of the writer.
        life_ends_ms: u64,
    },
    /// The holder said what became of a grant.
    Settled {
        /// Which grant.
        grant: GrantId,
        /// In absolute counts.
        report: Report,
        /// Until when what was newly used stays charged, wall time of the writer.
        until_ms: u64,
    },
    /// A grant's life ended with units in hand: they are presumed spent.
    Lapsed {
        /// Which grant.
        grant: GrantId,
        /// Until when they stay charged, wall time of the writer.
        until_ms: u64,
    },
    /// The holder's session fell silent: what it had in flight is presumed spent, its slots are free.
    Abandoned {
        /// Which grant.
        grant: GrantId,
        /// Until when the presumed units stay charged, wall time of the writer.
        until_ms: u64,
    },
    /// Others use the quota, too: units that the upstream counted and that nobody here sent.
    Foreign {
        /// How many.
        units: u64,
        /// Until when they stay charged, wall time of the writer.
        until_ms: u64,
    },
    /// The upstream was asked what is left. Replaces all that was charged and presumed; what is granted and not settled
    /// stays outstanding.
    Rebased {
        /// What is charged from now on.
        charged: u64,
        /// Until when, wall time of the writer.
        until_ms: u64,
    },
    /// A settlement for a grant that this journal never made: the journal was rolled back. Charged, and no grants for a while.
    Stranger {
        /// What was used.
        units: u64,
        /// The day it counts to, for meters by the day.
        day: Option<u32>,
        /// Until when it stays charged and grants are refused, wall time of the writer.
        until_ms: u64,
    },
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// This part, from 0.
    pub index: u32,
    /// Whether the snapshot is complete with it.
    pub last: bool,
    /// Meters with open charges, open grants or learned limits.
    pub meters: Vec<MeterSnapshot>,
    /// The highest grant number of every session that ever granted here (newest last, bounded).
    pub owners: Vec<GrantId>,
}

/// All that is known of one meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeterSnapshot {
    /// Which.
    pub meter: Meter,
    /// Limit by configuration.
    pub configured: Option<u64>,
    /// Limit by the upstream's own words.
    pub learned: Option<u64>,
    /// Charged units with the wall time of their release.
    pub charges: Vec<(u64, u64)>,
    /// Charged units by day.
    pub days: Vec<(u32, u64)>,
    /// Grants that are not forgotten.
    pub grants: Vec<GrantSnapshot>,
}

/// All that is known of one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantSnapshot {
    /// Which.
    pub grant: GrantId,
    /// Whose.
    pub holder: SessionId,
    /// How many units.
    pub units: u64,
    /// End of its life, wall time of the writer.
    pub life_ends_ms: Option<u64>,
    /// The day it counts to.
    pub day: Option<u32>,
    /// The number of the ask that it answered.
    pub ask: u64,
    /// The last report.
    pub report: Report,
    /// Units that may still be sent.
    pub held: u64,
    /// Units in flight.
    pub flight: u64,
    /// Units presumed spent, part of the charges.
    pub presumed: u64,
    /// When those are released, wall time of the writer.
    pub presumed_until_ms: u64,
    /// Whether its life has ended.
    pub lapsed: bool,
}

/// What a holder says to the owner of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnerRequest {
    /// The holder's session.
    pub session: SessionId,
    /// Limits read off the upstream's answers.
    pub learned: Vec<(Meter, u64)>,
    /// Absolute settlements.
    pub settlements: Vec<Settlement>,
    /// What it wants.
    pub asks: Vec<Ask>,
    /// What the upstream says is used of a meter, where that is more than all that the holder knows to be charged or
    /// granted: others use the quota, too.
    pub seen: Vec<(Meter, u64)>,
}

impl OwnerRequest {
    /// Says nothing yet.
    pub fn of(session: SessionId) -> OwnerRequest {
        OwnerRequest {
            session,
            learned: Vec::new(),
            settlements: Vec::new(),
            asks: Vec::new(),
            seen: Vec::new(),
        }
    }
}

/// What became of one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Of which meter.
    pub meter: Meter,
    /// Which grant.
    pub grant: GrantId,
    /// The day it counts to, for meters by the day.
    pub day: Option<u32>,
    /// In absolute counts.
    pub report: Report,
}

/// A wish for units of one meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The holder's own count of its asks; the answer repeats it.
    pub number: u64,
    /// Of which meter.
    pub meter: Meter,
    /// The limit by the holder's configuration.
    pub configured: Option<u64>,
    /// Units that somebody is waiting for; more than 0 makes it urgent.
    pub need: u64,
    /// The fewest units that are of use (a reservation cannot be split).
    pub least: u64,
    /// Units wanted in hand beyond what is there, by foreseen demand.
    pub want: u64,
    /// Units in hand.
    pub stock: u64,
    /// Every grant of this meter that the holder has. Grants for earlier asks that are missing here never reached it, and
    /// if they still do, it will not use them.
    pub holding: Vec<GrantId>,
    /// Shares to live on.
    pub renew: Vec<GrantId>,
    /// For meters by the day: units of the next day, in hand before it begins.
    pub ahead: bool,
}

/// What the owner answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnerReply {
    /// One per ask.
    pub answers: Vec<Answer>,
    /// Whether the settlements of the request are in the journal.
    pub acknowledged: bool,
    /// Grants of the session that the owner does not know or holds for finished.
    pub gone: Vec<(Meter, GrantId)>,
    /// Meters of which the session should give back what it does not need: another starves.
    pub recalled: Vec<Meter>,
}

/// The answer to one ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Of which meter.
    pub meter: Meter,
    /// The ask's number.
    pub ask: u64,
    /// What was granted.
    pub granted: Option<Granted>,
    /// Shares that live on, for a full life from when it was asked.
    pub renewed: Vec<GrantId>,
    /// How the meter stands.
    pub standing: Standing,
}

/// A grant as its holder gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Which.
    pub grant: GrantId,
    /// How many units.
    pub units: u64,
    /// Its life, counted from when it was asked for; `None` for slots.
    pub life_ms: Option<u64>,
    /// The day it counts to.
    pub day: Option<u32>,
    /// It may be used from then on, counted from when it was asked for; 0 for all but units of the next day.
    pub starts_ms: u64,
}

/// How a meter stands with its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The limit in force.
    pub limit: Option<u64>,
    /// Units that the upstream's window may still see.
    pub charged: u64,
    /// Units granted and not settled.
    pub outstanding: u64,
    /// When the next units are released, from now; `None` if that hangs on a holder.
    pub next_release_ms: Option<u64>,
}
