//! Many calls at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::http::{Got, Http};

/// What became of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Answers by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Connections that failed or broke, by what was said.
    pub broken: BTreeMap<String, usize>,
    /// Two answers of every status but 200.
    pub refusals: BTreeMap<u16, Vec<Got>>,
    /// How long it took.
    pub took: Duration,
    /// How long each call took, sorted.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// How many answers had this status.
    pub fn count(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// A quantile of the latencies.
    pub fn latency(&self, quantile: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get((last as f64 * quantile) as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Every call was answered 200.
    #[track_caller]
    pub fn assert_all_ok(&self, total: usize) {
        assert_eq!(self.count(200), total, "{}", self.describe());
    }

    /// For a person.
    pub fn describe(&self) -> String {
        let refusals: Vec<String> = self
            .refusals
            .values()
            .flatten()
            .map(|got| format!("{} {} {}", got.status, got.header("x-request-id"), got.text()))
            .collect();
        format!(
            "{:?} broken {:?} in {:.1?}, p50 {:.1?} p99 {:.1?}; {refusals:?}",
            self.statuses,
            self.broken,
            self.took,
            self.latency(0.5),
            self.latency(0.99)
        )
    }
}

/// Sends `total` chat calls with `in_flight` at a time throughout.
pub async fn run<F>(http: &Http, total: usize, in_flight: usize, body: F) -> Outcome
where
    F: Fn(usize) -> Value + Send + Sync + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let body = Arc::new(body);
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..in_flight.min(total) {
        let (http, next, body) = (http.clone(), next.clone(), body.clone());
        workers.spawn(async move {
            let mut results = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= total {
                    return results;
                }
                let began = Instant::now();
                let got = http.try_chat(&body(at)).await;
                results.push((began.elapsed(), got));
            }
        });
    }
    let mut outcome = Outcome::default();
    while let Some(results) = workers.join_next().await {
        for (took, got) in results.unwrap() {
            outcome.latencies.push(took);
            match got {
                Ok(got) => {
                    *outcome.statuses.entry(got.status.as_u16()).or_default() += 1;
                    if got.status != 200 {
                        let alike = outcome.refusals.entry(got.status.as_u16()).or_default();
                        if alike.len() < 2 {
                            alike.push(got);
                        }
                    }
                }
                Err(error) => *outcome.broken.entry(error).or_default() += 1,
            }
        }
    }
    outcome.latencies.sort_unstable();
    outcome.took = started.elapsed();
    outcome
}
