//! A load generator for the `run.py`s: one connection a worker, latencies counted from when a request was due.
//!
//! `loader URLS BEARERS MODE …`: each a list with commas, taken in turn; `{n}` in the body is the request's number. With `open RATE SECONDS`, `closed CONNECTIONS SECONDS`, `streams CONNECTIONS SECONDS` or
//! `hold STREAMS SECONDS`; the body is read from stdin. Gaps are the times between two chunks of a stream. Prints one line of JSON.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for benches: what fails must stop it"
)]

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Stands in the body for the request's number.
const NUMBER: &[u8] = b"{n}";

struct Target {
    uri: Uri,
    authority: String,
    bearers: Arc<Vec<String>>,
    body: Bytes,
    number: Arc<AtomicU64>,
}

#[derive(Default)]
struct Tally {
    good: AtomicU64,
    bad: AtomicU64,
    chunks: AtomicU64,
    latencies_us: Mutex<Vec<u64>>,
    gaps_us: Mutex<Vec<u64>>,
}

impl Target {
    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(&self.authority).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let mut drivers = JoinSet::new();
        drivers.spawn(async move {
            let _ = connection.await;
        });
        drivers.detach_all();
        sender
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let bearer = &self.bearers[number as usize % self.bearers.len()];
        let body = match memchr::memmem::find(&self.body, NUMBER) {
            Some(at) => {
                let (before, after) = (&self.body[..at], &self.body[at + NUMBER.len()..]);
                Bytes::from([before, number.to_string().as_bytes(), after].concat())
            }
            None => self.body.clone(),
        };
        Request::post(self.uri.path())
            .header("host", &self.authority)
            .header("authorization", format!("Bearer {bearer}"))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .unwrap()
    }
}

/// One call on this connection, read to its end; it is replaced when it broke.
async fn call(target: &Target, sender: &mut SendRequest<Full<Bytes>>, tally: &Tally, due: Instant) {
    if sender.ready().await.is_err() {
        *sender = target.connect().await;
    }
    let good = async {
        let response = sender.send_request(target.request()).await.ok()?;
        let ok = response.status() == 200;
        let mut body = response.into_body();
        let mut gaps = Vec::new();
        let mut last = None;
        while let Some(frame) = body.frame().await {
            frame.ok()?;
            tally.chunks.fetch_add(1, Ordering::Relaxed);
            let now = Instant::now();
            gaps.extend(last.map(|last| now.duration_since(last).as_micros() as u64));
            last = Some(now);
        }
        tally.gaps_us.lock().append(&mut gaps);
        ok.then_some(())
    };
    if good.await.is_some() {
        tally.good.fetch_add(1, Ordering::Relaxed);
        let took = due.elapsed().as_micros() as u64;
        tally.latencies_us.lock().push(took);
    } else {
        tally.bad.fetch_add(1, Ordering::Relaxed);
    }
}

