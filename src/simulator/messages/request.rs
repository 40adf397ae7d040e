//! What `/v1/messages` takes, made into what the model understands.

use serde::Deserialize;
use serde_json::Value;

use super::super::chat::{
    CalledFunction, ChatRequest, Content, Function, ImageUrl, Message, NamedFunction, Part, Role, Tool, ToolCall,
    ToolChoice, ToolMode, Unreadable,
};

/// The request. Unknown fields are ignored, wrong types are refused.
#[derive(Debug, Deserialize)]
pub struct MessagesRequest {
    pub model: Option<String>,
    pub max_tokens: i32,
    pub messages: Vec<Said>,
    pub system: Option<Text>,
    pub stop_sequences: Option<Vec<String>>,
    pub stream: Option<bool>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub tools: Option<Vec<OfferedTool>>,
    pub tool_choice: Option<Choice>,
    pub metadata: Option<Metadata>,
}

/// One message.
#[derive(Debug, Deserialize)]
pub struct Said {
    pub role: Speaker,
    pub content: Text,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    User,
    Assistant,
    System,
}

/// Text, or blocks.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Text {
    Plain(String),
    Blocks(Vec<Value>),
}

/// A tool on offer.
#[derive(Debug, Deserialize)]
pub struct OfferedTool {
    pub name: String,
    pub description: Option<String>,
    pub input_schema: Value,
}

/// Whether and what to call.
#[derive(Debug, Deserialize)]
pub struct Choice {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: Option<String>,
    pub disable_parallel_tool_use: Option<bool>,
}

/// Who asks.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub user_id: Option<String>,
}

impl MessagesRequest {
    /// The conversation as a chat.
    ///
    /// # Errors
    /// Blocks that there are none of.
    pub fn chat(&self) -> Result<ChatRequest, Unreadable> {
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            let parts = match system {
                Text::Plain(text) => vec![Part::Text { text: text.clone() }],
                Text::Blocks(blocks) => blocks
                    .iter()
                    .map(text_part)
                    .collect::<Option<_>>()
                    .ok_or_else(|| unreadable("system"))?,
            };
            messages.push(message(Role::System, Some(Content::Parts(parts))));
        }
        for (index, said) in self.messages.iter().enumerate() {
            let read = match (&said.content, said.role) {
                (Text::Plain(text), role) => Some(vec![message(role_of(role), Some(Content::Text(text.clone())))]),
                (Text::Blocks(blocks), Speaker::User) => user(blocks),
                (Text::Blocks(blocks), Speaker::Assistant) => assistant(blocks),
                (Text::Blocks(blocks), Speaker::System) => blocks
                    .iter()
                    .map(text_part)
                    .collect::<Option<_>>()
                    .map(|parts| vec![message(Role::System, Some(Content::Parts(parts)))]),
            };
            messages.extend(read.ok_or_else(|| unreadable(&format!("messages[{index}].content")))?);
        }
        let tools: Vec<Tool> = self
            .tools
            .iter()
            .flatten()
            .map(|tool| Tool::Function {
                function: Function {
                    name: tool.name.clone(),
                    description: tool.description.clone(),
                    parameters: Some(tool.input_schema.clone()),
                },
            })
            .collect();
        let choice = self.tool_choice.as_ref();
        Ok(ChatRequest {
            model: self.model.clone(),
            messages,
            stream: self.stream,
            temperature: self.temperature,
            top_p: self.top_p,
            stop: self.stop_sequences.clone(),
            max_completion_tokens: Some(self.max_tokens),
            tools: (!tools.is_empty()).then_some(tools),
            tool_choice: choice.map(|choice| match (choice.kind.as_str(), &choice.name) {
                ("tool", Some(name)) => ToolChoice::Named {
                    function: NamedFunction { name: name.clone() },
                },
                ("any", _) => ToolChoice::Mode(ToolMode::Required),
                ("none", _) => ToolChoice::Mode(ToolMode::None),
                _ => ToolChoice::Mode(ToolMode::Auto),
            }),
            parallel_tool_calls: choice
                .and_then(|choice| choice.disable_parallel_tool_use)
                .map(|disabled| !disabled),
            prompt_cache_key: self.metadata.as_ref().and_then(|metadata| metadata.user_id.clone()),
            ..ChatRequest::default()
        })
    }
}

fn unreadable(place: &str) -> Unreadable {
    Unreadable::Type(format!("{place}: data did not match any variant"))
}

fn role_of(speaker: Speaker) -> Role {
    match speaker {
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
        Speaker::System => Role::System,
    }
}

fn message(role: Role, content: Option<Content>) -> Message {
    Message {
        role,
        content,
        name: None,
        reasoning_content: None,
        tool_calls: None,
        tool_call_id: None,
    }
}

fn text_part(block: &Value) -> Option<Part> {
    (block["type"] == "text").then_some(())?;
    Some(Part::Text {
        text: block["text"].as_str()?.to_owned(),
    })
}

fn image_part(block: &Value) -> Option<Part> {
    let source = &block["source"];
    let url = match source["type"].as_str()? {
        "base64" => format!(
            "data:{};base64,{}",
            source["media_type"].as_str()?,
            source["data"].as_str()?
        ),
        "url" => source["url"].as_str()?.to_owned(),
        _ => return None,
    };
    Some(Part::ImageUrl {
        image_url: ImageUrl { url, detail: None },
    })
}

/// Results of tools are messages of their own. What stands beside them is not what the user asks.
fn user(blocks: &[Value]) -> Option<Vec<Message>> {
    let mut parts = Vec::new();
    let mut results = Vec::new();
    for block in blocks {
        match block["type"].as_str()? {
            "text" => parts.push(text_part(block)?),
            "image" => parts.push(image_part(block)?),
            "tool_result" => {
                let content = match &block["content"] {
                    Value::String(text) => Content::Text(text.clone()),
                    Value::Null => Content::Text(String::new()),
                    Value::Array(inner) => Content::Parts(
                        inner
                            .iter()
                            .map(|block| text_part(block).or_else(|| image_part(block)))
                            .collect::<Option<_>>()?,
                    ),
                    _ => return None,
                };
                results.push(Message {
                    tool_call_id: Some(block["tool_use_id"].as_str()?.to_owned()),
                    ..message(Role::Tool, Some(content))
                });
            }
            _ => return None,
        }
    }
    if !parts.is_empty() {
        let role = if results.is_empty() { Role::User } else { Role::System };
        results.insert(0, message(role, Some(Content::Parts(parts))));
    }
    Some(results)
}

fn assistant(blocks: &[Value]) -> Option<Vec<Message>> {
    let mut said = message(Role::Assistant, None);
    let mut parts = Vec::new();
    let mut calls = Vec::new();
    for block in blocks {
        match block["type"].as_str()? {
            "text" => parts.push(text_part(block)?),
            "thinking" => said.reasoning_content = Some(block["thinking"].as_str()?.to_owned()),
            "redacted_thinking" => {}
            "tool_use" => calls.push(ToolCall {
                id: block["id"].as_str()?.to_owned(),
                function: CalledFunction {
                    name: block["name"].as_str()?.to_owned(),
                    arguments: block["input"].to_string(),
                },
            }),
            _ => return None,
        }
    }
    said.content = (!parts.is_empty()).then_some(Content::Parts(parts));
    said.tool_calls = (!calls.is_empty()).then_some(calls);
    Some(vec![said])
}
