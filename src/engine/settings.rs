//! How the engine behaves; read anew by every request, so that an edit counts at once.

use std::time::Duration;

use grok2api_schemas::client_key::DisconnectPolicy;
use grok2api_schemas::config::Config;

/// USD ticks in a US dollar (`xai-api.md` §3).
const TICKS: f64 = 1e10;

/// Time limits of a call; a model's own go before the configured ones.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A streamed call: until its first event.
    pub first_byte: Duration,
    /// A call that is not streamed: silence before the answer.
    pub answer: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// The whole call.
    pub request: Duration,
}

/// How the engine behaves.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// How long a request waits for room.
    pub max_wait: Duration,
    /// Calls upstream per request that may cost something.
    pub max_attempts: u32,
    /// Rests that one request may cause.
    pub max_penalties: u32,
    /// Time limits where the model table says nothing.
    pub timeouts: Timeouts,
    /// Reserved where nothing is known of a model's costs, USD ticks.
    pub default_reservation_ticks: u64,
    /// Reserved where nothing is known of a model's use, tokens.
    pub default_reservation_tokens: u64,
    /// What a hang-up does where the key does not say.
    pub on_disconnect: DisconnectPolicy,
    /// An idle stream gets a comment this often; zero = never.
    pub keep_alive: Duration,
    /// How late a call may reach the upstream's counter.
    pub delivery_slack: Duration,
}

impl EngineSettings {
    /// What the configuration says.
    pub fn of(config: &Config) -> EngineSettings {
        let secs = Duration::from_secs;
        EngineSettings {
            max_wait: Duration::from_millis(config.clients.max_wait_ms),
            max_attempts: config.max_attempts(),
            max_penalties: config.xai.max_penalties,
            timeouts: Timeouts {
                first_byte: secs(config.xai.first_byte_timeout_secs),
                answer: secs(config.xai.answer_timeout_secs),
                idle: secs(config.xai.idle_timeout_secs),
                request: secs(config.xai.request_timeout_secs),
            },
            default_reservation_ticks: (config.clients.default_reservation_usd * TICKS) as u64,
            default_reservation_tokens: config.clients.default_reservation_tokens,
            on_disconnect: config.clients.disconnect_policy(),
            keep_alive: secs(config.server.keep_alive_secs),
            delivery_slack: Duration::from_millis(config.xai.delivery_slack_ms),
        }
    }
}
