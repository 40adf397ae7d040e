//! What is fuzzed: readers of bytes that strangers send, each with what must hold whatever comes. The targets of libFuzzer
//! call these, and so does an ordinary test, so that they cannot rot.

use std::path::Path;

use bytes::Bytes;
use grok2api::fronts::openai::edit::{Edits, edit_chat};
use grok2api::fronts::openai::request::{BodyLimits, parse_chat};
use grok2api::fronts::openai::usage::{read_answer, read_chunk};
use grok2api::fronts::openai::usage_strip::{Step, StripOptions, UsageStrip};
use grok2api::fronts::sse::Splitter;
use grok2api::settings::{LoadArgs, check};
use serde_json::Value;

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("sse", sse),
    ("usage_strip", usage_strip),
    ("json", json),
    ("request", request),
    ("config", config),
];

/// The first byte says how the rest is cut into chunks, as a network would.
fn chunks(input: &[u8]) -> impl Iterator<Item = Bytes> + '_ {
    let (size, rest) = match input.split_first() {
        Some((first, rest)) => (usize::from(*first % 61) + 1, rest),
        None => (1, input),
    };
    rest.chunks(size).map(Bytes::copy_from_slice)
}

/// All raw bytes of all events in order are the stream, however it was cut.
pub fn sse(input: &[u8]) {
    let whole: Vec<u8> = chunks(input).flatten().collect();
    let mut splitter = Splitter::new(1 << 20);
    let mut seen = Vec::new();
    for chunk in chunks(input) {
        splitter.feed(chunk);
        while let Ok(Some(event)) = splitter.next_event() {
            let _ = (event.data(), event.name());
            seen.extend_from_slice(&event.raw());
        }
    }
    if let Some(rest) = splitter.finish() {
        seen.extend_from_slice(&rest.raw());
    }
    let without_mark = whole.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&whole);
    assert!(seen == without_mark || seen == whole, "bytes were lost or made up");
}

/// Nothing follows the end, and the end comes at most once.
pub fn usage_strip(input: &[u8]) {
    for keep_usage in [false, true] {
        let mut strip = UsageStrip::new(StripOptions {
            keep_usage,
            choices: 1,
            max_event_bytes: 4096,
        });
        let mut steps: Vec<Step<()>> = Vec::new();
        for chunk in chunks(input) {
            strip.push(
                chunk,
                |_, data| data.starts_with(b"{\"error\"").then_some(()),
                &mut steps,
            );
        }
        strip.end(input.len().is_multiple_of(2), |_, _| None, &mut steps);
        let ends = |step: &Step<()>| !matches!(step, Step::Pass(_) | Step::Replace(_));
        let ended = steps.iter().position(ends);
        assert_eq!(ended, steps.len().checked_sub(1), "the last step ends it, and no other");
    }
}

/// What is read of chunks and answers never fails, whatever they are.
pub fn json(input: &[u8]) {
    let _ = read_chunk(input);
    let _ = read_answer(input);
}

/// What is accepted is JSON, and stays JSON under every edit, with the same members but for those that were to change.
pub fn request(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    let Ok(head) = parse_chat(&body, &BodyLimits::default()) else {
        return;
    };
    let before: Value = serde_json::from_slice(&body).expect("what is accepted is JSON");
    let edits = Edits {
        model: Some("grok-\"of\\the upstream"),
        default_stream: Some(true),
        force_include_usage: true,
        max_tokens_cap: Some(7),
        developer_as_system: true,
    };
    assert_eq!(edit_chat(&body, &head, &Edits::default()), body, "no edit, no change");
    let after: Value = serde_json::from_slice(&edit_chat(&body, &head, &edits)).expect("an edit keeps it JSON");
    assert_eq!(after["model"], "grok-\"of\\the upstream");
    assert_eq!(after["stream_options"]["include_usage"], true);
    for (name, value) in before.as_object().expect("what is accepted is an object") {
        let is_edited = matches!(
            name.as_str(),
            "model" | "stream" | "stream_options" | "max_tokens" | "max_completion_tokens" | "messages"
        );
        assert!(is_edited || after[name] == *value, "{name} changed");
    }
}

/// A file of configuration is accepted or refused in words, and never changed.
pub fn config(input: &[u8]) {
    let file = std::env::temp_dir().join(format!("grok2api-fuzz-{}.toml", std::process::id()));
    std::fs::write(&file, input).expect("the directory for temporary files takes a file");
    let args = LoadArgs {
        config_file: Some(file.clone()),
        ..LoadArgs::default()
    };
    if let Err(error) = check(&args) {
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(std::fs::read(Path::new(&file)).expect("it is there still"), input);
    let _ = std::fs::remove_file(&file);
}
