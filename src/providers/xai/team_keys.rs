//! Keys of a team through the Management API (`xai-api.md` §15): minted, rotated, revoked.
//!
//! A call that makes a key is not repeated when its answer was lost: the key is looked for by its name, which is the job's
//! own, and gets a new secret if it is there. So every item of a job is one key, whatever breaks.

use std::time::Duration;

use futures::future::BoxFuture;
use grok2api_actors::egress::{Egress, ProxySpec};
use grok2api_actors::jobs::source::{Fault, FaultKind, Order, Payload, Source, Supplied};
use grok2api_schemas::job::{JobStep, MintSpec, RotateSpec};
use grok2api_schemas::token::PoolName;
use http::Method;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longest time for one call.
const WITHIN: Duration = Duration::from_secs(15);
/// A call that was sent may be carried out for this long; clocks of nodes may be apart by a few seconds.
const SETTLES_MS: u64 = 25_000;
/// Between two looks whether a new key is known everywhere.
const LOOK_AGAIN_MS: u64 = 1_000;
/// Keys of one page.
const PAGE: usize = 100;
/// Pages of a list that are read; more keys than a team may have.
const PAGES: usize = 100;

/// The Management API, as jobs use it.
#[derive(Clone)]
pub struct TeamKeys {
    base_url: String,
    key: SecretString,
    egress: Egress,
    proxy: ProxySpec,
}

/// A key, without its secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TeamKey {
    /// Its id.
    pub api_key_id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Whether it is switched off.
    #[serde(default)]
    pub disabled: bool,
}

/// How a call went wrong.
enum Refusal {
    /// It never came there, or is said not to have been done; the time to wait, if it was said.
    NotNow(String, Option<u64>),
    /// Nobody knows.
    Perhaps(String),
    /// There is no such thing.
    Gone(String),
    /// This call, for good.
    No(String),
    /// Every call: the management key is wrong or may not do it.
    Never(String),
}

impl TeamKeys {
    /// Over these connections.
    pub fn new(base_url: &str, key: SecretString, egress: Egress, proxy: ProxySpec) -> TeamKeys {
        TeamKeys {
            base_url: base_url.trim_end_matches('/').to_owned(),
            key,
            egress,
            proxy,
        }
    }

    /// The team that the management key belongs to.
    ///
    /// # Errors
    /// Words for the operator.
    pub async fn own_team(&self) -> Result<String, String> {
        let said = self.call(Method::GET, "/auth/management-keys/validation", None).await;
        let said = said.map_err(Refusal::words)?;
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let team = match text("scope").as_str() {
            "SCOPE_ORGANIZATION" => String::new(),
            _ => [text("scopeId"), text("teamId")]
                .into_iter()
                .find(|id| !id.is_empty())
                .unwrap_or_default(),
        };
        match team.is_empty() {
            true => Err("the management key belongs to an organisation: say which `team`".to_owned()),
            false => Ok(team),
        }
    }

    /// Active keys of a team whose name begins so.
    ///
    /// # Errors
    /// Words for the operator.
    pub async fn list(&self, team: &str, name_begins: &str) -> Result<Vec<TeamKey>, String> {
        self.all(team, |key| key.name.starts_with(name_begins) && !key.disabled)
            .await
            .map_err(Refusal::words)
    }

    async fn all(&self, team: &str, wanted: impl Fn(&TeamKey) -> bool) -> Result<Vec<TeamKey>, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            #[serde(default)]
            api_keys: Vec<TeamKey>,
            #[serde(default)]
            pagination_token: String,
        }
        let mut found = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES {
            let path = format!(
                "/auth/teams/{}/api-keys?pageSize={PAGE}&activeOnly=true&paginationToken={}",
                escaped(team),
                escaped(&token)
            );
            let page = self.call(Method::GET, &path, None).await?;
            let page: Page = serde_json::from_value(page).map_err(|_| {
                Refusal::No("the Management API answered something else than a list of keys".to_owned())
            })?;
            found.extend(page.api_keys.into_iter().filter(&wanted));
            if page.pagination_token.is_empty() {
                return Ok(found);
            }
            token = page.pagination_token;
        }
        Err(Refusal::No("the team has more keys than are looked through".to_owned()))
    }

    /// A new secret for a key; the old one goes on until then.
    async fn rotate(&self, id: &str, old_until_ms: u64, expire_time: Option<&str>) -> Result<Supplied, Refusal> {
        let body = json!({"oldSecretExpireTime": rfc3339(old_until_ms), "expireTime": expire_time});
        let path = format!("/auth/api-keys/{}/rotate", escaped(id));
        let said = self.call(Method::POST, &path, Some(body)).await?;
        supplied(&said, id)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Refusal> {
        let is_look = method == Method::GET;
        let client = self
            .egress
            .client(&self.proxy, WITHIN)
            .map_err(|error| Refusal::No(error.to_string()))?;
        let mut request = client
            .request(method, format!("{}{path}", self.base_url))
            .bearer_auth(self.key.expose_secret());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let never_sent = error.is_connect();
                let words = format!("the Management API cannot be reached: {}", error.without_url());
                return Err(match never_sent || is_look {
                    true => Refusal::NotNow(words, None),
                    false => Refusal::Perhaps(words),
                });
            }
        };
        let status = response.status();
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
            .map(|seconds| seconds.saturating_mul(1_000));
        let text = match response.bytes().await {
            Ok(text) => text,
            Err(error) => {
                return Err(Refusal::Perhaps(format!(
                    "the answer broke off: {}",
                    error.without_url()
                )));
            }
        };
        if status.is_success() {
            let empty = text.trim_ascii().is_empty();
            let body = if empty {
                Ok(json!({}))
            } else {
                serde_json::from_slice(&text)
            };
            return body.map_err(|_| Refusal::Perhaps("the answer is not JSON".to_owned()));
        }
        let words = format!("{} ({})", words_of(&text), status.as_u16());
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Refusal::Never(format!("the management key is not accepted: {words}"))
            }
            StatusCode::NOT_FOUND => Refusal::Gone(words),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Refusal::NotNow(words, retry_after),
            status if status.is_server_error() && is_look => Refusal::NotNow(words, retry_after),
            status if status.is_server_error() => Refusal::Perhaps(words),
            _ => Refusal::No(words),
        })
    }
}

