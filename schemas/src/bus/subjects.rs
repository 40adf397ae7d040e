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
    /// Which node fetches an object of the upstream, by a hash of the object.
    pub const MEDIA: &str = "media";
    /// Registration jobs and their items.
    pub const JOBS: &str = "jobs";
    /// What administrators did.
    pub const AUDIT: &str = "audit";
    /// Every bucket, for creation and checks.
    pub const ALL: [&str; 10] = [
        TOKENS, SECRETS, KEYS, TEAMS, ADMIN, BINDINGS, CLUSTER, MEDIA, JOBS, AUDIT,
    ];
}

/// Names of JetStream streams and of the subjects they take, behind the configured prefix. Few streams, because each one
/// with replicas is a raft group that sends heartbeats.
pub mod streams {
    /// One key-value bucket, named like the prefix, holds every bucket: keys are `<bucket>.<key>`.
    pub const KV: &str = "KV_";
    /// What the subjects of a key-value bucket start with.
    pub const KV_SUBJECTS: &str = "$KV.";
    /// Journals of all shards; also the subject, with the shard behind it.
    pub const JOURNAL: &str = "journal";
    /// Batches of the request log's records; also the subject.
    pub const RECORDS: &str = "records";
    /// The object store, named like the prefix; made when the first object comes.
    pub const OBJECTS: &str = "OBJ_";
}

/// How many slices all quota domains are cut into, each with its own journal (`ledger.md` §1).
pub const SHARDS: u16 = 16;

/// What happened: JSON for watchers (`schemas/asyncapi.json`), and what nodes tell each other in their own codec.
pub mod events {
    /// A token or team changed state: cooled, recovered, exhausted, expired, disabled, updated.
    pub const TOKEN: &str = "event.token";
    /// A client key changed: for watchers.
    pub const KEY_CHANGED: &str = "event.key";
    /// The same between nodes: the record.
    pub const KEY: &str = "sync.key";
    /// The configuration changed: for watchers.
    pub const CONFIG_CHANGED: &str = "event.config";
    /// The same between nodes: its revision.
    pub const CONFIG: &str = "sync.config";
    /// A registration job went on: for watchers.
    pub const JOB: &str = "event.job";
    /// The same between nodes: its record.
    pub const JOB_RECORD: &str = "sync.job";
    /// An admin session was opened or ended.
    pub const SESSION: &str = "sync.session";
    /// Somebody tries to log in.
    pub const LOGIN: &str = "sync.login";
    /// Conversations were bound to tokens, or are no more.
    pub const AFFINITY: &str = "sync.affinity";
}

/// Requests that any node answers.
pub mod requests {
    /// A joining node asks for the cluster's key.
    pub const KEY: &str = "cluster.key";
}

/// Subjects of the admin service: anybody whom NATS lets publish there is an administrator. What stands behind the first
/// dot is the operation's name, also in documents and on the command line.
pub mod admin {
    /// The micro-service's name, as `nats micro ls` shows it.
    pub const SERVICE: &str = "grok2api-admin";
    /// Nodes of a cluster answer in turn.
    pub const QUEUE: &str = "admin";

    /// What an administrator's credentials must be allowed to publish to (behind the prefix) and, for `nats micro`, as it
    /// is. Nodes must be allowed to subscribe to both.
    pub const ALL: &str = "admin.>";
    /// The micro protocol's own subjects: these have no prefix.
    pub const MICRO: &str = "$SRV.>";

    /// Lists upstream credentials.
    pub const TOKENS_LIST: &str = "admin.tokens.list";
    /// Shows one.
    pub const TOKENS_GET: &str = "admin.tokens.get";
    /// Adds one.
    pub const TOKENS_ADD: &str = "admin.tokens.add";
    /// Changes one.
    pub const TOKENS_PATCH: &str = "admin.tokens.patch";
    /// Deletes some.
    pub const TOKENS_DELETE: &str = "admin.tokens.delete";
    /// Asks the upstream about some.
    pub const TOKENS_REFRESH: &str = "admin.tokens.refresh";
    /// Ends rests.
    pub const TOKENS_CLEAR_COOLING: &str = "admin.tokens.clear-cooling";
    /// Adds many.
    pub const TOKENS_IMPORT: &str = "admin.tokens.import";
    /// Gives secrets out, sealed.
    pub const TOKENS_EXPORT: &str = "admin.tokens.export";
    /// Shows how much of its meters is used.
    pub const TOKENS_QUOTAS: &str = "admin.tokens.quotas";
    /// Shows what some served in the last hour.
    pub const TOKENS_ACTIVITY: &str = "admin.tokens.activity";
    /// Shows what happened to one.
    pub const TOKENS_HISTORY: &str = "admin.tokens.history";
    /// Lists client keys.
    pub const KEYS_LIST: &str = "admin.keys.list";
    /// Shows one.
    pub const KEYS_GET: &str = "admin.keys.get";
    /// Makes one.
    pub const KEYS_CREATE: &str = "admin.keys.create";
    /// Changes one.
    pub const KEYS_UPDATE: &str = "admin.keys.update";
    /// Deletes one.
    pub const KEYS_DELETE: &str = "admin.keys.delete";
    /// Gives one a new secret.
    pub const KEYS_ROTATE: &str = "admin.keys.rotate";
    /// Lists requests.
    pub const REQUESTS_LIST: &str = "admin.requests.list";
    /// Shows one with its decision record.
    pub const REQUESTS_GET: &str = "admin.requests.get";
    /// Shows sums by hour and day.
    pub const REQUESTS_ROLLUPS: &str = "admin.requests.rollups";
    /// Shows the configuration.
    pub const CONFIG_GET: &str = "admin.config.get";
    /// Changes keys of it.
    pub const CONFIG_SET: &str = "admin.config.set";

