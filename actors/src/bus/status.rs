//! How the bus stands, for the cluster's page and its metrics.

use serde::Serialize;

/// How the bus stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BusStatus {
    /// `local` or `nats`.
    pub kind: &'static str,
    /// Whether there is a connection at the moment.
    pub connected: bool,
    /// The server we are connected to.
    pub server: String,
    /// Its version.
    pub version: String,
    /// A round trip to it, in microseconds; `None` if it does not answer.
    pub rtt_us: Option<u64>,
    /// How often the connection was made anew.
    pub reconnects: u64,
    /// Publications that were not sent, and messages that a subscriber was too slow for.
    pub dropped_messages: u64,
    /// Streams and how their replicas keep up.
    pub streams: Vec<StreamStatus>,
}

/// How a stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Messages in it.
    pub messages: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Its last sequence.
    pub last_sequence: u64,
    /// Copies that are wanted.
    pub replicas: usize,
    /// The server that leads it; empty where there is one only, or none at the moment.
    pub leader: String,
    /// The other copies.
    pub followers: Vec<FollowerStatus>,
    /// Why it cannot be asked.
    pub error: Option<String>,
}

/// How a copy of a stream keeps up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FollowerStatus {
    /// The server it is on.
    pub name: String,
    /// Whether it has everything.
    pub current: bool,
    /// Whether the server is away.
    pub offline: bool,
    /// Operations it lacks.
    pub lag: u64,
    /// When it was last heard of, in milliseconds before now.
    pub heard_ms: u64,
}
