//! Enrolling credentials.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_schemas::admin::tokens::{EnrolOutcome, EnrolResult, NewToken};
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::TokenRecord;
use grok2api_schemas::token_event::TokenHappening;
use secrecy::SecretString;

use super::actor::RECORD_VERSION;
use super::life::WRITES;
use super::merge;
use super::pool::Pool;
use crate::bus::{BusError, BusErrorKind, Expect, KvWrite, codec};
use crate::egress::ProxySpec;

/// So many of one batch keep their order in lists.
const ORDERED: usize = 1_000;
/// Shortest and longest secrets that can be a credential; longer ones would not fit a header.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 8..=4096;

impl Pool {
    /// Adds credentials; a secret that is here already is left as it is. All that were added are durable when this
    /// answers, and are probed afterwards.
    ///
    /// A token's id follows from its secret and the master key, and its record is written only where there is none: the
    /// same secret that three nodes bring at the same instant is one token, whoever is first.
    ///
    /// # Errors
    /// When they cannot be written. Those that were written before that stay, and are found when it is tried again.
    pub async fn enrol(&self, new: Vec<NewToken>) -> Result<Vec<EnrolOutcome>, BusError> {
        let mut outcomes = Vec::with_capacity(new.len());
        let mut secrets = Vec::with_capacity(new.len());
        let mut added: Vec<Enrolment> = Vec::with_capacity(new.len());
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
                .find_by_fingerprint(&fingerprint)
                .or_else(|| in_batch.get(&fingerprint).copied());
            if let Some(id) = known {
                outcomes.push(EnrolOutcome {
                    id: Some(id),
                    masked,
                    result: EnrolResult::Existing,
                });
                continue;
            }
            let id = id_of(&fingerprint);
            secrets.push(KvWrite {
                bucket: buckets::SECRETS,
                key: Bytes::copy_from_slice(id.as_bytes()),
                value: Some(Bytes::from(self.0.vault.seal(id.as_bytes(), token.secret.as_bytes()))),
            });
            in_batch.insert(fingerprint, id);
            added.push(Enrolment {
                at: outcomes.len(),
                record: self.fresh_record(id, fingerprint, &masked, added.len(), &token),
                secret: SecretString::from(token.secret),
                revision: 0,
            });
            outcomes.push(EnrolOutcome {
                id: Some(id),
                masked,
                result: EnrolResult::Added,
            });
        }
        if added.is_empty() {
            return Ok(outcomes);
        }
        self.0.probe_pace.enrols(added.len(), self.0.clock.now());
        // The secret before the record: whoever sees the record finds it.
        self.0.bus.kv_write(secrets).await?;
        let written: Vec<Result<Enrolment, BusError>> = futures::stream::iter(added)
            .map(|enrolment| self.create(enrolment))
            .buffer_unordered(WRITES)
            .collect()
            .await;
        let mut tokens = Vec::with_capacity(written.len());
        let mut failed = None;
        for enrolment in written {
            match enrolment {
                Ok(enrolment) => {
                    let is_new = enrolment.revision > 0;
                    let at = enrolment.at;
                    let token = match is_new {
                        true => self.add(enrolment.record, enrolment.secret, enrolment.revision),
                        false => self.find(enrolment.record.id),
                    };
                    if let Some(token) = token.filter(|_| is_new) {
                        tokens.push(token);
                    } else if let Some(outcome) = outcomes.get_mut(at).filter(|_| !is_new) {
                        outcome.result = EnrolResult::Existing;
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        self.0.probe_pace.enrols(tokens.len(), self.0.clock.now());
        for token in &tokens {
            self.plan_probe(token, 0);
        }
        self.tell_many(&tokens, TokenHappening::Added);
        match failed {
            Some(error) => Err(error),
            None => Ok(outcomes),
        }
    }

    /// Writes a new token's record, unless another node was faster; then its revision stays 0, and the mirror has the
    /// other's.
    async fn create(&self, mut enrolment: Enrolment) -> Result<Enrolment, BusError> {
        let id = enrolment.record.id;
        let value = codec::encode(RECORD_VERSION, &enrolment.record)
            .map_err(|error| BusError::new(BusErrorKind::Corrupt, error.to_string()))?;
        let key = Bytes::copy_from_slice(id.as_bytes());
        match self.0.bus.kv_put(buckets::TOKENS, key, value, Expect::Absent).await {
            Ok(revision) => enrolment.revision = revision,
            Err(error) if error.kind == BusErrorKind::Conflict => {
                if let Some(entry) = self.0.bus.kv_get(buckets::TOKENS, id.as_bytes()).await? {
                    let record: TokenRecord = codec::decode(&entry.value)
                        .map_err(|error| BusError::new(BusErrorKind::Corrupt, error.to_string()))?;
                    let team = record.team.clone();
                    self.add(record, enrolment.secret.clone(), entry.revision);
                    let team = team.and_then(|id| self.0.teams.get(&id).map(|team| team.clone()));
                    if let Some(team) = team.filter(|team| team.stored().1 == 0) {
                        self.reread_team(&team).await?;
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(enrolment)
    }

    /// `nth` of those that are enrolled together.
    fn fresh_record(
        &self,
        id: TokenId,
        fingerprint: [u8; 32],
        masked: &str,
        nth: usize,
        token: &NewToken,
    ) -> TokenRecord {
        // Lists show them in the order in which they were pasted: the first thousand by a millisecond each.
        let order = nth.min(ORDERED) as u64;
        TokenRecord {
            id,
            pool: token.pool,
            fingerprint,
            masked: masked.to_owned(),
            label: token.label.clone().into(),
            note: token.note.clone().into(),
            tags: token.tags.clone().into(),
            switch: token.switch,
            team: None,
            models: None.into(),
            cooling: None.into(),
            model_cooling: Vec::new().into(),
            proxy: token.proxy.clone().filter(|proxy| !proxy.is_empty()).into(),
            created_ms: self.0.clock.wall().0 + order,
            probed_ms: None,
            last_used_ms: None,
            use_count: 0,
            fail_count: 0,
            version: 1,
            edited: merge::stamp(0, 0, self.tag()),
            found: 0,
            epoch: 0,
            model_epoch: 0,
        }
    }
}

/// A credential on its way into the pool.
struct Enrolment {
    /// Its place among the outcomes.
    at: usize,
    record: TokenRecord,
    secret: SecretString,
    /// At which its record was written; 0 = not by us.
    revision: u64,
}

/// The id of a secret, from its keyed hash: a UUID of the form that is left to its maker (version 8).
pub(super) fn id_of(fingerprint: &[u8; 32]) -> TokenId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&fingerprint[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    TokenId::from_bytes(bytes)
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
