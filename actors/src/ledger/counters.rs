//! Counts of what the ledger did on this node since it started, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::owner::Tally;

/// Monotonic counts; read them with [`Ordering::Relaxed`].
#[derive(Debug, Default)]
pub struct LedgerCounters {
    /// Grants that owners on this node made.
    pub grants: AtomicU64,
    /// Grants whose life ended with units in hand.
    pub lapses: AtomicU64,
    /// Units presumed spent by a lapse or a silent session.
    pub presumed_units: AtomicU64,
    /// Calls whose reservation stood because their cost never became known.
    pub presumed: AtomicU64,
    /// Calls whose head was written later than the delivery slack allows; each was charged twice.
    pub late: AtomicU64,
    /// Leases that could not be sent because their grant's life was over.
    pub lease_lapsed: AtomicU64,
    /// Journal entries that were acknowledged.
    pub appends: AtomicU64,
    /// Appends that failed or timed out and were tried again.
    pub append_retries: AtomicU64,
    /// Shards lost to another owner.
    pub step_downs: AtomicU64,
    /// Requests to owners.
    pub requests: AtomicU64,
    /// Requests to owners that got no answer.
    pub requests_lost: AtomicU64,
    /// Messages to owners on other nodes.
    pub remote_requests: AtomicU64,
    /// Of those, without an answer.
    pub remote_lost: AtomicU64,
    /// Holders that were told at once to give back what another starves of.
    pub recalls: AtomicU64,
    /// Settlements for grants that a journal never made: it was rolled back.
    pub strangers: AtomicU64,
}

impl LedgerCounters {
    pub(super) fn tally(&self, tally: Tally) {
        self.grants.fetch_add(tally.grants, Ordering::Relaxed);
        self.lapses.fetch_add(tally.lapses, Ordering::Relaxed);
        self.presumed_units.fetch_add(tally.presumed, Ordering::Relaxed);
        self.strangers.fetch_add(tally.strangers, Ordering::Relaxed);
    }
}
