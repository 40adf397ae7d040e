//! What `/v1/chat/completions` takes, with the upstream's strictness: unknown fields are ignored, wrong types are 422.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;
use serde_json::error::Category;

/// The request.
#[derive(Debug, Default, Deserialize)]
pub struct ChatRequest {
    pub model: Option<String>,
    pub messages: Vec<Message>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub n: Option<i32>,
    /// Only its type matters: answers do not depend on it.
    #[serde(rename = "seed")]
    pub _seed: Option<i64>,
    pub stop: Option<Vec<String>>,
    pub max_tokens: Option<i32>,
    pub max_completion_tokens: Option<i32>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<i32>,
    pub tools: Option<Vec<Tool>>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub response_format: Option<ResponseFormat>,
    pub reasoning_effort: Option<String>,
    pub service_tier: Option<String>,
    pub prompt_cache_key: Option<String>,
    /// Only its type matters.
    #[serde(rename = "user")]
    pub _user: Option<String>,
    pub deferred: Option<bool>,
    pub search_parameters: Option<Value>,
    pub web_search_options: Option<Value>,
}

/// `stream_options`.
#[derive(Debug, Deserialize)]
pub struct StreamOptions {
    pub include_usage: Option<bool>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
    Function,
}

/// One message.
#[derive(Debug, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: Option<Content>,
    pub name: Option<String>,
    pub reasoning_content: Option<String>,
    pub tool_calls: Option<Vec<ToolCall>>,
    pub tool_call_id: Option<String>,
}

/// Text, or parts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// One part of a message.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
    File { file: Value },
}

impl Part {
    /// Whether a picture has a URL that can be fetched.
    pub fn is_sound(&self) -> bool {
        match self {
            Part::ImageUrl { image_url } => ["https://", "http://", "data:image/"]
                .iter()
                .any(|scheme| image_url.url.starts_with(scheme)),
            Part::Text { .. } | Part::File { .. } => true,
        }
    }
}

/// A picture.
#[derive(Debug, Deserialize)]
pub struct ImageUrl {
    pub url: String,
    pub detail: Option<String>,
}

/// A call that an assistant message of the history made.
#[derive(Debug, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub function: CalledFunction,
}

/// Its function.
#[derive(Debug, Deserialize)]
pub struct CalledFunction {
    pub name: String,
    pub arguments: String,
}

/// A tool on offer.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tool {
    Function { function: Function },
}

/// A function on offer.
#[derive(Debug, Deserialize)]
pub struct Function {
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub parameters: Option<Value>,
}

/// Whether and what to call.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ToolChoice {
    Mode(ToolMode),
    Named { function: NamedFunction },
}

/// The words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolMode {
    None,
    Auto,
    Required,
}

/// The one function to call.
#[derive(Debug, Deserialize)]
pub struct NamedFunction {
    pub name: String,
}

/// The form of the answer.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: JsonSchema },
}

/// A schema to satisfy.
#[derive(Debug, Deserialize)]
pub struct JsonSchema {
    pub schema: Option<Value>,
}

/// Why a body cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// Not JSON: 400.
    Syntax(String),
    /// JSON of another type: 422.
    Type(String),
}

impl ChatRequest {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<ChatRequest, Unreadable> {
        let request: ChatRequest = read(body)?;
        for (index, message) in request.messages.iter().enumerate() {
            let needs_content = matches!(message.role, Role::System | Role::User | Role::Tool);
            let missing = if needs_content && message.content.is_none() {
                Some("content")
            } else if message.role == Role::Tool && message.tool_call_id.is_none() {
                Some("tool_call_id")
            } else {
                None
            };
            if let Some(field) = missing {
                return Err(Unreadable::Type(format!("messages[{index}]: missing field `{field}`")));
            }
        }
        Ok(request)
    }

    /// The last thing a user said, as text.
    pub fn last_user_text(&self) -> String {
        let last = self.messages.iter().rev().find(|message| message.role == Role::User);
        last.and_then(|message| message.content.as_ref())
            .map(Content::text)
            .unwrap_or_default()
    }

    /// Whether usage comes at the end of the stream.
    pub fn wants_usage(&self) -> bool {
        self.stream_options
            .as_ref()
            .is_some_and(|options| options.include_usage == Some(true))
    }

    /// The cap on visible tokens.
    pub fn max_output(&self) -> Option<i32> {
        self.max_completion_tokens.or(self.max_tokens)
    }
}

impl Content {
    /// Its text, parts joined by line ends.
    pub fn text(&self) -> String {
        match self {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => {
                let texts: Vec<&str> = parts
                    .iter()
                    .filter_map(|part| match part {
                        Part::Text { text } => Some(text.as_str()),
                        Part::ImageUrl { .. } | Part::File { .. } => None,
                    })
                    .collect();
                texts.join("\n")
            }
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Content::Text(text) => text.is_empty(),
            Content::Parts(parts) => parts.is_empty(),
        }
    }
}

/// Reads JSON of a type, telling broken JSON from JSON of another type.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => Unreadable::Type(located(body, &error)),
        // A `Data` error may hide broken JSON behind it, not the other way round.
        Category::Syntax | Category::Eof | Category::Io => Unreadable::Syntax(error.to_string()),
    })
}

/// The parser's words with the path of the culprit in front, as the upstream shows it.
fn located(body: &[u8], error: &serde_json::Error) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return error.to_string();
    };
    let messages = value.get("messages").and_then(Value::as_array);
    let message = messages.into_iter().flatten().enumerate().find_map(|(index, message)| {
        serde_json::from_value::<Message>(message.clone())
            .err()
            .map(|_| format!("messages[{index}]"))
    });
    let culprit = message.or_else(|| {
        let fields = value.as_object()?;
        fields.iter().find_map(|(name, value)| {
            let mut alone = serde_json::Map::new();
            alone.insert("messages".to_owned(), Value::Array(Vec::new()));
            alone.insert(name.clone(), value.clone());
            serde_json::from_value::<ChatRequest>(Value::Object(alone))
                .err()
                .map(|_| name.clone())
        })
    });
    match culprit {
        Some(path) => serde_json::Error::custom(format!("{path}: {error}")).to_string(),
        None => error.to_string(),
    }
}
