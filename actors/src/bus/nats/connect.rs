//! Connecting: who we are, whom we trust, how long a start waits, how a lost connection is sought again.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::StartError;

/// Oldest server that keeps what we ask it to keep: earlier ones drop options of streams without a word.
const OLDEST: (u64, u64) = (2, 11);
/// What a message may take at least: a value of a bucket with its headers.
const LEAST_PAYLOAD: usize = 1024 * 1024;
/// Pauses between two tries to connect, the shortest and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(4));
/// How often the server is asked whether it is there; after two unanswered ones the connection counts as lost.
const PING_EVERY: Duration = Duration::from_secs(3);
/// How long one try to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where NATS is, who we are, and what we want of it.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Servers, with commas between.
    pub url: String,
    /// What every stream and subject of ours begins with.
    pub prefix: String,
    /// Copies that JetStream keeps.
    pub replicas: usize,
    /// The most bytes of records that are kept, over all nodes; the oldest go first.
    pub records_max_bytes: u64,
    /// How long records are kept.
    pub records_max_age: Duration,
    /// The most bytes of objects that are kept.
    pub objects_max_bytes: u64,
    /// How we log in.
    pub login: Login,
    /// Certificates of authorities beside those of the system, a PEM file.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate and its key, PEM files.
    pub tls_client: Option<(PathBuf, PathBuf)>,
    /// How long a call of JetStream may take.
    pub request_timeout: Duration,
    /// How long a start waits for NATS.
    pub start_deadline: Duration,
    /// How NATS's own lists name this connection.
    pub name: String,
}

/// How a node logs in.
#[derive(Clone, Debug, Default)]
pub enum Login {
    /// As the URL says, or not at all.
    #[default]
    None,
    /// Name and password.
    User(String, SecretString),
    /// A token.
    Token(SecretString),
    /// A credentials file.
    Credentials(PathBuf),
    /// A file that holds the seed of an NKey.
    NKey(PathBuf),
}

impl NatsOptions {
    /// Plain options for these servers.
    pub fn new(url: impl Into<String>) -> NatsOptions {
        NatsOptions {
            url: url.into(),
            prefix: "grok2api".to_owned(),
            replicas: 1,
            records_max_bytes: 256 * 1024 * 1024,
            records_max_age: Duration::from_secs(14 * 24 * 60 * 60),
            objects_max_bytes: 512 * 1024 * 1024,
            login: Login::None,
            tls_ca: None,
            tls_client: None,
            request_timeout: Duration::from_secs(5),
            start_deadline: Duration::from_secs(15),
            name: "grok2api".to_owned(),
        }
    }
}

/// Connects, and refuses a server that cannot keep what we would give it.
pub(super) async fn connect(options: &NatsOptions) -> Result<Client, StartError> {
    let servers = servers(&options.url)?;
    let shown = shown(&servers);
    let deadline = Instant::now() + options.start_deadline;
    let (mut pause, mut said) = (PAUSES.0, false);
    let client = loop {
        let attempt = connect_options(options).await?.connect(servers.as_slice()).await;
        let error = match attempt {
            Ok(client) => break client,
            Err(error) => error,
        };
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                return Err(StartError(format!(
                    "NATS at {shown} refuses this login: check nats.user and nats.password, nats.token, nats.creds or nats.nkey"
                )));
            }
            kind if Instant::now() + pause > deadline
                && (kind == ConnectErrorKind::Tls || error.to_string().contains("certificate")) =>
            {
                return Err(StartError(format!(
                    "TLS with NATS at {shown} fails: {error}: check nats.tls_ca, nats.tls_cert and nats.tls_key"
                )));
            }
            _ if Instant::now() + pause > deadline => {
                return Err(StartError(format!(
                    "no NATS at {shown} within {} s: {error}: start it, or correct nats.url (NATS_URL); without it this node works alone",
                    options.start_deadline.as_secs()
                )));
            }
            _ => {}
        }
        if !said {
            said = true;
            tracing::warn!("no NATS at {shown} yet: {error}; this node waits for it");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    };
    let server = client.server_info();
    let refusal = if version_of(&server.version) < OLDEST {
        Some(format!(
            "NATS at {shown} is version {}, and {}.{} or newer is needed: upgrade nats-server",
            server.version, OLDEST.0, OLDEST.1
        ))
    } else if server.max_payload < LEAST_PAYLOAD {
        Some(format!(
            "NATS at {shown} takes messages of at most {} bytes, and {LEAST_PAYLOAD} are needed: raise max_payload",
            server.max_payload
        ))
    } else {
        None
    };
    match refusal {
        Some(refusal) => Err(StartError(refusal)),
        None => Ok(client),
    }
}

