//! Log files of all nodes, and lines of all nodes as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose log files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogFilesAsk {
    /// Of this node; not sent = of every node.
    pub node: Option<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFile {
    /// Whose; empty alone.
    #[serde(default)]
    pub node: String,
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written last, Unix milliseconds.
    pub mtime_ms: u64,
}

/// Log files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFiles {
    /// Newest first.
    pub files: Vec<LogFile>,
    /// Nodes that live and did not answer.
    #[serde(default)]
    pub unanswered: Vec<String>,
}

/// The end of a log file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogTailAsk {
    /// Of this node; `*` = of every node, in the order of time; not sent = of the node that answers.
    pub node: Option<String>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogTail {
    /// Of which node; empty alone, `*` = of every node.
    #[serde(default)]
    pub node: String,
    /// Of which file; `null` = there is none, or not the same one of every node.
    pub file: Option<String>,
    /// Oldest first: `2026-11-26 18:00:00 | INFO     | target - message field=value`. Of every node: with the node's name
    /// behind the time.
    pub lines: Vec<String>,
    /// Nodes that live and did not answer.
    #[serde(default)]
    pub unanswered: Vec<String>,
}

/// What one node asks of another about its log files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogsAsked {
    /// Which there are.
    Files,
    /// The end of one.
    Tail(LogTailAsk),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogsTold {
    /// These.
    Files(Vec<LogFile>),
    /// This.
    Tail(LogTail),
    /// It has no such file.
    NoSuchFile,
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
