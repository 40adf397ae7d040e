//! The cluster's administration over NATS, and what is written about it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::PASSWORD;
use crate::support::nats::NatsServers;
use crate::support::process::{self, program};
use crate::support::scripts::{node_prefix, run_node, start_node};
use crate::support::{MODEL, Plan, Sim, ask};

const PREFIX: &str = "desk";

/// A file of `schemas/`.
fn schemas(name: &str) -> String {
    format!("{}/schemas/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn the_asyncapi_document_passes_its_own_parser() {
    if node_prefix().is_none() {
        return;
    }
    let path = schemas("asyncapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let operations = document["operations"].as_object().unwrap().len().to_string();
    run_node("asyncapi.mjs", &[("DOCUMENT", &path), ("OPERATIONS", &operations)]).await;
}

/// A gateway's plan on this NATS.
fn plan(sim: &Sim, nats: &NatsServers) -> Plan {
    Plan::of(sim, 1).env("NATS_URL", &nats.url()).set("nats.prefix", PREFIX)
}

/// The operations, as the table has them.
fn operations() -> Vec<&'static str> {
    let table = grok2api::ops::table::operations();
    table.iter().map(|operation| operation.about.name()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_nats_itself_administers_the_gateway() {
    if node_prefix().is_none() {
        return;
    }
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(1).await;
    let _gateway = plan(&sim, &nats).start_warm().await;
    let (url, secret, operations) = (nats.url(), Sim::key(7), operations().join(","));
    let arguments = [
        ("NATS", url.as_str()),
        ("PREFIX", PREFIX),
        ("NODES", "1"),
        ("OPERATIONS", &operations),
        ("SECRET", &secret),
    ];
    run_node("control.mjs", &arguments).await;
}

/// The shipped permissions, each role with its name for a password.
fn permissions() -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nats/permissions.conf");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    ["NODE", "OPERATOR", "WATCHER"].into_iter().fold(shipped, |text, role| {
        text.replace(&format!("${role}_PASSWORD"), &role.to_lowercase())
    })
}

/// What NATS said of permissions that somebody lacked.
fn violations(nats: &NatsServers) -> String {
    let log = std::fs::read_to_string(nats.dir().join("n0/log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("iolation"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Three nodes and an operator, each with the permissions of its role and no more.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_drives_a_cluster_over_nats_under_the_shipped_permissions() {
    if node_prefix().is_none() {
        return;
    }
    let Some(nats) = NatsServers::start(1, &permissions()).await else {
        return;
    };
    let sim = Sim::with_teams(3).await;
    let plan = |at: usize| {
        Plan::of(&sim, 1)
            .env("NATS_URL", &nats.url())
            .set("nats.user", "node")
            .set("nats.password", "node")
            .set("cluster.node_id", format!("node{at}"))
            .set("server.drain_delay_secs", 1)
    };
    let first = plan(0).start_warm().await;
    let (second, mut third) = tokio::join!(plan(1).start_warm(), plan(2).start_warm());
    let (url, secrets) = (nats.url(), [Sim::key(1), Sim::key(2)].join(","));
    let nodes = [&first, &second, &third].map(|node| node.url().to_owned()).join(",");
    let arguments = [
        ("NATS", url.as_str()),
        ("USER", "operator"),
        ("PREFIX", "grok2api"),
        ("NODES", &nodes),
        ("ADMIN_PASSWORD", PASSWORD),
        ("SECRETS", &secrets),
        ("MODEL", MODEL),
        ("DRAINED", "node2"),
    ];
    run_node("cluster.mjs", &arguments).await;
    let ended = third.process().wait(Duration::from_secs(30)).await;
    assert!(ended.success(), "{ended}: {}", third.process().output());
    assert_eq!(violations(&nats), "", "somebody lacks a permission");
    first.assert_alive().await;
    second.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_watches_a_token_rest_and_switches_it_off_and_on() {
    if node_prefix().is_none() {
        return;
    }
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(1).await;
    let gateway = plan(&sim, &nats).set("clients.max_wait_ms", 0).start_warm().await;
    let logs = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/watch.mjs");
    let url = nats.url();
    let arguments = [
        ("NATS_URL", url.as_str()),
        ("PREFIX", PREFIX),
        ("CAUSE", "rate_limited"),
        ("OFF_MS", "300"),
    ];
    let Some(mut watcher) = start_node(&script, &arguments, logs.path()) else {
        return;
    };
    let soon = Duration::from_secs(20);
    let said = |words: &'static str| move |said: &str| said.contains(words).then_some(());
    watcher
        .wait_for("that it watches", soon, said("watching desk.event.token"))
        .await;
    sim.script(json!({"when": {"path": "/v1/chat/completions"}, "do": {"error": "rate-rps-rpm"}}))
        .await;
    let _ = gateway.http().chat(&ask(MODEL, "hello")).await;
    for words in ["cooled tok_", "rate_limited", "switched off tok_", "switched on tok_"] {
        watcher.wait_for(words, soon, said(words)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_does_what_the_table_says() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let run = async |arguments: &[&str]| {
        let mut command = program();
        command
            .args(arguments)
            .args(["--url", gateway.url()])
            .env("GROK2API_ADMIN_PASSWORD", PASSWORD);
        process::run(command, Duration::from_secs(30)).await
    };
    let json = |ended: &process::Ended| -> Value {
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let added = json(&run(&["token", "add", &format!("secret={}", Sim::key(9)), "label=by hand"]).await);
    let id = added["token"]["id"].as_str().unwrap();
    let patched = json(&run(&["token", "patch", &format!("id={id}"), "set.switch=off", "set.tags=a,b"]).await);
    assert_eq!(
        (&patched["state"], &patched["tags"]),
        (&json!("disabled"), &json!(["a", "b"]))
    );
    let found = json(&run(&["token", "list", "text=by hand", "limit=5"]).await);
    assert_eq!((&found["total"], &found["items"][0]["id"]), (&json!(1), &json!(id)));
    let key = json(&run(&["key", "create", "set.name=mine", "set.rpm=3"]).await);
    assert_eq!(key["rpm"], 3);
    assert!(json(&run(&["requests", "list"]).await)["items"].is_array());

    let wrong = run(&["token", "list", "limt=5"]).await;
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.stderr.contains("unknown field `limt`") && wrong.stdout.is_empty(),
        "{}",
        wrong.said()
    );
    let unknown = run(&["token", "steal"]).await;
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.stderr.contains("grok2api token clear-cooling"),
        "{}",
        unknown.said()
    );
    assert_eq!(run(&["token", "list", "limit"]).await.code, Some(2));
}

#[tokio::test]
async fn documents_can_be_written_anew() {
    let root = tempfile::tempdir().unwrap();
    let mut command = program();
    command.arg("schemas").arg(root.path());
    assert_eq!(process::run(command, Duration::from_secs(30)).await.code, Some(0));
    let mut command = program();
    command.arg("asyncapi");
    let printed = process::run(command, Duration::from_secs(30)).await.stdout;
    assert_eq!(
        printed,
        std::fs::read_to_string(root.path().join("asyncapi.json")).unwrap()
    );
    assert_eq!(printed, std::fs::read_to_string(schemas("asyncapi.json")).unwrap());
}
