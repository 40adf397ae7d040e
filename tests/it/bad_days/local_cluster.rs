//! `deploy/local-cluster`: one command up, one down.

use std::process::{Command, Output};

use serde_json::json;

use crate::support::http::Http;
use crate::support::nats;

/// The first of sixteen free ports.
fn free_range() -> u16 {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..200)
        .map(|_| 20_000 + fastrand::u16(0..700) * 16)
        .find(|first| (*first..first + 16).all(is_free))
        .expect("sixteen free ports")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_starts_a_cluster_and_one_ends_it() {
    let Some(server) = nats::binary() else { return };
    let root = tempfile::tempdir().unwrap();
    let (dir, port) = (root.path().to_owned(), free_range());
    let files = dir.clone();
    let script = move |verb: &'static str| {
        let (dir, server) = (files.clone(), server.clone());
        let run = move || -> Output {
            Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/local-cluster"))
                .arg(verb)
                .arg(dir)
                .env("GROK2API", env!("CARGO_BIN_EXE_grok2api"))
                .env("NATS_SERVER", server)
                .env("PORT", port.to_string())
                .output()
                .unwrap()
        };
        async move { tokio::task::spawn_blocking(run).await.unwrap() }
    };
    let started = script("up").await;
    let said = String::from_utf8_lossy(&started.stdout).into_owned();
    let complained = String::from_utf8_lossy(&started.stderr).into_owned();
    let key = said
        .split_whitespace()
        .find(|word| word.starts_with("sk-"))
        .map(str::to_owned);
    let nodes: Vec<String> = said
        .lines()
        .find(|line| line.starts_with("nodes"))
        .map(|line| line.split_whitespace().skip(1).map(str::to_owned).collect())
        .unwrap_or_default();
    let mut answers = Vec::new();
    if let Some(key) = key {
        let body = json!({"model": "grok-4", "messages": [{"role": "user", "content": "hello"}]}).to_string();
        let bearer = format!("Bearer {key}");
        for node in &nodes {
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let client = Http::new(node);
            let asked = client.try_send(http::Method::POST, "/v1/chat/completions", &headers, body.clone());
            answers.push(asked.await.map(|got| (got.status, got.text())));
        }
    }
    let log = |name: &str| std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
    let logs = ["n1", "n2", "n3"].map(log).concat();
    let ended = script("down").await;

    assert!(started.status.success(), "{said}{complained}");
    assert_eq!(nodes.len(), 3, "{said}");
    assert_eq!(answers.len(), 3, "no client key in: {said}");
    for answer in answers {
        let (status, text) = answer.unwrap();
        assert_eq!(status, 200, "{text}");
    }
    assert!(!logs.contains("Violation"), "a node lacks a permission:\n{logs}");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let left = std::fs::read_dir(&dir).unwrap().filter_map(Result::ok);
    let left: Vec<_> = left
        .filter(|file| file.file_name().to_string_lossy().ends_with(".pid"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for port in port..port + 16 {
        assert!(
            std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(),
            "somebody still listens on {port}"
        );
    }
}
