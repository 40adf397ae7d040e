//! Requests summed by the hour, kept for 31 days: they outlive the request log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::requests::Outcome;

/// Bounds of the histogram of times, milliseconds; one more bucket is above the last.
pub const TIME_BOUNDS_MS: [u32; 20] = [
    5, 10, 20, 50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 20_000, 40_000, 90_000,
    300_000,
];

/// What is summed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupSums {
    /// Requests.
    pub requests: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Of them cached.
    pub cached_tokens: u64,
    /// Tokens of answers, reasoning included.
    pub completion_tokens: u64,
    /// Cost, ticks of 1e-10 USD.
    pub cost_ticks: u64,
    /// Requests by total time: see [`TIME_BOUNDS_MS`].
    pub times: Vec<u64>,
}

/// Sums of one hour, model, key, provider, node and cause. Stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupRow {
    /// The hour since 1970.
    pub hour: u64,
    /// The model as it was served, else as it was named.
    pub model: String,
    /// The client key's id; empty for none of ours.
    pub key: String,
    /// Its name then.
    pub key_name: String,
    /// Whom it was sent to; empty if to nobody.
    pub provider: String,
    /// The node that answered; empty alone.
    pub node: String,
    /// How it ended.
    pub cause: Outcome,
    /// The sums.
    pub sums: RollupSums,
}

/// By what sums are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RollupBy {
    /// The model.
    #[default]
    Model,
    /// The client key.
    Key,
    /// Whom it was sent to.
    Provider,
    /// The node that answered.
    Node,
    /// How it ended.
    Cause,
}

/// How long a step of the series is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RollupStep {
    /// An hour.
    #[default]
    Hour,
    /// A day (UTC).
    Day,
}

/// Which sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollupAsk {
    /// Of hours that begin then or later, Unix milliseconds; not sent = 24 hours ago.
    pub since_ms: Option<u64>,
    /// Of hours that begin before, Unix milliseconds; not sent = now.
    pub until_ms: Option<u64>,
    /// Step of the series.
    pub step: RollupStep,
    /// Groups.
    pub by: RollupBy,
}

/// Sums for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollupView {
    /// Requests.
    pub requests: u64,
    /// Of them answered to their end.
    pub success: u64,
    /// The others.
    pub failed: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Of them cached.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Cost, ticks of 1e-10 USD.
    pub cost_ticks: u64,
    /// Half of the requests took at most this, milliseconds; a bound of the histogram.
    pub p50_ms: Option<u32>,
    /// 95 of 100.
    pub p95_ms: Option<u32>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollupPoint {
    /// When it begins, Unix milliseconds.
    pub at_ms: u64,
    /// Its sums.
    pub sums: RollupView,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollupGroup {
    /// Its value: a model, a key's id, …
    pub name: String,
    /// What people call it: a key's name.
    pub label: String,
    /// Its sums.
    pub sums: RollupView,
}

/// Sums of a period, over all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollupAnswer {
    /// The first hour, Unix milliseconds.
    pub since_ms: u64,
    /// The end.
    pub until_ms: u64,
    /// Of all of it.
    pub total: RollupView,
    /// Step by step, oldest first, without gaps.
    pub series: Vec<RollupPoint>,
    /// By group, the most requests first; at most 100.
    pub groups: Vec<RollupGroup>,
}
