//! The files of one node: what it does itself, and what it tells others of them.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use grok2api_actors::media::{Entry, Media, MediaError};
use grok2api_schemas::admin::cache::{CacheAsked, CacheOfNode, CacheSum, CacheTold, CachedFile};
use grok2api_schemas::bus::subjects::nodes as subjects;
use grok2api_schemas::media::MediaKind;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ops::nodes::Nodes;

const MIB: f64 = 1024.0 * 1024.0;

/// Kept files, as the operations see them.
pub trait Files: Send + Sync {
    /// How many of a kind, and their bytes.
    fn totals(&self, kind: MediaKind) -> (u64, u64);
    /// Downloads under way.
    fn downloads(&self) -> usize;
    /// What may be kept, bytes.
    fn keep_bytes(&self) -> u64;
    /// All of a kind, the newest first.
    fn list(&self, kind: MediaKind) -> Vec<(String, Entry)>;
    /// Removes one; answers whether it was here.
    fn delete<'a>(&'a self, kind: MediaKind, name: &'a str) -> BoxFuture<'a, Result<bool, MediaError>>;
    /// Removes all of a kind; answers how many, and their bytes.
    fn clear(&self, kind: MediaKind) -> BoxFuture<'_, Result<(u64, u64), MediaError>>;
}

impl Files for Media {
    fn totals(&self, kind: MediaKind) -> (u64, u64) {
        Media::totals(self, kind)
    }

    fn downloads(&self) -> usize {
        Media::downloads(self)
    }

    fn keep_bytes(&self) -> u64 {
        Media::keep_bytes(self)
    }

    fn list(&self, kind: MediaKind) -> Vec<(String, Entry)> {
        Media::list(self, kind)
    }

    fn delete<'a>(&'a self, kind: MediaKind, name: &'a str) -> BoxFuture<'a, Result<bool, MediaError>> {
        Box::pin(Media::delete(self, kind, name))
    }

    fn clear(&self, kind: MediaKind) -> BoxFuture<'_, Result<(u64, u64), MediaError>> {
        Box::pin(Media::clear(self, kind))
    }
}

/// Lets other nodes ask for these files, until `stop`.
pub fn answer_others(nodes: &Nodes, files: Arc<dyn Files>, tracker: &TaskTracker, stop: CancellationToken) {
    let told = move |payload: Bytes| {
        let files = files.clone();
        async move {
            let asked: CacheAsked = serde_json::from_slice(&payload).ok()?;
            let told = done(&*files, asked).await;
            serde_json::to_vec(&told).ok().map(Bytes::from)
        }
        .boxed()
    };
    nodes.answer(subjects::CACHE_ASK, told, tracker, stop);
}

/// What a node answers.
pub(super) async fn done(files: &dyn Files, asked: CacheAsked) -> CacheTold {
    let refused = |error: MediaError| {
        tracing::warn!(%error, "kept images or videos cannot be removed");
        CacheTold::Refused(error.to_string())
    };
    match asked {
        CacheAsked::Status => CacheTold::Status(CacheOfNode {
            node: String::new(),
            local_image: sum(files.totals(MediaKind::Image)),
            local_video: sum(files.totals(MediaKind::Video)),
            downloads: files.downloads() as u64,
            limit_mb: files.keep_bytes() / (1024 * 1024),
        }),
        CacheAsked::List { kind, most } => {
            let all = files.list(kind);
            let total = all.len() as u64;
            let row = |(name, entry): (String, Entry)| CachedFile {
                name,
                size_bytes: entry.size,
                mtime_ms: entry.made_ms,
                read_ms: entry.read_ms,
                mime: entry.mime,
                view_url: String::new(),
                nodes: Vec::new(),
            };
            let files = all.into_iter().take(most).map(row).collect();
            CacheTold::List { total, files }
        }
        CacheAsked::Clear(kind) => match files.clear(kind).await {
            Ok((count, bytes)) => CacheTold::Cleared(count, bytes),
            Err(error) => refused(error),
        },
        CacheAsked::Delete(kind, name) => match files.delete(kind, &name).await {
            Ok(deleted) => CacheTold::Deleted(deleted),
            Err(error) => refused(error),
        },
    }
}

/// Files and bytes as operators read them.
pub(super) fn sum((count, bytes): (u64, u64)) -> CacheSum {
    CacheSum {
        count,
        size_mb: (bytes as f64 / MIB * 100.0).round() / 100.0,
    }
}
