//! Images and videos that are kept and handed out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::SessionId;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// A still picture.
    Image,
    /// A film.
    Video,
}

impl MediaKind {
    /// Both.
    pub const ALL: [MediaKind; 2] = [MediaKind::Image, MediaKind::Video];

    /// The word in paths and names.
    pub const fn as_str(self) -> &'static str {
        match self {
            MediaKind::Image => "image",
            MediaKind::Video => "video",
        }
    }
}

/// A file that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// What it is.
    pub kind: MediaKind,
    /// Its name, unguessable.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its media type, by its content.
    pub mime: String,
}

/// Who fetches an object of the upstream, so that the nodes of a cluster fetch it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchClaim {
    /// The node that fetches.
    pub by: SessionId,
    /// When it said so last, Unix milliseconds by its own clock.
    pub at_ms: u64,
    /// What became of it.
    pub file: Option<KeptFile>,
}

/// A node wants a piece of a file that another one has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaAsk {
    /// What it is.
    pub kind: MediaKind,
    /// Its name.
    pub name: String,
    /// Where the piece begins.
    pub from: u64,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaPiece {
    /// Bytes of the whole file.
    pub size: u64,
    /// Those from where it was asked; none at its end.
    pub bytes: Vec<u8>,
}

/// What is remembered of a kept file beside what its file system tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaEntry {
    /// Its media type.
    pub mime: String,
    /// When it came, Unix milliseconds.
    pub made_ms: u64,
    /// When it was read last, Unix milliseconds; to the minute.
    pub read_ms: u64,
}
