//! What an operator can do. HTTP, the bus and the command line are thin doors to these functions; none of them is in
//! here.

pub mod accounts;
pub mod affinity;
pub mod audit;
pub mod cache;
pub mod config;
pub mod cluster;
pub mod export;
pub mod history;
pub mod import;
pub mod input;
pub mod jobs;
pub mod keys;
pub mod nodes;
pub mod normalise;
pub mod password;
pub mod pool;
pub mod replace;
pub mod requests;
pub mod table;
pub mod throttle;
pub mod tokens;
pub mod usage;

#[cfg(test)]
pub mod fakes;
#[cfg(test)]
mod tests;

use grok2api_actors::bus::{BusError, BusErrorKind};

use crate::engine::error::{ErrorKind, GatewayError};
use crate::logs::LogOps;
use accounts::Accounts;
use affinity::AffinityOps;
use audit::AuditTrail;
use cache::CacheOps;
use cluster::ClusterOps;
use config::ConfigOps;
use history::HistoryOps;
use jobs::JobOps;
use keys::KeyOps;
use requests::RequestOps;
use tokens::TokenOps;

/// Every operation of a node; clones share what they act on.
#[derive(Clone)]
pub struct Ops {
    /// On upstream credentials.
    pub tokens: TokenOps,
    /// On what happened to them.
    pub history: HistoryOps,
    /// On client keys.
    pub keys: KeyOps,
    /// On the request log.
    pub requests: RequestOps,
    /// On the configuration.
    pub config: ConfigOps,
    /// On bindings.
    pub affinity: AffinityOps,
    /// On kept images and videos.
    pub cache: CacheOps,
    /// On registration jobs.
    pub jobs: JobOps,
    /// On the cluster.
    pub cluster: ClusterOps,
    /// On administrators and their sessions.
    pub accounts: Accounts,
    /// What administrators did.
    pub audit: AuditTrail,
    /// On log files.
    pub logs: LogOps,
}

/// Most rows of a page.
pub const MOST_ROWS: usize = 1_000;
/// Rows of a page that does not say how many.
pub const ROWS: usize = 50;

/// The rows of a page that was asked for.
///
/// # Errors
/// `InvalidField` unless they are 1 to [`MOST_ROWS`].
pub fn rows(limit: Option<u64>, unsaid: usize) -> Result<usize, GatewayError> {
    match limit.map(usize::try_from) {
        None => Ok(unsaid),
        Some(Ok(rows)) if (1..=MOST_ROWS).contains(&rows) => Ok(rows),
        Some(_) => Err(GatewayError::field(
            "limit",
            format!("`limit` must be a whole number from 1 to {MOST_ROWS}."),
        )),
    }
}

/// An operator has to make room first, milliseconds.
const STORAGE_AGAIN_MS: u64 = 10_000;

/// The bus failed under an operation.
pub(crate) fn unavailable(error: &BusError) -> GatewayError {
    match error.kind {
        BusErrorKind::Conflict => GatewayError::new(
            ErrorKind::Conflict,
            "Somebody else changed this at the same moment. Look again, then repeat what is still needed.",
        ),
        BusErrorKind::Full => GatewayError::new(
            ErrorKind::Overloaded,
            format!("This change was not made: {}.", error.message),
        )
        .with_code("storage_full")
        .retry_after(Some(STORAGE_AGAIN_MS)),
        BusErrorKind::Timeout | BusErrorKind::Unreachable | BusErrorKind::Storage | BusErrorKind::Closed => {
            GatewayError::new(
                ErrorKind::Overloaded,
                "The store did not confirm this change. Look whether it was made before you repeat it.",
            )
            .with_code("store_unavailable")
            .with_detail(error.to_string())
        }
        BusErrorKind::Corrupt => GatewayError::internal(error.to_string()),
    }
}
