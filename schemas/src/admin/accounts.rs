//! Who administers: accounts and their sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::KeyId;
use crate::since::Since;

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Everything.
    Admin,
}

/// A stored account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Its name.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// argon2id in PHC form.
    pub password_hash: String,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
}

/// A stored session, under the hash of its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Whose.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// Sent back in `x-csrf-token` by whoever uses the cookie.
    pub csrf_token: String,
    /// Stands for the password that opened it: when that changes, the session is over.
    pub password_mark: [u8; 32],
    /// When it was opened, Unix milliseconds.
    pub created_ms: u64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// From which address.
    pub client_ip: String,
    /// On which node; empty alone.
    pub opened_on: Since<2, String>,
}

/// What `POST /session/key` answers: a client key that ends with the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionKey {
    /// Which.
    pub id: KeyId,
    /// Its secret.
    pub key: String,
    /// When it ends at the latest, Unix seconds.
    pub expires_at: u64,
}

/// What `GET /session` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Whose.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// When it was opened, Unix seconds.
    pub created_at: u64,
    /// When it ends, Unix seconds.
    pub expires_at: u64,
    /// For whoever uses the cookie.
    pub csrf_token: String,
    /// On which node it was opened; empty alone, or where a node of an earlier version opened it.
    #[serde(default)]
    pub opened_on: String,
}

/// What `POST /login` answers.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct LoginAnswer {
    /// `success`.
    pub status: String,
    /// The session's token, to be sent as a bearer.
    pub token: String,
    /// The same, under the name that scripts of the older project read.
    pub api_key: String,
    /// When it ends, Unix seconds.
    pub expires_at: u64,
    /// Whose.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// For whoever uses the cookie.
    pub csrf_token: String,
}
