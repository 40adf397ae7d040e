//! Messages: publications and requests.

use futures::FutureExt;
use tokio::time::{Instant, sleep};

use super::*;

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
