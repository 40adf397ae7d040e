//! What an operator can see of past requests.

use std::sync::Arc;

use grok2api_schemas::admin::requests::{RequestPage, RequestQuery, RequestRecord};
use grok2api_schemas::admin::rollups::{RollupAnswer, RollupAsk};
use grok2api_schemas::admin::tokens::TokenActivity;
use grok2api_schemas::ids::{RequestId, TokenId};

use crate::engine::error::{ErrorKind, GatewayError};
use crate::request_log::RequestLog;

/// Credentials whose activity is asked for at a time.
const MOST_ACTIVE: usize = 100;

/// Operations on the request log.
#[derive(Clone)]
pub struct RequestOps {
    log: RequestLog,
}

impl RequestOps {
    /// Operations on this log.
    pub fn new(log: RequestLog) -> RequestOps {
        RequestOps { log }
    }

    /// A page of requests, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self, query: RequestQuery) -> Result<RequestPage, GatewayError> {
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || log.page(&query))
            .await
            .map_err(|error| GatewayError::internal(format!("reading the request log: {error}")))?
            .map_err(|error| GatewayError::internal(format!("reading the request log: {error}")))
    }

    /// Sums by hour and day.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn rollups(&self, ask: RollupAsk) -> Result<RollupAnswer, GatewayError> {
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || log.rollups(&ask))
            .await
            .map_err(|error| GatewayError::internal(format!("reading sums of requests: {error}")))?
            .map_err(|error| GatewayError::internal(format!("reading sums of requests: {error}")))
    }

    /// What some tokens served in the last hour.
    ///
    /// # Errors
    /// `InvalidField` for none, or more than [`MOST_ACTIVE`].
    pub fn activity(&self, ids: &[TokenId]) -> Result<TokenActivity, GatewayError> {
        if ids.is_empty() || ids.len() > MOST_ACTIVE {
            return Err(GatewayError::field(
                "ids",
                format!("`ids` must name 1 to {MOST_ACTIVE} credentials."),
            ));
        }
        Ok(self.log.activity(ids))
    }

    /// One request.
    ///
    /// # Errors
    /// `NotFound`; the store cannot be read.
    pub async fn get(&self, id: RequestId) -> Result<Arc<RequestRecord>, GatewayError> {
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || log.get(id))
            .await
            .map_err(|error| GatewayError::internal(format!("reading the request log: {error}")))?
            .map_err(|error| GatewayError::internal(format!("reading the request log: {error}")))?
            .ok_or_else(|| {
                GatewayError::new(
                    ErrorKind::NotFound,
                    "No such request in the log. It may have been pruned (telemetry.request_log_days, request_log_max_mb).",
                )
                .with_code("request_not_found")
            })
    }
}
