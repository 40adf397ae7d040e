//! Which token made an object of the upstream (a deferred completion; later responses, videos, files), and whose it is:
//! a later call that names the object goes there, and nobody else's key finds it.

use bytes::Bytes;
use dashmap::DashMap;
use futures::StreamExt;
use grok2api_actors::bus::{BusError, BusErrorKind, BusHandle, Expect, codec};
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::TokenId;
use serde::{Deserialize, Serialize};

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
}

impl ObjectKind {
    fn prefix(self) -> &'static str {
        match self {
            ObjectKind::DeferredCompletion => "deferred/",
            ObjectKind::Response => "response/",
            ObjectKind::Sealed => "sealed/",
            ObjectKind::File => "file/",
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

/// Objects held in memory; the rest is read from the bus.
const IN_MEMORY: usize = 50_000;
const VERSION: u8 = 1;

/// All bindings that this node knows.
pub struct Bindings {
    bus: BusHandle,
    recent: DashMap<String, Binding>,
}

impl Bindings {
    /// Bindings on a bus.
    pub fn new(bus: BusHandle) -> Bindings {
        Bindings {
            bus,
            recent: DashMap::new(),
        }
    }

    /// Remembers an object; durable when it answers.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn put(&self, kind: ObjectKind, id: &str, binding: Binding) -> Result<(), BusError> {
        let key = format!("{}{id}", kind.prefix());
        let value = codec::encode(VERSION, &binding)
            .map_err(|error| BusError::new(BusErrorKind::Corrupt, error.to_string()))?;
        self.bus
            .kv_put(buckets::BINDINGS, Bytes::from(key.clone()), value, Expect::Any)
            .await?;
        // Answers stay on disk: fifty thousand of them are no longer small.
        if binding.answer.is_none() && self.recent.len() < IN_MEMORY {
            self.recent.insert(key, binding);
        } else {
            self.recent.remove(&key);
        }
        Ok(())
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
        if let Some(binding) = self.recent.get(&key) {
            return Ok(Some(binding.clone()));
        }
        match self.bus.kv_get(buckets::BINDINGS, key.as_bytes()).await? {
            Some(entry) => codec::decode(&entry.value)
                .map(Some)
                .map_err(|error| BusError::new(BusErrorKind::Corrupt, error.to_string())),
            None => Ok(None),
        }
    }

    /// Forgets what has expired, in memory and on the bus; answers how many. Runs off the request path.
    ///
    /// # Errors
    /// When the bus cannot be read or written.
    pub async fn sweep(&self, now_ms: u64) -> Result<usize, BusError> {
        self.recent.retain(|_, binding| binding.expires_ms > now_ms);
        let mut forgotten = 0;
        // Page by page, for answers are among them.
        let mut pages = self.bus.kv_pages(buckets::BINDINGS);
        while let Some(page) = pages.next().await {
            for entry in page? {
                let expired = codec::decode::<Binding>(&entry.value).is_ok_and(|binding| binding.expires_ms <= now_ms);
                if !expired {
                    continue;
                }
                let deleted = self
                    .bus
                    .kv_delete(buckets::BINDINGS, entry.key, Expect::Revision(entry.revision))
                    .await;
                match deleted {
                    Ok(_) => forgotten += 1,
                    // It was written anew meanwhile, and is looked at next time.
                    Err(error) if error.kind == BusErrorKind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(forgotten)
    }
}
