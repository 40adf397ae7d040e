//! The matrix: what was recorded × the dialects it is turned into, and what clients ask × the request that is made of it.
//! `UPDATE_GOLDEN=1` writes the golden files anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::engine::dialect::Step;
use crate::fronts::members::Members;

pub(super) const TARGETS: [(&str, Target); 4] = [
    ("chat", Target::Chat { keep_usage: true }),
    ("chat-without-usage", Target::Chat { keep_usage: false }),
    ("messages", Target::Messages),
    ("responses", Target::Responses),
];

pub(super) fn golden(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/fronts/converted/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == made, "{name} is not what it was:\n{made}");
}

/// The stream with the members of every object in the order of their names: another build may write them in another.
pub(super) fn in_order(stream: &str) -> String {
    let lines = stream.lines().map(|line| match line.strip_prefix("data: {") {
        None => format!("{line}\n"),
        Some(rest) => {
            let value: Value = serde_json::from_str(&format!("{{{rest}")).unwrap();
            let spread = crate::documents::text(value);
            let joined: Vec<&str> = spread.lines().map(str::trim).collect();
            format!("data: {}\n", joined.join(" "))
        }
    });
    lines.collect()
}

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recordings");
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .display()
                .to_string()
                .starts_with("responses-")
        })
        .collect();
    found.sort();
    found
}

fn stream_of(payloads: &[&str]) -> String {
    let events = payloads.iter().map(|data| {
        let value: Value = serde_json::from_str(data).unwrap();
        format!("event: {}\ndata: {data}\n\n", value["type"].as_str().unwrap())
    });
    events.collect()
}

fn converted(target: Target, stream: &str, piece: usize) -> (String, &'static str) {
    relayed(ConvertedDialect(target, Responses), stream, piece)
}

