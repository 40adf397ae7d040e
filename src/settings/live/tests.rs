use std::time::Duration;

use futures::StreamExt;
use grok2api_actors::bus::faults::{Faults, FaultyBus};
use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::bus::{Bus, BusHandle, Expect, codec};
use grok2api_actors::clock::Clock;
use grok2api_actors::store::Store;
use grok2api_actors::vault::{MasterKey, Vault};
use grok2api_schemas::bus::changes::SharedConfig;
use grok2api_schemas::bus::events::ConfigEvent;
use grok2api_schemas::bus::subjects::{buckets, events};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::settings::{Environment, FILE_NAME, load};

struct Cluster {
    bus: Arc<FaultyBus>,
    vault: Arc<Vault>,
    _keys: TempDir,
}

struct Node {
    live: LiveConfig,
    _dir: TempDir,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let keys = tempfile::tempdir().unwrap();
        let master = MasterKey::read_or_make(&keys.path().join("master.key")).unwrap();
        Cluster {
            bus: LocalBus::with_faults(Store::temporary().unwrap(), Clock::system(), seed, Faults::default()),
            vault: Arc::new(Vault::of(&master)),
            _keys: keys,
        }
    }

    fn options(&self) -> SharedOptions {
        let bus: BusHandle = self.bus.clone();
        SharedOptions {
            bus,
            vault: self.vault.clone(),
            clock: Clock::system(),
            node: "one".to_owned(),
        }
    }

    async fn node(&self, file: &str, environment: &[(&str, &str)]) -> Result<Node, EditError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), file).unwrap();
        let args = LoadArgs {
            data_dir: dir.path().to_owned(),
            environment: Environment::of(environment.iter().copied()),
            ..LoadArgs::default()
        };
        let file = load(&args).unwrap().file;
        let options = LiveOptions {
            args,
            file,
            patch: None,
        };
        let live = LiveConfig::shared(options, self.options()).await?;
        live.follow(&TaskTracker::new(), CancellationToken::new());
        Ok(Node { live, _dir: dir })
    }

    /// Writes past everybody.
    async fn store(&self, values: Json) {
        let sealed = self.vault.seal(b"config", values.to_string().as_bytes());
        let record = SharedConfig {
            changed_ms: 0,
            changed_by: String::new(),
            sealed,
        };
        let bytes = codec::encode(codec::VERSION, &record).unwrap();
        let put = self
            .bus
            .kv_put(buckets::CLUSTER, b"config".as_slice().into(), bytes, Expect::Any);
        put.await.unwrap();
    }
}

impl Node {
    fn wait_ms(&self) -> u64 {
        self.live.state().config.clients.max_wait_ms
    }

    async fn edit(&self, expected: Option<&str>, path: &str, value: Json) -> Result<Vec<String>, EditError> {
        self.live.edit("tests", expected, &[(path, value)]).await
    }
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not come true: {what}");
}

#[tokio::test]
async fn the_first_nodes_file_becomes_the_clusters_and_per_node_keys_stay() {
    let cluster = Cluster::new(1);
    let a = cluster
        .node(
            "[server]\nport = 1\n[clients]\nmax_wait_ms = 11\n[app]\napi_key = \"sk-of-the-first\"\n",
            &[],
        )
        .await
        .unwrap();
    let b = cluster
        .node("[server]\nport = 2\n[clients]\nmax_wait_ms = 22\n", &[])
        .await
        .unwrap();
    let c = cluster
        .node("", &[("GROK2API__CLIENTS__MAX_WAIT_MS", "33"), ("SERVER_PORT", "3")])
        .await
        .unwrap();
    let ports = [&a, &b, &c].map(|node| node.live.state().config.server.port);
    assert_eq!(ports, [1, 2, 3]);
    assert_eq!(
        [&a, &b, &c].map(Node::wait_ms),
        [11, 11, 33],
        "the environment goes before"
    );
    assert_eq!(b.live.state().config.app.api_key.expose(), "sk-of-the-first");
    let stored = cluster.bus.kv_get(buckets::CLUSTER, b"config").await.unwrap().unwrap();
    assert!(
        !stored.value.windows(15).any(|window| window == b"sk-of-the-first"),
        "sealed on the bus"
    );
    let refused = b.edit(None, "server.port", json!(4)).await.unwrap_err().to_string();
    assert!(refused.contains("each node has its own"), "{refused}");
}

