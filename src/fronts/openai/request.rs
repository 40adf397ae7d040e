//! What the gateway must know of a chat request, read in one pass over its bytes. The rest stays as it came; `edit`
//! changes the few bytes that differ upstream.
//!
//! A member that is read here may appear once only: which of two wins is the reader's choice, and what is metered must be
//! what the upstream obeys.

mod messages;

use bytes::Bytes;

use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::json::{Cursor, Fault, Kind, MAX_DEPTH, Span, Text};

/// Most answers to one request (`n`), as OpenAI has it.
pub const MAX_N: u64 = 128;
/// No model writes more tokens than a signed 32-bit number holds, and upstreams read no more.
const MAX_TOKENS: u64 = i32::MAX as u64;
/// Longer than any model's name.
const MAX_MODEL_BYTES: usize = 256;

/// How large a request may be in other respects than bytes.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Levels of arrays and objects, the outermost counted; at most [`MAX_DEPTH`].
    pub max_depth: u32,
    /// Elements of `messages`.
    pub max_messages: usize,
}

impl Default for BodyLimits {
    /// 128 levels; 2,048 messages, which is OpenAI's own bound.
    fn default() -> BodyLimits {
        BodyLimits {
            max_depth: MAX_DEPTH,
            max_messages: 2048,
        }
    }
}

/// What a request offers to recognise its conversation by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AffinityHints {
    /// `prompt_cache_key`, if it is not empty.
    pub prompt_cache_key: Option<String>,
    /// `user`, if it is not empty.
    pub user: Option<String>,
    /// A hash of the first system (or developer) text and the first user text; made only where the other two are
    /// missing. The same on every node and in every release.
    pub first_message_hash: Option<u64>,
}

/// Where the members stand that `edit` may change.
#[derive(Clone, Debug, Default)]
pub(super) struct EditSpans {
    /// Just behind the outermost `{`.
    pub(super) open: usize,
    pub(super) model: Option<Span>,
    pub(super) stream: Option<Span>,
    pub(super) stream_options: Option<OptionsSpan>,
    pub(super) max_tokens: Option<LimitSpan>,
    pub(super) max_completion_tokens: Option<LimitSpan>,
    /// Role strings that say `developer`, with their quotes.
    pub(super) developer_roles: Vec<Span>,
}

/// `stream_options`.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptionsSpan {
    pub(super) value: Span,
    /// It is an object, not `null`.
    pub(super) is_object: bool,
    /// The object has members.
    pub(super) has_members: bool,
    /// The value of `include_usage` in it.
    pub(super) include_usage: Option<Span>,
}

/// A limit on output tokens; `None` = `null`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LimitSpan {
    pub(super) value: Span,
    pub(super) tokens: Option<u64>,
}

/// What the gateway knows of a chat request.
#[derive(Clone, Debug)]
pub struct ChatHead {
    /// The model as the client names it.
    pub model: String,
    /// `stream`, if given.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`, if given.
    pub include_usage: Option<bool>,
    /// The larger of `max_tokens` and `max_completion_tokens`, if either is given: per answer, and on reasoning models
    /// visible tokens only.
    pub max_output: Option<u64>,
    /// Answers asked for; 1 if not given.
    pub n: u64,
    /// `deferred`: answer with a request id now, with the completion later.
    pub deferred: bool,
    /// What to recognise the conversation by.
    pub affinity: AffinityHints,
    /// Bytes of the body without images, files and audio inside it: what an estimate of prompt tokens starts from.
    pub input_bytes: usize,
    /// Elements of `messages`.
    pub messages: usize,
    /// Whether a message holds an image.
    pub has_images: bool,
    /// Images in messages.
    pub images: usize,
    /// Whether tools are offered to the model.
    pub has_tools: bool,
    pub(super) spans: EditSpans,
}

impl ChatHead {
    /// Whether some message has the role `developer`, which not every upstream knows.
    pub fn has_developer_role(&self) -> bool {
        !self.spans.developer_roles.is_empty()
    }
}

/// Reads a chat request. Errors are the client's (400), with the field at fault in `param`.
pub fn parse_chat(body: &Bytes, limits: &BodyLimits) -> Result<ChatHead, GatewayError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        GatewayError::new(
            ErrorKind::InvalidBody,
            format!(
                "The request body is not valid UTF-8: invalid bytes at offset {}.",
                error.valid_up_to()
            ),
        )
    })?;
    let mut reader = Reader {
        body: text,
        cursor: Cursor::new(text, limits.max_depth),
        limits: *limits,
    };
    reader.chat()
}

