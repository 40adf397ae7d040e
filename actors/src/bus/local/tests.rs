use futures::StreamExt;
use grok2api_schemas::bus::subjects::buckets;

use super::*;
use crate::bus::contract;
use crate::clock::WallMs;
use crate::store::StoreOptions;

fn temporary() -> Arc<LocalBus> {
    LocalBus::new(Store::temporary().unwrap(), Clock::system())
}

fn on_disk(dir: &std::path::Path) -> Arc<LocalBus> {
    let store = Store::open(dir, StoreOptions::default()).unwrap();
    LocalBus::new(store, Clock::system())
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    contract::all(&*on_disk(dir.path())).await;
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract_on_a_temporary_store_under_paused_time() {
    contract::all(&*temporary()).await;
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract_behind_a_slow_network() {
    let faults = Faults {
        delay: Duration::from_millis(30),
        stale_watch: Duration::from_millis(100),
        ..Faults::default()
    };
    for seed in 0..5 {
        let store = Store::temporary().unwrap();
        contract::all(&*LocalBus::with_faults(store, Clock::system(), seed, faults)).await;
    }
}

#[tokio::test]
async fn revisions_sequences_and_incarnations_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bus = on_disk(dir.path());
    let key = Bytes::from_static(b"k");
    let revision = bus
        .kv_put(buckets::TOKENS, key.clone(), key.clone(), Expect::Any)
        .await
        .unwrap();
    bus.kv_delete(buckets::TOKENS, key.clone(), Expect::Any).await.unwrap();
    let sequence = bus.journal_append(1, 0, [1; 16], key.clone()).await.unwrap();
    bus.journal_purge(1, sequence + 1).await.unwrap();
    let head = bus.journal_head(1).await.unwrap();
    let untouched = bus.journal_head(2).await.unwrap();
    let mut watch = bus.kv_watch(buckets::TOKENS).await.unwrap();
    bus.close();
    assert!(watch.next().await.is_none(), "closing ends watches");
    let closed = bus.kv_put(buckets::TOKENS, key.clone(), key.clone(), Expect::Any).await;
    assert_eq!(closed.unwrap_err().kind, BusErrorKind::Closed);
    drop(bus);

    let bus = on_disk(dir.path());
    let next = bus
        .kv_put(buckets::TOKENS, key.clone(), key.clone(), Expect::Absent)
        .await
        .unwrap();
    assert!(next > revision + 1);
    assert_eq!(bus.journal_head(1).await.unwrap(), head);
    assert_eq!(bus.journal_head(2).await.unwrap(), untouched);
    assert_eq!(
        bus.journal_append(1, 0, [1; 16], key.clone()).await.unwrap(),
        sequence,
        "the retry of an append whose entry was purged meanwhile"
    );
}

#[tokio::test]
async fn another_life_of_a_journal_has_another_incarnation() {
    let mut lives = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (clock, _) = Clock::manual(WallMs(1_700_000_000_000));
        let bus = LocalBus::new(Store::temporary().unwrap(), clock);
        lives.insert(bus.journal_head(0).await.unwrap().incarnation);
    }
    assert!(lives.len() > 15, "of one millisecond, and still told apart: {lives:?}");
}

#[tokio::test]
async fn what_waits_for_a_slow_watcher_is_bounded_by_the_keys() {
    let bus = temporary();
    let watch = bus.kv_watch(buckets::KEYS).await.unwrap();
    for n in 0..1_000u32 {
        let key = Bytes::copy_from_slice(&(n % 10).to_be_bytes());
        bus.kv_put(buckets::KEYS, key, Bytes::new(), Expect::Any).await.unwrap();
    }
    assert_eq!((bus.stats().watchers, bus.stats().unread_changes), (1, 10));
    drop(watch);
    assert_eq!((bus.stats().watchers, bus.stats().unread_changes), (0, 0));
}

#[tokio::test]
async fn a_slow_subscriber_loses_messages_and_nobody_waits_for_it() {
    let bus = temporary();
    let slow = bus.subscribe("events");
    for _ in 0..5_000 {
        bus.publish("events", Bytes::from_static(b"x"));
    }
    assert_eq!(bus.stats().dropped_messages, 5_000 - 4_096);
    bus.publish("elsewhere", Bytes::new());
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_leave_journals_whole_when_the_writer_retries() {
    let faults = Faults {
        delay: Duration::from_millis(50),
        drop: 0.3,
        duplicate: 0.3,
        ..Faults::default()
    };
    for seed in 0..20 {
        let store = Store::temporary().unwrap();
        let bus = LocalBus::with_faults(store, Clock::system(), seed, faults);
        let mut last = 0;
        let mut retries = 0;
        for n in 0..50u8 {
            loop {
                match bus.journal_append(0, last, [n; 16], Bytes::from(vec![n])).await {
                    Ok(sequence) => break last = sequence,
                    Err(error) => assert_eq!(error.kind, BusErrorKind::Timeout),
                }
                retries += 1;
            }
        }
        assert!(retries > 0, "seed {seed} injected nothing");
        bus.set_faults(Faults::default());
        let entries = bus.journal_read(0, 0).await.unwrap();
        let payloads: Vec<u8> = entries.iter().map(|entry| entry.payload[0]).collect();
        assert_eq!(payloads, (0..50).collect::<Vec<u8>>(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_network_loses_and_repeats_messages_and_keeps_to_its_seed() {
    let faults = Faults {
        drop: 0.2,
        duplicate: 0.2,
        delay: Duration::from_millis(10),
        ..Faults::default()
    };
    let run = |seed| async move {
        let bus = LocalBus::with_faults(Store::temporary().unwrap(), Clock::system(), seed, faults);
        let mut heard = bus.subscribe("events");
        for n in 0..200u8 {
            bus.publish("events", Bytes::from(vec![n]));
        }
        bus.set_faults(Faults::default());
        let mut messages = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(1), heard.next()).await {
            messages.push(message[0]);
        }
        messages
    };
    let messages = run(1).await;
    assert_eq!(messages, run(1).await, "one seed, one history");
    assert_ne!(messages, run(2).await);
    let distinct: std::collections::BTreeSet<u8> = messages.iter().copied().collect();
    assert!(distinct.len() < 190, "some were lost");
    assert!(messages.len() > distinct.len(), "some came twice");
    assert!(messages.is_sorted(), "a connection keeps the order");
}
