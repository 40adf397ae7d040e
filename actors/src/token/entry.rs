//! A token in memory, and what it failed at lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{PoolName, TokenRecord, TokenSwitch};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use secrecy::{ExposeSecret, SecretString};

use super::cooling::{self, CoolingPolicy, Penalty, SoftFailure, Streak};
use super::merge;
use super::team::Team;
use crate::clock::WallMs;

/// The position of what stands in no list.
pub(super) const NOWHERE: u32 = u32::MAX;

/// An upstream credential in memory.
pub struct Token {
    /// Who.
    pub id: TokenId,
    /// Kind and tier.
    pub pool: PoolName,
    secret: SecretString,
    /// What is known of it; replaced as a whole.
    record: RwLock<Arc<TokenRecord>>,
    /// What lists ask of every token there is: spares them a lock and a look into the record. See [`Brief`].
    brief: AtomicU64,
    /// The revision in the store that the record is made from. Read and written under the record's lock.
    revision: AtomicU64,
    /// Its quota domain, once known.
    pub(super) team: ArcSwapOption<Team>,
    /// Where it stands in its team's list of usable tokens.
    pub(super) position: AtomicU32,
    /// Calls in flight.
    pub(super) in_flight: AtomicU32,
    /// Soft failures in a row, by model.
    pub(super) streaks: Streaks,
    /// Calls since start that are not in the record yet.
    pub(super) unsaved_uses: AtomicU32,
    /// Last use, Unix milliseconds; 0 = not since start.
    pub(super) last_used_ms: AtomicU64,
    /// Whether any single model rests on it: spares the choice a look into the record.
    pub(super) has_model_cooling: AtomicBool,
    /// When it is to be probed next, Unix milliseconds; 0 = not planned. A plan that is put earlier leaves its old timer
    /// behind, which then wakes in vain.
    pub(super) probe_at: AtomicU64,
    /// Probes in a row that found the upstream away; no more than fit.
    pub(super) probe_failures: AtomicU8,
    /// The newest version of the record that the store is known to hold: what is above it has to be written.
    pub(super) saved_version: AtomicU64,
    /// Deleted: bindings that still name it must not be followed.
    pub(super) gone: AtomicBool,
}

impl Token {
    pub(super) fn new(record: TokenRecord, secret: SecretString, revision: u64) -> Token {
        Token {
            id: record.id,
            pool: record.pool,
            secret,
            has_model_cooling: AtomicBool::new(has_own_models(&record)),
            saved_version: AtomicU64::new(record.version),
            brief: AtomicU64::new(Brief::of(&record).0),
            record: RwLock::new(Arc::new(record)),
            revision: AtomicU64::new(revision),
            team: ArcSwapOption::empty(),
            position: AtomicU32::new(NOWHERE),
            in_flight: AtomicU32::new(0),
            streaks: Streaks::default(),
            unsaved_uses: AtomicU32::new(0),
            last_used_ms: AtomicU64::new(0),
            probe_at: AtomicU64::new(0),
            probe_failures: AtomicU8::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// What is stored of it.
    pub fn record(&self) -> Arc<TokenRecord> {
        self.record.read().clone()
    }

    /// The same for a moment, without a count of who holds it: for a look at every token there is.
    pub(super) fn peek(&self) -> RwLockReadGuard<'_, Arc<TokenRecord>> {
        self.record.read()
    }

    /// The part of it that lists ask of every token.
    pub(super) fn brief(&self) -> Brief {
        Brief(self.brief.load(Ordering::Relaxed))
    }

    /// Keeps what is read without the record in step with it. The record's lock is held.
    fn note(&self, record: &TokenRecord) {
        self.has_model_cooling.store(has_own_models(record), Ordering::Release);
        self.brief.store(Brief::of(record).0, Ordering::Relaxed);
    }

    /// Changes the record; the version rises with it.
    pub(super) fn change(&self, edit: impl FnOnce(&mut TokenRecord)) -> Arc<TokenRecord> {
        let mut slot = self.record.write();
        let mut record = TokenRecord::clone(&slot);
        edit(&mut record);
        record.version += 1;
        self.note(&record);
        *slot = Arc::new(record);
        slot.clone()
    }

    /// Changes what a probe found out.
    pub(super) fn change_found(&self, tag: u16, edit: impl FnOnce(&mut TokenRecord)) -> Arc<TokenRecord> {
        self.change(|record| {
            edit(record);
            record.found = merge::stamp(record.version, record.found, tag);
        })
    }

    /// Forgets rests that are over; nothing that has to be written.
    pub(super) fn prune(&self, now: WallMs) {
        let mut slot = self.record.write();
        let mut record = TokenRecord::clone(&slot);
        record.cooling.take_if(|cooling| cooling::is_over(cooling, now));
        record
            .model_cooling
            .retain(|(_, cooling)| !cooling::is_over(cooling, now));
        self.note(&record);
        *slot = Arc::new(record);
    }

    /// The record, and the revision in the store that it is made from.
    pub(super) fn stored(&self) -> (Arc<TokenRecord>, u64) {
        let slot = self.record.read();
        (slot.clone(), self.revision.load(Ordering::Acquire))
    }

    /// Takes in another node's record; `stored`: at which revision it stands in the store. Answers the record before and
    /// after, if that is news.
    pub(super) fn merge(
        &self,
        other: &TokenRecord,
        stored: Option<u64>,
        now: WallMs,
    ) -> Option<(Arc<TokenRecord>, Arc<TokenRecord>)> {
        let mut slot = self.record.write();
        if let Some(revision) = stored {
            if revision <= self.revision.load(Ordering::Acquire) {
                return None;
            }
            self.revision.store(revision, Ordering::Release);
        }
        let mut merged = merge::tokens(&slot, other, now);
        if merged.team == slot.team {
            // The name that is shared, not the copy that came.
            merged.team = slot.team.clone();
        }
        let is_news = !merge::same_token(&merged, &slot);
        if merge::same_token(&merged, &merge::tokens(other, other, now)) {
            // The store, or whoever told, has all that we have.
            if stored.is_some() {
                self.saved_version.fetch_max(merged.version, Ordering::AcqRel);
            } else if is_news {
                merged.version += 1;
            }
        } else {
            merged.version = slot.version.max(other.version + 1);
            if stored.is_some() {
                self.saved_version.fetch_max(other.version, Ordering::AcqRel);
            }
        }
        let before = std::mem::replace(&mut *slot, Arc::new(merged));
        let after = slot.clone();
        self.note(&after);
        is_news.then_some((before, after))
    }

    /// Plans a probe; answers whether that is news, for an earlier plan stands.
    pub(super) fn plan_probe(&self, at_ms: u64) -> bool {
        let earlier = |planned: u64| (planned == 0 || at_ms < planned).then_some(at_ms);
        self.probe_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, earlier)
            .is_ok()
    }

