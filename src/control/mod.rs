//! The NATS door to [`crate::ops`]: every operation of the table is an endpoint of one micro-service, which every node
//! offers in one queue group, so any of them answers. NATS's own permissions say who may call.

mod answer;
pub mod events;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use async_nats::service::{Request, Service, ServiceExt};
use async_nats::{Client, Error};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use grok2api_schemas::admin::accounts::Role;
use grok2api_schemas::bus::subjects::admin::{QUEUE, SERVICE};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::Ops;
use crate::ops::table::{About, Operation, operations};

/// Calls that one node works on at a time; more are refused at once.
const AT_ONCE: usize = 64;

/// Where the service stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// What this cluster's subjects begin with.
    pub prefix: String,
    /// This node's name.
    pub node: String,
}

/// Offers every operation until `stop`.
///
/// # Errors
/// NATS refuses a subscription: the connection is gone, or its permissions do not allow it.
pub async fn start(
    client: Client,
    place: &Place,
    ops: Ops,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), Error> {
    let service = client
        .service_builder()
        .description("Administration of a grok2api cluster: tokens, client keys, requests, configuration, nodes.")
        .metadata(HashMap::from([
            ("prefix".to_owned(), place.prefix.clone()),
            ("node".to_owned(), place.node.clone()),
        ]))
        .queue_group(QUEUE)
        .start(SERVICE, env!("CARGO_PKG_VERSION"))
        .await?;
    let mut calls = Vec::new();
    for operation in operations() {
        calls.push(endpoint(&service, &place.prefix, operation).await?);
    }
    // The server has seen every subscription before anybody is told that this node is ready.
    client.flush().await?;
    let desk = Desk {
        client,
        ops,
        permits: Arc::new(Semaphore::new(AT_ONCE)),
        tracker: tracker.clone(),
    };
    tracker.spawn(desk.serve(service, select_all(calls), stop));
    Ok(())
}

type Call = (&'static Operation, Request);

async fn endpoint(
    service: &Service,
    prefix: &str,
    operation: &'static Operation,
) -> Result<BoxStream<'static, Call>, Error> {
    let about = &operation.about;
    let endpoint = service
        .endpoint_builder()
        // Names may hold no dot.
        .name(about.name().replace('.', "-"))
        .metadata(metadata(about))
        .add(format!("{prefix}.{}", about.subject))
        .await?;
    Ok(endpoint.map(move |request| (operation, request)).boxed())
}

fn metadata(about: &About) -> HashMap<String, String> {
    let role = match about.role {
        Role::Viewer => "viewer",
        Role::Admin => "admin",
    };
    let (method, path) = about.http;
    HashMap::from([
        ("operation".to_owned(), about.name().to_owned()),
        ("description".to_owned(), about.doc.to_owned()),
        ("role".to_owned(), role.to_owned()),
        ("http".to_owned(), format!("{method} /api/v1/admin{path}")),
        ("request_schema".to_owned(), format!("{}.input.json", about.name())),
        ("response_schema".to_owned(), format!("{}.output.json", about.name())),
    ])
}

/// What a call needs.
struct Desk {
    client: Client,
    ops: Ops,
    permits: Arc<Semaphore>,
    tracker: TaskTracker,
}

impl Desk {
    async fn serve(self, service: Service, mut calls: SelectAll<BoxStream<'static, Call>>, stop: CancellationToken) {
        loop {
            let (operation, request) = tokio::select! {
                () = stop.cancelled() => break,
                call = calls.next() => match call {
                    Some(call) => call,
                    // The client was closed.
                    None => return,
                },
            };
            match self.permits.clone().try_acquire_owned() {
                Ok(permit) => {
                    let (client, ops) = (self.client.clone(), self.ops.clone());
                    self.tracker.spawn(async move {
                        answer::answer(&client, operation, request, ops).await;
                        drop(permit);
                    });
                }
                Err(_) => answer::refuse(&self.client, request, &busy()).await,
            }
        }
        // Subscriptions end first; what had come by then is told to try another node.
        if let Err(error) = service.stop().await {
            tracing::debug!(%error, "the admin service on NATS did not stop in order");
        }
        while let Some((_, request)) = calls.next().await {
            answer::refuse(&self.client, request, &stopping()).await;
        }
    }
}

fn busy() -> GatewayError {
    GatewayError::new(
        ErrorKind::Overloaded,
        format!("This node works on {AT_ONCE} admin calls at a time. Send this one again in a moment."),
    )
    .retry_after(Some(1_000))
}

fn stopping() -> GatewayError {
    GatewayError::new(
        ErrorKind::ShuttingDown,
        "This node is shutting down. Send this again: another node will answer.",
    )
}
