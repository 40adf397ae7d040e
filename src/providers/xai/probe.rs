//! Asking the official API about a key with calls that cost nothing: `/v1/api-key` tells the team and whether the key is
//! blocked, `/v1/models` what it may use and whether the team has credit, `/v1/me` about data retention.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use grok2api_actors::egress::{Egress, ProxySpec};
use grok2api_actors::token::cooling::Penalty;
use grok2api_actors::token::probe::{Facts, ProbeReport, Prober};
use grok2api_schemas::token::{CoolingCause, LearnedLimits};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::classify::{CoolScope, Verdict};
use super::management::limits_of;
use super::upstream::XaiUpstream;
use crate::catalogue::ListedModel;
use crate::providers::Provider;
use grok2api_actors::token::cooling::Scope;

/// A probe's time for one call.
const WITHIN: Duration = Duration::from_secs(10);

/// Probes keys of the official API.
pub struct XaiProber {
    base_url: String,
    egress: Egress,
    upstream: Arc<XaiUpstream>,
    listed: Listed,
    management: Option<Management>,
}

/// The Management API: tells the limits of the operator's own teams.
pub struct Management {
    /// Its address, such as `https://management-api.x.ai`.
    pub base_url: String,
    /// The management key.
    pub key: SecretString,
}

/// Told of the models that a key may use, whenever the upstream lists them.
pub type Listed = Box<dyn Fn(&[ListedModel]) + Send + Sync>;

/// What `/v1/api-key` tells (`xai-api.md` §7).
#[derive(Deserialize)]
struct ApiKeyInfo {
    #[serde(default)]
    team_id: Option<String>,
    #[serde(default)]
    team_blocked: bool,
    #[serde(default)]
    api_key_blocked: bool,
    #[serde(default)]
    api_key_disabled: bool,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ModelInfo>,
}

#[derive(Deserialize)]
struct ModelInfo {
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Deserialize)]
struct Me {
    #[serde(default)]
    zdr_status: Option<String>,
}

/// One call's answer.
enum Said {
    Text(Vec<u8>),
    /// There is no such route here: an upstream that speaks the API only in part.
    NoSuchRoute,
    No(StatusCode, Box<Verdict>),
    Away(String),
}

impl XaiProber {
    /// Probes over these connections.
    pub fn new(
        base_url: &str,
        egress: Egress,
        upstream: Arc<XaiUpstream>,
        listed: Listed,
        management: Option<Management>,
    ) -> XaiProber {
        XaiProber {
            base_url: base_url.trim_end_matches('/').to_owned(),
            egress,
            upstream,
            listed,
            management,
        }
    }

    /// The limits of a team, where a management key is set and may see them. Not knowing them is no fault of the token.
    async fn team_limits(&self, client: &reqwest::Client, team: &str) -> Vec<(String, LearnedLimits)> {
        let Some(management) = &self.management else {
            return Vec::new();
        };
        let url = format!("{}/auth/teams/{team}/models", management.base_url.trim_end_matches('/'));
        let asked = async {
            let response = client
                .get(url)
                .bearer_auth(management.key.expose_secret())
                .send()
                .await?;
            response.error_for_status()?.bytes().await
        };
        match asked.await {
            Ok(text) => limits_of(&text),
            Err(error) => {
                tracing::warn!(%team, error = %in_full(&error.without_url()), "the Management API does not tell the team's limits");
                Vec::new()
            }
        }
    }

    async fn get(&self, client: &reqwest::Client, path: &str, secret: &SecretString) -> Said {
        let sent = client
            .get(format!("{}{path}", self.base_url))
            .bearer_auth(secret.expose_secret())
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Said::Away(in_full(&error.without_url())),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let text = match response.bytes().await {
            Ok(text) => text,
            Err(error) => return Said::Away(in_full(&error.without_url())),
        };
        if status.is_success() {
            return Said::Text(text.to_vec());
        }
        if status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED {
            return Said::NoSuchRoute;
        }
        let verdict = self.upstream.classify(status.as_u16(), &headers, &text, "", "");
        if status.is_server_error() && verdict.cool.is_none() {
            return Said::Away(format!("status {}", status.as_u16()));
        }
        Said::No(status, Box::new(verdict))
    }

