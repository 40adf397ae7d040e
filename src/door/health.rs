//! Probes: `/livez` (the process answers), `/readyz` (send it traffic; names what keeps it from that), `/health` (as in
//! the older project).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use parking_lot::Mutex;
use poem::endpoint::make_sync;
use poem::{Endpoint, Response, get};

/// What keeps this node from taking traffic, by name. Ready means: nothing does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<State>);

#[derive(Debug)]
struct State {
    blockers: Mutex<BTreeMap<&'static str, String>>,
    is_ready: AtomicBool,
}

impl Default for Readiness {
    fn default() -> Readiness {
        Readiness(Arc::new(State {
            blockers: Mutex::default(),
            is_ready: AtomicBool::new(true),
        }))
    }
}

impl Readiness {
    /// Adds a blocker, or gives it a new reason.
    pub fn block(&self, name: &'static str, reason: impl Into<String>) {
        let mut blockers = self.0.blockers.lock();
        blockers.insert(name, reason.into());
        self.0.is_ready.store(false, Ordering::Release);
    }

    /// Takes a blocker away; one that is not there is no fault.
    pub fn clear(&self, name: &str) {
        let mut blockers = self.0.blockers.lock();
        blockers.remove(name);
        self.0.is_ready.store(blockers.is_empty(), Ordering::Release);
    }

    /// Whether nothing blocks.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Acquire)
    }

    /// Names and reasons, by name.
    pub fn blockers(&self) -> Vec<(&'static str, String)> {
        let blockers = self.0.blockers.lock();
        blockers.iter().map(|(name, reason)| (*name, reason.clone())).collect()
    }
}

/// `GET|HEAD /livez`: 200 as long as the process can answer at all.
pub fn livez() -> impl Endpoint<Output = Response> {
    get(make_sync(|_| {
        json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
    }))
}

/// `GET|HEAD /readyz`: 200 when this node should get traffic, else 503 with the blockers.
pub fn readyz(readiness: Readiness) -> impl Endpoint<Output = Response> {
    get(make_sync(move |_| {
        let blockers: Vec<_> = readiness
            .blockers()
            .into_iter()
            .map(|(name, reason)| serde_json::json!({"name": name, "reason": reason}))
            .collect();
        let status = if blockers.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        json(
            status,
            &serde_json::json!({"ready": blockers.is_empty(), "blockers": blockers}),
        )
    }))
}

/// `GET|HEAD /health`: what the older project answers, whatever the state.
pub fn health() -> impl Endpoint<Output = Response> {
    get(make_sync(|_| {
        json(
            StatusCode::OK,
            &serde_json::json!({"status": "healthy", "service": "Grok2API", "runtime": "rust"}),
        )
    }))
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .header(CACHE_CONTROL, "no-store")
        .body(body.to_string())
}

#[cfg(test)]
mod tests {
    use poem::{Request, Route};

    use super::*;

    async fn ask(readiness: &Readiness, method: http::Method, path: &str) -> (StatusCode, String) {
        let app = Route::new()
            .at("/livez", livez())
            .at("/readyz", readyz(readiness.clone()))
            .at("/health", health());
        let request = Request::builder().method(method).uri_str(path).finish();
        let response = app.get_response(request).await;
        (response.status(), response.into_body().into_string().await.unwrap())
    }

    #[tokio::test]
    async fn readiness_names_its_blockers_until_they_are_gone() {
        let readiness = Readiness::default();
        readiness.block("store", "opening");
        readiness.block("bus", "not connected");
        readiness.block("bus", "still not connected");
        let (status, body) = ask(&readiness, http::Method::GET, "/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(
            body,
            r#"{"blockers":[{"name":"bus","reason":"still not connected"},{"name":"store","reason":"opening"}],"ready":false}"#
        );
        assert!(!readiness.is_ready());
        readiness.clear("bus");
        readiness.clear("store");
        readiness.clear("never there");
        assert!(readiness.is_ready());
        let (status, body) = ask(&readiness, http::Method::GET, "/readyz").await;
        assert_eq!(
            (status.as_u16(), body.as_str()),
            (200, r#"{"blockers":[],"ready":true}"#)
        );
    }

    #[tokio::test]
    async fn probes_answer_head() {
        for path in ["/livez", "/readyz", "/health"] {
            let (status, body) = ask(&Readiness::default(), http::Method::HEAD, path).await;
            assert_eq!((status.as_u16(), body.as_str()), (200, ""), "{path}");
        }
    }
}
