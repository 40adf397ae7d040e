//! Which other nodes come and go, in the log: a killed node cannot say it itself.

use std::collections::BTreeMap;

use grok2api_actors::cluster::NodeStatus;
use grok2api_schemas::ids::SessionId;

/// The other nodes that live, as far as this one has said.
#[derive(Default)]
pub(super) struct Peers(BTreeMap<SessionId, Peer>);

struct Peer {
    name: String,
    /// It has said that it goes.
    goes: bool,
}

/// What became of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Came(String),
    /// It drained, and said so.
    Left(String),
    /// It was not heard for longer than nodes may be silent.
    Silent(String),
}

impl Peers {
    /// What has changed since the last look. Not to be asked by a node that hears nobody.
    pub(super) fn changes(&mut self, me: SessionId, nodes: &[NodeStatus]) -> Vec<Change> {
        let others = || nodes.iter().filter(|node| node.beat.session != me);
        let mut changes = Vec::new();
        for node in others().filter(|node| node.live) {
            let peer = self.0.entry(node.beat.session).or_insert_with(|| {
                changes.push(Change::Came(node.beat.node.clone()));
                Peer {
                    name: node.beat.node.clone(),
                    goes: false,
                }
            });
            peer.goes |= node.beat.draining || node.beat.leaving;
        }
        self.0.retain(|session, peer| {
            let known = others().find(|node| node.beat.session == *session);
            let goes = peer.goes || known.is_some_and(|node| node.beat.draining || node.beat.leaving);
            let is_live = known.is_some_and(|node| node.live);
            if !is_live {
                let name = peer.name.clone();
                changes.push(if goes { Change::Left(name) } else { Change::Silent(name) });
            }
            is_live
        });
        changes
    }
}

impl Change {
    /// For the operator.
    pub(super) fn tell(&self) {
        match self {
            Change::Came(node) => tracing::info!(node, "another node takes part"),
            Change::Left(node) => tracing::info!(node, "another node has drained and left"),
            Change::Silent(node) => tracing::warn!(
                node,
                "another node is silent: it was killed or is cut off; others decide for its shards now"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use grok2api_schemas::cluster::{Beat, NodeLoad};

    use super::*;

    fn node(session: SessionId, name: &str, live: bool, draining: bool) -> NodeStatus {
        NodeStatus {
            beat: Beat {
                session,
                node: name.to_owned(),
                number: 1,
                version: String::new(),
                advertise_url: String::new(),
                wall_ms: 0,
                started_ms: 0,
                may_own: true,
                draining,
                leaving: false,
                shards: Vec::new(),
                load: NodeLoad::default(),
            },
            heard_ms_ago: 0,
            clock_ahead_ms: 0,
            live,
        }
    }

    #[test]
    fn each_node_is_told_of_once_when_it_comes_and_once_when_it_is_gone() {
        let [me, killed, drained] = std::array::from_fn(|_| SessionId::generate());
        let own = node(me, "me", true, false);
        let (came, left, silent) = (
            |name: &str| Change::Came(name.to_owned()),
            |name: &str| Change::Left(name.to_owned()),
            |name: &str| Change::Silent(name.to_owned()),
        );
        let mut peers = Peers::default();
        let both = [
            own.clone(),
            node(killed, "a", true, false),
            node(drained, "b", true, false),
        ];
        assert_eq!(peers.changes(me, &both), [came("a"), came("b")]);
        assert_eq!(peers.changes(me, &both), []);
        let draining = [
            own.clone(),
            node(killed, "a", true, false),
            node(drained, "b", true, true),
        ];
        assert_eq!(peers.changes(me, &draining), []);
        let one = [own.clone(), node(killed, "a", true, false)];
        assert_eq!(
            peers.changes(me, &one),
            [left("b")],
            "it had said so, though it is not listed any more"
        );
        let none = [own, node(killed, "a", false, false)];
        assert_eq!(peers.changes(me, &none), [silent("a")]);
        assert_eq!(peers.changes(me, &none), []);
    }
}
