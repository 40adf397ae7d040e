//! What is known of a request when it arrives.

use grok2api_actors::clock::Mono;
use grok2api_schemas::ids::RequestId;
use http::HeaderValue;
use poem::{Request, Response};

use crate::app::App;
use crate::door::origin::ClientOrigin;

/// A request's id, time and origin.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// As in `x-request-id`.
    pub id: RequestId,
    /// When its head had arrived.
    pub received: Mono,
    /// The same, Unix milliseconds.
    pub time_ms: u64,
    /// The client's address.
    pub ip: String,
}

impl Arrival {
    /// Of a request that the door has marked.
    pub fn of(request: &Request, app: &App) -> Arrival {
        Arrival {
            id: request
                .extensions()
                .get::<RequestId>()
                .copied()
                .unwrap_or_else(RequestId::generate),
            received: app.clock.now(),
            time_ms: app.clock.wall().0,
            ip: request
                .extensions()
                .get::<ClientOrigin>()
                .map(|origin| origin.ip.to_string())
                .unwrap_or_default(),
        }
    }

    /// Puts the id on an answer.
    pub fn sign(&self, response: &mut Response) {
        if let Ok(value) = HeaderValue::from_str(&self.id.to_string()) {
            response.headers_mut().insert("x-request-id", value);
        }
    }
}
