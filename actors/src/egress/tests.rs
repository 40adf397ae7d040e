//! HTTP/2 over real sockets, with an upstream that counts connections and streams. Its certificate is made for these tests
//! and for nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::*;

const CERT: &[u8] = include_bytes!("tests/localhost.pem");
const KEY: &[u8] = include_bytes!("tests/localhost.key");

/// What the upstream saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    http1: AtomicUsize,
    streams: AtomicUsize,
    most_at_once: AtomicUsize,
    cancelled: AtomicUsize,
    release: Notify,
}

struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Upstream {
    /// `streams`: how many it allows on a connection.
    async fn start(streams: u32, protocols: &[&[u8]]) -> Upstream {
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![CertificateDer::from_pem_slice(CERT).unwrap()],
                    PrivateKeyDer::from_pem_slice(KEY).unwrap(),
                )
                .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counts = seen.clone();
        TaskTracker::new().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), counts.clone());
                TaskTracker::new().spawn(async move {
                    let Ok(socket) = acceptor.accept(socket).await else {
                        return;
                    };
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
                        http2(socket, streams, seen).await;
                    } else {
                        seen.http1.fetch_add(1, Ordering::SeqCst);
                        http1(socket).await;
                    }
                });
            }
        });
        Upstream { address, seen }
    }

    fn pool(&self, http2: bool) -> Arc<ConnectionPool> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CERT).unwrap()).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let options = EgressOptions {
            http2,
            connect_timeout: Duration::from_secs(5),
            ..EgressOptions::default()
        };
        let origin = Origin {
            tls: true,
            authority: format!("localhost:{}", self.address.port()),
        };
        Egress::over(options, TaskTracker::new(), tls).pool(&origin, &ProxySpec::DIRECT)
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

async fn http1(socket: TlsStream<TcpStream>) {
    let answer = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
        assert!(request.uri().scheme().is_none() && request.headers().contains_key("host"));
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"one"))))
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(hyper_util::rt::TokioIo::new(socket), answer)
        .await;
}

async fn http2(socket: TlsStream<TcpStream>, streams: u32, seen: Arc<Seen>) {
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(streams)
        .handshake(socket)
        .await
        .unwrap();
    let under_way = Arc::new(AtomicUsize::new(0));
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert!(request.headers().get("host").is_none());
        seen.streams.fetch_add(1, Ordering::SeqCst);
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/refuse" => {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                continue;
            }
            "/break" => {
                respond.send_reset(h2::Reason::INTERNAL_ERROR);
                continue;
            }
            "/goaway" => connection.graceful_shutdown(),
            _ => {}
        }
        let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_at_once.fetch_max(now, Ordering::SeqCst);
        let (seen, under_way) = (seen.clone(), under_way.clone());
        TaskTracker::new().spawn(async move {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            if path == "/hold" {
                tokio::select! {
                    () = seen.release.notified() => {}
                    _ = std::future::poll_fn(|cx| body.poll_reset(cx)) => {
                        seen.cancelled.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
            let _ = body.send_data(Bytes::from_static(b"two"), true);
        });
    }
}

fn request(path: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "localhost")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap()
}

async fn text(mut exchange: Exchange) -> String {
    let mut all = Vec::new();
    while let Some(piece) = exchange.body.data().await {
        all.extend_from_slice(&piece.unwrap());
    }
    String::from_utf8(all).unwrap()
}

