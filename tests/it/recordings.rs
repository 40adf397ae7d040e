//! Streams as upstreams were heard to send them, replayed: our own, made by hand in the shapes of recordings, and those of
//! the directory that `GROK2API_TEST_SPECS` names. A file `*.chunks.txt` has the data of one event a line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::recorder::{Canned, Recorder};
use crate::support::{Gateway, MODEL, Plan, Sim};

/// What a recording is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Chat,
    Completions,
    Responses,
    Messages,
}

impl Dialect {
    fn path(self) -> &'static str {
        match self {
            Dialect::Chat => "/v1/chat/completions",
            Dialect::Completions => "/v1/completions",
            Dialect::Responses => "/v1/responses",
            Dialect::Messages => "/v1/messages",
        }
    }

    /// A request that is answered like that.
    fn ask(self) -> Value {
        let messages = json!([{"role": "user", "content": "Hello"}]);
        match self {
            Dialect::Chat => json!({"model": MODEL, "messages": messages, "stream": true,
                "stream_options": {"include_usage": true}}),
            Dialect::Completions => json!({"model": MODEL, "prompt": "Hello", "stream": true,
                "stream_options": {"include_usage": true}}),
            Dialect::Responses => json!({"model": MODEL, "input": "Hello", "stream": true}),
            Dialect::Messages => json!({"model": MODEL, "max_tokens": 100, "messages": messages, "stream": true}),
        }
    }

    /// Whether the events of it have names.
    fn is_named(self) -> bool {
        matches!(self, Dialect::Responses | Dialect::Messages)
    }
}

/// A recording.
struct Recording {
    name: String,
    dialect: Dialect,
    /// Each event as it is on the wire.
    events: Vec<String>,
}

impl Recording {
    /// What a file holds: several turns, if it begins anew.
    fn read(path: &Path) -> Vec<Recording> {
        let text = std::fs::read_to_string(path).unwrap();
        let payloads: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let is_begin = |payload: &&str| payload.contains("\"type\":\"response.created\"");
        let mut turns: Vec<Vec<&str>> = Vec::new();
        for payload in payloads {
            match turns.last_mut() {
                Some(turn) if !is_begin(&payload) => turn.push(payload),
                _ => turns.push(vec![payload]),
            }
        }
        let name = path.file_name().unwrap().display().to_string();
        turns.iter().map(|turn| Recording::of(&name, turn)).collect()
    }

    fn of(name: &str, payloads: &[&str]) -> Recording {
        let first: Value = serde_json::from_str(payloads[0]).unwrap();
        let dialect = match (first["type"].as_str(), first["object"].as_str()) {
            (Some("message_start"), _) => Dialect::Messages,
            (Some(_), _) => Dialect::Responses,
            (None, Some("text_completion")) => Dialect::Completions,
            (None, _) => Dialect::Chat,
        };
        let mut events: Vec<String> = payloads
            .iter()
            .map(|data| match dialect.is_named() {
                true => {
                    let value: Value = serde_json::from_str(data).unwrap();
                    format!("event: {}\ndata: {data}\n\n", value["type"].as_str().unwrap())
                }
                false => format!("data: {data}\n\n"),
            })
            .collect();
        if !dialect.is_named() {
            events.push("data: [DONE]\n\n".to_owned());
        }
        Recording {
            name: name.to_owned(),
            dialect,
            events,
        }
    }

    fn whole(&self) -> String {
        self.events.concat()
    }

    /// Where the upstream reports in the stream that it cannot go on. From there the words are the gateway's own, for the
    /// upstream's may tell whose credential it is.
    fn error(&self) -> Option<usize> {
        self.events.iter().position(|event| event.starts_with("event: error\n"))
    }
}

fn gather(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.display().to_string().ends_with(".chunks.txt") {
            found.push(path);
        }
    }
}

/// Ours, and those that this run is given.
fn recordings() -> Vec<Recording> {
    let mut found = Vec::new();
    gather(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recordings"),
        &mut found,
    );
    let own = found.len();
    match std::env::var_os("GROK2API_TEST_SPECS") {
        Some(given) if !given.is_empty() => gather(Path::new(&given), &mut found),
        _ => println!("left out: GROK2API_TEST_SPECS names no directory of recordings; replaying our own only"),
    }
    println!("{own} recordings of our own, {} given", found.len() - own);
    found.sort();
    found.iter().flat_map(|path| Recording::read(path)).collect()
}

