//! What every implementation of [`Bus`] must do. Each function wants a bus whose bucket, shard and subject are fresh; a
//! failed promise is a panic that says which.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use grok2api_schemas::bus::subjects::buckets;
use tokio::time::{Instant, sleep, timeout};

use super::{Bus, BusError, BusErrorKind, Expect, KvChange, KvWrite};

/// Longer than any healthy bus takes.
const SOON: Duration = Duration::from_secs(5);

/// Every promise, on a fresh bus.
pub async fn all(bus: &dyn Bus) {
    revisions_and_conditions(bus).await;
    compare_and_set_lets_one_of_many_through(bus).await;
    bulk_writes_and_lists(bus).await;
    watches(bus).await;
    journals(bus).await;
    journal_retries(bus).await;
    journal_duels(bus).await;
    publications(bus).await;
    requests(bus).await;
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, BusError>) -> BusErrorKind {
    outcome.expect_err("this must be refused").kind
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

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
    let largest = Bytes::from(vec![7; 1024 * 1024]);
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

fn id(n: u8) -> [u8; 16] {
    [n; 16]
}

/// Sequences, compare-and-set on the last one, purging, and journals that do not disturb each other.
pub async fn journals(bus: &dyn Bus) {
    let (shard, other) = (3, 4);
    let newborn = bus.journal_head(shard).await.unwrap();
    assert_eq!(newborn.last_sequence, 0);
    assert_ne!(newborn.incarnation, 0);
    assert_eq!(
        bus.journal_head(shard).await.unwrap(),
        newborn,
        "asking does not change it"
    );
    assert!(bus.journal_read(shard, 0).await.unwrap().is_empty());

    let mut last = 0;
    let mut sequences = Vec::new();
    for n in 1..=10u8 {
        let payload = Bytes::from(vec![n; usize::from(n) * 100]);
        let sequence = bus.journal_append(shard, last, id(n), payload).await.unwrap();
        assert!(sequence > last);
        sequences.push(sequence);
        last = sequence;
    }
    for wrong in [0, sequences[4], last + 1, last + 100] {
        let refused = bus.journal_append(shard, wrong, id(99), Bytes::new()).await;
        assert_eq!(
            kind(refused),
            BusErrorKind::Conflict,
            "expected {wrong}, the last is {last}"
        );
    }
    assert_eq!(bus.journal_head(other).await.unwrap().last_sequence, 0);
    let elsewhere = bus.journal_append(other, 0, id(1), bytes("other")).await.unwrap();

    let entries = bus.journal_read(shard, sequences[6]).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(),
        sequences[6..]
    );
    assert_eq!(entries[0].payload, Bytes::from(vec![7; 700]));
    assert!(bus.journal_read(shard, last + 1).await.unwrap().is_empty());

    bus.journal_purge(shard, sequences[8]).await.unwrap();
    let entries = bus.journal_read(shard, 0).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(),
        sequences[8..]
    );
    bus.journal_purge(shard, last + 1).await.unwrap();
    assert!(bus.journal_read(shard, 0).await.unwrap().is_empty());
    let head = bus.journal_head(shard).await.unwrap();
    assert_eq!(
        (head.last_sequence, head.incarnation),
        (last, newborn.incarnation),
        "purged is not newborn"
    );
    let next = bus.journal_append(shard, last, id(11), bytes("after")).await.unwrap();
    assert!(next > last, "sequences are not used again");

    let entries = bus.journal_read(other, 0).await.unwrap();
    assert_eq!(entries.len(), 1, "another shard's purge is not mine");
    assert_eq!((entries[0].sequence, &entries[0].payload), (elsewhere, &bytes("other")));
}

/// The same append again (its answer was lost) answers as the first did, and stands once.
pub async fn journal_retries(bus: &dyn Bus) {
    let shard = 5;
    let first = bus.journal_append(shard, 0, id(1), bytes("one")).await.unwrap();
    assert_eq!(bus.journal_append(shard, 0, id(1), bytes("one")).await.unwrap(), first);
    let second = bus.journal_append(shard, first, id(2), bytes("two")).await.unwrap();
    assert_eq!(bus.journal_append(shard, 0, id(1), bytes("one")).await.unwrap(), first);
    assert_eq!(
        bus.journal_append(shard, first, id(2), bytes("two")).await.unwrap(),
        second
    );
    let stranger = bus.journal_append(shard, first, id(3), bytes("two")).await;
    assert_eq!(
        kind(stranger),
        BusErrorKind::Conflict,
        "another's message at that sequence"
    );
    assert_eq!(bus.journal_head(shard).await.unwrap().last_sequence, second);
    assert_eq!(bus.journal_read(shard, 0).await.unwrap().len(), 2);
}

