//! How a node that joins a cluster asks for the cluster's key.

use serde::{Deserialize, Serialize};

/// A node without the key asks those that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRequest {
    /// Which key is wanted: its id, as the cluster's fingerprint record has it; zeros where there is no such record.
    pub key_id: [u8; 8],
    /// What the answer is sealed to (X25519).
    pub public_key: [u8; 32],
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyReply {
    /// The key in a sealed box.
    Sealed(Vec<u8>),
    /// This cluster hands no key out: every node brings it.
    BringYourOwn,
}
