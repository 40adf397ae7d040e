//! The end, as clients see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grok2api::door::DoorPhase;
use grok2api::shutdown::{Outcome, Shutdown, ShutdownPlan, Signals};
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::clients::http2_client;
use super::stand::{PATIENCE, Stand};

const PLAN: ShutdownPlan = ShutdownPlan {
    drain_delay: Duration::from_millis(600),
    grace: Duration::from_secs(20),
};

/// Begins the end of a stand. The flag is set by a hook.
fn begin(
    stand: &Stand,
    plan: ShutdownPlan,
) -> (
    JoinHandle<Outcome>,
    grok2api::shutdown::ShutdownTrigger,
    Arc<AtomicBool>,
) {
    let mut shutdown = Shutdown::new(plan, stand.readiness.clone(), stand.handle.clone());
    let settled = Arc::new(AtomicBool::new(false));
    let (flag, door) = (settled.clone(), stand.handle.clone());
    shutdown.then("settle", move || async move {
        assert_eq!(door.in_flight().total(), 0, "hooks run after the last answer");
        flag.store(true, Ordering::SeqCst);
    });
    let mut signals = Signals::listen().unwrap();
    let trigger = signals.trigger();
    trigger.ask("the test");
    let tracker = tokio_util::task::TaskTracker::new();
    let running = tracker.spawn(async move { shutdown.run(&mut signals).await });
    (running, trigger, settled)
}

async fn phase(stand: &Stand, wanted: DoorPhase) {
    timeout(PATIENCE, stand.handle.watch().wait_for(|phase| *phase >= wanted))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_can_follow_and_nobody_is_cut_off() {
    let stand = Stand::new().await;
    let mut streaming = stand.connect().await;
    streaming.get("/stream?120").await;
    streaming.until("chunk 1").await;
    let mut idle = stand.connect().await;
    idle.get("/").await;
    idle.until("ok").await;
    let mut probe = stand.connect().await;
    probe.get("/readyz").await;
    probe.until(r#""ready":true"#).await;

    let (ending, _, settled) = begin(&stand, PLAN);
    phase(&stand, DoorPhase::Draining).await;
    // 1: red, still accepting, every answer closes its connection.
    probe.get("/readyz").await;
    let red = probe.until_end().await;
    assert!(
        red.starts_with("HTTP/1.1 503") && red.contains("connection: close") && red.contains("shutdown"),
        "{red}"
    );
    let mut late = stand.connect().await;
    late.get("/").await;
    let answer = late.until_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );

    // 2: no new connections; an idle one may still ask once if it does so at once.
    phase(&stand, DoorPhase::Stopping).await;
    timeout(PATIENCE, stand.serving).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(stand.address).await.is_err());
    streaming.until("chunk 119\n").await;
    // Its head was sent before the end began and promised to keep the connection: one more request is answered.
    streaming.get("/").await;
    let answer = streaming.until_end().await;
    assert!(
        answer.contains("HTTP/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_eq!(idle.until_end().await, "", "an idle connection ends without a reset");

    assert_eq!(timeout(PATIENCE, ending).await.unwrap().unwrap(), Outcome::Clean);
    assert!(settled.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_keep_connections_alive_see_no_reset() {
    let stand = Stand::new().await;
    let address = stand.address;
    let tracker = tokio_util::task::TaskTracker::new();
    let mut clients = Vec::new();
    for client in 0..16u64 {
        clients.push(tracker.spawn(async move {
            let mut answered = 0u32;
            'connections: loop {
                let Ok(socket) = tokio::net::TcpStream::connect(address).await else {
                    // No more connections: the end, as announced.
                    return answered;
                };
                let mut raw = super::stand::Raw(socket);
                loop {
                    raw.get("/sleep?3").await;
                    let answer = raw.until("rested").await;
                    answered += 1;
                    if answer.contains("connection: close") {
                        assert_eq!(raw.until_end().await, "");
                        continue 'connections;
                    }
                    tokio::time::sleep(Duration::from_millis(client % 7)).await;
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (ending, _, _) = begin(&stand, PLAN);
    for client in clients {
        // A reset, or an end before an answer, panics in the client.
        assert!(timeout(PATIENCE, client).await.unwrap().unwrap() > 20);
    }
    assert_eq!(timeout(PATIENCE, ending).await.unwrap().unwrap(), Outcome::Clean);
}

/// Clients that make a connection for every request: whoever was let in is answered, whoever comes later is refused.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_while_the_door_closes_are_answered_or_refused() {
    for _ in 0..10 {
        let stand = Stand::new().await;
        let address = stand.address;
        let tracker = tokio_util::task::TaskTracker::new();
        let clients: Vec<_> = (0..32)
            .map(|_| {
                tracker.spawn(async move {
                    loop {
                        match tokio::net::TcpStream::connect(address).await {
                            Ok(socket) => {
                                let mut raw = super::stand::Raw(socket);
                                raw.get("/").await;
                                let answer = raw.until("ok").await;
                                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                            }
                            Err(error) => return error.kind(),
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stand.handle.stop();
        for client in clients {
            // A reset, or an end before an answer, panics in the client.
            let end = timeout(PATIENCE, client).await.unwrap().unwrap();
            assert_eq!(end, std::io::ErrorKind::ConnectionRefused);
        }
        timeout(PATIENCE, stand.serving).await.unwrap().unwrap();
        timeout(PATIENCE, stand.handle.closed()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_told_by_goaway_and_its_streams_finish() {
    let stand = Stand::new().await;
    let client = http2_client();
    let uri: http::Uri = format!("http://{}/stream?60", stand.address).parse().unwrap();
    let answer = client.get(uri.clone()).await.unwrap();
    let (ending, _, _) = begin(&stand, PLAN);
    phase(&stand, DoorPhase::Draining).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The old connection takes no more streams; the client opens another without noticing.
    let again = client.get(uri).await.unwrap();
    assert_eq!(stand.handle.stats().accepted.load(Ordering::Relaxed), 2);
    for answer in [answer, again] {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"chunk 59\n"));
    }
    assert_eq!(timeout(PATIENCE, ending).await.unwrap().unwrap(), Outcome::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_grace_period_is_cut_off_before_hooks_run() {
    let mut stand = Stand::new().await;
    let mut client = stand.connect().await;
    client.get("/idle-stream").await;
    client.until("first").await;
    let plan = ShutdownPlan {
        drain_delay: Duration::ZERO,
        grace: Duration::from_millis(300),
    };
    let (ending, _, settled) = begin(&stand, plan);
    assert_eq!(timeout(PATIENCE, ending).await.unwrap().unwrap(), Outcome::CutOff);
    assert!(settled.load(Ordering::SeqCst));
    stand.dropped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_forces() {
    let stand = Stand::new().await;
    let mut client = stand.connect().await;
    client.get("/idle-stream").await;
    client.until("first").await;
    let (ending, trigger, settled) = begin(&stand, PLAN);
    phase(&stand, DoorPhase::Draining).await;
    // Within a quarter of a second it would be an echo of the first.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = Instant::now();
    trigger.ask("impatience");
    assert_eq!(timeout(PATIENCE, ending).await.unwrap().unwrap(), Outcome::Forced);
    assert!(asked.elapsed() < Duration::from_millis(300));
    assert!(!settled.load(Ordering::SeqCst));
}
