//! `grok2api health`: asks a running node's `/readyz`, for container health checks and scripts.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use grok2api_schemas::config::ServerConfig;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{FAILURE, USAGE, complain, pinned, say};
use crate::settings::{self, LoadArgs};

/// How long a node may take to say whether it is ready.
const DEADLINE: Duration = Duration::from_secs(5);

/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// `/readyz` answered 200.
    pub ready: bool,
    /// Its words: what blocks it.
    pub body: String,
}

/// Prints what the node at `url`, else at the configured address, says; exit code 0 only if it is ready.
pub fn health(url: Option<&str>, load: &LoadArgs) -> ExitCode {
    let (url, server) = match url {
        Some(url) => (url.to_owned(), ServerConfig::default()),
        None => {
            let loaded = match settings::check(load) {
                Ok(loaded) => loaded,
                Err(error) => {
                    complain(&error.to_string());
                    return ExitCode::from(USAGE);
                }
            };
            let server = loaded.config.server;
            if server.port == 0 {
                complain("The configured port is 0, so the node chose one itself: name it with --url.");
                return ExitCode::from(USAGE);
            }
            (address(&server), server)
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("No runtime for the question: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    match runtime.block_on(readiness(&url, &server.tls_cert)) {
        Ok(Readiness { ready: true, .. }) => {
            say(&format!("{url}: ready"));
            ExitCode::SUCCESS
        }
        Ok(Readiness { body, .. }) => {
            complain(&format!("{url}: not ready: {}", body.trim()));
            ExitCode::from(FAILURE)
        }
        Err(fault) => {
            complain(&format!("{url}: {fault}"));
            ExitCode::from(FAILURE)
        }
    }
}

/// Where a node with these settings answers on this machine.
fn address(server: &ServerConfig) -> String {
    let host = match server.host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V4(_)) | Err(_) => server.host.clone(),
    };
    let scheme = if server.tls_cert.is_empty() { "http" } else { "https" };
    format!("{scheme}://{host}:{}", server.port)
}

/// Asks `/readyz` below `url`. Where `certificate` names a PEM file, the node must show that certificate, whatever name
/// it is for; else one that this machine trusts for the host.
pub async fn readiness(url: &str, certificate: &str) -> Result<Readiness, String> {
    match tokio::time::timeout(DEADLINE, ask(url, certificate)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer in {} s", DEADLINE.as_secs())),
    }
}

async fn ask(url: &str, certificate: &str) -> Result<Readiness, String> {
    let uri: http::Uri = url.parse().map_err(because("this is not an address"))?;
    let is_tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("the address must begin with http:// or https://".to_owned()),
    };
    let host = uri.host().ok_or_else(|| "the address has no host".to_owned())?;
    let bare_host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let prefix = uri.path().trim_end_matches('/').trim_end_matches("/readyz");
    let request = http::Request::get(format!("{prefix}/readyz"))
        .header(http::header::HOST, format!("{host}:{port}"))
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(because("this is not an address"))?;
    let stream = TcpStream::connect((bare_host, port))
        .await
        .map_err(because("no connection"))?;
    if !is_tls {
        return exchange(stream, request).await;
    }
    let config = pinned::client_config(certificate)?;
    let name = rustls::pki_types::ServerName::try_from(bare_host.to_owned()).map_err(because("no name for TLS"))?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    exchange(connected.map_err(because("no TLS"))?, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: http::Request<Empty<Bytes>>,
) -> Result<Readiness, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(because("no HTTP"))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(because("no answer"))?;
        let ready = response.status() == http::StatusCode::OK;
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(because("the answer breaks off"))?.to_bytes();
        Ok(Readiness {
            ready,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    tokio::pin!(answer, connection);
    // The connection must be driven for the answer to come; that it ends first is seen by the answer.
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended.map_err(because("the connection broke"))?;
            answer.await
        }
    }
}

fn because<E: Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_address_is_reached_on_this_machine() {
        for (host, cert, expected) in [
            ("0.0.0.0", "", "http://127.0.0.1:8000"),
            ("::", "", "http://[::1]:8000"),
            ("fe80::1", "", "http://[fe80::1]:8000"),
            ("10.0.0.1", "c.pem", "https://10.0.0.1:8000"),
            ("localhost", "", "http://localhost:8000"),
        ] {
            let server = ServerConfig {
                host: host.to_owned(),
                tls_cert: cert.to_owned(),
                ..ServerConfig::default()
            };
            assert_eq!(address(&server), expected);
        }
    }
}
