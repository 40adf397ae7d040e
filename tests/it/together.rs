//! What the nodes of a cluster have in common, with real processes and a real NATS.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use serde_json::json;

use crate::support::admin::Admin;
use crate::support::nats::NatsServers;
use crate::support::process::Process;
use crate::support::{Gateway, MODEL, Plan, Sim, ask};

/// A node that joins whatever is there, without a password or key of its own.
fn plan(sim: &Sim, nats: &NatsServers) -> Plan {
    Plan::of(sim, 1)
        .without("GROK2API__APP__APP_KEY")
        .without("GROK2API__APP__API_KEY")
        .env("NATS_URL", &nats.url())
}

/// What a start printed behind this word, if it was made then.
fn printed(said: &str, name: &str) -> Option<String> {
    let line = said
        .lines()
        .find(|line| line.trim_start().starts_with(name) && line.contains("shown only now"))?;
    let value = line.trim_start()[name.len()..].split_whitespace().next()?;
    Some(value.to_owned())
}

/// The one node that printed it.
fn printed_once(nodes: &mut [Gateway], name: &str) -> String {
    let mut all: Vec<String> = nodes
        .iter_mut()
        .filter_map(|node| printed(&node.process().output(), name))
        .collect();
    assert_eq!(all.len(), 1, "{name} is printed by one node");
    all.remove(0)
}

