//! The one place where secrets leave: an export, sealed with a passphrase (format: `schemas::admin::export`) or to the
//! public key of whoever asks.

use argon2::Params;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use crypto_box::PublicKey;
use crypto_box::aead::OsRng;
use grok2api_actors::clock::WallMs;
use grok2api_schemas::admin::accounts::Role;
use grok2api_schemas::admin::export::{ADDITIONAL_DATA, ExportEnvelope, ExportKdf, FORMAT, VERSION};
use grok2api_schemas::admin::page::Cursor;
use grok2api_schemas::admin::tokens::TokenQuery;
use grok2api_schemas::bus::admin::{SealedTokens, TokenExportAsk};
use grok2api_schemas::ids::TokenId;
use serde::Serialize;
use zeroize::Zeroizing;

use super::accounts::Accounts;
use super::audit::Actor;
use super::password::Hasher;
use super::tokens::TokenOps;
use super::{MOST_ROWS, rows};
use crate::engine::error::{ErrorKind, GatewayError};

/// What it costs to guess a passphrase: 64 MiB and three passes for each try.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// Shortest passphrase, characters.
const SHORTEST_PASSPHRASE: usize = 12;
/// Longest passphrase, bytes.
const LONGEST_PASSPHRASE: usize = 1_024;

/// A line of an export, in the form that an import reads.
#[derive(Serialize)]
struct Line<'a> {
    token: &'a str,
    pool: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    label: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
}

/// An export.
pub enum Exported {
    /// Sealed.
    Sealed(Box<ExportEnvelope>),
    /// One JSON object a line, in the clear.
    Plain(Zeroizing<Vec<u8>>),
}

/// How an export is to be sealed.
pub enum Seal {
    /// With this passphrase.
    Passphrase(Zeroizing<String>),
    /// Not at all, because the operator said so.
    Plain,
}

/// Exports credentials (`None` = all), after asking for the password again.
///
/// # Errors
/// `Forbidden` for a viewer or a wrong password; `InvalidField` for a weak passphrase; what the pool answers.
pub async fn export(
    tokens: &TokenOps,
    accounts: &Accounts,
    actor: &Actor,
    password: Zeroizing<String>,
    ids: Option<Vec<TokenId>>,
    seal: Seal,
    now: WallMs,
) -> Result<Exported, GatewayError> {
    if actor.role != Role::Admin {
        return Err(GatewayError::new(
            ErrorKind::Forbidden,
            "Only an administrator exports secrets.",
        ));
    }
    if let Seal::Passphrase(passphrase) = &seal {
        check_passphrase(passphrase)?;
    }
    accounts.confirm(actor, password).await?;
    let ids = match ids {
        Some(ids) => ids,
        None => tokens.all().await?.into_iter().map(|token| token.id).collect(),
    };
    let words = match seal {
        Seal::Passphrase(_) => "sealed",
        Seal::Plain => "in the clear",
    };
    // Before anything leaves.
    actor.did("tokens.export", &ids, words);
    let (lines, count) = lines(tokens, ids).await?;
    match seal {
        Seal::Plain => Ok(Exported::Plain(lines)),
        Seal::Passphrase(passphrase) => sealed(accounts.hasher(), passphrase, &lines, count, now)
            .await
            .map(|envelope| Exported::Sealed(Box::new(envelope))),
    }
}

/// Exports a page of credentials, sealed to the caller's public key, after an administrator's password.
///
/// # Errors
/// `InvalidField` for a key that is none; `Forbidden` for a wrong password; what the pool answers.
pub async fn export_to_key(
    tokens: &TokenOps,
    accounts: &Accounts,
    asks: &Actor,
    ask: TokenExportAsk,
) -> Result<SealedTokens, GatewayError> {
    let password = Zeroizing::new(ask.password);
    let reader = public_key(&ask.public_key)?;
    let rows = rows(ask.limit, MOST_ROWS)?;
    // NATS knows no accounts, so its callers say whose password it is.
    let own_name = asks.ip.is_some().then(|| asks.username.clone());
    let actor = Actor {
        username: ask
            .username
            .or(own_name)
            .unwrap_or_else(|| accounts.first_username().to_owned()),
        ..asks.clone()
    };
    accounts.confirm(&actor, password).await?;
    let (ids, next_cursor) = match ask.ids {
        Some(ids) if ids.len() > MOST_ROWS => {
            return Err(GatewayError::field(
                "ids",
                format!("`ids` names more than {MOST_ROWS} tokens."),
            ));
        }
        Some(ids) => (tokens.each(ids)?, None),
        None => {
            let cursor = ask.cursor.map(|text| text.parse::<Cursor>()).transpose();
            let query = TokenQuery {
                cursor: cursor.map_err(|error| GatewayError::field("cursor", format!("`cursor`: {error}.")))?,
                limit: rows,
                ..TokenQuery::default()
            };
            let page = tokens.list(query).await?;
            (page.items.iter().map(|token| token.id).collect(), page.next_cursor)
        }
    };
    // Before anything leaves.
    actor.did("tokens.export", &ids, "sealed to a public key");
    let (lines, count) = lines(tokens, ids).await?;
    let sealed = reader
        .seal(&mut OsRng, &lines)
        .map_err(|_| GatewayError::internal("export: the box could not be sealed"))?;
    Ok(SealedTokens {
        cipher: "crypto_box_seal".to_owned(),
        sealed: STANDARD.encode(sealed),
        count,
        next_cursor,
    })
}