async fn connect_options(options: &NatsOptions) -> Result<ConnectOptions, StartError> {
    let mut connect = ConnectOptions::new()
        .name(&options.name)
        .ping_interval(PING_EVERY)
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(options.request_timeout))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| {
            let exponent = u32::try_from(attempt.min(8)).unwrap_or(8);
            let pause = (PAUSES.0 * 2u32.pow(exponent)).min(PAUSES.1);
            // Nodes that lost one server together do not come back together.
            pause.mul_f64(0.5 + fastrand::f64() / 2.0)
        })
        .event_callback(|event| async move {
            match event {
                Event::Connected => tracing::info!("connected to NATS"),
                Event::Disconnected => tracing::warn!("connection to NATS lost, seeking it again"),
                Event::SlowConsumer(id) => tracing::warn!(id, "a subscription is too slow for NATS, messages are lost"),
                Event::ServerError(error) => tracing::warn!(%error, "NATS complains"),
                Event::ClientError(error) => tracing::debug!(%error, "NATS client"),
                Event::LameDuckMode | Event::Draining | Event::Closed => tracing::info!(%event, "NATS"),
            }
        });
    let in_url = servers(&options.url)?
        .into_iter()
        .find(|server| server.username().is_some());
    connect = match &options.login {
        Login::None => match in_url {
            Some(server) => {
                let (user, password) = (server.username().unwrap_or(""), server.password().unwrap_or(""));
                connect.user_and_password(user.to_owned(), password.to_owned())
            }
            None => connect,
        },
        Login::User(user, password) => connect.user_and_password(user.clone(), password.expose_secret().to_owned()),
        Login::Token(token) => connect.token(token.expose_secret().to_owned()),
        Login::Credentials(path) => connect
            .credentials_file(path)
            .await
            .map_err(|error| StartError(format!("nats.creds: {}: {error}", path.display())))?,
        Login::NKey(path) => {
            let seed = tokio::fs::read_to_string(path).await;
            let seed = seed.map_err(|error| StartError(format!("nats.nkey: {}: {error}", path.display())))?;
            connect.nkey(seed.trim().to_owned())
        }
    };
    if let Some(ca) = &options.tls_ca {
        connect = connect.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &options.tls_client {
        connect = connect
            .add_client_certificate(certificate.clone(), key.clone())
            .require_tls(true);
    }
    Ok(connect)
}

fn servers(url: &str) -> Result<Vec<ServerAddr>, StartError> {
    let servers = url.split(',').map(str::trim).filter(|server| !server.is_empty());
    let servers = servers.map(|server| {
        server
            .parse::<ServerAddr>()
            .map_err(|error| StartError(format!("nats.url: one of the servers is not an address: {error}")))
    });
    let servers: Vec<ServerAddr> = servers.collect::<Result<_, _>>()?;
    if servers.is_empty() {
        return Err(StartError("nats.url names no server".to_owned()));
    }
    Ok(servers)
}

/// The servers of an address, for people: hosts and ports only.
pub fn shown_servers(url: &str) -> String {
    servers(url).map_or_else(|_| "nats.url".to_owned(), |servers| shown(&servers))
}

/// Hosts and ports only: an address may hold a password.
fn shown(servers: &[ServerAddr]) -> String {
    let shown = servers
        .iter()
        .map(|server| format!("{}:{}", server.host(), server.port()));
    shown.collect::<Vec<_>>().join(", ")
}

fn version_of(version: &str) -> (u64, u64) {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_passwords() {
        let servers = servers("nats://me:secret@10.0.0.1:4333, tls://b.example").unwrap();
        assert_eq!(shown(&servers), "10.0.0.1:4333, b.example:4222");
        assert!(super::servers(" , ").is_err());
        let refusal = super::servers("nats://me:secret@[bad").unwrap_err();
        assert!(!refusal.0.contains("secret"), "{refusal}");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version_of("2.9.10") < OLDEST);
        assert!(version_of("2.10.25") < OLDEST);
        assert!(version_of("2.11.0-beta.1") >= OLDEST);
        assert!(version_of("3.0.0") >= OLDEST);
        assert!(version_of("nonsense") < OLDEST);
    }
}
