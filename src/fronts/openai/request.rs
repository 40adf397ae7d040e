//! What the gateway must know of a chat request, read in one pass over its bytes. The rest stays as it came; `edit`
//! changes the few bytes that differ upstream.
//!
//! A member that is read here may appear once only: which of two wins is the reader's choice, and what is metered must be
//! what the upstream obeys.

mod messages;
mod reader;

use bytes::Bytes;

use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::asking::AffinityHints;
use crate::fronts::json::{Cursor, Kind, MAX_DEPTH, Span};
use reader::{duplicate, missing, types_of, wrong_type};

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
                    head.has_tools = span.of(self.body.as_bytes()).contains(&b'{');
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
}

#[cfg(test)]
mod tests;
