//! Turns chat requests into requests for a response. What has no counterpart there and would change the answer is refused
//! by name; what nobody here knows goes on as it came.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::engine::error::GatewayError;
use crate::fronts::members::clip;

/// What a request is asked with upstream, beside what it says itself.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The upstream's name of the model.
    pub model: &'a str,
    /// Whether events are wanted.
    pub stream: bool,
    /// Most output tokens, if there is a bound.
    pub max_output: Option<u64>,
}

/// Members that are read here, and do not go on under their names.
const READ: [&str; 21] = [
    "messages",
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "response_format",
    "reasoning_effort",
    "n",
    "deferred",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "store",
];

/// The body for the upstream.
///
/// # Errors
/// 400 naming what this model cannot be asked.
pub fn of_chat(body: &[u8], terms: Terms<'_>) -> Result<Bytes, GatewayError> {
    let members = object(body)?;
    refuse_what_has_no_counterpart(&members)?;
    let mut asked = Map::new();
    for (name, value) in &members {
        if !READ.contains(&name.as_str()) && !value.is_null() {
            asked.insert(name.clone(), value.clone());
        }
    }
    terms.put(&mut asked);
    let mut input = Vec::new();
    let messages = members.get("messages").and_then(Value::as_array);
    for (at, message) in messages.into_iter().flatten().enumerate() {
        items(at, message, &mut input)?;
    }
    asked.insert("input".to_owned(), input.into());
    if let Some(tools) = given(&members, "tools").and_then(Value::as_array) {
        let flat = tools.iter().map(|tool| flattened(tool, "function"));
        asked.insert("tools".to_owned(), flat.collect());
    }
    if let Some(choice) = given(&members, "tool_choice") {
        asked.insert("tool_choice".to_owned(), flattened(choice, "function"));
    }
    if let Some(format) = given(&members, "response_format") {
        asked.insert("text".to_owned(), json!({"format": flattened(format, "json_schema")}));
    }
    if let Some(effort) = given(&members, "reasoning_effort") {
        asked.insert("reasoning".to_owned(), json!({ "effort": effort }));
    }
    Ok(Bytes::from(Value::Object(asked).to_string()))
}

impl Terms<'_> {
    /// Nothing is kept upstream: the client has no id by which it could ask for it.
    pub(super) fn put(&self, asked: &mut Map<String, Value>) {
        asked.insert("model".to_owned(), self.model.into());
        asked.insert("stream".to_owned(), self.stream.into());
        asked.insert("store".to_owned(), false.into());
        if let Some(most) = self.max_output {
            asked.insert("max_output_tokens".to_owned(), most.into());
        }
    }
}

/// The members of a body that is known to be JSON.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, GatewayError> {
    serde_json::from_slice(body).map_err(|error| GatewayError::internal(error.to_string()))
}

/// A member that is there and not null.
pub(super) fn given<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

pub(super) fn unsupported(field: String, what: &str) -> GatewayError {
    GatewayError::field(
        field,
        format!("This model is served over Responses, which have no {what}: leave it out, or ask another model."),
    )
    .with_code("unsupported_parameter")
}

fn refuse_what_has_no_counterpart(members: &Map<String, Value>) -> Result<(), GatewayError> {
    let is_neutral = |name: &str, value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(if name == "n" { 1.0 } else { 0.0 }),
        Value::Array(items) => items.is_empty() || (name == "modalities" && *items == [json!("text")]),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) => false,
    };
    for (name, what) in [
        ("n", "second answers (`n`)"),
        ("deferred", "deferred answers"),
        ("stop", "stop sequences"),
        ("presence_penalty", "penalties"),
        ("frequency_penalty", "penalties"),
        ("logit_bias", "`logit_bias`"),
        ("functions", "`functions`; `tools` are taken"),
        ("function_call", "`function_call`; `tool_choice` is taken"),
        ("modalities", "sound"),
        ("audio", "sound"),
    ] {
        if members.get(name).is_some_and(|value| !is_neutral(name, value)) {
            return Err(unsupported(name.to_owned(), what));
        }
    }
    Ok(())
}

/// `{"type": T, T: {…}}` as `{"type": T, …}`.
fn flattened(nested: &Value, inner: &str) -> Value {
    match (nested.get("type"), nested.get(inner)) {
        (Some(kind), Some(Value::Object(inner))) => {
            let mut flat = inner.clone();
            flat.insert("type".to_owned(), kind.clone());
            Value::Object(flat)
        }
        _ => nested.clone(),
    }
}

fn items(at: usize, message: &Value, input: &mut Vec<Value>) -> Result<(), GatewayError> {
    let member = |name: &str| message.get(name).filter(|value| !value.is_null());
    let role = member("role").and_then(Value::as_str).unwrap_or_default();
    match role {
        "system" | "developer" | "user" => {
            let content = content(at, member("content"), "input_text")?;
            input.push(json!({"role": role, "content": content}));
        }
        "assistant" => {
            let said = content(at, member("content"), "output_text")?;
            let is_empty = matches!(&said, Value::String(text) if text.is_empty())
                || matches!(&said, Value::Array(parts) if parts.is_empty());
            if !is_empty {
                input.push(json!({"role": "assistant", "content": said}));
            }
            for call in member("tool_calls").and_then(Value::as_array).into_iter().flatten() {
                let function = &call["function"];
                input.push(json!({
                    "type": "function_call", "call_id": call["id"], "name": function["name"],
                    "arguments": function["arguments"],
                }));
            }
        }
        "tool" => {
            let output = match content(at, member("content"), "input_text")? {
                text @ Value::String(_) => text,
                parts => json!(texts(&parts)),
            };
            input.push(json!({"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}));
        }
        other => {
            return Err(unsupported(
                format!("messages.{at}.role"),
                &format!("messages of the role `{}`", clip(other)),
            ));
        }
    }
    Ok(())
}

/// The texts of parts, one below the other.
pub(super) fn texts(parts: &Value) -> String {
    let texts = parts.as_array().into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(|part| part["text"].as_str()).collect();
    texts.join("\n")
}

fn content(at: usize, content: Option<&Value>, text: &str) -> Result<Value, GatewayError> {
    let parts = match content {
        None => return Ok(json!("")),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Ok(other.clone()),
    };
    let turned = parts.iter().enumerate().map(|(index, part)| {
        let place = || format!("messages.{at}.content.{index}");
        match part["type"].as_str().unwrap_or_default() {
            "text" => Ok(json!({"type": text, "text": part["text"]})),
            "refusal" => Ok(json!({"type": text, "text": part["refusal"]})),
            "image_url" if text == "input_text" => {
                let image = &part["image_url"];
                let url = image.get("url").unwrap_or(image);
                let detail = image.get("detail").cloned().unwrap_or(json!("auto"));
                Ok(json!({"type": "input_image", "image_url": url, "detail": detail}))
            }
            other => Err(unsupported(
                place(),
                &format!("parts of the type `{}` in chat", clip(other)),
            )),
        }
    });
    turned.collect()
}
