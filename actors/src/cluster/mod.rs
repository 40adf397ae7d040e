//! Who is in the cluster, and who should decide for what. Heartbeats over the bus; a pure view of them ([`view`], with
//! [`assign`] and [`clocks`]); a thin actor around it ([`actor`]); snapshots that others read without waiting.
//!
//! Nothing here is needed for safety: that rests on the appends of the shards' owners alone.

mod actor;
mod assign;
mod clocks;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix_rt::ArbiterHandle;
use arc_swap::ArcSwap;
use grok2api_schemas::bus::subjects::nodes;
use grok2api_schemas::cluster::{Beat, NodeLoad, ShardClaim};
use grok2api_schemas::ids::SessionId;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::actor::{MembershipActor, Speak};
pub use self::view::{BEAT, NodeStatus, SILENT_MS, Snapshot};
use crate::bus::{BusHandle, codec};
use crate::clock::Clock;
use crate::ledger::Moment;
use crate::supervise::Supervised;

/// Messages that may wait for the actor; beats of more nodes than a cluster has.
const MAILBOX: usize = 1_024;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    /// Its name, a label.
    pub node: String,
    /// This life of it.
    pub session: SessionId,
    /// The program's version.
    pub version: String,
    /// Where other nodes reach it over HTTP.
    pub advertise_url: String,
    /// ε, milliseconds.
    pub max_clock_skew_ms: u64,
}

/// The subject on which a session is asked.
pub fn ask_subject(session: SessionId) -> String {
    format!("{}.{session}", nodes::ASK)
}

/// The cluster as this node sees it. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
    actor: Option<Supervised<MembershipActor>>,
}

/// Figures of the node's load, read when it says that it lives.
type LoadSource = Box<dyn Fn() -> NodeLoad + Send + Sync>;

/// What the actor and the handle share.
struct Shared {
    identity: NodeIdentity,
    bus: Option<BusHandle>,
    clock: Clock,
    started_ms: u64,
    number: AtomicU64,
    draining: AtomicBool,
    left: AtomicBool,
    claims: Mutex<Vec<ShardClaim>>,
    load: OnceLock<LoadSource>,
    snapshot: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({}, {} nodes)", self.me(), self.snapshot().nodes.len())
    }
}

impl Membership {
    /// The membership of a node that is alone with its store.
    pub fn alone(session: SessionId, clock: Clock) -> Membership {
        let identity = NodeIdentity {
            node: String::new(),
            session,
            version: String::new(),
            advertise_url: String::new(),
            max_clock_skew_ms: 0,
        };
        Membership::of_one(identity, clock)
    }

    /// The same, of a node with a name.
    pub fn of_one(identity: NodeIdentity, clock: Clock) -> Membership {
        Membership {
            shared: Arc::new(Shared::new(identity, None, clock)),
            actor: None,
        }
    }

    /// Starts to speak and to listen. Nothing is decided before it has listened for a while.
    pub fn start(identity: NodeIdentity, bus: BusHandle, clock: Clock, arbiter: ArbiterHandle) -> Membership {
        let shared = Arc::new(Shared::new(identity, Some(bus), clock.clone()));
        let built = shared.clone();
        let actor = Supervised::start("cluster", arbiter, MAILBOX, clock, move || {
            MembershipActor::new(built.clone())
        });
        Membership {
            shared,
            actor: Some(actor),
        }
    }

    /// The clock by which silence is measured.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Whether there are or may be other nodes.
    pub fn is_clustered(&self) -> bool {
        self.actor.is_some()
    }

    /// Who this node is.
    pub fn identity(&self) -> &NodeIdentity {
        &self.shared.identity
    }

    /// This node's session.
    pub fn me(&self) -> SessionId {
        self.shared.identity.session
    }

    /// The name of a session's node; the session itself where none is heard any more.
    pub fn name_of(&self, session: SessionId) -> String {
        let snapshot = self.snapshot();
        let node = snapshot.nodes.iter().find(|node| node.beat.session == session);
        match node {
            Some(node) => node.beat.node.clone(),
            None if session == self.me() => self.identity().node.clone(),
            None => session.to_string(),
        }
    }

