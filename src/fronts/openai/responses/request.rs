//! What the gateway must know of a Responses request.

use crate::engine::error::GatewayError;
use crate::fronts::asking::AffinityHints;
use crate::fronts::json::Kind;
use crate::fronts::members::{MAX_TOKENS, Members, missing};
use crate::fronts::pins::{References, mark};

/// How much of either end of a text goes into the hash that recognises a conversation.
const HASHED_BYTES: usize = 256;
/// Elements of `input`, as many as a chat may have messages.
const MAX_FILES: usize = 64;

/// What routing, quotas and the log need.
#[derive(Default)]
pub struct ResponsesHead {
    /// The model as the client names it.
    pub model: String,
    /// Whether the client wants events.
    pub stream: bool,
    /// Whether the upstream keeps the response: unless told otherwise, it does.
    pub store: bool,
    /// Most output tokens, thinking included.
    pub max_output: Option<u64>,
    /// Bytes of the body without images, files and sealed items in it.
    pub input_bytes: usize,
    /// Pictures in it.
    pub pictures: u64,
    /// What to recognise the conversation by.
    pub affinity: AffinityHints,
    /// What it builds on.
    pub references: References,
}

impl ResponsesHead {
    /// Reads it off the members of the body.
    ///
    /// # Errors
    /// 400 naming the field.
    pub fn read(members: &Members<'_>) -> Result<ResponsesHead, GatewayError> {
        for (name, kinds) in [
            ("input", &[Kind::String, Kind::Array][..]),
            ("instructions", &[Kind::String, Kind::Array]),
            ("tools", &[Kind::Array]),
            ("tool_choice", &[Kind::String, Kind::Object]),
            ("reasoning", &[Kind::Object]),
            ("text", &[Kind::Object]),
            ("include", &[Kind::Array]),
            ("metadata", &[Kind::Object]),
            ("temperature", &[Kind::Number]),
            ("top_p", &[Kind::Number]),
            ("parallel_tool_calls", &[Kind::Bool]),
            ("background", &[Kind::Bool]),
        ] {
            members.must_be(name, kinds)?;
        }
        let model = members.model()?;
        let previous = members.hint("previous_response_id")?;
        match members.raw("input") {
            None if previous.is_none() => return Err(missing("input", "`input` is required.")),
            Some("\"\"") => return Err(GatewayError::field("input", "`input` is empty.").with_code("invalid_value")),
            Some(text) if previous.is_none() && is_empty_list(text) => {
                return Err(GatewayError::field("input", "`input` is an empty list.").with_code("invalid_value"));
            }
            _ => {}
        }
        let mut head = ResponsesHead {
            model,
            stream: members.boolean("stream")?.unwrap_or(false),
            store: members.boolean("store")?.unwrap_or(true),
            max_output: members.integer("max_output_tokens", 1, MAX_TOKENS)?,
            affinity: AffinityHints {
                prompt_cache_key: members.hint("prompt_cache_key")?,
                user: members.hint("user")?,
                first_message_hash: None,
            },
            references: References {
                response: previous,
                ..References::default()
            },
            ..ResponsesHead::default()
        };
        let mut media = 0;
        let mut first_text: Option<String> = None;
        members.strings("input", |name, text| match name {
            "encrypted_content" => {
                media += text.len();
                head.references.sealed.push(mark(text));
            }
            "file_id" if head.references.files.len() < MAX_FILES => head.references.files.push(text.to_owned()),
            "image_url" => {
                media += text.len();
                head.pictures += 1;
            }
            "file_data" | "file_url" | "data" | "result" => media += text.len(),
            "text" | "content" | "" if first_text.is_none() => first_text = Some(ends(text)),
            _ => {}
        });
        let total: usize = ["input", "instructions", "tools"]
            .iter()
            .filter_map(|name| members.raw(name))
            .map(str::len)
            .sum();
        head.input_bytes = total.saturating_sub(media);
        if head.affinity.prompt_cache_key.is_none() && head.affinity.user.is_none() {
            head.affinity.first_message_hash = opening(members.raw("instructions"), first_text.as_deref());
        }
        Ok(head)
    }
}

fn is_empty_list(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.trim().is_empty())
}

/// The two ends of a text.
fn ends(text: &str) -> String {
    let bytes = text.as_bytes();
    match (
        bytes.get(..HASHED_BYTES),
        bytes.get(bytes.len().saturating_sub(HASHED_BYTES)..),
    ) {
        (Some(begin), Some(end)) => format!("{}{}", String::from_utf8_lossy(begin), String::from_utf8_lossy(end)),
        _ => text.to_owned(),
    }
}

/// A hash of how the conversation begins: the same on every node and in every release.
pub(in crate::fronts) fn opening(system: Option<&str>, first: Option<&str>) -> Option<u64> {
    if system.is_none() && first.is_none() {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    for text in [system.map(ends), first.map(ends)] {
        let text = text.unwrap_or_default();
        hasher
            .update(&(text.len() as u64).to_le_bytes())
            .update(text.as_bytes());
    }
    let hash = hasher.finalize();
    hash.as_bytes()
        .first_chunk::<8>()
        .map(|bytes| u64::from_le_bytes(*bytes))
}
