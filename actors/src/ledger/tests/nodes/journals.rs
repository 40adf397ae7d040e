//! Journals that were wiped or restored while nodes remember them.

use super::*;

/// Requests in a minute.
const LIMIT: u64 = 60;
/// A grant's life, the window and the slack.
const FORGOTTEN_MS: u64 = 30_000 + 60_000 + 250;

/// The bus as it is after a restore of what `store` held.
async fn copied(store: &Store) -> Store {
    let copy = Store::temporary().unwrap();
    for tree in ["journal#"] {
        let rows = store.scan_prefix(tree, &[]).unwrap();
        let writes = rows.into_iter().map(|(key, value)| crate::store::StoreWrite {
            tree,
            key,
            value: Some(value),
        });
        copy.write(writes.collect()).await.unwrap();
    }
    copy
}

/// Two nodes use up a minute's limit; answers their stores, and the bus's before and after.
async fn a_life(world: &World, bus: &Store) -> ([Store; 2], Store) {
    let cluster = Cluster::over(world, LocalBus::new(bus.clone(), world.clock.clone()));
    let stores = [Store::temporary().unwrap(), Store::temporary().unwrap()];
    let nodes = [cluster.join_with(&stores[0]).await, cluster.join_with(&stores[1]).await];
    cluster.settle(&nodes).await;
    for node in &nodes {
        assert_eq!(
            node.ledger.distrusted(),
            None,
            "a first start is not taken for a wiped journal"
        );
    }
    pass(4_000).await;
    let backup = copied(bus).await;
    let mut sent = 0;
    for node in nodes.iter().cycle().take(400) {
        let meter = node.meter("team", RPM, LIMIT);
        sent += u64::from(node.send(&meter, Duration::from_millis(300)).await.0);
    }
    assert_eq!(sent, LIMIT);
    pass(4_000).await;
    for node in &nodes {
        node.ledger.kill();
    }
    pass(500).await;
    (stores, backup)
}

/// Nothing is granted for a life and a window, whoever asks; every owner says why; afterwards all is well.
async fn stays_shut(world: &World, cluster: &Cluster, nodes: &[Node], meter_of: &str) {
    let began = world.clock.now();
    let shard = usize::from(shard_of(&meter(meter_of, RPM).domain));
    pass(1_500).await;
    let owner = |node: &&Node| {
        node.ledger
            .owned()
            .iter()
            .any(|claim| usize::from(claim.shard) == shard)
    };
    assert!(
        nodes
            .iter()
            .filter(owner)
            .all(|node| node.ledger.distrusted().is_some())
    );
    let mut first = None;
    while first.is_none() {
        for node in nodes {
            let meter = node.meter(meter_of, RPM, LIMIT);
            if node.send(&meter, Duration::from_millis(300)).await.0 {
                first.get_or_insert(world.clock.now().ms_since(began));
            }
        }
        assert!(world.clock.now().ms_since(began) < 140_000, "it never opens again");
        pass(500).await;
    }
    let first = first.unwrap();
    assert!(first >= FORGOTTEN_MS - 12_000, "a fresh quota after {first} ms");
    pass(20_000).await;
    for node in nodes {
        assert_eq!(node.ledger.distrusted(), None);
    }
    cluster.settle(nodes).await;
}

#[test]
fn a_wiped_bus_is_no_fresh_quota() {
    in_virtual_time(|world| async move {
        let (stores, _) = a_life(&world, &Store::temporary().unwrap()).await;
        let cluster = Cluster::new(&world);
        let nodes = [cluster.join_with(&stores[0]).await, cluster.join_with(&stores[1]).await];
        cluster.settle(&nodes).await;
        stays_shut(&world, &cluster, &nodes, "team").await;
    });
}

#[test]
fn a_restored_bus_is_no_fresh_quota() {
    in_virtual_time(|world| async move {
        let bus = Store::temporary().unwrap();
        let (stores, backup) = a_life(&world, &bus).await;
        let cluster = Cluster::over(&world, LocalBus::new(backup, world.clock.clone()));
        let nodes = [cluster.join_with(&stores[0]).await, cluster.join_with(&stores[1]).await];
        cluster.settle(&nodes).await;
        stays_shut(&world, &cluster, &nodes, "team").await;
    });
}

#[test]
fn who_remembers_tells_an_owner_that_is_new() {
    in_virtual_time(|world| async move {
        let (stores, _) = a_life(&world, &Store::temporary().unwrap()).await;
        let cluster = Cluster::new(&world);
        // The new ones decide for everything before the one that remembers comes.
        let mut nodes = vec![cluster.join().await, cluster.join().await];
        cluster.settle(&nodes).await;
        nodes.push(cluster.join_with(&stores[0]).await);
        pass(8_000).await;
        cluster.settle(&nodes).await;
        stays_shut(&world, &cluster, &nodes, "team").await;
    });
}

#[test]
fn a_distrust_outlives_the_owner_that_found_it() {
    in_virtual_time(|world| async move {
        let (stores, _) = a_life(&world, &Store::temporary().unwrap()).await;
        let cluster = Cluster::new(&world);
        let nodes = [cluster.join_with(&stores[0]).await, cluster.join_with(&stores[1]).await];
        cluster.settle(&nodes).await;
        pass(5_000).await;
        for node in &nodes {
            node.ledger.kill();
        }
        // Two that remember nothing, and one whose memory is of the new journal already.
        pass(4_000).await;
        let nodes = [
            cluster.join().await,
            cluster.join().await,
            cluster.join_with(&stores[0]).await,
        ];
        cluster.settle(&nodes).await;
        stays_shut(&world, &cluster, &nodes, "team").await;
    });
}