/// The members that are read here, for finding one that appears twice.
#[derive(Clone, Copy)]
enum Member {
    Model,
    Messages,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    N,
    Deferred,
    User,
    PromptCacheKey,
    Tools,
}

#[derive(Default)]
struct Seen(u32);

impl Seen {
    fn once(&mut self, member: Member, path: &str) -> Result<(), GatewayError> {
        let bit = 1 << member as u32;
        if self.0 & bit != 0 {
            return Err(duplicate(path));
        }
        self.0 |= bit;
        Ok(())
    }
}

struct Reader<'a> {
    body: &'a str,
    cursor: Cursor<'a>,
    limits: BodyLimits,
}

impl<'a> Reader<'a> {
    fn chat(&mut self) -> Result<ChatHead, GatewayError> {
        let kind = self.kind()?;
        if kind != Kind::Object {
            // The whole must be JSON before its type is worth a word.
            self.skip()?;
            self.finish()?;
            return Err(GatewayError::new(
                ErrorKind::InvalidBody,
                format!("The request body must be a JSON object; it is {}.", kind.as_str()),
            )
            .with_code("invalid_type"));
        }
        self.enter()?;
        let mut head = ChatHead {
            model: String::new(),
            stream: None,
            include_usage: None,
            max_output: None,
            n: 1,
            deferred: false,
            affinity: AffinityHints::default(),
            input_bytes: self.body.len(),
            messages: 0,
            has_images: false,
            images: 0,
            has_tools: false,
            spans: EditSpans {
                open: self.cursor.position(),
                ..EditSpans::default()
            },
        };
        let mut seen = Seen::default();
        let mut talk = None;
        let mut first = true;
        while let Some(name) = self.next_member(&mut first)? {
            match &*self.decode(&name)? {
                "model" => {
                    seen.once(Member::Model, "model")?;
                    self.model(&mut head)?;
                }
                "messages" => {
                    seen.once(Member::Messages, "messages")?;
                    talk = Some(self.messages()?);
                }
                "stream" => {
                    seen.once(Member::Stream, "stream")?;
                    let (value, span) = self.boolean("stream")?;
                    head.stream = value;
                    head.spans.stream = Some(span);
                }
                "stream_options" => {
                    seen.once(Member::StreamOptions, "stream_options")?;
                    self.stream_options(&mut head)?;
                }
                "max_tokens" => {
                    seen.once(Member::MaxTokens, "max_tokens")?;
                    head.spans.max_tokens = Some(self.output_limit("max_tokens")?);
                }
                "max_completion_tokens" => {
                    seen.once(Member::MaxCompletionTokens, "max_completion_tokens")?;
                    head.spans.max_completion_tokens = Some(self.output_limit("max_completion_tokens")?);
                }
                "n" => {
                    seen.once(Member::N, "n")?;
                    head.n = self.integer("n", 1, MAX_N)?.1.unwrap_or(1);
                }
                "deferred" => {
                    seen.once(Member::Deferred, "deferred")?;
                    head.deferred = self.boolean("deferred")?.0.unwrap_or(false);
                }
                "user" => {
                    seen.once(Member::User, "user")?;
                    head.affinity.user = self.hint("user")?;
                }
                "prompt_cache_key" => {
                    seen.once(Member::PromptCacheKey, "prompt_cache_key")?;
                    head.affinity.prompt_cache_key = self.hint("prompt_cache_key")?;
                }
                "tools" => {
                    seen.once(Member::Tools, "tools")?;
                    self.must_be("tools", &[Kind::Array])?;
                    // `[]` and `[ ]` offer nothing.
                    let span = self.skip()?;
                    head.has_tools = span.of(self.body.as_bytes()).iter().any(|&byte| byte == b'{');
                }
                other => {
                    if let Some(kinds) = types_of(other) {
                        self.must_be(other, kinds)?;
                    }
                    self.skip()?;
                }
            }
        }
        self.finish()?;
        if head.model.is_empty() {
            return Err(missing("model", "Name a model: `model` is required."));
        }
        let Some(talk) = talk else {
            return Err(missing("messages", "`messages` is required."));
        };
        let spans = &head.spans;
        head.max_output = [spans.max_tokens, spans.max_completion_tokens]
            .into_iter()
            .filter_map(|limit| limit?.tokens)
            .max();
        if head.affinity.prompt_cache_key.is_none() && head.affinity.user.is_none() {
            head.affinity.first_message_hash = talk.opening_hash(self.body.as_bytes());
        }
        head.input_bytes = self.body.len().saturating_sub(talk.media_bytes);
        head.messages = talk.count;
        head.images = talk.images;
        head.has_images = talk.images > 0;
        head.spans.developer_roles = talk.developer_roles;
        Ok(head)
    }

