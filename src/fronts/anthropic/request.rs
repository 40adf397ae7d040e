//! What the gateway must know of a Messages request.

use crate::engine::error::GatewayError;
use crate::fronts::asking::AffinityHints;
use crate::fronts::json::Kind;
use crate::fronts::members::{MAX_TOKENS, Members, missing};
use crate::fronts::openai::responses::opening;

/// What routing, quotas and the log need.
#[derive(Default)]
pub(super) struct MessagesHead {
    /// The model as the client names it.
    pub(super) model: String,
    /// Whether the client wants events.
    pub(super) stream: bool,
    /// Most output tokens.
    pub(super) max_output: u64,
    /// Bytes that are text to the model.
    pub(super) input_bytes: usize,
    /// Images and documents inside.
    pub(super) media: u64,
    /// Pictures among them.
    pub(super) pictures: u64,
    /// What to recognise the conversation by.
    pub(super) affinity: AffinityHints,
}

impl MessagesHead {
    /// Reads it off the members of the body. `counts_only`: an answer is not asked for, so it needs no bound.
    pub(super) fn read(members: &Members<'_>, counts_only: bool) -> Result<MessagesHead, GatewayError> {
        for (name, kinds) in [
            ("messages", &[Kind::Array][..]),
            ("system", &[Kind::String, Kind::Array]),
            ("tools", &[Kind::Array]),
            ("tool_choice", &[Kind::Object]),
            ("metadata", &[Kind::Object]),
            ("stop_sequences", &[Kind::Array]),
            ("thinking", &[Kind::Object]),
            ("temperature", &[Kind::Number]),
            ("top_p", &[Kind::Number]),
            ("top_k", &[Kind::Number]),
        ] {
            members.must_be(name, kinds)?;
        }
        let model = members.model()?;
        let messages = members
            .raw("messages")
            .ok_or_else(|| missing("messages", "messages: Field required"))?;
        if messages.trim_start_matches('[').trim_start().starts_with(']') {
            return Err(GatewayError::field(
                "messages",
                "messages: at least one message is required",
            ));
        }
        let max_output = members.integer("max_tokens", 1, MAX_TOKENS)?;
        if max_output.is_none() && !counts_only {
            return Err(missing("max_tokens", "max_tokens: Field required"));
        }
        let mut head = MessagesHead {
            model,
            stream: members.boolean("stream")?.unwrap_or(false),
            max_output: max_output.unwrap_or(0),
            ..MessagesHead::default()
        };
        let mut media_bytes = 0;
        let mut first_text: Option<String> = None;
        members.strings("messages", |name, text| match name {
            "data" => {
                media_bytes += text.len();
                head.media += 1;
            }
            "url" => head.media += 1,
            "type" if text == "image" => head.pictures += 1,
            "signature" => media_bytes += text.len(),
            "text" | "content" if first_text.is_none() => first_text = Some(text.to_owned()),
            _ => {}
        });
        members.strings("metadata", |name, text| {
            if name == "user_id" && !text.is_empty() {
                head.affinity.user = Some(text.to_owned());
            }
        });
        let total: usize = ["messages", "system", "tools"]
            .iter()
            .filter_map(|name| members.raw(name))
            .map(str::len)
            .sum();
        head.input_bytes = total.saturating_sub(media_bytes);
        if head.affinity.user.is_none() {
            head.affinity.first_message_hash = opening(members.raw("system"), first_text.as_deref());
        }
        Ok(head)
    }
}
