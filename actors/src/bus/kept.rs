//! What the bus keeps beside keys and journals: records that age away, and objects.

use std::io;

use bytes::Bytes;
use futures::stream::BoxStream;

use super::{BusError, BusErrorKind};

/// A batch of records, opaque bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    /// Its sequence: grows, not dense.
    pub sequence: u64,
    /// When it was appended, Unix milliseconds by the bus's clock.
    pub at_ms: u64,
    /// What was appended.
    pub payload: Bytes,
}

/// Where to begin to follow records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordsFrom {
    /// What is appended from now on.
    Now,
    /// Everything that is still kept.
    Oldest,
    /// From this sequence on.
    Sequence(u64),
    /// From this moment on, Unix milliseconds.
    Since(u64),
}

/// The bytes of an object on their way in.
pub type ObjectContent = BoxStream<'static, io::Result<Bytes>>;

/// The bytes of an object on their way out.
pub type ObjectBytes = BoxStream<'static, Result<Bytes, BusError>>;

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// When it was put, Unix milliseconds.
    pub modified_ms: u64,
}

/// How much of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectRange {
    /// All of it.
    All,
    /// From `start` up to, and without, `end`; what lies beyond its size is left out.
    Part {
        /// First byte.
        start: u64,
        /// The byte after the last one.
        end: u64,
    },
}

impl ObjectRange {
    /// First byte and the one after the last, of an object of this size.
    pub fn within(self, size: u64) -> (u64, u64) {
        match self {
            ObjectRange::All => (0, size),
            ObjectRange::Part { start, end } => {
                let end = end.min(size);
                (start.min(end), end)
            }
        }
    }
}

/// Refuses what cannot name an object: 1 to 200 bytes without control characters.
///
/// # Errors
/// `Storage`.
pub fn is_object_name(name: &str) -> Result<(), BusError> {
    if (1..=200).contains(&name.len()) && !name.contains(|c: char| c.is_control()) {
        return Ok(());
    }
    Err(BusError::new(
        BusErrorKind::Storage,
        "an object's name has 1 to 200 bytes and no control characters",
    ))
}
