//! What an operator pastes and what it means: a credential, a whole cookie header, an id, a masked form.

use grok2api_schemas::token::PoolName;

/// Longest secret, bytes.
const LONGEST: usize = 4_096;

/// Why a text is not a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotASecret {
    /// Nothing is left of it.
    Empty,
    /// A cookie header without the `sso` cookie.
    NoSsoCookie,
    /// What lists show instead of the secret.
    Masked,
    /// Longer than any credential.
    TooLong,
    /// Spaces or control characters inside.
    NotPrintable,
}

impl NotASecret {
    /// What to tell whoever sent it.
    pub fn words(self) -> &'static str {
        match self {
            NotASecret::Empty => "is empty",
            NotASecret::NoSsoCookie => "is a cookie header without an `sso` cookie",
            NotASecret::Masked => "is a masked form, as lists show it: send the id or the full secret",
            NotASecret::TooLong => "is longer than any credential (4096 bytes)",
            NotASecret::NotPrintable => "has spaces or unprintable characters inside",
        }
    }
}

/// Whether a text is what lists show instead of a secret.
pub fn is_masked(text: &str) -> bool {
    text.contains("...") || text.contains('…') || text.contains("***")
}

/// The credential in a pasted text: trimmed; of a cookie header (anything with `;`) the `sso` cookie; else without one
/// leading `sso=`.
///
/// # Errors
/// There is none in it.
pub fn secret(pasted: &str) -> Result<&str, NotASecret> {
    let text = pasted.trim();
    let text = if text.contains(';') {
        text.split(';')
            .map(str::trim)
            .find_map(|cookie| {
                let cookie = cookie
                    .get(..7)
                    .filter(|start| start.eq_ignore_ascii_case("cookie:"))
                    .map_or(cookie, |start| cookie[start.len()..].trim_start());
                cookie.strip_prefix("sso=")
            })
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .ok_or(NotASecret::NoSsoCookie)?
    } else {
        text.strip_prefix("sso=").unwrap_or(text)
    };
    if text.is_empty() {
        return Err(NotASecret::Empty);
    }
    if is_masked(text) {
        return Err(NotASecret::Masked);
    }
    if text.len() > LONGEST {
        return Err(NotASecret::TooLong);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(NotASecret::NotPrintable);
    }
    Ok(text)
}

/// The pool of a credential where nobody named one: keys of the official API begin with `xai-`.
pub fn likely_pool(secret: &str) -> PoolName {
    if secret.starts_with("xai-") {
        PoolName::ApiKey
    } else {
        PoolName::SsoBasic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasted_forms_of_the_older_project_are_understood() {
        for (pasted, expected) in [
            (" abc ", Ok("abc")),
            ("sso=abc", Ok("abc")),
            ("sso=sso=abc", Ok("sso=abc")),
            ("foo=bar", Ok("foo=bar")),
            ("sso=abc; sso-rw=def", Ok("abc")),
            ("sso-rw=def; sso=abc", Ok("abc")),
            ("Cookie: sso=abc; x=y", Ok("abc")),
            ("sso-rw=def; x=y", Err(NotASecret::NoSsoCookie)),
            ("sso=; x=y", Err(NotASecret::NoSsoCookie)),
            ("sso=", Err(NotASecret::Empty)),
            ("", Err(NotASecret::Empty)),
            ("xai-ab…wxyz", Err(NotASecret::Masked)),
            ("xai-ab...wxyz", Err(NotASecret::Masked)),
            ("two words", Err(NotASecret::NotPrintable)),
            ("schlüssel", Err(NotASecret::NotPrintable)),
        ] {
            assert_eq!(secret(pasted), expected, "{pasted:?}");
        }
        assert_eq!(secret(&"x".repeat(4_097)), Err(NotASecret::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_what_comes_out_goes_in_again(text in "[ -~;=…sxo]{0,40}") {
            if let Ok(found) = secret(&text)
                && !found.contains(';') && !found.starts_with("sso=")
            {
                proptest::prop_assert_eq!(secret(found), Ok(found));
            }
        }
    }
}
