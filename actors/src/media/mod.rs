//! Images and videos that were made or uploaded: fetched from where the upstream put them for a few minutes, kept in
//! `<data-dir>/tmp`, handed out by any node, and removed when the room is needed.

mod disk;
mod download;
mod error;
mod index;
pub mod name;
mod peers;
mod share;
pub mod sniff;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::media::{KeptFile, MediaEntry, MediaKind};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::MediaError;
pub use index::{Entry, FileKey};

use crate::bus::{BusHandle, codec};
use crate::clock::Clock;
use crate::egress::guard::Fetcher;
use crate::mailbox::Mailbox;
use crate::runtime::ArbiterPool;
use crate::store::{Store, StoreWrite};
use disk::{Disk, Incoming};
use download::{Await, Download, Wanted};
use index::Index;
use share::Share;
use sniff::{by_extension, sniff};

/// Who may wait for one download.
const MAILBOX: usize = 256;
/// Longer than an actor takes.
const PATIENCE: Duration = Duration::from_secs(11 * 60);
/// How often readings are written down.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// How often old claims are forgotten, in turns of the above.
const SWEEP_EVERY: u32 = 10;
/// The store's tree of entries.
const TREE: &str = "media#";
const VERSION: u8 = 1;

/// What may be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaLimits {
    /// Bytes kept on this node.
    pub keep_bytes: u64,
    /// Whether the oldest go when there are more.
    pub cleans: bool,
    /// Largest object.
    pub max_object_bytes: u64,
}

/// What it is made of.
pub struct MediaOptions {
    /// `<data-dir>/tmp`.
    pub dir: PathBuf,
    /// This life of this node.
    pub session: SessionId,
    /// Whether there are other nodes.
    pub is_shared: bool,
    /// Bytes that nodes share.
    pub share_bytes: u64,
    /// Downloads at a time.
    pub downloads: usize,
    /// The rest.
    pub limits: MediaLimits,
}

/// What it is built on.
pub struct MediaParts {
    /// What nodes share.
    pub bus: BusHandle,
    /// What this node keeps.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Where actors live.
    pub arbiters: ArbiterPool,
}

/// The files of this node, and the way to those of others.
#[derive(Clone)]
pub struct Media(Arc<Inner>);

struct Inner {
    disk: Disk,
    index: Mutex<Index>,
    share: Share,
    store: Store,
    clock: Clock,
    fetcher: Fetcher,
    arbiters: ArbiterPool,
    limits: ArcSwap<MediaLimits>,
    places: Arc<Semaphore>,
    live: DashMap<String, Mailbox<Download>>,
}

/// A file that is being read; it stays as long as this does.
pub struct Opened {
    /// Its bytes.
    pub file: tokio::fs::File,
    /// What is known of it.
    pub entry: Entry,
    _reading: Reading,
}

struct Reading(Media, FileKey);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.0.index.lock().end_reading(&self.1);
    }
}

fn store_key(key: &FileKey) -> Bytes {
    Bytes::from(format!("{}/{}", key.0.as_str(), key.1))
}

fn store_value(entry: &Entry) -> Option<Bytes> {
    let stored = MediaEntry {
        mime: entry.mime.clone(),
        made_ms: entry.made_ms,
        read_ms: entry.read_ms,
    };
    codec::encode(VERSION, &stored).ok()
}

impl Media {
    /// Opens the directory and takes in what lies there.
    ///
    /// # Errors
    /// When the directory or the store cannot be used.
    pub async fn open(parts: MediaParts, fetcher: Fetcher, options: MediaOptions) -> Result<Media, MediaError> {
        let disk = Disk::open(&options.dir).await?;
        let mut known = std::collections::HashMap::new();
        let mut stale = Vec::new();
        for (key, value) in parts.store.scan_prefix(TREE, b"")? {
            if let Ok(entry) = codec::decode::<MediaEntry>(&value) {
                known.insert(key.clone(), entry);
            }
            stale.push(key);
        }
        let mut index = Index::default();
        for found in disk.scan().await? {
            let stored = known.remove(&store_key(&found.key));
            stale.retain(|key| *key != store_key(&found.key));
            let (mime, made_ms, read_ms) = match stored {
                Some(entry) => (entry.mime, entry.made_ms, entry.read_ms),
                None => {
                    let mime = by_extension(&found.key.1).map_or("application/octet-stream", |file| file.mime);
                    (mime.to_owned(), found.modified_ms, found.modified_ms)
                }
            };
            index.insert(found.key, found.size, mime, made_ms, read_ms);
        }
        if !stale.is_empty() {
            let gone = stale.into_iter().map(|key| StoreWrite {
                tree: TREE,
                key,
                value: None,
            });
            parts.store.write(gone.collect()).await?;
        }
        let share = Share::new(
            parts.bus,
            options.session,
            parts.clock.clone(),
            options.is_shared,
            options.share_bytes,
        );
        Ok(Media(Arc::new(Inner {
            disk,
            index: Mutex::new(index),
            share,
            store: parts.store,
            clock: parts.clock,
            fetcher,
            arbiters: parts.arbiters,
            limits: ArcSwap::from_pointee(options.limits),
            places: Arc::new(Semaphore::new(options.downloads.max(1))),
            live: DashMap::new(),
        })))
    }

