//! The pool as its operators see it: enrol, list, change, delete, refresh.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use grok2api_schemas::admin::tokens::{RefreshOutcome, TokenPatch};
use grok2api_schemas::bus::subjects::{buckets, events};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{TokenRecord, TokenSwitch};

use super::actor::RECORD_VERSION;
use super::entry::Token;
use super::pool::Pool;
use super::probe::ProbeReport;
use crate::bus::{BusError, BusErrorKind, KvWrite, codec};

impl Pool {
    /// The token of that id.
    pub fn find(&self, id: TokenId) -> Option<Arc<Token>> {
        self.0.tokens.read().get(&id).cloned()
    }

    /// The token of a whole secret.
    pub fn find_by_secret(&self, secret: &str) -> Option<TokenId> {
        self.0
            .by_fingerprint
            .get(&self.0.vault.fingerprint(secret))
            .map(|id| *id)
    }

    /// Every token there is.
    pub fn len(&self) -> usize {
        self.0.tokens.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Changes what an operator may change; durable when it answers. Unknown ids are left out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn patch(&self, changes: Vec<(TokenId, TokenPatch)>) -> Result<(), BusError> {
        let mut changed = Vec::with_capacity(changes.len());
        for (id, patch) in changes {
            let Some(token) = self.find(id) else { continue };
            self.with_writer(|| {
                token.change(|record| apply(record, patch));
                self.place(&token);
            });
            if token.team().is_none() && token.record().cooling.is_none() && token.record().switch == TokenSwitch::On {
                self.plan_probe(&token, 0);
            }
            changed.push(token);
        }
        self.write(&changed).await?;
        for token in &changed {
            self.tell(token, "updated");
        }
        Ok(())
    }

    /// Writes the records of tokens as they are now.
    pub(super) async fn write(&self, tokens: &[Arc<Token>]) -> Result<(), BusError> {
        let mut writes = Vec::with_capacity(tokens.len());
        let mut versions = Vec::with_capacity(tokens.len());
        for token in tokens {
            let record = token.record();
            versions.push(record.version);
            let value = codec::encode(RECORD_VERSION, &*record)
                .map_err(|error| BusError::new(BusErrorKind::Corrupt, error.to_string()))?;
            let key = Bytes::copy_from_slice(record.id.as_bytes());
            writes.push(KvWrite {
                bucket: buckets::TOKENS,
                key,
                value: Some(value),
            });
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.0.bus.kv_write(writes).await?;
        let mut deleted = Vec::new();
        for (token, version) in tokens.iter().zip(versions) {
            if token.is_gone() {
                deleted.push(token.clone());
            } else if token.record().version != version {
                // An actor may have written a newer version before this one arrived.
                self.0.actors.save(self, token);
            } else {
                token.note_saved(version);
            }
        }
        self.forget_deleted(&deleted).await
    }

    /// Takes records out of the store that a late write put back after their tokens were deleted.
    pub(super) async fn forget_deleted(&self, tokens: &[Arc<Token>]) -> Result<(), BusError> {
        if tokens.is_empty() {
            return Ok(());
        }
        let _deleting = self.0.roster.lock().await;
        // Under the lock a deletion has either happened or has been taken back.
        let writes = tokens.iter().filter(|token| token.is_gone()).map(|token| KvWrite {
            bucket: buckets::TOKENS,
            key: Bytes::copy_from_slice(token.id.as_bytes()),
            value: None,
        });
        let writes: Vec<KvWrite> = writes.collect();
        if writes.is_empty() {
            return Ok(());
        }
        self.0.bus.kv_write(writes).await
    }

    /// Deletes tokens; answers how many there were. Open charges in the ledger stay.
    ///
    /// # Errors
    /// When it cannot be written; then none was deleted.
    pub async fn delete(&self, ids: &[TokenId]) -> Result<usize, BusError> {
        let _deleting = self.0.roster.lock().await;
        let ids: BTreeSet<TokenId> = ids.iter().copied().collect();
        let tokens: Vec<Arc<Token>> = ids.into_iter().filter_map(|id| self.find(id)).collect();
        let mut writes = Vec::with_capacity(tokens.len() * 2);
        for token in &tokens {
            let key = Bytes::copy_from_slice(token.id.as_bytes());
            writes.push(KvWrite {
                bucket: buckets::TOKENS,
                key: key.clone(),
                value: None,
            });
            writes.push(KvWrite {
                bucket: buckets::SECRETS,
                key,
                value: None,
            });
        }
        // Out of service first, so that none serves while the deletion is written.
        for token in &tokens {
            self.with_writer(|| {
                token.gone.store(true, Ordering::Release);
                self.place(token);
                self.leave(token, false);
            });
        }
        if let Err(error) = self.0.bus.kv_write(writes).await {
            for token in &tokens {
                self.with_writer(|| {
                    token.gone.store(false, Ordering::Release);
                    self.leave(token, true);
                    self.place(token);
                });
                // Its actor holds its peace about one that is gone.
                self.0.actors.save(self, token);
            }
            return Err(error);
        }
        for token in &tokens {
            self.0.tokens.write().remove(&token.id);
            self.0.by_fingerprint.remove(&token.record().fingerprint);
            self.tell(token, "deleted");
        }
        self.settle_offers(tokens.iter().filter_map(|token| token.team()));
        Ok(tokens.len())
    }

    /// Ends every rest of tokens, and of their teams where that is what holds them back; answers how many rested.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn clear_cooling(&self, ids: &[TokenId]) -> Result<usize, BusError> {
        let now = self.0.clock.wall();
        let mut cleared = Vec::new();
        for token in ids.iter().filter_map(|id| self.find(*id)) {
            let record = token.record();
            let team = token.team();
            let of_team = team.as_ref().map(|team| team.record());
            let rests = record.cooling.is_some()
                || !record.model_cooling.is_empty()
                || of_team.is_some_and(|team| team.cooling.is_some() || !team.model_cooling.is_empty());
            if !rests {
                continue;
            }
            token.streaks.clear();
            self.with_writer(|| {
                token.change(|record| {
                    record.cooling = None;
                    record.model_cooling.clear();
                    record.fail_count = 0;
                });
                if let Some(team) = &team {
                    team.change(|record| {
                        record.cooling = None;
                        record.model_cooling.clear();
                    });
                    self.place_team(team, now);
                }
                self.place(&token);
            });
            if let Some(team) = &team {
                self.0.actors.save_team(self, team);
            }
            self.tell(&token, "recovered");
            cleared.push(token);
        }
        self.write(&cleared).await?;
        self.notify_changed();
        Ok(cleared.len())
    }

    /// Probes tokens now; a disabled one stays disabled.
    pub async fn refresh(&self, ids: &[TokenId]) -> Vec<RefreshOutcome> {
        let mut probes: FuturesUnordered<_> = ids
            .iter()
            .filter_map(|id| self.find(*id))
            .map(|token| async move {
                let report = self.0.actors.probe(self, &token).await;
                let view = self.view_of(&token);
                let (ok, detail) = match report {
                    Some(ProbeReport::Usable(_)) => (true, None),
                    Some(ProbeReport::Refused { penalty, .. }) => (false, Some(penalty.detail)),
                    Some(ProbeReport::Unreachable(reason)) => (false, Some(reason)),
                    None => (false, Some("the probe was cut short".to_owned())),
                };
                RefreshOutcome {
                    id: token.id,
                    ok,
                    state: view.state,
                    detail,
                }
            })
            .collect();
        let mut outcomes = Vec::with_capacity(ids.len());
        while let Some(outcome) = probes.next().await {
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Tells the other nodes and watchers.
    pub(super) fn tell(&self, token: &Token, what: &str) {
        let event = serde_json::json!({
            "event": what, "token": token.id, "team": token.team().map(|team| team.id.to_string()),
            "version": token.record().version,
        });
        self.0.bus.publish(events::TOKEN, Bytes::from(event.to_string()));
    }
}

fn apply(record: &mut TokenRecord, patch: TokenPatch) {
    if let Some(label) = patch.label {
        record.label = label;
    }
    if let Some(note) = patch.note {
        record.note = note;
    }
    if let Some(tags) = patch.tags {
        record.tags = tags;
    }
    if let Some(switch) = patch.switch {
        record.switch = switch;
    }
    if let Some(pool) = patch.pool {
        record.pool = pool;
    }
    if let Some(proxy) = patch.proxy {
        record.proxy = Some(proxy).filter(|proxy| !proxy.is_empty());
    }
}
