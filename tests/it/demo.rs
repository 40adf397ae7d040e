//! The README's walk through `--demo`, as a newcomer takes it: no credential, one command, one call to paste.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::http::{Ending, Http, events, streamed_text};
use crate::support::process::{Process, find_address, program};
use crate::support::{MODEL, ask, ask_streamed, eventually};

const README: &str = include_str!("../../README.md");

struct Demo {
    process: Process,
    url: String,
    key: String,
    _root: tempfile::TempDir,
}

async fn demo() -> Demo {
    let root = tempfile::tempdir().unwrap();
    let mut command = program();
    command
        .current_dir(root.path())
        .args(["--demo", "--host", "127.0.0.1", "--port", "0"])
        .arg("--data-dir")
        .arg(root.path().join("data"));
    let mut process = Process::start("demo", command, root.path());
    let (url, key) = process
        .wait_for("its address and key", Duration::from_secs(60), |said| {
            let url = said
                .lines()
                .filter(|line| line.trim_start().starts_with("address"))
                .find_map(|line| find_address(line, |_| true))?;
            let line = said.lines().find(|line| line.trim_start().starts_with("client key"))?;
            let key = line.split_whitespace().find(|word| word.starts_with("sk-"))?;
            Some((url, key.to_owned()))
        })
        .await;
    let demo = Demo {
        process,
        url,
        key,
        _root: root,
    };
    eventually("ready", Duration::from_secs(30), || async {
        match Http::new(&demo.url)
            .try_send(http::Method::GET, "/readyz", &[], "")
            .await
        {
            Ok(got) if got.status == 200 => Ok(()),
            Ok(got) => Err(got.text()),
            Err(error) => Err(error),
        }
    })
    .await;
    demo
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_a_streamed_answer() {
    let mut demo = demo().await;
    let client = Http::new(&demo.url).with_bearer(&demo.key);
    // From the first second on: the pool need not be warm.
    let mut stream = client
        .open_chat(&ask_streamed("grok-4.7", "Why is the sky blue?"))
        .await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.finish().await, Ending::Clean);
    let got = events(&stream.text);
    assert!(got.len() >= 20, "{} chunks", got.len());
    let took = *stream.times.last().unwrap() - stream.times[0];
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let text = streamed_text(&got);
    assert!(text.to_lowercase().contains("sky"), "it depends on the prompt: {text}");
    assert!(demo.process.is_running());
    let status = demo.process.terminate(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_the_readme_work_as_they_stand() {
    let demo = demo().await;
    let calls = curls(README);
    assert!(!calls.is_empty(), "the README has no curl to paste");
    let mut streamed = false;
    for call in calls.iter().filter(|call| call.contains("8000/v1/")) {
        let call = call
            .replace("http://127.0.0.1:8000", &demo.url)
            .replace("http://localhost:8000", &demo.url)
            .replace("$KEY", &demo.key);
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("{call} --fail --silent --show-error --max-time 60"))
            .output()
            .unwrap();
        let (said, complaint) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(output.status.success(), "{call}\n{said}{complaint}");
        if call.contains("\"stream\"") {
            assert!(events(&said).len() >= 20 && said.contains("[DONE]"), "{said}");
            streamed = true;
        }
    }
    assert!(streamed, "no call of the README streams");
}

/// The curl commands of fenced blocks, continued lines joined.
fn curls(text: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for block in text.split("```").skip(1).step_by(2) {
        let joined = block.replace("\\\n", " ");
        for line in joined.lines() {
            let line = line.trim().trim_start_matches("$ ");
            if line.starts_with("curl ") {
                calls.push(line.to_owned());
            }
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn cooling_and_recovery_show_within_a_minute() {
    let demo = demo().await;
    let client = Http::new(&demo.url).with_bearer(&demo.key);
    let metrics = Http::new(&demo.url);
    let began = Instant::now();
    let mut answered = 0;
    let mut rested = false;
    // The demo's own rhythm: one team refuses 6 to 20 s after the start.
    while began.elapsed() < Duration::from_secs(25) {
        let got = client.chat(&ask(MODEL, &format!("call {answered}"))).await;
        assert_eq!(got.status, 200, "{}", got.text());
        answered += 1;
        rested = metrics
            .get("/metrics")
            .await
            .text()
            .lines()
            .any(|line| line.contains("cooling") && !line.starts_with('#') && !line.ends_with(" 0"));
        if rested {
            break;
        }
    }
    assert!(rested, "nobody rested in 25 s, {answered} calls");
}

#[tokio::test]
async fn a_run_from_the_checkout_leaves_git_status_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = |path: &str| {
        let output = Command::new("git")
            .current_dir(root)
            .args(["check-ignore", "--no-index", path])
            .output();
        output.ok().map(|output| output.status.success())
    };
    if ignored("target/x").is_none() || !root.join(".git").exists() {
        println!("left out: no git here");
        return;
    }
    for written in [
        "data/config.toml",
        "data/master.key",
        "data/store/sled/db",
        "data/logs/app.2026-01-01.log",
        "data/demo/config.toml",
        "data/demo/store/sled/db",
        ".env",
        "target/debug/grok2api",
    ] {
        assert_eq!(ignored(written), Some(true), "{written} is not ignored");
    }
    for shipped in ["data/models.toml", "Cargo.lock", "README.md"] {
        assert_eq!(ignored(shipped), Some(false), "{shipped} is ignored");
    }
}
