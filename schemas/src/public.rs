//! What clients may send and what they get, as far as the gateway looks into it: everything else passes as it came. Only
//! for the documents; requests are read without a tree.

pub mod media;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A text, or many.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Many.
    Many(Vec<Value>),
}

/// A message of a chat.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said: a text, or parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Texts>,
    /// Whatever else.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A chat request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct ChatAsk {
    /// The model.
    #[schemars(example = "grok-4.7")]
    pub model: String,
    /// The conversation so far.
    #[schemars(length(min = 1))]
    pub messages: Vec<ChatMessage>,
    /// Whether events are wanted.
    #[serde(default)]
    pub stream: bool,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A request for a response.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct ResponseAsk {
    /// The model.
    #[schemars(example = "grok-4.7")]
    pub model: String,
    /// What is asked: a text, or items.
    pub input: Texts,
    /// Whether events are wanted.
    #[serde(default)]
    pub stream: bool,
    /// Whether the upstream keeps the response.
    #[serde(default)]
    pub store: bool,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A request for a message, as Anthropic's clients send it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct MessageAsk {
    /// The model.
    #[schemars(example = "grok-4.7")]
    pub model: String,
    /// Most tokens of the answer.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_tokens: u64,
    /// The conversation so far.
    #[schemars(length(min = 1))]
    pub messages: Vec<ChatMessage>,
    /// Whether events are wanted.
    #[serde(default)]
    pub stream: bool,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A request to count the tokens of a message.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct CountAsk {
    /// The model.
    #[schemars(example = "grok-4.7")]
    pub model: String,
    /// The conversation so far.
    #[schemars(length(min = 1))]
    pub messages: Vec<ChatMessage>,
    /// Whatever else there is to count.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// How many tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Counted {
    /// Tokens that the model reads.
    pub input_tokens: u64,
}

/// A legacy completion.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct CompletionAsk {
    /// The model.
    #[schemars(example = "grok-4.7")]
    pub model: String,
    /// What is to be continued.
    pub prompt: Texts,
    /// Whether events are wanted.
    #[serde(default)]
    pub stream: bool,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A request for vectors.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct EmbeddingAsk {
    /// The model.
    #[schemars(example = "grok-4.7")]
    pub model: String,
    /// What the vectors are to stand for.
    pub input: Texts,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A text to be cut into tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct TokenizeAsk {
    /// The model.
    #[schemars(example = "grok-4.7")]
    pub model: String,
    /// The text.
    pub text: String,
}

/// A search in collections of documents.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SearchAsk {
    /// What is searched for.
    pub query: String,
    /// Where.
    pub source: SearchSource,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// Where to search.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SearchSource {
    /// Collections, all of one team.
    pub collection_ids: Vec<String>,
}

/// Text to be spoken, in the upstream's form.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct TtsAsk {
    /// The text.
    #[schemars(length(min = 1, max = 15_000))]
    pub text: String,
    /// Its language, or `auto`.
    pub language: String,
    /// A built-in voice, or one of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_id: Option<String>,
}

/// Text to be spoken, in OpenAI's form.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SpeechAsk {
    /// Any name: the upstream has one.
    pub model: String,
    /// The text.
    #[schemars(length(min = 1, max = 15_000))]
    pub input: String,
    /// The voice; OpenAI's names stand for similar ones.
    pub voice: String,
    /// `mp3`, `wav` or `pcm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<String>,
}

/// A batch to be made: xAI's has a `name`, OpenAI's the other three.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct BatchAsk {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A file with its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_file_id: Option<String>,
    /// The path that every call of the file asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_window: Option<String>,
    /// Up to 16 texts that are kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Calls to be added to a batch.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct BatchCallsAsk {
    /// The calls.
    pub batch_requests: Vec<BatchCall>,
}

/// A call of a batch.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct BatchCall {
    /// Names its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_request_id: Option<String>,
    /// The call, by its kind.
    pub batch_request: BTreeMap<String, Value>,
}

/// A list.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Listed {
    /// `list`.
    pub object: String,
    /// What is on it.
    pub data: Vec<BTreeMap<String, Value>>,
    /// Whether a next page follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_more: Option<bool>,
}

/// An error in Anthropic's shape.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct AnthropicError {
    /// `error`.
    pub r#type: String,
    /// What went wrong.
    pub error: AnthropicFault,
    /// Names the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What went wrong, in Anthropic's shape.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct AnthropicFault {
    /// The kind, such as `invalid_request_error`.
    pub r#type: String,
    /// What, where and how to mend it.
    pub message: String,
}
