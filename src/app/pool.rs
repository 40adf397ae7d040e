//! The pool of tokens, as the configuration has it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grok2api_actors::bus::BusHandle;
use grok2api_actors::clock::Clock;
use grok2api_actors::cluster::Membership;
use grok2api_actors::egress::ProxySpec;
use grok2api_actors::ledger::Ledger;
use grok2api_actors::runtime::ArbiterPool;
use grok2api_actors::token::limits::LimitBook;
use grok2api_actors::token::probe::Prober;
use grok2api_actors::token::{Pool, PoolOptions, PoolParts, keeper};
use grok2api_actors::vault::Vault;
use grok2api_schemas::config::Config;
use grok2api_schemas::ids::SessionId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apply;
use super::build::{BuildError, HOUR_MS, cannot};
use crate::catalogue::Catalogue;

/// Probes at a time: a hundred thousand new keys are asked about without a storm.
const PROBES: usize = 32;
/// How often it is written how often a token was used; and in a cluster, where every node writes it, and each write is passed
/// to all servers and nodes.
const USES_EVERY: Duration = Duration::from_secs(60);
const USES_EVERY_SHARED: Duration = Duration::from_secs(600);

/// Starts the pool of tokens.
#[expect(
    clippy::too_many_arguments,
    reason = "the pool draws on most of what was built before it; called once"
)]
pub(super) async fn start_pool(
    config: &Config,
    session: SessionId,
    bus: &BusHandle,
    vault: &Arc<Vault>,
    clock: &Clock,
    ledger: &Ledger,
    prober: Arc<dyn Prober>,
    arbiters: &ArbiterPool,
    tracker: &TaskTracker,
    stop: &CancellationToken,
    proxy: ProxySpec,
    catalogue: &Arc<ArcSwap<Catalogue>>,
) -> Result<Pool, BuildError> {
    let names = catalogue.clone();
    let options = PoolOptions {
        session,
        provider: "xai",
        cooling: apply::cooling(config),
        limits: LimitBook::new(config.xai.teams.clone()),
        canonical: Arc::new(move |name| names.load().resolve(name).canonical.to_owned()),
        swarm_share: config.clients.affinity_max_share,
        binding_life_ms: config.clients.affinity_secs * 1000,
        proxy,
        probes: PROBES,
        uses_every: if config.nats.url.is_empty() {
            USES_EVERY
        } else {
            USES_EVERY_SHARED
        },
        parked_probe_ms: config.xai.probe_interval_secs * 1000,
        refresh_every_ms: if config.token.auto_refresh {
            u64::from(config.token.refresh_interval_hours) * HOUR_MS
        } else {
            0
        },
    };
    let parts = PoolParts {
        bus: bus.clone(),
        vault: vault.clone(),
        clock: clock.clone(),
        ledger: ledger.clone(),
        prober,
        arbiters: arbiters.clone(),
        tracker: tracker.clone(),
        stop: stop.clone(),
    };
    Pool::start(parts, options)
        .await
        .map_err(|e| cannot("the token pool")(&e))
}

/// Of several nodes, one looks after each token: who that is follows from who lives.
pub(super) fn share_probing(pool: &Pool, membership: &Membership, tracker: &TaskTracker, stop: &CancellationToken) {
    let (of, me) = (membership.clone(), membership.me());
    pool.set_share(Box::new(move |key| {
        let snapshot = of.snapshot();
        let live = snapshot.nodes.iter().filter(|node| node.live);
        keeper(live.map(|node| node.beat.session), key).is_none_or(|session| session == me)
    }));
    let (pool, stop, mut changes) = (pool.clone(), stop.clone(), membership.changes());
    tracker.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            pool.nodes_changed();
            // Who lives changes seldom, and nodes of a cluster that starts come one after the other.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
}
