//! One request as the engine sees it: no dialect, only what routing, quotas and the log need.

use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::clients::Identity;
use grok2api_actors::token::affinity::ConversationId;
use grok2api_schemas::meter::DayBucket;
use http::HeaderMap;

use super::dialect::Dialect;
use crate::http::arrival::Arrival;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A client key, or the configured one.
    Key(Identity),
    /// Nobody: allowed only where the operator said so.
    Anonymous,
}

impl Caller {
    /// Names the caller in what belongs to it.
    pub fn owner(&self) -> String {
        match self {
            Caller::Key(Identity::Key(key)) => key.id.to_string(),
            Caller::Key(Identity::Config) => "config".to_owned(),
            Caller::Anonymous => "anonymous".to_owned(),
        }
    }
}

/// A call to be made upstream on behalf of a client.
pub struct Ask {
    /// Its id, time and origin.
    pub arrival: Arrival,
    /// Such as `/v1/chat/completions`; a constant of the route table, for logs and metrics.
    pub route: &'static str,
    /// Path upstream, behind the base URL.
    pub path: &'static str,
    /// Who asks.
    pub caller: Caller,
    /// The model as the client named it.
    pub model: String,
    /// The upstream's name for it.
    pub upstream_model: String,
    /// Whether the client wants events.
    pub stream: bool,
    /// Whether the answer comes later, under an id.
    pub deferred: bool,
    /// The body to send, edits made.
    pub body: Bytes,
    /// Bytes of the client's body.
    pub bytes_in: u64,
    /// Bytes of it that are text to the model: images and files inside do not count by size.
    pub input_bytes: usize,
    /// Headers to pass on.
    pub headers: HeaderMap,
    /// The conversation it belongs to.
    pub conversation: Option<ConversationId>,
    /// Buckets of the client key that it counts in, with units.
    pub buckets: Vec<(DayBucket, u64)>,
    /// Most output tokens that the client allows, per answer.
    pub max_output: Option<u64>,
    /// Most output tokens that the model allows.
    pub output_cap: Option<u64>,
    /// Answers asked for.
    pub answers: u64,
    /// How the client's dialect reads and writes answers.
    pub dialect: Arc<dyn Dialect>,
}
