//! Secrets of client keys: how they are made, which ones we take from an operator, and what lists show of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Random bytes in a generated secret: `sk-` and 32 characters, as in the older project.
const RANDOM_BYTES: usize = 24;
/// Shortest and longest secret that an operator may choose.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=512;

/// A new secret.
///
/// # Errors
/// The system has no randomness.
pub fn generate() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0u8; RANDOM_BYTES]);
    getrandom::fill(bytes.as_mut())?;
    let mut secret = Zeroizing::new(String::with_capacity(3 + 32));
    secret.push_str("sk-");
    URL_SAFE_NO_PAD.encode_string(bytes.as_ref(), &mut secret);
    Ok(secret)
}

/// Whether a text is what lists show instead of a secret. No secret of ours looks like that (see [`refuse`]).
pub fn is_masked(text: &str) -> bool {
    text.contains("...") || text.contains('…') || text.contains("***")
}

/// Why a text cannot be a client key's secret; `None` = it can.
pub fn refuse(secret: &str) -> Option<&'static str> {
    if is_masked(secret) {
        return Some("is a masked form: send the full secret, or leave it out to have one made");
    }
    if !LENGTHS.contains(&secret.len()) {
        return Some("must have 8 to 512 characters");
    }
    // What may stand in an Authorization header without quoting.
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("must consist of visible ASCII characters without spaces");
    }
    if secret.starts_with("key_") {
        return Some("must not begin with `key_`, as ids do");
    }
    None
}

/// What lists show: the first 6 and last 4 characters, less of a short one. Call it with what [`refuse`] let pass.
pub fn display(secret: &str) -> String {
    let (head, tail) = if secret.len() > 16 {
        (6, 4)
    } else if secret.len() > 12 {
        (3, 2)
    } else {
        (3, 0)
    };
    let first = secret.get(..head).unwrap_or_default();
    let last = secret.get(secret.len() - tail..).unwrap_or_default();
    format!("{first}...{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_is_one_that_we_take_and_its_display_is_not() {
        let secret = generate().unwrap();
        assert_eq!(secret.len(), 35);
        assert_eq!(refuse(&secret), None);
        let shown = display(&secret);
        assert_eq!(shown, format!("{}...{}", &secret[..6], &secret[31..]));
        assert!(is_masked(&shown) && refuse(&shown).is_some());
        assert_ne!(*secret, *generate().unwrap());
    }

    #[test]
    fn short_secrets_show_little() {
        assert_eq!(display("sk-12345"), "sk-...");
        assert_eq!(display("sk-1234567890"), "sk-...90");
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused() {
        for bad in [
            "",
            "short",
            "with space in it",
            "ümlaut-ümlaut",
            "line\nbreak-here",
            "key_0123456789",
        ] {
            assert!(refuse(bad).is_some(), "{bad:?}");
        }
        assert!(refuse(&"x".repeat(513)).is_some());
    }
}
