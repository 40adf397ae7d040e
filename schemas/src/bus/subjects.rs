//! Every bucket, journal and subject name, once. On NATS they stand behind a configured prefix.

/// Buckets of the key-value store.
pub mod buckets {
    /// Token records, by token id (16 bytes).
    pub const TOKENS: &str = "tokens";
    /// Sealed token secrets, by token id (16 bytes).
    pub const SECRETS: &str = "secrets";
    /// Client key records, by key id (16 bytes).
    pub const KEYS: &str = "keys";
    /// Team records (domain facts and cooling), by team id.
    pub const TEAMS: &str = "teams";
    /// Admin users and sessions.
    pub const ADMIN: &str = "admin";
    /// Upstream object id → token and client key.
    pub const BINDINGS: &str = "bindings";
    /// Cluster-wide facts: fingerprints, first-start marks.
    pub const CLUSTER: &str = "cluster";
    /// Every bucket, for creation and checks.
    pub const ALL: [&str; 7] = [TOKENS, SECRETS, KEYS, TEAMS, ADMIN, BINDINGS, CLUSTER];
}

/// How many slices all quota domains are cut into, each with its own journal (`ledger.md` §1).
pub const SHARDS: u16 = 16;

/// Subjects for messages between nodes and to watchers.
pub mod events {
    /// A token or team changed state: cooled, recovered, exhausted, expired, disabled, updated.
    pub const TOKEN: &str = "event.token";
    /// A client key changed.
    pub const KEY: &str = "event.key";
    /// The configuration changed.
    pub const CONFIG: &str = "event.config";
    /// An admin session was opened or ended.
    pub const SESSION: &str = "event.session";
}

/// Requests that any node answers.
pub mod requests {
    /// A joining node asks for the cluster's key.
    pub const KEY: &str = "cluster.key";
}
