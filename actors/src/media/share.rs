//! What the nodes of a cluster share of their files: the object store, from which any of them takes what another one
//! fetched, and claims, so that an object of the upstream is fetched by one of them.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::media::{FetchClaim, KeptFile};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use super::index::FileKey;
use crate::bus::{BusError, BusErrorKind, BusHandle, Expect, ObjectRange, codec};
use crate::clock::Clock;

/// A claim is renewed this often…
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// …and anybody's who sees it unrenewed for so long.
const ABANDONED_AFTER: Duration = Duration::from_secs(20);
/// How often somebody else's claim is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Claims are forgotten after so long: the upstream's own links are dead by then.
const CLAIMS_FOR_MS: u64 = 24 * 60 * 60 * 1000;
/// That a file lies with nodes alone is forgotten after so long.
const WITH_NODES_FOR_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// What such notes begin with.
const WITH_NODES: &str = "nodes/";
/// How long the sum of shared bytes is believed.
const SUM_FOR: Duration = Duration::from_secs(60);
const VERSION: u8 = 1;

/// What nodes share.
pub(super) struct Share {
    bus: BusHandle,
    session: SessionId,
    clock: Clock,
    /// Whether there are other nodes to share bytes with.
    bytes_too: bool,
    /// Bytes that the object store takes.
    most: u64,
    sum: Mutex<Option<(Instant, u64)>>,
}

/// Whose it is to fetch an object.
pub(super) enum Turn {
    /// Ours, by the claim of this revision.
    Ours(Bytes, u64),
    /// It was fetched.
    Done(KeptFile),
}

fn object_name(key: &FileKey) -> String {
    format!("{}/{}", key.0.as_str(), key.1)
}

fn corrupt(error: &codec::CodecError) -> BusError {
    BusError::new(BusErrorKind::Corrupt, error.to_string())
}

impl Share {
    pub(super) fn new(bus: BusHandle, session: SessionId, clock: Clock, bytes_too: bool, most: u64) -> Share {
        Share {
            bus,
            session,
            clock,
            bytes_too,
            most,
            sum: Mutex::new(None),
        }
    }

    pub(super) fn bus(&self) -> &BusHandle {
        &self.bus
    }

