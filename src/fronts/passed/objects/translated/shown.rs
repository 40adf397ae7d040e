//! Batches and their results in OpenAI's shape.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Remembered;
use super::lines::Endpoint;
use super::results::File;

/// Unix seconds of a time of the upstream, which writes RFC 3339 or seconds.
fn seconds(time: &Value) -> Option<u64> {
    match time {
        Value::Number(_) => time.as_u64(),
        Value::String(text) => text.parse().ok().or_else(|| {
            let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            u64::try_from(at.unix_timestamp()).ok()
        }),
        _ => None,
    }
}

/// How far a batch is.
pub(super) fn status(shown: &Value, now_ms: u64) -> &'static str {
    let count = |name: &str| shown["state"][name].as_u64().unwrap_or(0);
    let (all, pending) = (count("num_requests"), count("num_pending"));
    match (seconds(&shown["cancel_time"]), seconds(&shown["expire_time"])) {
        (Some(_), _) if pending > 0 => "cancelling",
        (Some(_), _) => "cancelled",
        _ if all > 0 && pending == 0 => "completed",
        (_, Some(end)) if end * 1000 <= now_ms => "expired",
        _ => "in_progress",
    }
}

/// The upstream's batch, as OpenAI's clients know one. What was not asked for in their form has no file and no endpoint.
pub(in super::super) fn batch(id: &str, shown: &Value, asked: Option<&Remembered>, now_ms: u64) -> Value {
    let count = |name: &str| shown["state"][name].as_u64().unwrap_or(0);
    let status = status(shown, now_ms);
    let mut batch = json!({
        "id": id,
        "object": "batch",
        "endpoint": asked.map_or("", |asked| asked.endpoint.path()),
        "input_file_id": asked.map_or("", |asked| asked.input_file_id.as_str()),
        "completion_window": asked.map_or("24h", |asked| asked.completion_window.as_str()),
        "status": status,
        "created_at": asked.map(|asked| asked.created_at).or_else(|| seconds(&shown["create_time"])).unwrap_or(0),
        "request_counts": {
            "total": count("num_requests"), "completed": count("num_success"), "failed": count("num_error"),
        },
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            batch[name] = value;
        }
    };
    set("expires_at", seconds(&shown["expire_time"]).map(Value::from));
    set("cancelling_at", seconds(&shown["cancel_time"]).map(Value::from));
    if let Some(asked) = asked {
        set("metadata", asked.metadata.as_ref().map(|pairs| json!(pairs)));
        if matches!(status, "completed" | "cancelled" | "expired") {
            let file = |file: File, count: u64| (count > 0).then(|| file.id(id).into());
            set("output_file_id", file(File::Output, count("num_success")));
            set("error_file_id", file(File::Errors, count("num_error")));
        }
    }
    batch
}

/// A batch in the form that it was asked for.
pub(in super::super) fn merged(id: &str, body: &[u8], asked: &Remembered, now_ms: u64) -> Option<bytes::Bytes> {
    let shown: Value = serde_json::from_slice(body).ok()?;
    Some(bytes::Bytes::from(batch(id, &shown, Some(asked), now_ms).to_string()))
}

/// What came of a call, as a line of the file that it belongs to; and which that is.
pub(super) fn line(result: &Value, endpoint: Endpoint) -> (File, String) {
    let custom_id = result["batch_request_id"].as_str().unwrap_or_default();
    let id = format!("batch_req_{custom_id}");
    let response = result["batch_result"]["response"]
        .as_object()
        .and_then(|kinds| kinds.iter().next());
    let Some((kind, body)) = response else {
        let error = &result["batch_result"]["error"];
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let message = text(&error["message"]).or_else(|| text(&result["error_message"]));
        let line = json!({
            "id": id, "custom_id": custom_id, "response": null,
            "error": {
                "code": text(&error["code"]).unwrap_or_else(|| "batch_request_failed".to_owned()),
                "message": message.unwrap_or_else(|| "The upstream gave no reason.".to_owned()),
            },
        });
        return (File::Errors, line.to_string());
    };
    // Answers of Responses come as chat completions.
    let body = match endpoint {
        Endpoint::Responses if kind == "chat_get_completion" => response_of_chat(body),
        _ => body.clone(),
    };
    let line = json!({
        "id": id, "custom_id": custom_id, "error": null,
        "response": {"status_code": 200, "request_id": body["id"].as_str().unwrap_or(&id), "body": body},
    });
    (File::Output, line.to_string())
}

