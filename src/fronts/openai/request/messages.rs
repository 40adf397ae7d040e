//! `messages` of a chat request: what each must be, and what is remembered of them.

use crate::engine::error::GatewayError;
use crate::fronts::json::{Kind, Span};

use super::Reader;
use super::reader::{clip, duplicate, wrong_type};

/// How much of either end of a text goes into the hash that recognises a conversation. Agents begin alike and end with what
/// they are asked; a hash of everything would cost more than reading the request.
const HASHED_BYTES: usize = 256;

/// What is remembered of all messages.
#[derive(Default)]
pub(super) struct Talk {
    pub(super) count: usize,
    pub(super) images: usize,
    /// Bytes of image, file and audio parts.
    pub(super) media_bytes: usize,
    pub(super) developer_roles: Vec<Span>,
    first_system: Option<Span>,
    first_user: Option<Span>,
}

impl Talk {
    /// A hash of how the conversation begins; `None` if no system or user message says anything.
    pub(super) fn opening_hash(&self, body: &[u8]) -> Option<u64> {
        if self.first_system.is_none() && self.first_user.is_none() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        for span in [self.first_system, self.first_user] {
            let text = span.map(|span| span.of(body)).unwrap_or_default();
            hasher.update(&(text.len() as u64).to_le_bytes());
            match (
                text.get(..HASHED_BYTES),
                text.get(text.len().saturating_sub(HASHED_BYTES)..),
            ) {
                (Some(begin), Some(end)) => hasher.update(begin).update(end),
                _ => hasher.update(text),
            };
        }
        hasher
            .finalize()
            .as_bytes()
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

impl Role {
    fn parse(name: &str) -> Option<Role> {
        Some(match name {
            "system" => Role::System,
            "developer" => Role::Developer,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            "function" => Role::Function,
            _ => return None,
        })
    }
}

/// `content` of one message.
enum Content {
    Text(Span),
    Parts { span: Span, count: usize },
    Null,
}

impl Reader<'_> {
    pub(super) fn messages(&mut self) -> Result<Talk, GatewayError> {
        match self.kind()? {
            Kind::Array => self.enter()?,
            other => return Err(wrong_type("messages", "an array of objects", other)),
        }
        let mut talk = Talk::default();
        let mut first = true;
        while self.next_element(&mut first)? {
            if talk.count >= self.limits.max_messages {
                return Err(GatewayError::field(
                    "messages",
                    format!("`messages` has more than {} elements.", self.limits.max_messages),
                )
                .with_code("array_above_max_length"));
            }
            self.message(&mut talk)?;
            talk.count += 1;
        }
        if talk.count == 0 {
            return Err(
                GatewayError::field("messages", "`messages` is empty; give at least one message.")
                    .with_code("empty_array"),
            );
        }
        Ok(talk)
    }

    fn message(&mut self, talk: &mut Talk) -> Result<(), GatewayError> {
        let index = talk.count;
        match self.kind()? {
            Kind::Object => self.enter()?,
            other => return Err(wrong_type(&format!("messages.{index}"), "an object", other)),
        }
        let mut role = None;
        let mut content = None;
        // What an assistant may say instead of `content`.
        let mut says_otherwise = false;
        let mut first = true;
        while let Some(name) = self.next_member(&mut first)? {
            match &*self.decode(&name)? {
                "role" => {
                    if role.is_some() {
                        return Err(duplicate(&format!("messages.{index}.role")));
                    }
                    role = Some(self.role(index)?);
                }
                "content" => {
                    if content.is_some() {
                        return Err(duplicate(&format!("messages.{index}.content")));
                    }
                    content = Some(self.content(index, talk)?);
                }
                "tool_calls" => {
                    let path = format_args!("messages.{index}.tool_calls");
                    if !matches!(self.kind()?, Kind::Array | Kind::Null) {
                        let kind = self.kind()?;
                        return Err(wrong_type(&path.to_string(), "an array", kind));
                    }
                    let span = self.skip()?;
                    says_otherwise |= span.of(self.body.as_bytes()).contains(&b'{');
                }
                "function_call" | "refusal" | "audio" => {
                    says_otherwise |= self.kind()? != Kind::Null;
                    self.skip()?;
                }
                _ => {
                    self.skip()?;
                }
            }
        }
        let Some((role, role_span)) = role else {
            return Err(field(index, "role", "is required").with_code("missing"));
        };
        if role == Role::Developer {
            talk.developer_roles.push(role_span);
        }
        let may_be_silent = role == Role::Assistant && says_otherwise;
        let span = match content {
            Some(Content::Text(span)) => span,
            Some(Content::Parts { span, count }) if count > 0 || may_be_silent => span,
            Some(Content::Parts { .. }) => {
                return Err(field(index, "content", "is empty; give at least one part").with_code("empty_array"));
            }
            Some(Content::Null) | None if may_be_silent => return Ok(()),
            Some(Content::Null) => {
                return Err(field(
                    index,
                    "content",
                    "is null; only an assistant message with `tool_calls` may have none",
                )
                .with_code("invalid_type"));
            }
            None => {
                return Err(field(
                    index,
                    "content",
                    "is required; only an assistant message with `tool_calls` may have none",
                )
                .with_code("missing"));
            }
        };
        match role {
            Role::System | Role::Developer => talk.first_system = talk.first_system.or(Some(span)),
            Role::User => talk.first_user = talk.first_user.or(Some(span)),
            Role::Assistant | Role::Tool | Role::Function => {}
        }
        Ok(())
    }

    fn role(&mut self, index: usize) -> Result<(Role, Span), GatewayError> {
        match self.kind()? {
            Kind::String => {}
            other => return Err(wrong_type(&format!("messages.{index}.role"), "a string", other)),
        }
        let text = self.string()?;
        let name = self.decode(&text)?;
        match Role::parse(&name) {
            Some(role) => Ok((role, text.span)),
            None => Err(GatewayError::field(
                format!("messages.{index}.role"),
                format!(
                    "`messages.{index}.role` is `{}`; it must be `system`, `developer`, `user`, `assistant`, `tool` or \
                     `function`.",
                    clip(&name)
                ),
            )),
        }
    }

    fn content(&mut self, index: usize, talk: &mut Talk) -> Result<Content, GatewayError> {
        match self.kind()? {
            Kind::String => Ok(Content::Text(self.string()?.span)),
            Kind::Null => {
                self.skip()?;
                Ok(Content::Null)
            }
            Kind::Array => {
                let start = self.cursor.position();
                self.enter()?;
                let mut count = 0;
                let mut first = true;
                while self.next_element(&mut first)? {
                    self.part(index, count, talk)?;
                    count += 1;
                }
                let end = self.cursor.position();
                Ok(Content::Parts {
                    span: Span { start, end },
                    count,
                })
            }
            other => Err(wrong_type(
                &format!("messages.{index}.content"),
                "a string or an array of parts",
                other,
            )),
        }
    }

    fn part(&mut self, index: usize, part: usize, talk: &mut Talk) -> Result<(), GatewayError> {
        let path = |name: &str| format!("messages.{index}.content.{part}{name}");
        match self.kind()? {
            Kind::Object => self.enter()?,
            other => return Err(wrong_type(&path(""), "an object", other)),
        }
        let mut typed = false;
        let mut first = true;
        while let Some(name) = self.next_member(&mut first)? {
            match &*self.decode(&name)? {
                "type" => {
                    if typed {
                        return Err(duplicate(&path(".type")));
                    }
                    typed = true;
                    match self.kind()? {
                        Kind::String => {}
                        other => return Err(wrong_type(&path(".type"), "a string", other)),
                    }
                    let text = self.string()?;
                    if text.is("image_url") || text.is("input_image") || text.is("image") {
                        talk.images += 1;
                    }
                }
                "image_url" | "image" | "file" | "input_audio" => talk.media_bytes += self.skip()?.len(),
                "text" => match self.kind()? {
                    Kind::String | Kind::Null => {
                        self.skip()?;
                    }
                    other => return Err(wrong_type(&path(".text"), "a string", other)),
                },
                _ => {
                    self.skip()?;
                }
            }
        }
        match typed {
            true => Ok(()),
            false => Err(
                GatewayError::field(path(".type"), format!("`{}` is required.", path(".type")))
                    .with_code("missing_type"),
            ),
        }
    }
}

fn field(index: usize, name: &str, what: &str) -> GatewayError {
    let path = format!("messages.{index}.{name}");
    let message = format!("`{path}` {what}.");
    GatewayError::field(path, message)
}