async fn open_loop(targets: Vec<Arc<Target>>, tally: Arc<Tally>, rate: u64, seconds: u64) {
    // Enough connections that a slow answer never delays the next request.
    let (give, take) = tokio::sync::mpsc::channel::<Instant>(100_000);
    let take = Arc::new(tokio::sync::Mutex::new(take));
    let mut workers = JoinSet::new();
    for target in targets.iter().cycle().take(255) {
        let (target, tally, take) = (target.clone(), tally.clone(), take.clone());
        workers.spawn(async move {
            let mut sender = target.connect().await;
            loop {
                let Some(due) = take.lock().await.recv().await else {
                    return;
                };
                call(&target, &mut sender, &tally, due).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    for at in 0..rate * seconds {
        let due = start + Duration::from_nanos(at * 1_000_000_000 / rate);
        tokio::time::sleep_until(due).await;
        if give.send(due).await.is_err() {
            break;
        }
    }
    drop(give);
    while workers.join_next().await.is_some() {}
}

async fn closed_loop(targets: Vec<Arc<Target>>, tally: Arc<Tally>, connections: u64, seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut workers = JoinSet::new();
    for target in targets.iter().cycle().take(connections as usize) {
        let (target, tally) = (target.clone(), tally.clone());
        workers.spawn(async move {
            let mut sender = target.connect().await;
            while Instant::now() < end {
                call(&target, &mut sender, &tally, Instant::now()).await;
            }
        });
    }
    while workers.join_next().await.is_some() {}
}

/// Opens streams and holds them; says `held` on stdout once all have begun.
async fn hold(targets: Vec<Arc<Target>>, tally: Arc<Tally>, streams: u64, seconds: u64) {
    let begun = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for (at, target) in (0..streams).zip(targets.iter().cycle()) {
        let (target, tally, begun) = (target.clone(), tally.clone(), begun.clone());
        workers.spawn(async move {
            tokio::time::sleep(Duration::from_micros(at * 700)).await;
            let mut sender = target.connect().await;
            let Ok(response) = sender.send_request(target.request()).await else {
                tally.bad.fetch_add(1, Ordering::Relaxed);
                return;
            };
            if response.status() != 200 {
                tally.bad.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let mut body = response.into_body();
            let mut first = true;
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    tally.bad.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                tally.chunks.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut first) {
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            }
            tally.good.fetch_add(1, Ordering::Relaxed);
        });
    }
    let end = Instant::now() + Duration::from_secs(120);
    while begun.load(Ordering::Relaxed) + tally.bad.load(Ordering::Relaxed) < streams && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("held {}", begun.load(Ordering::Relaxed));
    let _ = tokio::time::timeout(Duration::from_secs(seconds), async {
        while workers.join_next().await.is_some() {}
    })
    .await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [urls, bearers, mode, amount, seconds] = arguments.as_slice() else {
        println!("loader URLS BEARERS open|closed|streams|hold AMOUNT SECONDS <BODY");
        return;
    };
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).unwrap();
    let body = Bytes::from(body);
    let bearers = Arc::new(bearers.split(',').map(str::to_owned).collect::<Vec<_>>());
    let number = Arc::new(AtomicU64::new(0));
    let targets: Vec<Arc<Target>> = urls
        .split(',')
        .map(|url| {
            let uri: Uri = url.parse().unwrap();
            Arc::new(Target {
                authority: uri.authority().unwrap().to_string(),
                uri,
                bearers: bearers.clone(),
                body: body.clone(),
                number: number.clone(),
            })
        })
        .collect();
    let tally = Arc::new(Tally::default());
    let (amount, seconds): (u64, u64) = (amount.parse().unwrap(), seconds.parse().unwrap());
    let began = Instant::now();
    match mode.as_str() {
        "open" => open_loop(targets, tally.clone(), amount, seconds).await,
        "closed" | "streams" => closed_loop(targets, tally.clone(), amount, seconds).await,
        _ => hold(targets, tally.clone(), amount, seconds).await,
    }
    let took = began.elapsed().as_secs_f64();
    let sorted = |samples: &Mutex<Vec<u64>>| {
        let mut samples = std::mem::take(&mut *samples.lock());
        samples.sort_unstable();
        samples
    };
    let (latencies, gaps) = (sorted(&tally.latencies_us), sorted(&tally.gaps_us));
    let of = |samples: &[u64], q: f64| {
        let at = ((samples.len() as f64 - 1.0) * q) as usize;
        samples.get(at).copied().unwrap_or(0)
    };
    let quantile = |q: f64| of(&latencies, q);
    println!(
        "{}",
        serde_json::json!({
            "good": tally.good.load(Ordering::Relaxed),
            "bad": tally.bad.load(Ordering::Relaxed),
            "chunks": tally.chunks.load(Ordering::Relaxed),
            "seconds": took,
            "p50_us": quantile(0.5),
            "p90_us": quantile(0.9),
            "p99_us": quantile(0.99),
            "p999_us": quantile(0.999),
            "gap_p50_us": of(&gaps, 0.5),
            "gap_p99_us": of(&gaps, 0.99),
        })
    );
}
