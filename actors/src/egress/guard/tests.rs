//! What is refused, form by form, and what is not.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::*;
use crate::egress::EgressOptions;

/// Names that change what they mean from one look-up to the next.
#[derive(Default)]
struct FakeNames {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl FakeNames {
    fn with(self, name: &str, answers: &[&[&str]]) -> FakeNames {
        let answers = answers
            .iter()
            .map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect())
            .collect();
        self.answers.lock().insert(name.to_owned(), answers);
        self
    }
}

impl Lookup for FakeNames {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock();
        let found = match answers.get_mut(&name) {
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers.first().cloned().unwrap_or_default()),
            None => Err(io::Error::other("no such name")),
        };
        Box::pin(async move { found })
    }
}

fn fetcher(options: FetcherOptions) -> Fetcher {
    // The program does so when it starts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let egress = EgressOptions {
        connect_timeout: Duration::from_secs(2),
        ..EgressOptions::default()
    };
    Egress::new(egress, TaskTracker::new())
        .unwrap()
        .fetcher(options)
        .unwrap()
}

/// A server on loopback that counts who comes, and answers as told.
async fn server(answer: impl Fn(u16) -> String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (came, answer) = (Arc::new(AtomicUsize::new(0)), answer(port));
    let count = came.clone();
    TaskTracker::new().spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let mut head = [0; 2048];
            let _ = socket.read(&mut head).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (port, came)
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

async fn refusal(fetcher: &Fetcher, url: &str, by: NamedBy) -> FetchErrorKind {
    match fetcher.whole(url, by, 1000, Duration::from_secs(5)).await {
        Ok(_) => panic!("{url} was fetched"),
        Err(error) => error.kind,
    }
}

/// Each leads to this machine, a private network or a cloud's metadata, by one trick or another. `P` stands for the port
/// of a server that listens on loopback.
const FORBIDDEN: [&str; 61] = [
    "http://127.0.0.1:P/",
    "http://127.1:P/",
    "http://127.0.1:P/",
    "http://127.255.255.254:P/",
    "http://2130706433:P/",
    "http://0x7f000001:P/",
    "http://0x7f.0x0.0x0.0x1:P/",
    "http://0x7f.1:P/",
    "http://017700000001:P/",
    "http://0177.0.0.01:P/",
    "http://0177.0.0.0x1:P/",
    "http://00000177.0.0.1:P/",
    "http://127.0.0.1.:P/",
    "http://%31%32%37.0.0.1:P/",
    "http://127%2e0%2e0%2e1:P/",
    "http://①②⑦.⓪.⓪.①:P/",
    "http://127。0。0。1:P/",
    "http://0:P/",
    "http://0.0.0.0:P/",
    "http://[::1]:P/",
    "http://[0:0:0:0:0:0:0:1]:P/",
    "http://[0000:0000::0001]:P/",
    "http://[::]:P/",
    "http://[::ffff:127.0.0.1]:P/",
    "http://[::ffff:7f00:1]:P/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:P/",
    "http://[::127.0.0.1]:P/",
    "http://[64:ff9b::7f00:1]:P/",
    "http://[64:ff9b::127.0.0.1]:P/",
    "http://[2002:7f00:1::]:P/",
    "http://[2001:0:7f00:1::]:P/",
    "http://[fe80::1]:P/",
    "http://[fc00::1]:P/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[ff02::1]:P/",
    "http://[2001:db8::1]:P/",
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.254/",
    "http://192.168.0.1/",
    "http://192.168.255.255/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://[::ffff:a9fe:a9fe]/latest/meta-data/",
    "http://192.0.0.192/latest/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "http://localhost:P/",
    "http://LOCALHOST:P/",
    "http://localhost.:P/",
    "http://sub.localhost:P/",
    "http://loopback.example:P/",
    "http://both.example:P/",
    "http://mapped.example:P/",
];

/// Each is no address that is fetched at all.
const BAD: [&str; 20] = [
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "FILE:///etc/passwd",
    "gopher://127.0.0.1:P/_GET%20/",
    "ftp://127.0.0.1:P/",
    "dict://127.0.0.1:P/info",
    "ldap://127.0.0.1:P/",
    "jar:http://127.0.0.1:P!/",
    "ws://127.0.0.1:P/",
    "unix:///run/docker.sock",
    "javascript:alert(1)",
    "data:text/plain,hello",
    "//127.0.0.1:P/",
    "/etc/passwd",
    "",
    "http://",
    "http://user@127.0.0.1:P/",
    "http://public.example@127.0.0.1:P/",
    "http://public.example:80@127.0.0.1:P/",
    "http://[::1",
];

#[tokio::test]
async fn nothing_private_is_reached_however_it_is_spelled() {
    let (port, came) = server(|_| ok("secret")).await;
    let names = FakeNames::default()
        .with("localhost", &[&["127.0.0.1"]])
        .with("localhost.", &[&["127.0.0.1"]])
        .with("sub.localhost", &[&["::1"]])
        .with("loopback.example", &[&["127.0.0.1"]])
        .with("both.example", &[&["93.184.216.34", "127.0.0.1"]])
        .with("mapped.example", &[&["::ffff:127.0.0.1"]]);
    let fetcher = fetcher(FetcherOptions {
        lookup: Some(Arc::new(names)),
        ..FetcherOptions::default()
    });
    for by in [NamedBy::Client, NamedBy::Upstream] {
        for form in FORBIDDEN {
            let url = form.replace('P', &port.to_string());
            assert_eq!(refusal(&fetcher, &url, by).await, FetchErrorKind::Forbidden, "{url}");
        }
        for form in BAD {
            let url = form.replace('P', &port.to_string());
            assert_eq!(refusal(&fetcher, &url, by).await, FetchErrorKind::BadUrl, "{url}");
        }
    }
    assert_eq!(came.load(Ordering::Relaxed), 0, "the server on loopback was reached");
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let (port, came) = server(|_| ok("secret")).await;
    // Public where a check would look, loopback where the connection is made: there is one look-up for both.
    let names = Arc::new(FakeNames::default().with("rebinding.example", &[&["93.184.216.34"], &["127.0.0.1"]]));
    let asked = names.clone();
    let fetcher = fetcher(FetcherOptions {
        lookup: Some(names),
        allowed: Arc::new(|ip| ip == IpAddr::from([93, 184, 216, 34])),
        ..FetcherOptions::default()
    });
    let url = format!("http://rebinding.example:{port}/");
    // The first look-up is public: the connection goes there, and nowhere else.
    let first = tokio::time::timeout(Duration::from_millis(300), fetcher.get(&url, NamedBy::Client, 0)).await;
    assert!(!matches!(first, Ok(Ok(_))), "nobody is there");
    assert_eq!(asked.asked.load(Ordering::Relaxed), 1);
    assert_eq!(
        refusal(&fetcher, &url, NamedBy::Client).await,
        FetchErrorKind::Forbidden
    );
    assert_eq!(came.load(Ordering::Relaxed), 0);
}

/// `front.example` is let through although it is loopback, so that there is something that redirects.
fn with_a_front() -> Fetcher {
    let names = FakeNames::default()
        .with("front.example", &[&["127.0.0.2"]])
        .with("inside.example", &[&["127.0.0.1"]]);
    fetcher(FetcherOptions {
        lookup: Some(Arc::new(names)),
        allowed: Arc::new(|ip| ip == IpAddr::from([127, 0, 0, 2])),
        ..FetcherOptions::default()
    })
}

async fn front(answer: String) -> u16 {
    let listener = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    TaskTracker::new().spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 2048];
            let _ = socket.read(&mut head).await;
            let _ = socket
                .write_all(answer.replace("PORT", &port.to_string()).as_bytes())
                .await;
        }
    });
    port
}

