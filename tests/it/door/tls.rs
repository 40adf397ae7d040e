//! TLS with a certificate made for the occasion.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api::door::{DoorOptions, tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stand::Stand;

struct Files {
    directory: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
}

/// A certificate for `localhost`, by the `openssl` tool; nothing where there is none.
fn files() -> Option<Files> {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    match made {
        Ok(output) if output.status.success() => Some(Files { directory, cert, key }),
        other => {
            println!("skipped: openssl makes no certificate here: {other:?}");
            None
        }
    }
}

async fn stand(files: &Files, header_read_timeout: Duration) -> Stand {
    Stand::with(DoorOptions {
        tls: Some(tls::server_config(&files.cert, &files.key).unwrap()),
        header_read_timeout,
        ..DoorOptions::default()
    })
    .await
}

async fn connect(stand: &Stand, cert: &Path, protocols: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let socket = TcpStream::connect(stand.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_spoken_over_tls() {
    let Some(files) = files() else { return };
    let mut stand = stand(&files, Duration::from_secs(10)).await;
    let mut stream = connect(&stand, &files.cert, &[b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    stream
        .write_all(b"GET /whoami HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("close_notify, not a bare end");
    assert!(answer.contains("127.0.0.1 https://localhost req_"), "{answer}");
    drop(stream);

    let stream = connect(&stand, &files.cert, &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
        .await
        .unwrap();
    let tracker = tokio_util::task::TaskTracker::new();
    tracker.spawn(connection);
    let request = http::Request::get("https://localhost/")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, http::Version::HTTP_2)
    );
    stand.dropped().await;

    // A client that leaves is noticed through TLS as well.
    let mut stream = connect(&stand, &files.cert, &[]).await;
    stand.dropped().await;
    stream
        .write_all(b"GET /pending HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    stand.until_in_flight(1).await;
    let left = tokio::time::Instant::now();
    drop(stream);
    let noticed = stand.dropped().await.saturating_duration_since(left);
    assert!(noticed < Duration::from_millis(50), "{noticed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_or_dawdle_are_counted_and_closed() {
    let Some(files) = files() else { return };
    let stand = stand(&files, Duration::from_millis(300)).await;
    let mut plain = stand.connect().await;
    plain.get("/").await;
    plain.0.read_to_end(&mut Vec::new()).await.ok();
    let mut silent = stand.connect().await;
    assert_eq!(silent.until_end().await, "");
    assert_eq!(stand.handle.stats().tls_failures.load(Ordering::Relaxed), 2);
    stand.until_open_sockets(0).await;
}

#[test]
fn files_that_will_not_do_are_named() {
    let Some(good) = files() else { return };
    let Some(other) = files() else { return };
    let missing = good.directory.path().join("missing.pem");
    let empty = good.directory.path().join("empty.pem");
    std::fs::write(&empty, "not PEM\n").unwrap();
    for (cert, key, option, file) in [
        (&missing, &good.key, "server.tls_cert", &missing),
        (&empty, &good.key, "server.tls_cert", &empty),
        (&good.cert, &missing, "server.tls_key", &missing),
        (&good.cert, &good.cert, "server.tls_key", &good.cert),
        (&good.cert, &other.key, "cannot be used together", &other.key),
    ] {
        let line = tls::server_config(cert, key).unwrap_err().to_string();
        assert!(
            line.contains(option) && line.contains(&*file.to_string_lossy()),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