async fn call(pool: &Arc<ConnectionPool>, path: &str) -> Result<Exchange, SendFailure> {
    pool.connect().await.unwrap().send(request(path)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_share_a_connection_up_to_what_the_upstream_allows() {
    let upstream = Upstream::start(2, &[b"h2", b"http/1.1"]).await;
    let pool = upstream.pool(true);
    let calls = (0..5).map(|_| call(&pool, "/hold"));
    let held: Vec<Exchange> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(upstream.connections(), 3, "two and two and one");
    assert_eq!(held[0].head.version, Version::HTTP_2);
    upstream.seen.release.notify_waiters();
    for exchange in held {
        assert_eq!(text(exchange).await, "two");
    }
    assert_eq!(upstream.seen.most_at_once.load(Ordering::SeqCst), 2);
    for _ in 0..20 {
        let exchange = call(&pool, "/").await.unwrap();
        assert!(exchange.reused);
        assert_eq!(text(exchange).await, "two");
    }
    assert_eq!(upstream.connections(), 3, "places come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_on_a_cold_pool_makes_one_connection() {
    let upstream = Upstream::start(100, &[b"h2"]).await;
    let pool = upstream.pool(true);
    let calls = (0..60).map(|_| call(&pool, "/"));
    for exchange in futures::future::join_all(calls).await {
        assert_eq!(text(exchange.unwrap()).await, "two");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_unprocessed_is_told_from_what_broke() {
    let upstream = Upstream::start(10, &[b"h2"]).await;
    let pool = upstream.pool(true);
    assert!(matches!(
        call(&pool, "/refuse").await.err().unwrap(),
        SendFailure::Unprocessed(_)
    ));
    assert!(matches!(
        call(&pool, "/break").await.err().unwrap(),
        SendFailure::Broken(_)
    ));
    assert_eq!(text(call(&pool, "/").await.unwrap()).await, "two");
    assert_eq!(upstream.connections(), 1, "the others on the connection go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_goodbye_finishes_its_calls_and_takes_no_more() {
    let upstream = Upstream::start(10, &[b"h2"]).await;
    let pool = upstream.pool(true);
    let held = call(&pool, "/hold").await.unwrap();
    assert_eq!(text(call(&pool, "/goaway").await.unwrap()).await, "two");
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The goodbye is known: whoever comes now is handed its request back, or goes over another connection at once.
    let exchange = match call(&pool, "/").await {
        Ok(exchange) => exchange,
        Err(SendFailure::NotSent(given_back)) => pool.connect_anew().await.unwrap().send(*given_back).await.unwrap(),
        Err(SendFailure::Unprocessed(_)) => call(&pool, "/").await.unwrap(),
        Err(SendFailure::Broken(what)) => panic!("{what}"),
    };
    assert_eq!(text(exchange).await, "two");
    assert_eq!(upstream.connections(), 2);
    upstream.seen.release.notify_waiters();
    assert_eq!(text(held).await, "two", "what was under way is answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_reads_any_more_resets_its_stream_alone() {
    let upstream = Upstream::start(10, &[b"h2"]).await;
    let pool = upstream.pool(true);
    let other = call(&pool, "/hold").await.unwrap();
    drop(call(&pool, "/hold").await.unwrap());
    for _ in 0..100 {
        if upstream.seen.cancelled.load(Ordering::SeqCst) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(upstream.seen.cancelled.load(Ordering::SeqCst), 1);
    upstream.seen.release.notify_waiters();
    assert_eq!(text(other).await, "two");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_is_spoken_where_the_upstream_or_the_operator_wants_it() {
    for (protocols, http2) in [(&[b"http/1.1".as_slice()][..], true), (&[b"h2", b"http/1.1"], false)] {
        let upstream = Upstream::start(10, protocols).await;
        let pool = upstream.pool(http2);
        for _ in 0..3 {
            assert_eq!(text(call(&pool, "/").await.unwrap()).await, "one");
        }
        assert_eq!(upstream.seen.http1.load(Ordering::SeqCst), 1, "kept alive");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_nothing_fails_all_who_wait_together() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream {
        address: listener.local_addr().unwrap(),
        seen: Arc::default(),
    };
    let pool = upstream.pool(true);
    let began = tokio::time::Instant::now();
    let calls = (0..20).map(|_| pool.connect());
    for made in futures::future::join_all(calls).await {
        assert_eq!(made.err().unwrap().kind, ConnectErrorKind::Timeout);
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}