fn public_key(text: &str) -> Result<PublicKey, GatewayError> {
    let bytes = STANDARD.decode(text.trim()).ok();
    // Nobody has the secret key of zero: what is sealed to it can be opened by everybody.
    bytes
        .filter(|bytes| bytes.iter().any(|byte| *byte != 0))
        .and_then(|bytes| PublicKey::from_slice(&bytes).ok())
        .ok_or_else(|| {
            GatewayError::field(
                "public_key",
                "`public_key` must be an X25519 public key: 32 bytes in base64.",
            )
        })
}

fn check_passphrase(passphrase: &str) -> Result<(), GatewayError> {
    if passphrase.chars().count() < SHORTEST_PASSPHRASE || passphrase.len() > LONGEST_PASSPHRASE {
        return Err(GatewayError::field(
            "passphrase",
            format!(
                "`passphrase` must have at least {SHORTEST_PASSPHRASE} characters: it seals the export. \
                 (`\"plain\": true` exports without one.)"
            ),
        ));
    }
    Ok(())
}

async fn lines(tokens: &TokenOps, ids: Vec<TokenId>) -> Result<(Zeroizing<Vec<u8>>, u64), GatewayError> {
    let mut out = Zeroizing::new(Vec::new());
    let mut count = 0;
    for revealed in tokens.pool().reveal(ids).await? {
        let Some(view) = tokens.pool().get(revealed.id) else {
            continue;
        };
        let line = Line {
            token: &revealed.secret,
            pool: view.pool.as_str(),
            label: &view.label,
            note: &view.note,
            tags: &view.tags,
            proxy: revealed.proxy.as_ref().map(|proxy| proxy.as_str()),
            status: (view.status == grok2api_schemas::admin::tokens::OlderStatus::Disabled).then_some("disabled"),
        };
        let json = Zeroizing::new(
            serde_json::to_vec(&line).map_err(|error| GatewayError::internal(format!("export: {error}")))?,
        );
        // A vector that grows leaves its old bytes behind: make room in large steps and wipe what was.
        if out.capacity() < out.len() + json.len() + 1 {
            let mut larger = Zeroizing::new(Vec::with_capacity((out.capacity() * 2).max(64 * 1024) + json.len()));
            larger.extend_from_slice(&out);
            out = larger;
        }
        out.extend_from_slice(&json);
        out.push(b'\n');
        count += 1;
    }
    Ok((out, count))
}

async fn sealed(
    hasher: &Hasher,
    passphrase: Zeroizing<String>,
    plain: &[u8],
    count: u64,
    now: WallMs,
) -> Result<ExportEnvelope, GatewayError> {
    let failed = |what: &str| GatewayError::internal(format!("export: {what}"));
    let mut salt = [0u8; 16];
    let mut nonce = [0u8; 24];
    getrandom::fill(&mut salt)
        .and_then(|()| getrandom::fill(&mut nonce))
        .map_err(|_| failed("no randomness"))?;
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).map_err(|_| failed("parameters"))?;
    let key = hasher.derive(passphrase, salt, params).await?;
    let payload = Payload {
        msg: plain,
        aad: ADDITIONAL_DATA,
    };
    let ciphertext = XChaCha20Poly1305::new((&*key).into())
        .encrypt(XNonce::from_slice(&nonce), payload)
        .map_err(|_| failed("cipher"))?;
    Ok(ExportEnvelope {
        format: FORMAT.to_owned(),
        version: VERSION,
        created_at: now.0 / 1000,
        count,
        kdf: ExportKdf {
            name: "argon2id".to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: STANDARD.encode(salt),
        },
        cipher: "xchacha20poly1305".to_owned(),
        nonce: STANDARD.encode(nonce),
        ciphertext: STANDARD.encode(ciphertext),
    })
}
