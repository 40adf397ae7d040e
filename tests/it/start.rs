//! Starting, and not being able to: one clear line, a code that is not 0, data untouched.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::gateway::PASSWORD;
use crate::support::process::{Ended, Process};
use crate::support::{Admin, MODEL, Plan, Sim, ask, ask_streamed};

const LIMIT: Duration = Duration::from_secs(30);

/// Starts on this directory and waits for the end.
async fn fails(plan: &Plan, root: &Path, more: &[&str]) -> Ended {
    let mut command = plan.command(root);
    command.args(more);
    let mut process = Process::start("fails", command, root);
    let status = process.wait(LIMIT).await;
    assert!(!status.success(), "it should not have started: {}", process.output());
    let ended = Ended {
        code: status.code(),
        stdout: process.stdout(),
        stderr: process.stderr(),
    };
    assert!(!ended.said().contains("panicked"), "{}", ended.said());
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!((1..=3).contains(&lines.len()), "one clear line: {}", ended.said());
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_shows_its_secrets_once_and_stores_them_hashed() {
    let sim = Sim::with_teams(1).await;
    let plan = Plan::of(&sim, 1)
        .without("GROK2API__APP__APP_KEY")
        .without("GROK2API__APP__API_KEY");
    let mut gateway = plan.start().await;
    let said = gateway.process().output();
    let word_after = |name: &str| -> String {
        let line = said
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap_or_else(|| panic!("no {name} in {said}"));
        line.trim_start()[name.len()..]
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    let (password, key) = (word_after("password"), word_after("client key"));
    assert!(password.len() >= 12 && key.starts_with("sk-"), "{said}");
    for topic in [
        "address",
        "admin",
        "configuration",
        "tokens",
        "upstream",
        "TLS",
        "NATS",
        "curl",
    ] {
        assert!(said.contains(topic), "nothing about {topic}: {said}");
    }
    // The call to paste works as it stands.
    let curl: String = said[said.find("curl").unwrap()..]
        .lines()
        .take(4)
        .collect::<Vec<_>>()
        .join("\n");
    let command = curl.split("\n\n").next().unwrap().to_owned();
    gateway.http().anonymous().get("/readyz").await.ok();
    let client = gateway.as_client(&key);
    crate::support::eventually("the first token is known", LIMIT, || async {
        let got = client.chat(&ask(MODEL, "Hello")).await;
        if got.status == 200 { Ok(()) } else { Err(got.text()) }
    })
    .await;
    let pasted = std::process::Command::new("sh")
        .arg("-c")
        .arg(&command)
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&pasted.stdout).into_owned();
    assert!(
        answer.contains("data: ") && answer.contains("[DONE]"),
        "{command}\n{answer}"
    );
    Admin::login(gateway.http(), "admin", &password).await;

    let status = gateway.terminate().await;
    assert!(status.success(), "{status}");
    gateway.restart().await;
    let said = gateway.process().output();
    assert!(!said.contains(&password) && !said.contains(&key), "shown twice: {said}");
    assert!(!said.contains("first start"), "{said}");
    gateway.as_client(&key).chat(&ask(MODEL, "Hello")).await.ok();
    Admin::login(gateway.http(), "admin", &password).await;
    for name in ["logs", "store", "config.toml"] {
        assert_absent(&gateway.data().join(name), &[&password, &key]);
    }
}

fn assert_absent(path: &Path, secrets: &[&str]) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            assert_absent(&entry.unwrap().path(), secrets);
        }
        return;
    }
    let bytes = std::fs::read(path).unwrap_or_default();
    for secret in secrets {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "a secret stands in {}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start().await;
    let port = gateway.url().rsplit(':').next().unwrap().to_owned();
    let root = tempfile::tempdir().unwrap();
    // The last `--port` counts; the plan's own is 0.
    let plan = Plan::of(&sim, 1).env("SERVER_PORT", &port);
    let mut command = plan.command(root.path());
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut again = std::process::Command::new(command.get_program());
    let position = arguments.iter().position(|argument| argument == "--port").unwrap();
    again.current_dir(root.path()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            again.env(name, value);
        }
    }
    for (at, argument) in arguments.iter().enumerate() {
        again.arg(if at == position + 1 {
            port.as_ref()
        } else {
            argument.as_os_str()
        });
    }
    command = again;
    let mut process = Process::start("taken", command, root.path());
    let status = process.wait(LIMIT).await;
    assert!(!status.success());
    assert!(process.stderr().contains(&port), "{}", process.output());
    gateway.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_in_use() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let ended = fails(&Plan::of(&sim, 1), gateway.root(), &[]).await;
    assert!(ended.stderr.contains("store"), "{}", ended.said());
    gateway.http().chat(&ask(MODEL, "Hello")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_cannot_be_used() {
    let sim = Sim::with_teams(1).await;
    let mut gateway = Plan::of(&sim, 1).start_warm().await;
    gateway.kill();
    let file = gateway.data().join("master.key");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let right = std::fs::read(&file).unwrap();

    // Everybody may read it.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = fails(&Plan::of(&sim, 1), gateway.root(), &[]).await;
    assert!(ended.stderr.contains("master.key"), "{}", ended.said());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();

    // It is another, or none at all: what is stored cannot be read, and is not thrown away.
    for wrong in [b"0".repeat(64), b"garbage".to_vec(), Vec::new()] {
        std::fs::write(&file, &wrong).unwrap();
        let ended = fails(&Plan::of(&sim, 1), gateway.root(), &[]).await;
        assert!(ended.stderr.contains("key"), "{}", ended.said());
    }
    std::fs::write(&file, &right).unwrap();
    gateway.restart().await;
    assert_eq!(gateway.admin().await.tokens().await.len(), 1);
    gateway.http().chat(&ask(MODEL, "Hello")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_broken_is_set_aside_or_refused_never_lost() {
    let sim = Sim::with_teams(1).await;
    let mut gateway = Plan::of(&sim, 1).start_warm().await;
    gateway.terminate().await;
    let sled = gateway.data().join("store/sled");
    let database = sled.join("db");
    let mut bytes = std::fs::read(&database).unwrap();
    for byte in bytes.iter_mut().skip(16).step_by(3) {
        *byte ^= 0x5a;
    }
    std::fs::write(&database, &bytes).unwrap();
    std::fs::write(sled.join("conf"), b"not a configuration").unwrap();

    let mut command = Plan::of(&sim, 1).command(gateway.root());
    command.env("LOG_LEVEL", "info");
    let mut process = Process::start("broken", command, gateway.root());
    let said = tokio::time::timeout(LIMIT, async {
        loop {
            let said = process.output();
            if !process.is_running() || said.contains("ready to serve") {
                return process.output();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.contains("store"), "nothing is said about it: {said}");
    // Whatever it decided, the bytes are still there.
    let kept = files(&gateway.data())
        .iter()
        .any(|file| std::fs::read(file).is_ok_and(|kept| kept == bytes));
    assert!(kept, "the broken store is gone: {said}");
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_cannot_be_written() {
    let sim = Sim::with_teams(1).await;
    let root = tempfile::tempdir().unwrap();
    let plan = Plan::of(&sim, 1);
    // Root writes anywhere, so the directory is a file.
    let mut command = plan.command(root.path());
    std::fs::remove_dir_all(root.path().join("data")).unwrap();
    std::fs::write(root.path().join("data"), "a file").unwrap();
    command.env("LOG_LEVEL", "info");
    let mut process = Process::start("unwritable", command, root.path());
    let status = process.wait(LIMIT).await;
    assert!(!status.success());
    assert!(process.stderr().contains("data"), "{}", process.output());
    assert!(!process.output().contains("panicked"), "{}", process.output());
    assert_eq!(std::fs::read_to_string(root.path().join("data")).unwrap(), "a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_say_what_they_are_asked() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start().await;
    let nobody = gateway.http().anonymous();
    nobody.get("/livez").await.ok();
    nobody.get("/readyz").await.ok();
    let health = nobody.get("/health").await.ok().json();
    assert!(health["status"].is_string(), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_turns_red_before_the_listener_closes() {
    let sim = Sim::play(json!({"pace_ms": 50, "teams": [Sim::team(0)]})).await;
    let mut gateway = Plan::of(&sim, 1).set("server.drain_delay_secs", 1).start_warm().await;
    let mut stream = gateway.http().open_chat(&ask_streamed(MODEL, "A story")).await;
    stream.events(1).await;
    gateway.process().signal(rustix::process::Signal::TERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let got = gateway.http().anonymous().get("/readyz").await.with_status(503);
    assert!(got.text().contains("shut"), "{}", got.text());
    // Still accepted, and told to go.
    let got = gateway.http().chat(&ask(MODEL, "One more")).await.ok();
    assert_eq!(got.header("connection"), "close");
    assert_eq!(stream.finish().await, crate::support::http::Ending::Clean);
    assert!(gateway.process().wait(LIMIT).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_forces() {
    let sim = Sim::with_teams(1).await;
    let mut gateway = Plan::of(&sim, 1).start_warm().await;
    let mut stream = gateway
        .http()
        .open_chat(&ask_streamed(MODEL, "[[sim:stall=2]] A story without an end"))
        .await;
    stream.events(1).await;
    gateway.process().signal(rustix::process::Signal::TERM);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(gateway.process().is_running(), "it waits for the stream");
    gateway.process().signal(rustix::process::Signal::TERM);
    let status = gateway.process().wait(Duration::from_secs(5)).await;
    assert!(!status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_json_where_nobody_looks_and_hold_no_secret() {
    let sim = Sim::with_teams(2).await;
    let mut gateway = Plan::of(&sim, 2).env("LOG_LEVEL", "trace").start_warm().await;
    let key = gateway.admin().await.new_key(json!({"name": "k"})).await;
    let rule = json!({"when": {"team": Sim::team_id(0)}, "times": 3, "do": {"error": "bad-key-new"}});
    sim.script(rule).await;
    for at in 0..10 {
        gateway
            .as_client(&key.secret)
            .chat(&ask(MODEL, &format!("call {at}")))
            .await;
    }
    gateway.terminate().await;
    let mut all = gateway.process().output();
    let lines = all.lines().filter(|line| line.starts_with('{'));
    let mut count = 0;
    for line in lines {
        count += 1;
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(parsed["level"].is_string() && parsed["message"].is_string(), "{line}");
    }
    assert!(count > 5, "{all}");
    for file in files(&gateway.data().join("logs")) {
        all.push_str(&std::fs::read_to_string(file).unwrap());
    }
    for secret in [key.secret.as_str(), &Sim::key(0), &Sim::key(1), PASSWORD] {
        assert!(!all.contains(secret), "{secret} is logged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_list_models_serves_all_the_same() {
    let sim = Sim::with_teams(2).await;
    // Both wordings: one that names models, and one that says no more than no.
    for (at, body) in [
        (0, "API key does not have permission to access /v1/models."),
        (1, "Forbidden for this caller."),
    ] {
        let body = json!({"code": "permission-denied", "error": body});
        sim.script(json!({
            "when": {"path": "/v1/models", "key": Sim::key(at)},
            "do": {"status": 403, "body": body},
        }))
        .await;
    }
    let gateway = Plan::of(&sim, 2).start().await;
    gateway.admin().await.wait_for_tokens(2).await;
    for at in 0..4 {
        gateway.http().chat(&ask(MODEL, &format!("call {at}"))).await.ok();
    }
}
