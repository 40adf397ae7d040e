//! A door on a free port with an endpoint that behaves as its path says, and a raw client for it.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt, stream};
use grok2api::door::body::{BodyLimits, read_body};
use grok2api::door::health::{Readiness, readyz};
use grok2api::door::{ClientOrigin, Door, DoorHandle, DoorOptions, Listener, public_base_url};
use grok2api_actors::clock::Clock;
use grok2api_schemas::ids::RequestId;
use poem::web::websocket::{Message, WebSocket};
use poem::{Body, Endpoint, FromRequest, IntoResponse, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Long enough for a busy machine, short enough to fail.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Stand {
    pub address: SocketAddr,
    pub handle: DoorHandle,
    pub readiness: Readiness,
    pub serving: tokio::task::JoinHandle<()>,
    dropped: mpsc::UnboundedReceiver<Instant>,
}

impl Stand {
    pub async fn new() -> Stand {
        Stand::with(DoorOptions::default()).await
    }

    pub async fn with(options: DoorOptions) -> Stand {
        let listener = Listener::bind("127.0.0.1", 0).await.unwrap();
        let address = listener.local_addr();
        let handle = DoorHandle::default();
        let readiness = Readiness::default();
        let (report, dropped) = mpsc::unbounded_channel();
        let app = Behaviour {
            report,
            readiness: readiness.clone(),
        };
        let door = Door::new(app, options, handle.clone(), Clock::system());
        let tracker = tokio_util::task::TaskTracker::new();
        let serving = tracker.spawn(door.serve(listener));
        Stand {
            address,
            handle,
            readiness,
            serving,
            dropped,
        }
    }

    pub async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// When the next handler or body was dropped.
    pub async fn dropped(&mut self) -> Instant {
        timeout(PATIENCE, self.dropped.recv())
            .await
            .expect("nothing was dropped")
            .unwrap()
    }

    pub async fn until_open_sockets(&self, count: usize) {
        let open = || self.handle.stats().open.load(std::sync::atomic::Ordering::Relaxed);
        until(|| open() == count, "the number of open sockets").await;
    }

    pub async fn until_in_flight(&self, count: usize) {
        until(
            || self.handle.in_flight().total() == count,
            "the number of requests in flight",
        )
        .await;
    }
}

/// Waits until something holds.
pub async fn until(holds: impl Fn() -> bool, what: &str) {
    let reached = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect(what);
}

struct Behaviour {
    report: mpsc::UnboundedSender<Instant>,
    readiness: Readiness,
}

struct ReportsDrop(mpsc::UnboundedSender<Instant>);

impl Drop for ReportsDrop {
    fn drop(&mut self) {
        let _ = self.0.send(Instant::now());
    }
}

impl Endpoint for Behaviour {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let guard = ReportsDrop(self.report.clone());
        let path = request.uri().path().to_owned();
        let number = |default: u64| -> u64 {
            request
                .uri()
                .query()
                .and_then(|query| query.parse().ok())
                .unwrap_or(default)
        };
        Ok(match path.as_str() {
            "/pending" => {
                let _held = guard;
                std::future::pending::<()>().await;
                ().into_response()
            }
            "/idle-stream" => {
                let first = stream::once(async { Ok::<_, std::io::Error>("first\n") });
                let rest = stream::pending().map(move |item| {
                    let _held = &guard;
                    item
                });
                Response::builder().body(Body::from_bytes_stream(first.chain(rest)))
            }
            // `n` chunks, 20 ms apart.
            "/stream" => {
                let chunks = stream::iter(0..number(5)).then(|position| async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok::<_, std::io::Error>(format!("chunk {position}\n"))
                });
                Response::builder().body(Body::from_bytes_stream(chunks))
            }
            // Ten pairs: what Nagle's algorithm holds back is the second of two small writes.
            "/pairs" => {
                let chunks = stream::iter(0..20u32).then(|position| async move {
                    let pause = if position % 2 == 0 { 30 } else { 2 };
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    Ok::<_, std::io::Error>(format!("{position:02}\n"))
                });
                Response::builder().body(Body::from_bytes_stream(chunks))
            }
            "/sleep" => {
                tokio::time::sleep(Duration::from_millis(number(100))).await;
                "rested".into_response()
            }
            "/panic" => panic!("on purpose"),
            "/panic-body" => {
                let first = stream::once(async { Ok::<_, std::io::Error>("first\n") });
                let rest = stream::once(async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    panic!("on purpose")
                });
                Response::builder().body(Body::from_bytes_stream(first.chain(rest)))
            }
            "/whoami" => {
                let origin = request.extensions().get::<ClientOrigin>().unwrap();
                let id = request.extensions().get::<RequestId>().unwrap();
                format!("{} {} {id}", origin.ip, public_base_url("", origin)).into_response()
            }
            "/length" => {
                let limits = BodyLimits {
                    max_bytes: 100_000,
                    max_silence: Duration::from_millis(500),
                    max_duration: Duration::from_secs(5),
                };
                match read_body(&mut request, &limits).await {
                    Ok(body) => body.len().to_string().into_response(),
                    Err(error) => Response::builder()
                        .status(http::StatusCode::from_u16(error.http_status()).unwrap())
                        .body(error.to_string()),
                }
            }
            "/readyz" => readyz(self.readiness.clone()).call(request).await?,
            "/ws" => {
                let (request, mut body) = request.split();
                let socket = WebSocket::from_request(&request, &mut body).await?;
                socket
                    .on_upgrade(|mut socket| async move {
                        while let Some(Ok(message)) = socket.next().await {
                            if let Message::Text(text) = message {
                                let echo = Message::text(text.to_uppercase());
                                if socket.send(echo).await.is_err() {
                                    return;
                                }
                            }
                        }
                    })
                    .into_response()
            }
            _ => "ok".into_response(),
        })
    }
}

/// A client that says exactly what it is told to.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: door.test\r\n\r\n"))
            .await;
    }

    /// Reads until the text has come.
    pub async fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let reading = async {
            let mut buffer = [0; 4096];
            loop {
                let count = self.0.read(&mut buffer).await.unwrap();
                assert!(
                    count > 0,
                    "the end came before {text:?}: {}",
                    String::from_utf8_lossy(&seen)
                );
                seen.extend_from_slice(&buffer[..count]);
                if String::from_utf8_lossy(&seen).contains(text) {
                    return;
                }
            }
        };
        if timeout(PATIENCE, reading).await.is_err() {
            panic!("{text:?} did not come: {}", String::from_utf8_lossy(&seen));
        }
        String::from_utf8(seen).unwrap()
    }

    /// Reads until the other side closes; fails on a reset.
    pub async fn until_end(&mut self) -> String {
        let mut seen = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut seen))
            .await
            .expect("the end did not come")
            .expect("a clean end");
        String::from_utf8(seen).unwrap()
    }
}
