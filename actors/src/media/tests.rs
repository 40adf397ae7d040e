//! Downloads, what is kept of them, and what nodes share.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::share::Turn;
use super::*;
use crate::bus::Expect;
use crate::bus::local::LocalBus;
use crate::egress::guard::{FetchErrorKind, FetcherOptions};
use crate::egress::{Egress, EgressOptions, Origin};
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::media::FetchClaim;

mod peers;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and some more bytes of a picture";

/// An upstream with files, which counts who comes.
struct Upstream {
    port: u16,
    came: Arc<AtomicUsize>,
}

/// How a file is served.
#[derive(Clone)]
enum Served {
    Whole(Vec<u8>),
    /// The first answer breaks off after so many bytes; later ones know ranges.
    Broken(Vec<u8>, usize),
    /// Not there at first.
    Late(Vec<u8>, usize),
}

impl Upstream {
    async fn with(files: &[(&str, Served)]) -> Upstream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let came = Arc::new(AtomicUsize::new(0));
        let files: HashMap<String, Served> = files
            .iter()
            .map(|(name, how)| ((*name).to_owned(), how.clone()))
            .collect();
        let count = came.clone();
        TaskTracker::new().spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = socket.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let nth = count.fetch_add(1, Ordering::Relaxed);
                let name = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
                let from: Option<usize> = head
                    .lines()
                    .find_map(|line| {
                        line.to_ascii_lowercase()
                            .strip_prefix("range: bytes=")
                            .map(str::to_owned)
                    })
                    .and_then(|range| range.trim_end_matches('-').parse().ok());
                let answer = match files.get(&name) {
                    Some(Served::Whole(bytes)) => ok(bytes),
                    Some(Served::Late(bytes, times)) if nth >= *times => ok(bytes),
                    Some(Served::Broken(bytes, after)) => match from {
                        None => ok(bytes)[..ok(bytes).len() - bytes.len() + after].to_vec(),
                        Some(from) => {
                            let rest = &bytes[from..];
                            let head = format!(
                                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{}/{}\r\n\
                                 content-length: {}\r\nconnection: close\r\n\r\n",
                                bytes.len() - 1,
                                bytes.len(),
                                rest.len()
                            );
                            [head.as_bytes(), rest].concat()
                        }
                    },
                    _ => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
                };
                // Slow enough that those who come at the same time meet.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = socket.write_all(&answer).await;
            }
        });
        Upstream { port, came }
    }

    fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}{name}", self.port)
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }
}

fn ok(bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bytes.len()
    );
    [head.as_bytes(), bytes].concat()
}

const LIMITS: MediaLimits = MediaLimits {
    keep_bytes: 1 << 20,
    cleans: true,
    max_object_bytes: 100_000,
};

async fn node(dir: &Path, bus: &BusHandle, upstream: &Upstream, limits: MediaLimits) -> Media {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let egress = Egress::new(EgressOptions::default(), TaskTracker::new()).unwrap();
    let fetcher = egress
        .fetcher(FetcherOptions {
            upstream: Some(Origin::of(&upstream.url("/").parse().unwrap()).unwrap()),
            ..FetcherOptions::default()
        })
        .unwrap();
    let parts = MediaParts {
        bus: bus.clone(),
        store: Store::temporary().unwrap(),
        clock: Clock::system(),
        arbiters: ArbiterPool::start(1).unwrap(),
    };
    let options = MediaOptions {
        dir: dir.to_owned(),
        session: SessionId::generate(),
        is_shared: true,
        share_bytes: 1 << 20,
        downloads: 4,
        limits,
    };
    Media::open(parts, fetcher, options).await.unwrap()
}

fn bus() -> BusHandle {
    LocalBus::new(Store::temporary().unwrap(), Clock::system())
}

