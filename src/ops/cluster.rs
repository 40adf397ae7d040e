//! What an operator can see and do of the cluster.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;
use grok2api_actors::bus::BusError;
use grok2api_actors::cluster::{Membership, NodeStatus, Snapshot};
use grok2api_actors::ledger::Ledger;
use grok2api_schemas::admin::cluster::{
    BusView, ClusterView, DrainAnswer, DrainRequest, NodeState, NodeView, ShardView,
};
use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::cluster::ShardClaim;
use grok2api_schemas::ids::SessionId;

use super::audit::Actor;
use super::unavailable;
use crate::engine::error::{ErrorKind, GatewayError};

/// The ledger's part, as the operations see it.
pub trait ClusterLedger: Send + Sync {
    /// Shards that this node decides for.
    fn owned(&self) -> Vec<ShardClaim>;
    /// Requests to owners on other nodes since the start, and those without an answer.
    fn asked(&self) -> (u64, u64);
    /// Settlements that no owner has acknowledged yet.
    fn spooled(&self) -> u64;
    /// This node hands over and ends.
    fn drain_here(&self);
    /// Another one does.
    fn drain_there(&self, session: SessionId) -> BoxFuture<'_, Result<(), BusError>>;
}

impl ClusterLedger for Ledger {
    fn owned(&self) -> Vec<ShardClaim> {
        Ledger::owned(self)
    }

    fn asked(&self) -> (u64, u64) {
        let counters = self.counters();
        (
            counters.remote_requests.load(Ordering::Relaxed),
            counters.remote_lost.load(Ordering::Relaxed),
        )
    }

    fn spooled(&self) -> u64 {
        Ledger::spooled(self)
    }

    fn drain_here(&self) {
        self.asked_to_drain().cancel();
    }

    fn drain_there(&self, session: SessionId) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.ask_to_drain(session))
    }
}

/// Operations on the cluster.
#[derive(Clone)]
pub struct ClusterOps {
    membership: Membership,
    ledger: Arc<dyn ClusterLedger>,
}

impl ClusterOps {
    /// Operations of a node of this cluster.
    pub fn new(membership: Membership, ledger: Arc<dyn ClusterLedger>) -> ClusterOps {
        ClusterOps { membership, ledger }
    }

    /// How nodes, shards and bus are, as this node knows.
    pub fn status(&self) -> ClusterView {
        let snapshot = self.membership.snapshot();
        let nodes = self.nodes(&snapshot);
        let (requests, requests_lost) = self.ledger.asked();
        ClusterView {
            shards: shards(&snapshot, &nodes),
            nodes: nodes.iter().map(|node| node_view(node, &snapshot)).collect(),
            bus: BusView {
                kind: if self.membership.is_clustered() {
                    "nats"
                } else {
                    "local"
                }
                .to_owned(),
                connected: snapshot.connected,
                latency_us: snapshot.latency_us,
                lag_ms: snapshot.lag_ms,
                requests,
                requests_lost,
                spooled: self.ledger.spooled(),
            },
        }
    }

    /// Every node by name, this one as it is now.
    fn nodes(&self, snapshot: &Snapshot) -> Vec<NodeStatus> {
        let mut beat = self.membership.own_beat();
        beat.shards = self.ledger.owned();
        let others = snapshot.nodes.iter().filter(|node| node.beat.session != snapshot.me);
        let mut nodes: Vec<NodeStatus> = others.cloned().collect();
        nodes.push(NodeStatus {
            beat,
            heard_ms_ago: snapshot.lag_ms,
            clock_ahead_ms: 0,
            live: true,
        });
        nodes.sort_by(|a, b| (&a.beat.node, a.beat.session).cmp(&(&b.beat.node, b.beat.session)));
        nodes
    }

