//! Which token made an object of the upstream (a deferred completion; later responses, videos, files), and whose it is:
//! a later call that names the object goes there, and nobody else's key finds it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures::StreamExt;
use grok2api_actors::bus::{BusError, BusErrorKind, BusHandle, Expect, codec};
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::{SessionId, TokenId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A deferred chat completion.
    DeferredCompletion,
    /// A response that the upstream keeps.
    Response,
    /// A sealed item (encrypted reasoning, a compaction), by a mark of its content: only its maker can open it.
    Sealed,
    /// An uploaded file.
    File,
    /// A video that is being made, or was; its content is what is known of it.
    Video,
    /// Pictures that are being made for later, or were; their content is what is known of them.
    Picture,
    /// An uploaded skill.
    Skill,
    /// A batch of calls.
    Batch,
    /// A voice made of a recording.
    Voice,
    /// A conversation in sound, which can be taken up again.
    Conversation,
    /// A collection of documents, which is made elsewhere: only where it lies is remembered.
    Collection,
}

impl ObjectKind {
    fn prefix(self) -> &'static str {
        match self {
            ObjectKind::DeferredCompletion => "deferred/",
            ObjectKind::Response => "response/",
            ObjectKind::Sealed => "sealed/",
            ObjectKind::File => "file/",
            ObjectKind::Video => "video/",
            ObjectKind::Picture => "picture/",
            ObjectKind::Skill => "skill/",
            ObjectKind::Batch => "batch/",
            ObjectKind::Voice => "voice/",
            ObjectKind::Conversation => "conversation/",
            ObjectKind::Collection => "collection/",
        }
    }
}

/// An object of the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The token that made it.
    pub token: TokenId,
    /// Whose it is: see [`crate::engine::ask::Caller::owner`].
    pub owner: String,
    /// When the upstream forgets it, Unix milliseconds.
    pub expires_ms: u64,
    /// Its content, where the upstream gives it out only once.
    pub answer: Option<Vec<u8>>,
}

/// Objects of the kinds that come by the thousand which a node holds, the newest of the cluster: about 200 B each.
const KNOWN: usize = 200_000;
/// Such objects are written together, at most this often: a write for each response would be most of the bus's traffic.
/// The first after a pause is written at once.
const WRITE_EVERY: Duration = Duration::from_millis(250);
/// The most that are written together: a value on the bus is at most 1 MiB.
const TOGETHER: usize = 2_000;
/// Objects that wait to be written at most; what comes on top is known to this node alone.
const UNWRITTEN: usize = 100_000;
/// An id that nobody knows here may be on its way from the node that made it: so long it is waited for.
const ON_ITS_WAY: Duration = Duration::from_millis(400);
/// After the bus failed.
const PAUSE: Duration = Duration::from_secs(1);
const VERSION: u8 = 1;
/// Where objects stand that were written together.
const PAGES: &str = "page/";

type Named = (String, Binding);

/// All bindings that this node knows.
///
/// Kinds that come with every answer (responses, sealed items) are written many at a time, and every node holds the newest
/// of the whole cluster in memory, from a watch. The others are few, may change, and are read from the bus each time.
#[derive(Clone)]
pub struct Bindings(Arc<Inner>);

struct Inner {
    bus: BusHandle,
    session: SessionId,
    /// Whether other nodes may know what this one does not know yet.
    shared: bool,
    known: DashMap<String, Binding>,
    /// Their names, oldest first.
    order: Mutex<VecDeque<String>>,
    unwritten: Mutex<VecDeque<Named>>,
    more: Notify,
}

impl ObjectKind {
    fn comes_by_the_thousand(self) -> bool {
        matches!(self, ObjectKind::Response | ObjectKind::Sealed)
    }
}

fn corrupt(error: &codec::CodecError) -> BusError {
    BusError::new(BusErrorKind::Corrupt, error.to_string())
}

impl Bindings {
    /// Bindings on a bus, which other nodes may share.
    pub fn new(bus: BusHandle, session: SessionId, shared: bool) -> Bindings {
        Bindings(Arc::new(Inner {
            bus,
            session,
            shared,
            known: DashMap::new(),
            order: Mutex::new(VecDeque::new()),
            unwritten: Mutex::new(VecDeque::new()),
            more: Notify::new(),
        }))
    }

