//! HTTP/2 by prior knowledge, and forwarded headers.

use std::time::Duration;

use bytes::Bytes;
use grok2api::door::{DoorOptions, TrustedProxies};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::stand::Stand;

pub type PooledClient = Client<HttpConnector, Empty<Bytes>>;

pub fn http2_client() -> PooledClient {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_on_the_same_port_without_tls() {
    let stand = Stand::new().await;
    let client = http2_client();
    let uri = |path: &str| format!("http://{}{path}", stand.address).parse::<http::Uri>().unwrap();
    let answer = client.get(uri("/whoami")).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(
        text.starts_with(&format!("127.0.0.1 http://{} req_", stand.address)),
        "{text}"
    );

    let many = futures::future::join_all((0..50).map(|_| client.get(uri("/stream?3")))).await;
    for answer in many {
        let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"chunk 2\n"));
    }
    stand.until_open_sockets(1).await;

    // A panic resets its stream; the connection and its other streams live on.
    let long = client.get(uri("/stream?20"));
    let broken = client
        .get(uri("/panic-body"))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await;
    assert!(broken.is_err());
    let panicked = client.get(uri("/panic")).await.unwrap();
    assert_eq!(panicked.status(), 500);
    assert!(long.await.unwrap().into_body().collect().await.is_ok());
    stand.until_open_sockets(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http2_that_is_reset_drops_its_handler() {
    let mut stand = Stand::new().await;
    let socket = TcpStream::connect(stand.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    let tracker = tokio_util::task::TaskTracker::new();
    tracker.spawn(connection);
    for path in ["/pending", "/idle-stream"] {
        let request = http::Request::get(format!("http://{}{path}", stand.address))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(200), sender.send_request(request)).await;
        let left = Instant::now();
        drop(answer);
        let noticed = stand.dropped().await.saturating_duration_since(left);
        assert!(noticed < Duration::from_millis(50), "{path}: {noticed:?}");
    }
    stand.until_in_flight(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_headers_count_from_trusted_proxies_only() {
    let forwarded = "GET /whoami HTTP/1.1\r\nhost: inner:8000\r\nx-forwarded-for: 6.6.6.6, 198.51.100.7\r\nx-forwarded-proto: https\r\nx-forwarded-host: grok.example\r\n\r\n";
    let trusting = Stand::with(DoorOptions {
        trusted_proxies: TrustedProxies::parse(&["127.0.0.0/8"]).unwrap(),
        ..DoorOptions::default()
    })
    .await;
    let mut client = trusting.connect().await;
    client.send(forwarded).await;
    client.until("198.51.100.7 https://grok.example req_").await;
    let wary = Stand::new().await;
    let mut client = wary.connect().await;
    client.send(forwarded).await;
    client.until("127.0.0.1 http://inner:8000 req_").await;
}