    /// The sessions of the other nodes that live.
    pub fn others(&self) -> Vec<SessionId> {
        let snapshot = self.snapshot();
        let others = snapshot.nodes.iter().filter(|node| node.live);
        let sessions = others.map(|node| node.beat.session);
        sessions.filter(|session| *session != snapshot.me).collect()
    }

    /// Everything that is known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Every node that was heard lately, this one included.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.snapshot().nodes.clone()
    }

    /// Who should decide for a shard.
    pub fn owner_of(&self, shard: u16) -> Option<SessionId> {
        self.shared.snapshot.load().named(shard)
    }

    /// How many nodes share the quotas.
    pub fn live(&self) -> usize {
        self.shared.snapshot.load().live
    }

    /// What this node would say of itself now.
    pub fn own_beat(&self) -> Beat {
        self.shared.own_beat()
    }

    /// Changes whenever something does that others act on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// What this node decides for, as the others should know it; `now` says it at once.
    pub(crate) fn claim(&self, claims: Vec<ShardClaim>, now: bool) {
        *self.shared.claims.lock() = claims;
        if now {
            self.speak();
        }
    }

    /// Where figures of the node's load come from.
    pub fn measure_load(&self, source: impl Fn() -> NodeLoad + Send + Sync + 'static) {
        // The first one stays.
        let _ = self.shared.load.set(Box::new(source));
    }

    /// This node takes nothing new and hands over what it has.
    pub fn drain(&self) {
        if !self.shared.draining.swap(true, Ordering::AcqRel) {
            self.speak();
        }
    }

    /// Whether it does.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }

    /// The node's last word: the others need not wait for its silence.
    pub fn leave(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.claims.lock().clear();
        if !self.shared.left.swap(true, Ordering::AcqRel) {
            self.shared.publish();
        }
    }

    /// The node falls silent without a word, as if killed. For tests.
    #[cfg(test)]
    pub(crate) fn die(&self) {
        self.shared.left.store(true, Ordering::Release);
    }

    fn speak(&self) {
        if let Some(actor) = &self.actor {
            // A full mailbox speaks soon anyway.
            let _ = actor.mailbox().offer(Speak);
        }
    }
}

impl Shared {
    fn new(identity: NodeIdentity, bus: Option<BusHandle>, clock: Clock) -> Shared {
        let mut snapshot = Snapshot::alone(identity.session);
        if bus.is_some() {
            snapshot.named.fill(None);
            snapshot.connected = false;
            snapshot.settled = false;
        }
        Shared {
            started_ms: clock.wall().0,
            identity,
            bus,
            clock,
            number: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            left: AtomicBool::new(false),
            claims: Mutex::default(),
            load: OnceLock::new(),
            snapshot: ArcSwap::from_pointee(snapshot),
            version: watch::Sender::new(0),
        }
    }

    /// What this node says of itself.
    fn own_beat(&self) -> Beat {
        let snapshot = self.snapshot.load();
        Beat {
            session: self.identity.session,
            node: self.identity.node.clone(),
            number: self.number.load(Ordering::Acquire),
            version: self.identity.version.clone(),
            advertise_url: self.identity.advertise_url.clone(),
            wall_ms: self.clock.wall().0,
            started_ms: self.started_ms,
            may_own: snapshot.objection.is_none(),
            draining: self.draining.load(Ordering::Acquire),
            leaving: self.left.load(Ordering::Acquire),
            shards: self.claims.lock().clone(),
            load: self.load.get().map(|source| source()).unwrap_or_default(),
        }
    }

    /// Says it; answers under which number.
    fn publish(&self) -> Option<u64> {
        let bus = self.bus.as_ref()?;
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        match codec::encode(codec::VERSION, &self.own_beat()) {
            Ok(payload) => bus.publish(nodes::BEAT, payload),
            Err(error) => tracing::error!(%error, "a beat does not encode"),
        }
        Some(number)
    }

    /// Takes a new snapshot over; tells whoever waits if it differs.
    fn show(&self, snapshot: Snapshot) {
        let differs = snapshot.differs(&self.snapshot.load());
        self.snapshot.store(Arc::new(snapshot));
        if differs {
            self.version.send_modify(|version| *version += 1);
        }
    }

    fn moment(&self) -> Moment {
        Moment::now(&self.clock)
    }
}
