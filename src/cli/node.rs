//! A running node, as commands reach it: one request a connection.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use grok2api_schemas::config::{Config, ServerConfig};
use http::{Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::pinned;
use crate::settings::{self, LoadArgs};

/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Where a node answers.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its address.
    pub url: String,
    /// A PEM file with the certificate that it must show, whatever name that is for; empty = one that this machine trusts
    /// for the host.
    pub certificate: String,
}

/// What a node said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl Node {
    /// The node at `url`, else at the configured address; and the configuration where that was read.
    ///
    /// # Errors
    /// The configuration is wrong, or does not say where the node is.
    pub fn find(url: Option<&str>, load: &LoadArgs) -> Result<(Node, Option<Config>), String> {
        if let Some(url) = url {
            let node = Node {
                url: url.to_owned(),
                certificate: String::new(),
            };
            return Ok((node, None));
        }
        let config = settings::check(load).map_err(|error| error.to_string())?.config;
        if config.server.port == 0 {
            return Err("The configured port is 0, so the node chose one itself: name it with --url.".to_owned());
        }
        let node = Node {
            url: address(&config.server),
            certificate: config.server.tls_cert.clone(),
        };
        Ok((node, Some(config)))
    }

    /// Asks it something, and waits no longer than `deadline`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Said, String> {
        match tokio::time::timeout(deadline, self.ask(method, path, bearer, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer in {} s", deadline.as_secs())),
        }
    }

    async fn ask(&self, method: Method, path: &str, bearer: Option<&str>, body: Bytes) -> Result<Said, String> {
        let uri: Uri = self.url.parse().map_err(because("this is not an address"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("the address must begin with http:// or https://".to_owned()),
        };
        let host = uri.host().ok_or_else(|| "the address has no host".to_owned())?;
        let bare_host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').trim_end_matches(path);
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{prefix}{path}"))
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::CONNECTION, "close");
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(because("this is not an address"))?;
        let stream = TcpStream::connect((bare_host, port))
            .await
            .map_err(because("no connection"))?;
        if !is_tls {
            return exchange(stream, request).await;
        }
        let config = pinned::client_config(&self.certificate)?;
        let name = rustls::pki_types::ServerName::try_from(bare_host.to_owned()).map_err(because("no name for TLS"))?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        exchange(connected.map_err(because("no TLS"))?, request).await
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

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: http::Request<Full<Bytes>>,
) -> Result<Said, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(because("no HTTP"))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(because("no answer"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(because("the answer breaks off"))?.to_bytes();
        Ok(Said { status, body })
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
