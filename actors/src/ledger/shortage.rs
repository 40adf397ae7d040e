//! What a call wants of meters, and why it may not get it.

use std::fmt;
use std::sync::Arc;

use grok2api_schemas::meter::Meter;

use super::holder::HeldMeter;

/// A wish: so many units of a meter, for one call.
#[derive(Clone, Debug)]
pub struct Want {
    /// Of which meter.
    pub meter: Arc<HeldMeter>,
    /// 1 for requests and slots, the reservation for tokens and USD ticks.
    pub units: u64,
}

/// What kind of shortage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShortageKind {
    /// Nothing in hand yet; the owner has been asked.
    Cold,
    /// Used up for now.
    Dry,
    /// Nothing in hand, and the owner cannot be reached: the bus is away.
    Away,
    /// Can never be: the limit is 0, or smaller than what was asked for.
    Zero,
}

/// Why a call got no lease. Nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The first meter that was short.
    pub meter: Meter,
    /// When units come back, as far as the owner or the pace knows.
    pub retry_after_ms: Option<u64>,
    /// What kind of shortage.
    pub kind: ShortageKind,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.retry_after_ms) {
            (ShortageKind::Zero, _) => write!(f, "the limit of {} is below what the call needs", self.meter),
            (ShortageKind::Away, _) => write!(f, "bus away: nothing of {} is left in hand", self.meter),
            (_, Some(ms)) => write!(f, "{} used up, units come back in {ms} ms", self.meter),
            (ShortageKind::Cold, None) => write!(f, "{} not granted yet", self.meter),
            (ShortageKind::Dry, None) => write!(f, "{} used up", self.meter),
        }
    }
}

impl std::error::Error for Shortage {}

/// The lease may not be sent (any more): its grant's life is over, or it was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseLapsed {
    /// Of which meter.
    pub meter: Meter,
}

impl fmt::Display for LeaseLapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lease of {} is over: take a new one", self.meter)
    }
}

impl std::error::Error for LeaseLapsed {}

/// What a call really cost. `None` lets the reservation stand, presumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// Tokens.
    pub tokens: Option<u64>,
    /// USD ticks (1e-10 USD).
    pub usd_ticks: Option<u64>,
}
