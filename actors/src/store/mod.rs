//! The embedded store: sled behind one committer thread.
//!
//! sled acknowledges before it is durable, so every write goes through that thread: it takes all writes that wait,
//! applies each as its own atomic batch, makes them durable together, and only then answers. Conditions are evaluated
//! there too, so a compare-and-set sees every write before it. Reads go to sled directly and may see a write a few
//! milliseconds before it is durable.

mod committer;
mod disk;
mod error;
mod open;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

pub use committer::Decision;
use committer::{Job, Writer};
pub use error::StoreError;
pub use view::StoreView;

/// The most bytes of a key.
pub const MAX_KEY_BYTES: usize = 512;
/// The most bytes of a value.
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// How the store is opened. The defaults are for a node's own store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// sled's page cache. It counts bytes as on disk; in memory they take about three times as much.
    pub cache_bytes: u64,
    /// Writes are refused below so many free bytes on the file system, so that sled never sees a full one.
    pub min_free_bytes: u64,
    /// Whether every group of writes is forced to the disk itself (`fdatasync`), so that it survives a power failure and
    /// not only the end of the process.
    pub sync_to_disk: bool,
    /// How many writes may wait for the committer before writers wait for their turn.
    pub queue: usize,
    /// What happens to a damaged store.
    pub if_damaged: IfDamaged,
}

/// What happens to a store that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfDamaged {
    /// It is left as it is and not opened: an operator decides, for this node alone holds these records.
    Refuse,
    /// It is renamed and an empty one takes its place: what it held can be had elsewhere.
    SetAside,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            // What is read often is held elsewhere, decoded; what sled keeps of it is the same in memory once more.
            cache_bytes: 4 * 1024 * 1024,
            min_free_bytes: 16 * 1024 * 1024,
            sync_to_disk: true,
            queue: 4_096,
            if_damaged: IfDamaged::Refuse,
        }
    }
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub struct StoreWrite {
    /// The tree (a name space of keys).
    pub tree: &'static str,
    /// The key, 1 to [`MAX_KEY_BYTES`] bytes.
    pub key: Bytes,
    /// The value, at most [`MAX_VALUE_BYTES`]; `None` deletes.
    pub value: Option<Bytes>,
}

/// What must be stored for a batch to be written.
#[derive(Clone, Debug)]
pub struct StoreCheck {
    /// The tree.
    pub tree: &'static str,
    /// The key.
    pub key: Bytes,
    /// The value that must stand there; `None`: the key must be absent.
    pub expected: Option<Bytes>,
}

/// What the committer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Batches committed.
    pub batches: u64,
    /// Keys written or deleted.
    pub writes: u64,
    /// Times that writes were made durable; fewer than batches when writers came together.
    pub flushes: u64,
    /// Most batches that one flush made durable.
    pub largest_group: u64,
}

/// A handle on the store; clones share it. The last one to go closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    shared: Arc<Shared>,
    recovered_from: Option<PathBuf>,
}

/// What the committer and the readers share.
struct Shared {
    db: sled::Db,
    /// The trees that exist. Only the committer adds one, so that reading never writes.
    trees: ArcSwap<HashMap<String, sled::Tree>>,
    degraded: Mutex<Option<StoreError>>,
    min_free_bytes: AtomicU64,
    batches: AtomicU64,
    writes: AtomicU64,
    flushes: AtomicU64,
    largest_group: AtomicU64,
    // Last, so that the directory is unlocked after the database is closed.
    place: open::Place,
}