#[tokio::test]
async fn redirects_are_looked_at_like_the_first_address() {
    let (port, came) = server(|_| ok("secret")).await;
    let fetcher = with_a_front();
    for to in [
        format!("http://127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://inside.example:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let front = front(redirect(&to)).await;
        let url = format!("http://front.example:{front}/");
        assert_eq!(
            refusal(&fetcher, &url, NamedBy::Client).await,
            FetchErrorKind::Forbidden,
            "{to}"
        );
    }
    for to in ["file:///etc/passwd", "gopher://127.0.0.1/", "http://me@front.example/"] {
        let front = front(redirect(to)).await;
        let url = format!("http://front.example:{front}/");
        assert_eq!(
            refusal(&fetcher, &url, NamedBy::Client).await,
            FetchErrorKind::BadUrl,
            "{to}"
        );
    }
    let round = front(redirect("http://front.example:PORT/")).await;
    let url = format!("http://front.example:{round}/");
    assert_eq!(
        refusal(&fetcher, &url, NamedBy::Client).await,
        FetchErrorKind::Redirects
    );
    assert_eq!(came.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_may_be_fetched_is_within_caps() {
    let fetcher = with_a_front();
    let there = front(ok("hello")).await;
    let url = format!("http://front.example:{there}/picture");
    let second = Duration::from_secs(1);
    let (body, kind) = fetcher.whole(&url, NamedBy::Client, 5, second).await.unwrap();
    assert_eq!((&body[..], kind.as_deref()), (&b"hello"[..], Some("text/plain")));
    let too_much = fetcher.whole(&url, NamedBy::Client, 4, second).await.unwrap_err();
    assert_eq!(too_much.kind, FetchErrorKind::TooLarge);
    // Not announced, and endless.
    let endless = front(format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
        "x".repeat(100_000)
    ))
    .await;
    let url = format!("http://front.example:{endless}/");
    let too_much = fetcher.whole(&url, NamedBy::Client, 1000, second).await.unwrap_err();
    assert_eq!(too_much.kind, FetchErrorKind::TooLarge);
    let silent = front("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".to_owned()).await;
    let url = format!("http://front.example:{silent}/");
    let error = fetcher.whole(&url, NamedBy::Client, 1000, second).await.unwrap_err();
    assert!(
        matches!(error.kind, FetchErrorKind::Broken | FetchErrorKind::TooSlow),
        "{error:?}"
    );
    let gone = front("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let url = format!("http://front.example:{gone}/");
    assert_eq!(
        refusal(&fetcher, &url, NamedBy::Client).await,
        FetchErrorKind::Status(410)
    );
    assert_eq!(
        refusal(&fetcher, "http://nobody.example/", NamedBy::Client).await,
        FetchErrorKind::Unresolvable
    );
}

#[tokio::test]
async fn an_upstream_may_lead_to_itself_and_no_client_may() {
    let (port, _) = server(|_| ok("a picture")).await;
    let upstream = Origin::of(&format!("http://127.0.0.1:{port}/v1").parse().unwrap()).unwrap();
    let fetcher = fetcher(FetcherOptions {
        upstream: Some(upstream),
        ..FetcherOptions::default()
    });
    let url = format!("http://127.0.0.1:{port}/picture.png");
    let within = Duration::from_secs(2);
    let (body, _) = fetcher.whole(&url, NamedBy::Upstream, 100, within).await.unwrap();
    assert_eq!(&body[..], b"a picture");
    assert_eq!(
        refusal(&fetcher, &url, NamedBy::Client).await,
        FetchErrorKind::Forbidden
    );
    let elsewhere = format!("http://127.0.0.1:{}/picture.png", port.wrapping_add(1).max(1));
    assert_eq!(
        refusal(&fetcher, &elsewhere, NamedBy::Upstream).await,
        FetchErrorKind::Forbidden
    );
}

#[test]
fn public_addresses_are_public() {
    for ip in [
        "8.8.8.8",
        "93.184.216.34",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
    ] {
        assert!(is_public(ip.parse().unwrap()), "{ip}");
    }
}

#[test]
fn data_uris_are_read_within_a_cap() {
    let read = |uri: &str| read_data_uri(uri, 5);
    let good = read("data:image/PNG;base64,aGVsbG8=").unwrap();
    assert_eq!((good.mime.as_str(), &good.bytes[..]), ("image/png", &b"hello"[..]));
    assert_eq!(&read("DATA:;BASE64,aGVsbG8").unwrap().bytes[..], b"hello");
    assert_eq!(&read("data:,a%20b").unwrap().bytes[..], b"a b");
    assert_eq!(&read("data:text/plain;charset=utf-8,%zz").unwrap().bytes[..], b"%zz");
    for (uri, error) in [
        ("data:image/png;base64,aGVsbG8h", DataUriError::TooLarge),
        ("data:,abcdef", DataUriError::TooLarge),
        ("data:image/png;base64,", DataUriError::Empty),
        ("data:image/png;base64,a$b=", DataUriError::NotBase64),
        ("data:image/png;base64", DataUriError::NotOne),
        ("image/png;base64,aGVsbG8=", DataUriError::NotOne),
        ("", DataUriError::NotOne),
        ("dätä:", DataUriError::NotOne),
    ] {
        assert_eq!(read(uri), Err(error), "{uri}");
    }
    let huge = format!("data:;base64,{}", "A".repeat(1 << 20));
    assert_eq!(read(&huge), Err(DataUriError::TooLarge));
}
