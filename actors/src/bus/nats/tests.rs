#[path = "../../../../tests/it/support/nats.rs"]
pub(crate) mod server;
#[path = "../../../../tests/it/support/cut.rs"]
mod cut;
mod login;
mod partition;

use futures::StreamExt;
use server::NatsServers;

use super::*;
use crate::bus::{BusErrorKind, contract};

async fn on(servers: &NatsServers) -> Arc<NatsBus> {
    on_with(servers, |_| {}).await
}

async fn on_with(servers: &NatsServers, set: impl FnOnce(&mut NatsOptions)) -> Arc<NatsBus> {
    let mut options = NatsOptions {
        replicas: servers.count(),
        ..NatsOptions::new(servers.url())
    };
    set(&mut options);
    NatsBus::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_on_one_server() {
    let Some(servers) = NatsServers::one().await else {
        return;
    };
    let bus = on(&servers).await;
    let began = Instant::now();
    contract::all(&*bus).await;
    eprintln!("contract on one server: {:?}", began.elapsed());
    bus.close().await;
    let closed = bus.kv_get("tokens", b"k").await.unwrap_err();
    assert_eq!(closed.kind, BusErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_on_a_cluster_of_three() {
    let Some(servers) = NatsServers::three().await else {
        return;
    };
    contract::all(&*on(&servers).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_on_one_nats_do_not_meet() {
    let Some(servers) = NatsServers::one().await else {
        return;
    };
    let ours = on(&servers).await;
    let theirs = on_with(&servers, |options| options.prefix = "other".to_owned()).await;
    contract::all(&*ours).await;
    contract::all(&*theirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_nats_gets_its_streams_back_as_new_ones() {
    let Some(mut servers) = NatsServers::one().await else {
        return;
    };
    let bus = on(&servers).await;
    let last = bus
        .journal_append(1, 0, [1; 16], Bytes::from_static(b"one"))
        .await
        .unwrap();
    let head = bus.journal_head(1).await.unwrap();
    bus.kv_put("tokens", Bytes::from_static(b"k"), Bytes::new(), Expect::Any)
        .await
        .unwrap();
    let mut watch = bus.kv_watch("tokens").await.unwrap();

    servers.stop(0);
    let away = wait_for(&bus, |outcome| outcome.is_err()).await.unwrap_err();
    assert_eq!(away.kind, BusErrorKind::Unreachable);
    servers.restart(0).await;
    assert_eq!(
        wait_for(&bus, |outcome| outcome.is_ok()).await.unwrap(),
        head,
        "a restart is no new life"
    );
    assert_eq!(
        bus.journal_append(1, 0, [1; 16], Bytes::from_static(b"one"))
            .await
            .unwrap(),
        last
    );

    servers.kill(0);
    servers.wipe(0);
    servers.restart(0).await;
    let newborn = wait_for(&bus, |outcome| outcome.is_ok()).await.unwrap();
    assert_eq!(newborn.last_sequence, 0);
    assert_ne!(newborn.incarnation, head.incarnation);
    let refused = bus.journal_append(1, last, [2; 16], Bytes::new()).await.unwrap_err();
    assert_eq!(refused.kind, BusErrorKind::Conflict);
    let ended = async { while watch.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .expect("the watch must begin anew");
}

/// Asks for a journal's head until the answer is as wanted.
async fn wait_for(
    bus: &NatsBus,
    wanted: impl Fn(&Result<JournalHead, BusError>) -> bool,
) -> Result<JournalHead, BusError> {
    let began = Instant::now();
    loop {
        let outcome = bus.journal_head(1).await;
        if wanted(&outcome) {
            return outcome;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "still {outcome:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_stalls_writes_and_loses_none() {
    let Some(mut servers) = NatsServers::three().await else {
        return;
    };
    let bus = on(&servers).await;
    let leader = servers.leader_of("grok2api_journal").await.expect("somebody leads");
    let mut last = bus.journal_append(2, 0, [0; 16], Bytes::new()).await.unwrap();
    let mut watch = bus.kv_watch("tokens").await.unwrap();
    servers.kill(leader);
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    for n in 1..=30u8 {
        // The owner's way: the same bytes at the same sequence until the outcome is known.
        loop {
            let asked = Instant::now();
            let outcome = bus.journal_append(2, last, [n; 16], Bytes::from(vec![n])).await;
            longest = longest.max(asked.elapsed());
            match outcome {
                Ok(sequence) => break last = sequence,
                Err(error) => {
                    assert!(
                        matches!(error.kind, BusErrorKind::Timeout | BusErrorKind::Unreachable),
                        "{error}"
                    );
                    assert!(began.elapsed() < Duration::from_secs(40), "{error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    eprintln!(
        "appends go on {:?} after the kill, the longest call took {longest:?}",
        began.elapsed()
    );
    assert!(
        longest < Duration::from_secs(7),
        "an append must answer, not hang: {longest:?}"
    );
    let entries = bus.journal_read(2, 0).await.unwrap();
    let payloads: Vec<u8> = entries[1..].iter().map(|entry| entry.payload[0]).collect();
    assert_eq!(payloads, (1..=30).collect::<Vec<u8>>());

    let key = Bytes::from_static(b"after");
    let put = async {
        while bus
            .kv_put("tokens", key.clone(), Bytes::new(), Expect::Any)
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        watch.next().await
    };
    let heard = tokio::time::timeout(Duration::from_secs(40), put)
        .await
        .expect("the watch goes on");
    assert_eq!(heard.map(|change| change.key), Some(key));
    servers.restart(leader).await;
}

/// A leader refuses a second write of a key while the first is on its way to the others; then nothing can be read yet.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_to_slow_replicas_can_read_who_was_first() {
    let Some(servers) = NatsServers::three().await else {
        return;
    };
    // The streams are there before one of their leader's own clients writes.
    let everywhere = on(&servers).await;
    let leader = servers.leader_of("KV_grok2api").await.expect("somebody leads");
    let bus = on_with(&servers, |options| options.url = servers.url_of(leader)).await;
    let key = Bytes::from_static(b"first");
    let put = |value: &'static [u8]| bus.kv_put("cluster", key.clone(), Bytes::from_static(value), Expect::Absent);
    let others = (0..servers.count()).filter(|n| *n != leader);
    others.clone().for_each(|n| servers.pause(n));
    let resume = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        others.for_each(|n| servers.resume(n));
    };
    let second = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let refused = put(b"b").await;
        (refused, bus.kv_get("cluster", &key).await)
    };
    let (first, (second, read), ()) = tokio::join!(put(b"a"), second, resume);
    first.unwrap();
    assert_eq!(second.unwrap_err().kind, BusErrorKind::Conflict);
    assert_eq!(read.unwrap().map(|entry| entry.value), Some(Bytes::from_static(b"a")));
    drop(everywhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nothing_is_a_timeout() {
    let Some(servers) = NatsServers::one().await else {
        return;
    };
    let bus = on_with(&servers, |options| options.request_timeout = Duration::from_secs(1)).await;
    servers.pause(0);
    let unknown = bus
        .journal_append(1, 0, [1; 16], Bytes::from_static(b"one"))
        .await
        .unwrap_err();
    assert_eq!(unknown.kind, BusErrorKind::Timeout);
    servers.resume(0);
    let retried = async {
        loop {
            if let Ok(sequence) = bus.journal_append(1, 0, [1; 16], Bytes::from_static(b"one")).await {
                return sequence;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let sequence = tokio::time::timeout(Duration::from_secs(20), retried).await.unwrap();
    let entries = bus.journal_read(1, 0).await.unwrap();
    assert_eq!(entries.len(), 1, "it stands once: {:?}", servers.dir());
    assert_eq!(entries[0].sequence, sequence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_recognised_when_the_server_has_forgotten_its_id() {
    let Some(servers) = NatsServers::one().await else {
        return;
    };
    let bus = on(&servers).await;
    let stream = bus.link.jetstream.get_stream("grok2api_journal").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.duplicate_window = Duration::from_millis(100);
    bus.link.jetstream.update_stream(config).await.unwrap();
    let append = |expected, id: u8, payload: &'static [u8]| {
        bus.journal_append(1, expected, [id; 16], Bytes::from_static(payload))
    };
    let first = append(0, 1, b"one").await.unwrap();
    let second = append(first, 2, b"two").await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(append(0, 1, b"one").await.unwrap(), first);
    assert_eq!(append(first, 2, b"two").await.unwrap(), second);
    for stranger in [append(0, 1, b"uno").await, append(0, 3, b"one").await] {
        assert_eq!(stranger.unwrap_err().kind, BusErrorKind::Conflict);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_why() {
    let Some(servers) = NatsServers::one().await else {
        return;
    };
    let refusal = |set: fn(&mut NatsOptions)| {
        let mut options = NatsOptions {
            start_deadline: Duration::from_secs(2),
            ..NatsOptions::new(servers.url())
        };
        set(&mut options);
        async move {
            match NatsBus::start(options).await {
                Ok(_) => panic!("it must not start"),
                Err(refusal) => refusal.0,
            }
        }
    };
    let absent = refusal(|options| options.url = "nats://127.0.0.1:1".to_owned()).await;
    assert!(absent.contains("no NATS at 127.0.0.1:1 within 2 s"), "{absent}");
    let alone = refusal(|options| options.replicas = 3).await;
    assert!(alone.contains("nats.replicas"), "{alone}");
    let prefix = refusal(|options| options.prefix = "a.b".to_owned()).await;
    assert!(prefix.contains("nats.prefix"), "{prefix}");

    let bus = on(&servers).await;
    let stream = bus.link.jetstream.get_stream("grok2api_journal").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_age = Duration::from_secs(3600);
    bus.link.jetstream.update_stream(config).await.unwrap();
    let aged = refusal(|_| {}).await;
    assert!(
        aged.contains("grok2api_journal") && aged.contains("max_age is 3600s, wanted is 0ns"),
        "{aged}"
    );
}

/// 100,000 tokens are listed in a few seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_keys_are_written_and_listed() {
    let Some(servers) = NatsServers::one().await else {
        return;
    };
    let bus = on(&servers).await;
    let writes = (0..100_000u128).map(|n| super::super::KvWrite {
        bucket: "tokens",
        key: Bytes::copy_from_slice(&(n * 0x9E37_79B9_7F4A_7C15).to_be_bytes()),
        value: Some(Bytes::from(vec![7; 200])),
    });
    let began = Instant::now();
    bus.kv_write(writes.collect()).await.unwrap();
    let written = began.elapsed();
    let listed = bus.kv_list("tokens").await.unwrap();
    eprintln!(
        "100,000 keys: written in {written:?}, listed in {:?}",
        began.elapsed() - written
    );
    assert_eq!(listed.len(), 100_000);
    assert!(began.elapsed() - written < Duration::from_secs(10));
    let varz = servers.monitor(0, "/varz").await;
    assert!(varz["in_msgs"].as_u64().unwrap() > 100_000);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of what an append takes: --no-capture shows it"]
async fn appends_take_a_moment() {
    for count in [1, 3] {
        let Some(servers) = NatsServers::start(count, "").await else {
            return;
        };
        let bus = on(&servers).await;
        let mut last = 0;
        let mut took = Vec::new();
        let before = messages(&servers).await;
        for n in 0..500u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let asked = Instant::now();
            last = bus
                .journal_append(1, last, id, Bytes::from(vec![7; 400]))
                .await
                .unwrap();
            took.push(asked.elapsed());
        }
        let after = messages(&servers).await;
        took.sort_unstable();
        eprintln!(
            "{count} servers: append p50 {:?} p99 {:?}, messages into servers {:.2}, out of them {:.2} an append",
            took[250],
            took[495],
            (after.0 - before.0) as f64 / 500.0,
            (after.1 - before.1) as f64 / 500.0,
        );
        let before = messages(&servers).await;
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let after = messages(&servers).await;
        eprintln!(
            "{count} servers, nobody says anything: {:.1} messages/s into servers, {:.1} out",
            (after.0 - before.0) as f64 / began.elapsed().as_secs_f64(),
            (after.1 - before.1) as f64 / began.elapsed().as_secs_f64(),
        );
    }
}

/// What every server has received and sent.
async fn messages(servers: &NatsServers) -> (u64, u64) {
    let mut sum = (0, 0);
    for n in 0..servers.count() {
        let varz = servers.monitor(n, "/varz").await;
        sum.0 += varz["in_msgs"].as_u64().unwrap();
        sum.1 += varz["out_msgs"].as_u64().unwrap();
    }
    sum
}