    fn model(&mut self, head: &mut ChatHead) -> Result<(), GatewayError> {
        match self.kind()? {
            Kind::String => {}
            Kind::Null => return Err(missing("model", "Name a model: `model` is null.")),
            other => return Err(wrong_type("model", "a string", other)),
        }
        let text = self.string()?;
        head.model = self.decode(&text)?.into_owned();
        head.spans.model = Some(text.span);
        if head.model.trim().is_empty() {
            return Err(GatewayError::field("model", "Name a model: `model` is empty."));
        }
        if head.model.len() > MAX_MODEL_BYTES {
            return Err(GatewayError::field(
                "model",
                format!("`model` is longer than {MAX_MODEL_BYTES} bytes; no model has such a name."),
            ));
        }
        Ok(())
    }

    fn stream_options(&mut self, head: &mut ChatHead) -> Result<(), GatewayError> {
        self.must_be("stream_options", &[Kind::Object])?;
        let start = self.cursor.position();
        if self.kind()? == Kind::Null {
            let value = self.skip()?;
            head.spans.stream_options = Some(OptionsSpan {
                value,
                is_object: false,
                has_members: false,
                include_usage: None,
            });
            return Ok(());
        }
        self.enter()?;
        let mut include_usage = None;
        let mut first = true;
        while let Some(name) = self.next_member(&mut first)? {
            if !name.is("include_usage") {
                self.skip()?;
                continue;
            }
            if include_usage.is_some() {
                return Err(duplicate("stream_options.include_usage"));
            }
            let (value, span) = self.boolean("stream_options.include_usage")?;
            head.include_usage = value;
            include_usage = Some(span);
        }
        head.spans.stream_options = Some(OptionsSpan {
            value: Span {
                start,
                end: self.cursor.position(),
            },
            is_object: true,
            has_members: !first,
            include_usage,
        });
        Ok(())
    }

    fn output_limit(&mut self, path: &'static str) -> Result<LimitSpan, GatewayError> {
        let (value, tokens) = self.integer(path, 1, MAX_TOKENS)?;
        Ok(LimitSpan { value, tokens })
    }

    /// A whole number within bounds, or `null`.
    fn integer(&mut self, path: &'static str, min: u64, max: u64) -> Result<(Span, Option<u64>), GatewayError> {
        match self.kind()? {
            Kind::Null => return Ok((self.skip()?, None)),
            Kind::Number => {}
            other => return Err(wrong_type(path, "an integer", other)),
        }
        let span = self.skip()?;
        let digits = self.body.get(span.start..span.end).unwrap_or_default();
        if digits.contains(['.', 'e', 'E']) {
            return Err(wrong_type(path, "an integer", Kind::Number));
        }
        let value = match digits.parse::<u64>() {
            Ok(value) if value < min => None,
            Ok(value) => Some(value),
            // `-5` and `-0`, or more digits than a u64 holds.
            Err(_) if digits.starts_with('-') => None,
            Err(_) => Some(u64::MAX),
        };
        match value {
            None => Err(GatewayError::field(
                path,
                format!("`{path}` must be at least {min}; it is {}.", clip(digits)),
            )
            .with_code("integer_below_min_value")),
            Some(value) if value > max => Err(GatewayError::field(
                path,
                format!("`{path}` must be at most {max}; it is {}.", clip(digits)),
            )
            .with_code("integer_above_max_value")),
            Some(value) => Ok((span, Some(value))),
        }
    }

    /// `true`, `false` or `null`.
    fn boolean(&mut self, path: &'static str) -> Result<(Option<bool>, Span), GatewayError> {
        self.must_be(path, &[Kind::Bool])?;
        let span = self.skip()?;
        Ok((
            match span.of(self.body.as_bytes()) {
                b"true" => Some(true),
                b"false" => Some(false),
                _ => None,
            },
            span,
        ))
    }

