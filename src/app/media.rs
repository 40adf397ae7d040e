//! The store of images and videos, as the configuration has it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use grok2api_actors::egress::guard::{Allowed, FetcherOptions};
use grok2api_actors::egress::{Egress, Origin, ProxySpec};
use grok2api_actors::media::{Media, MediaLimits, MediaOptions, MediaParts};
use grok2api_schemas::config::Config;
use grok2api_schemas::ids::SessionId;
use ipnet::IpNet;

use super::build::{BuildError, cannot};
use crate::settings::live::LiveConfig;

const MIB: u64 = 1024 * 1024;

/// How much is kept.
pub(super) fn limits(config: &Config) -> MediaLimits {
    MediaLimits {
        keep_bytes: config.cache.limit_mb * MIB,
        cleans: config.cache.enable_auto_clean,
        max_object_bytes: config.cache.max_object_mb * MIB,
    }
}

/// Opens it.
pub(super) async fn open(
    egress: &Egress,
    live: &LiveConfig,
    parts: MediaParts,
    data_dir: &Path,
    session: SessionId,
) -> Result<Media, BuildError> {
    let config = Config::clone(&live.state().config);
    let proxy = ProxySpec::parse(&config.xai.proxy).map_err(BuildError)?;
    let options = FetcherOptions {
        allowed: allowed(live),
        upstream: config.xai.base_url.parse().ok().and_then(|url| Origin::of(&url).ok()),
        proxy,
        lookup: None,
    };
    let fetcher = egress.fetcher(options).map_err(|e| cannot("fetching")(&e))?;
    let options = MediaOptions {
        dir: data_dir.join("tmp"),
        session,
        is_shared: live.is_shared(),
        share_bytes: config.nats.media_max_mb * MIB,
        downloads: config.performance.assets_max_concurrent as usize,
        limits: limits(&config),
    };
    Media::open(parts, fetcher, options)
        .await
        .map_err(|e| cannot("images and videos in <data-dir>/tmp")(&e))
}

/// The operator's exceptions, as they are at the time.
fn allowed(live: &LiveConfig) -> Allowed {
    let current = live.current();
    Arc::new(move |ip| {
        let config = current.load();
        config
            .security
            .fetch_private
            .iter()
            .any(|written| is_within(written, ip.to_canonical()))
    })
}

fn is_within(written: &str, ip: IpAddr) -> bool {
    match written.parse::<IpNet>() {
        Ok(network) => network.contains(&ip),
        Err(_) => written.parse::<IpAddr>().is_ok_and(|only| only.to_canonical() == ip),
    }
}
