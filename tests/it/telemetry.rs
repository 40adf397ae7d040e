//! The log as a process writes it.

use std::path::PathBuf;

use grok2api::door::Route;
use grok2api::telemetry::{LogOptions, init, traces};
use grok2api_actors::clock::Clock;
use grok2api_schemas::ids::RequestId;
use serde_json::Value;

use crate::child;

const DIRECTORY: &str = "GROK2API_TEST_LOGS";

#[test]
#[ignore = "run in a process of its own by the test below"]
fn child_that_logs() {
    if !child::is_child() {
        return;
    }
    let options = LogOptions {
        directory: std::env::var_os(DIRECTORY).map(PathBuf::from),
        ..LogOptions::default()
    };
    // The test runner has begun a line.
    println!();
    let telemetry = init(&options, Clock::system()).unwrap();
    assert!(init(&options, Clock::system()).is_err(), "twice");

    let mut headers = http::HeaderMap::new();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", parent.parse().unwrap());
    traces::request_span(RequestId::generate(), Route::Chat, &headers).in_scope(|| {
        tracing::Span::current().record("model", "grok-4");
        tracing::info!(target: "grok2api::engine", attempts = 2, "answered");
        tracing::debug!(target: "grok2api::engine", "not at this level");
    });
    tracing::info!(target: "hyper::proto", "chatter of a library");
    telemetry.set_level("error").unwrap();
    tracing::warn!(target: "grok2api::engine", "not any more");
    traces::request_span(RequestId::generate(), Route::Admin, &http::HeaderMap::new()).in_scope(|| {
        tracing::error!(target: "grok2api::engine", "the span is there at every level");
    });
    assert!(std::thread::spawn(|| panic!("a thread's last words")).join().is_err());
    assert_eq!(telemetry.lost_lines()(), 0);
    telemetry.shutdown();
}

fn lines(text: &str) -> Vec<Value> {
    let is_ours = |line: &&str| line.starts_with('{');
    text.lines()
        .filter(is_ours)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn lines_go_to_stdout_and_a_file_of_the_day_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("logs");
    let output = child::command("telemetry::child_that_logs")
        .env(DIRECTORY, &logs)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let shown = lines(&stdout);
    let messages: Vec<&str> = shown.iter().filter_map(|line| line["message"].as_str()).collect();
    assert_eq!(
        messages,
        ["answered", "the span is there at every level", "a thread panicked"],
        "{stdout}"
    );
    let answered = &shown[0];
    assert!(answered["request_id"].as_str().unwrap().starts_with("req_"));
    assert_eq!(answered["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(answered["route"], "chat");
    assert_eq!(answered["model"], "grok-4");
    assert_eq!(answered["attempts"], 2);
    assert_eq!(answered["level"], "INFO");
    assert_eq!(answered["target"], "grok2api::engine");
    assert!(shown[1].get("trace_id").is_none(), "nobody named a trace");
    assert_eq!(shown[2]["panic"], "a thread's last words");
    assert!(shown[2]["place"].as_str().unwrap().contains("telemetry.rs"));

    let files: Vec<_> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        name.starts_with("app.20") && name.ends_with(".log") && name.len() == "app.2026-11-23.log".len(),
        "{name}"
    );
    assert_eq!(lines(&std::fs::read_to_string(&files[0]).unwrap()), shown);
}
