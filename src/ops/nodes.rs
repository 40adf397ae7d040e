//! Every node of the cluster, for operations that concern all of them: who there is, and how one asks another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use grok2api_actors::bus::BusHandle;
use grok2api_actors::cluster::Membership;
use grok2api_schemas::ids::SessionId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::error::{ErrorKind, GatewayError};

/// What stands for all nodes.
pub const EVERY: &str = "*";
/// Askings of others that are answered at a time; more run into their deadlines.
const AT_A_TIME: usize = 4;
/// After the bus let go of a subject.
const PAUSE: Duration = Duration::from_secs(1);

/// The nodes that live. Cheap to clone.
#[derive(Clone, Default)]
pub struct Nodes(Option<Arc<Cluster>>);

struct Cluster {
    bus: BusHandle,
    me: SessionId,
    name: String,
    /// Those that are heard, without this one.
    others: Box<dyn Fn() -> Vec<Node> + Send + Sync>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name; empty alone.
    pub name: String,
    /// Its session; `None` = this one.
    pub session: Option<SessionId>,
}

impl Nodes {
    /// This one, without a name: there are no others.
    pub fn alone() -> Nodes {
        Nodes(None)
    }

    /// Those that are heard.
    pub fn of(bus: BusHandle, membership: Membership) -> Nodes {
        let (me, name) = (membership.me(), membership.identity().node.clone());
        let others = move || {
            let snapshot = membership.snapshot();
            let heard = snapshot.nodes.iter();
            heard
                .filter(|node| node.live && node.beat.session != me)
                .map(|node| Node {
                    name: node.beat.node.clone(),
                    session: Some(node.beat.session),
                })
                .collect()
        };
        Nodes(Some(Arc::new(Cluster {
            bus,
            me,
            name,
            others: Box::new(others),
        })))
    }

    /// Two nodes that hear each other.
    #[cfg(test)]
    pub fn pair(bus: &BusHandle, one: &str, two: &str) -> (Nodes, Nodes) {
        let (first, second) = (SessionId::generate(), SessionId::generate());
        let side = |(me, name): (SessionId, &str), (other, theirs): (SessionId, &str)| {
            let other = Node {
                name: theirs.to_owned(),
                session: Some(other),
            };
            Nodes(Some(Arc::new(Cluster {
                bus: bus.clone(),
                me,
                name: name.to_owned(),
                others: Box::new(move || vec![other.clone()]),
            })))
        };
        (side((first, one), (second, two)), side((second, two), (first, one)))
    }

    /// Nodes of a name: nothing = this one, [`EVERY`] = all, this one first.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn named(&self, name: Option<&str>) -> Result<Vec<Node>, GatewayError> {
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        let Some(cluster) = &self.0 else {
            return match name {
                None | Some(EVERY) => Ok(vec![Node {
                    name: String::new(),
                    session: None,
                }]),
                Some(_) => Err(no_such_node()),
            };
        };
        let me = Node {
            name: cluster.name.clone(),
            session: None,
        };
        let Some(name) = name else { return Ok(vec![me]) };
        let mut all: Vec<Node> = std::iter::once(me).chain((cluster.others)()).collect();
        if name != EVERY {
            all.retain(|node| node.name == name);
            // Two lives of one node: the later one.
            all.sort_by_key(|node| node.session.is_some());
            all.truncate(1);
        }
        match all.is_empty() {
            true => Err(no_such_node()),
            false => Ok(all),
        }
    }

    /// Asks another node; `None` if it does not answer, or answers something else.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        subject: &str,
        session: SessionId,
        asked: &impl Serialize,
        within: Duration,
    ) -> Option<T> {
        let cluster = self.0.as_ref()?;
        let payload = Bytes::from(serde_json::to_vec(asked).ok()?);
        match cluster
            .bus
            .request(&of_session(subject, session), payload, within)
            .await
        {
            Ok(answer) => serde_json::from_slice(&answer).ok(),
            Err(error) => {
                tracing::debug!(%session, subject, %error, "a node does not answer another");
                None
            }
        }
    }

    /// Answers other nodes on a subject of this one until `stop`.
    pub fn answer(
        &self,
        subject: &'static str,
        answer: impl Fn(Bytes) -> BoxFuture<'static, Option<Bytes>> + Send + Sync + 'static,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) {
        let Some(cluster) = self.0.clone() else { return };
        let answering = tracker.clone();
        tracker.spawn(async move {
            let subject = of_session(subject, cluster.me);
            let answer = Arc::new(answer);
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(&cluster.bus, &subject, answer, answering) => {}
            }
        });
    }
}

type Answering = dyn Fn(Bytes) -> BoxFuture<'static, Option<Bytes>> + Send + Sync;

async fn serve(bus: &BusHandle, subject: &str, answer: Arc<Answering>, tracker: TaskTracker) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        let mut requests = bus.serve(subject);
        while let Some(request) = requests.next().await {
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let told = answer(request.payload);
            tracker.spawn(async move {
                if let Some(told) = told.await {
                    // Whoever asked may have given up.
                    let _ = request.reply.send(told);
                }
                drop(place);
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn of_session(subject: &str, session: SessionId) -> String {
    format!("{subject}.{session}")
}

fn no_such_node() -> GatewayError {
    GatewayError::new(
        ErrorKind::NotFound,
        "No node of that name is heard. GET /api/v1/admin/cluster lists them.",
    )
    .with_code("node_not_found")
}

/// A node that should have answered.
pub fn unanswered(name: &str) -> GatewayError {
    GatewayError::new(ErrorKind::Overloaded, format!("Node {name} does not answer.")).with_code("node_unanswered")
}
