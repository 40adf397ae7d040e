//! Images and videos that a node keeps. Names of members are those of the older project.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::media::MediaKind;

/// Nothing has to be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheStatusAsk {}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheSum {
    /// Files.
    pub count: u64,
    /// Their size in MiB, to two decimals.
    pub size_mb: f64,
}

/// What the answering node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheStatus {
    /// Images.
    pub local_image: CacheSum,
    /// Videos.
    pub local_video: CacheSum,
    /// Downloads under way.
    pub downloads: u64,
    /// What both kinds together may take (`cache.limit_mb`), MiB.
    pub limit_mb: u64,
}

/// Which files to list, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheListAsk {
    /// Of this kind; not sent = images.
    #[serde(rename = "type")]
    pub kind: Option<MediaKind>,
    /// The page, from 1; not sent = 1.
    #[schemars(range(min = 1))]
    pub page: Option<u64>,
    /// Rows of a page, 1 to 1,000; not sent = 1,000.
    #[schemars(range(min = 1, max = 1000))]
    pub page_size: Option<u64>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CachedFile {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size_bytes: u64,
    /// When it came, Unix milliseconds.
    pub mtime_ms: u64,
    /// When it was read last, Unix milliseconds.
    pub read_ms: u64,
    /// Its media type.
    pub mime: String,
    /// Where it can be seen, below the gateway's address.
    pub view_url: String,
}

/// A page of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CachePage {
    /// Always `success`.
    pub status: String,
    /// On all pages.
    pub total: u64,
    /// This page.
    pub page: u64,
    /// Rows of a page.
    pub page_size: u64,
    /// The rows.
    pub items: Vec<CachedFile>,
}

/// Which files to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheClearAsk {
    /// Of this kind; not sent = images.
    #[serde(rename = "type")]
    pub kind: Option<MediaKind>,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheCleared {
    /// Always `success`.
    pub status: String,
    /// How much it was.
    pub result: CacheSum,
}

/// Which file to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheDeleteAsk {
    /// Of this kind; not sent = images.
    #[serde(rename = "type", default)]
    pub kind: Option<MediaKind>,
    /// Its name.
    pub name: String,
}

/// Whether there was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheDeletion {
    /// It was there, and is no more.
    pub deleted: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheDeleted {
    /// Always `success`.
    pub status: String,
    /// Whether there was one.
    pub result: CacheDeletion,
}
