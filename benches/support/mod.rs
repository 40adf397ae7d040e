//! A pool of many tokens over a real store and ledger, as the program builds it; only the probes answer from here.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "shared by benches that use different parts of it; what fails must stop them"
)]

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use grok2api_actors::bus::BusHandle;
use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::clock::Clock;
use grok2api_actors::egress::ProxySpec;
use grok2api_actors::ledger::{Ledger, LedgerOptions};
use grok2api_actors::runtime::ArbiterPool;
use grok2api_actors::store::{Store, StoreOptions};
use grok2api_actors::token::cooling::CoolingPolicy;
use grok2api_actors::token::limits::LimitBook;
use grok2api_actors::token::probe::{Facts, ProbeReport, Prober};
use grok2api_actors::token::{Pool, PoolOptions, PoolParts};
use grok2api_actors::vault::Vault;
use grok2api_schemas::admin::tokens::NewToken;
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::token::{PoolName, TokenSwitch};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The model of the benches.
pub const MODEL: &str = "grok-4.6";

/// A pool and what it stands on.
pub struct Stand {
    pub runtime: tokio::runtime::Runtime,
    pub ledger: Ledger,
    pub pool: Pool,
    pub clock: Clock,
    _directory: tempfile::TempDir,
}

struct Known {
    teams: usize,
}

impl Prober for Known {
    fn probe<'a>(&'a self, secret: &'a SecretString, _: &'a ProxySpec) -> BoxFuture<'a, ProbeReport> {
        let hash = blake3::hash(secret.expose_secret().as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        let team = u32::from_le_bytes([a, b, c, d]) as usize % self.teams;
        let facts = Facts {
            team: Some(format!("team-{team}")),
            models: Some(vec![MODEL.to_owned()]),
            ..Facts::default()
        };
        std::future::ready(ProbeReport::Usable(facts)).boxed()
    }
}

impl Stand {
    /// `tokens` tokens in `teams` teams, all known and usable.
    pub fn new(tokens: usize, teams: usize) -> Stand {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (clock, tracker, stop) = (Clock::system(), TaskTracker::new(), CancellationToken::new());
        let store = Store::open(&directory.path().join("store"), StoreOptions::default()).unwrap();
        let vault = Arc::new(Vault::open(None, &directory.path().join("master.key")).unwrap());
        let bus: BusHandle = LocalBus::new(store, clock.clone());
        let arbiters = ArbiterPool::start(2).unwrap();
        let handles: Vec<_> = (0..arbiters.len()).map(|_| arbiters.pick()).collect();
        let (ledger, pool) = runtime.block_on(async {
            let options = LedgerOptions::alone(SessionId::generate());
            let ledger = Ledger::start(bus.clone(), clock.clone(), tracker.clone(), &handles, options)
                .await
                .unwrap();
            let parts = PoolParts {
                bus,
                vault,
                clock: clock.clone(),
                ledger: ledger.clone(),
                prober: Arc::new(Known { teams }),
                arbiters,
                tracker,
                stop,
            };
            let options = PoolOptions {
                session: SessionId::generate(),
                provider: "xai",
                cooling: CoolingPolicy::default(),
                limits: LimitBook::default(),
                canonical: Arc::new(str::to_owned),
                swarm_share: 0.5,
                binding_life_ms: 3_600_000,
                proxy: ProxySpec::default(),
                parked_probe_ms: 60_000,
                probes: 32,
                uses_every: Duration::from_secs(60),
                refresh_every_ms: 0,
            };
            let pool = Pool::start(parts, options).await.unwrap();
            for chunk in (0..tokens).collect::<Vec<_>>().chunks(5_000) {
                let new = chunk.iter().map(|at| NewToken {
                    secret: format!("xai-{}", blake3::hash(format!("bench {at}").as_bytes()).to_hex()),
                    pool: PoolName::ApiKey,
                    label: String::new(),
                    note: String::new(),
                    tags: Vec::new(),
                    proxy: None,
                    switch: TokenSwitch::On,
                });
                pool.enrol(new.collect()).await.unwrap();
            }
            let begun = tokio::time::Instant::now();
            // A token serves once its probe has told its team; all are told when no team is added any more.
            let (mut teams_known, mut same) = (0, 0);
            while same < 20 {
                assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", pool.counts());
                tokio::time::sleep(Duration::from_millis(50)).await;
                let now = pool.counts().teams;
                same = if now > 0 && now == teams_known { same + 1 } else { 0 };
                teams_known = now;
            }
            (ledger, pool)
        });
        Stand {
            runtime,
            ledger,
            pool,
            clock,
            _directory: directory,
        }
    }
}
