//! Client keys: who calls us. Records live in the bus's KEYS bucket; every node holds them in memory behind the keyed
//! hash of their secret, so that a request is identified in O(1) without I/O. Limits are the ledger's business.

pub mod bound;
mod draft;
mod identity;
pub mod secret;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use dashmap::DashMap;
use grok2api_schemas::bus::events::{KeyEvent, KeyHappening};
use grok2api_schemas::bus::subjects::{buckets, events};
use grok2api_schemas::client_key::KeyRecord;
use grok2api_schemas::ids::KeyId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::bus::{BusError, BusErrorKind, BusHandle, Expect};
use crate::clock::{Clock, WallMs};
use crate::mirror::{Mirror, Row};

pub use draft::{KeyDraft, KeyError, KeyWithSecret};
pub use identity::{Fingerprint, Identity, NotTaken};

/// Where the cluster remembers that its first client key was made.
const FIRST_KEY_MARK: &[u8] = b"first-client-key";
/// Id of that key, the same everywhere: a UUID v7 of the beginning of time, so it stands before all others.
const FIRST_KEY_ID: [u8; 16] = [0, 0, 0, 0, 0, 1, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1];
/// `last_used_ms` is written at most so often, whichever node wrote it last.
const WRITE_USE_EVERY_MS: u64 = 300_000;
/// How often it is looked whether any is to be written.
const LOOK_FOR_USES: Duration = Duration::from_secs(60);
/// How often an update is tried again when somebody else changed the key in between.
const UPDATE_ATTEMPTS: usize = 4;

/// What identifies a request: one lookup away from the presented key.
#[derive(Debug)]
struct Cached {
    record: Arc<KeyRecord>,
    /// When it was last presented, Unix milliseconds; written to the record now and then.
    used_ms: Arc<AtomicU64>,
}

/// Says whether the session of a bound key is open, and may call.
pub type SessionLives = Arc<dyn Fn(KeyId) -> bool + Send + Sync>;

type Index = Arc<DashMap<[u8; 32], Cached>>;

/// The registry of client keys. Clones share it.
#[derive(Clone)]
pub struct ClientKeys {
    inner: Arc<Inner>,
}

struct Inner {
    mirror: Arc<Mirror<KeyRecord>>,
    index: Index,
    bus: BusHandle,
    hash: Arc<dyn Fingerprint>,
    clock: Clock,
    config_key: ArcSwapOption<[u8; 32]>,
    sessions: OnceLock<SessionLives>,
}