    /// Writes what is put, and follows what other nodes put, until `stop`.
    pub fn start(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        let (bindings, ended) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            let mut page = 0_u64;
            loop {
                tokio::select! {
                    () = ended.cancelled() => break,
                    () = bindings.0.more.notified() => {}
                }
                let pause = match bindings.write_page(&mut page).await {
                    Ok(()) => WRITE_EVERY,
                    Err(error) => {
                        tracing::warn!(%error, "objects of the upstream could not be written; trying again");
                        PAUSE
                    }
                };
                tokio::select! {
                    () = ended.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            while !bindings.0.unwritten.lock().is_empty() {
                if let Err(error) = bindings.write_page(&mut page).await {
                    tracing::error!(%error, "objects of the upstream could not be written at shutdown");
                    return;
                }
            }
        });
        let (bindings, stop) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            let follow = async {
                loop {
                    if let Err(error) = bindings.follow().await {
                        tracing::warn!(%error, "bindings of other nodes cannot be followed; trying again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = follow => {}
            }
        });
    }

    /// Remembers an object. Of the kinds that are few it is durable when this answers; the others are written, and known
    /// to all nodes, within about a quarter of a second.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn put(&self, kind: ObjectKind, id: &str, binding: Binding) -> Result<(), BusError> {
        let key = format!("{}{id}", kind.prefix());
        if kind.comes_by_the_thousand() && binding.answer.is_none() {
            {
                let mut unwritten = self.0.unwritten.lock();
                if unwritten.len() < UNWRITTEN {
                    unwritten.push_back((key.clone(), binding.clone()));
                }
            }
            self.learn(key, binding);
            self.0.more.notify_one();
            return Ok(());
        }
        let value = codec::encode(VERSION, &binding).map_err(|error| corrupt(&error))?;
        let key = Bytes::from(key);
        self.0
            .bus
            .kv_put(buckets::BINDINGS, key, value, Expect::Any)
            .await
            .map(drop)
    }