impl Store {
    /// Opens the store in `dir`, which is created if need be. A damaged one is renamed aside (see
    /// [`Store::recovered_from`]) and an empty one started.
    ///
    /// # Errors
    /// `Locked`, `Unusable`, `Full`: one line for the operator; nothing was touched.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        let opened = open::open(dir, &options)?;
        let data = opened.place.dir.join("sled");
        let sync = if options.sync_to_disk {
            Some(disk::DiskSync::new(&data)?)
        } else {
            None
        };
        let (shared, recovered_from) = Shared::new(opened, &options)?;
        let writer = Writer::thread(committer::Committer::new(shared.clone(), sync), options.queue)?;
        Ok(Store::assemble(writer, shared, recovered_from))
    }

    /// A store for tests and demonstrations: temporary files, gone when the last handle is dropped. It has no thread:
    /// a write is committed when its future is first polled, so it can be used under paused time.
    ///
    /// # Errors
    /// `Unusable` if no temporary files can be made.
    pub fn temporary() -> Result<Store, StoreError> {
        let options = StoreOptions {
            min_free_bytes: 0,
            ..StoreOptions::default()
        };
        let (shared, recovered_from) = Shared::new(open::open_temporary(&options)?, &options)?;
        let writer = Writer::inline(committer::Committer::new(shared.clone(), None));
        Ok(Store::assemble(writer, shared, recovered_from))
    }

    fn assemble(writer: Writer, shared: Arc<Shared>, recovered_from: Option<PathBuf>) -> Store {
        Store {
            inner: Arc::new(Inner {
                writer,
                shared,
                recovered_from,
            }),
        }
    }

    /// Where the damaged files went, if this opening had to start empty.
    pub fn recovered_from(&self) -> Option<&Path> {
        self.inner.recovered_from.as_deref()
    }

    /// Writes a batch, all or nothing; durable when it resolves. Dropping the future does not take the write back.
    ///
    /// # Errors
    /// `Full`, `Degraded`, `TooLarge`, `Closed`. After `Degraded` the outcome of this write is unknown until the next
    /// start.
    pub fn write(&self, batch: Vec<StoreWrite>) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        self.decide(move |_| Ok(Decision::write((), batch)))
    }

    /// Writes a batch if every check holds.
    ///
    /// # Errors
    /// `Conflict` if one does not; else as [`Store::write`].
    pub fn write_if(
        &self,
        checks: Vec<StoreCheck>,
        batch: Vec<StoreWrite>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        self.decide(move |view| {
            for check in &checks {
                if view.get(check.tree, &check.key)? != check.expected {
                    return Err(StoreError::Conflict);
                }
            }
            Ok(Decision::write((), batch))
        })
    }

    /// Runs `decide` on the committer thread, where it sees every write before it and none comes between, and writes
    /// what it answers. It must be quick and must not wait.
    ///
    /// # Errors
    /// What `decide` answers (nothing was written then); else as [`Store::write`].
    pub fn decide<R, F>(&self, decide: F) -> impl Future<Output = Result<R, StoreError>> + Send + 'static
    where
        R: Send + 'static,
        F: FnOnce(&StoreView<'_>) -> Result<Decision<R>, StoreError> + Send + 'static,
    {
        let inner = self.inner.clone();
        async move {
            let (job, answer) = Job::new(decide);
            inner.writer.submit(job).await?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// Reads one key.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn get(&self, tree: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.view().get(tree, key)
    }

    /// Every key of a tree that starts with `prefix`, in key order. Rows share buffers of 64 KiB: copy what is kept.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn scan_prefix(&self, tree: &'static str, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.view().scan_prefix(tree, prefix)
    }

    /// Keys of a tree from `from` (inclusive) to `to` (exclusive; `None`: to the end), in key order, at most `limit`. Rows
    /// share buffers of 64 KiB: copy what is kept.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn scan_range(
        &self,
        tree: &'static str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.view().scan_range(tree, from, to, limit)
    }

    /// Calls `visit` with every key and value of a tree that starts with `prefix`, in key order, without copying them.
    ///
    /// # Errors
    /// `Corrupt`, after the rows before the damage were visited.
    pub fn visit(&self, tree: &'static str, prefix: &[u8], visit: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.view().visit(tree, prefix, visit)
    }

    /// How many keys a tree holds. Counts them one by one.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn len(&self, tree: &'static str) -> Result<usize, StoreError> {
        let mut rows = 0;
        self.visit(tree, &[], |_, _| rows += 1)?;
        Ok(rows)
    }

    /// Why nothing is written at present, if so: no space (it mends itself), or a failed write (until the next start).
    pub fn degraded(&self) -> Option<StoreError> {
        self.inner.shared.degraded.lock().clone()
    }

    /// What the committer has done so far.
    pub fn stats(&self) -> StoreStats {
        let shared = &self.inner.shared;
        StoreStats {
            batches: shared.batches.load(Ordering::Relaxed),
            writes: shared.writes.load(Ordering::Relaxed),
            flushes: shared.flushes.load(Ordering::Relaxed),
            largest_group: shared.largest_group.load(Ordering::Relaxed),
        }
    }

    /// Bytes on the disk.
    ///
    /// # Errors
    /// `Unusable` if the directory cannot be read.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.inner
            .shared
            .db
            .size_on_disk()
            .map_err(|error| self.inner.shared.unusable(&error))
    }

    /// Commits what waits and stops the committer; later writes are `Closed`, reads go on. Blocks for the last flush.
    pub fn close(&self) {
        self.inner.writer.close();
    }

    fn view(&self) -> StoreView<'_> {
        StoreView::new(&self.inner.shared)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writer.close();
    }
}

impl Shared {
    fn new(opened: open::Opened, options: &StoreOptions) -> Result<(Arc<Shared>, Option<PathBuf>), StoreError> {
        let mut trees = HashMap::new();
        for name in opened.db.tree_names() {
            let tree = opened.db.open_tree(&name).map_err(|error| StoreError::Corrupt {
                reason: error.to_string(),
            })?;
            trees.insert(String::from_utf8_lossy(&name).into_owned(), tree);
        }
        let shared = Arc::new(Shared {
            db: opened.db,
            trees: ArcSwap::from_pointee(trees),
            degraded: Mutex::new(None),
            min_free_bytes: AtomicU64::new(options.min_free_bytes),
            batches: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            largest_group: AtomicU64::new(0),
            place: opened.place,
        });
        Ok((shared, opened.recovered_from))
    }

    /// A tree that exists.
    fn tree(&self, name: &str) -> Option<sled::Tree> {
        self.trees.load().get(name).cloned()
    }

    /// A tree, made if need be. Only for the committer.
    fn tree_for_writing(&self, name: &str) -> sled::Result<sled::Tree> {
        if let Some(tree) = self.tree(name) {
            return Ok(tree);
        }
        let tree = self.db.open_tree(name)?;
        let mut trees = HashMap::clone(&self.trees.load());
        trees.insert(name.to_owned(), tree.clone());
        self.trees.store(Arc::new(trees));
        Ok(tree)
    }

    fn unusable(&self, error: &impl std::fmt::Display) -> StoreError {
        StoreError::Unusable {
            dir: self.place.dir.clone(),
            reason: error.to_string(),
        }
    }
}