/// A chat completion as a response.
fn response_of_chat(chat: &Value) -> Value {
    let choice = &chat["choices"][0];
    let message = &choice["message"];
    let id = chat["id"].as_str().unwrap_or_default();
    let why = match choice["finish_reason"].as_str() {
        Some("length") => Some("max_output_tokens"),
        Some("content_filter") => Some("content_filter"),
        _ => None,
    };
    let status = if why.is_some() { "incomplete" } else { "completed" };
    let mut output = Vec::new();
    if let Some(thought) = message["reasoning_content"].as_str().filter(|text| !text.is_empty()) {
        output.push(json!({
            "type": "reasoning", "id": format!("rs_{id}"), "summary": [{"type": "summary_text", "text": thought}],
        }));
    }
    let mut content = Vec::new();
    if let Some(text) = message["content"].as_str().filter(|text| !text.is_empty()) {
        content.push(json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}));
    }
    if let Some(text) = message["refusal"].as_str().filter(|text| !text.is_empty()) {
        content.push(json!({"type": "refusal", "refusal": text}));
    }
    if !content.is_empty() {
        output.push(json!({
            "type": "message", "id": format!("msg_{id}"), "role": "assistant", "status": status, "content": content,
        }));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        output.push(json!({
            "type": "function_call", "id": format!("fc_{}", call["id"].as_str().unwrap_or_default()),
            "call_id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"],
            "status": "completed",
        }));
    }
    let counted = &chat["usage"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let reasoning = number(&counted["completion_tokens_details"]["reasoning_tokens"]);
    let input = number(&counted["prompt_tokens"]);
    // Chat counts reasoning beside what is written, Responses within.
    let written = number(&counted["completion_tokens"]) + reasoning;
    let mut usage = Map::new();
    for (name, value) in [
        ("input_tokens", json!(input)),
        (
            "input_tokens_details",
            json!({"cached_tokens": number(&counted["prompt_tokens_details"]["cached_tokens"])}),
        ),
        ("output_tokens", json!(written)),
        ("output_tokens_details", json!({"reasoning_tokens": reasoning})),
        (
            "total_tokens",
            json!(counted["total_tokens"].as_u64().unwrap_or(input + written)),
        ),
    ] {
        usage.insert(name.to_owned(), value);
    }
    if counted["cost_in_usd_ticks"].is_u64() {
        usage.insert("cost_in_usd_ticks".to_owned(), counted["cost_in_usd_ticks"].clone());
    }
    json!({
        "id": id, "object": "response", "created_at": chat["created"], "model": chat["model"], "status": status,
        "output": output, "usage": usage, "error": null,
        "incomplete_details": why.map(|reason| json!({"reason": reason})),
        "instructions": null, "metadata": {}, "parallel_tool_calls": true, "temperature": null, "top_p": null,
        "tool_choice": "auto", "tools": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_batch_is_follows_from_its_counts() {
        let shown = |all: u64, pending: u64, cancel: Option<&str>, expire: Option<&str>| {
            json!({
                "cancel_time": cancel, "expire_time": expire, "state": {"num_requests": all, "num_pending": pending},
            })
        };
        let past = Some("2026-01-01T00:00:00Z");
        let now_ms = 1_790_000_000_000;
        for (batch, expected) in [
            (shown(0, 0, None, None), "in_progress"),
            (shown(3, 1, None, None), "in_progress"),
            (shown(3, 1, None, Some("2126-01-01T00:00:00Z")), "in_progress"),
            (shown(3, 1, None, past), "expired"),
            (shown(3, 0, None, past), "completed"),
            (shown(3, 1, past, None), "cancelling"),
            (shown(3, 0, past, None), "cancelled"),
        ] {
            assert_eq!(status(&batch, now_ms), expected, "{batch}");
        }
        assert_eq!(seconds(&json!("1767225600")), seconds(&json!("2026-01-01T00:00:00.5Z")));
    }

    #[test]
    fn an_answer_and_a_failure_go_to_their_files() {
        let chat = json!({
            "id": "c1", "created": 5, "model": "m",
            "choices": [{"finish_reason": "length", "message": {
                "content": "Hi", "reasoning_content": "Hm",
                "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}],
            }}],
            "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 3}},
        });
        let result = json!({"batch_request_id": "a", "batch_result": {"response": {"chat_get_completion": chat}}});
        let (file, text) = line(&result, Endpoint::Chat);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((file, &read["response"]["body"]), (File::Output, &chat));
        let (_, text) = line(&result, Endpoint::Responses);
        let read: Value = serde_json::from_str(&text).unwrap();
        let body = &read["response"]["body"];
        let kinds: Vec<&str> = body["output"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["reasoning", "message", "function_call"]);
        assert_eq!(
            (&body["status"], &body["usage"]["output_tokens"]),
            (&json!("incomplete"), &json!(5))
        );
        for failed in [
            json!({"batch_request_id": "b", "batch_result": {"error": {"code": 400, "message": "Bad"}}}),
            json!({"batch_request_id": "b", "error_message": "Bad"}),
        ] {
            let (file, text) = line(&failed, Endpoint::Chat);
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (file, &read["error"]["message"]),
                (File::Errors, &json!("Bad")),
                "{text}"
            );
            assert_eq!((&read["custom_id"], &read["response"]), (&json!("b"), &Value::Null));
        }
    }
}
