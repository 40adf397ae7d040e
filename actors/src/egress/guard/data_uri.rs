//! `data:` URIs (RFC 2397), with a cap.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

/// Senders disagree about padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What such a URI holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataUri {
    /// The media type that it claims, in lower case; empty where it claims none.
    pub mime: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// Why one does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataUriError {
    /// It does not begin with `data:`, or has no comma.
    NotOne,
    /// It is not base64.
    NotBase64,
    /// It holds more than allowed.
    TooLarge,
    /// It holds nothing.
    Empty,
}

impl fmt::Display for DataUriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DataUriError::NotOne => "it is not a data: URI such as data:image/png;base64,…",
            DataUriError::NotBase64 => "what follows the comma is not base64",
            DataUriError::TooLarge => "it holds more bytes than are taken",
            DataUriError::Empty => "it holds nothing",
        })
    }
}

impl std::error::Error for DataUriError {}

/// Reads one of at most `most` bytes.
///
/// # Errors
/// What is wrong with it.
pub fn read_data_uri(uri: &str, most: usize) -> Result<DataUri, DataUriError> {
    let is_one = uri.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"));
    let rest = uri.get(5..).filter(|_| is_one).ok_or(DataUriError::NotOne)?;
    let (head, data) = rest.split_once(',').ok_or(DataUriError::NotOne)?;
    let mut parts = head.split(';');
    let mime = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_base64 = parts.any(|part| part.trim().eq_ignore_ascii_case("base64"));
    let data = data.trim();
    let bytes = if is_base64 {
        // Four characters are three bytes.
        if data.len() / 4 * 3 > most.saturating_add(3) {
            return Err(DataUriError::TooLarge);
        }
        LENIENT.decode(data).map_err(|_| DataUriError::NotBase64)?
    } else {
        if data.len() > most.saturating_mul(3) {
            return Err(DataUriError::TooLarge);
        }
        unescaped(data)
    };
    if bytes.len() > most {
        return Err(DataUriError::TooLarge);
    }
    if bytes.is_empty() {
        return Err(DataUriError::Empty);
    }
    Ok(DataUri {
        mime,
        bytes: Bytes::from(bytes),
    })
}

/// Without its percent-encoding; what does not decode stays as it came.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = match code {
            Some(_) => behind.get(2..).unwrap_or_default(),
            None => behind,
        };
    }
    bytes
}
