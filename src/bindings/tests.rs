//! What is bound on one node is found on another, in few writes.

use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::clock::Clock;
use grok2api_actors::store::Store;

use super::*;

fn binding(owner: &str, expires_ms: u64) -> Binding {
    Binding {
        token: TokenId::from_bytes([1; 16]),
        owner: owner.to_owned(),
        expires_ms,
        answer: None,
    }
}

/// Written by the first version, and kept: a cluster's objects outlive its nodes.
#[test]
fn bindings_are_written_and_read_as_they_were() {
    let named: Vec<Named> = vec![("response/r1".to_owned(), binding("me", 300))];
    let page = codec::encode(VERSION, &named).unwrap();
    let mut golden = vec![1, 1, 11];
    golden.extend_from_slice(b"response/r1");
    golden.extend_from_slice(&[1; 16]);
    golden.extend_from_slice(&[2, b'm', b'e', 251, 0x2c, 0x01, 0]);
    assert_eq!(page[..], golden[..]);
    let mut object = binding("me", 9);
    object.answer = Some(vec![7]);
    let one = codec::encode(VERSION, &object).unwrap();
    let mut golden = vec![1];
    golden.extend_from_slice(&[1; 16]);
    golden.extend_from_slice(&[2, b'm', b'e', 9, 1, 1, 7]);
    assert_eq!(one[..], golden[..]);
    assert_eq!(codec::decode::<Binding>(&golden).unwrap(), object);
}

#[tokio::test]
async fn what_one_node_puts_another_finds_in_few_writes_and_after_a_restart() {
    let bus: BusHandle = LocalBus::new(Store::temporary().unwrap(), Clock::system());
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let node = || {
        let node = Bindings::new(bus.clone(), SessionId::generate(), true);
        node.start(&tracker, &stop);
        node
    };
    let (a, b) = (node(), node());
    for n in 0..5_000 {
        let id = format!("resp_{n}");
        a.put(ObjectKind::Response, &id, binding("me", 1_000 + n))
            .await
            .unwrap();
    }
    for n in [0, 2_500, 4_999] {
        let id = format!("resp_{n}");
        let mut found = None;
        for _ in 0..10 {
            found = found.or(b.get(ObjectKind::Response, &id).await.unwrap());
        }
        assert_eq!(found, Some(binding("me", 1_000 + n)), "{id}");
    }
    let pages = bus.kv_list(buckets::BINDINGS).await.unwrap();
    assert!(pages.len() <= 4, "{} writes for 5,000 ids", pages.len());
    let late = node();
    let found = late.get(ObjectKind::Response, "resp_17").await.unwrap();
    assert_eq!(found, Some(binding("me", 1_017)));
    assert_eq!(late.get(ObjectKind::Sealed, "resp_17").await.unwrap(), None);
    // Expired as a whole.
    assert_eq!(a.sweep(10_000).await.unwrap(), pages.len());
    assert!(bus.kv_list(buckets::BINDINGS).await.unwrap().is_empty());
    stop.cancel();
}

#[tokio::test]
async fn an_answer_that_one_node_fetched_is_what_another_finds() {
    let bus: BusHandle = LocalBus::new(Store::temporary().unwrap(), Clock::system());
    let node = || Bindings::new(bus.clone(), SessionId::generate(), true);
    let (a, b) = (node(), node());
    let kind = ObjectKind::DeferredCompletion;
    a.put(kind, "one", binding("me", 9)).await.unwrap();
    assert_eq!(a.get(kind, "one").await.unwrap(), Some(binding("me", 9)));
    let fetched = Binding {
        answer: Some(b"the completion".to_vec()),
        ..binding("me", 9)
    };
    b.put(kind, "one", fetched.clone()).await.unwrap();
    assert_eq!(a.get(kind, "one").await.unwrap(), Some(fetched));
}
