//! One request as the engine sees it: no dialect, only what routing, quotas and the log need.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::clients::Identity;
use grok2api_actors::token::affinity::ConversationId;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::meter::DayBucket;
use http::{HeaderMap, HeaderValue, Method};

use super::dialect::{Dialect, Told};
use crate::catalogue::Resolved;
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

/// Takes note of what a call made, so that later calls find it.
pub trait Notes: Send + Sync {
    /// What the answer has said about itself so far, and who gives it. May come more than once.
    fn told(&self, told: &Told, token: TokenId);
}

/// Where a call of the client goes upstream.
pub struct Route {
    /// Such as `/v1/chat/completions`; a constant of the route table, for logs and metrics.
    pub label: &'static str,
    /// How it is called upstream.
    pub method: Method,
    /// Path upstream, behind the base URL.
    pub path: Cow<'static, str>,
}

impl Route {
    /// A POST.
    pub const fn post(label: &'static str, path: &'static str) -> Route {
        Route {
            label,
            method: Method::POST,
            path: Cow::Borrowed(path),
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
    pub path: Cow<'static, str>,
    /// How it is called.
    pub method: Method,
    /// What the body is; `None` = JSON.
    pub content_type: Option<HeaderValue>,
    /// The answer is bytes of another kind than JSON, and passes as it comes.
    pub is_binary: bool,
    /// The call may be made again although it may have been carried out: it makes nothing that is paid for by the piece.
    pub is_repeatable: bool,
    /// The token that made what the call builds on. It serves, or another of its team; nobody else can.
    pub pin: Option<TokenId>,
    /// Told what the answer says about itself, and which token gave it, before the client has all of it.
    pub notes: Option<Arc<dyn Notes>>,
    /// What no model makes, by a constant name: any team serves it, and it is counted under that name.
    pub service: Option<&'static str>,
    /// Whether it uses a team's quota of the model; looking something up does not.
    pub is_metered: bool,
    /// What it is expected to cost, USD ticks, where no tokens tell.
    pub expected_ticks: Option<u64>,
    /// The body for teams of which the upstream may keep nothing, where it differs.
    pub unkept: Option<fn(&Bytes) -> Bytes>,
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
    /// The model may think before it answers, which no cap bounds.
    pub reasons: bool,
    /// Answers asked for.
    pub answers: u64,
    /// What it costs by the price table, USD ticks, where it is paid for by the piece.
    pub price: Option<u64>,
    /// The upstream says what it cost only when what it made is fetched: until then the reservation stands, in the hands of
    /// whoever waits for that ([`super::answer::Answer::Whole`]'s `unsettled`).
    pub settles_later: bool,
    /// How the client's dialect reads and writes answers.
    pub dialect: Arc<dyn Dialect>,
}

impl Ask {
    /// An ask with an empty body, that is not streamed, may be repeated and counts as nothing yet.
    pub fn new(
        route: Route,
        arrival: &Arrival,
        caller: Caller,
        model: &str,
        resolved: &Resolved<'_>,
        dialect: Arc<dyn Dialect>,
    ) -> Ask {
        Ask {
            arrival: arrival.clone(),
            route: route.label,
            path: route.path,
            method: route.method,
            content_type: None,
            is_binary: false,
            is_repeatable: true,
            pin: None,
            notes: None,
            service: None,
            is_metered: true,
            expected_ticks: None,
            unkept: None,
            caller,
            model: model.to_owned(),
            upstream_model: resolved.upstream_name.to_owned(),
            stream: false,
            deferred: false,
            body: Bytes::new(),
            bytes_in: 0,
            input_bytes: 0,
            headers: HeaderMap::new(),
            conversation: None,
            buckets: Vec::new(),
            max_output: None,
            output_cap: resolved.entry.and_then(|entry| entry.max_output),
            reasons: resolved.entry.is_some_and(|entry| entry.reasoning),
            answers: 1,
            price: None,
            settles_later: false,
            dialect,
        }
    }

    /// The same for what no model makes.
    pub fn of_service(
        route: Route,
        arrival: &Arrival,
        caller: Caller,
        service: &'static str,
        dialect: Arc<dyn Dialect>,
    ) -> Ask {
        let resolved = Resolved {
            requested: service,
            canonical: service,
            upstream_name: service,
            entry: None,
            retired: false,
        };
        Ask {
            service: Some(service),
            max_output: Some(0),
            ..Ask::new(route, arrival, caller, service, &resolved, dialect)
        }
    }

    /// The model that a team must offer to serve it, if it takes one.
    pub fn wanted_model(&self) -> Option<&str> {
        match self.service {
            Some(_) => None,
            None => Some(&self.upstream_model),
        }
    }
}
