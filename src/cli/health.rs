//! `grok2api health`: asks a running node's `/readyz`, for container health checks and scripts.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::node::Node;
use super::{FAILURE, USAGE, complain, say};
use crate::settings::LoadArgs;

/// How long a node may take to say whether it is ready.
const DEADLINE: Duration = Duration::from_secs(5);

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
    let Node { url, certificate } = match Node::find(url, load) {
        Ok((node, _)) => node,
        Err(fault) => {
            complain(&fault);
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("No runtime for the question: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    match runtime.block_on(readiness(&url, &certificate)) {
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

/// Asks `/readyz` below `url`. Where `certificate` names a PEM file, the node must show that certificate, whatever name
/// it is for; else one that this machine trusts for the host.
pub async fn readiness(url: &str, certificate: &str) -> Result<Readiness, String> {
    let node = Node {
        url: url.to_owned(),
        certificate: certificate.to_owned(),
    };
    let said = node.call(Method::GET, "/readyz", None, Bytes::new(), DEADLINE).await?;
    Ok(Readiness {
        ready: said.status == StatusCode::OK,
        body: String::from_utf8_lossy(&said.body).into_owned(),
    })
}
