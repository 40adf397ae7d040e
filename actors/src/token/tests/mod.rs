//! The pool over a real store and ledger; only the upstream is scripted.

mod actor;
mod choice;
mod conversations;
mod life;
mod membership;
mod merging;
mod nodes;
mod over_nats;
mod faults;
mod roster;
mod stored;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use futures::FutureExt;
use futures::future::BoxFuture;
use grok2api_schemas::admin::tokens::NewToken;
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::config::TeamConfig;
use grok2api_schemas::ids::{SessionId, TokenId};
use grok2api_schemas::token::{CoolingCause, PoolName, TeamRecord, TokenRecord, TokenSwitch};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::affinity::ConversationId;
use super::choice::{Pick, Tried, Wish};
use super::cooling::{CoolingPolicy, Penalty, Scope};
use super::entry::Token;
use super::limits::LimitBook;
use super::merge;
use super::pool::{Pool, PoolOptions, PoolParts};
use super::probe::{Facts, ProbeReport, Prober};
use super::team::Team;
use crate::bus::local::LocalBus;
use crate::bus::{BusError, BusHandle, codec};
use crate::clock::{Clock, ManualClock, WallMs};
use crate::egress::ProxySpec;
use crate::ledger::{Ledger, LedgerOptions};
use crate::runtime::ArbiterPool;
use crate::store::Store;
use crate::vault::Vault;

const WALL: WallMs = WallMs(1_700_000_000_000);

/// Answers probes from a table, by secret.
#[derive(Default)]
pub(super) struct Script {
    pub(super) reports: DashMap<String, ProbeReport>,
    pub(super) asked: AtomicUsize,
    /// Secrets whose probe panics.
    pub(super) traps: DashMap<String, ()>,
}

impl Prober for Script {
    fn probe<'a>(&'a self, secret: &'a SecretString, _: &'a ProxySpec) -> BoxFuture<'a, ProbeReport> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let secret = secret.expose_secret();
        assert!(!self.traps.contains_key(secret), "a trap of the test");
        let report = self.reports.get(secret).map(|report| report.clone());
        std::future::ready(report.unwrap_or_else(|| ProbeReport::Unreachable("no script".to_owned()))).boxed()
    }
}

/// What a stand is made with.
pub(super) struct Setting {
    pub(super) teams: Vec<TeamConfig>,
    pub(super) refresh_every_ms: u64,
    pub(super) parked_probe_ms: u64,
    /// Whether the background work runs, on the machine's clock; else a test turns the clock and wakes whom it wakes.
    pub(super) live: bool,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            teams: Vec::new(),
            refresh_every_ms: 0,
            parked_probe_ms: 60_000,
            live: false,
        }
    }
}

/// What outlives a process.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) bus: BusHandle,
    keys: Arc<tempfile::TempDir>,
}

