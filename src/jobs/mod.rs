//! What registration jobs (`actors::jobs`) need of this node: sources by kind of job, and the way into the pool.

mod provisioner;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use grok2api_actors::clock::Clock;
use grok2api_actors::egress::{Egress, ProxySpec};
use grok2api_actors::jobs::source::{Admitted, Fault, FaultKind, Order, Payload, Source, Supplied, Workshop};
use grok2api_actors::token::Pool;
use grok2api_actors::token::probe::{ProbeReport, Prober};
use grok2api_schemas::admin::tokens::{EnrolResult, NewToken, TokenPatch};
use grok2api_schemas::config::{Config, RegisterConfig};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::job::{JobRecord, JobSpec, JobStep, TokenAction};
use grok2api_schemas::token::{CoolingCause, PoolName, TokenSwitch};
use secrecy::SecretString;

use crate::ops::import::pool_of;
use crate::ops::jobs::{JobDesk, NamedKey};
use crate::ops::tokens::checked;
use crate::providers::xai::team_keys::{Minting, Revoking, Rotating, TeamKeys};
use provisioner::Provisioner;

/// This node's part of every job.
pub struct Shop {
    /// The configuration in force.
    pub config: Arc<ArcSwap<Config>>,
    /// The pool.
    pub pool: Pool,
    /// Asks the upstream about a credential.
    pub prober: Arc<dyn Prober>,
    /// Connections.
    pub egress: Egress,
    /// How calls to the official API go out.
    pub proxy: ProxySpec,
    /// Dates.
    pub clock: Clock,
}

impl Shop {
    /// The Management API, where it is configured.
    ///
    /// # Errors
    /// What must be set.
    pub fn team_keys(&self) -> Result<TeamKeys, String> {
        let config = self.config.load();
        let key = config.xai.management_key.expose();
        if key.is_empty() {
            return Err("xai.management_key is not set: the Management API makes, rotates and revokes keys".to_owned());
        }
        Ok(TeamKeys::new(
            &config.xai.management_url,
            SecretString::from(key.to_owned()),
            self.egress.clone(),
            self.proxy.clone(),
        ))
    }

    fn provisioner(&self) -> Result<Provisioner, String> {
        let config = self.config.load();
        let (url, secret) = (&config.jobs.provisioner_url, config.jobs.provisioner_secret.expose());
        for (value, name) in [
            (url.as_str(), "jobs.provisioner_url"),
            (secret, "jobs.provisioner_secret"),
        ] {
            if value.is_empty() {
                return Err(format!(
                    "{name} is not set: it says where your service hands out credentials"
                ));
            }
        }
        Ok(Provisioner {
            url: url.clone(),
            secret: SecretString::from(secret.to_owned()),
            within: Duration::from_secs(config.jobs.provisioner_timeout_secs),
            egress: self.egress.clone(),
            clock: self.clock.clone(),
        })
    }

    async fn verify(&self, token: &NewToken) -> Result<String, Fault> {
        let fault = |kind, words: String| Err(Fault::new(JobStep::Verify, kind, words));
        // Web sessions have no free call that tells anything; the pool asks about them in use.
        if token.pool != PoolName::ApiKey || self.pool.find_by_secret(&token.secret).is_some() {
            return Ok(String::new());
        }
        let proxy = match &token.proxy {
            Some(url) => match ProxySpec::parse(url) {
                Ok(proxy) => proxy,
                Err(words) => return fault(FaultKind::Never, words),
            },
            None => self.proxy.clone(),
        };
        let secret = SecretString::from(token.secret.clone());
        match self.prober.probe(&secret, &proxy).await {
            ProbeReport::Usable(_) => Ok(String::new()),
            // A key without credit is a good key: the pool keeps it and looks when it is funded.
            ProbeReport::Refused { penalty, .. } if penalty.cause == CoolingCause::OutOfCredit => Ok(penalty.detail),
            ProbeReport::Refused { penalty, .. } => fault(FaultKind::Never, penalty.detail),
            ProbeReport::Unreachable(words) => fault(FaultKind::Again(None), words),
        }
    }
}

impl Workshop for Shop {
    fn source(&self, spec: &JobSpec) -> Result<Arc<dyn Source>, String> {
        Ok(match spec {
            // Tokens are in the pool: nothing is obtained.
            JobSpec::List | JobSpec::Batch(_) => Arc::new(List),
            JobSpec::Mint(spec) => Arc::new(Minting {
                keys: self.team_keys()?,
                spec: spec.clone(),
            }),
            JobSpec::Rotate(spec) => Arc::new(Rotating {
                keys: self.team_keys()?,
                spec: spec.clone(),
                clock: self.clock.clone(),
            }),
            JobSpec::Revoke => Arc::new(Revoking {
                keys: self.team_keys()?,
            }),
            JobSpec::Provision => Arc::new(self.provisioner()?),
        })
    }