    /// A string or `null`; empty counts as not given.
    fn hint(&mut self, path: &'static str) -> Result<Option<String>, GatewayError> {
        self.must_be(path, &[Kind::String])?;
        if self.kind()? == Kind::Null {
            self.skip()?;
            return Ok(None);
        }
        let text = self.string()?;
        Ok(Some(self.decode(&text)?.into_owned()).filter(|hint| !hint.is_empty()))
    }

    /// Refuses the next value unless it is of one of these kinds, or `null`.
    fn must_be(&mut self, path: &str, kinds: &[Kind]) -> Result<(), GatewayError> {
        let kind = self.kind()?;
        if kind == Kind::Null || kinds.contains(&kind) {
            return Ok(());
        }
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        Err(wrong_type(path, &wanted.join(" or "), kind))
    }

    fn kind(&mut self) -> Result<Kind, GatewayError> {
        self.cursor.kind().map_err(|fault| self.malformed(fault))
    }

    fn enter(&mut self) -> Result<(), GatewayError> {
        self.cursor.enter().map_err(|fault| self.malformed(fault))
    }

    fn next_member(&mut self, first: &mut bool) -> Result<Option<Text<'a>>, GatewayError> {
        self.cursor.next_member(first).map_err(|fault| self.malformed(fault))
    }

    fn next_element(&mut self, first: &mut bool) -> Result<bool, GatewayError> {
        self.cursor.next_element(first).map_err(|fault| self.malformed(fault))
    }

    fn string(&mut self) -> Result<Text<'a>, GatewayError> {
        self.cursor.string().map_err(|fault| self.malformed(fault))
    }

    fn decode(&self, text: &Text<'a>) -> Result<std::borrow::Cow<'a, str>, GatewayError> {
        text.decode().map_err(|fault| self.malformed(fault))
    }

    fn skip(&mut self) -> Result<Span, GatewayError> {
        self.cursor.skip_value().map_err(|fault| self.malformed(fault))
    }

    fn finish(&mut self) -> Result<(), GatewayError> {
        self.cursor.end().map_err(|fault| self.malformed(fault))
    }

    fn malformed(&self, fault: Fault) -> GatewayError {
        let (line, column) = fault.line_and_column(self.body.as_bytes());
        if fault.too_deep {
            return GatewayError::new(
                ErrorKind::InvalidBody,
                format!(
                    "The request body is nested more than {} levels deep (line {line}, column {column}).",
                    self.limits.max_depth.min(MAX_DEPTH)
                ),
            )
            .with_code("nested_too_deeply");
        }
        GatewayError::new(
            ErrorKind::InvalidBody,
            format!(
                "The request body is not valid JSON: {} at line {line}, column {column} (byte {}).",
                fault.what, fault.at
            ),
        )
    }
}

/// What other well-known members of a chat request must be; better told here than after a token was taken.
fn types_of(name: &str) -> Option<&'static [Kind]> {
    Some(match name {
        "temperature" | "top_p" | "frequency_penalty" | "presence_penalty" | "seed" | "top_logprobs" => &[Kind::Number],
        "logprobs" | "parallel_tool_calls" | "store" => &[Kind::Bool],
        "response_format" | "logit_bias" | "metadata" => &[Kind::Object],
        "tool_choice" => &[Kind::String, Kind::Object],
        "stop" => &[Kind::String, Kind::Array],
        "reasoning_effort" | "service_tier" | "safety_identifier" => &[Kind::String],
        _ => return None,
    })
}

fn missing(path: &'static str, message: &'static str) -> GatewayError {
    GatewayError::field(path, message).with_code("missing")
}

fn duplicate(path: &str) -> GatewayError {
    GatewayError::field(path, format!("`{path}` appears twice; give it once.")).with_code("duplicate_field")
}

fn wrong_type(path: &str, wanted: &str, got: Kind) -> GatewayError {
    let got = match (wanted, got) {
        ("an integer", Kind::Number) => "a number with a fraction or exponent",
        (_, got) => got.as_str(),
    };
    GatewayError::field(path, format!("`{path}` must be {wanted}; it is {got}.")).with_code("invalid_type")
}

/// A client's own text in a message, at most 40 bytes of it.
fn clip(text: &str) -> &str {
    let mut end = text.len().min(40);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
