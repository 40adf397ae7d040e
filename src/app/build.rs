//! Building the app, in order: each part needs those above it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grok2api_actors::bus::codec;
use grok2api_actors::bus::nats::shown_servers;
use grok2api_actors::clients::ClientKeys;
use grok2api_actors::clock::Clock;
use grok2api_actors::cluster::Membership;
use grok2api_actors::egress::{Egress, EgressOptions, ProxySpec};
use grok2api_actors::jobs::{JobParts, Jobs};
use grok2api_actors::ledger::{Ledger, LedgerOptions};
use grok2api_actors::media::MediaParts;
use grok2api_actors::runtime::ArbiterPool;
use grok2api_actors::store::{Store, StoreOptions};
use grok2api_actors::token::probe::Prober;
use grok2api_actors::vault::Vault;
use grok2api_schemas::config::{Config, Join};
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::token::PoolName;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::bus::{self, OpenBus, Wait};
use super::listed::ListedNames;
use super::master_key::{ClusterKeys, KeySources, answer_joiners, find_master_key, keep_mark};
use super::online::XaiOnline;
use super::pool::{share_probing, start_pool};
use super::{App, apply, cluster, media};
use crate::bindings::Bindings;
use crate::catalogue::Catalogue;
use crate::door::health::Readiness;
use crate::engine::settings::EngineSettings;
use crate::engine::telemetry::EngineTelemetry;
use crate::engine::{Engine, EngineParts};
use crate::jobs::Shop;
use crate::logs::{self, LogOps};
use crate::ops::accounts::{AccountOptions, Accounts};
use crate::ops::audit::AuditTrail;
use crate::ops::nodes::Nodes;
use crate::ops::{cache, history};
use crate::providers::Provider;
use crate::providers::xai::files::TeamFiles;
use crate::providers::xai::{Management, XaiOptions, XaiProber, XaiUpstream};
use crate::request_log::{Peers, RequestLog, RequestLogOptions};
use crate::settings::live::{LiveConfig, LiveOptions, SharedOptions};
use crate::telemetry::{LogTap, Metrics, SetLogLevel};
use crate::token_history::TokenHistory;

/// Threads that actors run on. They write and probe; requests do not wait for them.
const ARBITERS: usize = 2;
/// How long a node that joins waits for another one that hands it the cluster's key.
const KEY_PATIENCE: Duration = Duration::from_secs(60);
/// MiB of uploads in memory at a time.
pub(super) const UPLOADS_MIB: usize = 256;
pub(super) const HOUR_MS: u64 = 60 * 60 * 1000;

/// Why the process cannot start: one line that says what and how to mend it.
#[derive(Debug)]
pub struct BuildError(pub String);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

pub(super) fn cannot(what: &'static str) -> impl Fn(&dyn fmt::Display) -> BuildError {
    move |error| BuildError(format!("{what}: {error}"))
}

/// What an app is built from.
pub struct Sources {
    /// The configuration as this node's own sources have it.
    pub config: Config,
    /// Those sources.
    pub live: LiveOptions,
    /// Changes what is logged.
    pub set_log_level: SetLogLevel,
    /// Where log lines can be watched.
    pub log_tap: LogTap,
    /// The port that clients reach this node at: with 0 in the configuration, the one that was free.
    pub port: u16,
}

