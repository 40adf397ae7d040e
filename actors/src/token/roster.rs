//! The pool as its operators see it: enrol, list, change, delete, refresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use grok2api_schemas::admin::tokens::{RefreshOutcome, TokenPatch};
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{TeamRecord, TokenRecord, TokenSwitch};
use grok2api_schemas::token_event::TokenHappening;

use super::enrol;
use super::entry::Token;
use super::life::WRITES;
use super::merge;
use super::pool::Pool;
use super::probe::ProbeReport;
use super::team::Team;
use crate::bus::{BusError, KvWrite};

impl Pool {
    /// The token of that id.
    pub fn find(&self, id: TokenId) -> Option<Arc<Token>> {
        self.0.tokens.read().get(&id).cloned()
    }

    /// The token of a whole secret.
    pub fn find_by_secret(&self, secret: &str) -> Option<TokenId> {
        self.find_by_fingerprint(&self.0.vault.fingerprint(secret))
    }

    /// The token of a secret's keyed hash. Most ids follow from it, and need no index.
    pub(super) fn find_by_fingerprint(&self, fingerprint: &[u8; 32]) -> Option<TokenId> {
        let id = enrol::id_of(fingerprint);
        if self
            .find(id)
            .is_some_and(|token| token.record().fingerprint == *fingerprint)
        {
            return Some(id);
        }
        self.0.by_fingerprint.get(fingerprint).map(|id| *id)
    }

    /// Every token there is.
    pub fn len(&self) -> usize {
        self.0.tokens.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Changes what an operator may change; durable when it answers, and in force from then on. Unknown ids are left out.
    ///
    /// # Errors
    /// When it cannot be written; what was written before that stays.
    pub async fn patch(&self, changes: Vec<(TokenId, TokenPatch)>) -> Result<(), BusError> {
        let tag = self.tag();
        let changes = changes
            .into_iter()
            .filter_map(|(id, patch)| self.find(id).map(|token| (token, patch)));
        futures::stream::iter(changes.map(Ok))
            .try_for_each_concurrent(WRITES, |(token, patch)| async move {
                let was = token.record().switch;
                let edit = |record: &mut TokenRecord| {
                    apply(record, patch.clone());
                    record.edited = merge::stamp(record.version, record.edited, tag);
                };
                self.edit_token(&token, &edit).await?;
                let is_off = token.record().switch == TokenSwitch::Off;
                let what = match is_off && was == TokenSwitch::On {
                    true => TokenHappening::Disabled,
                    false => TokenHappening::Updated,
                };
                self.tell(&token, what);
                Ok(())
            })
            .await
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
        // Out of service first, so that none serves while the deletion is written. A late write of its record finds its
        // revision gone, and lets it be.
        let mine: Vec<bool> = tokens
            .iter()
            .map(|token| {
                self.with_writer(|| {
                    let is_mine = !token.gone.swap(true, Ordering::AcqRel);
                    if is_mine {
                        self.place(token);
                        self.leave(token, false);
                    }
                    is_mine
                })
            })
            .collect();
        if let Err(error) = self.0.bus.kv_write(writes).await {
            for (token, _) in tokens.iter().zip(mine).filter(|(_, is_mine)| *is_mine) {
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
        self.tell_many(&tokens, TokenHappening::Deleted);
        for token in &tokens {
            self.forget_token(token);
        }
        self.settle_offers(tokens.iter().filter_map(|token| token.team()));
        Ok(tokens.len())
    }

    /// Ends every rest of tokens, and of their teams where that is what holds them back; answers how many rested. Rests
    /// that began before, on whichever node, do not come back: they are of an older epoch.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn clear_cooling(&self, ids: &[TokenId]) -> Result<usize, BusError> {
        let mut resting = Vec::new();
        let mut teams: BTreeMap<Arc<str>, (Arc<Team>, Arc<Token>)> = BTreeMap::new();
        for token in ids.iter().filter_map(|id| self.find(*id)) {
            let record = token.record();
            let of_token = record.cooling.is_some() || !record.model_cooling.is_empty();
            let team = token.team().filter(|team| {
                let record = team.record();
                record.cooling.is_some() || !record.model_cooling.is_empty()
            });
            token.streaks.clear();
            if of_token || team.is_some() {
                resting.push((token.clone(), of_token));
            }
            if let Some(team) = team {
                teams.entry(team.id.clone()).or_insert((team, token));
            }
        }
        let cleared = resting.len();
        for (team, token) in teams.into_values() {
            let before = team.record();
            let edit = |record: &mut TeamRecord| {
                record.epoch += u32::from(record.cooling.take().is_some());
                record.model_epoch += u32::from(!record.model_cooling.is_empty());
                record.model_cooling.clear();
            };
            self.edit_team(&team, &edit).await?;
            self.tell_team_cleared(&token, &team, &before);
        }
        let of_tokens = resting.into_iter().filter(|(_, of_token)| *of_token);
        futures::stream::iter(of_tokens.map(Ok))
            .try_for_each_concurrent(WRITES, |(token, _)| async move {
                let before = token.record();
                let edit = |record: &mut TokenRecord| {
                    record.epoch += u32::from(record.cooling.take().is_some());
                    record.model_epoch += u32::from(!record.model_cooling.is_empty());
                    record.model_cooling.clear();
                    record.fail_count = 0;
                };
                self.edit_token(&token, &edit).await?;
                self.tell_cleared(&token, &before);
                Ok::<(), BusError>(())
            })
            .await?;
        self.notify_changed();
        Ok(cleared)
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
}

fn apply(record: &mut TokenRecord, patch: TokenPatch) {
    if let Some(label) = patch.label {
        record.label = label.into();
    }
    if let Some(note) = patch.note {
        record.note = note.into();
    }
    if let Some(tags) = patch.tags {
        record.tags = tags.into();
    }
    if let Some(switch) = patch.switch {
        record.switch = switch;
    }
    if let Some(pool) = patch.pool {
        record.pool = pool;
    }
    if let Some(proxy) = patch.proxy {
        record.proxy = Some(proxy).filter(|proxy| !proxy.is_empty()).into();
    }
}
