//! How records and messages between nodes are written: one version byte, then bincode (its `standard` configuration:
//! little endian, variable-length integers). The only file that names bincode.
//!
//! A field added to a record is a new version (`Since` in schemas marks it) unless it is the last one of an enum variant that older nodes never send:
//! bincode has no field names, so nothing can be skipped. `#[serde(flatten)]`, `untagged`, `skip_serializing_if` and
//! `serde_json::Value` cannot travel here; encoding or decoding them is an error, never a wrong value.

#[cfg(test)]
mod golden;

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use grok2api_schemas::since::with_version;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The newest version that this build writes and reads.
pub const VERSION: u8 = if cfg!(feature = "previous-codec") { 1 } else { 2 };

/// The oldest version that this build reads, and writes for nodes that know no newer one.
pub const OLDEST: u8 = 1;

/// The version that the nodes of the cluster have agreed on.
static SPOKEN: AtomicU8 = AtomicU8::new(VERSION);

/// Writes at most this version from now on: the newest that every node of the cluster knows.
pub fn speak(version: u8) {
    SPOKEN.store(version.clamp(OLDEST, VERSION), Ordering::Relaxed);
}

/// The version that is written.
pub fn spoken() -> u8 {
    SPOKEN.load(Ordering::Relaxed)
}

/// The most bytes that are written or read as one value. Larger than any record (a key-value value is at most 1 MiB) and
/// than any journal snapshot; small enough that a forged length cannot take the memory.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Why bytes could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// There is not even a version byte.
    Empty,
    /// Written by a version that this build does not know: a newer node, or not ours at all.
    UnknownVersion {
        /// The version byte found.
        found: u8,
    },
    /// More than [`MAX_BYTES`].
    TooLarge {
        /// How many bytes there are.
        bytes: usize,
    },
    /// The version is known, the rest does not fit the type.
    Malformed {
        /// What bincode says.
        reason: String,
    },
    /// The value has a shape that the format cannot carry.
    Unsupported {
        /// What bincode says.
        reason: String,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::Empty => write!(f, "no bytes where a record was expected"),
            CodecError::UnknownVersion { found } => write!(
                f,
                "record version {found} is not known here (this build reads versions {OLDEST} to {VERSION})"
            ),
            CodecError::TooLarge { bytes } => {
                write!(f, "record of {bytes} bytes is over the limit of {MAX_BYTES}")
            }
            CodecError::Malformed { reason } => write!(f, "record does not decode: {reason}"),
            CodecError::Unsupported { reason } => write!(f, "value cannot be encoded: {reason}"),
        }
    }
}

impl std::error::Error for CodecError {}

/// Writes a value behind its version byte: as this version, or as the one that the cluster speaks if that is older.
///
/// # Errors
/// `UnknownVersion` for a version that this build could not read back, `TooLarge`, `Unsupported`.
pub fn encode<T: Serialize + ?Sized>(version: u8, value: &T) -> Result<Bytes, CodecError> {
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(CodecError::UnknownVersion { found: version });
    }
    let version = version.min(spoken());
    let mut out = Vec::with_capacity(128);
    out.push(version);
    let written = with_version(version, || {
        bincode::serde::encode_into_std_write(value, &mut out, bincode::config::standard())
    });
    written.map_err(|error| CodecError::Unsupported {
        reason: error.to_string(),
    })?;
    if out.len() > MAX_BYTES {
        return Err(CodecError::TooLarge { bytes: out.len() });
    }
    Ok(out.into())
}