/// Of several owners that append at one sequence, one gets through each time, and nothing of the others remains.
pub async fn journal_duels(bus: &dyn Bus) {
    let shard = 6;
    let owner = |owner: u8| async move {
        let mut won = 0u8;
        let mut last = bus.journal_head(shard).await.unwrap().last_sequence;
        while won < 20 {
            let mut message = [owner; 16];
            message[1] = won;
            match bus
                .journal_append(shard, last, message, Bytes::from(vec![owner, won]))
                .await
            {
                Ok(sequence) => {
                    last = sequence;
                    won += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind, BusErrorKind::Conflict);
                    last = bus.journal_head(shard).await.unwrap().last_sequence;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    soon("the duel", join_all((0..3).map(owner))).await;
    let entries = bus.journal_read(shard, 0).await.unwrap();
    assert_eq!(entries.len(), 60);
    for owner in 0..3u8 {
        let own = entries.iter().filter(|entry| entry.payload[0] == owner);
        assert_eq!(
            own.map(|entry| entry.payload[1]).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
    }
}

/// Every subscriber hears what is published while it listens, us included; nobody waits.
pub async fn publications(bus: &dyn Bus) {
    bus.publish("contract.events", bytes("before anybody listens"));
    let mut first = bus.subscribe("contract.events");
    let mut second = bus.subscribe("contract.events");
    let mut elsewhere = bus.subscribe("contract.other");
    // A subscription takes a moment to reach a server.
    soon("the first publication", async {
        let mut ready = [false; 2];
        while ready != [true; 2] {
            bus.publish("contract.events", bytes("are you there"));
            sleep(Duration::from_millis(20)).await;
            ready[0] |= first.next().now_or_never().is_some();
            ready[1] |= second.next().now_or_never().is_some();
        }
    })
    .await;
    for n in 0..100 {
        bus.publish("contract.events", bytes(&n.to_string()));
    }
    for listener in [&mut first, &mut second] {
        let mut heard = Vec::new();
        while heard.len() < 100 {
            let message = soon("a publication", listener.next()).await.expect("it goes on");
            assert_ne!(message, "before anybody listens");
            if message != "are you there" {
                heard.push(message);
            }
        }
        let sent: Vec<Bytes> = (0..100).map(|n| bytes(&n.to_string())).collect();
        assert_eq!(heard, sent, "in order");
    }
    assert!(elsewhere.next().now_or_never().is_none());
    drop((first, second));
    bus.publish("contract.events", bytes("nobody listens any more"));
}

/// Requests reach the server and its answer comes back; the failures are told apart.
pub async fn requests(bus: &dyn Bus) {
    let subject = "contract.owner";
    let nobody = bus.request(subject, bytes("?"), SOON).await;
    assert_eq!(
        kind(nobody),
        BusErrorKind::Unreachable,
        "told at once, not at the deadline"
    );

    let mut serving = bus.serve(subject);
    let server = async {
        while let Some(request) = serving.next().await {
            match &request.payload[..] {
                b"drop" => drop(request.reply),
                b"stop" => break,
                payload => {
                    let answer = [b"re: ", payload].concat();
                    request.reply.send(answer.into()).ok();
                }
            }
        }
    };
    let asker = async {
        // Serving takes a moment to reach a server too.
        soon("the server", async {
            while bus.request(subject, bytes("hello"), SOON).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let asked = (0..50).map(|n| bus.request(subject, bytes(&n.to_string()), SOON));
        let asked: Vec<_> = asked.collect();
        for (n, answer) in join_all(asked).await.into_iter().enumerate() {
            assert_eq!(
                answer.unwrap(),
                bytes(&format!("re: {n}")),
                "each asker gets its own answer"
            );
        }
        let start = Instant::now();
        let deadline = Duration::from_millis(200);
        let unanswered = bus.request(subject, bytes("drop"), deadline).await;
        assert_eq!(kind(unanswered), BusErrorKind::Timeout);
        assert!(start.elapsed() >= deadline, "nobody knows before the deadline");
        assert!(start.elapsed() < deadline + SOON);
        bus.request(subject, bytes("stop"), Duration::from_millis(50))
            .await
            .ok();
    };
    futures::join!(server, asker);
    drop(serving);
    let outcome = soon("the end of the server", async {
        loop {
            let error = bus
                .request(subject, bytes("?"), Duration::from_millis(100))
                .await
                .expect_err("nobody serves any more");
            if error.kind == BusErrorKind::Unreachable {
                return error.kind;
            }
        }
    });
    assert_eq!(outcome.await, BusErrorKind::Unreachable);
}
