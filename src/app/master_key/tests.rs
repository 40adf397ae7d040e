use grok2api_actors::bus::faults::Faults;
use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::clock::Clock;
use grok2api_actors::store::Store;
use tempfile::TempDir;

use super::*;

struct Node {
    dir: TempDir,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Node {
    fn new() -> Node {
        Node {
            dir: tempfile::tempdir().unwrap(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    fn sources(&self, configured: Option<&str>, clustered: bool) -> KeySources {
        KeySources {
            configured: configured.map(SecretString::from),
            cluster: clustered.then(|| ClusterKeys {
                identity_file: self.dir.path().join("node.key"),
                open: true,
                patience: Duration::from_secs(5),
            }),
            key_file: self.file(),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("master.key")
    }

    /// Starts as a member of a cluster and hands the key on.
    async fn join(&self, bus: &BusHandle) -> Result<MasterKey, String> {
        let key = find_master_key(bus, &self.sources(None, true)).await.map_err(|e| e.0)?;
        answer_joiners(bus, key.clone(), true, &self.tracker, self.stop.clone());
        Ok(key)
    }
}

fn bus() -> BusHandle {
    LocalBus::new(Store::temporary().unwrap(), Clock::system())
}

async fn alone(bus: &BusHandle, configured: Option<&str>, node: &Node) -> Result<MasterKey, String> {
    find_master_key(bus, &node.sources(configured, false))
        .await
        .map_err(|error| error.0)
}

#[tokio::test]
async fn another_master_key_is_refused_and_a_lost_one_is_not_replaced() {
    let (bus, node) = (bus(), Node::new());
    let first = alone(&bus, None, &node).await.unwrap();
    assert_eq!(first.id(), alone(&bus, None, &node).await.unwrap().id());

    let told = alone(&bus, Some("a key of somebody else"), &node).await.unwrap_err();
    assert!(
        told.contains("security.master_key") && told.contains("put the old key back"),
        "{told}"
    );

    let held = std::fs::read_to_string(node.file()).unwrap();
    std::fs::remove_file(node.file()).unwrap();
    let told = alone(&bus, None, &node).await.unwrap_err();
    assert!(told.contains("master.key is missing"), "{told}");
    assert!(!node.file().exists(), "no new key is made over a store that has one");
    assert_eq!(
        alone(&bus, Some(held.trim()), &node).await.unwrap().id(),
        first.id(),
        "the file's key works from the environment"
    );
}

#[tokio::test]
async fn nodes_that_start_at_the_same_instant_come_to_one_key_and_each_can_restart_alone() {
    for seed in 0..20 {
        let faults = Faults {
            delay: Duration::from_millis(20),
            duplicate: 0.2,
            ..Faults::default()
        };
        let bus: BusHandle = LocalBus::with_faults(Store::temporary().unwrap(), Clock::system(), seed, faults);
        let nodes = [Node::new(), Node::new(), Node::new()];
        let keys = futures::future::join_all(nodes.iter().map(|node| node.join(&bus))).await;
        let ids: Vec<_> = keys.into_iter().map(|key| key.unwrap().id()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "seed {seed}");
        for node in &nodes {
            node.stop.cancel();
        }
        // Alone: nobody answers any more, and nobody needs to.
        for node in &nodes {
            let key = find_master_key(&bus, &node.sources(None, true)).await.unwrap();
            assert_eq!(key.id(), ids[0]);
            let left: Vec<_> = std::fs::read_dir(node.dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.contains("claim"))
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

#[tokio::test]
async fn a_store_that_was_wiped_under_a_node_gets_no_second_key() {
    let (bus, first, late) = (bus(), Node::new(), Node::new());
    let key = first.join(&bus).await.unwrap();
    bus.kv_delete(buckets::CLUSTER, Bytes::from_static(MARK), Expect::Any)
        .await
        .unwrap();
    assert_eq!(late.join(&bus).await.unwrap().id(), key.id());
    assert_eq!(
        read_mark(&bus).await.unwrap(),
        Some(key.id()),
        "its fingerprint stands again"
    );
    assert_eq!(MasterKey::read(&late.file()).unwrap().unwrap().id(), key.id());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_that_nobody_answers_makes_no_second_key() {
    let (bus, first, late) = (bus(), Node::new(), Node::new());
    first.join(&bus).await.unwrap();
    first.stop.cancel();
    first.tracker.close();
    first.tracker.wait().await;
    let told = late.join(&bus).await.unwrap_err();
    assert!(told.contains("no other node answered within 5 s"), "{told}");
    assert!(!late.file().exists());
}

#[tokio::test]
async fn a_claim_that_a_crash_left_behind_is_gone_on_with_or_dropped() {
    let (bus_a, bus_b) = (bus(), bus());
    let crashed = Node::new();
    let claim = Claim::beside(&crashed.file());
    // Crashed after the fingerprint was written, before the key had its name.
    let key = claim.make().unwrap();
    put_mark(&bus_a, key.id()).await.unwrap();
    assert_eq!(crashed.join(&bus_a).await.unwrap().id(), key.id());
    // Crashed before: meanwhile another node was first.
    let crashed = Node::new();
    let key = Claim::beside(&crashed.file()).make().unwrap();
    let other = Node::new();
    let decided = other.join(&bus_b).await.unwrap();
    assert_ne!(decided.id(), key.id());
    assert_eq!(crashed.join(&bus_b).await.unwrap().id(), decided.id());
}

#[tokio::test]
async fn a_node_of_another_cluster_and_a_wrong_configured_key_are_refused() {
    let (bus_a, bus_b) = (bus(), bus());
    let (a, b) = (Node::new(), Node::new());
    a.join(&bus_a).await.unwrap();
    let held = b.join(&bus_b).await.unwrap();
    let told = b.join(&bus_a).await.unwrap_err();
    assert!(
        told.contains("belongs to another cluster") && !told.contains('\n'),
        "{told}"
    );
    assert_eq!(
        MasterKey::read(&b.file()).unwrap().unwrap().id(),
        held.id(),
        "untouched"
    );

    let c = Node::new();
    let configured = c.sources(Some("sixteen characters and more"), true);
    let told = find_master_key(&bus_a, &configured).await.unwrap_err().0;
    assert!(told.contains("security.master_key") && !told.contains('\n'), "{told}");
    assert!(!c.file().exists());
}

#[tokio::test]
async fn a_cluster_whose_nodes_bring_the_key_hands_none_out() {
    let (bus, a, b) = (bus(), Node::new(), Node::new());
    let key = find_master_key(&bus, &a.sources(Some("sixteen characters and more"), true))
        .await
        .unwrap();
    answer_joiners(&bus, key, false, &a.tracker, a.stop.clone());
    let told = b.join(&bus).await.unwrap_err();
    assert!(told.contains("GROK2API__SECURITY__MASTER_KEY"), "{told}");
    assert!(!b.file().exists());
}
