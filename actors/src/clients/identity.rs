//! Who presents a key, and how secrets are hashed to find out.

use std::sync::Arc;

use grok2api_schemas::client_key::KeyRecord;

use crate::vault::Vault;

/// A keyed hash of secrets: the vault's, with the key of this installation.
pub trait Fingerprint: Send + Sync + 'static {
    /// The hash of a secret; the same on every node.
    fn fingerprint(&self, secret: &str) -> [u8; 32];
}

impl<F: Fn(&str) -> [u8; 32] + Send + Sync + 'static> Fingerprint for F {
    fn fingerprint(&self, secret: &str) -> [u8; 32] {
        self(secret)
    }
}

impl Fingerprint for Vault {
    fn fingerprint(&self, secret: &str) -> [u8; 32] {
        Vault::fingerprint(self, secret)
    }
}

/// Who presented a key that we take.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A client key.
    Key(Arc<KeyRecord>),
    /// The key of the configuration (`app.api_key`): no quotas.
    Config,
}

/// Why a presented key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// There is no such key.
    Unknown,
    /// It was switched off.
    Inactive,
    /// It expired.
    Expired,
}
