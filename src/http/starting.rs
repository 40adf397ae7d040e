//! What is answered before there is an app: a node that waits for NATS is alive and not ready, and says so instead of letting
//! its clients hang.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grok2api_schemas::ids::RequestId;
use http::{HeaderValue, header};
use poem::endpoint::BoxEndpoint;
use poem::{Endpoint, EndpointExt, Request, Response, Route};
use tokio::sync::Notify;

use super::error_of_path;
use crate::door::health::{Readiness, health, livez, readyz};
use crate::engine::error::{ErrorKind, GatewayError};

/// When a client should come back.
const AGAIN_MS: u64 = 1_000;

/// Routes that come later. Cheap to clone.
#[derive(Clone)]
pub struct Starting(Arc<Inner>);

struct Inner {
    routes: OnceLock<BoxEndpoint<'static, Response>>,
    come: Notify,
    readiness: Readiness,
    patience: Duration,
    probes: BoxEndpoint<'static, Response>,
}

impl Starting {
    /// Probes are answered at once; everything else waits for the routes, but not for longer than `patience`.
    pub fn new(readiness: Readiness, patience: Duration) -> Starting {
        let probes = Route::new()
            .at("/livez", livez())
            .at("/readyz", readyz(readiness.clone()))
            .at("/health", health());
        Starting(Arc::new(Inner {
            routes: OnceLock::new(),
            come: Notify::new(),
            readiness,
            patience,
            probes: probes.map_to_response().boxed(),
        }))
    }

    /// From now on the app answers.
    pub fn ready(&self, routes: BoxEndpoint<'static, Response>) {
        // Whoever sets them twice has two apps.
        let _ = self.0.routes.set(routes);
        self.0.come.notify_waiters();
    }

    async fn routes(&self) -> Option<&BoxEndpoint<'static, Response>> {
        let come = async {
            loop {
                let mut come = std::pin::pin!(self.0.come.notified());
                // From here on no signal is lost.
                come.as_mut().enable();
                if let Some(routes) = self.0.routes.get() {
                    return routes;
                }
                come.await;
            }
        };
        tokio::time::timeout(self.0.patience, come).await.ok()
    }

    fn refusal(&self, request: &Request) -> Response {
        let blockers = self.0.readiness.blockers();
        let reasons: Vec<_> = blockers.into_iter().map(|(_, reason)| reason).collect();
        let error = GatewayError::new(
            ErrorKind::Overloaded,
            format!(
                "This node is still starting ({}). Try again, or another node.",
                reasons.join("; ")
            ),
        )
        .with_code("starting")
        .retry_after(Some(AGAIN_MS));
        let id = request.extensions().get::<RequestId>().copied();
        let id = id.unwrap_or_else(RequestId::generate);
        let mut response = error_of_path(&error, request.uri().path(), id);
        // Its body was not read.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

impl Endpoint for Starting {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if let Some(routes) = self.0.routes.get() {
            return routes.call(request).await;
        }
        if matches!(request.uri().path(), "/livez" | "/readyz" | "/health") {
            return self.0.probes.call(request).await;
        }
        match self.routes().await {
            Some(routes) => routes.call(request).await,
            None => Ok(self.refusal(&request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;

    use super::*;

    async fn ask(starting: &Starting, path: &str) -> (u16, String, String) {
        let response = starting.get_response(Request::builder().uri_str(path).finish()).await;
        let status = response.status().as_u16();
        let again = response.header("retry-after").unwrap_or_default().to_owned();
        (status, again, response.into_body().into_string().await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn probes_answer_at_once_and_calls_wait_for_the_app_as_long_as_they_may() {
        let readiness = Readiness::default();
        readiness.block("bus", "not connected to NATS at 192.0.2.1:4222 yet");
        let starting = Starting::new(readiness, Duration::from_secs(2));
        assert_eq!(ask(&starting, "/livez").await.0, 200);
        let (status, _, said) = ask(&starting, "/readyz").await;
        assert!(status == 503 && said.contains("192.0.2.1:4222"), "{status} {said}");
        for path in ["/v1/chat/completions", "/v1/messages", "/api/v1/admin/tokens"] {
            let began = tokio::time::Instant::now();
            let (status, again, said) = ask(&starting, path).await;
            assert_eq!(began.elapsed(), Duration::from_secs(2));
            assert!(matches!(status, 503 | 529) && again == "1", "{path}: {status} {again}");
            assert!(
                said.contains("192.0.2.1:4222") && said.contains("still starting"),
                "{path}: {said}"
            );
            assert_eq!(
                said.contains("\"type\":\"error\""),
                path == "/v1/messages",
                "{path}: {said}"
            );
        }
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            starting.ready(make_sync(|_| "the app").map_to_response().boxed());
        };
        let (waited, ()) = tokio::join!(ask(&starting, "/v1/models"), later);
        assert_eq!((waited.0, waited.2.as_str()), (200, "the app"));
        assert_eq!(ask(&starting, "/livez").await.2, "the app");
    }
}
