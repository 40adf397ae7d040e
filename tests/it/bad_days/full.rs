//! JetStream's storage is full.

use std::time::Duration;

use async_nats::jetstream;
use tokio::time::Instant;

use super::stage::{Stage, wait};
use crate::support::eventually;
use crate::support::nats::{self, NatsServers};

/// Somebody else's stream in the same account.
const JUNK: &str = "JUNK";

#[tokio::test(flavor = "multi_thread")]
async fn full_storage_is_told_and_survived() {
    let Some(binary) = nats::binary() else {
        return;
    };
    let nats = NatsServers::start_sized(binary, 1, "", "32MB").await;
    let urls = vec![nats.url(); 2];
    let stage = Stage::set_over(nats, &urls, |_, plan| {
        plan.set("nats.request_log_max_mb", 1).set("nats.media_max_mb", 1)
    })
    .await;
    let load = stage.demand();
    wait(6).await;
    let client = async_nats::connect(stage.nats.url_of(0)).await.unwrap();
    let jetstream = jetstream::new(client);
    let junk = jetstream::stream::Config {
        name: JUNK.to_owned(),
        subjects: vec![JUNK.to_owned()],
        ..Default::default()
    };
    let mut junk = jetstream.create_stream(junk).await.unwrap();
    let mut size = 512 * 1024;
    while size >= 512 {
        let sent = jetstream.publish(JUNK, vec![b'x'; size].into()).await.unwrap();
        if sent.await.is_err() {
            size /= 2;
        }
    }
    let full_at = Instant::now();
    println!(
        "full with {} bytes of somebody else's",
        junk.info().await.unwrap().state.bytes
    );
    let refused = stage
        .admin(1)
        .post("/config", &serde_json::json!({"clients": {"max_wait_ms": 3_000}}))
        .await;
    println!("an edit: {} {}", refused.status, refused.text());
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("storage"), "{}", refused.text());
    // What is known can be read, and calls are served from what is in hand.
    assert_eq!(stage.admin(0).tokens().await.len(), 4);
    let red = stage.readiness(0, "a node that cannot write is not ready", |status, text| {
        status == 503 && text.contains("storage")
    });
    let red = red.await;
    println!("/readyz says so after {red:.1?}");
    wait(3).await;
    jetstream.delete_stream(JUNK).await.unwrap();
    let emptied_at = Instant::now();
    println!("it was full for {:.1?}", full_at.elapsed());
    for node in 0..2 {
        stage.readiness(node, "ready again", |status, _| status == 200).await;
    }
    eventually("an edit is taken again", Duration::from_secs(10), || async {
        match stage.edit(1).await {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    println!("edits are taken again {:.1?} after there is room", emptied_at.elapsed());
    wait(3).await;
    let seen = load.end().await;
    stage.judge("the storage is full", &seen, 0).await;
    seen.assert_in_form(None);
    println!(
        "  the last steady call failed {:.1?} after there was room",
        seen.recovered_after(emptied_at)
    );
    assert!(seen.recovered_after(emptied_at) < Duration::from_secs(10));
}
