//! What an operator can see and do of the images and videos that a node keeps.

use std::sync::Arc;

use futures::future::BoxFuture;
use grok2api_actors::media::{Entry, Media, MediaError, name};
use grok2api_schemas::admin::cache::{
    CacheClearAsk, CacheCleared, CacheDeleteAsk, CacheDeleted, CacheDeletion, CacheListAsk, CachePage, CacheStatus,
    CacheSum, CachedFile,
};
use grok2api_schemas::media::MediaKind;

use super::audit::Actor;
use super::{MOST_ROWS, rows};
use crate::engine::error::GatewayError;

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

/// Makes the path of a file, signed where links are.
pub type PathOf = Arc<dyn Fn(MediaKind, &str) -> String + Send + Sync>;

/// Operations on kept files.
#[derive(Clone)]
pub struct CacheOps {
    files: Arc<dyn Files>,
    path_of: PathOf,
}

fn sum((count, bytes): (u64, u64)) -> CacheSum {
    CacheSum {
        count,
        size_mb: (bytes as f64 / MIB * 100.0).round() / 100.0,
    }
}

fn success() -> String {
    "success".to_owned()
}

fn failed(error: &MediaError) -> GatewayError {
    GatewayError::internal(format!("the cache of media: {error}"))
}

impl CacheOps {
    /// Operations on these.
    pub fn new(files: Arc<dyn Files>, path_of: PathOf) -> CacheOps {
        CacheOps { files, path_of }
    }

    /// How much is kept.
    pub fn status(&self) -> CacheStatus {
        CacheStatus {
            local_image: sum(self.files.totals(MediaKind::Image)),
            local_video: sum(self.files.totals(MediaKind::Video)),
            downloads: self.files.downloads() as u64,
            limit_mb: self.files.keep_bytes() / (1024 * 1024),
        }
    }

    /// A page of files.
    ///
    /// # Errors
    /// `InvalidField`.
    pub fn list(&self, ask: &CacheListAsk) -> Result<CachePage, GatewayError> {
        let kind = ask.kind.unwrap_or(MediaKind::Image);
        let most = rows(ask.page_size, MOST_ROWS)?;
        let page = ask.page.unwrap_or(1);
        let skipped = page
            .checked_sub(1)
            .and_then(|page| usize::try_from(page).ok()?.checked_mul(most))
            .ok_or_else(|| GatewayError::field("page", "`page` must be a whole number from 1."))?;
        let all = self.files.list(kind);
        let total = all.len() as u64;
        let items = all
            .into_iter()
            .skip(skipped)
            .take(most)
            .map(|(name, entry)| CachedFile {
                view_url: (self.path_of)(kind, &name),
                name,
                size_bytes: entry.size,
                mtime_ms: entry.made_ms,
                read_ms: entry.read_ms,
                mime: entry.mime,
            });
        Ok(CachePage {
            status: success(),
            total,
            page,
            page_size: most as u64,
            items: items.collect(),
        })
    }

    /// Removes all files of a kind.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn clear(&self, actor: &Actor, ask: CacheClearAsk) -> Result<CacheCleared, GatewayError> {
        let kind = ask.kind.unwrap_or(MediaKind::Image);
        let gone = self.files.clear(kind).await.map_err(|error| failed(&error))?;
        actor.did::<&str>("cache.clear", &[], kind.as_str());
        Ok(CacheCleared {
            status: success(),
            result: sum(gone),
        })
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn delete(&self, actor: &Actor, ask: CacheDeleteAsk) -> Result<CacheDeleted, GatewayError> {
        let kind = ask.kind.unwrap_or(MediaKind::Image);
        if ask.name.trim().is_empty() {
            return Err(GatewayError::field("name", "Missing file name").with_code("missing"));
        }
        let deleted = match name::of_path(&ask.name) {
            Some(name) => self.files.delete(kind, &name).await.map_err(|error| failed(&error))?,
            None => false,
        };
        actor.did("cache.delete", &[&ask.name], kind.as_str());
        Ok(CacheDeleted {
            status: success(),
            result: CacheDeletion { deleted },
        })
    }
}
