use std::time::Duration;

use grok2api_actors::bus::Bus;
use grok2api_actors::bus::faults::{Faults, FaultyBus};
use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::store::Store;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn shared(seed: u64) -> Arc<FaultyBus> {
    LocalBus::with_faults(Store::temporary().unwrap(), Clock::system(), seed, Faults::default())
}

async fn node(bus: Arc<FaultyBus>, password: Option<&str>) -> (Accounts, Option<Zeroizing<String>>) {
    let options = AccountOptions {
        username: "admin".into(),
        password: password.map(|password| Zeroizing::new(password.to_owned())),
        session_hours: 8,
        node: String::new(),
    };
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    Accounts::load(bus, Clock::system(), &tracker, stop, options)
        .await
        .unwrap()
}

#[tokio::test]
async fn nodes_that_start_at_the_same_instant_print_one_password() {
    for seed in 0..3 {
        let bus = shared(seed);
        bus.set_faults(Faults {
            delay: Duration::from_millis(20),
            ..Faults::default()
        });
        let nodes = futures::future::join_all((0..3).map(|_| node(bus.clone(), None))).await;
        let printed: Vec<_> = nodes.iter().filter_map(|(_, password)| password.clone()).collect();
        assert_eq!(printed.len(), 1, "seed {seed}");
        bus.set_faults(Faults::default());
        for (accounts, _) in &nodes {
            accounts.login(HERE, "admin", printed[0].clone()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_configured_password_of_three_nodes_is_written_once() {
    let bus = shared(1);
    bus.set_faults(Faults {
        delay: Duration::from_millis(20),
        ..Faults::default()
    });
    let nodes = futures::future::join_all((0..3).map(|_| node(bus.clone(), Some("a good password")))).await;
    assert!(nodes.iter().all(|(_, generated)| generated.is_none()));
    let key = account_key("admin");
    let stored = bus.kv_get(buckets::ADMIN, &key).await.unwrap().unwrap();
    assert_eq!(stored.revision, 1, "a session opened meanwhile would have ended");
}

#[tokio::test]
async fn a_session_counts_on_every_node_and_ends_on_every_node() {
    let bus = shared(2);
    let (a, password) = node(bus.clone(), None).await;
    let (b, _) = node(bus.clone(), None).await;
    let (c, _) = node(bus.clone(), None).await;
    // Watches are of no help: what is opened is read, what is ended is told.
    bus.set_faults(Faults {
        stale_watch: Duration::from_secs(60),
        ..Faults::default()
    });
    let opened = a.login(HERE, "admin", password.unwrap()).await.unwrap();
    for node in [&a, &b, &c] {
        node.session(&opened.token).await.unwrap();
    }
    b.logout(&opened.token).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    for node in [&a, &b, &c] {
        assert_eq!(
            node.session(&opened.token).await.unwrap_err().public_code(),
            "invalid_session"
        );
    }
}
