//! Disconnects, promptness, panics, upgrades.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::stand::{Raw, Stand, until};

/// A client that hangs up must be noticed this fast. Measured: 0.2 ms; the rest is for a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_millis(50);

/// Leaves while the path is busy, and checks how soon that is noticed: the best of three, because the machine may be busy
/// with other tests. A disconnect that nobody notices fails in every round.
async fn hang_up(mut stand: Stand, path: &str, wait_for: Option<&str>) {
    let mut noticed = Vec::new();
    for _ in 0..3 {
        let mut client = stand.connect().await;
        client.get(path).await;
        match wait_for {
            Some(text) => drop(client.until(text).await),
            None => stand.until_in_flight(1).await,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let left = Instant::now();
        drop(client);
        noticed.push(stand.dropped().await.saturating_duration_since(left));
        stand.until_open_sockets(0).await;
        stand.until_in_flight(0).await;
    }
    let best = noticed.iter().min().copied();
    assert!(best <= Some(NOTICED_WITHIN), "{path}: noticed after {noticed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_an_idle_stream_is_noticed() {
    hang_up(Stand::new().await, "/idle-stream", Some("first")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_pending_handler_is_noticed() {
    hang_up(Stand::new().await, "/pending", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_that_leave_leave_nothing_behind() {
    let mut stand = Stand::new().await;
    for _ in 0..5 {
        let mut clients = Vec::new();
        for _ in 0..200 {
            let mut client = stand.connect().await;
            client.get("/idle-stream").await;
            clients.push(client);
        }
        for client in &mut clients {
            client.until("first").await;
        }
        let left = Instant::now();
        drop(clients);
        for _ in 0..200 {
            stand.dropped().await;
        }
        assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    }
    stand.until_open_sockets(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_chunks_is_not_held_back() {
    let stand = Stand::new().await;
    let mut client = stand.connect().await;
    client.get("/pairs").await;
    let mut seen = String::new();
    let mut arrivals = Vec::new();
    while !seen.contains("19\n") {
        // A fresh connection acknowledges at once, which would hide what is to be seen.
        socket2::SockRef::from(&client.0).set_tcp_quickack(false).unwrap();
        let mut buffer = [0; 1024];
        let count = client.0.read(&mut buffer).await.unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let now = Instant::now();
        while seen.contains(&format!("{:02}\n", arrivals.len())) {
            arrivals.push(now);
        }
    }
    // Held back, the second of a pair would wait for a delayed acknowledgement (40 ms) or for the next pair (30 ms).
    let mut gaps: Vec<Duration> = arrivals.chunks(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort();
    assert!(gaps[gaps.len() / 2] < Duration::from_millis(15), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_answered_and_ends_one_connection_only() {
    let stand = Stand::new().await;
    let mut other = stand.connect().await;
    other.get("/stream?40").await;
    other.until("chunk 1").await;

    let mut client = stand.connect().await;
    client.get("/panic").await;
    let answer = client.until_end().await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(
        answer.contains("connection: close") && answer.contains("x-request-id: req_"),
        "{answer}"
    );
    assert!(answer.contains(r#""code":"internal_error""#), "{answer}");

    let mut client = stand.connect().await;
    client.get("/panic-body").await;
    let answer = client.until_end().await;
    assert!(
        answer.contains("first") && !answer.ends_with("0\r\n\r\n"),
        "cut, not ended: {answer}"
    );

    let panics = || stand.handle.stats().panics.load(Ordering::Relaxed);
    until(|| panics() == 2, "two panics counted").await;
    other.until("chunk 39").await;
    let mut client = stand.connect().await;
    client.get("/").await;
    client.until("ok").await;
    drop((client, other));
    stand.until_open_sockets(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_upgraded_counted_and_let_go() {
    let stand = Stand::new().await;
    let url = format!("ws://{}/ws", stand.address);
    let (mut socket, answer) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert!(answer.headers().contains_key("x-request-id"));
    for word in ["one", "two"] {
        socket.send(Message::text(word)).await.unwrap();
        let echo = socket.next().await.unwrap().unwrap();
        assert_eq!(echo.into_text().unwrap().as_str(), word.to_uppercase());
    }
    stand.until_open_sockets(1).await;
    drop(socket);
    stand.until_open_sockets(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_one_connection_get_ids_and_origins() {
    let stand = Stand::new().await;
    let mut client = stand.connect().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        client.get("/whoami").await;
        let answer = client.until("http://door.test req_").await;
        let id = answer.rsplit(' ').next().unwrap().to_owned();
        assert!(answer.contains(&format!("x-request-id: {id}")), "{answer}");
        assert!(answer.contains("127.0.0.1 http://door.test"), "{answer}");
        ids.push(id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let stand = Stand::new().await;
    let mut client = stand.connect().await;
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
    client
        .send(&[one("/sleep?30"), one("/length"), one("/")].concat())
        .await;
    let answers = client.until("ok").await;
    let rested = answers.find("rested").unwrap();
    assert!(
        answers.matches("HTTP/1.1 200").count() == 3 && answers.find("ok").unwrap() > rested,
        "{answers}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_one_clear_line() {
    let stand = Stand::new().await;
    let error = grok2api::door::Listener::bind("127.0.0.1", stand.address.port())
        .await
        .unwrap_err();
    let line = error.to_string();
    assert!(
        line.contains(&stand.address.to_string()) && line.contains("--port"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
    let error = grok2api::door::Listener::bind("192.0.2.77", 0).await.unwrap_err();
    assert!(error.to_string().contains("no such address"), "{error}");
    let named = grok2api::door::Listener::bind("localhost", 0).await.unwrap();
    assert_ne!(named.local_addr().port(), 0);
    drop(Raw(tokio::net::TcpStream::connect(named.local_addr()).await.unwrap()));
}
