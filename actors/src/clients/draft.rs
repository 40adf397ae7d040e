//! What goes into the registry and comes out of it.

use std::fmt;
use std::sync::Arc;

use grok2api_schemas::client_key::{DisconnectPolicy, KeyLimits, KeyRecord};
use zeroize::Zeroizing;

use crate::bus::BusError;

/// Why an operation on client keys failed.
#[derive(Clone, Debug)]
pub enum KeyError {
    /// There is no such key.
    NotFound,
    /// Another key has this secret.
    Exists,
    /// This cannot be a secret, for this reason.
    BadSecret(&'static str),
    /// The bus failed. After a timeout the outcome is unknown: list before trying again.
    Bus(BusError),
    /// The system has no randomness.
    NoRandomness,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::NotFound => f.write_str("no such client key"),
            KeyError::Exists => f.write_str("another client key has this secret"),
            KeyError::BadSecret(reason) => write!(f, "the secret {reason}"),
            KeyError::Bus(error) => error.fmt(f),
            KeyError::NoRandomness => f.write_str("the system has no randomness"),
        }
    }
}

impl std::error::Error for KeyError {}

impl From<BusError> for KeyError {
    fn from(error: BusError) -> KeyError {
        KeyError::Bus(error)
    }
}

/// A client key to make.
#[derive(Clone, Debug, Default)]
pub struct KeyDraft {
    /// The operator's name for it; blank = made up.
    pub name: String,
    /// Its secret; `None` = made up.
    pub secret: Option<Zeroizing<String>>,
    /// Switched off from the start.
    pub inactive: bool,
    /// Models it may name; empty = all.
    pub allowed_models: Vec<String>,
    /// Its limits.
    pub limits: KeyLimits,
    /// What a hang-up does.
    pub on_disconnect: DisconnectPolicy,
    /// When it stops working, Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// A record with the secret that is answered this once.
pub struct KeyWithSecret {
    /// The key.
    pub record: Arc<KeyRecord>,
    /// Its secret.
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for KeyWithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWithSecret")
            .field("id", &self.record.id)
            .finish_non_exhaustive()
    }
}