    async fn ask(&self, secret: &SecretString, proxy: &ProxySpec) -> ProbeReport {
        let client = match self.egress.client(proxy, WITHIN) {
            Ok(client) => client,
            Err(error) => return ProbeReport::Unreachable(error.to_string()),
        };
        let mut facts = Facts::default();
        match self.get(&client, "/api-key", secret).await {
            Said::Away(reason) => return ProbeReport::Unreachable(reason),
            Said::NoSuchRoute => facts.cannot_tell_team = true,
            Said::No(_, verdict) => return refused(*verdict, facts),
            Said::Text(text) => match serde_json::from_slice::<ApiKeyInfo>(&text) {
                Ok(info) => {
                    facts.team = info.team_id.filter(|team| !team.is_empty());
                    facts.cannot_tell_team = facts.team.is_none();
                    let blocked = |what: &str, scope: Scope| ProbeReport::Refused {
                        penalty: Penalty {
                            scope,
                            cause: CoolingCause::BadCredential,
                            for_ms: None,
                            detail: format!("the upstream says: {what}"),
                        },
                        facts: facts.clone(),
                    };
                    if info.api_key_blocked {
                        return blocked("the key is blocked", Scope::Token);
                    }
                    if info.api_key_disabled {
                        return blocked("the key is disabled", Scope::Token);
                    }
                    if info.team_blocked {
                        return blocked("the team is blocked", Scope::Team);
                    }
                }
                Err(_) => facts.cannot_tell_team = true,
            },
        }
        match self.get(&client, "/models", secret).await {
            Said::Away(reason) => return ProbeReport::Unreachable(reason),
            Said::NoSuchRoute => {}
            Said::No(status, verdict) => {
                let report = refused(*verdict, facts.clone());
                if status != StatusCode::FORBIDDEN || !is_about_the_route(&report, !facts.cannot_tell_team) {
                    return report;
                }
                // A key whose access list leaves this route out is a good key all the same: what it may use shows in use.
            }
            Said::Text(text) => {
                if let Ok(list) = serde_json::from_slice::<ModelList>(&text) {
                    let listed: Vec<ListedModel> = list
                        .data
                        .iter()
                        .map(|model| ListedModel {
                            id: model.id.clone(),
                            aliases: model.aliases.clone(),
                        })
                        .collect();
                    (self.listed)(&listed);
                    let mut models: Vec<String> = list
                        .data
                        .into_iter()
                        .flat_map(|model| std::iter::once(model.id).chain(model.aliases))
                        .collect();
                    models.sort();
                    models.dedup();
                    facts.models = Some(models);
                }
            }
        }
        if let Said::Text(text) = self.get(&client, "/me", secret).await
            && let Ok(me) = serde_json::from_slice::<Me>(&text)
        {
            facts.zdr = me.zdr_status.map(|status| status == "zdr");
        }
        if let Some(team) = &facts.team {
            facts.limits = self.team_limits(&client, team).await;
        }
        ProbeReport::Usable(facts)
    }
}

/// What went wrong, with its causes: the outermost says only that the request could not be sent.
fn in_full(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = inner.source();
    }
    words
}

/// Whether a 403 for the list of models may be meant for that route alone. `is_known`: the upstream has just said whose key
/// it is, and that it is neither blocked nor disabled.
fn is_about_the_route(report: &ProbeReport, is_known: bool) -> bool {
    match report {
        ProbeReport::Usable(_) | ProbeReport::Unreachable(_) => true,
        // What is refused for good, or for want of credit, the upstream says in so many words.
        ProbeReport::Refused { penalty, .. } => {
            is_known && penalty.cause == CoolingCause::BadCredential && penalty.for_ms.is_some()
        }
    }
}

fn refused(verdict: Verdict, facts: Facts) -> ProbeReport {
    match verdict.cool {
        Some(cool) if matches!(cool.cause, CoolingCause::BadCredential | CoolingCause::OutOfCredit) => {
            ProbeReport::Refused {
                penalty: Penalty {
                    scope: match cool.scope {
                        CoolScope::Team | CoolScope::TeamModel => Scope::Team,
                        CoolScope::Token | CoolScope::TokenModel => Scope::Token,
                    },
                    cause: cool.cause,
                    for_ms: cool.for_ms,
                    detail: verdict.detail,
                },
                facts,
            }
        }
        // A rate limit or a passing refusal says nothing of the key.
        _ => ProbeReport::Unreachable(verdict.detail),
    }
}

impl Prober for XaiProber {
    fn probe<'a>(&'a self, secret: &'a SecretString, proxy: &'a ProxySpec) -> BoxFuture<'a, ProbeReport> {
        Box::pin(self.ask(secret, proxy))
    }
}
