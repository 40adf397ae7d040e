//! How a node comes to a cluster, or is told in one line why not: with real processes and real NATS servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::nats::{self, NatsServers};
use crate::support::process::Process;
use crate::support::{Gateway, MODEL, Plan, Sim, ask, eventually};

const SOON: Duration = Duration::from_secs(30);

/// Starts what must not start; what it said on standard error, which is one line.
async fn refused(plan: &Plan, root: &Path) -> String {
    let mut process = Process::start("refused", plan.command(root), root);
    let status = process.wait(Duration::from_secs(60)).await;
    let said = process.stderr();
    assert_eq!(status.code(), Some(1), "{}", process.output());
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn plan(sim: &Sim, nats: &NatsServers) -> Plan {
    Plan::of(sim, 1).env("NATS_URL", &nats.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_that_is_too_old_ends_a_start_also_that_of_a_node_that_had_joined() {
    let Some(old) = nats::old_binary() else { return };
    let Some(mut nats) = NatsServers::one().await else {
        return;
    };
    let sim = Sim::with_teams(1).await;
    let mut node = plan(&sim, &nats).start().await;
    node.kill();
    nats.stop(0);
    let old = NatsServers::start_binary(old, 1, "").await;
    let root = tempfile::tempdir().unwrap();
    // A node that had joined waits for NATS however long it is away, but not for one that is there and of no use.
    for root in [root.path(), node.root()] {
        let said = refused(&plan(&sim, &old), root).await;
        assert!(
            said.contains("is version 2.9") && said.contains("2.11 or newer is needed"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hands_out_no_key_takes_only_those_who_bring_it() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(1).await;
    let keyed = |plan: Plan| plan.set("nats.join", "key");
    let key = "the key that every node brings";
    // Nobody says so and brings none, the first one neither.
    let root = tempfile::tempdir().unwrap();
    let mut process = Process::start("keyless", keyed(plan(&sim, &nats)).command(root.path()), root.path());
    let status = process.wait(SOON).await;
    assert_eq!(status.code(), Some(2), "{}", process.output());
    assert!(process.stderr().contains("nats.join") && process.stderr().contains("security.master_key"));
    let first = keyed(plan(&sim, &nats))
        .set("security.master_key", key)
        .start_warm()
        .await;
    let root = tempfile::tempdir().unwrap();
    let said = refused(&plan(&sim, &nats), root.path()).await;
    assert!(said.contains("GROK2API__SECURITY__MASTER_KEY"), "{said}");
    assert!(
        !root.path().join("data/master.key").exists(),
        "it made a key of its own"
    );
    let second = keyed(plan(&sim, &nats))
        .set("security.master_key", key)
        .start_warm()
        .await;
    for node in [&first, &second] {
        node.http().chat(&ask(MODEL, "hello")).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_stand_with_other_replicas_are_a_clear_error() {
    let Some(nats) = NatsServers::three().await else { return };
    let sim = Sim::with_teams(1).await;
    let first = plan(&sim, &nats).set("nats.replicas", 1).start().await;
    let root = tempfile::tempdir().unwrap();
    let said = refused(&plan(&sim, &nats).set("nats.replicas", 3), root.path()).await;
    assert!(
        said.contains("replicas is 1, wanted is 3 (set nats.replicas = 1, or run: nats stream edit"),
        "{said}"
    );
    first.assert_alive().await;
}

/// Whether any file below holds these bytes.
fn holds(dir: &Path, bytes: &[u8]) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        let found = if path.is_dir() {
            holds(&path, bytes)
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            content
                .windows(bytes.len())
                .any(|window| window == bytes)
                .then_some(path)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_share_one_nats_and_what_it_stores_tells_no_secret() {
    let Some(mut nats) = NatsServers::one().await else {
        return;
    };
    let sim = Sim::with_teams(2).await;
    let of = |prefix: &str, key: usize| {
        Plan::new(&sim.base_url())
            .keys([Sim::key(key)])
            .env("NATS_URL", &nats.url())
            .set("nats.prefix", prefix)
    };
    let ours = [of("ours", 0).start_warm().await, of("ours", 0).start_warm().await];
    let theirs = of("theirs", 1).start_warm().await;
    let (here, there) = (ours[0].admin().await, theirs.admin().await);
    let made = here.new_key(json!({"name": "of ours"})).await;
    let known = |node: &Gateway| {
        let client = node.as_client(&made.secret);
        async move { client.get("/v1/models").await.status.as_u16() }
    };
    eventually("the key on our other node", SOON, || async {
        match known(&ours[1]).await {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    assert_eq!(known(&theirs).await, 401, "a key of another cluster");
    here.post(
        "/config",
        &json!({"clients": {"max_wait_ms": 1_234}, "app": {"api_key": "sk-kept-in-the-configuration"}}),
    )
    .await
    .ok();
    for (admin, nodes, secret) in [(&here, 2, Sim::key(0)), (&there, 1, Sim::key(1))] {
        let view = admin.get("/cluster").await.ok().json();
        assert_eq!(view["nodes"].as_array().unwrap().len(), nodes, "{view}");
        let tokens = admin.tokens().await;
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        assert_eq!(admin.token_of(&secret).await["state"], "active");
    }
    let config = there.get("/config").await.ok().json();
    assert_ne!(config["clients"]["max_wait_ms"], 1_234);
    // A session of one opens nothing of the other.
    let elsewhere = crate::support::Admin::with_token(theirs.http(), here.token());
    elsewhere.get("/tokens").await.with_status(401);
    ours[1].http().chat(&ask(MODEL, "hello")).await.ok();

    let keys = [&ours[0], &theirs].map(|node| std::fs::read_to_string(node.data().join("master.key")).unwrap());
    assert_ne!(keys[0], keys[1], "each cluster has its own key");
    let session = here.token().to_owned();
    drop((ours, theirs));
    nats.stop(0);
    let secrets = [
        Sim::key(0),
        Sim::key(1),
        made.secret,
        session,
        crate::support::gateway::PASSWORD.to_owned(),
        "sk-kept-in-the-configuration".to_owned(),
        keys[0].trim().to_owned(),
    ];
    // The reader is right: what is no secret is found.
    assert!(holds(nats.dir(), b"of ours").is_some() || holds(nats.dir(), b"tokens").is_some());
    for secret in secrets {
        assert_eq!(
            holds(nats.dir(), secret.as_bytes()),
            None,
            "{secret} lies open on the disk of NATS"
        );
    }
}

/// A file beside the bus's own tests.
fn login_file(name: &str) -> String {
    format!("{}/actors/src/bus/nats/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A node on such servers, with this login: it serves, and without it does not start.
async fn logs_in(more: &str, with: impl Fn(Plan) -> Plan) {
    let Some(nats) = NatsServers::start(1, more).await else {
        return;
    };
    let sim = Sim::with_teams(1).await;
    let plan = plan(&sim, &nats).set("nats.start_deadline_secs", 5);
    let node = with(plan.clone()).start_warm().await;
    node.http().chat(&ask(MODEL, "hello")).await.ok();
    let root = tempfile::tempdir().unwrap();
    let said = refused(&plan, root.path()).await;
    assert!(said.contains("nats."), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_logs_in_with_a_token_an_nkey_or_a_credentials_file() {
    logs_in("authorization { token: right }", |plan| plan.set("nats.token", "right")).await;
    let public = std::fs::read_to_string(login_file("node.pub")).unwrap();
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", public.trim());
    logs_in(&users, |plan| plan.set("nats.nkey", login_file("node.nk"))).await;
    let operator = std::fs::read_to_string(login_file("operator.conf")).unwrap();
    logs_in(&operator, |plan| plan.set("nats.creds", login_file("user.creds"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_speaks_tls_with_nats_and_shows_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    assert!(
        made.is_ok_and(|output| output.status.success()),
        "openssl makes no certificate here"
    );
    let more = format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {cert:?}, verify: true }}");
    logs_in(&more, |plan| {
        plan.set("nats.tls_ca", cert.display())
            .set("nats.tls_cert", cert.display())
            .set("nats.tls_key", key.display())
    })
    .await;
}
