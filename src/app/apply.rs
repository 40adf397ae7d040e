//! What follows a change of the configuration while the node runs. Everything else either reads the configuration anew for
//! every request, or is declared `restart` with its key.

use std::sync::Arc;

use grok2api_actors::bus::codec;
use grok2api_actors::token::cooling::CoolingPolicy;
use grok2api_actors::token::limits::LimitBook;
use grok2api_schemas::config::Config;

use super::App;
use super::build::HOUR_MS;
use crate::engine::settings::EngineSettings;
use crate::ops::throttle::ThrottleLimits;
use crate::providers::xai::XaiUpstream;
use crate::telemetry::SetLogLevel;

/// Rests and their caps.
pub(super) fn cooling(config: &Config) -> CoolingPolicy {
    CoolingPolicy {
        soft_failures: config.token.fail_threshold,
        cap_ms: config.xai.max_cooling_secs * 1000,
        ..CoolingPolicy::default()
    }
}

/// How guessing of passwords is slowed down.
pub(super) fn throttle(config: &Config) -> ThrottleLimits {
    ThrottleLimits {
        failures: config.security.login_max_failures,
        window_ms: config.security.login_window_secs * 1000,
    }
}

/// Lets the parts of the app follow the configuration.
pub(super) fn follow(app: &Arc<App>, upstream: Arc<XaiUpstream>, set_log_level: SetLogLevel) {
    let live = app.live_config().clone();
    // The configuration outlives the app and must not keep it.
    let app = Arc::downgrade(app);
    live.on_change(Box::new(move |old, new| {
        let Some(app) = app.upgrade() else { return };
        app.engine.set(EngineSettings {
            // The ledger holds its own slack from the start on; a call must be sent by the same.
            delivery_slack: app.engine.settings().delivery_slack,
            ..EngineSettings::of(new)
        });
        if old.xai.teams != new.xai.teams {
            app.pool.set_limits(LimitBook::new(new.xai.teams.clone()));
        }
        app.pool.set_cooling(cooling(new));
        if old.xai.rules != new.xai.rules || old.grok.retry_status_codes != new.grok.retry_status_codes {
            // Rules that do not compile were refused with the edit.
            if let Err(error) = upstream.set_rules(new) {
                tracing::error!(%error, "the rules for upstream answers stay as they were");
            }
        }
        if old.app.api_key != new.app.api_key {
            app.keys.set_config_key(Some(new.app.api_key.expose()));
        }
        if app.live_config().is_shared() {
            codec::speak(new.cluster.codec_version);
        }
        app.media.set_limits(super::media::limits(new));
        app.accounts.set_session_hours(new.security.session_hours);
        app.accounts.set_throttle(throttle(new));
        let telemetry = &new.telemetry;
        app.log.set_limits(
            telemetry.request_log_max_mb * 1024 * 1024,
            u64::from(telemetry.request_log_days) * 24 * HOUR_MS,
        );
        if old.telemetry.log_level != telemetry.log_level
            && let Err(error) = set_log_level(&telemetry.log_level)
        {
            tracing::error!(%error, "the log level stays as it was");
        }
    }));
}
