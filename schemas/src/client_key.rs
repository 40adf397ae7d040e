//! The stored form of a key that clients of ours send. Only a hash of its secret is kept.

use serde::{Deserialize, Serialize};

use crate::ids::KeyId;

/// What happens to the upstream call when the client hangs up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisconnectPolicy {
    /// Stop the upstream call at once; usage is what was seen, else the reservation.
    #[default]
    Cancel,
    /// Read the upstream's answer to its end, for exact usage.
    Drain,
    /// Read on for at most that many seconds, then cancel.
    DrainUpTo(u32),
}

/// Limits per day, counted in the units of the older project; `None` = unlimited, `Some(0)` = none allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyLimits {
    /// Chat calls.
    pub chat: Option<u64>,
    /// Calls of heavy models (each counts as chat, too).
    pub heavy: Option<u64>,
    /// Images.
    pub image: Option<u64>,
    /// Videos.
    pub video: Option<u64>,
}

/// Everything that bounds a client key; `None` = unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Counted per day of the reset time zone.
    pub daily: DailyLimits,
    /// Requests in any 60 s.
    pub rpm: Option<u64>,
    /// Tokens in any 60 s.
    pub tpm: Option<u64>,
    /// Calls in flight.
    pub concurrency: Option<u64>,
    /// USD per day, in ticks of 1e-10 USD (`xai-api.md` §3).
    pub budget_ticks: Option<u64>,
    /// The budget is never passed: the gateway caps the output by what is left.
    pub strict: bool,
}

/// A client key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Who.
    pub id: KeyId,
    /// The operator's name for it.
    pub name: String,
    /// Keyed hash of the secret.
    pub fingerprint: [u8; 32],
    /// What lists show, such as `sk-abc...wxyz`.
    pub display_key: String,
    /// Whether it may be used.
    pub is_active: bool,
    /// Models it may name (aliases as the client writes them; `*` globs); empty = all.
    pub allowed_models: Vec<String>,
    /// Its limits.
    pub limits: KeyLimits,
    /// What a hang-up does.
    pub on_disconnect: DisconnectPolicy,
    /// When it stops working, Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When it was last used, Unix milliseconds; written at most once a minute.
    pub last_used_ms: Option<u64>,
    /// Raised by every change.
    pub version: u64,
}
