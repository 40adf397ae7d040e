//! The panel in a headless browser, against the built program: `tests/clients/node/panel` walks every page. Pictures go to
//! `target/panel/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::gateway::{API_KEY, PASSWORD};
use crate::support::nats::NatsServers;
use crate::support::scripts::{node_prefix, run_plain_node};
use crate::support::{Gateway, Plan, Sim, ask, ask_streamed};

/// Chromium, if this machine has it, and axe-core, if this run has it.
fn browser() -> Option<(PathBuf, PathBuf)> {
    let axe = node_prefix()?.join("node_modules/axe-core/axe.min.js");
    let given = std::env::var_os("GROK2API_TEST_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = given.into_iter().chain(
        std::env::split_paths(&path).flat_map(|place| ["chromium", "google-chrome"].map(|name| place.join(name))),
    );
    let chromium = found.into_iter().find(|path| path.is_file());
    if chromium.is_none() {
        println!("left out: no chromium (.ci/machine installs it)");
    }
    Some((chromium?, axe))
}

/// Where pictures go.
fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../panel")
}

async fn walk(gateway: &Gateway, what: &str) {
    walk_at(gateway.url(), gateway.id(), what).await;
}

async fn walk_at(url: &str, pid: u32, what: &str) {
    let Some((chromium, axe)) = browser() else { return };
    let out = pictures();
    run_plain_node(
        "panel/panel.mjs",
        &[
            ("GATEWAY", url),
            ("GATEWAY_PID", &pid.to_string()),
            ("PASSWORD", PASSWORD),
            ("OUT", out.to_str().unwrap()),
            ("CHROMIUM", chromium.to_str().unwrap()),
            ("AXE", axe.to_str().unwrap()),
            ("WHAT", what),
        ],
    )
    .await;
}

/// A pool with something to tell: tokens of three teams that work, and a short log.
async fn busy() -> (Sim, Gateway) {
    let sim = Sim::with_teams(3).await;
    // One team at its limit, one half-way, one without any.
    let plan = Plan::of(&sim, 3)
        .limits(&Sim::team_id(0), "*", "rpm = 6\ntpm = 2000000\nusd_per_day = 0.5")
        .limits(&Sim::team_id(1), "*", "rpm = 60\nrps = 5\nconcurrency = 8")
        .config("[[xai.rules]]\nstatus = 503\nretry = true\ncool = \"token\"\nfor_secs = 3600\n");
    let gateway = plan.start_warm().await;
    served(&gateway).await;
    rested(&sim, &gateway).await;
    let admin = gateway.admin().await;
    for (name, limits) in [
        ("web", serde_json::json!({"chat_limit": 40, "budget_usd": 5})),
        (
            "batch jobs",
            serde_json::json!({"rpm": 600, "budget_usd": 0.01, "allowed_models": ["grok-4*"]}),
        ),
        ("left the company", serde_json::json!({"is_active": false})),
    ] {
        let mut key = limits;
        key["name"] = name.into();
        let made = admin.post("/keys", &key).await.ok().json();
        let client = gateway.as_client(made["data"]["key"].as_str().unwrap());
        for n in 0..7 {
            client.chat(&ask("grok-4.7", &format!("{name} {n}"))).await;
        }
    }
    let picture = serde_json::json!({"prompt": "A lighthouse", "n": 3});
    gateway
        .as_client(API_KEY)
        .post("/v1/images/generations", &picture)
        .await
        .ok();
    (sim, gateway)
}

/// A token that rests for a while: the upstream said so.
async fn rested(sim: &Sim, gateway: &Gateway) {
    let client = gateway.as_client(API_KEY);
    let rule = serde_json::json!({"when": {"team": Sim::team_id(2), "path": "/v1/chat/completions"}, "do": {"error": "unavailable-503"}});
    let rule = sim.script(rule).await[0];
    for n in 0..200 {
        if sim.hits(rule).await > 0 {
            break;
        }
        client.chat(&ask("grok-4.7", &format!("until it rests {n}"))).await;
    }
    sim.behave().await;
}

