//! What a refusal says, out of the five shapes it comes in (`xai-api.md` §2).

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// The most of a body that is read, bytes.
const MAX_BODY: usize = 64 << 10;
/// The most of a body that the operator's rules are matched against, bytes.
const MAX_RAW: usize = 8 << 10;

/// A refusal's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The sentence for people; empty if there is none.
    pub(super) message: String,
    /// The upstream's code, a sentence or a slug; empty if there is none or it is a number.
    pub(super) code: String,
    /// A numeric code, or one of digits.
    pub(super) number: Option<u16>,
    /// Not JSON: plain text, as the deserialiser writes it, which may repeat the request.
    pub(super) is_plain: bool,
    /// A page of the edge or of a proxy: not the API's own words.
    pub(super) is_html: bool,
    /// The body as it came, cut.
    pub(super) raw: String,
}

/// As much of an event as tells whether it reports a failure: nearly all do not, and are not worth a tree of values.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

impl Glance<'_> {
    fn tells_failure(&self) -> bool {
        self.error.is_some() || matches!(self.kind.as_deref(), Some("error" | "response.failed"))
    }
}

impl Said {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Said {
        let body = body.get(..MAX_BODY).unwrap_or(body);
        let text = String::from_utf8_lossy(body);
        let mut said = match serde_json::from_str::<Value>(&text) {
            Ok(Value::Object(object)) => from_object(&object).unwrap_or_default(),
            Ok(Value::String(message)) => Said {
                message,
                ..Said::default()
            },
            Ok(_) => Said::default(),
            Err(_) => {
                let typed_html = headers
                    .get(CONTENT_TYPE)
                    .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"text/html"));
                let is_html = typed_html || text.trim_start().starts_with('<');
                Said {
                    // A page says nothing that a person wants to read in JSON.
                    message: if is_html { String::new() } else { text.trim().to_owned() },
                    is_plain: !is_html,
                    is_html,
                    ..Said::default()
                }
            }
        };
        said.raw = cut(&text);
        said
    }

    /// The words of an event that reports a failure; `None` if it reports none.
    pub(super) fn read_event(name: Option<&[u8]>, data: &[u8]) -> Option<Said> {
        let named = name.is_some_and(|name| name == b"error" || name == b"response.failed");
        let is_object = data.trim_ascii_start().first() == Some(&b'{');
        let glance = || serde_json::from_slice::<Glance<'_>>(data);
        if !named && is_object && glance().is_ok_and(|glance| !glance.tells_failure()) {
            return None;
        }
        let text = String::from_utf8_lossy(data.get(..MAX_BODY).unwrap_or(data));
        let mut said = match serde_json::from_slice::<Value>(data) {
            Ok(Value::Object(object)) => {
                let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
                let failed = named
                    || matches!(kind, "error" | "response.failed")
                    || object.get("error").is_some_and(|error| !error.is_null());
                if !failed {
                    return None;
                }
                from_object(&object).unwrap_or_default()
            }
            _ => Said {
                message: text.trim().to_owned(),
                is_plain: true,
                ..Said::default()
            },
        };
        said.raw = cut(&text);
        Some(said)
    }

    /// The HTTP status that a failure inside a stream would have had.
    pub(super) fn status_in_stream(&self) -> u16 {
        if let Some(number) = self.number.filter(|number| (400..600).contains(number)) {
            return number;
        }
        let code = self.code.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| code.contains(word));
        match () {
            () if has(&["exhausted", "rate_limit", "rate-limit", "too many"]) => 429,
            () if has(&["permission"]) => 403,
            () if has(&["unauthenticated"]) => 401,
            () if has(&[
                "invalid-argument",
                "invalid argument",
                "invalid_request",
                "invalid_prompt",
            ]) =>
            {
                400
            }
            () if has(&["not-found", "not found", "not_found"]) => 404,
            () if has(&["deadline", "timeout", "timed out"]) => 504,
            () if has(&["unavailable", "overloaded"]) => 503,
            () if has(&["internal", "server_error"]) => 500,
            () => self.status_by_message(),
        }
    }
}

impl Said {
    fn status_by_message(&self) -> u16 {
        let message = self.message.to_ascii_lowercase();
        let starts = |beginnings: &[&str]| beginnings.iter().any(|beginning| message.starts_with(beginning));
        match () {
            () if starts(&["too many requests"]) => 429,
            () if starts(&["incorrect api key"]) => 400,
            () if starts(&["content violates", "your team", "api key is currently blocked"]) => 403,
            () if starts(&["service temporarily unavailable"]) => 503,
            // What an edge says of an upstream that it cannot understand.
            () => 502,
        }
    }
}

/// The words in a JSON object of any of the known shapes.
fn from_object(object: &Map<String, Value>) -> Option<Said> {
    let mut said = Said::default();
    let inner = match object.get("error") {
        Some(Value::Object(inner)) => inner,
        Some(Value::String(message)) => {
            said.message = message.clone();
            object
        }
        _ => match object.get("response").and_then(|response| response.get("error")) {
            Some(Value::Object(inner)) => inner,
            _ => object,
        },
    };
    if said.message.is_empty()
        && let Some(message) = inner.get("message").or_else(|| inner.get("detail"))
    {
        said.message = match message {
            Value::String(message) => message.clone(),
            other => other.to_string(),
        };
    }
    match inner
        .get("code")
        .filter(|code| !code.is_null())
        .or_else(|| inner.get("type"))
    {
        Some(Value::String(code)) => match code.parse() {
            Ok(number) => said.number = Some(number),
            Err(_) => said.code = code.clone(),
        },
        Some(Value::Number(number)) => said.number = number.as_u64().and_then(|number| u16::try_from(number).ok()),
        _ => {}
    }
    (!said.message.is_empty() || !said.code.is_empty() || said.number.is_some()).then_some(said)
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_RAW);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