    /// A node hands its shards and grants over and ends, as after SIGTERM.
    ///
    /// # Errors
    /// `NotFound` if no such node is heard, `Conflict` if the name is that of several; it does not answer.
    pub async fn drain(&self, actor: &Actor, request: &DrainRequest) -> Result<DrainAnswer, GatewayError> {
        let snapshot = self.membership.snapshot();
        let nodes = self.nodes(&snapshot);
        let wanted = request.node.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let found: Vec<&NodeStatus> = nodes
            .iter()
            .filter(|node| node.live)
            .filter(|node| match wanted {
                None => node.beat.session == snapshot.me,
                Some(name) => node.beat.node == name || node.beat.session.to_string() == name,
            })
            .collect();
        let node = match found.as_slice() {
            [node] => &node.beat,
            [] => {
                return Err(GatewayError::new(
                    ErrorKind::NotFound,
                    "No node of that name or session is heard. GET /api/v1/admin/cluster lists them.",
                )
                .with_code("node_not_found"));
            }
            _ => {
                return Err(GatewayError::new(
                    ErrorKind::Conflict,
                    "Several nodes have that name: say which session.",
                ));
            }
        };
        if node.session == snapshot.me {
            self.ledger.drain_here();
        } else {
            let asked = self.ledger.drain_there(node.session).await;
            asked.map_err(|error| unavailable(&error))?;
        }
        actor.did("cluster.drain", &[node.session], &node.node);
        Ok(DrainAnswer {
            node: node.node.clone(),
            session: node.session.to_string(),
        })
    }
}

fn node_view(node: &NodeStatus, snapshot: &Snapshot) -> NodeView {
    let beat = &node.beat;
    let is_self = beat.session == snapshot.me;
    let may_own = if is_self {
        snapshot.objection.is_none()
    } else {
        beat.may_own
    };
    let state = match (node.live, beat.draining, may_own) {
        (false, ..) => NodeState::Silent,
        (_, true, _) => NodeState::Draining,
        (.., false) => NodeState::ClockOff,
        _ => NodeState::Live,
    };
    NodeView {
        node: beat.node.clone(),
        session: beat.session.to_string(),
        is_self,
        state,
        version: beat.version.clone(),
        advertise_url: beat.advertise_url.clone(),
        started_ms: beat.started_ms,
        heard_ms_ago: node.heard_ms_ago,
        clock_ahead_ms: node.clock_ahead_ms,
        shards: if node.live {
            beat.shards.iter().map(|claim| claim.shard).collect()
        } else {
            Vec::new()
        },
        in_flight: beat.load.in_flight,
        meters: beat.load.meters,
    }
}

fn shards(snapshot: &Snapshot, nodes: &[NodeStatus]) -> Vec<ShardView> {
    let all = 0..SHARDS;
    all.map(|shard| {
        let claims = nodes.iter().filter(|node| node.live).filter_map(|node| {
            let claim = node.beat.shards.iter().find(|claim| claim.shard == shard)?;
            Some((node, claim))
        });
        let owner = claims.max_by_key(|(_, claim)| claim.epoch);
        ShardView {
            shard,
            owner: owner.map(|(node, _)| node.beat.session.to_string()),
            node: owner.map(|(node, _)| node.beat.node.clone()),
            named: snapshot.named(shard).map(|session| session.to_string()),
            epoch: owner.map(|(_, claim)| claim.epoch),
            grants: owner.map_or(0, |(_, claim)| claim.grants),
            outstanding: owner.map_or(0, |(_, claim)| claim.outstanding),
            meters: owner.map_or(0, |(_, claim)| claim.meters),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use grok2api_actors::clock::{Clock, WallMs};

    use super::*;
    use crate::ops::fakes::FakeClusterLedger;

    #[tokio::test]
    async fn a_node_that_is_alone_shows_itself_and_drains_nobody_else() {
        let (clock, _) = Clock::manual(WallMs(1_700_000_000_000));
        let session = SessionId::generate();
        let ledger = Arc::new(FakeClusterLedger::default());
        let ops = ClusterOps::new(Membership::alone(session, clock), ledger.clone());
        let view = ops.status();
        assert_eq!((view.nodes.len(), view.shards.len()), (1, 16));
        assert!(view.nodes[0].is_self && view.nodes[0].state == NodeState::Live);
        assert_eq!(view.shards[3].owner, Some(session.to_string()));
        assert_eq!((view.bus.kind.as_str(), view.bus.connected), ("local", true));

        let actor = Actor {
            username: "nats".into(),
            role: grok2api_schemas::admin::accounts::Role::Admin,
            ip: None,
            trail: None,
        };
        let other = DrainRequest {
            node: Some("elsewhere".into()),
        };
        let refused = ops.drain(&actor, &other).await.unwrap_err();
        assert_eq!(refused.public_code(), "node_not_found");
        assert!(!ledger.is_drained());
        ops.drain(&actor, &DrainRequest::default()).await.unwrap();
        assert!(ledger.is_drained());
    }
}