    /// The object of an id, made here or on another node.
    ///
    /// # Errors
    /// When the bus cannot be read.
    pub async fn get(&self, kind: ObjectKind, id: &str) -> Result<Option<Binding>, BusError> {
        // Ids come from clients: what could not be a key is not one.
        if id.is_empty() || id.len() > 100 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Ok(None);
        }
        let key = format!("{}{id}", kind.prefix());
        if kind.comes_by_the_thousand() {
            let known = || self.0.known.get(&key).map(|binding| binding.clone());
            let until = tokio::time::Instant::now() + ON_ITS_WAY;
            loop {
                let found = known();
                if found.is_some() || !self.0.shared || tokio::time::Instant::now() >= until {
                    return Ok(found);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        match self.0.bus.kv_get(buckets::BINDINGS, key.as_bytes()).await? {
            Some(entry) => codec::decode(&entry.value).map(Some).map_err(|error| corrupt(&error)),
            None => Ok(None),
        }
    }

    /// An object of the kinds that are few, and its revision for [`Bindings::change`].
    ///
    /// # Errors
    /// When the bus cannot be read.
    pub async fn get_for_change(&self, kind: ObjectKind, id: &str) -> Result<Option<(Binding, u64)>, BusError> {
        let key = format!("{}{id}", kind.prefix());
        match self.0.bus.kv_get(buckets::BINDINGS, key.as_bytes()).await? {
            Some(entry) => codec::decode(&entry.value)
                .map(|binding| Some((binding, entry.revision)))
                .map_err(|error| corrupt(&error)),
            None => Ok(None),
        }
    }

    /// Writes an object if nobody else has since that revision; answers whether it is written.
    ///
    /// # Errors
    /// When the bus cannot be written.
    pub async fn change(&self, kind: ObjectKind, id: &str, binding: Binding, revision: u64) -> Result<bool, BusError> {
        let value = codec::encode(VERSION, &binding).map_err(|error| corrupt(&error))?;
        let key = Bytes::from(format!("{}{id}", kind.prefix()));
        let written = self
            .0
            .bus
            .kv_put(buckets::BINDINGS, key, value, Expect::Revision(revision));
        match written.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == BusErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forgets an object of the kinds that are few.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn forget(&self, kind: ObjectKind, id: &str) -> Result<(), BusError> {
        let key = Bytes::from(format!("{}{id}", kind.prefix()));
        self.0.bus.kv_delete(buckets::BINDINGS, key, Expect::Any).await
    }

    /// Every object of a kind that is known, in no order, for operators: what comes by the thousand from this node's memory,
    /// the others from the bus.
    ///
    /// # Errors
    /// When the bus cannot be read.
    pub async fn list(&self, kind: ObjectKind) -> Result<Vec<(String, Binding)>, BusError> {
        let id_of = |key: &str| key.strip_prefix(kind.prefix()).map(str::to_owned);
        if kind.comes_by_the_thousand() {
            let known = self.0.known.iter();
            return Ok(known
                .filter_map(|row| Some((id_of(row.key())?, row.value().clone())))
                .collect());
        }
        let mut found = Vec::new();
        let mut pages = self.0.bus.kv_pages(buckets::BINDINGS);
        while let Some(page) = pages.next().await {
            for entry in page? {
                let Some(id) = std::str::from_utf8(&entry.key).ok().and_then(id_of) else {
                    continue;
                };
                match codec::decode::<Binding>(&entry.value) {
                    Ok(binding) => found.push((id, binding)),
                    Err(error) => tracing::warn!(%error, id, "a binding does not decode and is not listed"),
                }
            }
        }
        Ok(found)
    }

    fn learn(&self, key: String, binding: Binding) {
        if self.0.known.insert(key.clone(), binding).is_some() {
            return;
        }
        let oldest = {
            let mut order = self.0.order.lock();
            order.push_back(key);
            if order.len() > KNOWN { order.pop_front() } else { None }
        };
        if let Some(oldest) = oldest {
            self.0.known.remove(&oldest);
        }
    }

    /// Writes a page of what waits.
    async fn write_page(&self, number: &mut u64) -> Result<(), BusError> {
        let page: Vec<Named> = {
            let mut unwritten = self.0.unwritten.lock();
            let count = unwritten.len().min(TOGETHER);
            unwritten.drain(..count).collect()
        };
        if page.is_empty() {
            return Ok(());
        }
        let key = Bytes::from(format!("{PAGES}{}/{number}", self.0.session));
        *number += 1;
        let value = codec::encode(VERSION, &page).map_err(|error| corrupt(&error))?;
        let written = self.0.bus.kv_put(buckets::BINDINGS, key, value, Expect::Any).await;
        let mut unwritten = self.0.unwritten.lock();
        if written.is_err() {
            for named in page.into_iter().rev() {
                unwritten.push_front(named);
            }
        }
        if !unwritten.is_empty() {
            self.0.more.notify_one();
        }
        written.map(drop)
    }

    /// Takes in what is written, by whichever node, until the watch ends.
    async fn follow(&self) -> Result<(), BusError> {
        let mut changes = self.0.bus.kv_watch(buckets::BINDINGS).await?;
        let mut pages = self.0.bus.kv_pages(buckets::BINDINGS);
        while let Some(entries) = pages.next().await {
            for entry in entries? {
                self.take_in(&entry.key, &entry.value);
            }
        }
        drop(pages);
        while let Some(change) = changes.next().await {
            if let Some(value) = change.value {
                self.take_in(&change.key, &value);
            }
        }
        Ok(())
    }

    fn take_in(&self, key: &[u8], value: &[u8]) {
        if !key.starts_with(PAGES.as_bytes()) {
            return;
        }
        match codec::decode::<Vec<Named>>(value) {
            Ok(page) => {
                for (key, binding) in page {
                    self.learn(key, binding);
                }
            }
            Err(error) => tracing::warn!(%error, "a page of bindings does not decode"),
        }
    }

    /// Forgets what has expired, in memory and on the bus; answers how many entries of the bus that were. Runs off the
    /// request path.
    ///
    /// # Errors
    /// When the bus cannot be read or written.
    pub async fn sweep(&self, now_ms: u64) -> Result<usize, BusError> {
        self.0.known.retain(|_, binding| binding.expires_ms > now_ms);
        {
            let mut order = self.0.order.lock();
            order.retain(|key| self.0.known.contains_key(key));
        }
        let mut forgotten = 0;
        // Page by page, for answers are among them.
        let mut pages = self.0.bus.kv_pages(buckets::BINDINGS);
        while let Some(page) = pages.next().await {
            for entry in page? {
                let is_over = |binding: &Binding| binding.expires_ms <= now_ms;
                let expired = if entry.key.starts_with(PAGES.as_bytes()) {
                    codec::decode::<Vec<Named>>(&entry.value)
                        .is_ok_and(|page| page.iter().all(|(_, binding)| is_over(binding)))
                } else {
                    codec::decode::<Binding>(&entry.value).is_ok_and(|binding| is_over(&binding))
                };
                if !expired {
                    continue;
                }
                let deleted = self
                    .0
                    .bus
                    .kv_delete(buckets::BINDINGS, entry.key, Expect::Revision(entry.revision))
                    .await;
                match deleted {
                    Ok(()) => forgotten += 1,
                    // It was written anew meanwhile, or another node was faster.
                    Err(error) if error.kind == BusErrorKind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(forgotten)
    }
}

#[cfg(test)]
mod tests;
