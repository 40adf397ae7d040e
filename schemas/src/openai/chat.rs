//! The parts of a chat answer that somebody here reads: tests, the simulator's callers, the smoke command. Unknown members
//! are ignored, missing ones are `None`.

use serde::{Deserialize, Serialize};

/// An answer that is not streamed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// The upstream's id of it.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// The answers.
    pub choices: Vec<Choice>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Which of the `n`.
    pub index: u32,
    /// What was said.
    pub message: Message,
    /// Why it ended.
    #[serde(default)]
    pub finish_reason: Option<String>,
}

/// A message of a request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: String,
    /// What is said.
    #[serde(default)]
    pub content: Option<String>,
    /// What was thought first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Calls of the client's functions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// A call of a client's function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call in the answer to it.
    #[serde(default)]
    pub id: String,
    /// Which, with what.
    pub function: FunctionCall,
}

/// A function's name and arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function.
    #[serde(default)]
    pub name: String,
    /// Its arguments, JSON in a string.
    #[serde(default)]
    pub arguments: String,
}

/// One event of a streamed answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The upstream's id of the answer.
    pub id: String,
    /// The model that answers.
    pub model: String,
    /// What each answer grows by; empty in the event that tells the usage.
    pub choices: Vec<ChunkChoice>,
    /// What it cost, in the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What one answer grows by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Which of the `n`.
    pub index: u32,
    /// What is added.
    pub delta: Delta,
    /// Why it ended.
    #[serde(default)]
    pub finish_reason: Option<String>,
}

/// What is added to an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Who speaks; in the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What is thought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Calls of the client's functions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens written, those of reasoning not among them (xAI).
    #[serde(default)]
    pub completion_tokens: u64,
    /// All tokens.
    #[serde(default)]
    pub total_tokens: u64,
    /// 1e-10 USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_in_usd_ticks: Option<u64>,
}
