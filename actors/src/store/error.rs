//! Why the store refuses: each message is one line that an operator can act on.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A store operation that did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Another process has the directory open.
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The directory cannot be created, read or written: permissions, a read-only file system, a file in the way.
    Unusable {
        /// The store's directory.
        dir: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The files cannot be read, and were left as they are.
    Damaged {
        /// sled's directory.
        data: PathBuf,
        /// What was found.
        damage: String,
    },
    /// Too little space is left on the file system. Reads go on; writes are taken again once there is space.
    Full {
        /// The store's directory.
        dir: PathBuf,
        /// Bytes that are free.
        free: u64,
    },
    /// A write failed half-way; nothing is written any more until the process starts again. Reads go on.
    Degraded {
        /// What the first failure said.
        reason: String,
    },
    /// A compare-and-set found something else; nothing of the batch was written.
    Conflict,
    /// What is stored cannot be read.
    Corrupt {
        /// What was found.
        reason: String,
    },
    /// A key or value is over the limit.
    TooLarge {
        /// Which, and the limit.
        reason: String,
    },
    /// The store was closed.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Locked { dir } => write!(
                f,
                "another grok2api uses {}: stop it, or give this one its own --data-dir",
                dir.display()
            ),
            StoreError::Unusable { dir, reason } => {
                write!(f, "the store in {} cannot be used: {reason}", dir.display())
            }
            StoreError::Damaged { data, damage } => write!(
                f,
                "the store in {data} is damaged and was left as it is: put a backup in its place, or move it away to start empty, without its tokens, keys and counts (mv {data} {data}.damaged). Found: {}",
                damage.lines().next().unwrap_or_default(),
                data = data.display()
            ),
            StoreError::Full { dir, free } => write!(
                f,
                "the disk under {} is full ({} KiB free): nothing is written until there is space",
                dir.display(),
                free / 1024
            ),
            StoreError::Degraded { reason } => write!(
                f,
                "the store is read-only after a failed write ({reason}): mend the disk and start again"
            ),
            StoreError::Conflict => write!(f, "somebody else wrote first"),
            StoreError::Corrupt { reason } => write!(f, "the store holds data that cannot be read: {reason}"),
            StoreError::TooLarge { reason } => write!(f, "{reason}"),
            StoreError::Closed => write!(f, "the store is closed"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Whether an I/O error says that the place is wrong or full (the data is fine and stays where it is), in words.
pub(super) fn about_the_place(error: &io::Error) -> Option<String> {
    use io::ErrorKind::{
        AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound, PermissionDenied, QuotaExceeded,
        ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        PermissionDenied => Some(format!("permission denied ({error})")),
        ReadOnlyFilesystem => Some("the file system is read-only".to_owned()),
        StorageFull | QuotaExceeded => Some(format!("no space left ({error})")),
        NotADirectory | IsADirectory | AlreadyExists | NotFound | DirectoryNotEmpty => Some(error.to_string()),
        _ => None,
    }
}
