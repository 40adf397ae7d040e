//! Enrolling credentials.

use std::collections::BTreeMap;

use bytes::Bytes;
use grok2api_schemas::admin::tokens::{EnrolOutcome, EnrolResult, NewToken};
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::TokenRecord;
use secrecy::SecretString;

use super::actor::RECORD_VERSION;
use super::pool::Pool;
use crate::bus::{BusError, BusErrorKind, KvWrite, codec};
use crate::egress::ProxySpec;

/// Shortest and longest secrets that can be a credential; longer ones would not fit a header.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 8..=4096;

impl Pool {
    /// Adds credentials; a secret that is here already is left as it is. All that were added are durable when this
    /// answers, and are probed afterwards.
    ///
    /// # Errors
    /// When they cannot be written; then none was added.
    pub async fn enrol(&self, new: Vec<NewToken>) -> Result<Vec<EnrolOutcome>, BusError> {
        // One at a time: two that bring the same secret would both find it new.
        let _enrolling = self.0.roster.lock().await;
        let now = self.0.clock.wall().0;
        let mut outcomes = Vec::with_capacity(new.len());
        let mut writes = Vec::with_capacity(new.len() * 2);
        let mut added: Vec<(TokenRecord, SecretString)> = Vec::with_capacity(new.len());
        let mut in_batch: BTreeMap<[u8; 32], TokenId> = BTreeMap::new();
        for token in new {
            let masked = mask(&token.secret);
            if let Err(reason) = check(&token) {
                outcomes.push(EnrolOutcome {
                    id: None,
                    masked,
                    result: EnrolResult::Invalid(reason),
                });
                continue;
            }
            let fingerprint = self.0.vault.fingerprint(&token.secret);
            let known = self
                .0
                .by_fingerprint
                .get(&fingerprint)
                .map(|id| *id)
                .or_else(|| in_batch.get(&fingerprint).copied());
            if let Some(id) = known {
                outcomes.push(EnrolOutcome {
                    id: Some(id),
                    masked,
                    result: EnrolResult::Existing,
                });
                continue;
            }
            let id = TokenId::generate();
            let record = TokenRecord {
                id,
                pool: token.pool,
                fingerprint,
                masked: masked.clone(),
                label: token.label,
                note: token.note,
                tags: token.tags,
                switch: token.switch,
                team: None,
                models: None,
                cooling: None,
                model_cooling: Vec::new(),
                proxy: token.proxy.filter(|proxy| !proxy.is_empty()),
                created_ms: now,
                probed_ms: None,
                last_used_ms: None,
                use_count: 0,
                fail_count: 0,
                version: 1,
            };
            let key = Bytes::copy_from_slice(id.as_bytes());
            let sealed = self.0.vault.seal(id.as_bytes(), token.secret.as_bytes());
            let value = codec::encode(RECORD_VERSION, &record)
                .map_err(|error| BusError::new(BusErrorKind::Corrupt, error.to_string()))?;
            writes.push(KvWrite {
                bucket: buckets::SECRETS,
                key: key.clone(),
                value: Some(Bytes::from(sealed)),
            });
            writes.push(KvWrite {
                bucket: buckets::TOKENS,
                key,
                value: Some(value),
            });
            in_batch.insert(fingerprint, id);
            added.push((record, SecretString::from(token.secret)));
            outcomes.push(EnrolOutcome {
                id: Some(id),
                masked,
                result: EnrolResult::Added,
            });
        }
        if !writes.is_empty() {
            self.0.bus.kv_write(writes).await?;
        }
        for (record, secret) in added {
            let token = self.add(record, secret);
            self.plan_probe(&token, 0);
        }
        Ok(outcomes)
    }
}

/// Whether a secret can be a credential of its pool.
fn check(token: &NewToken) -> Result<(), String> {
    if !SECRET_LENGTH.contains(&token.secret.len()) {
        return Err(format!(
            "a credential has {} to {} characters, this one has {}",
            SECRET_LENGTH.start(),
            SECRET_LENGTH.end(),
            token.secret.len()
        ));
    }
    if !token.secret.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err("a credential is printable ASCII without spaces".to_owned());
    }
    if token.secret.contains(['…', '*']) || token.secret.contains("...") {
        return Err("this is a masked form, not the credential itself".to_owned());
    }
    if let Some(proxy) = &token.proxy {
        ProxySpec::parse(proxy)?;
    }
    Ok(())
}

/// Enough of a secret to recognise it by, too little to use it: at most a quarter of it in front and behind.
pub fn mask(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    let shown = (chars.len() / 4).min(6);
    let front: String = chars.iter().take(shown).collect();
    let back: String = chars.iter().skip(chars.len().saturating_sub(shown.min(4))).collect();
    format!("{front}…{back}")
}
