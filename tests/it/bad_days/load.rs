//! Demand on a cluster through a proxy that knows nothing but refused connections: those it tries on the next node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::support::http::Http;
use crate::support::{ask, ask_streamed};

/// What asks for less than the limits allow.
pub const STEADY: &str = "grok-4.6";
/// What asks for more.
pub const GREEDY: &str = "grok-4.3";

/// The nodes as the proxy knows them.
pub type Targets = Arc<Mutex<Vec<Http>>>;

/// One call and what became of it.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    pub took: Duration,
    pub model: &'static str,
    /// The node that took it.
    pub node: usize,
    /// A status, or what broke.
    pub outcome: Result<u16, String>,
    /// What a refusal said.
    pub said: String,
    /// The id of what was refused.
    pub request: String,
}

impl Call {
    fn is_ok(&self) -> bool {
        self.outcome == Ok(200)
    }
}

/// Demand that goes on until it is stopped.
pub struct Load {
    stop: CancellationToken,
    calls: JoinSet<Vec<Call>>,
}

impl Load {
    /// So many calls a second of each kind, through all nodes in turn.
    pub fn start(targets: &Targets, steady: u32, greedy: u32) -> Load {
        let stop = CancellationToken::new();
        let mut calls = JoinSet::new();
        for (model, rate) in [(STEADY, steady), (GREEDY, greedy)] {
            if rate > 0 {
                calls.spawn(keep_calling(targets.clone(), model, rate, stop.clone()));
            }
        }
        Load { stop, calls }
    }

    /// No new calls; what became of all.
    pub async fn end(mut self) -> Seen {
        self.stop.cancel();
        let mut all = Vec::new();
        while let Some(calls) = self.calls.join_next().await {
            all.extend(calls.unwrap());
        }
        all.sort_by_key(|call| call.at);
        Seen(all)
    }
}

async fn keep_calling(targets: Targets, model: &'static str, rate: u32, stop: CancellationToken) -> Vec<Call> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut under_way = JoinSet::new();
    for number in 0.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = pace.tick() => {}
        }
        under_way.spawn(call(targets.clone(), model, number));
    }
    under_way.join_all().await
}

async fn call(targets: Targets, model: &'static str, number: usize) -> Call {
    let at = Instant::now();
    let nodes = targets.lock().clone();
    let prompt = format!("call {number}");
    let is_streamed = number.is_multiple_of(3);
    let body = if is_streamed {
        ask_streamed(model, &prompt)
    } else {
        ask(model, &prompt)
    };
    let (mut node, mut answer) = (0, Err("no node".to_owned()));
    for turn in 0..nodes.len() {
        node = (number + turn) % nodes.len();
        let json = [("content-type", "application/json")];
        answer = nodes[node]
            .try_send(Method::POST, "/v1/chat/completions", &json, body.to_string())
            .await;
        match &answer {
            Err(error) if error.contains("ConnectionRefused") => {}
            _ => break,
        }
    }
    let (mut said, mut request) = (String::new(), String::new());
    let outcome = answer.and_then(|got| {
        let status = got.status.as_u16();
        if status == 200 && is_streamed && got.events().last().is_none_or(|last| last != "[DONE]") {
            return Err(format!("a stream ends with {:?}", got.events().last()));
        }
        if status != 200 {
            let after = got.header("retry-after");
            request = got.header("x-request-id").to_owned();
            said = format!("retry-after {after:?} {}", got.text());
        }
        Ok(status)
    });
    Call {
        at,
        took: at.elapsed(),
        model,
        node,
        outcome,
        said,
        request,
    }
}

/// What clients saw.
pub struct Seen(pub Vec<Call>);

impl Seen {
    /// Calls of one kind.
    pub fn of(&self, model: &'static str) -> impl Iterator<Item = &Call> {
        self.0.iter().filter(move |call| call.model == model)
    }

    /// Successes of both kinds.
    pub fn succeeded(&self) -> u64 {
        self.0.iter().filter(|call| call.is_ok()).count() as u64
    }

    /// Steady calls that failed, other than by the end of the node that had them.
    pub fn harmed(&self, killed: Option<usize>) -> Vec<&Call> {
        self.of(STEADY)
            .filter(|call| !call.is_ok())
            .filter(|call| call.outcome.is_ok() || killed != Some(call.node))
            .collect()
    }

    /// Every call was answered in form: 200, or a refusal with a time to come back; broken only where the node was killed.
    #[track_caller]
    pub fn assert_in_form(&self, killed: Option<usize>) {
        for call in &self.0 {
            match &call.outcome {
                Ok(200) => {}
                Ok(429 | 503) => assert!(!call.said.contains("retry-after \"\""), "{call:?}"),
                Ok(_) => panic!("{call:?}"),
                Err(_) => assert_eq!(killed, Some(call.node), "{call:?}"),
            }
        }
    }

    /// How long after `since` the last steady call failed.
    pub fn recovered_after(&self, since: Instant) -> Duration {
        let failed = self.of(STEADY).filter(|call| !call.is_ok());
        let last = failed.map(|call| call.at + call.took).max();
        last.map_or(Duration::ZERO, |last| last.saturating_duration_since(since))
    }

    /// For a person.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for model in [STEADY, GREEDY] {
            let mut ends: BTreeMap<String, usize> = BTreeMap::new();
            let mut took: Vec<Duration> = Vec::new();
            let mut examples: BTreeMap<String, &Call> = BTreeMap::new();
            for call in self.of(model) {
                let end = match &call.outcome {
                    Ok(status) => status.to_string(),
                    Err(_) => format!("broken by node {}", call.node),
                };
                *ends.entry(end.clone()).or_default() += 1;
                if call.is_ok() {
                    took.push(call.took);
                } else {
                    examples.entry(end).or_insert(call);
                }
            }
            took.sort_unstable();
            let quantile = |q: f64| {
                took.get(((took.len().max(1) - 1) as f64 * q) as usize)
                    .copied()
                    .unwrap_or_default()
            };
            let (p50, p99, most) = (quantile(0.5), quantile(0.99), quantile(1.0));
            text.push_str(&format!(
                "  {model}: {ends:?}, p50 {p50:.0?} p99 {p99:.0?} most {most:.0?}\n"
            ));
            let began = self.0.first().map_or_else(Instant::now, |call| call.at);
            for (end, call) in examples {
                let at = call.at - began;
                let said: String = call.said.chars().take(300).collect();
                text.push_str(&format!(
                    "    first {end} at {at:.1?} after {:.1?}: {said} {:?}\n",
                    call.took, call.outcome
                ));
            }
        }
        text
    }
}