async fn soon(what: &str, check: impl AsyncFn() -> Result<(), String>) {
    for _ in 0..400 {
        if check().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let last = check().await;
    assert!(last.is_ok(), "not in 10 s: {what}: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_start_at_the_same_instant_have_one_first_start() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(1).await;
    let mut nodes = join_all((0..3).map(|_| plan(&sim, &nats).start())).await;

    let keys: BTreeSet<String> = nodes
        .iter()
        .map(|node| std::fs::read_to_string(node.data().join("master.key")).unwrap())
        .collect();
    assert_eq!(keys.len(), 1, "one cluster key");
    let password = printed_once(&mut nodes, "password");
    let client_key = printed_once(&mut nodes, "client key");
    let mut silent = 0;
    for node in &mut nodes {
        silent += usize::from(node.process().output().contains("exists already"));
    }
    assert!(silent >= 2, "the others say that they exist already");

    // Sessions, keys and configuration: whatever one node did counts on all.
    let admin = Admin::login(nodes[0].http(), "admin", &password).await;
    let on = |node: &Gateway| node.http().anonymous().with_bearer(admin.token());
    for node in &nodes {
        on(node).get("/api/v1/admin/session").await.ok();
        node.as_client(&client_key).get("/v1/models").await.ok();
    }
    // All three brought the same upstream key; a file brings it again.
    let again = Admin::login(nodes[2].http(), "admin", &password).await;
    again.import(&[Sim::key(0)]).await;
    let mut ids = BTreeSet::new();
    for node in &nodes {
        let there = Admin::login(node.http(), "admin", &password).await;
        there.wait_for_tokens(1).await;
        let tokens = there.tokens().await;
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        ids.insert(tokens[0]["id"].to_string());
    }
    assert_eq!(ids.len(), 1, "one record for one key: {ids:?}");
    // A conversation that one node began is known to all, and so is its end.
    let mut turn = ask(MODEL, "Hello");
    turn["prompt_cache_key"] = "a conversation".into();
    nodes[0].as_client(&client_key).chat(&turn).await.ok();
    let known_everywhere = async |count: u64| {
        for node in &nodes {
            soon("one view of conversations", async || {
                let got = on(node).get("/api/v1/admin/affinity").await.ok().json();
                if got["total"] == count {
                    Ok(())
                } else {
                    Err(got.to_string())
                }
            })
            .await;
        }
    };
    known_everywhere(1).await;
    on(&nodes[2])
        .post("/api/v1/admin/affinity/clear", &json!({"all": true}))
        .await
        .ok();
    known_everywhere(0).await;
    let made = admin.new_key(json!({"name": "everywhere"})).await;
    for node in &nodes {
        soon("a new key works on every node", async || {
            let got = node.as_client(&made.secret).get("/v1/models").await;
            if got.status == 200 { Ok(()) } else { Err(got.text()) }
        })
        .await;
    }
    admin.delete(&format!("/keys/{}", made.id)).await.ok();
    for node in &nodes {
        soon("a deleted key works on none", async || {
            let got = node.as_client(&made.secret).get("/v1/models").await;
            if got.status == 401 { Ok(()) } else { Err(got.text()) }
        })
        .await;
    }
    admin
        .post("/config", &json!({"clients": {"max_wait_ms": 777}}))
        .await
        .ok();
    for node in &nodes {
        soon("an edit is in force on every node", async || {
            let got = on(node).get("/api/v1/admin/config").await.ok().json();
            let wait = &got["clients"]["max_wait_ms"];
            if *wait == 777 { Ok(()) } else { Err(wait.to_string()) }
        })
        .await;
    }
    let views = join_all(
        nodes
            .iter()
            .map(async |node| on(node).get("/api/v1/admin/config?view=full").await.ok().json()["revision"].clone()),
    )
    .await;
    let edit = |wait: u64| json!({"revision": views[0], "values": {"clients.max_wait_ms": wait}});
    let (first, second) = (on(&nodes[1]), on(&nodes[2]));
    let (first_edit, second_edit) = (edit(1), edit(2));
    let outcomes = tokio::join!(
        first.post("/api/v1/admin/config", &first_edit),
        second.post("/api/v1/admin/config", &second_edit)
    );
    let statuses = BTreeSet::from([outcomes.0.status.as_u16(), outcomes.1.status.as_u16()]);
    assert_eq!(
        statuses,
        BTreeSet::from([200, 409]),
        "of two edits one is told of the other"
    );

    nodes[1]
        .http()
        .anonymous()
        .with_bearer(admin.token())
        .send(Method::POST, "/api/v1/admin/logout", &[], "")
        .await
        .ok();
    for node in &nodes {
        soon("logged out on every node", async || {
            let got = on(node).get("/api/v1/admin/session").await;
            if got.status == 401 { Ok(()) } else { Err(got.text()) }
        })
        .await;
    }

    // Any of them can start again alone, and nothing is made twice.
    let mut last = nodes.pop().unwrap();
    drop(nodes);
    last.restart().await;
    let said = last.process().output();
    assert!(printed(&said, "password").is_none() && printed(&said, "client key").is_none());
    Admin::login(last.http(), "admin", &password).await;
    last.as_client(&client_key).get("/v1/models").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_key_is_refused_with_one_line() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(1).await;
    let of = |key: &str| plan(&sim, &nats).set("security.master_key", key);
    let first = of("the key that every node brings").start().await;
    first.assert_alive().await;
    for (other, told) in [
        (of("some other key of 16 and more"), "security.master_key"),
        (plan(&sim, &nats), "GROK2API__SECURITY__MASTER_KEY"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let mut process = Process::start("refused", other.command(root.path()), root.path());
        let status = process.wait(Duration::from_secs(30)).await;
        assert_eq!(status.code(), Some(1), "{}", process.output());
        assert!(
            process.stderr().contains(told) && process.stderr().lines().count() == 1,
            "{}",
            process.output()
        );
    }
    let second = of("the key that every node brings").start().await;
    second.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nodes_requests_are_in_the_log_of_the_others() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(1).await;
    let plan = || Plan::of(&sim, 1).env("NATS_URL", &nats.url());
    let mut first = plan().start_warm().await;
    let got = first.http().chat(&ask(MODEL, "Hello")).await.ok();
    let id = got.header("x-request-id").to_owned();
    let own = first.admin().await.request(&id).await;
    let second = plan().start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.kill();
    let seen = second.admin().await.request(&id).await;
    assert_eq!(seen, own);
    assert!(!seen["node"].as_str().unwrap().is_empty(), "{seen}");
    let listed = second.admin().await.requests("limit=10").await;
    assert!(listed.iter().any(|record| record["id"] == id.as_str()), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_files_quotas_and_the_playgrounds_key_are_the_clusters() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(1).await;
    let named = |name: &str| {
        Plan::of(&sim, 1)
            .env("NATS_URL", &nats.url())
            .set("cluster.node_id", name)
            .limits(&Sim::team_id(0), "*", "rpm = 500\ntpm = 4000000")
    };
    let first = named("first").start_warm().await;
    let second = named("second").start_warm().await;
    let (here, there) = (first.admin().await, second.admin().await);

    // Log files: of both, of one, and the end of both in one answer.
    soon("both nodes' files", async || {
        let files = here.get("/logs/files").await.ok().json();
        let of: BTreeSet<&str> = files["files"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|file| file["node"].as_str())
            .collect();
        if of == BTreeSet::from(["first", "second"]) {
            Ok(())
        } else {
            Err(files.to_string())
        }
    })
    .await;
    let only = here.get("/logs/files?node=second").await.ok().json();
    assert!(
        only["files"]
            .as_array()
            .unwrap()
            .iter()
            .all(|file| file["node"] == "second"),
        "{only}"
    );
    // What the second node writes is read at the first.
    there
        .post(
            "/tokens/clear-cooling",
            &json!({"ids": [there.tokens().await[0]["id"]]}),
        )
        .await
        .ok();
    soon("a line of the other node", async || {
        let tail = here
            .get("/logs/tail?node=second&text=admin%20action&level=info")
            .await
            .ok()
            .json();
        let found = tail["lines"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line.as_str().unwrap().contains("clear_cooling"));
        if found && tail["node"] == "second" {
            Ok(())
        } else {
            Err(tail.to_string())
        }
    })
    .await;
    let both = here.get("/logs/tail?node=*&lines=5000").await.ok().json();
    let lines = both["lines"].as_array().unwrap();
    for node in ["| first |", "| second |"] {
        assert!(
            lines.iter().any(|line| line.as_str().unwrap().contains(node)),
            "{node} in {both}"
        );
    }
    let times: Vec<&str> = lines.iter().filter_map(|line| line.as_str()?.get(..19)).collect();
    assert!(
        times.is_sorted_by(|a, b| a <= b || !b.starts_with("20")),
        "in the order of time"
    );
    for (path, status) in [
        ("node=nobody", 404),
        ("level=loud", 400),
        ("file=../x.log", 400),
        ("file=none.log", 404),
        ("node=second&file=none.log", 404),
    ] {
        here.get(&format!("/logs/tail?{path}")).await.with_status(status);
    }
    // What looks like a number is a text all the same.
    here.get("/logs/tail?text=404").await.ok();

    // Quotas: what one node uses is seen at the other, and what a token served.
    let id = here.tokens().await[0]["id"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        second.http().chat(&ask(MODEL, "hello")).await.ok();
    }
    soon("the other node's use", async || {
        let quotas = here.get(&format!("/tokens/{id}/quotas")).await.ok().json();
        let meters = quotas["meters"].as_array().unwrap();
        let requests = meters
            .iter()
            .find(|meter| meter["kind"] == "requests" && meter["used"].as_u64() >= Some(5));
        match requests {
            Some(meter) if meter["limit"] == 500 && meter["window_ms"] == 60_000 => Ok(()),
            _ => Err(quotas.to_string()),
        }
    })
    .await;
    soon("what it served", async || {
        let activity = here.get(&format!("/tokens/activity?ids={id}")).await.ok().json();
        let served: u64 = activity["items"][0]["ok"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_u64)
            .sum();
        if served >= 5 { Ok(()) } else { Err(activity.to_string()) }
    })
    .await;
    here.get("/tokens/activity").await.with_status(400);
    here.get("/tokens/activity?ids=nonsense").await.with_status(400);
    here.get("/tokens/tok_00000000000000000000000000000000/quotas")
        .await
        .with_status(404);

    // The key of a session opens both nodes, and neither after the logout at the other one.
    let made = here.post("/session/key", &json!({})).await.ok().json();
    let key = made["key"].as_str().unwrap().to_owned();
    soon("the key at the other node", async || {
        let got = second.as_client(&key).get("/v1/models").await;
        if got.status == 200 { Ok(()) } else { Err(got.text()) }
    })
    .await;
    let same = Admin::with_token(second.http(), here.token());
    assert_eq!(same.post("/session/key", &json!({})).await.ok().json()["key"], key);
    same.post("/logout", &json!({})).await.ok();
    second.as_client(&key).get("/v1/models").await.with_status(401);
    soon("its end at the first node", async || {
        let got = first.as_client(&key).get("/v1/models").await;
        if got.status == 401 { Ok(()) } else { Err(got.text()) }
    })
    .await;
}