impl Disk {
    pub(super) fn new() -> Disk {
        Disk {
            bus: LocalBus::new(Store::temporary().unwrap(), Clock::system()),
            keys: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    pub(super) async fn record(&self, id: TokenId) -> Option<TokenRecord> {
        let entry = self.bus.kv_get(buckets::TOKENS, id.as_bytes()).await.unwrap()?;
        Some(codec::decode(&entry.value).unwrap())
    }

    pub(super) async fn team(&self, id: &str) -> Option<TeamRecord> {
        let entry = self.bus.kv_get(buckets::TEAMS, id.as_bytes()).await.unwrap()?;
        Some(codec::decode(&entry.value).unwrap())
    }
}

/// A pool and all that is around it.
pub(super) struct Stand {
    pub(super) pool: Pool,
    pub(super) script: Arc<Script>,
    pub(super) disk: Disk,
    pub(super) clock: Clock,
    pub(super) hands: Arc<ManualClock>,
    pub(super) stop: CancellationToken,
    pub(super) ledger: Ledger,
    pub(super) session: SessionId,
    arbiters: ArbiterPool,
}

impl Stand {
    pub(super) async fn new() -> Stand {
        Stand::with(Setting::default()).await
    }

    pub(super) async fn with(setting: Setting) -> Stand {
        Stand::over(Disk::new(), setting, Arc::default()).await.unwrap()
    }

    pub(super) async fn over(disk: Disk, setting: Setting, script: Arc<Script>) -> Result<Stand, BusError> {
        let (manual, hands) = Clock::manual(WALL);
        let clock = if setting.live { Clock::system() } else { manual };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let arbiters = ArbiterPool::start(1).unwrap();
        let options = LedgerOptions::alone(SessionId::generate());
        let ledger = Ledger::start(
            disk.bus.clone(),
            clock.clone(),
            tracker.clone(),
            &[arbiters.pick()],
            options,
        )
        .await
        .unwrap();
        let parts = PoolParts {
            bus: disk.bus.clone(),
            vault: Arc::new(Vault::open(None, &disk.keys.path().join("master.key")).unwrap()),
            clock: clock.clone(),
            ledger: ledger.clone(),
            prober: script.clone(),
            arbiters: arbiters.clone(),
            tracker: tracker.clone(),
            stop: stop.clone(),
        };
        let session = SessionId::generate();
        let options = PoolOptions {
            session,
            provider: "xai",
            cooling: CoolingPolicy::default(),
            limits: LimitBook::new(setting.teams),
            canonical: Arc::new(str::to_owned),
            swarm_share: 0.5,
            binding_life_ms: 60_000,
            proxy: ProxySpec::DIRECT,
            parked_probe_ms: setting.parked_probe_ms,
            probes: 4,
            uses_every: std::time::Duration::from_secs(60),
            refresh_every_ms: setting.refresh_every_ms,
        };
        let pool = if setting.live {
            Pool::start(parts, options).await?
        } else {
            Pool::start_still(parts, options).await?
        };
        Ok(Stand {
            pool,
            script,
            disk,
            clock,
            hands,
            stop,
            ledger,
            session,
            arbiters,
        })
    }

    /// Ends the process without grace.
    pub(super) fn kill(&self) {
        self.stop.cancel();
        self.arbiters.stop();
    }

    pub(super) async fn enrol(&self, secret: &str) -> Arc<Token> {
        let outcomes = self.pool.enrol(vec![fresh(secret)]).await.unwrap();
        self.pool.find(outcomes[0].id.unwrap()).unwrap()
    }

    /// Enrols a token and lets a probe find it in a team with these models.
    pub(super) async fn known(&self, secret: &str, team: &str, models: &[&str]) -> Arc<Token> {
        let token = self.enrol(secret).await;
        self.probe(&token, usable(team, models));
        token
    }

    pub(super) fn probe(&self, token: &Arc<Token>, report: ProbeReport) {
        self.pool.apply_probe(token, &report, &Pool::rests_of(token));
    }

    pub(super) fn team(&self, token: &Token) -> Arc<Team> {
        token.team().unwrap()
    }

    pub(super) fn cool(&self, token: &Arc<Token>, scope: Scope, model: &str, for_ms: Option<u64>) {
        let cause = match for_ms {
            Some(_) => CoolingCause::RateLimited,
            None => CoolingCause::BadCredential,
        };
        let team = self.team(token);
        self.pool.penalise(token, &team, model, &penalty(scope, cause, for_ms));
    }

    pub(super) fn choose(&self, model: &str) -> Option<Pick> {
        self.choose_for(model, None, &Tried::default())
    }

    pub(super) fn choose_for(&self, model: &str, conversation: Option<u64>, tried: &Tried) -> Option<Pick> {
        let wish = Wish {
            model: self.pool.model(model)?,
            conversation: conversation.map(ConversationId),
            pin: None,
            any_team: false,
            tried,
        };
        self.pool.choose(&wish, self.clock.now(), self.clock.wall())
    }

    /// Lets time pass, and ends the rests that are over.
    pub(super) fn pass(&self, ms: u64) {
        self.hands.advance_ms(ms);
        self.pool.wake_due();
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn fresh(secret: &str) -> NewToken {
    NewToken {
        secret: secret.to_owned(),
        pool: PoolName::ApiKey,
        label: String::new(),
        note: String::new(),
        tags: Vec::new(),
        proxy: None,
        switch: TokenSwitch::On,
    }
}

pub(super) fn usable(team: &str, models: &[&str]) -> ProbeReport {
    ProbeReport::Usable(Facts {
        team: Some(team.to_owned()),
        models: Some(models.iter().map(|name| (*name).to_owned()).collect()),
        ..Facts::default()
    })
}

pub(super) fn penalty(scope: Scope, cause: CoolingCause, for_ms: Option<u64>) -> Penalty {
    Penalty {
        scope,
        cause,
        for_ms,
        detail: "the upstream's words".to_owned(),
    }
}

/// Waits for something that happens in the background.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    for _ in 0..500 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen within 5 s");
}