/// What comes out, and how it ends.
pub(super) fn relayed<S: Source>(dialect: ConvertedDialect<S>, stream: &str, piece: usize) -> (String, &'static str) {
    let mut relay = dialect.relay(Box::new(|_, _| None));
    let mut steps = Vec::new();
    for chunk in stream.as_bytes().chunks(piece) {
        relay.push(Bytes::copy_from_slice(chunk), &mut steps);
    }
    relay.end(true, &mut steps);
    let (mut text, mut end) = (String::new(), "nothing");
    for step in steps {
        match step {
            Step::Send(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            Step::Done(bytes) => {
                text.push_str(std::str::from_utf8(&bytes).unwrap());
                end = "done";
            }
            Step::Cut => end = "cut",
            Step::Fault(_) => end = "fault",
            Step::TooLarge(_) => end = "too large",
        }
    }
    (text, end)
}

#[test]
fn each_recording_becomes_what_it_became_in_every_dialect() {
    for path in fixtures() {
        let text = std::fs::read_to_string(&path).unwrap();
        let payloads: Vec<&str> = text.lines().collect();
        let stream = stream_of(&payloads);
        let name = path
            .file_name()
            .unwrap()
            .display()
            .to_string()
            .replace(".chunks.txt", "");
        for (dialect, target) in TARGETS {
            let (made, end) = converted(target, &stream, stream.len());
            for piece in [1, 7, 100] {
                assert_eq!(
                    converted(target, &stream, piece),
                    (made.clone(), end),
                    "{name}: pieces of {piece}"
                );
            }
            golden(
                &format!("{name}.{dialect}.txt"),
                &format!("{}({end})\n", in_order(&made)),
            );
        }
    }
}

#[test]
fn a_recording_that_breaks_off_is_cut_after_what_came_whole() {
    for path in fixtures() {
        let text = std::fs::read_to_string(&path).unwrap();
        let payloads: Vec<&str> = text.lines().collect();
        for (_, target) in TARGETS {
            let (whole, _) = converted(target, &stream_of(&payloads), usize::MAX);
            for kept in 0..payloads.len() {
                let stream = format!("{}event: x\ndata: {{\"type\":", stream_of(&payloads[..kept]));
                let (made, end) = converted(target, &stream, usize::MAX);
                assert_eq!(end, "cut", "{} after {kept}", path.display());
                assert!(whole.starts_with(&made), "{} after {kept}: {made}", path.display());
            }
        }
    }
}

/// The text, the thoughts, the calls and the reason of an answer, from whichever dialect.
pub(super) fn meaning(target: Target, answer: &Value) -> Value {
    match target {
        Target::Chat { .. } => {
            let message = &answer["choices"][0]["message"];
            let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
            let calls: Vec<Value> = calls
                .iter()
                .map(|call| json!([call["id"], call["function"]["name"]]))
                .collect();
            json!([
                message["content"],
                message["reasoning_content"].as_str().unwrap_or(""),
                calls
            ])
        }
        Target::Messages => {
            let blocks = answer["content"].as_array().unwrap();
            let join = |kind: &str| -> String {
                blocks
                    .iter()
                    .filter(|block| block["type"] == kind)
                    .filter_map(|block| block[kind].as_str())
                    .collect()
            };
            let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
            let calls: Vec<Value> = calls.map(|call| json!([call["id"], call["name"]])).collect();
            json!([join("text"), join("thinking"), calls])
        }
        Target::Responses => {
            let items = answer["output"].as_array().unwrap();
            let join = |kind: &str, parts: &str| -> String {
                let items = items.iter().filter(|item| item["type"] == kind);
                let parts = items.flat_map(|item| item[parts].as_array().unwrap());
                parts.filter_map(|part| part["text"].as_str()).collect()
            };
            let calls = items.iter().filter(|item| item["type"] == "function_call");
            let calls: Vec<Value> = calls.map(|call| json!([call["call_id"], call["name"]])).collect();
            json!([join("message", "content"), join("reasoning", "summary"), calls])
        }
    }
}

#[test]
fn the_last_event_in_one_piece_means_what_the_stream_said() {
    for path in fixtures() {
        let text = std::fs::read_to_string(&path).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let whole = last["response"].to_string();
        let name = path
            .file_name()
            .unwrap()
            .display()
            .to_string()
            .replace(".chunks.txt", "");
        if last["type"] == "response.failed" {
            assert!(hearing::whole(whole.as_bytes()).is_err());
            continue;
        }
        let mut meanings = Vec::new();
        for (dialect, target) in [TARGETS[0], TARGETS[2], TARGETS[3]] {
            let dialect_of = ConvertedDialect(target, Responses);
            let answer: Value = serde_json::from_slice(&dialect_of.whole(whole.as_bytes()).unwrap()).unwrap();
            meanings.push(meaning(target, &answer));
            golden(&format!("{name}.{dialect}.whole.json"), &crate::documents::text(answer));
        }
        assert_eq!(meanings[0], meanings[1], "{name}: the dialects say the same");
        assert_eq!(meanings[0], meanings[2], "{name}: the dialects say the same");
        let written = last["response"]["output"].to_string();
        for text in [&meanings[0][0], &meanings[0][1]] {
            let text = text.to_string();
            assert!(written.contains(text.trim_matches('"')), "{name}: {text}");
        }
    }
}

#[test]
fn requests_are_turned_into_what_they_were() {
    let terms = Terms {
        model: "grok-4.20-multi-agent-0309",
        stream: true,
        max_output: Some(500),
    };
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let chat = json!({
        "model": "x", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 900, "temperature": 0.5,
        "reasoning_effort": "high", "user": "me", "seed": 7, "n": 1, "stop": null, "presence_penalty": 0, "store": true,
        "response_format": {"type": "json_schema", "json_schema": {"name": "city", "strict": true, "schema": schema}},
        "tools": [{"type": "function", "function": {"name": "get_weather", "description": "w", "parameters": schema}},
                  {"type": "web_search"}],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [
                {"type": "text", "text": "Where?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}]},
            {"role": "assistant", "content": null, "reasoning_content": "hm",
             "tool_calls": [{"id": "call_7", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_7", "content": [{"type": "text", "text": "sunny"}]},
            {"role": "assistant", "content": "There."},
        ],
    });
    let messages = json!({
        "model": "x", "stream": true, "max_tokens": 900, "temperature": 0.5, "metadata": {"user_id": "me"},
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "stop_sequences": [], "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "get_weather", "description": "w", "input_schema": schema}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_7", "name": "get_weather", "input": {"city": "Ås"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_7", "content": [{"type": "text", "text": "sunny"}]},
                {"type": "text", "text": "And this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
        ],
    });
    let mut made = String::new();
    for (name, body) in [
        ("chat", of_chat(chat.to_string().as_bytes(), terms).unwrap()),
        ("messages", of_messages(messages.to_string().as_bytes(), terms).unwrap()),
    ] {
        // What is made is a request that the other front itself takes.
        Members::read(&body).unwrap().model().unwrap();
        let value: Value = serde_json::from_slice(&body).unwrap();
        writeln!(made, "{name}: {}", crate::documents::text(value)).unwrap();
    }
    golden("requests.txt", &made);
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let terms = Terms {
        model: "m",
        stream: false,
        max_output: None,
    };
    let hello = json!([{"role": "user", "content": "Hello"}]);
    for (member, value) in [
        ("n", json!(2)),
        ("deferred", json!(true)),
        ("stop", json!(["a"])),
        ("stop", json!("a")),
        ("presence_penalty", json!(0.5)),
        ("frequency_penalty", json!(-1)),
        ("logit_bias", json!({"1": 2})),
        ("functions", json!([{}])),
        ("modalities", json!(["text", "audio"])),
    ] {
        let body = json!({"messages": hello, member: value}).to_string();
        let error = of_chat(body.as_bytes(), terms).unwrap_err();
        assert_eq!(
            (error.http_status(), error.param.as_deref()),
            (400, Some(member)),
            "{body}"
        );
    }
    let file = json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]});
    let error = of_chat(file.to_string().as_bytes(), terms).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("messages.0.content.0"));
    let stops = json!({"messages": hello, "stop_sequences": ["a"]}).to_string();
    assert_eq!(
        of_messages(stops.as_bytes(), terms).unwrap_err().param.as_deref(),
        Some("stop_sequences")
    );
}