/// With so many keys that none has to rest, however often a stream breaks off.
async fn stage() -> (Recorder, Gateway) {
    let recorder = Recorder::start().await;
    let gateway = Plan::new(&recorder.base_url())
        .keys((0..60).map(Sim::key))
        .start_warm()
        .await;
    (recorder, gateway)
}

/// The stream in pieces of so many bytes; a pause now and then keeps some of them apart on the way.
fn in_pieces(stream: &str, size: usize) -> Canned {
    let bytes = Bytes::copy_from_slice(stream.as_bytes());
    let pieces = (0..bytes.len())
        .step_by(size)
        .enumerate()
        .map(|(index, at)| {
            let pause = Duration::from_millis(u64::from(index % 64 == 1));
            (pause, bytes.slice(at..bytes.len().min(at + size)))
        })
        .collect();
    Canned {
        pieces,
        ..Canned::stream([""])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_streams_pass_byte_for_byte_however_they_are_cut() {
    let (recorder, gateway) = stage().await;
    for recording in recordings() {
        let stream = recording.whole();
        for size in [stream.len(), 4_099, 61] {
            recorder.answer(in_pieces(&stream, size));
            let got = gateway
                .http()
                .post(recording.dialect.path(), &recording.dialect.ask())
                .await
                .ok();
            let text = got.text();
            let Some(error) = recording.error() else {
                assert!(text == stream, "{} in pieces of {size}:\n{text}", recording.name);
                continue;
            };
            let before = recording.events[..error].concat();
            assert!(
                text.starts_with(&before),
                "{} in pieces of {size}:\n{text}",
                recording.name
            );
            assert_eq!(last(&text)["type"], "error", "{}:\n{text}", recording.name);
            assert_eq!(data_of(&text).len(), error + 1, "{}:\n{text}", recording.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_wants_no_usage_gets_the_same_events_without_it() {
    let (recorder, gateway) = stage().await;
    for recording in recordings()
        .iter()
        .filter(|recording| recording.dialect == Dialect::Chat)
    {
        recorder.answer(in_pieces(&recording.whole(), 61));
        let mut ask = recording.dialect.ask();
        ask.as_object_mut().unwrap().remove("stream_options");
        let got = gateway.http().chat(&ask).await.ok();
        let is_usage = |event: &&String| {
            let value: Value = serde_json::from_str(event["data: ".len()..].trim()).unwrap_or_default();
            value["choices"].as_array().is_some_and(Vec::is_empty) && value["usage"].is_object()
        };
        let rest: String = recording
            .events
            .iter()
            .filter(|event| !is_usage(event))
            .cloned()
            .collect();
        assert!(
            rest.len() < recording.whole().len(),
            "{} tells no usage",
            recording.name
        );
        assert!(got.text() == rest, "{}:\n{}", recording.name, got.text());
    }
}

/// The last event of a stream, as JSON.
fn last(stream: &str) -> Value {
    let event = stream.trim_end().rsplit("\n\n").next().unwrap();
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {event}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_breaks_off_anywhere_ends_with_an_error_after_what_came_whole() {
    let (recorder, gateway) = stage().await;
    for recording in recordings() {
        let count = recording.error().unwrap_or(recording.events.len());
        for kept in [1, count / 2, count - 1]
            .into_iter()
            .filter(|kept| (1..count).contains(kept))
        {
            // The last of them came in half.
            let whole = recording.events[..kept].concat();
            let half = &recording.events[kept];
            let cut = half
                .char_indices()
                .map(|(at, _)| at)
                .take_while(|at| *at <= half.len() / 2)
                .last()
                .unwrap();
            let stream = format!("{whole}{}", &half[..cut]);
            recorder.answer(Canned::stream([stream.as_str()]));
            let got = gateway
                .http()
                .post(recording.dialect.path(), &recording.dialect.ask())
                .await
                .ok();
            let text = got.text();
            // Of chat nothing is missing but the mark of its end.
            if !recording.dialect.is_named() && kept == count - 1 {
                assert!(
                    text.starts_with(&whole) && text.ends_with("data: [DONE]\n\n"),
                    "{}: {text}",
                    recording.name
                );
                continue;
            }
            assert!(text.starts_with(&whole), "{} cut after {kept}: {text}", recording.name);
            let end = last(&text);
            let message = match recording.dialect {
                Dialect::Responses => {
                    assert_eq!(end["sequence_number"], kept, "{}", recording.name);
                    &end["message"]
                }
                _ => &end["error"]["message"],
            };
            assert!(
                message.as_str().is_some_and(|text| !text.is_empty()),
                "{}: {end}",
                recording.name
            );
        }
    }
}

/// What a client hears of a stream: text, thoughts, calls of its tools, and tokens in and out.
#[derive(Debug, Default, PartialEq)]
struct Meant {
    text: String,
    thought: String,
    calls: Vec<(String, String, String)>,
    tokens: (u64, u64),
}

fn data_of(stream: &str) -> Vec<Value> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn meant_by_responses(stream: &str) -> Meant {
    let mut meant = Meant::default();
    for event in data_of(stream) {
        match text(&event["type"]) {
            "response.output_text.delta" => meant.text.push_str(text(&event["delta"])),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                meant.thought.push_str(text(&event["delta"]));
            }
            "response.output_item.done" if event["item"]["type"] == "function_call" => {
                let item = &event["item"];
                let call = ["call_id", "name", "arguments"].map(|name| text(&item[name]).to_owned());
                meant.calls.push(call.into());
            }
            "response.completed" | "response.incomplete" => {
                let usage = &event["response"]["usage"];
                let count = |name: &str| usage[name].as_u64().unwrap_or(0);
                meant.tokens = (count("input_tokens"), count("output_tokens"));
            }
            _ => {}
        }
    }
    meant
}

fn meant_by_chat(stream: &str) -> Meant {
    let mut meant = Meant::default();
    for chunk in data_of(stream) {
        let delta = &chunk["choices"][0]["delta"];
        meant.text.push_str(text(&delta["content"]));
        meant.thought.push_str(text(&delta["reasoning_content"]));
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let call = [&call["id"], &function["name"], &function["arguments"]].map(|value| text(value).to_owned());
            meant.calls.push(call.into());
        }
        let count = |name: &str| chunk["usage"][name].as_u64().unwrap_or(0);
        if chunk["usage"].is_object() {
            let thought = chunk["usage"]["completion_tokens_details"]["reasoning_tokens"]
                .as_u64()
                .unwrap();
            meant.tokens = (count("prompt_tokens"), count("completion_tokens") + thought);
        }
    }
    meant
}

fn meant_by_messages(stream: &str) -> Meant {
    let mut meant = Meant::default();
    for event in data_of(stream) {
        match text(&event["type"]) {
            "content_block_start" if event["content_block"]["type"] == "tool_use" => {
                let block = &event["content_block"];
                meant.calls.push((
                    text(&block["id"]).to_owned(),
                    text(&block["name"]).to_owned(),
                    String::new(),
                ));
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                meant.text.push_str(text(&delta["text"]));
                meant.thought.push_str(text(&delta["thinking"]));
                if let Some(call) = meant.calls.last_mut() {
                    call.2.push_str(text(&delta["partial_json"]));
                }
            }
            "message_delta" => {
                let count = |name: &str| event["usage"][name].as_u64().unwrap_or(0);
                let read = count("input_tokens") + count("cache_read_input_tokens");
                meant.tokens = (read, count("output_tokens"));
            }
            _ => {}
        }
    }
    meant
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_responses_mean_the_same_in_the_other_dialects() {
    let (recorder, gateway) = stage().await;
    let all = recordings();
    for recording in all.iter().filter(|recording| recording.dialect == Dialect::Responses) {
        let stream = recording.whole();
        let wanted = meant_by_responses(&stream);
        for (dialect, meant_by) in [
            (Dialect::Chat, meant_by_chat as fn(&str) -> Meant),
            (Dialect::Messages, meant_by_messages),
        ] {
            recorder.answer(in_pieces(&stream, 997));
            let mut ask = dialect.ask();
            ask["model"] = "grok-4.20-multi-agent-0309".into();
            let got = gateway.http().post(dialect.path(), &ask).await.ok().text();
            assert_eq!(meant_by(&got), wanted, "{} as {dialect:?}: {got}", recording.name);
            let has_failed = stream.contains("event: response.failed\n");
            let is_whole = got.ends_with("data: [DONE]\n\n") || got.ends_with("data: {\"type\":\"message_stop\"}\n\n");
            assert!(is_whole != has_failed, "{}: {got}", recording.name);
            if has_failed {
                assert!(last(&got)["error"]["message"].is_string(), "{}: {got}", recording.name);
            }
            let sent = recorder.take().pop().unwrap();
            assert_eq!(sent.path, "/v1/responses");
            assert_eq!(sent.json()["store"], false);
        }
    }
}
