//! The bus this node runs on: NATS where its address is set, its own store where not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::bus::BusHandle;
use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::bus::nats::{Login, NatsBus, NatsOptions};
use grok2api_actors::clock::Clock;
use grok2api_actors::store::Store;
use grok2api_schemas::config::Config;
use secrecy::SecretString;

use super::build::BuildError;

const MIB: u64 = 1024 * 1024;

/// The bus, and the same as what it is where NATS carries it.
pub(super) struct OpenBus {
    pub bus: BusHandle,
    pub nats: Option<Arc<NatsBus>>,
}

/// How long a start waits for NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// As long as it is configured to.
    ToStart,
    /// Until it is there.
    ForEver,
}

/// Nobody waits for longer.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(super) async fn open(config: &Config, wait: Wait, store: &Store, clock: &Clock) -> Result<OpenBus, BuildError> {
    if config.nats.url.is_empty() {
        return Ok(OpenBus {
            bus: LocalBus::new(store.clone(), clock.clone()),
            nats: None,
        });
    }
    let mut options = options(config);
    if wait == Wait::ForEver {
        options.start_deadline = FOR_EVER;
    }
    let nats = NatsBus::start(options)
        .await
        .map_err(|error| BuildError(error.to_string()))?;
    Ok(OpenBus {
        bus: nats.clone(),
        nats: Some(nats),
    })
}

fn options(whole: &Config) -> NatsOptions {
    let config = &whole.nats;
    let file = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
    let secret = |text: &str| SecretString::from(text.to_owned());
    let login = if !config.user.is_empty() {
        Login::User(config.user.clone(), secret(config.password.expose()))
    } else if !config.token.expose().is_empty() {
        Login::Token(secret(config.token.expose()))
    } else if let Some(path) = file(&config.creds) {
        Login::Credentials(path)
    } else if let Some(path) = file(&config.nkey) {
        Login::NKey(path)
    } else {
        Login::None
    };
    NatsOptions {
        prefix: config.prefix.clone(),
        replicas: config.replicas,
        records_max_bytes: config.request_log_max_mb * MIB,
        records_max_age: Duration::from_secs(u64::from(whole.telemetry.request_log_days) * 24 * 60 * 60),
        objects_max_bytes: config.media_max_mb * MIB,
        login,
        tls_ca: file(&config.tls_ca),
        tls_client: file(&config.tls_cert).zip(file(&config.tls_key)),
        request_timeout: Duration::from_secs(config.request_timeout_secs),
        start_deadline: Duration::from_secs(config.start_deadline_secs),
        ..NatsOptions::new(config.url.as_str())
    }
}