    /// Takes the plan, if it is due; of several timers that wake for one plan, one gets it.
    pub(super) fn take_probe(&self, now_ms: u64) -> bool {
        let due = |planned: u64| (planned != 0 && planned <= now_ms).then_some(0);
        self.probe_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, due)
            .is_ok()
    }

    /// Whether the store lacks something of it.
    pub(super) fn is_unsaved(&self) -> bool {
        self.unsaved_uses.load(Ordering::Relaxed) > 0
            || self.record.read().version > self.saved_version.load(Ordering::Acquire)
    }

    /// The credential itself, for the one place that writes it into a request.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// `Bearer …`, marked as sensitive.
    pub fn authorization(&self) -> Option<http::HeaderValue> {
        let mut value = http::HeaderValue::from_str(&format!("Bearer {}", self.secret.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Its quota domain, once known.
    pub fn team(&self) -> Option<Arc<Team>> {
        self.team.load_full()
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it was deleted.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// Whether what it may serve differs from its team's.
fn has_own_models(record: &TokenRecord) -> bool {
    !record.model_cooling.is_empty() || record.models.is_some()
}

/// When a token was enrolled (Unix milliseconds, from the fifth bit on), its pool, whether it is switched off, and whether it
/// may rest: in one word.
#[derive(Clone, Copy)]
pub(super) struct Brief(u64);

impl Brief {
    const OFF: u64 = 1;
    const OWN_REST: u64 = 1 << 1;
    const POOL_AT: u32 = 2;
    const CREATED_AT: u32 = 4;

    fn of(record: &TokenRecord) -> Brief {
        let off = if record.switch == TokenSwitch::Off {
            Brief::OFF
        } else {
            0
        };
        let rest = if record.cooling.is_some() { Brief::OWN_REST } else { 0 };
        let pool = PoolName::ALL.iter().position(|pool| *pool == record.pool).unwrap_or(0) as u64;
        Brief(record.created_ms << Brief::CREATED_AT | pool << Brief::POOL_AT | rest | off)
    }

    pub(super) fn created_ms(self) -> u64 {
        self.0 >> Brief::CREATED_AT
    }

    pub(super) fn pool(self) -> PoolName {
        let at = (self.0 >> Brief::POOL_AT) & 3;
        PoolName::ALL.get(at as usize).copied().unwrap_or(PoolName::ApiKey)
    }

    pub(super) fn is_off(self) -> bool {
        self.0 & Brief::OFF != 0
    }

    /// Whether the record names a rest of the whole token, which may be over.
    pub(super) fn has_own_rest(self) -> bool {
        self.0 & Brief::OWN_REST != 0
    }
}

/// A token's soft failures in a row, by model: one key's failures are not held against the others of its team.
#[derive(Default)]
pub(super) struct Streaks {
    /// Spares a success the lock while all is well.
    any: AtomicBool,
    by_model: Mutex<Vec<(Arc<str>, Streak)>>,
}

impl Streaks {
    pub(super) fn succeed(&self, model: &str) {
        if self.any.load(Ordering::Acquire) {
            let mut streaks = self.by_model.lock();
            streaks.retain(|(name, _)| **name != *model);
            self.any.store(!streaks.is_empty(), Ordering::Release);
        }
    }

    pub(super) fn clear(&self) {
        self.by_model.lock().clear();
        self.any.store(false, Ordering::Release);
    }

    /// Counts a failure; answers the rest it leads to, if it is one too many.
    pub(super) fn fail(&self, model: &Arc<str>, failure: SoftFailure, policy: &CoolingPolicy) -> Option<Penalty> {
        let mut streaks = self.by_model.lock();
        self.any.store(true, Ordering::Release);
        if let Some((_, streak)) = streaks.iter_mut().find(|(name, _)| name == model) {
            return streak.fail(failure, policy);
        }
        let mut streak = Streak::default();
        let penalty = streak.fail(failure, policy);
        streaks.push((model.clone(), streak));
        penalty
    }
}
