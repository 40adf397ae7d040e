//! Registration jobs, with real processes: lists, a scripted Management API, a provisioner, and nodes that die half-way.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::admin::Admin;
use crate::support::gateway::PASSWORD;
use crate::support::nats::NatsServers;
use crate::support::process::{self, program};
use crate::support::scripts::start_node;
use crate::support::{Gateway, Plan, Sim, eventually};

const MANAGEMENT_KEY: &str = "xai-management-simulator";
pub const SOON: Duration = Duration::from_secs(60);

/// A simulator with `count` keys of one team, of which the first stands for itself.
pub async fn sim_of(count: usize) -> Sim {
    let keys: Vec<String> = (0..count).map(Sim::key).collect();
    Sim::play(json!({"teams": [{"id": Sim::team_id(0), "keys": keys}]})).await
}

fn managed(sim: &Sim) -> Plan {
    Plan::new(&sim.base_url())
        .set("xai.management_url", sim.url())
        .set("xai.management_key", MANAGEMENT_KEY)
}

pub async fn start(admin: &Admin, job: Value) -> String {
    let got = admin.post("/jobs", &job).await.ok().json();
    got["id"].as_str().unwrap_or_else(|| panic!("{got}")).to_owned()
}

pub async fn job(admin: &Admin, id: &str) -> Value {
    admin.get(&format!("/jobs/{id}?limit=0")).await.ok().json()["job"].clone()
}

/// Waits until a job stands so.
pub async fn until(admin: &Admin, id: &str, status: &str) -> Value {
    eventually(status, SOON, || async {
        let job = job(admin, id).await;
        match job["status"] == status {
            true => Ok(()),
            false => Err(job.to_string()),
        }
    })
    .await;
    job(admin, id).await
}