impl Refusal {
    fn words(self) -> String {
        match self {
            Refusal::NotNow(words, _)
            | Refusal::Perhaps(words)
            | Refusal::Gone(words)
            | Refusal::No(words)
            | Refusal::Never(words) => words,
        }
    }

    fn fault(self, step: JobStep) -> Fault {
        let kind = match &self {
            Refusal::NotNow(_, after) => FaultKind::Again(*after),
            Refusal::Perhaps(_) => FaultKind::Perhaps,
            Refusal::Gone(_) | Refusal::No(_) => FaultKind::Never,
            Refusal::Never(_) => FaultKind::Hopeless,
        };
        Fault::new(step, kind, self.words())
    }
}

/// New keys.
pub struct Minting {
    /// Where.
    pub keys: TeamKeys,
    /// What they may do.
    pub spec: MintSpec,
}

impl Minting {
    async fn mint(&self, order: &Order) -> Result<Supplied, Refusal> {
        let spec = &self.spec;
        let mut body = json!({"name": order.name, "acls": spec.acls});
        let limits = [
            ("qps", spec.qps.map(Value::from)),
            ("qpm", spec.qpm.map(Value::from)),
            // 64-bit numbers travel as text.
            ("tpm", spec.tpm.map(|tpm| Value::from(tpm.to_string()))),
            ("expireTime", spec.expire_time.clone().map(Value::from)),
        ];
        for (name, value) in limits {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        let path = format!("/auth/teams/{}/api-keys", escaped(&spec.team));
        let said = self.keys.call(Method::POST, &path, Some(body)).await?;
        let id = said["apiKeyId"].as_str().unwrap_or_default().to_owned();
        supplied(&said, &id)
    }

    /// The key of that name, if it was made.
    async fn find(&self, name: &str) -> Result<Option<TeamKey>, Refusal> {
        Ok(self.keys.all(&self.spec.team, |key| key.name == name).await?.pop())
    }
}

impl Source for Minting {
    fn settles_ms(&self) -> u64 {
        SETTLES_MS
    }

    fn obtain<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Supplied, Fault>> {
        Box::pin(async move {
            let minted = self.mint(order).await;
            minted
                .map(|supplied| named(supplied, order))
                .map_err(|refusal| refusal.fault(JobStep::Obtain))
        })
    }

    fn recover<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Option<Supplied>, Fault>> {
        Box::pin(async move {
            let found = async {
                let Some(key) = self.find(&order.name).await? else {
                    return Ok(None);
                };
                // Its secret was told once, to somebody who is gone: it gets another, and that one ends.
                self.keys
                    .rotate(&key.api_key_id, 0, self.spec.expire_time.as_deref())
                    .await
                    .map(Some)
            };
            let found: Result<Option<Supplied>, Refusal> = found.await;
            found
                .map(|found| found.map(|supplied| named(supplied, order)))
                .map_err(|refusal| refusal.fault(JobStep::Obtain))
        })
    }

    fn is_ready<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.keys.is_known_everywhere(&order.foreign))
    }

    fn revoke<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.keys.delete(&order.foreign))
    }
}

/// New secrets.
pub struct Rotating {
    /// Where.
    pub keys: TeamKeys,
    /// How.
    pub spec: RotateSpec,
    /// Dates.
    pub clock: grok2api_actors::clock::Clock,
}

