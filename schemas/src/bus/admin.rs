//! What admin operations take and answer where it is not a view of [`crate::admin`]: the same over NATS and on the command
//! line. A field that nobody knows is an error that names it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::keys::KeyBody;
use crate::admin::requests::Outcome;
use crate::admin::tokens::{RefreshOutcome, TokenPatch, TokenSort, TokenView};
use crate::ids::{KeyId, RequestId, TokenId};
use crate::token::{PoolName, TokenState, TokenSwitch};

/// Nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Which credentials to list. Values inside a filter are alternatives; filters add up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenListAsk {
    /// Of one of these pools; empty = any.
    pub pools: Vec<PoolName>,
    /// In one of these states; empty = any.
    pub states: Vec<TokenState>,
    /// Whose id, masked form, label, note, team or a tag contains this, whatever the case.
    pub text: Option<String>,
    /// Of this quota domain.
    pub team: Option<String>,
    /// Ordered by.
    pub sort: TokenSort,
    /// Largest first.
    pub descending: bool,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Rows of a page, 1 to 1,000; not sent = 50.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
}

/// One credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenAsk {
    /// Which.
    pub id: TokenId,
}

/// Some credentials; each must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensAsk {
    /// Which; at most 10,000.
    #[schemars(length(min = 1, max = 10_000))]
    pub ids: Vec<TokenId>,
}

/// A credential to add. Holds a secret: it is neither printed nor written.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenAddAsk {
    /// The secret, in any form that people paste.
    pub secret: String,
    /// Kind and tier; not sent = as the secret looks.
    #[serde(default)]
    pub pool: Option<PoolName>,
    /// The operator's name for it.
    #[serde(default)]
    pub label: String,
    /// The operator's note.
    #[serde(default)]
    pub note: String,
    /// The operator's tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its proxy, such as `socks5://user:password@host:1080`.
    #[serde(default)]
    pub proxy: Option<String>,
    /// On or off from the start.
    #[serde(default)]
    pub switch: TokenSwitch,
}

impl fmt::Debug for TokenAddAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAddAsk")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// A credential that is in the pool now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenAdded {
    /// Whether it is new; `false`: it was here already and is as it was.
    pub added: bool,
    /// It.
    pub token: TokenView,
}

/// A change to a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenPatchAsk {
    /// Which.
    pub id: TokenId,
    /// What changes.
    pub set: TokenPatch,
}

/// How many credentials were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokensDeleted {
    /// How many.
    pub deleted: u64,
}

/// How many credentials rested and rest no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokensCleared {
    /// How many.
    pub cleared: u64,
}

/// What the upstream said about each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokensRefreshed {
    /// One for each credential asked about.
    pub results: Vec<RefreshOutcome>,
}

/// Credentials to add in bulk. Holds secrets: it is neither printed nor written.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenImportAsk {
    /// One credential or JSON object a line, as `POST /tokens/import` takes them. What does not fit one message goes in
    /// several: sending a line twice is safe.
    pub lines: String,
    /// Where the lines do not say.
    #[serde(default)]
    pub pool: Option<PoolName>,
    /// Report lines that were added as well.
    #[serde(default)]
    pub report_all: bool,
}

impl fmt::Debug for TokenImportAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenImportAsk")
            .field("pool", &self.pool)
            .field("bytes", &self.lines.len())
            .finish()
    }
}

/// Which secrets to give out, to whom. Page by page, oldest first.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenExportAsk {
    /// The caller's X25519 public key, 32 bytes in base64: only its secret key opens what comes back.
    pub public_key: String,
    /// The administrator whose password this is; not sent = the configured one.
    #[serde(default)]
    pub username: Option<String>,
    /// An administrator's password, asked again.
    pub password: String,
    /// Which; not sent = all, page by page.
    #[serde(default)]
    pub ids: Option<Vec<TokenId>>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Credentials of a page, 1 to 1,000; not sent = 1,000.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
}

impl fmt::Debug for TokenExportAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenExportAsk")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// Secrets, sealed to one reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SealedTokens {
    /// `crypto_box_seal`: libsodium's sealed box (X25519, XSalsa20-Poly1305).
    pub cipher: String,
    /// The sealed box in base64. Inside is one JSON object a line, as `tokens.import` reads them.
    pub sealed: String,
    /// How many credentials are inside.
    pub count: u64,
    /// For the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// Which client keys to list, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyListAsk {
    /// `next_cursor` of the page before.
    pub cursor: Option<KeyId>,
    /// Rows of a page, 1 to 1,000; not sent = 50.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
}

/// One client key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAsk {
    /// Which.
    pub id: KeyId,
}

/// A client key to make.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyCreateAsk {
    /// A secret of the operator's choice; not sent = one is made.
    pub key: Option<String>,
    /// What it is called and may do.
    pub set: KeyBody,
}

impl fmt::Debug for KeyCreateAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCreateAsk")
            .field("set", &self.set)
            .finish_non_exhaustive()
    }
}

/// A change to a client key; what is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyUpdateAsk {
    /// Which.
    pub id: KeyId,
    /// What changes.
    pub set: KeyBody,
}

/// A client key that gets a new secret.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRotateAsk {
    /// Which.
    pub id: KeyId,
    /// A secret of the operator's choice; not sent = one is made.
    #[serde(default)]
    pub key: Option<String>,
}

impl fmt::Debug for KeyRotateAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRotateAsk")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// That it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// `true`.
    pub done: bool,
}

/// Which requests to list, newest first. Values inside a filter are alternatives; filters add up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestListAsk {
    /// Of this client key.
    pub key: Option<KeyId>,
    /// Naming this model, or served by it.
    pub model: Option<String>,
    /// With this token.
    pub token: Option<TokenId>,
    /// That ended so; empty = any.
    pub outcomes: Vec<Outcome>,
    /// That arrived then or later, Unix milliseconds.
    pub since_ms: Option<u64>,
    /// That arrived before, Unix milliseconds.
    pub until_ms: Option<u64>,
    /// Whose id, key name, model, route, address, error code or error message contains this, whatever the case.
    pub text: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<RequestId>,
    /// Rows of a page, 1 to 1,000; not sent = 50.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestAsk {
    /// Which; as in `x-request-id`.
    pub id: RequestId,
}