    /// Writes down what was read, and forgets what is old, until `stop`.
    pub fn start(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        if self.0.share.has_others() {
            let (media, stop) = (self.clone(), stop.clone());
            tracker.spawn(async move { media.serve_peers(&stop).await });
        }
        let (media, stop) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            let mut turn = 0_u32;
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(WRITE_EVERY) => {}
                }
                media.write_readings().await;
                turn = turn.wrapping_add(1);
                if turn.is_multiple_of(SWEEP_EVERY)
                    && let Err(error) = media.0.share.sweep().await
                {
                    tracing::debug!(%error, "claims of downloads are not swept");
                }
            }
            media.write_readings().await;
        });
    }

    async fn write_readings(&self) {
        let read = self.0.index.lock().take_unwritten();
        let writes: Vec<StoreWrite> = read
            .iter()
            .map(|(key, entry)| StoreWrite {
                tree: TREE,
                key: store_key(key),
                value: store_value(entry),
            })
            .collect();
        if !writes.is_empty()
            && let Err(error) = self.0.store.write(writes).await
        {
            tracing::warn!(%error, "when media was read last could not be written");
        }
    }

    /// Other limits from now on.
    pub fn set_limits(&self, limits: MediaLimits) {
        self.0.limits.store(Arc::new(limits));
    }

    fn limits(&self) -> Guard<Arc<MediaLimits>> {
        self.0.limits.load()
    }

    fn disk(&self) -> &Disk {
        &self.0.disk
    }

    fn share(&self) -> &Share {
        &self.0.share
    }

    /// Fetches what others named.
    pub fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    /// Downloads that are under way.
    pub fn downloads(&self) -> usize {
        self.0.live.len()
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, MediaError> {
        let place = self.0.places.clone().acquire_owned().await;
        place.map_err(|_| MediaError::Gone)
    }

    /// Brings what an upstream made, from where it says that it put it. `object` names it where other nodes may come upon
    /// it as well: it is fetched once, then.
    ///
    /// # Errors
    /// When it cannot be fetched, or is something else.
    pub async fn download(&self, object: Option<String>, kind: MediaKind, url: &str) -> Result<KeptFile, MediaError> {
        let url = url.to_owned();
        self.bring(Wanted::Upstream { object, kind, url }).await
    }

    async fn bring(&self, wanted: Wanted) -> Result<KeptFile, MediaError> {
        let mailbox = self.mailbox(wanted);
        mailbox.ask(Await, PATIENCE).await.unwrap_or(Err(MediaError::Gone))
    }

    fn mailbox(&self, wanted: Wanted) -> Mailbox<Download> {
        let start = |wanted: Wanted| {
            let (media, arbiter) = (self.clone(), self.0.arbiters.pick());
            let address = Download::start_in_arbiter(&arbiter, move |ctx| {
                ctx.set_mailbox_capacity(MAILBOX);
                Download::new(media, wanted)
            });
            Mailbox::new(address, arbiter, MAILBOX)
        };
        match self.0.live.entry(wanted.id()) {
            Slot::Occupied(mut live) => {
                if !live.get().connected() {
                    live.insert(start(wanted));
                }
                live.get().clone()
            }
            Slot::Vacant(slot) => slot.insert(start(wanted)).clone(),
        }
    }

    fn forget_download(&self, id: &str) {
        self.0.live.remove(id);
    }

    /// Keeps bytes that are here already.
    ///
    /// # Errors
    /// When they are no picture (or film), too many, or the disk refuses.
    pub async fn keep(&self, kind: MediaKind, bytes: &[u8]) -> Result<KeptFile, MediaError> {
        let most = self.limits().max_object_bytes;
        if bytes.len() as u64 > most {
            return Err(crate::egress::guard::too_large(most).into());
        }
        let mut incoming = self.0.disk.begin().await?;
        incoming.write(bytes).await?;
        self.settle(incoming, Some(kind)).await
    }

    /// Gives what has come a name by its content, and a place.
    async fn settle(&self, incoming: Incoming, kind: Option<MediaKind>) -> Result<KeptFile, MediaError> {
        let Some(file) = sniff(incoming.head()).filter(|file| kind.is_none_or(|kind| kind == file.kind)) else {
            return Err(MediaError::NotMedia);
        };
        let name = name::fresh(&file)?;
        let key = (file.kind, name);
        let kept = self.take_in(incoming, key.clone(), file.mime).await?;
        self.0.share.put(&key, &self.0.disk.path(&key), kept.size).await;
        Ok(kept)
    }

    async fn take_in(&self, incoming: Incoming, key: FileKey, mime: &str) -> Result<KeptFile, MediaError> {
        let size = incoming.size();
        incoming.finish(&self.0.disk, &key).await?;
        let now_ms = self.0.clock.wall().0;
        let going = {
            let mut index = self.0.index.lock();
            index.insert(key.clone(), size, mime.to_owned(), now_ms, now_ms);
            // What has just come is not what goes.
            let entry = index.begin_reading(&key, now_ms);
            let limits = self.limits();
            let going = match limits.cleans {
                true => index.surplus(limits.keep_bytes),
                false => Vec::new(),
            };
            index.end_reading(&key);
            (entry, going)
        };
        let (entry, going) = going;
        if let Some(value) = entry.as_ref().and_then(store_value) {
            let write = StoreWrite {
                tree: TREE,
                key: store_key(&key),
                value: Some(value),
            };
            self.0.store.write(vec![write]).await?;
        }
        for key in going {
            tracing::debug!(name = key.1, "media makes room for newer media");
            self.remove(&key).await?;
        }
        Ok(KeptFile {
            kind: key.0,
            name: key.1,
            size,
            mime: mime.to_owned(),
        })
    }

    /// Removes a file of this node.
    async fn remove(&self, key: &FileKey) -> Result<Option<Entry>, MediaError> {
        let Some(entry) = self.0.index.lock().remove(key) else {
            return Ok(None);
        };
        self.0.disk.remove(key).await?;
        let write = StoreWrite {
            tree: TREE,
            key: store_key(key),
            value: None,
        };
        self.0.store.write(vec![write]).await?;
        Ok(Some(entry))
    }

    /// Whether a file can be had, here or from another node.
    async fn has(&self, key: &FileKey) -> bool {
        if self.0.index.lock().get(key).is_some() {
            return true;
        }
        self.0.share.has_others() && self.bring(Wanted::Shared(key.clone())).await.is_ok()
    }

    /// Opens a file of this node or, after a copy, of another one.
    ///
    /// # Errors
    /// When the disk or the bus fails.
    pub async fn read(&self, kind: MediaKind, name: &str) -> Result<Option<Opened>, MediaError> {
        let key = (kind, name.to_owned());
        for _ in 0..2 {
            if let Some(opened) = self.read_here(&key).await? {
                return Ok(Some(opened));
            }
            if !self.0.share.has_others() {
                return Ok(None);
            }
            match self.bring(Wanted::Shared(key.clone())).await {
                Ok(_) => {}
                Err(MediaError::Gone) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn read_here(&self, key: &FileKey) -> Result<Option<Opened>, MediaError> {
        let Some(entry) = self.0.index.lock().begin_reading(key, self.0.clock.wall().0) else {
            return Ok(None);
        };
        let reading = Reading(self.clone(), key.clone());
        match tokio::fs::File::open(self.0.disk.path(key)).await {
            Ok(file) => Ok(Some(Opened {
                file,
                entry,
                _reading: reading,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody took it away behind our back.
                drop(reading);
                self.remove(key).await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How many files of a kind this node has, and their bytes.
    pub fn totals(&self, kind: MediaKind) -> (u64, u64) {
        self.0.index.lock().totals(kind)
    }

    /// Bytes that this node may keep.
    pub fn keep_bytes(&self) -> u64 {
        self.limits().keep_bytes
    }

    /// Files of a kind on this node, the newest first.
    pub fn list(&self, kind: MediaKind) -> Vec<(String, Entry)> {
        self.0.index.lock().list(kind)
    }

    /// Deletes a file, on all nodes that have not copied it; answers whether it was here.
    ///
    /// # Errors
    /// When the disk or the store refuses.
    pub async fn delete(&self, kind: MediaKind, name: &str) -> Result<bool, MediaError> {
        let key = (kind, name.to_owned());
        self.0.share.delete(&key).await;
        Ok(self.remove(&key).await?.is_some())
    }

    /// Deletes all files of a kind; answers how many there were, and their bytes.
    ///
    /// # Errors
    /// When the disk or the store refuses.
    pub async fn clear(&self, kind: MediaKind) -> Result<(u64, u64), MediaError> {
        let (mut count, mut bytes) = (0, 0);
        for (name, _) in self.list(kind) {
            let key = (kind, name);
            self.0.share.delete(&key).await;
            if let Some(entry) = self.remove(&key).await? {
                count += 1;
                bytes += entry.size;
            }
        }
        Ok((count, bytes))
    }
}
