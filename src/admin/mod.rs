//! The admin API over HTTP: a thin door to [`crate::ops`]. Mounted at `/api/v1/admin`.
//!
//! Every route but login needs a session (see [`call`]); there is no other way in, and a client key is none.

mod affinity;
pub mod assets;
mod body;
mod cache;
mod call;
mod config;
mod cluster;
mod cookie;
mod events;
mod jobs;
mod keys;
mod older;
mod operations;
mod query;
mod requests;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod tokens_bulk;

use std::net::IpAddr;
use std::sync::Arc;

use grok2api_actors::clock::Clock;
use grok2api_schemas::bus::subjects::admin as subjects;
use poem::http::StatusCode;
use poem::{Endpoint, EndpointExt, IntoEndpoint, Request, Response, Route, get, post};

use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::openai::error::error_response;
use crate::ops::Ops;
use crate::ops::accounts::Accounts;
use crate::ops::cluster::ClusterOps;
use crate::ops::keys::KeyOps;
use crate::ops::requests::RequestOps;
use crate::ops::tokens::TokenOps;
use call::{guarded, open, own};
pub use events::Streams;

/// Where a request came from, as the door knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address, proxies that we trust taken into account.
    pub ip: IpAddr,
    /// Whether it came over TLS, ours or that of such a proxy.
    pub https: bool,
}

/// How large bodies may be, bytes.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Of everything but the two below.
    pub ordinary: usize,
    /// Of a whole list of tokens (`POST /tokens`), which is held in memory.
    pub list: usize,
    /// Of an import, which is read line by line.
    pub import: u64,
}

impl Default for BodyLimits {
    fn default() -> BodyLimits {
        BodyLimits {
            ordinary: 1024 * 1024,
            list: 64 * 1024 * 1024,
            import: 512 * 1024 * 1024,
        }
    }
}

/// What the routes need.
#[derive(Clone)]
pub struct Admin {
    /// Every operation.
    pub ops: Ops,
    /// Operations on upstream credentials.
    pub tokens: TokenOps,
    /// Operations on client keys.
    pub keys: KeyOps,
    /// Operations on the request log.
    pub requests: RequestOps,
    /// Operations on the cluster.
    pub cluster: ClusterOps,
    /// Accounts and sessions.
    pub accounts: Accounts,
    /// Streams of events.
    pub streams: Streams,
    /// For dates.
    pub clock: Clock,
    /// What `GET /storage` answers: `local`, or `nats` in a cluster.
    pub storage: &'static str,
    /// Limits of bodies.
    pub limits: BodyLimits,
    /// Where a request came from.
    pub origin: Arc<dyn Fn(&Request) -> Origin + Send + Sync>,
}

