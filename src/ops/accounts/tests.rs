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
        throttle: crate::ops::fakes::THROTTLE,
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

async fn guess(node: &Accounts) -> &'static str {
    let guess = node.login(HERE, "admin", Zeroizing::new("a guess".to_owned())).await;
    match guess.err().unwrap().kind {
        ErrorKind::Unauthenticated => "wrong",
        ErrorKind::ClientLimit => "wait",
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn guesses_spread_over_nodes_count_together() {
    let bus = shared(3);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let (node, _) = node(bus.clone(), Some("a good password")).await;
        node.set_throttle(ThrottleLimits {
            failures: 6,
            window_ms: 300_000,
        });
        nodes.push(node);
    }
    // One after the other, round about.
    let mut answered = Vec::new();
    for at in 0..9 {
        answered.push(guess(&nodes[at % 3]).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        answered.iter().filter(|answer| **answer == "wrong").count(),
        6,
        "{answered:?}"
    );
    assert_eq!(answered[6..], ["wait"; 3]);
    let right = nodes[2].login(HERE, "admin", Zeroizing::new("a good password".to_owned()));
    assert_eq!(
        right.await.err().unwrap().kind,
        ErrorKind::ClientLimit,
        "not even the right one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_over_three_nodes_gets_no_more_tries_than_one_over_one() {
    let bus = shared(4);
    bus.set_faults(Faults {
        delay: Duration::from_millis(3),
        ..Faults::default()
    });
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(node(bus.clone(), Some("a good password")).await.0);
    }
    // Ten are free; a node alone would answer ten each.
    let answered = futures::future::join_all((0..36).map(|at| guess(&nodes[at % 3]))).await;
    let wrong = answered.iter().filter(|answer| **answer == "wrong").count();
    assert!(wrong <= 10, "{wrong} guesses were answered");
}

#[tokio::test]
async fn who_logs_in_on_one_node_is_forgiven_on_all() {
    let bus = shared(5);
    let (a, _) = node(bus.clone(), Some("a good password")).await;
    let (b, _) = node(bus.clone(), Some("a good password")).await;
    for round in 0..4 {
        for node in [&a, &b, &a, &b] {
            assert_eq!(guess(node).await, "wrong", "round {round}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        a.login(HERE, "admin", Zeroizing::new("a good password".to_owned()))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
