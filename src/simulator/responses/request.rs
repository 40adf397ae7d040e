//! What `/v1/responses` takes, made into what the model understands.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::chat::{
    CalledFunction, ChatRequest, Content, Function, ImageUrl, JsonSchema, Message, NamedFunction, Part, ResponseFormat,
    Role, Tool, ToolCall, ToolChoice, ToolMode, Unreadable,
};

/// Tools that run with the upstream itself.
const SERVER_TOOLS: [&str; 9] = [
    "web_search",
    "x_search",
    "file_search",
    "code_interpreter",
    "code_execution",
    "mcp",
    "image_generation",
    "shell",
    "tool_search",
];

/// The request. Unknown fields are ignored, wrong types are refused.
#[derive(Debug, Deserialize)]
pub struct ResponsesRequest {
    pub model: Option<String>,
    pub input: Input,
    pub instructions: Option<String>,
    pub previous_response_id: Option<String>,
    pub store: Option<bool>,
    pub stream: Option<bool>,
    pub max_output_tokens: Option<i32>,
    pub max_tokens: Option<i32>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub reasoning: Option<Reasoning>,
    pub reasoning_effort: Option<String>,
    pub text: Option<TextOptions>,
    pub tools: Option<Vec<Value>>,
    pub tool_choice: Option<Value>,
    pub parallel_tool_calls: Option<bool>,
    pub include: Option<Vec<String>>,
    pub service_tier: Option<String>,
    pub prompt_cache_key: Option<String>,
    pub user: Option<String>,
    pub background: Option<bool>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Input {
    Text(String),
    Items(Vec<Value>),
}

/// How to think.
#[derive(Debug, Default, Deserialize)]
pub struct Reasoning {
    pub effort: Option<String>,
    pub summary: Option<String>,
}

/// The form of the answer.
#[derive(Debug, Deserialize)]
pub struct TextOptions {
    pub format: Option<Value>,
}

impl Input {
    /// Items, a text as the message that it is short for.
    pub fn items(&self) -> Vec<Value> {
        match self {
            Input::Text(text) => {
                vec![json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})]
            }
            Input::Items(items) => items.clone(),
        }
    }
}

impl ResponsesRequest {
    /// The level of thinking asked for.
    pub fn effort(&self) -> Option<&str> {
        let inside = self
            .reasoning
            .as_ref()
            .and_then(|reasoning| reasoning.effort.as_deref());
        inside.or(self.reasoning_effort.as_deref())
    }

    /// Whether sealed thinking is to be shown.
    pub fn wants_sealed(&self) -> bool {
        self.include
            .iter()
            .flatten()
            .any(|wish| wish == "reasoning.encrypted_content")
    }

    /// The conversation of these items as a chat.
    ///
    /// # Errors
    /// What no variant of the API's types takes.
    pub fn chat(&self, items: &[Value]) -> Result<ChatRequest, Unreadable> {
        let mut messages = Vec::new();
        if let Some(text) = &self.instructions {
            messages.push(message(Role::System, Content::Text(text.clone())));
        }
        for (index, item) in items.iter().enumerate() {
            let read = read_item(item).ok_or_else(|| {
                Unreadable::Type(format!(
                    "input[{index}]: data did not match any variant of untagged enum ModelInputItem"
                ))
            })?;
            messages.extend(read);
        }
        let mut tools = Vec::new();
        for (index, tool) in self.tools.iter().flatten().enumerate() {
            let kind = tool["type"].as_str().unwrap_or_default();
            match kind {
                "function" => tools.push(Tool::Function {
                    function: serde_json::from_value::<Function>(tool.clone())
                        .map_err(|error| Unreadable::Type(format!("tools[{index}]: {error}")))?,
                }),
                kind if SERVER_TOOLS.contains(&kind) => {}
                kind => {
                    return Err(Unreadable::Type(format!(
                        "tools[{index}].type: unknown variant `{kind}`, expected one of `function`, `web_search`, …"
                    )));
                }
            }
        }
        let format = self.text.as_ref().and_then(|text| text.format.as_ref());
        Ok(ChatRequest {
            model: self.model.clone(),
            messages,
            stream: self.stream,
            temperature: self.temperature,
            top_p: self.top_p,
            max_completion_tokens: self.max_output_tokens,
            tools: (!tools.is_empty()).then_some(tools),
            tool_choice: self.tool_choice.as_ref().and_then(choice),
            parallel_tool_calls: self.parallel_tool_calls,
            response_format: format.and_then(response_format),
            reasoning_effort: self.effort().map(str::to_owned),
            service_tier: self.service_tier.clone(),
            prompt_cache_key: self.prompt_cache_key.clone(),
            ..ChatRequest::default()
        })
    }
}

