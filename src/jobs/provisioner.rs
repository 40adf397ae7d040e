//! Credentials of a service that the operator runs: one signed request, one credential back. The contract stands in the
//! README, an example in `deploy/examples/provisioner.mjs`.

use std::time::Duration;

use futures::future::BoxFuture;
use grok2api_actors::clock::Clock;
use grok2api_actors::egress::{Egress, ProxySpec};
use grok2api_actors::jobs::source::{Fault, FaultKind, Order, Payload, Source, Supplied};
use grok2api_schemas::job::JobStep;
use grok2api_schemas::token::PoolName;
use http::StatusCode;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

/// Header of the signature: `v1=` and the HMAC-SHA256 of `<timestamp>.<body>` in hexadecimal digits.
const SIGNATURE: &str = "x-grok2api-signature";
/// Header of the time that was signed, Unix seconds.
const TIMESTAMP: &str = "x-grok2api-timestamp";
/// Header that is the same whenever the same item is asked for.
const SAME: &str = "idempotency-key";
/// Largest answer, bytes.
const LARGEST: u64 = 256 * 1024;

/// The service.
pub struct Provisioner {
    /// Its address.
    pub url: String,
    /// What requests are signed with.
    pub secret: SecretString,
    /// How long it may take.
    pub within: Duration,
    /// Connections.
    pub egress: Egress,
    /// Dates.
    pub clock: Clock,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "token", alias = "secret", alias = "key")]
    credential: String,
    #[serde(default)]
    pool: Option<PoolName>,
    #[serde(default)]
    label: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    proxy: Option<String>,
    #[serde(default)]
    id: String,
}

impl Provisioner {
    async fn ask(&self, order: &Order) -> Result<Supplied, Fault> {
        let fault = |kind, words: String| Fault::new(JobStep::Obtain, kind, words);
        let body = json!({
            "job": order.job, "item": order.index, "attempt": u32::from(order.tries) + 1, "pool": order.pool,
        })
        .to_string();
        let timestamp = (self.clock.wall().0 / 1_000).to_string();
        let signature = signature(self.secret.expose_secret(), &timestamp, &body);
        let client = self
            .egress
            .client(&ProxySpec::default(), self.within)
            .map_err(|error| fault(FaultKind::Hopeless, error.to_string()))?;
        let sent = client
            .post(&self.url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(TIMESTAMP, timestamp)
            .header(SIGNATURE, signature)
            .header(SAME, format!("{}/{}", order.job, order.index))
            .body(body)
            .send()
            .await;
        // The same item is asked for again with the same key, so a lost answer is no reason to wait.
        let mut response = sent.map_err(|error| {
            fault(
                FaultKind::Again(None),
                format!("the provisioner does not answer: {}", error.without_url()),
            )
        })?;
        let status = response.status();
        let after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
            .map(|seconds| seconds.saturating_mul(1_000));
        let mut text = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(some)) if (text.len() + some.len()) as u64 <= LARGEST => text.extend_from_slice(&some),
                Ok(Some(_)) => {
                    let words = format!("the provisioner's answer is larger than {} KiB", LARGEST / 1024);
                    return Err(fault(FaultKind::Never, words));
                }
                Err(error) => {
                    let words = format!("the provisioner's answer broke off: {}", error.without_url());
                    return Err(fault(FaultKind::Again(None), words));
                }
            }
        }
        let words = || format!("the provisioner says: {} ({})", words_of(&text), status.as_u16());
        match status {
            StatusCode::NO_CONTENT => Err(fault(FaultKind::Empty, "the provisioner has no more".to_owned())),
            status if status.is_success() => read(&text).map_err(|words| fault(FaultKind::Never, words)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(fault(FaultKind::Hopeless, words())),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(fault(FaultKind::Again(after), words())),
            status if status.is_server_error() => Err(fault(FaultKind::Again(after), words())),
            _ => Err(fault(FaultKind::Never, words())),
        }
    }
}

impl Source for Provisioner {
    fn settles_ms(&self) -> u64 {
        0
    }

    fn obtain<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Supplied, Fault>> {
        Box::pin(self.ask(order))
    }

    fn recover<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Option<Supplied>, Fault>> {
        Box::pin(async move { self.ask(order).await.map(Some) })
    }
}

fn read(text: &[u8]) -> Result<Supplied, String> {
    let answer: Answer = serde_json::from_slice(text).map_err(|error| {
        // Not its words: they may quote the credential.
        format!(
            "the provisioner's answer is not `{{\"credential\": …}}` (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    let mut payload = Payload::of(answer.credential);
    payload.pool = answer.pool;
    payload.label = answer.label;
    payload.note = answer.note;
    payload.tags = answer.tags;
    payload.proxy = answer.proxy;
    Ok(Supplied {
        payload,
        foreign: answer.id,
    })
}

fn words_of(text: &[u8]) -> String {
    let body: Value = serde_json::from_slice(text).unwrap_or_default();
    let words = ["/error/message", "/message", "/error"]
        .iter()
        .find_map(|place| body.pointer(place)?.as_str());
    words.unwrap_or("no reason given").chars().take(200).collect()
}

/// `v1=` and the HMAC-SHA256 of `<timestamp>.<body>`.
fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_openssl_says() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signature("secret", "1700000000", r#"{"a":1}"#),
            "v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
        );
    }

    #[test]
    fn an_answer_is_read_and_a_wrong_one_is_not_repeated() {
        let supplied = read(br#"{"credential":"xai-one","label":"a","pool":"apiKey","id":"7","more":1}"#).unwrap();
        assert_eq!(
            (supplied.payload.secret.as_str(), supplied.foreign.as_str()),
            ("xai-one", "7")
        );
        let words = read(br#"{"credentials":"xai-secret"}"#).unwrap_err();
        assert!(!words.contains("xai-secret"), "{words}");
    }
}
