//! Buckets: revisions, conditions, lists, watches.

use futures::stream::BoxStream;
use grok2api_schemas::bus::subjects::buckets;

use super::*;
use crate::bus::{Expect, KvChange, KvWrite};

/// Revisions grow, across keys and across deletions; conditions are judged against the last one.
pub async fn revisions_and_conditions(bus: &dyn Bus) {
    let bucket = buckets::TOKENS;
    let (one, two) = (bytes("one"), bytes("two"));
    assert_eq!(bus.kv_get(bucket, b"one").await.unwrap(), None);

    let first = bus
        .kv_put(bucket, one.clone(), bytes("a"), Expect::Absent)
        .await
        .unwrap();
    assert!(first > 0);
    let again = bus.kv_put(bucket, one.clone(), bytes("b"), Expect::Absent).await;
    assert_eq!(kind(again), BusErrorKind::Conflict);
    let other = bus.kv_put(bucket, two.clone(), bytes("x"), Expect::Any).await.unwrap();
    assert!(other > first, "revisions belong to the bucket, not to the key");

    let second = bus
        .kv_put(bucket, one.clone(), bytes("b"), Expect::Revision(first))
        .await
        .unwrap();
    assert!(second > other);
    let stale = bus
        .kv_put(bucket, one.clone(), bytes("c"), Expect::Revision(first))
        .await;
    assert_eq!(kind(stale), BusErrorKind::Conflict);
    let entry = bus.kv_get(bucket, b"one").await.unwrap().unwrap();
    assert_eq!(
        (&entry.key[..], &entry.value[..], entry.revision),
        (&b"one"[..], &b"b"[..], second)
    );

    let stale = bus.kv_delete(bucket, one.clone(), Expect::Revision(first)).await;
    assert_eq!(kind(stale), BusErrorKind::Conflict);
    bus.kv_delete(bucket, one.clone(), Expect::Revision(second))
        .await
        .unwrap();
    assert_eq!(bus.kv_get(bucket, b"one").await.unwrap(), None);
    let gone = bus
        .kv_put(bucket, one.clone(), bytes("d"), Expect::Revision(second))
        .await;
    assert_eq!(kind(gone), BusErrorKind::Conflict, "a deleted key has no revision");
    bus.kv_delete(bucket, bytes("never there"), Expect::Any).await.unwrap();
    let third = bus
        .kv_put(bucket, one.clone(), bytes("e"), Expect::Absent)
        .await
        .unwrap();
    assert!(third > second, "a key that comes back does not get an old revision");

    // Keys are any bytes, values may be empty; the limits are the trait's.
    let binary = Bytes::from((0..120).map(|n| 255 - n as u8).collect::<Vec<u8>>());
    bus.kv_put(bucket, binary.clone(), Bytes::new(), Expect::Absent)
        .await
        .unwrap();
    let entry = bus.kv_get(bucket, &binary).await.unwrap().unwrap();
    assert_eq!((entry.key, entry.value), (binary.clone(), Bytes::new()));
    let largest = Bytes::from(vec![7; crate::bus::MAX_VALUE_BYTES]);
    bus.kv_put(bucket, two.clone(), largest.clone(), Expect::Any)
        .await
        .unwrap();
    assert_eq!(bus.kv_get(bucket, &two).await.unwrap().unwrap().value, largest);
    let long = Bytes::from(vec![1; 121]);
    assert!(bus.kv_put(bucket, long, Bytes::new(), Expect::Any).await.is_err());
    assert!(
        bus.kv_put(bucket, Bytes::new(), Bytes::new(), Expect::Any)
            .await
            .is_err()
    );
    for key in [one, two, binary] {
        bus.kv_delete(bucket, key, Expect::Any).await.unwrap();
    }
    assert!(bus.kv_list(bucket).await.unwrap().is_empty());
}

/// Of many who write at the same revision, one succeeds.
pub async fn compare_and_set_lets_one_of_many_through(bus: &dyn Bus) {
    let bucket = buckets::CLUSTER;
    for round in 0..10 {
        let key = bytes(&format!("round {round}"));
        let claims = (0..16).map(|n| bus.kv_put(bucket, key.clone(), bytes(&n.to_string()), Expect::Absent));
        let outcomes = join_all(claims).await;
        let winner = outcomes.iter().position(Result::is_ok).expect("one gets through");
        for (n, outcome) in outcomes.into_iter().enumerate() {
            if n != winner {
                assert_eq!(kind(outcome), BusErrorKind::Conflict);
            }
        }
        let entry = bus.kv_get(bucket, &key).await.unwrap().unwrap();
        assert_eq!(entry.value, bytes(&winner.to_string()));
    }
}