    fn admit<'a>(&'a self, job: &'a JobRecord, payload: Payload) -> BoxFuture<'a, Result<Admitted, Fault>> {
        Box::pin(async move {
            let token = NewToken {
                pool: payload.pool.or(job.pool).unwrap_or_else(|| pool_of(&payload.secret)),
                secret: payload.secret.clone(),
                label: payload.label.clone(),
                note: payload.note.clone(),
                tags: payload.tags.clone(),
                proxy: payload.proxy.clone(),
                switch: payload.switch,
            };
            let token = checked(token, "")
                .map_err(|error| Fault::new(JobStep::Normalise, FaultKind::Never, error.message.into_owned()))?;
            let note = match job.verify {
                true => self.verify(&token).await?,
                false => String::new(),
            };
            let enrol = |kind, words: String| Fault::new(JobStep::Enrol, kind, words);
            let outcome = match Pool::enrol(&self.pool, vec![token]).await {
                Ok(mut outcomes) => outcomes.pop(),
                Err(error) => return Err(enrol(FaultKind::Again(None), error.to_string())),
            };
            match outcome.map(|outcome| (outcome.id, outcome.masked, outcome.result)) {
                Some((Some(token), masked, result)) => Ok(Admitted {
                    token,
                    masked,
                    is_new: result == EnrolResult::Added,
                    note,
                }),
                Some((None, _, EnrolResult::Invalid(words))) => Err(enrol(FaultKind::Never, words)),
                _ => Err(enrol(FaultKind::Again(None), "the pool said nothing of it".to_owned())),
            }
        })
    }

    fn apply(&self, action: TokenAction, token: TokenId) -> BoxFuture<'_, Result<String, Fault>> {
        Box::pin(async move {
            let fault = |kind, words: String| Fault::new(JobStep::Apply, kind, words);
            if self.pool.find(token).is_none() {
                return match action {
                    TokenAction::Delete => Ok(String::new()),
                    _ => Err(fault(FaultKind::Never, "it is not in the pool any more".to_owned())),
                };
            }
            let switched = |switch| TokenPatch {
                switch: Some(switch),
                ..TokenPatch::default()
            };
            let done = match action {
                TokenAction::Refresh => {
                    let outcomes = self.pool.refresh(&[token]).await;
                    return match outcomes.into_iter().next() {
                        Some(outcome) if outcome.ok => Ok(String::new()),
                        Some(outcome) => Err(fault(FaultKind::Never, outcome.detail.unwrap_or_default())),
                        None => Err(fault(FaultKind::Never, "it is not in the pool any more".to_owned())),
                    };
                }
                TokenAction::ClearCooling => self.pool.clear_cooling(&[token]).await.map(drop),
                TokenAction::Enable => self.pool.patch(vec![(token, switched(TokenSwitch::On))]).await,
                TokenAction::Disable => self.pool.patch(vec![(token, switched(TokenSwitch::Off))]).await,
                TokenAction::Delete => self.pool.delete(&[token]).await.map(drop),
            };
            done.map(|()| String::new())
                .map_err(|error| fault(FaultKind::Again(None), error.to_string()))
        })
    }

    fn withdraw(&self, token: TokenId) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let deleted = self.pool.delete(&[token]).await;
            deleted
                .map(drop)
                .map_err(|error| Fault::new(JobStep::Revoke, FaultKind::Again(None), error.to_string()))
        })
    }
}

impl JobDesk for Shop {
    fn defaults(&self) -> RegisterConfig {
        self.config.load().register.clone()
    }

    fn own_team(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move { self.team_keys()?.own_team().await })
    }

    fn keys_named<'a>(&'a self, team: &'a str, begins: &'a str) -> BoxFuture<'a, Result<Vec<NamedKey>, String>> {
        Box::pin(async move {
            let found = self.team_keys()?.list(team, begins).await?;
            Ok(found.into_iter().map(|key| (key.api_key_id, key.name)).collect())
        })
    }

    fn check_management(&self) -> Result<(), String> {
        self.team_keys().map(drop)
    }

    fn check_provisioner(&self) -> Result<(), String> {
        self.provisioner().map(drop)
    }

    fn masked(&self, token: TokenId) -> Option<String> {
        self.pool.find(token).map(|token| token.record().masked.clone())
    }
}

/// Credentials that are here already.
struct List;

impl Source for List {
    fn settles_ms(&self) -> u64 {
        0
    }

    fn obtain<'a>(&'a self, _: &'a Order) -> BoxFuture<'a, Result<Supplied, Fault>> {
        Box::pin(async { Err(Fault::new(JobStep::Obtain, FaultKind::Never, "there is no more of it")) })
    }

    fn recover<'a>(&'a self, _: &'a Order) -> BoxFuture<'a, Result<Option<Supplied>, Fault>> {
        Box::pin(async { Ok(None) })
    }
}