impl ClientKeys {
    /// Reads all keys and follows their changes until `stop`.
    ///
    /// # Errors
    /// The bus cannot be read, or a record does not decode.
    pub async fn load(
        bus: BusHandle,
        hash: Arc<dyn Fingerprint>,
        clock: Clock,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<ClientKeys, BusError> {
        let index: Index = Arc::default();
        let shared = index.clone();
        let mirror = Mirror::start_announced(
            bus.clone(),
            buckets::KEYS,
            b"",
            Some(events::KEY),
            tracker,
            stop.clone(),
            Box::new(move |before, after| reindex(&shared, before, after)),
        )
        .await?;
        let keys = ClientKeys {
            inner: Arc::new(Inner {
                mirror,
                index,
                bus,
                hash,
                clock,
                config_key: ArcSwapOption::empty(),
                sessions: OnceLock::new(),
            }),
        };
        let writer = keys.clone();
        tracker.spawn(async move {
            let write_now_and_then = async {
                loop {
                    // Nodes that began together do not write the same at the same moment.
                    tokio::time::sleep(LOOK_FOR_USES.mul_f64(0.5 + fastrand::f64())).await;
                    writer.write_uses(WRITE_USE_EVERY_MS).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => writer.write_uses(1).await,
                () = write_now_and_then => {}
            }
        });
        Ok(keys)
    }

    /// Sets the key of the configuration (`app.api_key`); blank = none.
    pub fn set_config_key(&self, secret: Option<&str>) {
        let hash = secret
            .map(str::trim)
            .filter(|secret| !secret.is_empty())
            .map(|secret| Arc::new(self.inner.hash.fingerprint(secret)));
        self.inner.config_key.store(hash);
    }

    /// Who says whether a session is open; the first to say it stays. Before that no key of a session is taken.
    pub fn set_sessions(&self, lives: SessionLives) {
        let _ = self.inner.sessions.set(lives);
    }

    /// Who presented this key. No I/O, no allocation: a keyed hash and a lookup.
    ///
    /// # Errors
    /// The key is not taken.
    pub fn identify(&self, presented: &str) -> Result<Identity, NotTaken> {
        let hash = self.inner.hash.fingerprint(presented);
        if self.inner.config_key.load().as_deref() == Some(&hash) {
            return Ok(Identity::Config);
        }
        let cached = self.inner.index.get(&hash).ok_or(NotTaken::Unknown)?;
        let now = self.inner.clock.wall();
        if !cached.record.is_active {
            return Err(NotTaken::Inactive);
        }
        if is_expired(&cached.record, now) {
            return Err(NotTaken::Expired);
        }
        let record = &cached.record;
        if bound::is_bound(record.id) && !self.inner.sessions.get().is_some_and(|lives| lives(record.id)) {
            return Err(NotTaken::Expired);
        }
        cached.used_ms.store(now.0, Ordering::Relaxed);
        Ok(Identity::Key(cached.record.clone()))
    }

    /// Whether a text is some client key of ours, active or not, or the configured one.
    pub fn is_client_key(&self, presented: &str) -> bool {
        !matches!(self.identify(presented), Err(NotTaken::Unknown))
    }

    /// Whether there is any key that could be presented.
    pub fn is_empty(&self) -> bool {
        self.inner.mirror.is_empty() && self.inner.config_key.load().is_none()
    }

    /// The key of an id.
    pub fn get(&self, id: KeyId) -> Option<Arc<KeyRecord>> {
        self.inner
            .mirror
            .get(id.as_bytes())
            .map(|row| self.with_use(&row.value))
    }

    /// The key of a full secret.
    pub fn find(&self, secret: &str) -> Option<Arc<KeyRecord>> {
        let hash = self.inner.hash.fingerprint(secret);
        let id = self.inner.index.get(&hash).map(|cached| cached.record.id)?;
        self.get(id)
    }

    /// All keys, oldest first.
    pub fn list(&self) -> Vec<Arc<KeyRecord>> {
        let rows = self.inner.mirror.all();
        rows.into_iter().map(|(_, row)| self.with_use(&row.value)).collect()
    }

    /// Makes a key; durable when it answers.
    ///
    /// # Errors
    /// `BadSecret`, `Exists`, `Bus`, `NoRandomness`.
    pub async fn create(&self, draft: KeyDraft) -> Result<KeyWithSecret, KeyError> {
        self.create_as(KeyId::generate(), draft).await
    }

    /// Makes a key under an id of the caller's; durable when it answers.
    ///
    /// # Errors
    /// As [`ClientKeys::create`]; `Bus` with a conflict if there is a key of that id.
    pub async fn create_as(&self, id: KeyId, draft: KeyDraft) -> Result<KeyWithSecret, KeyError> {
        let secret = match draft.secret {
            Some(secret) => secret,
            None => secret::generate().map_err(|_| KeyError::NoRandomness)?,
        };
        let fingerprint = self.fingerprint_for_new(&secret)?;
        let name = match draft.name.trim() {
            "" => {
                let made_up = secret::generate().map_err(|_| KeyError::NoRandomness)?;
                format!("key-{}", made_up.get(3..11).unwrap_or_default())
            }
            name => name.to_owned(),
        };
        let record = KeyRecord {
            id,
            name,
            fingerprint,
            display_key: secret::display(&secret),
            is_active: !draft.inactive,
            allowed_models: draft.allowed_models,
            limits: draft.limits,
            on_disconnect: draft.on_disconnect,
            expires_ms: draft.expires_ms,
            created_ms: self.inner.clock.wall().0,
            last_used_ms: None,
            version: 1,
        };
        let key = Bytes::copy_from_slice(record.id.as_bytes());
        let record = match self.inner.mirror.put(key, record, Expect::Absent).await {
            // The outcome is not known: what stands there says whether it is ours.
            Err(error) if error.kind == BusErrorKind::Timeout => {
                self.reread(id).await?;
                match self.inner.mirror.get(id.as_bytes()) {
                    Some(row) if row.value.fingerprint == fingerprint => row.value,
                    _ => return Err(error.into()),
                }
            }
            put => put?,
        };
        self.tell(KeyHappening::Created, &record);
        Ok(KeyWithSecret { record, secret })
    }

    /// Tells watchers.
    fn tell(&self, event: KeyHappening, record: &KeyRecord) {
        let event = KeyEvent {
            event,
            id: record.id,
            name: record.name.clone(),
            version: record.version,
        };
        match serde_json::to_vec(&event) {
            Ok(bytes) => self.inner.bus.publish(events::KEY_CHANGED, bytes.into()),
            Err(error) => tracing::error!(%error, "an event could not be written"),
        }
    }

    /// Changes a key; durable when it answers. `change` may run more than once.
    ///
    /// # Errors
    /// `NotFound`, `Bus`.
    pub async fn update(&self, id: KeyId, change: impl Fn(&mut KeyRecord)) -> Result<Arc<KeyRecord>, KeyError> {
        let record = self.change(id, change).await?;
        self.tell(KeyHappening::Updated, &record);
        Ok(record)
    }

    async fn change(&self, id: KeyId, change: impl Fn(&mut KeyRecord)) -> Result<Arc<KeyRecord>, KeyError> {
        let key = Bytes::copy_from_slice(id.as_bytes());
        for attempt in 1.. {
            let row = self.row(id).await?;
            let mut record = KeyRecord::clone(&self.with_use(&row.value));
            change(&mut record);
            record.id = id;
            record.version = row.value.version + 1;
            match self
                .inner
                .mirror
                .put(key.clone(), record, Expect::Revision(row.revision))
                .await
            {
                Err(error) if error.kind == BusErrorKind::Conflict && attempt < UPDATE_ATTEMPTS => {
                    self.reread(id).await?;
                }
                done => return Ok(done?),
            }
        }
        Err(KeyError::NotFound)
    }

    /// Gives a key a new secret; the old one stops working. Id, limits and usage stay.
    ///
    /// # Errors
    /// `NotFound`, `BadSecret`, `Exists`, `Bus`, `NoRandomness`.
    pub async fn rotate(&self, id: KeyId, secret: Option<Zeroizing<String>>) -> Result<KeyWithSecret, KeyError> {
        let secret = match secret {
            Some(secret) => secret,
            None => secret::generate().map_err(|_| KeyError::NoRandomness)?,
        };
        self.row(id).await?;
        let fingerprint = self.fingerprint_for_new(&secret)?;
        let shown = secret::display(&secret);
        let record = self
            .change(id, |record| {
                record.fingerprint = fingerprint;
                record.display_key.clone_from(&shown);
            })
            .await?;
        self.tell(KeyHappening::Rotated, &record);
        Ok(KeyWithSecret { record, secret })
    }

    /// Deletes a key; it stops working before this answers. Its usage stays in the ledger.
    ///
    /// # Errors
    /// `NotFound`, `Bus`.
    pub async fn delete(&self, id: KeyId) -> Result<Arc<KeyRecord>, KeyError> {
        let key = Bytes::copy_from_slice(id.as_bytes());
        for attempt in 1.. {
            let row = self.row(id).await?;
            match self.inner.mirror.delete(key.clone(), row.revision).await {
                Ok(()) => {
                    self.tell(KeyHappening::Deleted, &row.value);
                    return Ok(row.value);
                }
                Err(error) if error.kind == BusErrorKind::Conflict && attempt < UPDATE_ATTEMPTS => {
                    self.reread(id).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(KeyError::NotFound)
    }

    /// The very first start of an installation without keys: makes one, so that nothing is open meanwhile. Answers
    /// `None` at every later start, even if all keys were deleted, and where the configuration has a key.
    ///
    /// # Errors
    /// `Bus`, `NoRandomness`.
    pub async fn first_key(&self) -> Result<Option<KeyWithSecret>, KeyError> {
        let bus = &self.inner.bus;
        if bus.kv_get(buckets::CLUSTER, FIRST_KEY_MARK).await?.is_some() {
            return Ok(None);
        }
        // Every node that starts for the first time makes the key under the same id: the bus lets one through, and that
        // one alone knows the secret. The key before the mark: a crash in between makes no second key (the bucket is not
        // empty then), and no installation is marked without having had a key.
        let made = if self.is_empty() {
            let draft = KeyDraft {
                name: "first".to_owned(),
                ..KeyDraft::default()
            };
            match self.create_as(KeyId::from_bytes(FIRST_KEY_ID), draft).await {
                Ok(made) => Some(made),
                Err(KeyError::Bus(error)) if error.kind == BusErrorKind::Conflict => None,
                Err(error) => return Err(error),
            }
        } else {
            None
        };
        let mark = Bytes::from(self.inner.clock.wall().0.to_string());
        let marked = bus
            .kv_put(
                buckets::CLUSTER,
                Bytes::from_static(FIRST_KEY_MARK),
                mark,
                Expect::Absent,
            )
            .await;
        match marked {
            Ok(_) => Ok(made),
            // Another node has marked it, or nobody knows. An unmarked installation is not empty, which does as well.
            Err(error) if matches!(error.kind, BusErrorKind::Conflict | BusErrorKind::Timeout) => Ok(made),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes when keys were last used, where what is written is older by so many milliseconds.
    async fn write_uses(&self, older_ms: u64) {
        let used: Vec<(KeyId, u64)> = self
            .inner
            .index
            .iter()
            .filter_map(|cached| {
                let used = cached.used_ms.load(Ordering::Relaxed);
                let written = cached.record.last_used_ms.unwrap_or(0);
                (used >= written.saturating_add(older_ms)).then_some((cached.record.id, used))
            })
            .collect();
        for (id, used) in used {
            let Some(row) = self.inner.mirror.get(id.as_bytes()) else {
                continue;
            };
            let mut record = KeyRecord::clone(&row.value);
            record.last_used_ms = Some(used);
            let key = Bytes::copy_from_slice(id.as_bytes());
            // A conflict means that somebody changed the key: their change is worth more, and the next round writes.
            if let Err(error) = self.inner.mirror.put(key, record, Expect::Revision(row.revision)).await
                && error.kind != BusErrorKind::Conflict
            {
                tracing::warn!(%error, "last use of client keys is not written");
                return;
            }
        }
    }

    async fn row(&self, id: KeyId) -> Result<Row<KeyRecord>, KeyError> {
        self.inner
            .mirror
            .get_or_read(id.as_bytes())
            .await?
            .ok_or(KeyError::NotFound)
    }

    /// After a conflict: what the bus has now.
    async fn reread(&self, id: KeyId) -> Result<(), KeyError> {
        self.inner.mirror.refresh(id.as_bytes()).await?;
        Ok(())
    }

    fn fingerprint_for_new(&self, secret: &str) -> Result<[u8; 32], KeyError> {
        if let Some(reason) = secret::refuse(secret) {
            return Err(KeyError::BadSecret(reason));
        }
        let fingerprint = self.inner.hash.fingerprint(secret);
        let taken = self.inner.index.contains_key(&fingerprint)
            || self.inner.config_key.load().as_deref() == Some(&fingerprint);
        if taken { Err(KeyError::Exists) } else { Ok(fingerprint) }
    }

    /// The record with the last use that is not written yet.
    fn with_use(&self, record: &Arc<KeyRecord>) -> Arc<KeyRecord> {
        let used = self
            .inner
            .index
            .get(&record.fingerprint)
            .map_or(0, |cached| cached.used_ms.load(Ordering::Relaxed));
        if used <= record.last_used_ms.unwrap_or(0) {
            return record.clone();
        }
        let mut record = KeyRecord::clone(record);
        record.last_used_ms = Some(used);
        Arc::new(record)
    }
}

/// Whether a key's time is over.
pub fn is_expired(record: &KeyRecord, now: WallMs) -> bool {
    record.expires_ms.is_some_and(|expires| expires <= now.0)
}

fn reindex(index: &Index, before: Option<&Arc<KeyRecord>>, after: Option<&Arc<KeyRecord>>) {
    let used_ms = before
        .and_then(|record| {
            index
                .get(&record.fingerprint)
                .filter(|cached| cached.record.id == record.id)
        })
        .map_or_else(|| Arc::new(AtomicU64::new(0)), |cached| cached.used_ms.clone());
    if let Some(before) = before
        && after.is_none_or(|after| after.fingerprint != before.fingerprint)
    {
        index.remove_if(&before.fingerprint, |_, cached| cached.record.id == before.id);
    }
    if let Some(after) = after {
        // Two nodes that took the same secret at the same moment: the older key keeps it, on every node.
        let taken = index
            .get(&after.fingerprint)
            .is_some_and(|cached| cached.record.id < after.id);
        if !taken {
            let record = after.clone();
            index.insert(after.fingerprint, Cached { record, used_ms });
        }
    }
}
