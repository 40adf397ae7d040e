//! The configuration from the outside: what is wrong is said with file, line, key and mend; nothing is overwritten.

use std::path::Path;
use std::time::Duration;

use crate::support::process::{Ended, program, run};
use crate::support::{Plan, Sim};

const LIMIT: Duration = Duration::from_secs(20);

async fn check(text: &str) -> (Ended, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = program();
    command.arg("--data-dir").arg(directory.path()).arg("check-config");
    let ended = run(command, LIMIT).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "the file was changed");
    (ended, directory)
}

#[tokio::test]
async fn faults_are_named_all_at_once_with_their_place_and_mend() {
    let text = "config_version = 1\n\
        [server]\n\
        prot = 8000\n\
        host = 7\n\
        port = 99999\n\
        [clients]\n\
        max_wait_ms = \"long\"\n\
        [nowhere]\n\
        x = 1\n";
    let (ended, _directory) = check(text).await;
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    let said = ended.stderr;
    for (line, key) in [
        (3, "server.prot"),
        (4, "server.host"),
        (5, "server.port"),
        (7, "clients.max_wait_ms"),
        (8, "nowhere"),
    ] {
        assert!(said.contains(&format!("config.toml:{line}")), "no line {line}: {said}");
        assert!(said.contains(key), "no {key}: {said}");
    }
    assert!(said.contains("server.port"), "the key that was probably meant: {said}");
}

#[tokio::test]
async fn a_file_that_is_no_toml_stays_as_it_is() {
    for text in [
        "[server\nport = 1\n",
        "port = = 1",
        "\u{0}\u{1}",
        "[server]\nport = 1\nport = 2\n",
    ] {
        let (ended, directory) = check(text).await;
        assert_eq!(ended.code, Some(2), "{text:?}: {}", ended.said());
        assert!(ended.stderr.contains("config.toml:"), "{}", ended.said());
        // Serving refuses it as well, and leaves nothing behind.
        let mut command = program();
        command.arg("--data-dir").arg(directory.path()).args(["--port", "0"]);
        let ended = run(command, LIMIT).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[tokio::test]
async fn impossible_combinations_are_named() {
    for (text, key) in [
        ("[server]\ntls_cert = \"a.pem\"\n", "tls_key"),
        ("[security]\nmaster_key = \"short\"\n", "security.master_key"),
        ("[[xai.rules]]\nretry = true\n", "xai.rules"),
        ("[[xai.teams]]\n[xai.teams.limits.\"*\"]\nrpm = 1\n", "xai.teams"),
    ] {
        let (ended, _directory) = check(&format!("config_version = 1\n{text}")).await;
        assert_eq!(ended.code, Some(2), "{text}: {}", ended.said());
        assert!(ended.stderr.contains(key), "{text}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn flags_environment_and_secrets_in_the_environment() {
    let mut command = program();
    command
        .args(["check-config"])
        .env("GROK2API__CLIENTS__MAX_WAIT_MS", "soon")
        .env("GROK2API__NOBODY__KNOWS", "1")
        .env("GROK2API__APP__APP_KEY", "hunter2-hunter2");
    let ended = run(command, LIMIT).await;
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    assert!(
        ended.stderr.contains("GROK2API__CLIENTS__MAX_WAIT_MS"),
        "{}",
        ended.said()
    );
    assert!(ended.said().contains("GROK2API__NOBODY__KNOWS"), "{}", ended.said());
    assert!(!ended.said().contains("hunter2"), "{}", ended.said());
    let ended = {
        let mut command = program();
        command.args(["--port", "70000"]);
        run(command, LIMIT).await
    };
    assert_eq!(ended.code, Some(2), "{}", ended.said());
}

#[tokio::test]
async fn the_example_is_right_and_complete() {
    let mut command = program();
    command.arg("example-config");
    let example = run(command, LIMIT).await;
    assert_eq!(example.code, Some(0));
    for section in [
        "[app]",
        "[server]",
        "[security]",
        "[clients]",
        "[xai]",
        "[grok]",
        "[token]",
        "[telemetry]",
    ] {
        assert!(example.stdout.contains(section), "no {section}");
    }
    let (ended, _directory) = check(&example.stdout).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    // With every default taken out of its comment, it is still right and means the same.
    let mut plain = String::new();
    for line in example.stdout.lines() {
        let assigns = line.strip_prefix("# ").filter(|rest| {
            let mut words = rest.split(' ');
            let is_key = words.next().is_some_and(|word| {
                word.chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
            });
            is_key && words.next() == Some("=") && words.next().is_some()
        });
        // Samples of tables are shown below their own heading, which stays a comment.
        let sample = [
            "rpm =",
            "tpm =",
            "rps =",
            "status =",
            "text =",
            "retry =",
            "cool =",
            "for_secs =",
            "id =",
        ];
        match assigns {
            Some(rest) if !sample.iter().any(|name| rest.starts_with(name)) => plain.push_str(rest),
            _ => plain.push_str(line),
        }
        plain.push('\n');
    }
    assert!(plain.lines().filter(|line| !line.starts_with('#')).count() > 50);
    let (ended, _directory) = check(&plain).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_writes_a_file_that_later_ones_keep() {
    let sim = Sim::with_teams(1).await;
    let mut gateway = Plan::of(&sim, 1).start().await;
    let file = gateway.data().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("# port = 8000"), "{text}");
    let edited = format!("{text}\n# a remark\n");
    std::fs::write(&file, &edited).unwrap();
    gateway.terminate().await;
    gateway.restart().await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), edited);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_older_project_is_taken_over_with_warnings() {
    let sim = Sim::with_teams(1).await;
    let plan = Plan::of(&sim, 1).without("GROK2API__APP__APP_KEY");
    let directory = tempfile::tempdir().unwrap();
    let older = "[app]\napp_url = \"http://127.0.0.1:8000\"\nadmin_username = \"admin\"\napp_key = \"grok2api\"\napi_key = \"\"\n\
        [grok]\nstream = true\nmax_retry = 3\ndynamic_statsig = true\n[register]\nyescaptcha_key = \"abc\"\n";
    let data = directory.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("config.toml"), older).unwrap();
    let mut command = plan.command(directory.path());
    command.arg("check-config");
    let ended = run(command, LIMIT).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    for warned in ["grok.stream", "dynamic_statsig", "yescaptcha_key"] {
        assert!(
            ended.said().contains(warned),
            "nothing about {warned}: {}",
            ended.said()
        );
    }
    assert!(!ended.said().contains("abc"), "{}", ended.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_a_running_node() {
    let sim = Sim::with_teams(1).await;
    let mut gateway = Plan::of(&sim, 1).start().await;
    let ask = |url: &str| {
        let mut command = program();
        command.args(["health", "--url", url]);
        run(command, LIMIT)
    };
    let url = gateway.url().to_owned();
    let ended = ask(&url).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    gateway.kill();
    let ended = ask(&url).await;
    assert_eq!(ended.code, Some(1), "{}", ended.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn dotenv_is_read_and_never_beats_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join(".env"),
        "GROK2API__CLIENTS__MAX_WAIT_MS=oops\nGROK2API__SERVER__GRACE_SECS=7\n",
    )
    .unwrap();
    let check = |environment: &[(&str, &str)], directory: &Path| {
        let mut command = program();
        command.args(["check-config"]).current_dir(directory);
        for (name, value) in environment {
            command.env(name, value);
        }
        command.output().unwrap()
    };
    let ended = check(&[], directory.path());
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains(".env:1"), "{said}");
    let ended = check(&[("GROK2API__CLIENTS__MAX_WAIT_MS", "100")], directory.path());
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}
