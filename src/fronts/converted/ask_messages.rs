//! Turns requests for messages into requests for a response.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::ask_chat::{Terms, given, object, texts, unsupported};
use crate::engine::error::GatewayError;
use crate::fronts::members::clip;

/// Members that have a counterpart of the same name.
const SAME: [&str; 3] = ["temperature", "top_p", "prompt_cache_key"];

/// The body for the upstream.
///
/// # Errors
/// 400 naming what this model cannot be asked.
pub fn of_messages(body: &[u8], terms: Terms<'_>) -> Result<Bytes, GatewayError> {
    let members = object(body)?;
    if given(&members, "stop_sequences").is_some_and(|stops| *stops != json!([])) {
        return Err(unsupported("stop_sequences".to_owned(), "stop sequences"));
    }
    let mut asked = Map::new();
    for name in SAME {
        if let Some(value) = given(&members, name) {
            asked.insert(name.to_owned(), value.clone());
        }
    }
    terms.put(&mut asked);
    match given(&members, "system") {
        Some(text @ Value::String(_)) => asked.insert("instructions".to_owned(), text.clone()),
        Some(blocks) => asked.insert("instructions".to_owned(), texts(blocks).into()),
        None => None,
    };
    if let Some(user) = members.get("metadata").and_then(|about| about["user_id"].as_str()) {
        asked.insert("user".to_owned(), user.into());
    }
    let mut input = Vec::new();
    let messages = members.get("messages").and_then(Value::as_array);
    for (at, message) in messages.into_iter().flatten().enumerate() {
        items(at, message, &mut input)?;
    }
    asked.insert("input".to_owned(), input.into());
    if let Some(tools) = given(&members, "tools").and_then(Value::as_array) {
        asked.insert("tools".to_owned(), tools.iter().map(tool).collect());
    }
    if let Some(choice) = given(&members, "tool_choice") {
        let turned = match choice["type"].as_str().unwrap_or_default() {
            "any" => json!("required"),
            "tool" => json!({"type": "function", "name": choice["name"]}),
            other => json!(other),
        };
        asked.insert("tool_choice".to_owned(), turned);
        if choice["disable_parallel_tool_use"] == true {
            asked.insert("parallel_tool_calls".to_owned(), false.into());
        }
    }
    Ok(Bytes::from(Value::Object(asked).to_string()))
}

fn tool(tool: &Value) -> Value {
    if tool.get("input_schema").is_none() {
        return tool.clone();
    }
    let mut turned = json!({"type": "function", "name": tool["name"], "parameters": tool["input_schema"]});
    if let Some(description) = tool.get("description") {
        turned["description"] = description.clone();
    }
    turned
}

/// A message as items: what is said stays together, calls and their results stand by themselves.
fn items(at: usize, message: &Value, input: &mut Vec<Value>) -> Result<(), GatewayError> {
    let role = message["role"].as_str().unwrap_or_default();
    let text = match role {
        "user" => "input_text",
        "assistant" => "output_text",
        other => {
            return Err(unsupported(
                format!("messages.{at}.role"),
                &format!("messages of the role `{}`", clip(other)),
            ));
        }
    };
    let blocks = match &message["content"] {
        Value::Array(blocks) => blocks,
        content => {
            input.push(json!({"role": role, "content": content}));
            return Ok(());
        }
    };
    let mut said: Vec<Value> = Vec::new();
    let flush = |said: &mut Vec<Value>, input: &mut Vec<Value>| {
        if !said.is_empty() {
            input.push(json!({"role": role, "content": std::mem::take(said)}));
        }
    };
    for (index, block) in blocks.iter().enumerate() {
        match block["type"].as_str().unwrap_or_default() {
            "text" => said.push(json!({"type": text, "text": block["text"]})),
            "image" if role == "user" => said.push(picture(&block["source"])),
            "tool_use" => {
                flush(&mut said, input);
                input.push(json!({
                    "type": "function_call", "call_id": block["id"], "name": block["name"],
                    "arguments": block["input"].to_string(),
                }));
            }
            "tool_result" => {
                flush(&mut said, input);
                let output = match &block["content"] {
                    Value::Null => json!(""),
                    Value::Array(_) => json!(texts(&block["content"])),
                    text => text.clone(),
                };
                input.push(json!({"type": "function_call_output", "call_id": block["tool_use_id"], "output": output}));
            }
            // It bears no signature of the upstream's: the model thinks anew.
            "thinking" | "redacted_thinking" => {}
            other => {
                return Err(unsupported(
                    format!("messages.{at}.content.{index}"),
                    &format!("blocks of the type `{}`", clip(other)),
                ));
            }
        }
    }
    flush(&mut said, input);
    Ok(())
}

fn picture(source: &Value) -> Value {
    let url = match source["type"].as_str() {
        Some("base64") => json!(format!(
            "data:{};base64,{}",
            source["media_type"].as_str().unwrap_or("image/png"),
            source["data"].as_str().unwrap_or_default()
        )),
        _ => source["url"].clone(),
    };
    json!({"type": "input_image", "image_url": url, "detail": "auto"})
}