/// A short log.
async fn served(gateway: &Gateway) {
    let client = gateway.as_client(API_KEY);
    for n in 0..12 {
        client.chat(&ask("grok-4.7", &format!("number {n}"))).await.ok();
    }
    client.chat(&ask("no-such-model", "hello")).await;
    client
        .open_chat(&ask_streamed("grok-4.7", "hello"))
        .await
        .finish()
        .await;
    let list = "xai-nothing-of-the-kind-1\nxai-nothing-of-the-kind-2\nno credential\n";
    let job = serde_json::json!({"title": "a list with faults", "list": {"lines": list}});
    gateway.admin().await.post("/jobs", &job).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_does_what_it_is_for() {
    let sim = Sim::with_teams(3).await;
    let limited = |plan: Plan, at| plan.limits(&Sim::team_id(at), "*", "rpm = 600\ntpm = 2000000");
    let gateway = (0..3).fold(Plan::of(&sim, 3), limited).start_warm().await;
    served(&gateway).await;
    walk(&gateway, "pages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_clause_of_the_pages_holds() {
    let sim = Sim::with_teams(3).await;
    let plan = Plan::of(&sim, 3)
        .set("xai.management_url", sim.url())
        .set("xai.management_key", "xai-management-simulator");
    let gateway = plan.start_warm().await;
    served(&gateway).await;
    let picture = serde_json::json!({"prompt": "A lighthouse", "n": 1});
    let client = gateway.as_client(API_KEY);
    client.post("/v1/images/generations", &picture).await.ok();
    walk(&gateway, "clauses").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_says_how_long_one_who_guesses_has_to_wait() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    walk(&gateway, "throttled").await;
}

/// The walk kills the node under an open form; it comes back at its address.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_told_and_so_is_its_return() {
    if browser().is_none() {
        return;
    }
    let sim = Sim::with_teams(1).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut gateway = Plan::of(&sim, 1).port(port).start_warm().await;
    let (url, pid) = (gateway.url().to_owned(), gateway.id());
    let told = pictures().join("told-of-a-death");
    std::fs::remove_file(&told).ok();
    let returns = async {
        gateway.process().wait(Duration::from_secs(200)).await;
        while !told.exists() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        gateway.restart().await;
    };
    tokio::select! {
        () = async { tokio::join!(walk_at(&url, pid, "dies"), returns); } => {}
        () = tokio::time::sleep(Duration::from_secs(300)) => panic!("the page never told of the death"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pressed_twice_is_done_once() {
    let sim = Sim::with_teams(2).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    walk(&gateway, "twice").await;
}

/// Names of operators, of clients and of the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_text_in_their_place() {
    let hostile = |tail: &str| format!("<img src=x onerror=console.error(3)>\u{202e}{tail}{}", "W".repeat(120));
    let sim = Sim::play(serde_json::json!({
        "teams": [Sim::team(0), {"id": hostile("team"), "keys": [Sim::key(1)]}],
        "models": [{"id": hostile("model")}],
    }))
    .await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    walk(&gateway, "hostile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_fit_to_look_at_with_little_and_with_much() {
    let (_sim, gateway) = busy().await;
    walk(&gateway, "pictures").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pool_teaches_the_next_step_and_ten_thousand_lines_come_in() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::new(&sim.base_url()).start().await;
    walk(&gateway, "empty").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_seen_and_a_node_drained() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(1).await;
    let plan = |name: &str| {
        Plan::of(&sim, 1)
            .env("NATS_URL", &nats.url())
            .set("cluster.node_id", name)
            .set("server.drain_delay_secs", 0)
    };
    let first = plan("node0").start().await;
    let second = plan("node1").start().await;
    for (node, pictures) in [(&first, 2), (&second, 1)] {
        let ask = serde_json::json!({"prompt": "A lighthouse", "n": pictures});
        node.as_client(API_KEY).post("/v1/images/generations", &ask).await.ok();
    }
    walk(&first, "nodes").await;
}
