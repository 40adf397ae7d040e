//! The session's cookie, for the panel. Scripts send a bearer instead.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

const NAME: &str = "grok2api_session";
const CSRF_HEADER: &str = "x-csrf-token";

/// The token in the cookie.
pub fn session(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
        .filter(|token| !token.is_empty())
}

/// Whether the CSRF header holds the session's token; the comparison takes the same time wherever they differ.
pub fn csrf_is_right(headers: &HeaderMap, expected: &str) -> bool {
    headers
        .get(CSRF_HEADER)
        .is_some_and(|sent| blake3::hash(sent.as_bytes()) == blake3::hash(expected.as_bytes()))
}

/// `Set-Cookie` for a new session.
pub fn set(token: &str, seconds: u64, https: bool) -> Option<HeaderValue> {
    header(token, seconds, https)
}

/// `Set-Cookie` that takes the cookie away.
pub fn clear(https: bool) -> Option<HeaderValue> {
    header("", 0, https)
}

fn header(token: &str, seconds: u64, https: bool) -> Option<HeaderValue> {
    let secure = if https { "; Secure" } else { "" };
    let mut value = HeaderValue::from_str(&format!(
        "{NAME}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    ))
    .ok()?;
    value.set_sensitive(true);
    Some(value)
}
