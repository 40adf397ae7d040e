//! The composition root: everything that runs, built in order, before the first byte is accepted.

mod apply;
mod build;
mod bus;
mod cluster;
mod peers;
mod first_start;
mod listed;
mod master_key;
mod gauges;
mod media;
mod online;
mod pool;
mod watch;
mod control;
mod demo;
pub mod serve;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use grok2api_actors::bus::BusHandle;
use grok2api_actors::bus::nats::NatsBus;
use grok2api_actors::clients::{ClientKeys, Identity};
use grok2api_actors::clock::Clock;
use grok2api_actors::cluster::Membership;
use grok2api_actors::jobs::Jobs;
use grok2api_actors::ledger::Ledger;
use grok2api_actors::media::Media;
use grok2api_actors::runtime::ArbiterPool;
use grok2api_actors::store::Store;
use grok2api_actors::token::Pool;
use grok2api_actors::vault::Vault;
use grok2api_schemas::config::Config;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::bindings::Bindings;
use crate::catalogue::{Catalogue, Resolved};
use crate::door::body::BodyLimits;
use crate::door::health::Readiness;
use crate::engine::Engine;
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError, RefusalReason};
use crate::engine::expectations::input_tokens;
use crate::fronts::media::links;
use crate::http::arrival::Arrival;
use crate::jobs::Shop;
use crate::logs::LogOps;
use crate::ops::Ops;
use crate::ops::accounts::Accounts;
use crate::ops::affinity::AffinityOps;
use crate::ops::audit::AuditTrail;
use crate::ops::cache::CacheOps;
use crate::ops::cache::online::OnlineFiles;
use crate::ops::cluster::ClusterOps;
use crate::ops::config::ConfigOps;
use crate::ops::history::HistoryOps;
use crate::ops::jobs::JobOps;
use crate::ops::keys::KeyOps;
use crate::ops::nodes::Nodes;
use crate::ops::requests::RequestOps;
use crate::ops::tokens::TokenOps;
use crate::ops::usage::LedgerUsage;
use crate::request_log::RequestLog;
use crate::settings::live::LiveConfig;
use crate::telemetry::Metrics;
use crate::token_history::TokenHistory;

pub use build::{BuildError, Sources, build};
pub use first_start::FirstStart;

/// Everything that runs, by name.
pub struct App {
    /// Time.
    pub clock: Clock,
    /// The configuration in force.
    config: Arc<ArcSwap<Config>>,
    /// Where it comes from, and how it is changed.
    live_config: LiveConfig,
    /// Models, prices, names: the table with what the upstream lists laid over it.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// Everything this node keeps.
    pub store: Store,
    /// What nodes share.
    pub bus: BusHandle,
    /// The same bus, where NATS carries it.
    pub nats: Option<Arc<NatsBus>>,
    /// Seals and recognises secrets.
    pub vault: Arc<Vault>,
    /// Who is in the cluster.
    pub membership: Membership,
    /// Quotas.
    pub ledger: Ledger,
    /// Upstream tokens.
    pub pool: Pool,
    /// Registration jobs.
    pub jobs: Jobs,
    /// This node's part of them.
    pub shop: Arc<Shop>,
    /// Client keys.
    pub keys: ClientKeys,
    /// Administrators and their sessions.
    pub accounts: Accounts,
    /// What administrators did.
    pub audit: AuditTrail,
    /// A password that was made at this start; taken when it is printed.
    generated_password: Mutex<Option<Zeroizing<String>>>,
    /// Which token made which object.
    pub bindings: Bindings,
    /// Images and videos.
    pub media: Media,
    /// Room in memory for uploads, MiB.
    pub uploads: Arc<tokio::sync::Semaphore>,
    /// Answers requests.
    pub engine: Arc<Engine>,
    /// What became of requests.
    pub log: RequestLog,
    /// Log files of every node.
    pub log_files: LogOps,
    /// The other nodes, as operations ask them.
    pub nodes: Nodes,
    /// What happened to credentials.
    pub history: TokenHistory,
    /// What providers keep for teams.
    pub online: Arc<dyn OnlineFiles>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What keeps this node from being ready.
    pub readiness: Readiness,
    /// Threads of actors.
    pub arbiters: ArbiterPool,
    /// Tasks that shutdown waits for.
    pub tracker: TaskTracker,
    /// Ends background work.
    pub stop: CancellationToken,
    /// The node begins to leave: what has no end of its own ends.
    pub leaving: CancellationToken,
    /// When this process started, Unix seconds.
    pub started_secs: u64,
}