/// Many keys at once, over several buckets, and everything back in key order.
/// Whoever is refused finds what was in the way: the first of many must not be a riddle to the others.
pub async fn a_refused_write_can_read_why(bus: &dyn Bus) {
    for round in 0..20 {
        let key = format!("first {round}");
        let first = join_all((0..8).map(|writer| {
            let key = key.clone();
            async move {
                let put = bus.kv_put(
                    buckets::CLUSTER,
                    bytes(&key),
                    bytes(&writer.to_string()),
                    Expect::Absent,
                );
                match put.await {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error.kind, BusErrorKind::Conflict, "{error}");
                        let stands = bus.kv_get(buckets::CLUSTER, key.as_bytes()).await.unwrap();
                        assert!(stands.is_some(), "refused by nothing: {error}");
                        false
                    }
                }
            }
        }));
        let won = first.await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "exactly one is the first");
    }
}

pub async fn bulk_writes_and_lists(bus: &dyn Bus) {
    let put = |bucket, n: u32| KvWrite {
        bucket,
        key: Bytes::copy_from_slice(&n.to_be_bytes()),
        value: Some(bytes(&format!("value {n}"))),
    };
    let mut writes: Vec<KvWrite> = (0..3_000).rev().map(|n| put(buckets::KEYS, n)).collect();
    writes.extend((0..10).map(|n| put(buckets::TEAMS, n)));
    bus.kv_write(writes).await.unwrap();
    bus.kv_write(Vec::new()).await.unwrap();

    let listed = bus.kv_list(buckets::KEYS).await.unwrap();
    assert_eq!(listed.len(), 3_000);
    for (n, entry) in listed.iter().enumerate() {
        assert_eq!(entry.key[..], (n as u32).to_be_bytes(), "in key order");
        assert_eq!(entry.value, bytes(&format!("value {n}")));
        let read = bus.kv_get(buckets::KEYS, &entry.key).await;
        assert!(n % 500 != 0 || read.unwrap().as_ref() == Some(entry));
    }
    let pages: Vec<_> = bus.kv_pages(buckets::KEYS).map(Result::unwrap).collect().await;
    let mut paged: Vec<_> = pages.into_iter().flatten().collect();
    paged.sort_by(|a, b| a.key.cmp(&b.key));
    assert!(paged == listed, "pages hold what the list holds");
    assert_eq!(bus.kv_list(buckets::TEAMS).await.unwrap().len(), 10);

    // The revisions of a bulk write are ordinary ones.
    let entry = &listed[17];
    bus.kv_put(
        buckets::KEYS,
        entry.key.clone(),
        bytes("new"),
        Expect::Revision(entry.revision),
    )
    .await
    .unwrap();
    let deletes = (0..2_999u32).map(|n| KvWrite {
        bucket: buckets::KEYS,
        key: Bytes::copy_from_slice(&n.to_be_bytes()),
        value: None,
    });
    bus.kv_write(deletes.collect()).await.unwrap();
    assert_eq!(bus.kv_list(buckets::KEYS).await.unwrap().len(), 1);
}

/// Watchers hear every key's last change, own writes and deletions included, in the order of revisions, from the watch on.
pub async fn watches(bus: &dyn Bus) {
    let bucket = buckets::BINDINGS;
    let put = |key: &str, value: &str| bus.kv_put(bucket, bytes(key), bytes(value), Expect::Any);
    put("before", "0").await.unwrap();
    let mut early = bus.kv_watch(bucket).await.unwrap();
    let mut slow = bus.kv_watch(bucket).await.unwrap();
    let revision = put("a", "1").await.unwrap();
    let change = next(&mut early).await;
    assert_eq!(
        (change.key, change.value, change.revision),
        (bytes("a"), Some(bytes("1")), revision),
        "nothing from before the watch"
    );
    bus.kv_delete(bucket, bytes("a"), Expect::Any).await.unwrap();
    let change = next(&mut early).await;
    assert_eq!((change.key, change.value), (bytes("a"), None));
    assert!(change.revision > revision);

    let writes = ["b", "c"].map(|key| KvWrite {
        bucket,
        key: bytes(key),
        value: Some(bytes("2")),
    });
    bus.kv_write(writes.to_vec()).await.unwrap();
    assert_eq!(next(&mut early).await.key, bytes("b"));
    assert_eq!(next(&mut early).await.key, bytes("c"));
    drop(early);

    // One that did not read meanwhile may have changes merged, but ends with every key's last value.
    for n in 0..200 {
        put("c", &n.to_string()).await.unwrap();
    }
    put("d", "last").await.unwrap();
    let mut seen = std::collections::BTreeMap::new();
    let mut last = 0;
    loop {
        let change = next(&mut slow).await;
        assert!(change.revision > last, "in the order of revisions");
        last = change.revision;
        let key = change.key.clone();
        seen.insert(change.key, change.value);
        if key == "d" {
            break;
        }
    }
    let expected = [("a", None), ("b", Some("2")), ("c", Some("199")), ("d", Some("last"))]
        .map(|(key, value)| (bytes(key), value.map(bytes)));
    // The deletion of a key that came and went unread may be left out.
    seen.entry(bytes("a")).or_insert(None);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

async fn next(changes: &mut BoxStream<'static, KvChange>) -> KvChange {
    soon("a change", changes.next()).await.expect("the watch goes on")
}
