//! Images and videos that a node keeps. Names of members are those of the older project.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::media::MediaKind;

/// Whose files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheStatusAsk {
    /// Of this node; not sent = of every node.
    pub node: Option<String>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheSum {
    /// Files.
    pub count: u64,
    /// Their size in MiB, to two decimals.
    pub size_mb: f64,
}

/// What nodes keep: sums, and each node's own. What several nodes keep of one file counts at each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheStatus {
    /// Images.
    pub local_image: CacheSum,
    /// Videos.
    pub local_video: CacheSum,
    /// Downloads under way.
    pub downloads: u64,
    /// What both kinds together may take (`cache.limit_mb`, on each node), MiB.
    pub limit_mb: u64,
    /// Node by node.
    pub nodes: Vec<CacheOfNode>,
    /// Nodes that live and did not answer.
    pub unanswered: Vec<String>,
}

/// What one node keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheOfNode {
    /// Which; empty alone.
    pub node: String,
    /// Images.
    pub local_image: CacheSum,
    /// Videos.
    pub local_video: CacheSum,
    /// Downloads under way.
    pub downloads: u64,
    /// What both kinds together may take, MiB.
    pub limit_mb: u64,
}

/// Which files to list, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheListAsk {
    /// Of this node; not sent = of every node.
    pub node: Option<String>,
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
    /// Nodes that keep it; empty alone.
    pub nodes: Vec<String>,
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
    /// Nodes that live and did not answer.
    pub unanswered: Vec<String>,
}

/// Which files to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheClearAsk {
    /// On this node alone; not sent = on every node.
    pub node: Option<String>,
    /// Of this kind; not sent = images.
    #[serde(rename = "type")]
    pub kind: Option<MediaKind>,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheCleared {
    /// Always `success`.
    pub status: String,
    /// How much it was, over the nodes.
    pub result: CacheSum,
    /// Nodes that live and did not answer: what they keep may still be there.
    pub unanswered: Vec<String>,
}

/// Which file to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheDeleteAsk {
    /// On this node alone; not sent = on every node.
    #[serde(default)]
    pub node: Option<String>,
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
    /// Nodes that live and did not answer: they may still keep it.
    pub unanswered: Vec<String>,
}

/// What one node asks of another about its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheAsked {
    /// How much it keeps.
    Status,
    /// The newest of a kind.
    List {
        /// Which kind.
        kind: MediaKind,
        /// As many at most.
        most: usize,
    },
    /// To remove all of a kind.
    Clear(MediaKind),
    /// To remove one.
    Delete(MediaKind, String),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheTold {
    /// So much.
    Status(CacheOfNode),
    /// These.
    List {
        /// How many there are of the kind.
        total: u64,
        /// The newest, without an address.
        files: Vec<CachedFile>,
    },
    /// So many files of so many bytes are gone.
    Cleared(u64, u64),
    /// Whether it had it.
    Deleted(bool),
    /// Its disk refuses.
    Refused(String),
}

/// What to show of what a provider keeps: its teams, or the files of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OnlineAsk {
    /// Files of this team; not sent = the teams that can be asked about.
    pub team: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Teams of a page, 1 to 1,000; not sent = 50. Pages of files are as long as the provider makes them.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
}

/// A team that a provider keeps files for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnlineTeam {
    /// Which.
    pub team: String,
    /// Its provider.
    pub provider: String,
    /// Tokens of it that are here and not switched off.
    pub tokens: u64,
}

/// A file that a provider keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnlineFile {
    /// Its id there.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size_bytes: u64,
    /// When it came, Unix milliseconds.
    pub created_ms: u64,
    /// When the provider deletes it, Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// The client key that uploaded it through this gateway, if one did.
    pub owner: Option<String>,
}

/// Teams, or files of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnlinePage {
    /// Teams that can be asked about, in order.
    pub teams: Vec<OnlineTeam>,
    /// How many there are on all pages.
    pub total: u64,
    /// Tokens whose team is not known.
    pub without_team: u64,
    /// Whose files these are.
    pub team: Option<String>,
    /// Files, the newest first.
    pub files: Vec<OnlineFile>,
    /// For further ones; `null` = there are none.
    pub next_cursor: Option<String>,
}

/// Which files to delete at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnlineDeleteAsk {
    /// Whose.
    pub team: String,
    /// 1 to 100 ids.
    pub ids: Vec<String>,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnlineResult {
    /// Which.
    pub id: String,
    /// It was there, and is no more.
    pub deleted: bool,
    /// Why it is still there; `null` = it is not.
    pub reason: Option<String>,
}

/// What became of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnlineDeleted {
    /// How many are gone.
    pub deleted: u64,
    /// Each.
    pub results: Vec<OnlineResult>,
}
