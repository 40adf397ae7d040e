//! The quota ledger: what a node may send upstream, strict across nodes and restarts.
//!
//! The only safety is an append to a shard's journal at the sequence its owner last saw, acknowledged before a grant is
//! handed out. A grant is a batch of units for one session, with a life counted from the moment it was asked for; it is
//! charged from before it can be spent until the upstream's window can no longer see it, whatever that window's shape or
//! alignment. At every grant `charged + outstanding ≤ limit`.
//!
//! - [`rules`], [`charges`], [`meter`], [`shard`], [`owner`]: the owner's side, pure;
//! - [`actor`]: the actor around it, with the journal;
//! - [`demand`], [`held`]: the holder's side, pure;
//! - [`holder`], [`lease`]: meters and leases, as callers see them; [`pump`]: what carries asks and settlements;
//! - [`renewal`]: calls that must not outlive the count of them;
//! - [`shards`], [`remote`], [`spool`], [`memory`]: who owns what here, how other nodes are reached, what outlives the
//!   process.

mod actor;
mod charges;
mod counters;
mod demand;
mod error;
mod handle;
mod held;
mod holder;
mod lease;
mod memory;
mod meter;
mod mutants;
mod node;
mod owner;
mod pump;
mod remote;
mod renewal;
mod rules;
mod shard;
mod shards;
mod shortage;
mod spool;
mod usage;
#[cfg(test)]
mod tests;

use grok2api_schemas::ids::SessionId;

pub use actor::OwnerStanding;
pub use counters::LedgerCounters;
pub use error::LedgerError;
pub use handle::{Ledger, LostUnits, MeterStatus};
pub use holder::HeldMeter;
pub use lease::CallLease;
pub use owner::Distrust;
pub use renewal::HardSlots;
pub(crate) use rules::Moment;
pub use shortage::{Actual, LeaseLapsed, Shortage, ShortageKind, Want};
pub use usage::Used;

/// How this node's ledger works.
#[derive(Clone, Copy, Debug)]
pub struct LedgerOptions {
    /// This life of this process. Grants belong to it and die with it.
    pub session: SessionId,
    /// D: how late the upstream may count a send, milliseconds (`xai.delivery_slack_ms`).
    pub delivery_slack_ms: u64,
    /// Life of a grant, milliseconds.
    pub grant_life_ms: u64,
    /// ε: how far the clocks of two sessions may disagree, milliseconds.
    pub max_clock_skew_ms: u64,
    /// Minutes that the reset time zone of daily limits is ahead of UTC.
    pub day_offset_minutes: i32,
    /// Nodes that share the ledger; bounds what one of them keeps in hand.
    pub nodes: usize,
    /// No earlier process can live, because the store is locked exclusively: at the start its grants end at once.
    pub predecessors_are_dead: bool,
}

impl LedgerOptions {
    /// The settings of a node on its own, with the defaults of the configuration.
    pub fn alone(session: SessionId) -> LedgerOptions {
        LedgerOptions {
            session,
            delivery_slack_ms: 250,
            grant_life_ms: 30_000,
            max_clock_skew_ms: 5_000,
            day_offset_minutes: 480,
            nodes: 1,
            predecessors_are_dead: true,
        }
    }
}
