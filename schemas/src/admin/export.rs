//! The file that an export of secrets is: one JSON object, sealed with a passphrase.
//!
//! To open it: derive 32 bytes from the passphrase with Argon2id (version 0x13, the parameters and salt of `kdf`), then
//! decrypt `ciphertext` with XChaCha20-Poly1305 under that key, `nonce`, and the additional data
//! `grok2api-export/1`. All bytes are standard base64 with padding. Inside is one JSON object a line, in the form that
//! `POST /tokens/import` reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `ExportEnvelope::format`.
pub const FORMAT: &str = "grok2api-export";
/// `ExportEnvelope::version`.
pub const VERSION: u32 = 1;
/// Additional data of the cipher.
pub const ADDITIONAL_DATA: &[u8] = b"grok2api-export/1";

/// A sealed export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportEnvelope {
    /// `grok2api-export`.
    pub format: String,
    /// 1.
    pub version: u32,
    /// When it was made, Unix seconds.
    pub created_at: u64,
    /// How many credentials are inside.
    pub count: u64,
    /// How the key comes from the passphrase.
    pub kdf: ExportKdf,
    /// `xchacha20poly1305`.
    pub cipher: String,
    /// 24 bytes.
    pub nonce: String,
    /// What is sealed, with its tag at the end.
    pub ciphertext: String,
}

/// See [`ExportEnvelope::kdf`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportKdf {
    /// `argon2id`.
    pub name: String,
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// 16 bytes.
    pub salt: String,
}
