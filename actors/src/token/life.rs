//! The pool's start, its background work and its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{TeamRecord, TokenRecord};
use grok2api_schemas::token_event::TokenHappening;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cooling;
use super::enrol;
use super::entry::Token;
use super::pool::{Pool, PoolOptions, PoolParts};
use super::team::Team;
use super::timers::Resting;
use crate::bus::{BusError, BusErrorKind, codec};

/// Writes under way at a time.
pub(super) const WRITES: usize = 512;
/// Bindings are swept this often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl Pool {
    /// Reads what is stored and starts the background work. Tokens whose domain is known serve at once; the others are
    /// probed meanwhile.
    ///
    /// # Errors
    /// When the bus cannot be read. A record that does not decode or a secret that does not open is reported and left
    /// alone in the store.
    pub async fn start(parts: PoolParts, options: PoolOptions) -> Result<Pool, BusError> {
        let (tracker, stop) = (parts.tracker.clone(), parts.stop.clone());
        let pool = Pool::build(parts, options);
        // The watch and the ear first, then the list: what changes in between is told, not lost.
        let watches = pool.watch().await?;
        pool.listen(&tracker, &stop);
        pool.read_all().await?;
        pool.plan_probes();
        pool.follow(watches, &tracker, &stop);
        pool.run(tracker, stop);
        Ok(pool)
    }

    /// Reads what is stored, and leaves time and probes to the caller.
    #[cfg(test)]
    pub(super) async fn start_still(parts: PoolParts, options: PoolOptions) -> Result<Pool, BusError> {
        let pool = Pool::build(parts, options);
        pool.read_all().await?;
        pool.plan_probes();
        Ok(pool)
    }

    async fn read_all(&self) -> Result<(), BusError> {
        let bus = &self.0.bus;
        let mut teams = bus.kv_pages(buckets::TEAMS);
        while let Some(page) = teams.next().await {
            for entry in page? {
                match codec::decode::<TeamRecord>(&entry.value) {
                    Ok(record) => {
                        let team = self.with_writer(|| self.team_entry(&record.team));
                        self.merge_team(&team, &record, Some(entry.revision));
                    }
                    Err(error) => tracing::error!(%error, "a team's record does not decode and is left alone"),
                }
            }
        }
        drop(teams);
        let mut refused = 0_u64;
        // Both buckets are read side by side: over the local bus they come in the same order, and what is held here is a page.
        // Over NATS a record that was written again stands behind younger ones while its secret does not, and secrets wait.
        let mut secrets: HashMap<Bytes, Bytes> = HashMap::new();
        let mut pages_of_secrets = bus.kv_pages(buckets::SECRETS).fuse();
        let mut tokens = bus.kv_pages(buckets::TOKENS);
        while let Some(page) = tokens.next().await {
            for entry in page? {
                while !secrets.contains_key(&entry.key) {
                    let Some(page) = pages_of_secrets.next().await else {
                        break;
                    };
                    let copies = page?.into_iter().map(|entry| {
                        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
                        (copy(&entry.key), copy(&entry.value))
                    });
                    secrets.extend(copies);
                }
                let sealed = match secrets.remove(&entry.key) {
                    Some(sealed) => Some(sealed),
                    // Enrolled between the two readings.
                    None => bus.kv_get(buckets::SECRETS, &entry.key).await?.map(|entry| entry.value),
                };
                if let Err(error) = self.read_one(&entry.value, sealed.as_deref(), entry.revision) {
                    refused += 1;
                    if refused <= 5 {
                        tracing::error!(%error, "a token cannot be read and is left alone");
                    }
                }
            }
        }
        drop(tokens);
        if refused > 0 {
            tracing::error!(
                refused,
                "tokens cannot be read: is this the master key they were sealed with?"
            );
            if self.0.tokens.read().is_empty() {
                return Err(BusError::new(
                    BusErrorKind::Corrupt,
                    format!(
                        "none of {refused} stored tokens opens: the master key is not the one they were sealed with"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn read_one(&self, value: &[u8], sealed: Option<&[u8]>, revision: u64) -> Result<(), String> {
        let record: TokenRecord = codec::decode(value).map_err(|error| error.to_string())?;
        let secret = self.open_secret(record.id, sealed)?;
        self.add(record, secret, revision);
        Ok(())
    }

    pub(super) fn open_secret(&self, id: TokenId, sealed: Option<&[u8]>) -> Result<SecretString, String> {
        let sealed = sealed.ok_or_else(|| format!("{id} has no stored secret"))?;
        let plain = self
            .0
            .vault
            .open_sealed(id.as_bytes(), sealed)
            .map_err(|error| error.to_string())?;
        let secret = std::str::from_utf8(&plain).map_err(|_| format!("{id} has a secret that is not text"))?;
        Ok(SecretString::from(secret.to_owned()))
    }

    /// Puts a token into the mirror and where its record says it belongs. Whoever comes first puts it there: its
    /// enrolment, the first reading, or the watch. Answers nothing if it was deleted since.
    pub(super) fn add(&self, mut record: TokenRecord, secret: SecretString, revision: u64) -> Option<Arc<Token>> {
        if self.0.deletions.get(&record.id).is_some_and(|at| *at > revision) {
            return None;
        }
        if let Some(name) = &mut record.team
            && let Some(team) = self.0.teams.get(name)
        {
            *name = team.id.clone();
        }
        let team = record.team.clone();
        let fingerprint = record.fingerprint;
        let known = {
            let mut tokens = self.0.tokens.write();
            match tokens.get(&record.id) {
                Some(known) => Err((known.clone(), record)),
                None => {
                    let token = Arc::new(Token::new(record, secret, revision));
                    tokens.insert(token.id, token.clone());
                    Ok(token)
                }
            }
        };
        let token = match known {
            Ok(token) => token,
            Err((known, record)) => {
                self.merge_token(&known, &record, Some(revision));
                return Some(known);
            }
        };
        if token.id != enrol::id_of(&fingerprint) {
            self.0.by_fingerprint.insert(fingerprint, token.id);
        }
        self.with_writer(|| {
            if let Some(team) = team {
                let team = self.team_entry(&team);
                self.join(&token, &team);
            }
            self.place(&token);
        });
        self.rest_token(&token);
        Some(token)
    }

    pub(super) fn rest_token(&self, token: &Token) {
        let record = token.record();
        let ends = record
            .cooling
            .iter()
            .chain(record.model_cooling.iter().map(|(_, cooling)| cooling));
        for until in ends.filter_map(|cooling| cooling.until_ms) {
            self.0.timers.add(until, Resting::Token(token.id));
        }
    }

    fn run(&self, tracker: TaskTracker, stop: CancellationToken) {
        // As many workers as probes at a time: a hundred thousand new tokens wait as ids, not as tasks.
        for _ in 0..self.0.options.probes.max(1) {
            let (pool, stop) = (self.clone(), stop.clone());
            tracker.spawn(async move {
                loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        token = pool.0.probes.next() => {
                            tokio::select! {
                                () = stop.cancelled() => return,
                                () = pool.probe_in_turn(token) => {}
                            }
                        }
                    }
                }
            });
        }
        let pool = self.clone();
        tracker.spawn(async move {
            let mut swept = tokio::time::Instant::now();
            while !stop.is_cancelled() {
                let next = pool.wake_due();
                if swept.elapsed() >= SWEEP_EVERY {
                    pool.affinity().sweep(pool.0.clock.now());
                    pool.sweep_teams().await;
                    swept = tokio::time::Instant::now();
                }
                let sleep = next.map_or(SWEEP_EVERY.as_millis() as u64, |at| {
                    at.saturating_sub(pool.0.clock.wall().0)
                });
                let sleep = Duration::from_millis(sleep.clamp(1, SWEEP_EVERY.as_millis() as u64));
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = pool.0.timers.changed() => {}
                    () = tokio::time::sleep(sleep) => {}
                }
            }
        });
    }

    /// Ends what is over; answers when the next is.
    pub(super) fn wake_due(&self) -> Option<u64> {
        let (due, next) = self.0.timers.due(self.0.clock.wall());
        for resting in due {
            self.wake(resting);
        }
        next
    }

    fn wake(&self, resting: Resting) {
        match resting {
            Resting::Token(id) => {
                if let Some(token) = self.find(id) {
                    self.end_rest(&token);
                }
            }
            Resting::Team(id) => {
                if let Some(team) = self.0.teams.get(&*id).map(|team| team.clone()) {
                    self.end_team_rest(&team);
                }
            }
            Resting::Probe(id) => {
                if let Some(token) = self.find(id)
                    && token.take_probe(self.0.clock.wall().0)
                    && self.looks_after(&token)
                {
                    self.0.probes.push(id);
                }
            }
        }
    }

    fn end_rest(&self, token: &Arc<Token>) {
        let now = self.0.clock.wall();
        let record = token.record();
        let over = record
            .cooling
            .as_ref()
            .is_some_and(|cooling| cooling::is_over(cooling, now));
        let models_over = record
            .model_cooling
            .iter()
            .any(|(_, cooling)| cooling::is_over(cooling, now));
        if !over && !models_over {
            return;
        }
        self.with_writer(|| {
            token.prune(now);
            self.place(token);
        });
        tracing::info!(token = %token.id, masked = %record.masked, "recovered: its rest is over");
        // Every node sees for itself that it is over; watchers hear it once.
        if self.looks_after(token) {
            self.tell(token, TokenHappening::Recovered);
        }
        self.notify_changed();
    }

    fn end_team_rest(&self, team: &Arc<Team>) {
        let now = self.0.clock.wall();
        let record = team.record();
        let over = record
            .cooling
            .as_ref()
            .is_some_and(|cooling| cooling::is_over(cooling, now));
        let models_over = record
            .model_cooling
            .iter()
            .any(|(_, cooling)| cooling::is_over(cooling, now));
        // The rest was made longer after its timer was set.
        if !over && !models_over {
            return;
        }
        self.with_writer(|| {
            team.prune(now);
            self.place_team(team, now);
        });
        tracing::info!(team = %team.id, "recovered: the rest is over");
        let token = team.live.read().first().cloned();
        if let Some(token) = token.filter(|_| self.is_mine(team.id.as_bytes())) {
            self.tell_team_recovered(&token, team, over);
        }
    }

    /// Writes what is not written yet. Call it when no request is running any more.
    pub async fn close(&self) {
        self.0.actors.close().await;
        // What no actor is left for, such as that of one that panicked.
        let unsaved: Vec<Arc<Token>> = self
            .0
            .tokens
            .read()
            .values()
            .filter(|token| token.is_unsaved())
            .cloned()
            .collect();
        let failed = AtomicU64::new(0);
        futures::stream::iter(&unsaved)
            .for_each_concurrent(WRITES, |token| async {
                if let Err(error) = self.save_token(token).await
                    && failed.fetch_add(1, Ordering::Relaxed) == 0
                {
                    tracing::error!(token = %token.id, %error, "a token's state could not be written at shutdown");
                }
            })
            .await;
        let failed = failed.into_inner();
        if failed > 1 {
            tracing::error!(failed, "the state of tokens could not be written at shutdown");
        }
    }
}
