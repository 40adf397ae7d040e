use grok2api_schemas::client_key::{DailyLimits, KeyLimits};

use super::*;
use crate::bus::Bus;
use crate::bus::faults::Faults;
use crate::bus::local::LocalBus;
use crate::clock::ManualClock;
use crate::store::Store;

struct Node {
    keys: ClientKeys,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Node {
    async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

fn hash(secret: &str) -> [u8; 32] {
    *blake3::keyed_hash(&[7; 32], secret.as_bytes()).as_bytes()
}

async fn node(bus: BusHandle, clock: Clock) -> Node {
    let tracker = TaskTracker::new();
    let stop = CancellationToken::new();
    let keys = ClientKeys::load(bus, Arc::new(hash), clock, &tracker, stop.clone())
        .await
        .unwrap();
    Node { keys, tracker, stop }
}

fn bus() -> (BusHandle, Clock, Arc<ManualClock>) {
    let (clock, manual) = Clock::manual(WallMs(1_700_000_000_000));
    (LocalBus::new(Store::temporary().unwrap(), clock.clone()), clock, manual)
}

fn named(name: &str) -> KeyDraft {
    KeyDraft {
        name: name.into(),
        ..KeyDraft::default()
    }
}

fn id_of(identity: Result<Identity, NotTaken>) -> KeyId {
    match identity {
        Ok(Identity::Key(record)) => record.id,
        other => panic!("{other:?}"),
    }
}

/// Waits until another node knows.
async fn eventually(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not come true");
}

#[tokio::test]
async fn a_key_works_from_its_creation_on_also_after_a_restart_and_its_secret_is_nowhere() {
    let (bus, clock, _) = bus();
    let first = node(bus.clone(), clock.clone()).await;
    let made = first.keys.create(named("ci")).await.unwrap();
    assert_eq!(id_of(first.keys.identify(&made.secret)), made.record.id);
    assert_eq!(first.keys.identify("sk-no-such-key").unwrap_err(), NotTaken::Unknown);
    assert_eq!(first.keys.find(&made.secret).unwrap().id, made.record.id);
    for entry in bus.kv_list(buckets::KEYS).await.unwrap() {
        let secret = made.secret.as_bytes();
        assert!(!entry.value.windows(secret.len()).any(|window| window == secret));
    }
    assert!(!format!("{made:?}").contains(made.secret.as_str()));
    first.stop().await;

    let second = node(bus, clock).await;
    assert_eq!(id_of(second.keys.identify(&made.secret)), made.record.id);
    assert_eq!(second.keys.list().len(), 1);
    second.stop().await;
}

#[tokio::test]
async fn inactive_and_expired_keys_say_so() {
    let (bus, clock, manual) = bus();
    let node = node(bus, clock).await;
    let draft = KeyDraft {
        expires_ms: Some(1_700_000_060_000),
        ..named("short")
    };
    let made = node.keys.create(draft).await.unwrap();
    assert!(node.keys.identify(&made.secret).is_ok());
    manual.advance_ms(60_000);
    assert_eq!(node.keys.identify(&made.secret).unwrap_err(), NotTaken::Expired);
    let id = made.record.id;
    node.keys.update(id, |record| record.is_active = false).await.unwrap();
    assert_eq!(node.keys.identify(&made.secret).unwrap_err(), NotTaken::Inactive);
    assert!(node.keys.is_client_key(&made.secret));
    node.stop().await;
}

#[tokio::test]
async fn rotating_ends_the_old_secret_and_keeps_id_and_limits() {
    let (bus, clock, _) = bus();
    let node = node(bus, clock).await;
    let draft = KeyDraft {
        limits: KeyLimits {
            daily: DailyLimits {
                chat: Some(5),
                ..DailyLimits::default()
            },
            ..KeyLimits::default()
        },
        ..named("app")
    };
    let made = node.keys.create(draft).await.unwrap();
    let rotated = node.keys.rotate(made.record.id, None).await.unwrap();
    assert_eq!(rotated.record.id, made.record.id);
    assert_eq!(rotated.record.limits, made.record.limits);
    assert_ne!(rotated.record.display_key, made.record.display_key);
    assert_eq!(node.keys.identify(&made.secret).unwrap_err(), NotTaken::Unknown);
    assert_eq!(id_of(node.keys.identify(&rotated.secret)), made.record.id);
    let taken = node.keys.rotate(made.record.id, Some(rotated.secret.clone())).await;
    assert!(matches!(taken, Err(KeyError::Exists)), "{taken:?}");
    node.stop().await;
}

#[tokio::test]
async fn secrets_are_unique_and_the_configured_key_is_nobodys() {
    let (bus, clock, _) = bus();
    let node = node(bus, clock).await;
    node.keys.set_config_key(Some(" sk-from-config "));
    assert!(matches!(node.keys.identify("sk-from-config"), Ok(Identity::Config)));
    let mut draft = named("copy");
    draft.secret = Some(Zeroizing::new("sk-from-config".to_owned()));
    assert!(matches!(node.keys.create(draft.clone()).await, Err(KeyError::Exists)));
    draft.secret = Some(Zeroizing::new("sk-my-own-secret".to_owned()));
    node.keys.create(draft.clone()).await.unwrap();
    assert!(matches!(node.keys.create(draft.clone()).await, Err(KeyError::Exists)));
    draft.secret = Some(Zeroizing::new("sk-abc...wxyz".to_owned()));
    assert!(matches!(node.keys.create(draft).await, Err(KeyError::BadSecret(_))));
    node.keys.set_config_key(Some(""));
    assert_eq!(node.keys.identify("sk-from-config").unwrap_err(), NotTaken::Unknown);
    node.stop().await;
}

#[tokio::test]
async fn concurrent_updates_from_two_nodes_all_arrive() {
    let (bus, clock, _) = bus();
    let (one, two) = (node(bus.clone(), clock.clone()).await, node(bus, clock).await);
    let made = one.keys.create(named("shared")).await.unwrap();
    let id = made.record.id;
    eventually(|| two.keys.get(id).is_some()).await;
    let (a, b) = tokio::join!(
        one.keys.update(id, |record| record.limits.rpm = Some(1)),
        two.keys.update(id, |record| record.limits.tpm = Some(2)),
    );
    a.unwrap();
    b.unwrap();
    eventually(|| {
        let limits = |node: &Node| node.keys.get(id).unwrap().limits.clone();
        [limits(&one), limits(&two)]
            .iter()
            .all(|limits| limits.rpm == Some(1) && limits.tpm == Some(2))
    })
    .await;
    assert_eq!(one.keys.get(id).unwrap().version, 3);
    two.keys.delete(id).await.unwrap();
    assert_eq!(two.keys.identify(&made.secret).unwrap_err(), NotTaken::Unknown);
    eventually(|| one.keys.identify(&made.secret).is_err()).await;
    assert!(matches!(one.keys.update(id, |_| {}).await, Err(KeyError::NotFound)));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn the_first_key_is_made_once_in_the_life_of_an_installation() {
    let (bus, clock, _) = bus();
    let node = node(bus, clock).await;
    let first = node.keys.first_key().await.unwrap().unwrap();
    assert!(node.keys.first_key().await.unwrap().is_none());
    node.keys.delete(first.record.id).await.unwrap();
    assert!(node.keys.first_key().await.unwrap().is_none());
    assert!(node.keys.is_empty());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_start_at_the_same_instant_make_one_first_key() {
    for seed in 0..30 {
        let (clock, _) = Clock::manual(WallMs(1_700_000_000_000));
        let faults = Faults {
            delay: Duration::from_millis(30),
            drop: 0.1,
            ..Faults::default()
        };
        let bus = LocalBus::with_faults(Store::temporary().unwrap(), clock.clone(), seed, Faults::default());
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(node(bus.clone(), clock.clone()).await);
        }
        bus.set_faults(faults);
        let made = futures::future::join_all(nodes.iter().map(|node| node.keys.first_key())).await;
        bus.set_faults(Faults::default());
        let printed: Vec<_> = made.into_iter().filter_map(|made| made.ok().flatten()).collect();
        let stored = bus.kv_list(buckets::KEYS).await.unwrap();
        assert!(
            stored.len() <= 1 && printed.len() <= 1,
            "seed {seed}: one key, printed once"
        );
        for made in printed {
            let record: KeyRecord = crate::bus::codec::decode(&stored[0].value).unwrap();
            assert_eq!(
                record.fingerprint,
                hash(&made.secret),
                "seed {seed}: what is printed works"
            );
        }
        for node in nodes {
            node.stop().await;
        }
    }
}

#[tokio::test]
async fn no_first_key_where_the_configuration_has_one() {
    let (bus, clock, _) = bus();
    let node = node(bus, clock).await;
    node.keys.set_config_key(Some("sk-from-config"));
    assert!(node.keys.first_key().await.unwrap().is_none());
    assert!(node.keys.list().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn last_use_is_shown_at_once_and_written_before_the_end() {
    let (bus, clock, manual) = bus();
    let one = node(bus.clone(), clock.clone()).await;
    let made = one.keys.create(named("used")).await.unwrap();
    assert_eq!(made.record.last_used_ms, None);
    manual.advance_ms(5_000);
    let _ = one.keys.identify(&made.secret);
    assert_eq!(one.keys.list()[0].last_used_ms, Some(1_700_000_005_000));
    one.stop().await;
    let two = node(bus, clock).await;
    assert_eq!(
        two.keys.get(made.record.id).unwrap().last_used_ms,
        Some(1_700_000_005_000)
    );
    two.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_bad_network_the_registry_agrees_with_the_store() {
    for seed in 0..20 {
        let (clock, _) = Clock::manual(WallMs(1_700_000_000_000));
        let bus = LocalBus::with_faults(Store::temporary().unwrap(), clock.clone(), seed, Faults::default());
        let node = node(bus.clone(), clock).await;
        bus.set_faults(Faults {
            delay: Duration::from_millis(20),
            drop: 0.2,
            duplicate: 0.2,
            stale_watch: Duration::from_millis(500),
        });
        let mut deleted = Vec::new();
        for round in 0..20 {
            let Ok(made) = node.keys.create(named(&format!("{seed}/{round}"))).await else {
                continue;
            };
            assert!(node.keys.identify(&made.secret).is_ok(), "usable once it is answered");
            let _ = node
                .keys
                .update(made.record.id, |record| record.limits.rpm = Some(round))
                .await;
            if round % 3 == 0 && node.keys.delete(made.record.id).await.is_ok() {
                assert!(node.keys.identify(&made.secret).is_err(), "gone once it is answered");
                deleted.push(made);
            }
        }
        bus.set_faults(Faults::default());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let stored: Vec<KeyRecord> = bus
            .kv_list(buckets::KEYS)
            .await
            .unwrap()
            .iter()
            .map(|entry| crate::bus::codec::decode(&entry.value).unwrap())
            .collect();
        let held: Vec<KeyRecord> = node
            .keys
            .inner
            .mirror
            .all()
            .iter()
            .map(|(_, row)| KeyRecord::clone(&row.value))
            .collect();
        assert_eq!(held, stored, "seed {seed}");
        assert_eq!(node.keys.inner.index.len(), stored.len());
        for made in deleted {
            assert_eq!(node.keys.identify(&made.secret).unwrap_err(), NotTaken::Unknown);
        }
        node.stop().await;
    }
}
