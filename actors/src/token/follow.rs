//! Following the bus: what other nodes write reaches this node's mirror by a watch, and after any break of the watch by
//! reading everything again. A revision that is not newer than what the mirror holds changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{TeamRecord, TokenRecord};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::entry::Token;
use super::pool::Pool;
use super::team::Team;
use super::timers::Resting;
use crate::bus::{BusError, KvChange, codec};

/// How long to wait before a broken watch is started again.
const REWATCH_AFTER: Duration = Duration::from_millis(500);
/// Changes that are looked at together, and tokens that are fetched at a time.
const TOGETHER: usize = 256;
const FETCHES: usize = 64;
/// Deletions that are remembered, for additions that are still under way.
const DELETIONS: usize = 10_000;

/// Watches that were begun before the first reading.
pub(super) struct Watches {
    pub(super) teams: BoxStream<'static, KvChange>,
    pub(super) tokens: BoxStream<'static, KvChange>,
}

impl Pool {
    /// Begins to watch; what changes from now on is told, whatever is read afterwards.
    pub(super) async fn watch(&self) -> Result<Watches, BusError> {
        Ok(Watches {
            teams: self.0.bus.kv_watch(buckets::TEAMS).await?,
            tokens: self.0.bus.kv_watch(buckets::TOKENS).await?,
        })
    }