impl App {
    /// The configuration in force.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// Every operation of this node.
    pub fn ops(&self) -> Ops {
        let usage = LedgerUsage {
            ledger: self.ledger.clone(),
            clock: self.clock.clone(),
            day_offset_minutes: self.config().clients.reset_tz_offset_minutes,
        };
        Ops {
            tokens: TokenOps::new(Arc::new(self.pool.clone())),
            history: HistoryOps::new(self.history.clone(), Arc::new(self.pool.clone()), self.nodes.clone()),
            keys: KeyOps::new(self.keys.clone(), Arc::new(usage), self.clock.clone()),
            requests: RequestOps::new(self.log.clone()),
            config: ConfigOps::new(self.live_config.clone(), self.accounts.clone()),
            affinity: AffinityOps::new(Arc::new(self.pool.clone()), self.bindings.clone(), self.clock.clone()),
            cache: CacheOps::new(
                Arc::new(self.media.clone()),
                links::path_maker(self.config.clone(), self.vault.clone(), self.clock.clone()),
                self.nodes.clone(),
                self.online.clone(),
            ),
            jobs: JobOps::new(self.jobs.clone(), self.shop.clone(), self.clock.clone()),
            cluster: ClusterOps::new(self.membership.clone(), Arc::new(self.ledger.clone())),
            accounts: self.accounts.clone(),
            audit: self.audit.clone(),
            logs: self.log_files.clone(),
        }
    }

    /// Where the configuration comes from, and how it is changed.
    pub fn live_config(&self) -> &LiveConfig {
        &self.live_config
    }

    /// What the body of a request may take.
    pub fn body_limits(&self) -> BodyLimits {
        BodyLimits::of_mebibytes(self.config().server.max_body_mb)
    }

    /// MiB of uploads that are in memory at a time, at most.
    pub fn uploads_mib(&self) -> u64 {
        build::UPLOADS_MIB as u64
    }

    /// A request that never came to the engine: it is counted and logged all the same.
    pub fn refused(&self, arrival: &Arrival, route: &'static str, error: &GatewayError) {
        self.engine.refused(arrival, route, error);
    }

    /// Output tokens that a strict key's budget still pays for, per answer; `None` where nothing bounds them.
    ///
    /// # Errors
    /// When the budget does not even pay for the input, or the model has no known price.
    pub fn affordable_output(
        &self,
        caller: &Caller,
        resolved: &Resolved<'_>,
        input_bytes: usize,
        answers: u64,
    ) -> Result<Option<u64>, GatewayError> {
        let Caller::Key(Identity::Key(key)) = caller else {
            return Ok(None);
        };
        if !key.limits.strict {
            return Ok(None);
        }
        let Some(budget) = key.limits.budget_ticks else {
            return Ok(None);
        };
        let meters = self.engine.key_meters().of(key, &self.ledger);
        let left = budget.saturating_sub(meters.spend.used_in_window());
        let catalogue = self.catalogue.load();
        let input = input_tokens(input_bytes);
        let thought = match resolved.entry.is_some_and(|entry| entry.reasoning) {
            true => self.engine.reasoning_allowance(resolved.upstream_name),
            false => 0,
        };
        let cost = |output: u64| catalogue.estimate_cost_ticks(resolved.canonical, input, output, 0);
        let (Some(of_input), Some(with_output), Some(of_thought)) = (cost(0), cost(MANY), cost(thought)) else {
            return Err(GatewayError::new(
                ErrorKind::ClientBudget,
                "This key's budget is strict, and this model has no known price to hold it by.",
            )
            .because(RefusalReason::ClientLimit));
        };
        let per_answer =
            (left.saturating_sub(of_input) / answers.max(1)).saturating_sub(of_thought.saturating_sub(of_input));
        let affordable = per_answer.saturating_mul(MANY) / with_output.saturating_sub(of_input).max(1);
        if affordable == 0 {
            let standing = self.ledger.status_of(meters.spend.meter());
            let retry_ms = match standing {
                // They reserve more than most of them use, and give the rest back.
                Some(standing) if standing.in_flight > 0 => Some(1_000),
                Some(standing) => standing.next_release_ms,
                None => None,
            };
            return Err(GatewayError::new(
                ErrorKind::ClientBudget,
                "What is left of this key's budget for the day does not pay for this request.",
            )
            .retry_after(retry_ms)
            .because(RefusalReason::ClientLimit));
        }
        let cap = resolved.entry.and_then(|entry| entry.max_output);
        Ok(Some(cap.map_or(affordable, |cap| affordable.min(cap))))
    }

    /// Ends everything in order: what was in flight is settled, what is held goes back, what is written is durable.
    pub async fn close(&self) {
        self.jobs.close().await;
        self.stop.cancel();
        self.pool.close().await;
        self.ledger.close().await;
        self.tracker.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                tasks = self.tracker.len(),
                "shutdown: some background work did not end within 5 s and is left behind"
            );
        }
        if let Err(error) = self.log.flush().await {
            tracing::error!(%error, "the last records of the request log could not be written");
        }
        self.arbiters.stop();
        if let Some(nats) = &self.nats {
            nats.close().await;
        }
        self.store.close();
    }
}

/// Enough tokens that the price of one is not lost in rounding.
const MANY: u64 = 100_000;
