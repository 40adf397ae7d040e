//! What the gateway is to those who reach it: names, passwords, addresses, limits at the door.

use super::spec::*;

choice! {
    /// How generated images are handed out where the request does not say.
    pub enum ImageFormat {
        /// As a link to this gateway.
        Url = "url",
        /// Inline, as a data URL.
        Base64 = "base64",
        /// Inline, in OpenAI's field of that name.
        B64Json = "b64_json",
    }
}

/// What the older project wrote into every file as `app.app_url`; it counts as not set.
pub const OLDER_DEFAULT_APP_URL: &str = "http://127.0.0.1:8000";

section! {
    /// Names, passwords and links.
    pub struct AppConfig in "app" {
        /// Public address that links to files start with, such as `https://ai.example.org`. Not set: taken from the request's Host.
        app_url: (text HttpUrl) = "";
        /// Name of the administrator.
        admin_username: (text Any) = "admin";
        /// Password of the administrator. Not set: one is generated at the first start, printed once and stored hashed.
        app_key: (secret) = "";
        /// A client key for /v1 beside those in the store, exempt from quotas. It opens no admin route.
        api_key: (secret) = "";
        /// How images are handed out where the request does not say: a link (url) or inline (base64, b64_json).
        image_format: (choice ImageFormat) = "url";
        /// Kept from the older project, where it had no effect either: videos are handed out as links.
        video_format: (text Any) = "url";
    }
}

section! {
    /// The door: where to listen and what to let in.
    pub struct ServerConfig in "server" {
        /// Address to listen on.
        host: (text Host) = "0.0.0.0" [restart local env "SERVER_HOST"];
        /// Port to listen on; 0 takes any free one and prints it.
        port: (int u16 0..=65535) = 8000 [restart local env "SERVER_PORT"];
        /// Largest request body, in MiB.
        max_body_mb: (int u64 1..=1024) = 32;
        /// How long a client may take to send the head of a request, in seconds.
        header_read_timeout_secs: (int u64 1..=600) = 10 [restart];
        /// Connections at a time; 0 derives the number from the limit on open files.
        max_connections: (int u64 0..=1000000) = 0 [restart local];
        /// How long /readyz is red before the listener closes at shutdown, in seconds. Not set: 5 with NATS, 0 alone.
        drain_delay_secs: (maybe int u64 0..=600) = unset [restart];
        /// How long running answers may go on at shutdown, in seconds.
        grace_secs: (int u64 0..=86400) = 300 [restart];
        /// Addresses and networks of proxies whose X-Forwarded-* headers are believed, such as ["10.0.0.0/8"].
        trusted_proxies: (texts Network) = [] [restart local];
        /// Certificate chain, a PEM file. Set together with tls_key, the listener speaks TLS.
        tls_cert: (text Any) = "" [restart local];
        /// Private key of the certificate, a PEM file.
        tls_key: (text Any) = "" [restart local];
        /// An idle stream gets a comment this often so that nothing on the way cuts it, in seconds; 0 sends none.
        keep_alive_secs: (int u64 0..=3600) = 15;
    }
}

section! {
    /// Sessions, secrets and who gets in.
    pub struct SecurityConfig in "security" {
        /// Encrypts stored credentials: at least 16 characters, or 64 hexadecimal digits. Not set: generated into `<data-dir>/master.key` (mode 0600).
        master_key: (secret) = "" [restart local];
        /// Lets everybody use /v1 without a key. Leave it off unless nobody else can reach this address.
        allow_anonymous: (flag) = false;
        /// Links to images and videos are signed and end; otherwise whoever has the link can read the file until it is removed.
        signed_media: (flag) = false;
        /// How long a signed link is good, in seconds.
        signed_media_secs: (int u64 60..=31536000) = 86400;
        /// Addresses and networks that are fetched from for clients although they are not public, such as a store of pictures of your own.
        fetch_private: (texts Network) = [];
        /// How long a login of the admin panel lasts, in hours.
        session_hours: (int u64 1..=8760) = 8;
        /// Failed logins for one name from one address before more have to wait; twice as many from one address with any name. They count together on all nodes.
        login_max_failures: (int u32 1..=1000) = 10;
        /// Longest such wait, in seconds; it begins with 1 s and doubles. Failures are forgotten after three times as long without one.
        login_window_secs: (int u64 10..=86400) = 300;
    }
}