    /// Follows until `stop`.
    pub(super) fn follow(&self, watches: Watches, tracker: &TaskTracker, stop: &CancellationToken) {
        let pool = self.clone();
        let teams = async move {
            let mut watch = Some(watches.teams);
            loop {
                if let Some(mut changes) = watch.take() {
                    while let Some(change) = changes.next().await {
                        pool.team_changed(change);
                    }
                    tracing::warn!("the watch of teams ended; starting it again");
                }
                tokio::time::sleep(REWATCH_AFTER).await;
                match pool.catch_up_teams().await {
                    Ok(changes) => watch = Some(changes),
                    Err(error) => tracing::warn!(%error, "the watch of teams does not start"),
                }
            }
        };
        let pool = self.clone();
        let tokens = async move {
            let mut watch = Some(watches.tokens);
            loop {
                if let Some(changes) = watch.take() {
                    let mut changes = changes.ready_chunks(TOGETHER);
                    while let Some(changes) = changes.next().await {
                        pool.tokens_changed(changes).await;
                    }
                    tracing::warn!("the watch of tokens ended; starting it again");
                }
                tokio::time::sleep(REWATCH_AFTER).await;
                match pool.catch_up_tokens().await {
                    Ok(changes) => watch = Some(changes),
                    Err(error) => tracing::warn!(%error, "the watch of tokens does not start"),
                }
            }
        };
        let stop = stop.clone();
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ((), ()) = futures::future::join(teams, tokens) => {}
            }
        });
    }

    async fn catch_up_teams(&self) -> Result<BoxStream<'static, KvChange>, BusError> {
        let changes = self.0.bus.kv_watch(buckets::TEAMS).await?;
        let mut pages = self.0.bus.kv_pages(buckets::TEAMS);
        while let Some(page) = pages.next().await {
            for entry in page? {
                self.team_changed(KvChange {
                    key: entry.key,
                    value: Some(entry.value),
                    revision: entry.revision,
                });
            }
        }
        Ok(changes)
    }

    async fn catch_up_tokens(&self) -> Result<BoxStream<'static, KvChange>, BusError> {
        let changes = self.0.bus.kv_watch(buckets::TOKENS).await?;
        let mut missing: BTreeMap<TokenId, Arc<Token>> = {
            let tokens = self.0.tokens.read();
            tokens.iter().map(|(id, token)| (*id, token.clone())).collect()
        };
        let mut pages = self.0.bus.kv_pages(buckets::TOKENS);
        while let Some(page) = pages.next().await {
            let page: Vec<KvChange> = page?
                .into_iter()
                .map(|entry| KvChange {
                    key: entry.key,
                    value: Some(entry.value),
                    revision: entry.revision,
                })
                .collect();
            for id in page.iter().filter_map(|change| id_of(&change.key)) {
                missing.remove(&id);
            }
            self.tokens_changed(page).await;
        }
        drop(pages);
        for token in missing.into_values() {
            // Deleted while nobody told us.
            if self.0.bus.kv_get(buckets::TOKENS, token.id.as_bytes()).await?.is_none() {
                self.drop_token(&token);
            }
        }
        Ok(changes)
    }

    fn team_changed(&self, change: KvChange) {
        let Ok(id) = std::str::from_utf8(&change.key) else {
            return;
        };
        let known = self.0.teams.get(id).map(|team| team.clone());
        let Some(value) = change.value else {
            if let Some(team) = known {
                self.forget_team(&team, Some(change.revision));
            }
            return;
        };
        if known.as_ref().is_some_and(|team| team.stored().1 >= change.revision) {
            return;
        }
        match codec::decode::<TeamRecord>(&value) {
            Ok(record) => {
                let team = known.unwrap_or_else(|| self.with_writer(|| self.team_entry(id)));
                self.merge_team(&team, &record, Some(change.revision));
            }
            Err(error) => tracing::error!(team = id, %error, "a team's record does not decode and is left alone"),
        }
    }

    async fn tokens_changed(&self, changes: Vec<KvChange>) {
        // Of several changes to one token the last is what counts.
        let mut latest: BTreeMap<Bytes, KvChange> = BTreeMap::new();
        for change in changes {
            match latest.get(&change.key) {
                Some(known) if known.revision > change.revision => {}
                _ => {
                    latest.insert(change.key.clone(), change);
                }
            }
        }
        let mut gone = Vec::new();
        let mut unknown = Vec::new();
        for (key, change) in latest {
            let Some(id) = id_of(&key) else { continue };
            match (self.find(id), change.value) {
                (Some(token), None) if token.stored().1 < change.revision => gone.push(token),
                (None, None) => self.remember_deletion(id, change.revision),
                (Some(_), None) => {}
                (Some(token), Some(value)) => {
                    if token.stored().1 >= change.revision {
                        continue;
                    }
                    match codec::decode::<TokenRecord>(&value) {
                        // The same credential, deleted and enrolled anew between two of our looks.
                        Ok(record) if record.created_ms != token.record().created_ms => {
                            gone.push(token);
                            unknown.push((id, record, change.revision));
                        }
                        Ok(record) => self.merge_token(&token, &record, Some(change.revision)),
                        Err(error) => tracing::error!(token = %id, %error, "a token's record does not decode"),
                    }
                }
                (None, Some(value)) => match codec::decode::<TokenRecord>(&value) {
                    Ok(record) => unknown.push((id, record, change.revision)),
                    Err(error) => tracing::error!(token = %id, %error, "a token's record does not decode"),
                },
            }
        }
        self.drop_tokens(&gone);
        futures::stream::iter(unknown)
            .for_each_concurrent(FETCHES, |(id, record, revision)| async move {
                if let Err(error) = self.take_in(record, revision).await {
                    tracing::error!(token = %id, %error, "a token of another node cannot be read");
                }
            })
            .await;
    }

    /// Takes in a token that another node enrolled.
    async fn take_in(&self, record: TokenRecord, revision: u64) -> Result<(), String> {
        let words = |error: BusError| error.to_string();
        if let Some(team) = record.team.as_deref()
            && !self.0.teams.contains_key(team)
        {
            // Its team first: without it, it would be asked for models that it does not offer.
            if let Some(entry) = self
                .0
                .bus
                .kv_get(buckets::TEAMS, team.as_bytes())
                .await
                .map_err(words)?
            {
                self.team_changed(KvChange {
                    key: entry.key,
                    value: Some(entry.value),
                    revision: entry.revision,
                });
            }
        }
        let sealed = self
            .0
            .bus
            .kv_get(buckets::SECRETS, record.id.as_bytes())
            .await
            .map_err(words)?;
        let secret = self.open_secret(record.id, sealed.as_ref().map(|entry| &*entry.value))?;
        if let Some(token) = self.add(record, secret, revision) {
            self.plan_if_due(&token, false);
        }
        Ok(())
    }

    fn remember_deletion(&self, id: TokenId, revision: u64) {
        if self.0.deletions.len() >= DELETIONS {
            self.0.deletions.clear();
        }
        self.0.deletions.insert(id, revision);
    }

    /// A token was deleted, here or elsewhere.
    pub(super) fn drop_token(&self, token: &Arc<Token>) {
        self.drop_tokens(std::slice::from_ref(token));
    }

    pub(super) fn drop_tokens(&self, tokens: &[Arc<Token>]) {
        for token in tokens {
            let was_here = self.with_writer(|| {
                let was_here = !token.gone.swap(true, Ordering::AcqRel);
                if was_here {
                    self.place(token);
                    self.leave(token, false);
                }
                was_here
            });
            if was_here {
                self.forget_token(token);
            }
        }
        self.settle_offers(tokens.iter().filter_map(|token| token.team()));
    }

    /// Takes a token that is gone out of the mirror.
    pub(super) fn forget_token(&self, token: &Arc<Token>) {
        self.0.tokens.write().remove(&token.id);
        self.0
            .by_fingerprint
            .remove_if(&token.record().fingerprint, |_, id| *id == token.id);
    }

    /// Takes in what another node knows of a token; `stored`: the revision, where it stands in the store.
    pub(super) fn merge_token(&self, token: &Arc<Token>, other: &TokenRecord, stored: Option<u64>) {
        let now = self.0.clock.wall();
        let news = {
            let _writer = self.0.writer.lock();
            if token.is_gone() {
                return;
            }
            let Some((before, after)) = token.merge(other, stored, now) else {
                return;
            };
            if before.team != after.team
                && let Some(id) = &after.team
            {
                self.dismiss_token(token);
                let team = self.team_entry(id);
                self.join(token, &team);
            }
            self.place(token);
            self.rest_token(token);
            (before, after)
        };
        let (before, after) = news;
        if before.team != after.team || before.models != after.models {
            let left = before.team.as_ref().filter(|_| before.team != after.team);
            let left = left.and_then(|id| self.0.teams.get(id).map(|team| team.clone()));
            self.settle_offers(left.into_iter());
        }
        self.plan_if_due(token, before.probed_ms != after.probed_ms);
        self.notify_changed();
    }

    /// Takes in what another node knows of a team.
    pub(super) fn merge_team(&self, team: &Arc<Team>, other: &TeamRecord, stored: Option<u64>) {
        let now = self.0.clock.wall();
        let (before, after) = {
            let _writer = self.0.writer.lock();
            let Some((before, after)) = team.merge(other, stored, now, &self.0.lists) else {
                return;
            };
            self.adopt_models(team, before.models.as_deref(), after.models.as_deref());
            self.place_team(team, now);
            (before, after)
        };
        self.rest_team(&after);
        if before.learned != after.learned {
            self.remeter(team);
        }
        self.plan_if_parked(team, before.cooling.as_ref());
        self.notify_changed();
    }

    /// Sets the timers of a team's rests.
    pub(super) fn rest_team(&self, record: &TeamRecord) {
        let of_models = record.model_cooling.iter().map(|(_, cooling)| cooling);
        for cooling in record.cooling.iter().chain(of_models) {
            if let Some(until) = cooling.until_ms {
                self.0.timers.add(until, Resting::Team(record.team.clone()));
            }
        }
    }

    /// Forgets a team that no token belongs to any more; `deleted`: its record is gone from the store at that revision.
    pub(super) fn forget_team(&self, team: &Arc<Team>, deleted: Option<u64>) {
        let _writer = self.0.writer.lock();
        if deleted.is_some_and(|revision| team.stored().1 >= revision) {
            return;
        }
        if team.tokens.load(Ordering::Relaxed) > 0 {
            // Somebody forgot it while a token of it was being added here: it is written anew with the next change.
            team.forget_stored();
            self.0.actors.save_team(self, team);
            return;
        }
        self.dismiss_team(team);
        self.list_models(team, &[]);
        self.0.teams.remove_if(&*team.id, |_, known| Arc::ptr_eq(known, team));
    }

    /// Forgets teams that have had no token for a while, with their meters' handles; their records go with them unless
    /// somebody's rest still runs. Open charges in the ledger stay.
    pub(super) async fn sweep_teams(&self) {
        let now = self.0.clock.wall();
        let empty: Vec<Arc<Team>> = self
            .0
            .teams
            .iter()
            .filter(|team| team.tokens.load(Ordering::Relaxed) == 0)
            .map(|team| team.clone())
            .collect();
        let mut named = BTreeSet::new();
        for team in empty {
            let record = team.record();
            let rests = record.cooling.iter().chain(record.model_cooling.iter().map(|(_, c)| c));
            // A key that comes back finds its team as it left it while something runs.
            if rests.into_iter().any(|cooling| !super::cooling::is_over(cooling, now)) || !team.is_long_empty() {
                continue;
            }
            if self.is_mine(team.id.as_bytes()) && named.insert(team.id.clone()) {
                let (_, revision) = team.stored();
                let key = Bytes::copy_from_slice(team.id.as_bytes());
                let expect = crate::bus::Expect::Revision(revision);
                if revision > 0 && self.0.bus.kv_delete(buckets::TEAMS, key, expect).await.is_err() {
                    continue;
                }
            }
            self.forget_team(&team, None);
        }
    }
}

fn id_of(key: &[u8]) -> Option<TokenId> {
    <[u8; 16]>::try_from(key).ok().map(TokenId::from_bytes)
}
