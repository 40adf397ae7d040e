//! Log files of the node that answers, and lines of all nodes as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written last, Unix milliseconds.
    pub mtime_ms: u64,
}

/// Log files of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFiles {
    /// Newest first.
    pub files: Vec<LogFile>,
}

/// The end of a log file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogTailAsk {
    /// Which; not sent = the newest.
    pub file: Option<String>,
    /// Lines at most, 1 to 5,000; not sent = 500. Only the last MiB is read.
    pub lines: Option<u64>,
    /// Only lines of this level or a more serious one: error, warn, info, debug, trace.
    pub level: Option<String>,
    /// Only lines that contain this, whatever the case.
    pub text: Option<String>,
}

/// Lines as people read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogTail {
    /// Of which file; `null` = there is none.
    pub file: Option<String>,
    /// Oldest first: `2026-11-26 18:00:00 | INFO     | target - message field=value`.
    pub lines: Vec<String>,
}

/// Lines that a node wrote, on their way to whoever watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldLines {
    /// Which node; empty alone.
    pub node: String,
    /// Lines as they are written: JSON objects.
    pub lines: Vec<String>,
    /// Lines that were too many to be told.
    pub left_out: u64,
}
