//! The pool as its operators see it: enrol, list, change, delete, refresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use grok2api_schemas::admin::page::{Cursor, Page, SortKey};
use grok2api_schemas::admin::tokens::{
    EnrolOutcome, EnrolResult, ModelCoolingView, NewToken, PoolCount, RefreshOutcome, TokenCounts, TokenPatch,
    TokenQuery, TokenSort, TokenView,
};
use grok2api_schemas::bus::subjects::{buckets, events};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{CoolingCause, PoolName, TokenRecord, TokenState, TokenSwitch};
use secrecy::SecretString;

use super::actor::RECORD_VERSION;
use super::cooling;
use super::entry::Token;
use super::pool::Pool;
use super::probe::ProbeReport;
use crate::bus::{BusError, BusErrorKind, KvWrite, codec};
use crate::egress::ProxySpec;

/// Shortest and longest secrets that can be a credential; longer ones would not fit a header.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 8..=4096;

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

    /// How one token stands.
    pub fn view(&self, id: TokenId) -> Option<TokenView> {
        self.find(id).map(|token| self.view_of(&token))
    }

    fn view_of(&self, token: &Token) -> TokenView {
        let now = self.0.clock.wall();
        let record = token.record();
        let team = token.team();
        let team_record = team.as_ref().map(|team| team.record());
        let (state, cooling) = cooling::state(&record, team_record.as_deref(), now);
        let resting = |(model, cooling): &(String, grok2api_schemas::token::Cooling)| {
            (!cooling::is_over(cooling, now)).then(|| ModelCoolingView {
                model: model.clone(),
                cause: cooling.cause,
                until_ms: cooling.until_ms,
            })
        };
        let model_cooling = record
            .model_cooling
            .iter()
            .chain(team_record.iter().flat_map(|team| team.model_cooling.iter()))
            .filter_map(resting)
            .collect();
        let models = record
            .models
            .as_ref()
            .or(team_record.as_ref().and_then(|team| team.models.as_ref()));
        let last_used = token.last_used_ms.load(Ordering::Relaxed);
        TokenView {
            id: record.id,
            token: record.masked.clone(),
            pool: record.pool,
            token_type: record.pool.into(),
            state,
            cause: cooling.map(|cooling| cooling.cause),
            detail: cooling.map(|cooling| cooling.detail.clone()),
            since_ms: cooling.map(|cooling| cooling.since_ms),
            until_ms: cooling.and_then(|cooling| cooling.until_ms),
            clearable: cooling.is_some(),
            team: record.team.clone(),
            models: models.map_or(0, |models| models.len() as u64),
            model_cooling,
            label: record.label.clone(),
            note: record.note.clone(),
            tags: record.tags.clone(),
            proxy: record
                .proxy
                .as_deref()
                .and_then(|url| ProxySpec::parse(url).ok())
                .and_then(|proxy| proxy.masked()),
            created_ms: record.created_ms,
            probed_ms: record.probed_ms,
            last_used_ms: Some(last_used).filter(|ms| *ms > 0).or(record.last_used_ms),
            use_count: record.use_count + u64::from(token.unsaved_uses.load(Ordering::Relaxed)),
            fail_count: record.fail_count,
            in_flight: token.in_flight(),
            status: state.into(),
            quota: 0,
            quota_known: false,
            heavy_quota: -1,
            heavy_quota_known: false,
        }
    }

    /// One page of the tokens that a query names.
    pub fn list(&self, query: &TokenQuery) -> Page<TokenView> {
        let now = self.0.clock.wall();
        let text = query
            .text
            .as_ref()
            .map(|text| text.to_lowercase())
            .filter(|text| !text.is_empty());
        let limit = query.limit.clamp(1, usize::MAX / 4);
        let mut total = 0_u64;
        // Every match is compared by a cheap key; only the rows of the page are made into views.
        let mut rows: Vec<(SortKey, TokenId)> = Vec::new();
        let before =
            |a: &(SortKey, TokenId), b: &(SortKey, TokenId)| if query.descending { b.cmp(a) } else { a.cmp(b) };
        let cursor = query
            .cursor
            .as_ref()
            .and_then(|cursor| cursor.id.parse::<TokenId>().ok().map(|id| (cursor.key.clone(), id)));
        for token in self.0.tokens.read().values() {
            let record = token.record();
            if !query.pools.is_empty() && !query.pools.contains(&record.pool) {
                continue;
            }
            if query
                .team
                .as_ref()
                .is_some_and(|team| record.team.as_ref() != Some(team))
            {
                continue;
            }
            if !query.states.is_empty() {
                let team = token.team().map(|team| team.record());
                if !query.states.contains(&cooling::state(&record, team.as_deref(), now).0) {
                    continue;
                }
            }
            if text.as_ref().is_some_and(|text| !mentions(&record, text)) {
                continue;
            }
            total += 1;
            let row = (sort_key(token, &record, query.sort), record.id);
            if cursor
                .as_ref()
                .is_some_and(|cursor| before(&row, cursor) != std::cmp::Ordering::Greater)
            {
                continue;
            }
            rows.push(row);
            if rows.len() >= limit.saturating_mul(2).max(1024) {
                rows.select_nth_unstable_by(limit, before);
                rows.truncate(limit + 1);
            }
        }
        rows.sort_unstable_by(before);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|(key, id)| {
            Cursor {
                key: key.clone(),
                id: id.to_string(),
            }
            .to_string()
        });
        let items = rows.iter().filter_map(|(_, id)| self.view(*id)).collect();
        Page {
            items,
            next_cursor,
            total,
        }
    }

    /// How many tokens there are, by state and pool.
    pub fn counts(&self) -> TokenCounts {
        let now = self.0.clock.wall();
        let mut counts = TokenCounts {
            teams: self
                .0
                .teams
                .iter()
                .filter(|team| team.tokens.load(Ordering::Relaxed) > 0)
                .count() as u64,
            ..TokenCounts::default()
        };
        let mut pools: Vec<PoolCount> = PoolName::ALL
            .into_iter()
            .map(|pool| PoolCount {
                pool,
                total: 0,
                active: 0,
            })
            .collect();
        for token in self.0.tokens.read().values() {
            let record = token.record();
            let team = token.team().map(|team| team.record());
            let (state, _) = cooling::state(&record, team.as_deref(), now);
            counts.total += 1;
            counts.total_calls += record.use_count + u64::from(token.unsaved_uses.load(Ordering::Relaxed));
            let slot = match state {
                TokenState::Active => &mut counts.active,
                TokenState::Cooling => &mut counts.cooling,
                TokenState::Exhausted => &mut counts.exhausted,
                TokenState::Expired => &mut counts.expired,
                TokenState::Disabled => &mut counts.disabled,
            };
            *slot += 1;
            if let Some(pool) = pools.iter_mut().find(|entry| entry.pool == record.pool) {
                pool.total += 1;
                pool.active += u64::from(state == TokenState::Active);
            }
        }
        counts.pools = pools;
        counts
    }

    /// Tokens by pool and state, for metrics.
    pub fn states(&self) -> BTreeMap<(PoolName, TokenState), u64> {
        let now = self.0.clock.wall();
        let mut states = BTreeMap::new();
        for token in self.0.tokens.read().values() {
            let record = token.record();
            let team = token.team().map(|team| team.record());
            *states
                .entry((record.pool, cooling::state(&record, team.as_deref(), now).0))
                .or_default() += 1;
        }
        states
    }

    /// What keeps tokens from serving, most frequent first: cause, how many, and the earliest end.
    pub fn hindrances(&self, model: Option<&str>) -> Vec<(CoolingCause, u64, Option<u64>)> {
        let now = self.0.clock.wall();
        let mut causes: BTreeMap<CoolingCause, (u64, Option<u64>)> = BTreeMap::new();
        for token in self.0.tokens.read().values() {
            let record = token.record();
            if record.switch == TokenSwitch::Off {
                // Its rests end without its serving again.
                continue;
            }
            let team = token.team().map(|team| team.record());
            let (_, of_token) = cooling::state(&record, team.as_deref(), now);
            let of_model = model.and_then(|model| {
                record
                    .model_cooling
                    .iter()
                    .chain(team.iter().flat_map(|team| team.model_cooling.iter()))
                    .find(|(name, cooling)| name == model && !cooling::is_over(cooling, now))
                    .map(|(_, cooling)| cooling)
            });
            let listed = record
                .models
                .as_ref()
                .or(team.as_ref().and_then(|team| team.models.as_ref()));
            let may_serve = |model: &str| listed.is_none_or(|names| names.iter().any(|name| name == model));
            if let Some(cooling) = of_token.or(of_model)
                && model.is_none_or(may_serve)
            {
                let entry = causes.entry(cooling.cause).or_default();
                entry.0 += 1;
                entry.1 = match (entry.1, cooling.until_ms) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
        let mut list: Vec<_> = causes
            .into_iter()
            .map(|(cause, (count, until))| (cause, count, until))
            .collect();
        list.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        list
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

fn mentions(record: &TokenRecord, text: &str) -> bool {
    let has = |hay: &str| hay.to_lowercase().contains(text);
    has(&record.masked)
        || has(&record.label)
        || has(&record.note)
        || record.team.as_deref().is_some_and(has)
        || record.tags.iter().any(|tag| has(tag))
        || (text.len() > 4 && has(&record.id.to_string()))
}

fn sort_key(token: &Token, record: &TokenRecord, sort: TokenSort) -> SortKey {
    match sort {
        TokenSort::Created => SortKey::Number(record.created_ms),
        TokenSort::LastUsed => {
            let last_used = token.last_used_ms.load(Ordering::Relaxed);
            SortKey::Number(last_used.max(record.last_used_ms.unwrap_or(0)))
        }
        TokenSort::UseCount => {
            SortKey::Number(record.use_count + u64::from(token.unsaved_uses.load(Ordering::Relaxed)))
        }
        TokenSort::FailCount => SortKey::Number(u64::from(record.fail_count)),
        TokenSort::Label => SortKey::Text(record.label.clone()),
    }
}
