//! A quota domain in memory, and the domain × model with its meters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use grok2api_schemas::token::TeamRecord;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use smallvec::SmallVec;

use super::cooling;
use super::eligible::ModelId;
use super::entry::{NOWHERE, Token};
use super::merge;
use super::model_lists::ModelLists;
use crate::clock::WallMs;
use crate::ledger::HeldMeter;

/// A team's usable tokens.
pub(super) type LiveTokens = SmallVec<[Arc<Token>; 6]>;

/// A quota domain in memory.
pub struct Team {
    /// The upstream's team id, or `key:<token id>`.
    pub id: Arc<str>,
    record: RwLock<Arc<TeamRecord>>,
    /// The revision in the store that the record is made from, 0 = none. Read and written under the record's lock.
    revision: AtomicU64,
    /// The newest version of the record that the store is known to hold.
    saved_version: AtomicU64,
    /// How often in a row it was found without any token.
    pub(super) empty_looks: AtomicU32,
    /// Its usable tokens: a few without another step to where they stand.
    pub(super) live: RwLock<LiveTokens>,
    /// Its tokens, usable or not: a team without any offers nothing.
    pub(super) tokens: AtomicU32,
    /// Where it stands in the set of each model it offers.
    pub(super) positions: Mutex<Vec<(ModelId, u32)>>,
    /// Where it stands in the set of teams whose models are not known.
    pub(super) any_position: AtomicU32,
    /// Times it was parked for want of credit since a call last succeeded: its probes come at growing intervals.
    pub(super) parks: AtomicU32,
    /// A save of its record is under way and will see the newest version.
    pub(super) saving: AtomicBool,
    /// What it has served since start, by model.
    pub(super) models: RwLock<BTreeMap<ModelId, Arc<TeamModel>>>,
}

impl Team {
    pub(super) fn new(record: TeamRecord) -> Team {
        Team {
            id: record.team.clone(),
            record: RwLock::new(Arc::new(record)),
            revision: AtomicU64::new(0),
            saved_version: AtomicU64::new(0),
            empty_looks: AtomicU32::new(0),
            live: RwLock::default(),
            tokens: AtomicU32::new(0),
            positions: Mutex::new(Vec::new()),
            any_position: AtomicU32::new(NOWHERE),
            parks: AtomicU32::new(0),
            saving: AtomicBool::new(false),
            models: RwLock::new(BTreeMap::new()),
        }
    }

    /// What is stored of it.
    pub fn record(&self) -> Arc<TeamRecord> {
        self.record.read().clone()
    }

    /// Changes the record; the version rises with it.
    pub(super) fn change(&self, edit: impl FnOnce(&mut TeamRecord)) -> Arc<TeamRecord> {
        let mut slot = self.record.write();
        let mut record = TeamRecord::clone(&slot);
        edit(&mut record);
        record.version += 1;
        *slot = Arc::new(record);
        slot.clone()
    }

    /// Changes what a probe found out.
    pub(super) fn change_found(&self, tag: u16, edit: impl FnOnce(&mut TeamRecord)) -> Arc<TeamRecord> {
        self.change(|record| {
            edit(record);
            record.found = merge::stamp(record.version, record.found, tag);
        })
    }

    /// Forgets rests that are over; nothing that has to be written.
    pub(super) fn prune(&self, now: WallMs) {
        let mut slot = self.record.write();
        let mut record = TeamRecord::clone(&slot);
        record.cooling.take_if(|cooling| cooling::is_over(cooling, now));
        record
            .model_cooling
            .retain(|(_, cooling)| !cooling::is_over(cooling, now));
        *slot = Arc::new(record);
    }

    /// The record, and the revision in the store that it is made from.
    pub(super) fn stored(&self) -> (Arc<TeamRecord>, u64) {
        let slot = self.record.read();
        (slot.clone(), self.revision.load(Ordering::Acquire))
    }

    /// Its record is not in the store any more.
    pub(super) fn forget_stored(&self) {
        let _slot = self.record.write();
        self.revision.store(0, Ordering::Release);
        self.saved_version.store(0, Ordering::Release);
    }

    /// Whether the store lacks something of it.
    pub(super) fn is_unsaved(&self) -> bool {
        self.record.read().version > self.saved_version.load(Ordering::Acquire)
    }

    /// Takes in another node's record: see [`Token::merge`].
    pub(super) fn merge(
        &self,
        other: &TeamRecord,
        stored: Option<u64>,
        now: WallMs,
        lists: &ModelLists,
    ) -> Option<(Arc<TeamRecord>, Arc<TeamRecord>)> {
        let mut slot = self.record.write();
        if let Some(revision) = stored {
            if revision <= self.revision.load(Ordering::Acquire) {
                return None;
            }
            self.revision.store(revision, Ordering::Release);
        }
        let mut merged = merge::teams(&slot, other, now);
        merged.team = self.id.clone();
        merged.models = merged.models.map(|models| lists.shared(models));
        let is_news = !merge::same_team(&merged, &slot);
        if merge::same_team(&merged, &merge::teams(other, other, now)) {
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
        is_news.then(|| (before, slot.clone()))
    }

    /// Whether it has been without any token for long: looked at once a minute.
    pub(super) fn is_long_empty(&self) -> bool {
        /// Minutes.
        const LONG: u32 = 10;
        self.empty_looks.fetch_add(1, Ordering::Relaxed) >= LONG
    }

    /// How many of its tokens are usable.
    pub fn live_tokens(&self) -> usize {
        self.live.read().len()
    }
}

/// The headroom of what nothing is used of, thousandths.
pub(super) const MOST_HEADROOM: u32 = 1000;

/// The meters of a team for one model: up to three without another step to where they stand, for every choice looks at
/// them.
pub type MeterUses = SmallVec<[MeterUse; 3]>;

/// A team for one model: what the upstream counts against.
pub struct TeamModel {
    /// The upstream model.
    pub model: Arc<str>,
    /// What each call draws on.
    pub(super) meters: RwLock<MeterUses>,
    /// Whether the upstream has answered since start (its headers may have told limits).
    pub(super) answered: AtomicBool,
    /// What the last head told of limits, mixed into one word: spares looking at what has not changed.
    pub(super) told: AtomicU64,
    /// When a limit that the upstream told was last taken over.
    pub(super) raised_at: AtomicU64,
}

/// How a call draws on a meter.
#[derive(Clone)]
pub struct MeterUse {
    /// The meter.
    pub meter: Arc<HeldMeter>,
    /// What a call takes of it.
    pub takes: Takes,
}

/// What a call takes of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One unit.
    One,
    /// Its tokens, reserved then settled.
    Tokens,
    /// Its cost in USD ticks, reserved then settled.
    UsdTicks,
}

impl TeamModel {
    /// The meters that each call draws on.
    pub fn meters(&self) -> RwLockReadGuard<'_, MeterUses> {
        self.meters.read()
    }

    /// How much room the tightest meter has, 0..=[`MOST_HEADROOM`].
    pub fn headroom(&self) -> u32 {
        headroom(&self.meters())
    }
}

/// How much room the tightest of these meters has, 0..=[`MOST_HEADROOM`].
pub(super) fn headroom(meters: &[MeterUse]) -> u32 {
    let rooms = meters.iter().map(|used| used.meter.headroom());
    rooms.min().unwrap_or(MOST_HEADROOM)
}