/// What the Management API did.
async fn management(sim: &Sim) -> Value {
    sim.http().get("/__sim/management").await.ok().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_any_form_is_verified_line_by_line() {
    let sim = sim_of(4).await;
    sim.set_key(json!({"secret": Sim::key(2), "blocked": true})).await;
    let gateway = Plan::new(&sim.base_url()).start().await;
    let admin = gateway.admin().await;
    let list = format!(
        "name,token\nfirst,{}\nsecond,{}\nblocked,{}\nmade up,xai-{}\nbroken,\"x\nagain,{}\n",
        Sim::key(0),
        Sim::key(1),
        Sim::key(2),
        "z".repeat(80),
        Sim::key(0)
    );
    let id = start(&admin, json!({"list": {"lines": list}})).await;
    let done = until(&admin, &id, "completed").await;
    let counts = &done["counts"];
    assert_eq!(
        (&counts["added"], &counts["existing"], &counts["failed"]),
        (&json!(2), &json!(1), &json!(3)),
        "{done}"
    );
    let failed = admin.get(&format!("/jobs/{id}?state=failed")).await.ok().json();
    let rows: Vec<(u64, &str)> = failed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["line"].as_u64().unwrap(), item["step"].as_str().unwrap()))
        .collect();
    assert_eq!(rows, [(4, "verify"), (5, "verify"), (6, "normalise")], "{failed}");
    assert!(failed["items"].to_string().contains("blocked"), "{failed}");
    assert!(!failed.to_string().contains(&Sim::key(2)), "no secret is told");
    let token = admin.token_of(&Sim::key(1)).await;
    assert_eq!(token["label"], "second");

    // The upstream mends; failed items are tried again.
    sim.set_key(json!({"secret": Sim::key(2), "blocked": false})).await;
    admin
        .post(&format!("/jobs/{id}/resume"), &json!({"failed": true}))
        .await
        .ok();
    eventually("the mended one is added", SOON, || async {
        let job = job(&admin, &id).await;
        match (job["status"] == "completed", &job["counts"]["added"]) {
            (true, added) if *added == json!(3) => Ok(()),
            _ => Err(job.to_string()),
        }
    })
    .await;

    // Wrong asks are told, and change nothing.
    for (ask, param) in [
        (json!({}), "list"),
        (json!({"list": {"lines": ""}}), "list.lines"),
        (json!({"list": {"lines": "xai-x"}, "provision": {}}), "list"),
        (json!({"mint": {"count": 1}}), "mint"),
        (json!({"provision": {}}), "provision"),
        (
            json!({"list": {"lines": "xai-one-two"}, "concurrency": 0}),
            "concurrency",
        ),
        (json!({"list": {"lines": "xai-one-two"}, "speed": 1}), "speed"),
    ] {
        let got = admin.post("/jobs", &ask).await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["error"]["param"]),
            (400, &json!(param)),
            "{ask}"
        );
    }
    assert_eq!(admin.get("/jobs").await.ok().json()["total"], 1);
    let got = admin.post(&format!("/jobs/{id}/pause"), &json!({})).await;
    assert_eq!(
        (got.status.as_u16(), &got.json()["error"]["code"]),
        (409, &json!("job_status"))
    );
    assert_eq!(admin.get("/jobs/job_1").await.status, 400);

    // A client key opens nothing, a cookie without the CSRF token changes nothing.
    let cookie = format!("grok2api_session={}", admin.token());
    for path in ["/api/v1/admin/jobs".to_owned(), format!("/api/v1/admin/jobs/{id}/stop")] {
        let with_key = gateway.http().post(&path, &json!({})).await;
        assert_eq!(
            (with_key.status.as_u16(), &with_key.json()["error"]["code"]),
            (401, &json!("client_key"))
        );
        let headers = [("cookie", cookie.as_str()), ("content-type", "application/json")];
        let forged = gateway
            .http()
            .anonymous()
            .send(http::Method::POST, &path, &headers, "{}")
            .await;
        assert_eq!(
            (forged.status.as_u16(), &forged.json()["error"]["code"]),
            (403, &json!("csrf"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_minted_rotated_and_taken_back_and_a_lost_answer_makes_no_second_key() {
    let sim = sim_of(1).await;
    let gateway = managed(&sim).start().await;
    let admin = gateway.admin().await;
    sim.http()
        .post("/__sim/management", &json!({"lose_answers": 2}))
        .await
        .ok();
    let mint = json!({"mint": {"count": 12, "name": "pool-{n}", "qpm": 60, "tpm": 5000}, "concurrency": 4});
    let id = start(&admin, mint).await;
    let done = until(&admin, &id, "completed").await;
    assert_eq!(
        (&done["counts"]["added"], &done["counts"]["failed"]),
        (&json!(12), &json!(0)),
        "{done}"
    );
    let said = management(&sim).await;
    assert_eq!(
        (&said["made"], &said["rotated"]),
        (&json!(12), &json!(2)),
        "lost answers are found by name: {said}"
    );
    let names: BTreeSet<&str> = said["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 12);
    assert!(names.iter().all(|name| name.starts_with("pool-")), "{names:?}");
    assert_eq!(said["keys"][0]["ceilings"]["tpm"], "5000");
    admin.wait_for_tokens(12).await;
    gateway
        .http()
        .chat(&crate::support::ask("grok-4.7", "hello"))
        .await
        .ok();

    let rotate = json!({"rotate": {"named": "pool-1", "overlap_hours": 0}});
    let rotated = start(&admin, rotate).await;
    let done = until(&admin, &rotated, "completed").await;
    // pool-1, pool-10, pool-11, pool-12.
    assert_eq!(
        (&done["total"], &done["counts"]["added"]),
        (&json!(4), &json!(4)),
        "{done}"
    );

    let stop = admin.post(&format!("/jobs/{id}/stop"), &json!({"revoke": true})).await;
    stop.ok();
    let stopped = until(&admin, &id, "stopped").await;
    assert_eq!(stopped["counts"]["revoked"], 12, "{stopped}");
    assert_eq!(management(&sim).await["deleted"], 12);
    assert!(admin.tokens().await.len() <= 4, "what was minted is out of the pool");

    // The older project's routes stand for a provisioner, and there is none.
    let older = admin.post("/tokens/auto-register", &json!({"count": 3})).await;
    assert_eq!(
        (
            older.status.as_u16(),
            older.text().contains("does not sign up accounts")
        ),
        (501, true)
    );
    let status = admin.get("/tokens/auto-register/status").await.ok().json();
    assert_eq!(status["status"], "completed");
    assert_eq!(
        admin.get("/tokens/auto-register/status?job_id=00000000").await.status,
        404
    );
    assert_eq!(
        admin.post("/tokens/nsfw/refresh", &json!({"all": true})).await.status,
        501
    );

    // A management key that is not accepted gives the job up, with the reason.
    let mut wrong = managed(&sim).set("xai.management_key", "wrong").start().await;
    let admin = wrong.admin().await;
    let got = admin.post("/jobs", &json!({"mint": {"count": 1}})).await;
    assert_eq!(
        (got.status.as_u16(), &got.json()["error"]["code"]),
        (400, &json!("management_api"))
    );
    let id = start(&admin, json!({"mint": {"count": 50, "team": Sim::team_id(0)}})).await;
    let failed = until(&admin, &id, "failed").await;
    assert!(failed["reason"].as_str().unwrap().contains("not accepted"), "{failed}");
    wrong.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provisioner_is_asked_with_a_signature_and_the_command_line_follows_the_job() {
    let sim = sim_of(3).await;
    let files = tempfile::tempdir().unwrap();
    let credentials = files.path().join("credentials.txt");
    std::fs::write(&credentials, (0..3).map(|n| Sim::key(n) + "\n").collect::<String>()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/provisioner.mjs");
    let Some(mut service) = start_provisioner(&script, &credentials, files.path()) else {
        return;
    };
    let url = service
        .wait_for("its address", SOON, |said| {
            crate::support::process::find_address(said, |url| url.contains("127.0.0.1"))
        })
        .await;
    let plan = |secret: &str| {
        Plan::new(&sim.base_url())
            .set("jobs.provisioner_url", &url)
            .set("jobs.provisioner_secret", secret)
    };
    let gateway = plan("a shared secret").start().await;
    let run = async |arguments: &[&str]| -> Value {
        let mut command = program();
        command
            .args(arguments)
            .args(["--url", gateway.url()])
            .env("GROK2API_ADMIN_PASSWORD", PASSWORD);
        let ended = process::run(command, Duration::from_secs(30)).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let started = run(&["job", "start", "provision.count=10"]).await;
    let id = started["id"].as_str().unwrap().to_owned();
    let admin = gateway.admin().await;
    let done = until(&admin, &id, "completed").await;
    assert_eq!(done["reason"], "the provisioner has no more");
    assert_eq!(
        (&done["counts"]["added"], &done["counts"]["skipped"]),
        (&json!(3), &json!(7)),
        "{done}"
    );
    let shown = run(&["job", "get", &format!("id={id}"), "states=done", "limit=2"]).await;
    assert_eq!(shown["items"].as_array().unwrap().len(), 2);
    assert_eq!(run(&["job", "list"]).await["total"], 1);

    // The older project's three routes, over the same provisioner.
    let older = admin
        .post("/tokens/auto-register", &json!({"count": 2, "pool": "apiKey"}))
        .await
        .ok()
        .json();
    assert_eq!(
        (&older["status"], &older["job"]["total"]),
        (&json!("started"), &json!(2))
    );
    let id = older["job"]["job_id"].as_str().unwrap();
    until(&admin, id, "completed").await;
    let status = admin
        .get(&format!("/tokens/auto-register/status?job_id={id}"))
        .await
        .ok()
        .json();
    assert_eq!(
        (&status["status"], &status["error"]),
        (&json!("error"), &json!("Registration ended early (0/2)."))
    );
    assert_eq!(
        admin.post("/tokens/auto-register/stop", &json!({})).await.ok().json()["status"],
        "stopping"
    );

    // Another secret: the service refuses it, and the job says so.
    let other = plan("another secret").start().await;
    let admin = other.admin().await;
    let id = start(&admin, json!({"provision": {"count": 5}})).await;
    let failed = until(&admin, &id, "failed").await;
    assert!(failed["reason"].as_str().unwrap().contains("signature"), "{failed}");
}

fn start_provisioner(script: &Path, credentials: &Path, logs: &Path) -> Option<crate::support::process::Process> {
    let mut command = std::process::Command::new("node");
    let found = std::process::Command::new("node").arg("--version").output().is_ok();
    if !found {
        // As every script of the tests: CI installs Node.
        let _ = start_node(script, &[], logs)?;
    }
    command
        .arg(script)
        .arg(credentials)
        .arg("0")
        .env("PROVISIONER_SECRET", "a shared secret");
    Some(crate::support::process::Process::start("provisioner", command, logs))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_owner_is_killed_half_way_is_finished_exactly_once() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = sim_of(500).await;
    let plan = |name: &str| managed(&sim).env("NATS_URL", &nats.url()).set("cluster.node_id", name);
    let mut nodes: Vec<Gateway> = Vec::new();
    for name in ["node0", "node1", "node2"] {
        nodes.push(plan(name).start().await);
    }
    let token = nodes[0].admin().await.token().to_owned();
    let admins: Vec<Admin> = nodes
        .iter()
        .map(|node| Admin::with_token(node.http(), &token))
        .collect();
    let list: String = (0..500).map(|n| Sim::key(n) + "\n").collect();
    let listed = start(&admins[1], json!({"list": {"lines": list}})).await;
    let minted = start(&admins[2], json!({"mint": {"count": 120}, "concurrency": 6})).await;
    eventually("both are half done", SOON, || async {
        let (one, two) = (job(&admins[0], &listed).await, job(&admins[0], &minted).await);
        let done = |job: &Value| job["counts"]["done"].as_u64().unwrap_or(0);
        match done(&one) >= 60 && done(&two) >= 20 {
            true => Ok(()),
            false => Err(format!("{one} {two}")),
        }
    })
    .await;
    // The owner of the job that makes keys dies; it may be the other's as well.
    let owner = job(&admins[0], &minted).await["node"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let at = ["node0", "node1", "node2"]
        .iter()
        .position(|name| *name == owner)
        .unwrap();
    nodes[at].kill();
    let survivor = (at + 1) % 3;
    let of_keys = until(&admins[survivor], &minted, "completed").await;
    let of_list = until(&admins[survivor], &listed, "completed").await;
    assert_eq!(
        (&of_keys["counts"]["done"], &of_keys["counts"]["failed"]),
        (&json!(120), &json!(0)),
        "{of_keys}"
    );
    assert_eq!(of_list["counts"]["done"], 500, "{of_list}");
    assert!(
        of_keys["epoch"].as_u64().unwrap() >= 2,
        "another owner finished it: {of_keys}"
    );
    let said = management(&sim).await;
    assert_eq!(said["made"], 120, "one key an item");
    assert_eq!(said["keys"].as_array().unwrap().len(), 120);
    let tokens = admins[survivor].tokens().await;
    assert_eq!(tokens.len(), 620, "each is in the pool once");
}
