//! Names of what the ledger counts: quota domains and their meters (`README.md`, "Words").

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is counted against: a team and model upstream, a credential's own ceilings, a team's spend, a client key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Domain {
    /// A team of the upstream, for one upstream model.
    TeamModel {
        /// The provider's name, such as `xai`.
        provider: String,
        /// The upstream's team id, or `key:<token id>` for a key that is its own domain.
        team: String,
        /// The upstream model, aliases resolved.
        model: String,
    },
    /// A team of the upstream as a whole (spend).
    Team {
        /// The provider's name.
        provider: String,
        /// The upstream's team id.
        team: String,
    },
    /// One credential's own ceilings; the token id.
    Token(String),
    /// A client key; the key id.
    ClientKey(String),
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::TeamModel { provider, team, model } => write!(f, "{provider}/{team}/{model}"),
            Domain::Team { provider, team } => write!(f, "{provider}/{team}"),
            Domain::Token(id) | Domain::ClientKey(id) => f.write_str(id),
        }
    }
}

/// A bucket that a client key counts by the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayBucket {
    /// Chat calls.
    Chat,
    /// Calls of heavy models.
    Heavy,
    /// Images.
    Image,
    /// Videos.
    Video,
}

/// How a meter counts, with the promise of `ledger.md` §1 behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeterKind {
    /// Requests in any window of this length, 10 s or more: strict.
    Requests {
        /// Window, milliseconds.
        window_ms: u64,
    },
    /// Requests in any window shorter than 10 s: shares paced on the holder's own clock.
    Paced {
        /// Window, milliseconds.
        window_ms: u64,
    },
    /// Tokens in any window: reserved, then settled.
    Tokens {
        /// Window, milliseconds.
        window_ms: u64,
    },
    /// USD ticks (1e-10 USD) in any window: reserved, then settled.
    Usd {
        /// Window, milliseconds.
        window_ms: u64,
    },
    /// USD ticks per day of the reset time zone: reserved, then settled.
    UsdPerDay,
    /// Calls in flight.
    Concurrency,
    /// Units per day of the reset time zone: never above.
    PerDay(DayBucket),
}

/// One counted limit of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Meter {
    /// What is counted against.
    pub domain: Domain,
    /// How.
    pub kind: MeterKind,
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.domain)?;
        match self.kind {
            MeterKind::Requests { window_ms } => write!(f, "requests per {} s", window_ms / 1000),
            MeterKind::Paced { window_ms } => write!(f, "requests per {} ms", window_ms),
            MeterKind::Tokens { window_ms } => write!(f, "tokens per {} s", window_ms / 1000),
            MeterKind::Usd { window_ms } => write!(f, "USD per {} s", window_ms / 1000),
            MeterKind::UsdPerDay => f.write_str("USD per day"),
            MeterKind::Concurrency => f.write_str("calls in flight"),
            MeterKind::PerDay(bucket) => write!(f, "{bucket:?} per day"),
        }
    }
}