/// Builds everything over the data directory.
///
/// # Errors
/// One line for the operator; data that could not be used is left untouched.
pub async fn build(sources: Sources, metrics: Arc<Metrics>, readiness: Readiness) -> Result<Arc<App>, BuildError> {
    let Sources {
        config,
        live,
        set_log_level,
        log_tap,
        port,
    } = sources;
    let data_dir = live.args.data_dir.clone();
    let mut log_files = LogOps::new(data_dir.join("logs"));
    let data_dir = data_dir.as_path();
    let clock = Clock::system();
    let tracker = TaskTracker::new();
    let stop = CancellationToken::new();

    let catalogue = Catalogue::load(data_dir).map_err(|error| BuildError(error.to_string()))?;
    let master_key = Some(config.security.master_key.expose())
        .filter(|key| !key.is_empty())
        .map(|key| SecretString::from(key.to_owned()));
    let store = Store::open(&data_dir.join("store"), StoreOptions::default()).map_err(|e| cannot("the store")(&e))?;
    let is_shared = !config.nats.url.is_empty();
    let identity_file = data_dir.join("node.key");
    // A node that has joined before is configured rightly: it waits for NATS, however long that is away.
    let waits = if identity_file.exists() {
        Wait::ForEver
    } else {
        Wait::ToStart
    };
    if is_shared {
        let servers = shown_servers(&config.nats.url);
        readiness.block(cluster::BUS, format!("not connected to NATS at {servers} yet"));
    }
    let OpenBus { bus, nats } = bus::open(&config, waits, &store, &clock).await?;
    let sources = KeySources {
        cluster: is_shared.then(|| ClusterKeys {
            identity_file,
            open: config.nats.join == Join::Open,
            patience: KEY_PATIENCE,
        }),
        key_file: data_dir.join("master.key"),
        configured: master_key,
    };
    let session = SessionId::generate();
    let key_pair = sources.cluster.as_ref().map(|cluster| cluster.identity_file.as_path());
    let node = cluster::node_name(&config, key_pair, session).map_err(|e| cannot("the node's key pair")(&e))?;
    // Alone there is nobody to be told apart from.
    let node_name = if is_shared { node.clone() } else { String::new() };
    if is_shared {
        // What is written before the cluster's configuration is known must be readable by every node.
        codec::speak(codec::OLDEST);
    }
    let master_key = find_master_key(&bus, &sources).await?;
    let vault = Arc::new(Vault::of(&master_key));
    if is_shared {
        keep_mark(&bus, master_key.id(), readiness.clone(), &tracker, stop.clone());
        let hands_out = config.nats.join == Join::Open && sources.configured.is_none();
        answer_joiners(&bus, master_key, hands_out, &tracker, stop.clone());
    }
    let live_config = if is_shared {
        let with = SharedOptions {
            bus: bus.clone(),
            vault: vault.clone(),
            clock: clock.clone(),
            node: node_name.clone(),
        };
        LiveConfig::shared(live, with)
            .await
            .map_err(|e| cannot("the configuration")(&e))?
    } else {
        LiveConfig::alone(live).map_err(|e| cannot("the configuration")(&e))?
    };
    live_config.follow(&tracker, stop.clone());
    if is_shared {
        codec::speak(live_config.state().config.cluster.codec_version);
    }
    let own_log_level = config.telemetry.log_level;
    let config = Config::clone(&live_config.state().config);
    if config.telemetry.log_level != own_log_level
        && let Err(error) = set_log_level(&config.telemetry.log_level)
    {
        tracing::error!(%error, "the log level stays as it was");
    }
    let arbiters = ArbiterPool::start(ARBITERS).map_err(|e| cannot("threads")(&e))?;

    let options = LedgerOptions {
        delivery_slack_ms: config.xai.delivery_slack_ms,
        max_clock_skew_ms: config.cluster.max_clock_skew_secs * 1000,
        day_offset_minutes: config.clients.reset_tz_offset_minutes,
        predecessors_are_dead: !is_shared,
        ..LedgerOptions::alone(session)
    };
    let handles: Vec<_> = (0..arbiters.len()).map(|_| arbiters.pick()).collect();
    let identity = cluster::identity(&config, port, session, node);
    let membership = if is_shared {
        Membership::start(identity, bus.clone(), clock.clone(), arbiters.pick())
    } else {
        Membership::of_one(identity, clock.clone())
    };
    let ledger = Ledger::join(
        bus.clone(),
        clock.clone(),
        tracker.clone(),
        &handles,
        options,
        membership.clone(),
        Some(&store),
    )
    .await
    .map_err(|e| cannot("the ledger")(&e))?;

    let egress_options = EgressOptions {
        connect_timeout: Duration::from_secs(config.xai.connect_timeout_secs),
        clock: clock.clone(),
        http2: config.xai.http2,
        ..EgressOptions::default()
    };
    // Kept-alive connections hold nothing that must be settled: the end of the process is theirs, and waits for none.
    let egress = Egress::new(egress_options, TaskTracker::new()).map_err(|e| cannot("TLS for upstream calls")(&e))?;
    let proxy = ProxySpec::parse(&config.xai.proxy).map_err(|e| BuildError(format!("xai.proxy: {e}")))?;
    let xai = XaiOptions {
        base_url: config.xai.base_url.clone(),
        proxy: proxy.clone(),
    };
    let upstream = Arc::new(XaiUpstream::new(&xai, egress.clone(), clock.clone()).map_err(BuildError)?);
    upstream.set_rules(&config).map_err(BuildError)?;

    let catalogue = Arc::new(ArcSwap::from_pointee(catalogue));
    let management = Some(config.xai.management_key.expose())
        .filter(|key| !key.is_empty())
        .map(|key| Management {
            base_url: config.xai.management_url.clone(),
            key: SecretString::from(key.to_owned()),
        });
    let listed = ListedNames::read(bus.clone(), catalogue.clone())
        .await
        .map_err(|e| cannot("the names of models")(&e))?;
    listed.keep(&tracker, stop.clone());
    let prober: Arc<dyn Prober> = Arc::new(XaiProber::new(
        &config.xai.base_url,
        egress.clone(),
        upstream.clone(),
        listed.listener(),
        management,
    ));
    let pool = start_pool(
        &config,
        session,
        &bus,
        &vault,
        &clock,
        &ledger,
        prober.clone(),
        &arbiters,
        &tracker,
        &stop,
        proxy.clone(),
        &catalogue,
    )
    .await?;
    let shop = Arc::new(Shop {
        config: live_config.current(),
        pool: pool.clone(),
        prober,
        egress: egress.clone(),
        proxy,
        clock: clock.clone(),
    });
    let keep = live_config.current();
    let job_parts = JobParts {
        bus: bus.clone(),
        vault: vault.clone(),
        clock: clock.clone(),
        membership: membership.clone(),
        arbiters: arbiters.clone(),
        workshop: shop.clone(),
        keep: Box::new(move || keep.load().jobs.keep),
    };
    let jobs = Jobs::start(job_parts, &tracker, stop.clone())
        .await
        .map_err(|e| cannot("registration jobs")(&e))?;

    let hash = vault.clone();
    let keys = ClientKeys::load(bus.clone(), hash, clock.clone(), &tracker, stop.clone())
        .await
        .map_err(|e| cannot("client keys")(&e))?;
    keys.set_config_key(Some(config.app.api_key.expose()));

    let password = Some(config.app.app_key.expose()).filter(|password| !password.trim().is_empty());
    let account_options = AccountOptions {
        username: config.app.admin_username.clone(),
        password: password.map(|password| Zeroizing::new(password.to_owned())),
        session_hours: config.security.session_hours,
        throttle: apply::throttle(&config),
        node: node_name.clone(),
    };
    let (accounts, generated_password) =
        Accounts::load(bus.clone(), clock.clone(), &tracker, stop.clone(), account_options)
            .await
            .map_err(|e| BuildError(format!("administrators: {}", e.detail.as_deref().unwrap_or(&e.message))))?;

    let sessions = accounts.clone();
    keys.set_sessions(Arc::new(move |key| sessions.lets_call(key)));

    let audit = AuditTrail::start(bus.clone(), clock.clone(), node_name.clone(), &tracker, stop.clone());

    let log_options = RequestLogOptions {
        max_bytes: config.telemetry.request_log_max_mb * 1024 * 1024,
        max_age_ms: u64::from(config.telemetry.request_log_days) * 24 * HOUR_MS,
        ..RequestLogOptions::default()
    };
    let log = RequestLog::open(store.clone(), clock.clone(), log_options).map_err(|e| cannot("the request log")(&e))?;
    let sent_to = pool.clone();
    log.tell_providers(Arc::new(move |record| match record.attempts.last() {
        None => "",
        Some(attempt) => sent_to.view(attempt.token_id).map_or("xai", |token| match token.pool {
            PoolName::ApiKey => "xai",
            PoolName::SsoBasic | PoolName::SsoSuper => "grok_web",
        }),
    }));
    log.start(&tracker, stop.clone());
    logs::share(log_tap, bus.clone(), node_name.clone(), &tracker, stop.clone());
    let nodes = match is_shared {
        true => Nodes::of(bus.clone(), membership.clone()),
        false => Nodes::alone(),
    };
    if is_shared {
        share_probing(&pool, &membership, &tracker, &stop);
        pool.share_conversations(&tracker, &stop);
        log_files = log_files.join(nodes.clone(), &tracker, stop.clone());
        let of = membership.clone();
        let peers = Peers {
            me: membership.me(),
            others: Arc::new(move || of.others()),
        };
        log.share(bus.clone(), node_name, peers, &tracker, stop.clone())
            .await
            .map_err(|e| cannot("the request log")(&e))?;
    }

    let provider: Arc<dyn Provider> = upstream.clone();
    let parts = EngineParts {
        clock: clock.clone(),
        ledger: ledger.clone(),
        pool: pool.clone(),
        provider,
        catalogue: catalogue.clone(),
        settings: EngineSettings::of(&config),
        log: log.clone(),
        telemetry: EngineTelemetry::new(metrics.clone()),
        tracker: tracker.clone(),
    };
    let engine = Engine::start(parts, stop.clone());
    let bindings = Bindings::new(bus.clone(), session, is_shared);
    bindings.start(&tracker, &stop);
    let media = media::open(
        &egress,
        &live_config,
        MediaParts {
            bus: bus.clone(),
            store: store.clone(),
            clock: clock.clone(),
            arbiters: arbiters.clone(),
        },
        data_dir,
        session,
    )
    .await?;
    media.start(&tracker, &stop);
    let history =
        TokenHistory::open(store.clone(), clock.clone()).map_err(|e| cannot("what happened to credentials")(&e))?;
    let of = membership.clone();
    let name_of = move |session| match is_shared {
        true => of.name_of(session),
        false => String::new(),
    };
    history.start(&bus, Box::new(name_of), &tracker, stop.clone());
    history::answer_others(&nodes, history.clone(), &tracker, stop.clone());
    cache::answer_others(&nodes, Arc::new(media.clone()), &tracker, stop.clone());
    let online = Arc::new(XaiOnline {
        pool: pool.clone(),
        files: TeamFiles::new(&config.xai.base_url, egress.clone()),
        proxy: shop.proxy.clone(),
        bindings: bindings.clone(),
    });
    let app = Arc::new(App {
        media,
        started_secs: clock.wall().0 / 1000,
        clock,
        config: live_config.current(),
        live_config,
        catalogue,
        bindings,
        uploads: Arc::new(tokio::sync::Semaphore::new(UPLOADS_MIB)),
        store,
        bus,
        nats,
        vault,
        membership,
        ledger,
        pool,
        jobs,
        shop,
        keys,
        accounts,
        audit,
        generated_password: Mutex::new(generated_password),
        engine,
        log,
        log_files,
        nodes,
        history,
        online,
        metrics,
        readiness,
        arbiters,
        tracker,
        stop,
        leaving: CancellationToken::new(),
    });
    apply::follow(&app, upstream, set_log_level);
    crate::fronts::openai::videos::resume(&app);
    crate::fronts::openai::images::resume(&app);
    Ok(app)
}