    /// Lists what is bound to which token.
    pub const AFFINITY_LIST: &str = "admin.affinity.list";
    /// Unbinds conversations.
    pub const AFFINITY_CLEAR: &str = "admin.affinity.clear";

    /// Shows how many images and videos a node keeps.
    pub const CACHE_STATUS: &str = "admin.cache.status";
    /// Lists them.
    pub const CACHE_LIST: &str = "admin.cache.list";
    /// Removes all of a kind.
    pub const CACHE_CLEAR: &str = "admin.cache.clear";
    /// Removes one.
    pub const CACHE_DELETE: &str = "admin.cache.delete";
    /// Lists what a provider keeps for one of its teams.
    pub const CACHE_ONLINE: &str = "admin.cache.online";
    /// Deletes some of it there.
    pub const CACHE_ONLINE_DELETE: &str = "admin.cache.online-delete";
    /// Lists registration jobs.
    pub const JOBS_LIST: &str = "admin.jobs.list";
    /// Shows one with its items.
    pub const JOBS_GET: &str = "admin.jobs.get";
    /// Starts one.
    pub const JOBS_START: &str = "admin.jobs.start";
    /// Lets one rest.
    pub const JOBS_PAUSE: &str = "admin.jobs.pause";
    /// Lets one go on.
    pub const JOBS_RESUME: &str = "admin.jobs.resume";
    /// Ends one.
    pub const JOBS_STOP: &str = "admin.jobs.stop";

    /// Lists accounts.
    pub const USERS_LIST: &str = "admin.users.list";
    /// Makes one.
    pub const USERS_ADD: &str = "admin.users.add";
    /// Changes one.
    pub const USERS_PATCH: &str = "admin.users.patch";
    /// Deletes one.
    pub const USERS_DELETE: &str = "admin.users.delete";
    /// Lists what administrators did.
    pub const AUDIT_LIST: &str = "admin.audit.list";

    /// Lists log files.
    pub const LOGS_FILES: &str = "admin.logs.files";
    /// Shows the end of one.
    pub const LOGS_TAIL: &str = "admin.logs.tail";

    /// Shows nodes, shards and the bus.
    pub const CLUSTER_STATUS: &str = "admin.cluster.status";
    /// Makes a node hand over and end.
    pub const CLUSTER_DRAIN: &str = "admin.cluster.drain";

    /// An operation's name: its subject without what all of them begin with.
    pub fn name_of(subject: &str) -> &str {
        subject.split_once('.').map_or(subject, |(_, name)| name)
    }
}

/// Subjects on which nodes speak to each other.
pub mod nodes {
    /// Every node says here that it lives.
    pub const BEAT: &str = "node.beat";
    /// Requests to one node; its session follows after a dot.
    pub const ASK: &str = "node.ask";
    /// Somebody watches log lines: nodes that hear it tell theirs for a while.
    pub const LOGS_WANTED: &str = "node.logs.wanted";
    /// Lines that a node wrote.
    pub const LOGS: &str = "node.logs";
    /// Somebody wants to see a node's log files; its session follows after a dot.
    pub const LOGS_ASK: &str = "node.logs.ask";
    /// Somebody wants to see or remove the images and videos of a node; its session follows after a dot.
    pub const CACHE_ASK: &str = "node.cache.ask";
    /// Somebody wants to know what happened to a token; a node's session follows after a dot.
    pub const HISTORY_ASK: &str = "node.history.ask";
    /// A node that came late wants the sums of hours that it did not see; the session of whom it asks follows after a dot.
    pub const SUMS_ASK: &str = "node.sums.ask";
    /// Somebody wants a piece of a file of media: nodes that have it answer.
    pub const MEDIA_ASK: &str = "node.media.ask";
}
