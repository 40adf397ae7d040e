//! A node whose wire to NATS is cut or slow.

use super::cut::CutProxy;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_wire_is_noticed_and_what_was_missed_comes_afterwards() {
    let Some(servers) = NatsServers::one().await else {
        return;
    };
    let proxy = CutProxy::start(servers.address(0)).await;
    let here = on_with(&servers, |options| {
        options.url = format!("nats://{}", proxy.address());
        options.request_timeout = Duration::from_secs(2);
    })
    .await;
    let there = on(&servers).await;
    let mut watch = here.kv_watch("tokens").await.unwrap();
    let mut events = here.subscribe("event.token");
    let key = Bytes::from_static(b"k");

    proxy.cut();
    let began = Instant::now();
    let unknown = here
        .kv_put("tokens", key.clone(), Bytes::new(), Expect::Absent)
        .await
        .unwrap_err();
    assert_eq!(unknown.kind, BusErrorKind::Timeout, "{unknown}");
    loop {
        let outcome = here.kv_get("tokens", b"k").await.unwrap_err();
        if outcome.kind == BusErrorKind::Unreachable {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{outcome}");
    }
    eprintln!("cut noticed after {:?}", began.elapsed());
    there
        .kv_put("tokens", Bytes::from_static(b"meanwhile"), Bytes::new(), Expect::Any)
        .await
        .unwrap();
    for n in 0..20u8 {
        here.publish("event.token", Bytes::from(vec![n]));
    }

    proxy.restore();
    let healed = Instant::now();
    while here.kv_get("tokens", b"k").await.is_err() {
        assert!(healed.elapsed() < Duration::from_secs(20), "it must find the way back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("healed after {:?}", healed.elapsed());
    let heard = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let change = watch.next().await.unwrap();
            if change.key == "meanwhile" {
                return;
            }
        }
    });
    heard.await.expect("the watch tells what was missed");
    let late = tokio::time::timeout(Duration::from_millis(500), events.next()).await;
    assert!(late.is_err(), "what was said without a connection is not told late");
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_over_a_slow_wire() {
    let Some(servers) = NatsServers::one().await else {
        return;
    };
    let proxy = CutProxy::start(servers.address(0)).await;
    proxy.delay(Duration::from_millis(20));
    let bus = on_with(&servers, |options| options.url = format!("nats://{}", proxy.address())).await;
    let mut last = 0;
    for n in 0..20u8 {
        last = bus
            .journal_append(1, last, [n; 16], Bytes::from(vec![n]))
            .await
            .unwrap();
        if n == 10 {
            proxy.break_all();
            while bus.journal_head(1).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    assert_eq!(bus.journal_read(1, 0).await.unwrap().len(), 20);
    let status = bus.status().await;
    assert!(status.rtt_us.is_some_and(|rtt| rtt >= 40_000), "{status:?}");
    assert_eq!(status.reconnects, 1);
}