fn choice(wish: &Value) -> Option<ToolChoice> {
    match wish {
        Value::String(word) => Some(ToolChoice::Mode(match word.as_str() {
            "none" => ToolMode::None,
            "required" => ToolMode::Required,
            _ => ToolMode::Auto,
        })),
        other => Some(ToolChoice::Named {
            function: NamedFunction {
                name: other["name"].as_str()?.to_owned(),
            },
        }),
    }
}

fn response_format(format: &Value) -> Option<ResponseFormat> {
    match format["type"].as_str()? {
        "json_object" => Some(ResponseFormat::JsonObject),
        "json_schema" => Some(ResponseFormat::JsonSchema {
            json_schema: JsonSchema {
                schema: format.get("schema").cloned(),
            },
        }),
        _ => Some(ResponseFormat::Text),
    }
}

fn message(role: Role, content: Content) -> Message {
    Message {
        role,
        content: Some(content),
        name: None,
        reasoning_content: None,
        tool_calls: None,
        tool_call_id: None,
    }
}

/// The messages that an item stands for; `None`: it is no item.
fn read_item(item: &Value) -> Option<Vec<Message>> {
    let kind = item.get("type").map_or(Some("message"), Value::as_str)?;
    Some(match kind {
        "message" => {
            let role = match item["role"].as_str()? {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" | "developer" => Role::System,
                _ => return None,
            };
            vec![message(role, read_content(&item["content"])?)]
        }
        "function_call" => vec![Message {
            tool_calls: Some(vec![ToolCall {
                id: item["call_id"].as_str()?.to_owned(),
                function: CalledFunction {
                    name: item["name"].as_str()?.to_owned(),
                    arguments: item["arguments"].as_str()?.to_owned(),
                },
            }]),
            content: None,
            ..message(Role::Assistant, Content::Text(String::new()))
        }],
        "function_call_output" => vec![Message {
            tool_call_id: Some(item["call_id"].as_str()?.to_owned()),
            ..message(Role::Tool, read_content(&item["output"])?)
        }],
        // What its maker sealed says nothing to whoever reads the items.
        "reasoning"
        | "compaction"
        | "web_search_call"
        | "file_search_call"
        | "code_interpreter_call"
        | "mcp_call"
        | "image_generation_call"
        | "shell_call"
        | "custom_tool_call"
        | "custom_tool_call_output" => Vec::new(),
        _ => return None,
    })
}

fn read_content(content: &Value) -> Option<Content> {
    match content {
        Value::String(text) => Some(Content::Text(text.clone())),
        Value::Array(parts) => {
            let parts: Option<Vec<Part>> = parts.iter().map(read_part).collect();
            Some(Content::Parts(parts?))
        }
        _ => None,
    }
}

fn read_part(part: &Value) -> Option<Part> {
    Some(match part["type"].as_str()? {
        "input_text" | "output_text" | "text" => Part::Text {
            text: part["text"].as_str()?.to_owned(),
        },
        "refusal" => Part::Text {
            text: part["refusal"].as_str()?.to_owned(),
        },
        "input_image" if part["image_url"].is_string() => Part::ImageUrl {
            image_url: ImageUrl {
                url: part["image_url"].as_str()?.to_owned(),
                detail: part["detail"].as_str().map(str::to_owned),
            },
        },
        "input_image" | "input_file" => Part::File { file: part.clone() },
        _ => return None,
    })
}