/// The routes, without their prefix.
pub fn routes(admin: Admin) -> impl Endpoint<Output = Response> {
    let admin = Arc::new(admin);
    // Shorter at each route.
    let a = &admin;
    Route::new()
        .at("/login", post(open(a, session::login)))
        .at("/logout", post(own(a, session::logout)))
        .at("/session", get(guarded(a, session::current)))
        .at("/session/key", post(guarded(a, session::key)))
        .at("/config", get(guarded(a, config::get)).post(guarded(a, config::set)))
        .at("/storage", get(guarded(a, older::storage)))
        .at(
            "/tokens",
            get(guarded(a, tokens::list)).post(guarded(a, tokens_bulk::whole_list)),
        )
        .at("/tokens/activity", get(guarded(a, tokens::activity)))
        .at("/tokens/counts", get(guarded(a, tokens::counts)))
        .at("/tokens/add", post(guarded(a, tokens::add)))
        .at("/tokens/import", post(guarded(a, tokens_bulk::import)))
        .at("/tokens/export", post(guarded(a, tokens_bulk::export)))
        .at("/tokens/refresh", post(guarded(a, tokens::refresh_many)))
        .at("/tokens/clear-cooling", post(guarded(a, tokens::clear_cooling_many)))
        .at("/tokens/delete", post(guarded(a, tokens::delete_many)))
        .at("/tokens/nsfw/refresh", post(guarded(a, older::not_offered)))
        .at("/tokens/auto-register", post(guarded(a, jobs::older_start)))
        .at("/tokens/auto-register/status", get(guarded(a, jobs::older_status)))
        .at("/tokens/auto-register/stop", post(guarded(a, jobs::older_stop)))
        .at(
            "/tokens/:id",
            get(guarded(a, tokens::get))
                .patch(guarded(a, tokens::patch))
                .delete(guarded(a, tokens::delete)),
        )
        .at("/tokens/:id/quotas", get(guarded(a, tokens::quotas)))
        .at("/tokens/:id/history", get(guarded(a, tokens::history)))
        .at("/tokens/:id/refresh", post(guarded(a, tokens::refresh)))
        .at("/tokens/:id/clear-cooling", post(guarded(a, tokens::clear_cooling)))
        .at("/keys", get(guarded(a, keys::list)).post(guarded(a, keys::create)))
        .at("/keys/update", post(guarded(a, keys::update_older)))
        .at("/keys/delete", post(guarded(a, keys::delete_older)))
        .at(
            "/keys/:id",
            get(guarded(a, keys::get))
                .patch(guarded(a, keys::update))
                .delete(guarded(a, keys::delete)),
        )
        .at("/keys/:id/rotate", post(guarded(a, keys::rotate)))
        .at("/requests", get(guarded(a, requests::list)))
        .at("/requests/:id", get(guarded(a, requests::get)))
        .at("/operations", get(guarded(a, operations::list)))
        .at("/operations/:id", post(own(a, operations::run)))
        .at("/jobs", get(guarded(a, jobs::list)).post(guarded(a, jobs::start)))
        .at("/jobs/:id", get(guarded(a, jobs::get)))
        .at("/jobs/:id/pause", post(guarded(a, jobs::pause)))
        .at("/jobs/:id/resume", post(guarded(a, jobs::resume)))
        .at("/jobs/:id/stop", post(guarded(a, jobs::stop)))
        .at(
            "/users",
            get(guarded(a, |call| table::looked(call, subjects::USERS_LIST)))
                .post(guarded(a, |call| table::sent(call, subjects::USERS_ADD))),
        )
        .at(
            "/users/patch",
            post(guarded(a, |call| table::sent(call, subjects::USERS_PATCH))),
        )
        .at(
            "/users/delete",
            post(guarded(a, |call| table::sent(call, subjects::USERS_DELETE))),
        )
        .at(
            "/audit",
            get(guarded(a, |call| table::looked(call, subjects::AUDIT_LIST))),
        )
        .at(
            "/rollups",
            get(guarded(a, |call| table::looked(call, subjects::REQUESTS_ROLLUPS))),
        )
        .at("/metrics", get(guarded(a, older::metrics)))
        .at("/events", get(guarded(a, events::stream)))
        .at("/logs/stream", get(guarded(a, events::logs)))
        .at(
            "/logs/files",
            get(guarded(a, |call| table::looked(call, subjects::LOGS_FILES))),
        )
        .at(
            "/logs/tail",
            get(guarded(a, |call| table::looked(call, subjects::LOGS_TAIL))),
        )
        .at("/cluster", get(guarded(a, cluster::status)))
        .at("/cluster/drain", post(guarded(a, cluster::drain)))
        .at("/affinity", get(guarded(a, affinity::list)))
        .at("/affinity/clear", post(guarded(a, affinity::clear)))
        .at("/cache", get(guarded(a, cache::all)))
        .at("/cache/local", get(guarded(a, cache::local)))
        .at("/cache/list", get(guarded(a, cache::list)))
        .at("/cache/clear", post(guarded(a, cache::clear)))
        .at("/cache/item/delete", post(guarded(a, cache::delete)))
        .at("/cache/online/clear", post(guarded(a, cache::online)))
        .at(
            "/cache/online",
            get(guarded(a, |call| table::looked(call, subjects::CACHE_ONLINE))),
        )
        .at(
            "/cache/online/delete",
            post(guarded(a, |call| table::sent(call, subjects::CACHE_ONLINE_DELETE))),
        )
        .at("/*rest", guarded(a, older::unknown))
        .into_endpoint()
        .around(|routes, request| async move {
            let id = call::request_id(&request);
            match routes.call(request).await {
                Ok(response) => Ok(response),
                Err(error) => Ok(error_response(&of_poem(&error), &id.to_string())),
            }
        })
}

/// An error of the router itself.
fn of_poem(error: &poem::Error) -> GatewayError {
    match error.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            GatewayError::new(ErrorKind::MethodNotAllowed, "This route does not take that method.")
        }
        StatusCode::NOT_FOUND => older::no_such_route(),
        _ => GatewayError::internal(error.to_string()),
    }
}