    /// Notes that a file lies with nodes and not in the object store.
    async fn note_with_nodes(&self, object: &str) {
        let noted = async {
            let key = Bytes::from(format!("{WITH_NODES}{object}"));
            self.bus
                .kv_put(buckets::MEDIA, key, self.claim(None)?, Expect::Any)
                .await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%error, object, "a file of media lies on this node alone");
        }
    }

    /// Whether a file is known to lie with nodes alone.
    pub(super) async fn is_with_nodes(&self, key: &FileKey) -> Result<bool, BusError> {
        let key = format!("{WITH_NODES}{}", object_name(key));
        Ok(self.bus.kv_get(buckets::MEDIA, key.as_bytes()).await?.is_some())
    }

    /// Whether other nodes may have what this one has not.
    pub(super) fn has_others(&self) -> bool {
        self.bytes_too
    }

    fn claim(&self, file: Option<KeptFile>) -> Result<Bytes, BusError> {
        let claim = FetchClaim {
            by: self.session,
            at_ms: self.clock.wall().0,
            file,
        };
        codec::encode(VERSION, &claim).map_err(|error| corrupt(&error))
    }

    /// Waits until it is our turn to fetch an object, or until somebody has.
    pub(super) async fn turn(&self, object: &str) -> Result<Turn, BusError> {
        let key = Bytes::from(format!("fetch/{}", blake3::hash(object.as_bytes()).to_hex()));
        let mut seen: Option<(u64, Instant)> = None;
        loop {
            let Some(entry) = self.bus.kv_get(buckets::MEDIA, &key).await? else {
                match self
                    .bus
                    .kv_put(buckets::MEDIA, key.clone(), self.claim(None)?, Expect::Absent)
                    .await
                {
                    Ok(revision) => return Ok(Turn::Ours(key, revision)),
                    Err(error) if error.kind == BusErrorKind::Conflict => continue,
                    Err(error) => return Err(error),
                }
            };
            let claim: FetchClaim = codec::decode(&entry.value).map_err(|error| corrupt(&error))?;
            if let Some(file) = claim.file {
                return Ok(Turn::Done(file));
            }
            // By the time that passes here, so that nobody's clock matters.
            let since = match seen {
                Some((revision, since)) if revision == entry.revision => since,
                _ => seen.insert((entry.revision, Instant::now())).1,
            };
            if since.elapsed() >= ABANDONED_AFTER || claim.by == self.session {
                // Of this session it can only be one that was given up.
                match self.write(&key, None, entry.revision).await {
                    Ok(revision) => return Ok(Turn::Ours(key, revision)),
                    Err(error) if error.kind == BusErrorKind::Conflict => continue,
                    Err(error) => return Err(error),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn write(&self, key: &Bytes, file: Option<KeptFile>, revision: u64) -> Result<u64, BusError> {
        let expect = Expect::Revision(revision);
        self.bus
            .kv_put(buckets::MEDIA, key.clone(), self.claim(file)?, expect)
            .await
    }

    /// Does the work under a claim that is renewed meanwhile, and writes down what came of it.
    pub(super) async fn under<E>(
        &self,
        (key, mut revision): (Bytes, u64),
        work: impl Future<Output = Result<KeptFile, E>>,
    ) -> Result<KeptFile, E> {
        tokio::pin!(work);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                () = tokio::time::sleep(RENEW_EVERY) => {
                    // Whoever took it over does the same work again; that costs a download and harms nobody.
                    if let Ok(renewed) = self.write(&key, None, revision).await {
                        revision = renewed;
                    }
                }
            }
        };
        let told = match &outcome {
            Ok(file) => self.write(&key, Some(file.clone()), revision).await.map(drop),
            Err(_) => {
                let expect = Expect::Revision(revision);
                self.bus.kv_delete(buckets::MEDIA, key, expect).await
            }
        };
        if let Err(error) = told {
            tracing::warn!(%error, "other nodes do not learn of a download of media");
        }
        outcome
    }

    /// A claim's file is nowhere any more.
    pub(super) async fn forget(&self, object: &str) {
        let key = Bytes::from(format!("fetch/{}", blake3::hash(object.as_bytes()).to_hex()));
        if let Err(error) = self.bus.kv_delete(buckets::MEDIA, key, Expect::Any).await {
            tracing::debug!(%error, "a claim of a download could not be forgotten");
        }
    }

    /// Gives a file to the others.
    pub(super) async fn put(&self, key: &FileKey, path: &Path, size: u64) {
        if !self.bytes_too {
            return;
        }
        let given = async {
            self.make_room(size).await?;
            let file = tokio::fs::File::open(path)
                .await
                .map_err(|error| BusError::new(BusErrorKind::Storage, error.to_string()))?;
            let content = ReaderStream::with_capacity(file, 128 * 1024).boxed();
            self.bus.object_put(&object_name(key), content, size).await
        };
        match given.await {
            Ok(_) => {
                if let Some((_, sum)) = self.sum.lock().as_mut() {
                    *sum += size;
                }
            }
            Err(error) => {
                *self.sum.lock() = None;
                tracing::info!(%error, name = key.1, size, "a file of media is not in the object store: other nodes fetch it here");
                self.note_with_nodes(&object_name(key)).await;
            }
        }
    }

    /// Deletes the oldest shared files until `size` more bytes fit, with room to spare: what was begun and found too
    /// large would leave its pieces behind.
    async fn make_room(&self, size: u64) -> Result<(), BusError> {
        let goal = self.most / 10 * 8;
        if size > goal {
            return Err(BusError::new(
                BusErrorKind::Storage,
                format!("{size} bytes are more than nodes share (nats.media_max_mb)"),
            ));
        }
        let known = (*self.sum.lock()).filter(|(at, _)| at.elapsed() < SUM_FOR);
        if known.is_some_and(|(_, sum)| sum + size <= goal) {
            return Ok(());
        }
        let mut objects = self.bus.object_list().await?;
        objects.sort_by_key(|object| object.modified_ms);
        let mut sum: u64 = objects.iter().map(|object| object.size).sum();
        for object in objects {
            if sum + size <= goal {
                break;
            }
            self.bus.object_delete(&object.name).await?;
            self.note_with_nodes(&object.name).await;
            sum -= object.size;
        }
        *self.sum.lock() = Some((Instant::now(), sum));
        Ok(())
    }

    /// The bytes of a file that another node put there, and how many.
    pub(super) async fn get(&self, key: &FileKey) -> Result<Option<(u64, crate::bus::ObjectBytes)>, BusError> {
        if !self.bytes_too {
            return Ok(None);
        }
        let found = self.bus.object_get(&object_name(key), ObjectRange::All).await?;
        Ok(found.map(|(info, bytes)| (info.size, bytes)))
    }

    /// Takes a file away from all.
    pub(super) async fn delete(&self, key: &FileKey) {
        if !self.bytes_too {
            return;
        }
        if let Err(error) = self.bus.object_delete(&object_name(key)).await {
            tracing::warn!(%error, name = key.1, "a shared file of media could not be deleted");
        }
        let forgotten = async {
            if self.is_with_nodes(key).await? {
                let noted = Bytes::from(format!("{WITH_NODES}{}", object_name(key)));
                self.bus.kv_delete(buckets::MEDIA, noted, Expect::Any).await?;
            }
            Ok::<(), BusError>(())
        };
        if let Err(error) = forgotten.await {
            tracing::debug!(%error, name = key.1, "that a file of media lies with nodes could not be forgotten");
        }
    }

    /// Forgets old claims.
    pub(super) async fn sweep(&self) -> Result<(), BusError> {
        let now_ms = self.clock.wall().0;
        for entry in self.bus.kv_list(buckets::MEDIA).await? {
            let life_ms = match entry.key.starts_with(WITH_NODES.as_bytes()) {
                true => WITH_NODES_FOR_MS,
                false => CLAIMS_FOR_MS,
            };
            let is_old = codec::decode::<FetchClaim>(&entry.value)
                .map_or(true, |claim| claim.at_ms.saturating_add(life_ms) < now_ms);
            if is_old {
                let expect = Expect::Revision(entry.revision);
                match self.bus.kv_delete(buckets::MEDIA, entry.key, expect).await {
                    Err(error) if error.kind != BusErrorKind::Conflict => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
