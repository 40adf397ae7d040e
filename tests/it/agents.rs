//! Coding agents as people run them, against the built program: each makes a file with a tool and says what is in it.

use std::path::Path;

use serde_json::json;

use crate::support::gateway::API_KEY;
use crate::support::scripts::{agents, run_agent};
use crate::support::{Gateway, MODEL, Plan, Sim, Tap};

async fn stage() -> (Sim, Gateway, Tap) {
    let sim = Sim::with_teams(3).await;
    let gateway = Plan::of(&sim, 3).start_warm().await;
    let tap = Tap::start(gateway.url()).await;
    (sim, gateway, tap)
}

/// The tool ran, the agent answered from its result, and all of it went through the gateway.
async fn check(sim: &Sim, route: &str, directory: &Path, said: &str) {
    let made = std::fs::read_to_string(directory.join("made.txt")).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(made, "lit-42\n");
    assert!(said.contains("lit-42"), "{said}");
    let mut calls = 0;
    for at in 0..3 {
        calls += sim.key_report(&Sim::key(at)).await["routes"][route]
            .as_u64()
            .unwrap_or(0);
    }
    assert!(calls >= 2, "{calls} calls of {route}");
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_works_with_its_tools() {
    let Some(prefix) = agents() else { return };
    let (sim, _gateway, tap) = stage().await;
    let home = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let config = format!(
        "model = \"{MODEL}\"\nmodel_provider = \"gateway\"\n[model_providers.gateway]\nname = \"gateway\"\n\
         base_url = \"{}/v1\"\nenv_key = \"GATEWAY_KEY\"\nwire_api = \"responses\"\n",
        tap.url()
    );
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let arguments = json!({"cmd": "echo lit-$((6*7)) > made.txt && cat made.txt"});
    let said = run_agent(
        "codex",
        &prefix.join("node_modules/.bin/codex"),
        &[
            "exec",
            "--skip-git-repo-check",
            "--sandbox",
            "danger-full-access",
            &format!("Run it [[sim:call=exec_command{arguments}]]"),
        ],
        &[
            ("CODEX_HOME", home.path().to_str().unwrap()),
            ("HOME", home.path().to_str().unwrap()),
            ("GATEWAY_KEY", API_KEY),
        ],
        work.path(),
    )
    .await;
    check(&sim, "responses", work.path(), &said).await;
    assert!(said.contains("According to exec_command"), "{said}");
    tap.assert_valid(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_works_with_its_tools() {
    let Some(prefix) = agents() else { return };
    let (sim, _gateway, tap) = stage().await;
    let home = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let arguments = json!({"command": "echo lit-$((6*7)) > made.txt && cat made.txt", "description": "Makes a file"});
    let said = run_agent(
        "claude",
        &prefix.join("node_modules/@anthropic-ai/claude-code-linux-x64/claude"),
        &[
            "-p",
            &format!("Run it [[sim:call=Bash{arguments}]]"),
            "--allowedTools",
            "Bash",
        ],
        &[
            ("HOME", home.path().to_str().unwrap()),
            ("ANTHROPIC_BASE_URL", &tap.url()),
            ("ANTHROPIC_AUTH_TOKEN", API_KEY),
            ("ANTHROPIC_MODEL", MODEL),
            ("ANTHROPIC_SMALL_FAST_MODEL", "grok-4.3"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ],
        work.path(),
    )
    .await;
    check(&sim, "messages", work.path(), &said).await;
    assert!(said.contains("According to Bash"), "{said}");
    tap.assert_valid(2).await;
}
