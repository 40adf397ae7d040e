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
            Dialect::Completions => json!({"model": MODEL, "prompt": "Hello", "stream": true}),
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
    fn read(path: &Path) -> Recording {
        let text = std::fs::read_to_string(path).unwrap();
        let payloads: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
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
            name: path.file_name().unwrap().display().to_string(),
            dialect,
            events,
        }
    }

    fn whole(&self) -> String {
        self.events.concat()
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
    found.iter().map(|path| Recording::read(path)).collect()
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
            assert!(
                got.text() == stream,
                "{} in pieces of {size}:\n{}",
                recording.name,
                got.text()
            );
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
        let count = recording.events.len();
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
