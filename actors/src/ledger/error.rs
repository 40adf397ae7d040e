//! Why the ledger does not start.

use std::fmt;

use super::owner::Unreadable;
use crate::bus::BusError;
use crate::store::StoreError;

/// The ledger cannot decide anything.
#[derive(Clone, Debug)]
pub enum LedgerError {
    /// The bus or the store under it failed.
    Bus(BusError),
    /// A journal entry does not decode: what is charged is not known.
    Unreadable {
        /// Which shard.
        shard: u16,
        /// Which entry, and why.
        unreadable: Unreadable,
    },
    /// Others append to the shard's journal faster than it can be taken over.
    Contended {
        /// Which shard.
        shard: u16,
    },
    /// No arbiter thread was given for the shards to live on.
    NoArbiter,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerError::Bus(error) => write!(f, "ledger: {error}"),
            LedgerError::Unreadable { shard, unreadable } => write!(
                f,
                "ledger: entry {} of journal {shard} does not decode ({}); without it nobody knows what is charged",
                unreadable.sequence, unreadable.reason
            ),
            LedgerError::Contended { shard } => write!(f, "ledger: another process writes to journal {shard}"),
            LedgerError::NoArbiter => f.write_str("ledger: no arbiter thread to live on"),
        }
    }
}

impl std::error::Error for LedgerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LedgerError::Bus(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> LedgerError {
        LedgerError::Bus(error.into())
    }
}

impl From<BusError> for LedgerError {
    fn from(error: BusError) -> LedgerError {
        LedgerError::Bus(error)
    }
}
