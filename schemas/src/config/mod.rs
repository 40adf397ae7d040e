//! The configuration, typed. Every key is declared once (see [`spec`]); reading files and the environment is the work of
//! the program's `settings`.

pub mod clients;
pub mod dropped;
pub mod example;
pub mod limits;
pub mod models;
pub mod pool;
pub mod secret;
pub mod service;
pub mod spec;
pub mod upstream;

pub use clients::{ClientsConfig, OnDisconnect};
pub use limits::{Cool, Limits, Rule, TeamConfig, glob_matches};
pub use models::{ModelEntry, ModelKind, RetiredModel};
pub use pool::{CacheConfig, JobsConfig, PerformanceConfig, RegisterConfig, TokenConfig};
pub use secret::Secret;
pub use service::{
    AppConfig, ClusterConfig, ImageFormat, Join, LogFormat, NatsConfig, SecurityConfig, ServerConfig, TelemetryConfig,
};
pub use spec::{KeySpec, Kind, SectionSpec};
pub use upstream::{GrokConfig, ImageMethod, XaiConfig};

/// What `config_version` says in files that this program writes. A file without it may be the older project's.
pub const CONFIG_VERSION: i64 = 1;

macro_rules! config {
    ($($(#[doc = $doc:literal])+ $name:ident: $section:ident,)*) => {
        /// Everything that can be configured.
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $section,)*
        }

        /// Every section, in the order the example file shows them.
        pub const SECTIONS: &[SectionSpec] = &[$($section::SECTION),*];
    };
}

config! {
    /// Names, passwords and links.
    app: AppConfig,
    /// The door.
    server: ServerConfig,
    /// Sessions and secrets.
    security: SecurityConfig,
    /// Requests of clients.
    clients: ClientsConfig,
    /// The official API.
    xai: XaiConfig,
    /// Keys of the older project: web sessions, and how often to try.
    grok: GrokConfig,
    /// Tokens.
    token: TokenConfig,
    /// Files.
    cache: CacheConfig,
    /// How much is done at a time.
    performance: PerformanceConfig,
    /// Jobs that add credentials in bulk.
    register: RegisterConfig,
    /// Where jobs have credentials from.
    jobs: JobsConfig,
    /// Logs and the request log.
    telemetry: TelemetryConfig,
    /// Several nodes.
    nats: NatsConfig,
    /// What nodes agree on.
    cluster: ClusterConfig,
}

impl Config {
    /// Attempts per request, the first included: `xai.max_attempts`, else `grok.max_retry`.
    pub fn max_attempts(&self) -> u32 {
        self.xai.max_attempts.unwrap_or(self.grok.max_retry)
    }

    /// `server.drain_delay_secs`, else 5 with NATS and 0 alone.
    pub fn drain_delay_secs(&self) -> u64 {
        let unset = if self.nats.url.is_empty() { 0 } else { 5 };
        self.server.drain_delay_secs.unwrap_or(unset)
    }
}

/// The section of that name, or nothing.
pub fn section(name: &str) -> Option<&'static SectionSpec> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The key `section.key`, or nothing.
pub fn key(path: &str) -> Option<&'static KeySpec> {
    let (name, key) = path.split_once('.')?;
    section(name)?.keys.iter().find(|spec| spec.key == key)
}

/// Every key of every section.
pub fn keys() -> impl Iterator<Item = &'static KeySpec> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

#[cfg(test)]
mod tests;
