//! Keys are opaque bytes, NATS's are text: letters, digits, `-`, `_`, `/`, `=` and dots that separate.
//!
//! Mostly readable keys stay so, with `=XX` (upper-case hexadecimal) for every other byte; the rest is `==` and lower-case
//! hexadecimal. Exactly one text belongs to each key, so what decodes but would be written differently is not ours.

use std::fmt::Write;

/// The text of a key.
pub(super) fn encode(key: &[u8]) -> String {
    let foreign = key.iter().filter(|&&byte| !is_plain(byte)).count();
    let mut text = String::with_capacity(key.len() * 2 + 2);
    if foreign * 4 <= key.len() {
        for &byte in key {
            if is_plain(byte) {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "={byte:02X}");
            }
        }
    } else {
        text.push_str("==");
        for byte in key {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

/// The key of a text; `None` if we would not have written it so.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let key = if let Some(digits) = bytes.strip_prefix(b"==") {
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        pairs.iter().map(byte_of).collect::<Option<Vec<u8>>>()?
    } else {
        let mut key = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        loop {
            match rest {
                [] => break key,
                [b'=', high, low, tail @ ..] => {
                    key.push(byte_of(&[*high, *low])?);
                    rest = tail;
                }
                [byte, tail @ ..] => {
                    key.push(*byte);
                    rest = tail;
                }
            }
        }
    };
    (encode(&key) == text).then_some(key)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/')
}

fn byte_of(digits: &[u8; 2]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn readable_keys_stay_readable() {
        for (key, text) in [
            (&b"team-7/grok_4"[..], "team-7/grok_4"),
            (b"round 3", "round=203"),
            (b"grok.4", "grok=2E4"),
            (b"a=bcd", "a=3Dbcd"),
            (&[0, 255, 7], "==00ff07"),
        ] {
            assert_eq!(encode(key), text);
            assert_eq!(decode(text).unwrap(), key);
        }
        for foreign in ["==0", "==zz", "=2", "a.b", "=61", "==61", "=2e4", "==+1"] {
            assert_eq!(decode(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn every_key_comes_back(key in proptest::collection::vec(any::<u8>(), 1..120)) {
            let text = encode(&key);
            prop_assert!(text.bytes().all(|byte| is_plain(byte) || byte == b'='));
            prop_assert_eq!(decode(&text), Some(key));
        }
    }
}