async fn content(media: &Media, kept: &KeptFile) -> Vec<u8> {
    let mut opened = media.read(kept.kind, &kept.name).await.unwrap().expect("it is here");
    let mut bytes = Vec::new();
    opened.file.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_fetched_once_in_the_cluster_and_read_on_every_node() {
    let upstream = Upstream::with(&[("/a.bin", Served::Whole(PNG.to_vec()))]).await;
    let (bus, dirs) = (bus(), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    let nodes = [
        node(dirs[0].path(), &bus, &upstream, LIMITS).await,
        node(dirs[1].path(), &bus, &upstream, LIMITS).await,
    ];
    let url = upstream.url("/a.bin");
    let asked = (0..40).map(|at| {
        let (media, url) = (nodes[at % 2].clone(), url.clone());
        async move {
            media
                .download(Some("video one".to_owned()), MediaKind::Image, &url)
                .await
                .unwrap()
        }
    });
    let kept = futures::future::join_all(asked).await;
    assert_eq!(upstream.came(), 1, "one download for all");
    assert!(kept.iter().all(|file| *file == kept[0]), "{kept:?}");
    assert_eq!((kept[0].mime.as_str(), kept[0].size), ("image/png", PNG.len() as u64));
    for node in &nodes {
        assert_eq!(content(node, &kept[0]).await, PNG);
        assert_eq!(node.downloads(), 0);
    }
    // Later, and on a node that comes when the first is gone with all it had.
    let late = tempfile::tempdir().unwrap();
    let third = node(late.path(), &bus, &upstream, LIMITS).await;
    let [first, second] = nodes;
    drop((first, second));
    let again = third
        .download(Some("video one".to_owned()), MediaKind::Image, &url)
        .await
        .unwrap();
    assert_eq!(again, kept[0]);
    assert_eq!(content(&third, &kept[0]).await, PNG);
    assert_eq!(upstream.came(), 1);
    // Deleted, it is nowhere.
    assert!(third.delete(MediaKind::Image, &kept[0].name).await.unwrap());
    assert!(third.read(MediaKind::Image, &kept[0].name).await.unwrap().is_none());
    assert!(!third.delete(MediaKind::Image, &kept[0].name).await.unwrap());
    third
        .download(Some("video one".to_owned()), MediaKind::Image, &url)
        .await
        .unwrap();
    assert_eq!(upstream.came(), 2, "fetched anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_goes_on_where_it_stopped() {
    let mut long = PNG.to_vec();
    long.extend((0..50_000_u32).map(|at| at as u8));
    let upstream = Upstream::with(&[
        ("/broken", Served::Broken(long.clone(), 20_000)),
        ("/late", Served::Late(long.clone(), 4)),
    ])
    .await;
    let dir = tempfile::tempdir().unwrap();
    let media = node(dir.path(), &bus(), &upstream, LIMITS).await;
    let kept = media
        .download(None, MediaKind::Image, &upstream.url("/broken"))
        .await
        .unwrap();
    assert_eq!(content(&media, &kept).await, long);
    assert_eq!(upstream.came(), 2, "two answers, each with a part");
    let kept = media
        .download(None, MediaKind::Image, &upstream.url("/late"))
        .await
        .unwrap();
    assert_eq!(content(&media, &kept).await, long);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_media_or_too_much_is_not_kept() {
    let upstream = Upstream::with(&[
        ("/page", Served::Whole(b"<html>not found</html>".to_vec())),
        ("/video", Served::Whole(b"\0\0\0\x20ftypisom\0\0\x02\0".to_vec())),
        ("/large", Served::Whole(vec![0x89; 100_001])),
        ("/empty", Served::Whole(Vec::new())),
    ])
    .await;
    let dir = tempfile::tempdir().unwrap();
    let media = node(dir.path(), &bus(), &upstream, LIMITS).await;
    let get = |name: &'static str| {
        let (media, url) = (media.clone(), upstream.url(name));
        async move { media.download(None, MediaKind::Image, &url).await.unwrap_err() }
    };
    for name in ["/page", "/video", "/empty"] {
        assert!(matches!(get(name).await, MediaError::NotMedia), "{name}");
    }
    let MediaError::Fetch(error) = get("/large").await else {
        panic!("not for its size")
    };
    assert_eq!(error.kind, FetchErrorKind::TooLarge);
    let MediaError::Fetch(error) = get("/nowhere").await else {
        panic!("it is not there")
    };
    assert_eq!(error.kind, FetchErrorKind::Status(404));
    assert!(
        media
            .download(None, MediaKind::Image, "http://127.0.0.1:1/")
            .await
            .is_err()
    );
    assert!(matches!(
        media.keep(MediaKind::Image, b"text").await,
        Err(MediaError::NotMedia)
    ));
    assert_eq!(media.totals(MediaKind::Image), (0, 0));
    let left: Vec<_> = std::fs::read_dir(dir.path().join(".incoming")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_unread_makes_room_and_older_names_are_read() {
    let upstream = Upstream::with(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let older = dir.path().join("image/users-1-generated-2-image.jpg");
    std::fs::create_dir_all(older.parent().unwrap()).unwrap();
    std::fs::write(&older, b"\xff\xd8\xff the older project's").unwrap();
    std::fs::create_dir_all(dir.path().join(".incoming")).unwrap();
    std::fs::write(dir.path().join(".incoming/half"), b"half").unwrap();
    let limits = MediaLimits {
        keep_bytes: 10_000,
        ..LIMITS
    };
    let media = node(dir.path(), &bus(), &upstream, limits).await;
    assert!(!dir.path().join(".incoming/half").exists());
    let opened = media
        .read(MediaKind::Image, "users-1-generated-2-image.jpg")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(opened.entry.mime, "image/jpeg");
    let picture = |byte: u8| [PNG, &[byte; 3_900][..]].concat();
    let first = media.keep(MediaKind::Image, &picture(1)).await.unwrap();
    let second = media.keep(MediaKind::Image, &picture(2)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    drop(media.read(MediaKind::Image, &first.name).await.unwrap());
    let third = media.keep(MediaKind::Image, &picture(3)).await.unwrap();
    let here = |name: &str| dir.path().join("image").join(name).exists();
    assert!(here(&first.name) && !here(&second.name) && here(&third.name));
    assert!(older.exists(), "it is being read");
    drop(opened);
    assert_eq!(media.list(MediaKind::Image)[0].0, third.name);
    let (count, _) = media.clear(MediaKind::Image).await.unwrap();
    assert_eq!((count, media.totals(MediaKind::Image)), (3, (0, 0)));
    assert!(!older.exists());
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_claim_is_taken_over() {
    let bus = bus();
    let share = Share::new(bus.clone(), SessionId::generate(), Clock::system(), true, 1 << 20);
    let key = Bytes::from(format!("fetch/{}", blake3::hash(b"a video").to_hex()));
    let foreign = FetchClaim {
        by: SessionId::generate(),
        at_ms: 0,
        file: None,
    };
    let value = codec::encode(1, &foreign).unwrap();
    bus.kv_put(buckets::MEDIA, key, value, Expect::Absent).await.unwrap();
    let began = tokio::time::Instant::now();
    let turn = share.turn("a video").await.unwrap();
    assert!(matches!(turn, Turn::Ours(..)));
    assert!(began.elapsed() >= Duration::from_secs(20), "{:?}", began.elapsed());
    // Nobody else can have it meanwhile.
    let other = Share::new(bus.clone(), SessionId::generate(), Clock::system(), true, 1 << 20);
    let waited = tokio::time::timeout(Duration::from_secs(5), other.turn("a video")).await;
    assert!(waited.is_err());
    share.sweep().await.unwrap();
    assert_eq!(bus.kv_list(buckets::MEDIA).await.unwrap().len(), 1);
}