/// Reads a value back. Bytes left over are an error: they mean that the type is not the one that was written.
///
/// # Errors
/// `Empty`, `UnknownVersion`, `TooLarge`, `Malformed`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let Some((&version, body)) = bytes.split_first() else {
        return Err(CodecError::Empty);
    };
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(CodecError::UnknownVersion { found: version });
    }
    if bytes.len() > MAX_BYTES {
        return Err(CodecError::TooLarge { bytes: bytes.len() });
    }
    let config = bincode::config::standard().with_limit::<MAX_BYTES>();
    match with_version(version, || bincode::serde::decode_from_slice::<T, _>(body, config)) {
        Ok((value, read)) if read == body.len() => Ok(value),
        Ok((_, read)) => Err(CodecError::Malformed {
            reason: format!("{} bytes left over", body.len() - read),
        }),
        Err(error) => Err(CodecError::Malformed {
            reason: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use grok2api_schemas::ids::TokenId;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        id: TokenId,
        label: String,
        state: State,
        limits: BTreeMap<String, u64>,
        note: Option<String>,
        payload: Vec<u8>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum State {
        Active,
        Cooling { until_ms: u64, cause: String },
    }

    fn record() -> Record {
        Record {
            id: TokenId::generate(),
            label: "first".into(),
            state: State::Cooling {
                until_ms: u64::MAX,
                cause: "429".into(),
            },
            limits: BTreeMap::from([("grok-4".into(), 60)]),
            note: None,
            payload: vec![0, 255, 7],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let record = record();
        let bytes = encode(VERSION, &record).unwrap();
        assert_eq!(bytes[0], VERSION);
        assert_eq!(decode::<Record>(&bytes).unwrap(), record);
    }

    #[test]
    fn the_layout_on_disk_does_not_move() {
        // A store written by an earlier build must stay readable: version, string length, string, varint 251 + u16.
        let bytes = encode(VERSION, &("ab", 300u64, Some(true))).unwrap();
        assert_eq!(&bytes[..], [VERSION, 2, b'a', b'b', 251, 0x2c, 0x01, 1, 1]);
    }

    #[test]
    fn an_unknown_version_is_named_and_nothing_is_guessed() {
        let mut bytes = encode(VERSION, &record()).unwrap().to_vec();
        for version in [0, VERSION + 1, 255] {
            bytes[0] = version;
            let error = decode::<Record>(&bytes).unwrap_err();
            assert_eq!(error, CodecError::UnknownVersion { found: version });
            assert!(error.to_string().contains(&format!("version {version}")));
            assert!(encode(version, &1u8).is_err());
        }
        assert_eq!(decode::<Record>(&[]), Err(CodecError::Empty));
    }

    #[test]
    fn left_over_and_missing_bytes_are_errors() {
        let bytes = encode(VERSION, &record()).unwrap();
        for cut in 1..bytes.len() {
            assert!(decode::<Record>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(matches!(decode::<Record>(&longer), Err(CodecError::Malformed { .. })));
    }

    #[test]
    fn a_forged_length_takes_no_memory_and_a_huge_value_is_refused() {
        // A byte vector that claims 2^62 bytes.
        let mut forged = vec![VERSION, 253];
        forged.extend_from_slice(&(1u64 << 62).to_le_bytes());
        assert!(matches!(decode::<Vec<u64>>(&forged), Err(CodecError::Malformed { .. })));
        assert!(matches!(decode::<String>(&forged), Err(CodecError::Malformed { .. })));
        assert!(matches!(
            encode(VERSION, &vec![1u8; MAX_BYTES]),
            Err(CodecError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_shape_that_cannot_travel_is_an_error() {
        let bytes = encode(VERSION, &serde_json::json!("text")).unwrap();
        assert!(decode::<serde_json::Value>(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            let _ = decode::<Record>(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = decode::<Record>(&bytes);
            let _ = decode::<Vec<String>>(&bytes);
        }

        #[test]
        fn any_value_reads_back(a in any::<u64>(), b in ".*", c in proptest::collection::vec(any::<i64>(), 0..20)) {
            let value = (a, b, c);
            prop_assert_eq!(decode::<(u64, String, Vec<i64>)>(&encode(VERSION, &value).unwrap()).unwrap(), value);
        }
    }
}