choice! {
    /// How log lines look on stdout.
    pub enum LogFormat {
        /// Pretty on a terminal, JSON otherwise.
        Auto = "auto",
        /// For people.
        Pretty = "pretty",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    /// Logs, the request log and metrics.
    pub struct TelemetryConfig in "telemetry" {
        /// error, warn, info, debug or trace; or directives such as "info,grok2api=debug".
        log_level: (text LogLevel) = "info" [env "LOG_LEVEL"];
        /// How log lines look on stdout: auto (pretty on a terminal, JSON otherwise), pretty or json.
        log_format: (choice LogFormat) = "auto" [restart local];
        /// Days that log files in `<data-dir>/logs` are kept.
        log_retention_days: (int u32 1..=3650) = 14 [restart local];
        /// Largest size of the request log in the store, in MiB; the oldest records go first.
        request_log_max_mb: (int u64 1..=1048576) = 256;
        /// Days that records of the request log are kept.
        request_log_days: (int u32 1..=3650) = 14;
    }
}

choice! {
    /// Who may join the cluster.
    pub enum Join {
        /// Whoever can log in to NATS.
        Open = "open",
        /// Whoever brings the master key.
        Key = "key",
    }
}

section! {
    /// NATS, for several nodes that act as one.
    pub struct NatsConfig in "nats" {
        /// Server, such as `nats://127.0.0.1:4222`; several with commas. Not set: this node works alone.
        url: (text NatsUrl) = "" [restart local env "NATS_URL"];
        /// Who may join: open (whoever can log in to NATS is handed the cluster's key) or key (only nodes that bring security.master_key).
        join: (choice Join) = "open" [restart local];
        /// What every stream and subject begins with: letters, digits, - and _. Two clusters on one NATS have two.
        prefix: (text Any) = "grok2api" [restart local];
        /// Copies of everything that JetStream keeps: 3 on three servers or more.
        replicas: (int usize 1..=5) = 1 [restart local];
        /// User to log in as, with nats.password.
        user: (text Any) = "" [restart local];
        /// Password of that user.
        password: (secret) = "" [restart local];
        /// Token to log in with.
        token: (secret) = "" [restart local];
        /// Credentials file (JWT and seed) to log in with.
        creds: (text Any) = "" [restart local];
        /// File with the seed of an NKey to log in with.
        nkey: (text Any) = "" [restart local];
        /// Certificates of the authorities that NATS's certificate may be signed by, a PEM file. Not set: those of the system.
        tls_ca: (text Any) = "" [restart local];
        /// Certificate to show to NATS, a PEM file, with nats.tls_key.
        tls_cert: (text Any) = "" [restart local];
        /// Private key of that certificate, a PEM file.
        tls_key: (text Any) = "" [restart local];
        /// Largest size of the request log of all nodes in NATS, in MiB, set when it is made; the oldest records go first.
        request_log_max_mb: (int u64 1..=1048576) = 256 [restart local];
        /// Largest size of media that nodes share through NATS, in MiB, set when the first is put there.
        media_max_mb: (int u64 1..=1048576) = 512 [restart local];
        /// How long a read or write of NATS may take, in seconds.
        request_timeout_secs: (int u64 1..=60) = 5 [restart local];
        /// How long a start waits for NATS, in seconds.
        start_deadline_secs: (int u64 1..=3600) = 15 [restart local];
    }
}

section! {
    /// What the nodes of a cluster must agree on.
    pub struct ClusterConfig in "cluster" {
        /// Name of this node, a label. Not set: the machine's host name.
        node_id: (text Any) = "" [restart local];
        /// Where other nodes reach this one over HTTP, such as `http://10.0.0.7:8000`. Not set: the host it listens on, else its name, and the port.
        advertise_url: (text HttpUrl) = "" [restart local];
        /// How far the clocks of nodes may be apart, in seconds; charges of an earlier process are released that much later.
        max_clock_skew_secs: (int u64 0..=300) = 5 [restart];
        /// Version of the records and messages that nodes write. Raise it when every node runs a version that knows the higher one, and not before: one that does not is refused at its next start.
        codec_version: (int u8 1..=2) = 1;
    }
}