#[tokio::test]
async fn nodes_that_start_at_the_same_instant_share_one_configuration() {
    for seed in 0..10 {
        let cluster = Cluster::new(seed);
        cluster.bus.set_faults(Faults {
            delay: Duration::from_millis(10),
            ..Faults::default()
        });
        let files = [1, 2, 3].map(|n| format!("[clients]\nmax_wait_ms = {n}\n"));
        let nodes = futures::future::join_all(files.iter().map(|file| cluster.node(file, &[]))).await;
        let waits: Vec<u64> = nodes.into_iter().map(|node| node.unwrap().wait_ms()).collect();
        assert!(waits.iter().all(|wait| *wait == waits[0]), "{waits:?}");
    }
}

#[tokio::test]
async fn an_edit_reaches_every_node_at_once_by_event_or_by_watch() {
    for (what, faults) in [
        (
            "events alone",
            Faults {
                stale_watch: Duration::from_secs(600),
                ..Faults::default()
            },
        ),
        ("both", Faults::default()),
    ] {
        let cluster = Cluster::new(3);
        let (a, b) = (
            cluster.node("", &[]).await.unwrap(),
            cluster.node("", &[]).await.unwrap(),
        );
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = heard.clone();
        b.live.on_change(Box::new(move |old, new| {
            told.lock().push((old.clients.max_wait_ms, new.clients.max_wait_ms))
        }));
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.bus.set_faults(faults);
        assert_eq!(
            a.edit(None, "clients.max_wait_ms", json!(5)).await.unwrap(),
            ["clients.max_wait_ms"]
        );
        eventually(what, || b.wait_ms() == 5).await;
        assert_eq!(*heard.lock(), [(2000, 5)]);
        assert_eq!(a.live.state().revision, b.live.state().revision);
        a.edit(None, "clients.max_wait_ms", Json::Null).await.unwrap();
        eventually(what, || b.wait_ms() == 2000).await;
    }
    // Nobody published: the watch tells.
    let cluster = Cluster::new(4);
    let a = cluster.node("", &[]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    cluster.store(json!({"clients": {"max_wait_ms": 6}})).await;
    eventually("watch alone", || a.wait_ms() == 6).await;
}

#[tokio::test]
async fn concurrent_edits_lose_nothing_silently() {
    let cluster = Cluster::new(5);
    let (a, b) = (
        cluster.node("", &[]).await.unwrap(),
        cluster.node("", &[]).await.unwrap(),
    );
    // Of two that looked at the same state, one is refused and told where it stands.
    let seen = a.live.state().revision.clone();
    let first = a.edit(Some(&seen), "clients.max_wait_ms", json!(1));
    let second = b.edit(Some(&seen), "clients.drain_max_secs", json!(2));
    let outcomes = tokio::join!(first, second);
    let (won, lost) = match outcomes {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        both => panic!("{both:?}"),
    };
    assert_eq!(won.len(), 1);
    let EditError::Conflict { current } = lost else {
        panic!("{lost:?}")
    };
    eventually("both know", || {
        a.live.state().revision == current && b.live.state().revision == current
    })
    .await;

    // Without a revision different keys are merged, the same key is a conflict for all but one.
    let edits = [
        "clients.max_wait_ms",
        "xai.max_penalties",
        "server.keep_alive_secs",
        "grok.max_retry",
    ];
    let nodes = [&a, &b, &a, &b];
    let merged = futures::future::join_all(
        edits
            .iter()
            .zip(nodes)
            .map(|(path, node)| node.edit(None, path, json!(7))),
    )
    .await;
    assert!(merged.iter().all(Result::is_ok), "{merged:?}");
    eventually("merged", || {
        let config = b.live.state().config.clone();
        (
            config.clients.max_wait_ms,
            config.xai.max_penalties,
            config.server.keep_alive_secs,
            config.grok.max_retry,
        ) == (7, 7, 7, 7)
    })
    .await;
    cluster.bus.set_faults(Faults {
        delay: Duration::from_millis(10),
        ..Faults::default()
    });
    let (one, other) = tokio::join!(
        a.edit(None, "clients.max_wait_ms", json!(100)),
        b.edit(None, "clients.max_wait_ms", json!(200)),
    );
    assert!(
        matches!(
            (&one, &other),
            (Ok(_), Err(EditError::Conflict { .. })) | (Err(EditError::Conflict { .. }), Ok(_))
        ),
        "{one:?} {other:?}"
    );
}

#[tokio::test]
async fn a_broken_record_is_never_put_into_force_and_says_so() {
    let cluster = Cluster::new(6);
    let a = cluster.node("[clients]\nmax_wait_ms = 9\n", &[]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    cluster
        .store(json!({"clients": {"max_wait_ms": "soon", "of_a_newer_version": 1}}))
        .await;
    eventually("it says so", || a.live.state().problem.is_some()).await;
    let problem = a.live.state().problem.clone().unwrap();
    assert!(
        problem.contains("clients.max_wait_ms") && problem.contains("the cluster's configuration"),
        "{problem}"
    );
    assert_eq!(a.wait_ms(), 9);
    let told = cluster.node("", &[]).await.err().unwrap().to_string();
    assert!(told.contains("clients.max_wait_ms"), "no start with it either: {told}");
    // An edit that leaves it broken is refused, one that mends it counts.
    assert!(a.edit(None, "grok.max_retry", json!(4)).await.is_err());
    a.edit(None, "clients.max_wait_ms", json!(10)).await.unwrap();
    assert_eq!((a.wait_ms(), a.live.state().problem.clone()), (10, None));
    let warned = a
        .live
        .state()
        .warnings
        .iter()
        .any(|line| line.contains("of_a_newer_version"));
    assert!(warned, "what a newer node knows is left out, not lost");
    let b = cluster.node("", &[]).await.unwrap();
    assert_eq!(b.wait_ms(), 10);
}

#[tokio::test]
async fn what_needs_a_restart_is_pending_on_every_node() {
    let cluster = Cluster::new(7);
    let (a, b) = (
        cluster.node("", &[]).await.unwrap(),
        cluster.node("", &[]).await.unwrap(),
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    a.edit(None, "xai.connect_timeout_secs", json!(3)).await.unwrap();
    eventually("pending", || b.live.pending() == ["xai.connect_timeout_secs"]).await;
    a.edit(None, "xai.connect_timeout_secs", Json::Null).await.unwrap();
    eventually("as it was", || b.live.pending().is_empty()).await;
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_edit() {
    for seed in 0..20 {
        let cluster = Cluster::new(seed);
        let a = cluster.node("", &[]).await.unwrap();
        cluster.bus.set_faults(Faults {
            drop: 0.3,
            ..Faults::default()
        });
        tokio::time::pause();
        let edited = a.edit(None, "clients.max_wait_ms", json!(77)).await;
        cluster.bus.set_faults(Faults::default());
        tokio::time::resume();
        let b = cluster.node("", &[]).await.unwrap();
        match edited {
            Ok(_) => assert_eq!(b.wait_ms(), 77, "seed {seed}: what is confirmed is stored"),
            Err(EditError::Bus(_)) => {}
            Err(other) => panic!("seed {seed}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn watchers_hear_which_keys_an_edit_changed_and_no_values() {
    let cluster = Cluster::new(9);
    let node = cluster.node("", &[]).await.unwrap();
    let bus: BusHandle = cluster.bus.clone();
    let mut told = bus.subscribe(events::CONFIG_CHANGED);
    node.edit(None, "app.api_key", json!("sk-do-not-tell")).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), told.next()).await;
    let told = told.unwrap().unwrap();
    assert!(!told.windows(14).any(|window| window == b"sk-do-not-tell"));
    let event: ConfigEvent = serde_json::from_slice(&told).unwrap();
    let heard = ConfigEvent {
        revision: node.live.state().revision.clone(),
        keys: vec!["app.api_key".to_owned()],
        changed_by: "tests".to_owned(),
        node: "one".to_owned(),
    };
    assert_eq!(event, heard);
}
