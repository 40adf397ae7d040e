//! What the door does not put up with.

use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api::door::DoorOptions;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::stand::Stand;

fn short_patience() -> DoorOptions {
    DoorOptions {
        header_read_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_millis(1500),
        ..DoorOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_in_is_cut_off_and_told_why() {
    let stand = Stand::with(short_patience()).await;
    let mut client = stand.connect().await;
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n").await;
    let (mut read, mut write) = client.0.split();
    let drip = async {
        while write.write_all(b"x-drip: drop\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = String::new();
    let listen = tokio::io::AsyncReadExt::read_to_string(&mut read, &mut answer);
    tokio::select! {
        () = drip => {}
        _ = listen => {}
    }
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(350) && took < Duration::from_secs(3),
        "{took:?}"
    );
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"),
        "{answer}"
    );
    assert_eq!(stand.handle.stats().head_timeouts.load(Ordering::Relaxed), 1);
    stand.until_open_sockets(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_long_pauses_end_a_connection_in_peace() {
    let stand = Stand::with(short_patience()).await;
    let mut silent = stand.connect().await;
    let began = Instant::now();
    assert_eq!(silent.until_end().await, "");
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());

    let mut pausing = stand.connect().await;
    pausing.get("/").await;
    pausing.until("ok").await;
    // Longer than a head may take, shorter than a pause may last.
    tokio::time::sleep(Duration::from_millis(900)).await;
    pausing.get("/").await;
    pausing.until("ok").await;
    let began = Instant::now();
    assert_eq!(pausing.until_end().await, "");
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(1400) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_take_longer_than_every_timeout_of_the_door() {
    let stand = Stand::with(short_patience()).await;
    let mut client = stand.connect().await;
    client.get("/sleep?2500").await;
    client.until("rested").await;
    client.get("/").await;
    client.until("ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_too_many_is_told_so_and_a_freed_place_is_given_away() {
    let stand = Stand::with(DoorOptions {
        max_connections: 2,
        ..DoorOptions::default()
    })
    .await;
    let mut first = stand.connect().await;
    let mut second = stand.connect().await;
    for client in [&mut first, &mut second] {
        client.get("/").await;
        client.until("ok").await;
    }
    let mut third = stand.connect().await;
    third.get("/").await;
    let answer = third.until_end().await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("retry-after: 1\r\n") && answer.contains(r#""code":"overloaded""#),
        "{answer}"
    );
    assert_eq!(stand.handle.stats().refused.load(Ordering::Relaxed), 1);
    // Those who are in are not disturbed.
    second.get("/").await;
    second.until("ok").await;
    drop(first);
    stand.until_open_sockets(1).await;
    let mut fourth = stand.connect().await;
    fourth.get("/").await;
    fourth.until("ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_gets_an_answer_in_the_apis_shape() {
    let stand = Stand::new().await;
    let long_target = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "a".repeat(70_000));
    let many_fields = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    let large_field = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let huge_field = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(1_000_000));
    for (sent, status, code) in [
        ("nonsense\r\n\r\n", 400, "malformed_request"),
        ("GET / HTTP/9.9\r\n\r\n", 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "malformed_request"),
        ("GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400, "malformed_request"),
        ("\x16\x03\x01 a TLS hello\r\n\r\n", 400, "malformed_request"),
        (long_target.as_str(), 414, "uri_too_long"),
        (many_fields.as_str(), 431, "headers_too_large"),
        (large_field.as_str(), 431, "headers_too_large"),
        (huge_field.as_str(), 431, "headers_too_large"),
    ] {
        let shown: String = sent.chars().take(40).collect();
        let mut client = stand.connect().await;
        client.send(sent).await;
        let answer = client.until(r#""}}"#).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown:?}: {answer}"
        );
        assert!(answer.contains(&format!(r#""code":"{code}""#)), "{shown:?}: {answer}");
        assert!(answer.contains("x-request-id: req_"), "{shown:?}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["error"]["type"], "invalid_request_error");
    }
    let mut client = stand.connect().await;
    client.get("/").await;
    client.until("ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_answered_while_it_is_still_coming() {
    let stand = Stand::new().await;
    for head in ["content-length: 50000000", "transfer-encoding: chunked"] {
        let mut client = stand.connect().await;
        client
            .send(&format!("POST /length HTTP/1.1\r\nhost: h\r\n{head}\r\n\r\n"))
            .await;
        let piece = if head.starts_with("transfer") {
            format!("2710\r\n{}\r\n", "a".repeat(10_000))
        } else {
            "a".repeat(10_000)
        };
        let (mut read, mut write) = client.0.split();
        let keep_sending = async {
            while write.write_all(piece.as_bytes()).await.is_ok() {
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = vec![0; 20];
        let listen = tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer);
        tokio::select! {
            () = keep_sending => unreachable!(),
            outcome = listen => { outcome.expect("the answer, not a reset"); }
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 413 "),
            "{head}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    stand.until_open_sockets(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_everything_before_it_reads_gets_its_answer() {
    let stand = Stand::new().await;
    let mut client = stand.connect().await;
    // More than all buffers between us hold: without the linger, sending it would fail.
    let body = "a".repeat(30_000_000);
    client
        .send(&format!(
            "POST /length HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let answer = client.until_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_falls_silent_is_answered_408() {
    let stand = Stand::new().await;
    let mut client = stand.connect().await;
    client
        .send("POST /length HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n12345")
        .await;
    let answer = client.until("silent").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut client = stand.connect().await;
    client
        .send("POST /length HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n12345")
        .await;
    client.send("67890").await;
    client.until("10").await;
}