impl Rotating {
    async fn rotate(&self, order: &Order) -> Result<Supplied, Fault> {
        let until = self.clock.wall().0 + self.spec.overlap_ms;
        let rotated = self
            .keys
            .rotate(&order.foreign, until, self.spec.expire_time.as_deref())
            .await;
        rotated
            .map(|supplied| named(supplied, order))
            .map_err(|refusal| refusal.fault(JobStep::Obtain))
    }
}

impl Source for Rotating {
    fn settles_ms(&self) -> u64 {
        SETTLES_MS
    }

    fn obtain<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Supplied, Fault>> {
        Box::pin(self.rotate(order))
    }

    fn recover<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Option<Supplied>, Fault>> {
        // A secret that nobody heard is replaced by one more: the key is the same.
        Box::pin(async move { self.rotate(order).await.map(Some) })
    }

    fn is_ready<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.keys.is_known_everywhere(&order.foreign))
    }
}

/// Keys that are deleted.
pub struct Revoking {
    /// Where.
    pub keys: TeamKeys,
}

impl Source for Revoking {
    fn settles_ms(&self) -> u64 {
        0
    }

    fn obtain<'a>(&'a self, _: &'a Order) -> BoxFuture<'a, Result<Supplied, Fault>> {
        Box::pin(async {
            Err(Fault::new(
                JobStep::Obtain,
                FaultKind::Never,
                "nothing is had from a revocation",
            ))
        })
    }

    fn recover<'a>(&'a self, _: &'a Order) -> BoxFuture<'a, Result<Option<Supplied>, Fault>> {
        Box::pin(async { Ok(None) })
    }

    fn revoke<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.keys.delete(&order.foreign))
    }
}

impl TeamKeys {
    async fn is_known_everywhere(&self, id: &str) -> Result<(), Fault> {
        let wait = |words: String| Fault::new(JobStep::Propagate, FaultKind::Wait(LOOK_AGAIN_MS), words);
        let path = format!("/auth/api-keys/{}/propagation", escaped(id));
        let said = match self.call(Method::GET, &path, None).await {
            Ok(said) => said,
            Err(Refusal::Gone(_)) => return Err(wait("the key is not known yet".to_owned())),
            Err(refusal) => return Err(refusal.fault(JobStep::Propagate)),
        };
        let Some(places) = said["icPropagation"].as_object() else {
            return Ok(());
        };
        let missing: Vec<&str> = places
            .iter()
            .filter(|(_, known)| **known != Value::Bool(true))
            .map(|(place, _)| place.as_str())
            .collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(wait(format!("not known yet at {}", missing.join(", ")))),
        }
    }

    async fn delete(&self, id: &str) -> Result<(), Fault> {
        let path = format!("/auth/api-keys/{}", escaped(id));
        match self.call(Method::DELETE, &path, None).await {
            Ok(_) | Err(Refusal::Gone(_)) => Ok(()),
            // Deleting twice is as deleting once.
            Err(Refusal::Perhaps(words)) => Err(Fault::new(JobStep::Revoke, FaultKind::Again(None), words)),
            Err(refusal) => Err(refusal.fault(JobStep::Revoke)),
        }
    }
}

fn named(mut supplied: Supplied, order: &Order) -> Supplied {
    supplied.payload.label.clone_from(&order.name);
    supplied
}

fn supplied(said: &Value, id: &str) -> Result<Supplied, Refusal> {
    let Some(secret) = said["apiKey"].as_str().filter(|secret| !secret.is_empty()) else {
        // It is there, and its secret is not: to be found by its name.
        return Err(Refusal::Perhaps("the answer holds no key".to_owned()));
    };
    let mut payload = Payload::of(secret.to_owned());
    payload.pool = Some(PoolName::ApiKey);
    Ok(Supplied {
        payload,
        foreign: id.to_owned(),
    })
}

/// The Management API's own words, or what stands for them.
pub(super) fn words_of(text: &[u8]) -> String {
    let body: Value = serde_json::from_slice(text).unwrap_or_default();
    let words = ["/error/message", "/message", "/error"]
        .iter()
        .find_map(|place| body.pointer(place)?.as_str());
    words.unwrap_or("no reason given").chars().take(200).collect()
}

/// A date as the Management API takes it; 0 = at once.
fn rfc3339(ms: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp((ms / 1_000).try_into().ok()?).ok()?;
    at.format(&Rfc3339).ok()
}

/// Ids are the upstream's or the operator's: nothing in them may change the path.
pub(super) fn escaped(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_in_their_place_and_dates_are_written_as_they_are_read() {
        assert_eq!(escaped("../x?y=1&z"), "..%2Fx%3Fy%3D1%26z");
        assert_eq!(rfc3339(1_700_000_000_000).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(words_of(br#"{"error":{"message":"no"}}"#), "no");
        assert_eq!(words_of(br#"{"code":7,"message":"denied"}"#), "denied");
        assert_eq!(words_of(b"<html>"), "no reason given");
    }
}
