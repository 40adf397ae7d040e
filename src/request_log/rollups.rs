//! Requests summed by the hour, kept for 31 days. They are written in the same batch as the records that they count, of
//! this node and of the others: what is counted is counted once, and stays when the records are pruned.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use grok2api_actors::bus::codec;
use grok2api_actors::store::{Store, StoreError, StoreWrite};
use grok2api_schemas::admin::requests::{Outcome, RequestRecord};
use grok2api_schemas::admin::rollups::{
    RollupAnswer, RollupAsk, RollupBy, RollupGroup, RollupPoint, RollupRow, RollupStep, RollupSums, RollupView,
    TIME_BOUNDS_MS,
};
use parking_lot::Mutex;

/// Rows by hour and what they are of.
const ROWS: &str = "request_rollups";
pub(super) const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Hours that are kept.
pub(super) const KEPT_HOURS: u64 = 31 * 24;
/// Rows of one hour; what comes beyond is summed under names of its own, so that hostile model names fill nothing.
const MOST_OF_HOUR: usize = 2_000;
/// Groups of an answer.
const GROUPS: usize = 100;
/// Rows forgotten at a time.
const PRUNED: usize = 2_000;

/// Whom a request was sent to.
pub type ProviderOf = Arc<dyn Fn(&RequestRecord) -> &'static str + Send + Sync>;

/// The rows of the latest hours, as they are stored.
pub(super) struct Rollups {
    recent: Mutex<HashMap<Bytes, RollupRow>>,
    provider_of: OnceLock<ProviderOf>,
    /// The hour in which old rows were looked for last.
    pruned: AtomicU64,
}

/// What a batch adds, until it is written.
pub(super) type Staged = HashMap<Bytes, RollupRow>;

impl Rollups {
    pub(super) fn new() -> Rollups {
        Rollups {
            recent: Mutex::default(),
            provider_of: OnceLock::new(),
            pruned: AtomicU64::new(0),
        }
    }

    pub(super) fn tell_providers(&self, provider_of: ProviderOf) {
        // The first one stays.
        let _ = self.provider_of.set(provider_of);
    }

    /// Whether old rows were not looked for in this hour.
    pub(super) fn is_pruning_due(&self, now_ms: u64) -> bool {
        self.pruned.swap(now_ms / HOUR_MS, Ordering::Relaxed) != now_ms / HOUR_MS
    }

    /// The rows that a batch changes, with the batch counted in.
    pub(super) fn stage(&self, store: &Store, batch: &[Arc<RequestRecord>]) -> Result<Staged, StoreError> {
        let mut staged = Staged::new();
        let recent = self.recent.lock();
        for record in batch {
            let provider = self.provider_of.get().map_or("", |provider_of| provider_of(record));
            let mut row = row_of(record, provider);
            let mut key = key_of(&row);
            if !staged.contains_key(&key) {
                let stored = match recent.get(&key) {
                    Some(known) => Some(known.clone()),
                    None => store.get(ROWS, &key)?.and_then(|bytes| codec::decode(&bytes).ok()),
                };
                let of_hour = || {
                    recent
                        .keys()
                        .filter(|known| known.starts_with(&row.hour.to_be_bytes()))
                        .count()
                };
                if stored.is_none() && of_hour() + staged.len() >= MOST_OF_HOUR {
                    row.model = "…".to_owned();
                    (row.key, row.key_name) = (String::new(), String::new());
                    key = key_of(&row);
                }
                let first = match stored {
                    Some(known) => known,
                    None => match recent.get(&key) {
                        Some(known) => known.clone(),
                        None => row.clone(),
                    },
                };
                staged.entry(key.clone()).or_insert(first);
            }
            if let Some(row) = staged.get_mut(&key) {
                add(&mut row.sums, record);
            }
        }
        Ok(staged)
    }

    /// What must be written for it.
    pub(super) fn writes(staged: &Staged) -> Vec<StoreWrite> {
        let rows = staged.iter().filter_map(|(key, row)| {
            Some(StoreWrite {
                tree: ROWS,
                key: key.clone(),
                value: Some(codec::encode(codec::VERSION, row).ok()?),
            })
        });
        rows.collect()
    }

    /// Rows were written that other nodes told: those of the latest hours count on from here.
    pub(super) fn replace(&self, rows: Staged) {
        let mut recent = self.recent.lock();
        for (key, row) in rows {
            recent.entry(key).and_modify(|known| *known = row);
        }
    }

    /// It is written.
    pub(super) fn commit(&self, staged: Staged) {
        let mut recent = self.recent.lock();
        recent.extend(staged);
        let newest = recent.values().map(|row| row.hour).max().unwrap_or(0);
        // Older hours are read from the store when a straggler comes.
        recent.retain(|_, row| row.hour + 1 >= newest);
    }
}

fn row_of(record: &RequestRecord, provider: &str) -> RollupRow {
    let model = if record.upstream_model.is_empty() {
        &record.model
    } else {
        &record.upstream_model
    };
    RollupRow {
        hour: record.time_ms / HOUR_MS,
        model: model.chars().take(100).collect(),
        key: record.key_id.map(|id| id.to_string()).unwrap_or_default(),
        key_name: record.key_name.chars().take(100).collect(),
        provider: provider.to_owned(),
        node: record.node.clone(),
        cause: record.outcome,
        sums: RollupSums {
            times: vec![0; TIME_BOUNDS_MS.len() + 1],
            ..RollupSums::default()
        },
    }
}

/// The hour first, so that hours lie together; then what the row is of.
fn key_of(row: &RollupRow) -> Bytes {
    let mut hasher = blake3::Hasher::new();
    for part in [&row.model, &row.key, &row.provider, &row.node] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(row.cause.as_str().as_bytes());
    let mut key = row.hour.to_be_bytes().to_vec();
    key.extend_from_slice(&hasher.finalize().as_bytes()[..16]);
    key.into()
}

fn add(sums: &mut RollupSums, record: &RequestRecord) {
    let usage = &record.usage;
    sums.requests += 1;
    sums.prompt_tokens += usage.prompt_tokens.unwrap_or(0);
    sums.cached_tokens += usage.cached_tokens.unwrap_or(0);
    let answered = usage
        .total_tokens
        .map(|total| total.saturating_sub(usage.prompt_tokens.unwrap_or(0)));
    sums.completion_tokens += answered.or(usage.completion_tokens).unwrap_or(0);
    sums.cost_ticks += record.cost_ticks.unwrap_or(0);
    let took = record.timing.total_ms;
    let bucket = TIME_BOUNDS_MS
        .iter()
        .position(|bound| took <= *bound)
        .unwrap_or(TIME_BOUNDS_MS.len());
    sums.times.resize(TIME_BOUNDS_MS.len() + 1, 0);
    if let Some(count) = sums.times.get_mut(bucket) {
        *count += 1;
    }
}

/// Sums of any rows.
#[derive(Clone, Default)]
struct Total {
    sums: RollupSums,
    success: u64,
}

impl Total {
    fn add(&mut self, row: &RollupRow) {
        let (into, from) = (&mut self.sums, &row.sums);
        into.requests += from.requests;
        into.prompt_tokens += from.prompt_tokens;
        into.cached_tokens += from.cached_tokens;
        into.completion_tokens += from.completion_tokens;
        into.cost_ticks += from.cost_ticks;
        into.times.resize(TIME_BOUNDS_MS.len() + 1, 0);
        for (into, from) in into.times.iter_mut().zip(&from.times) {
            *into += from;
        }
        if row.cause == Outcome::Success {
            self.success += from.requests;
        }
    }

    fn view(&self) -> RollupView {
        let sums = &self.sums;
        RollupView {
            requests: sums.requests,
            success: self.success,
            failed: sums.requests - self.success,
            prompt_tokens: sums.prompt_tokens,
            cached_tokens: sums.cached_tokens,
            completion_tokens: sums.completion_tokens,
            cost_ticks: sums.cost_ticks,
            p50_ms: quantile(&sums.times, 50),
            p95_ms: quantile(&sums.times, 95),
        }
    }
}

/// The bound under which so many of a hundred lie.
fn quantile(times: &[u64], percent: u64) -> Option<u32> {
    let all: u64 = times.iter().sum();
    let wanted = (all * percent).div_ceil(100);
    let mut so_far = 0;
    for (at, count) in times.iter().enumerate() {
        so_far += count;
        if all > 0 && so_far >= wanted {
            return TIME_BOUNDS_MS.get(at).or(TIME_BOUNDS_MS.last()).copied();
        }
    }
    None
}

/// Sums of a period. Reads the store: call it where blocking is allowed.
pub(super) fn answer(store: &Store, ask: &RollupAsk, now_ms: u64) -> Result<RollupAnswer, StoreError> {
    let until_ms = ask.until_ms.unwrap_or(now_ms + 1).min(now_ms + HOUR_MS);
    let oldest = now_ms.saturating_sub(KEPT_HOURS * HOUR_MS);
    let since_ms = ask.since_ms.unwrap_or(now_ms.saturating_sub(DAY_MS)).max(oldest);
    let step_ms = match ask.step {
        RollupStep::Hour => HOUR_MS,
        RollupStep::Day => DAY_MS,
    };
    let since_ms = since_ms / step_ms * step_ms;
    let (first, last) = (since_ms / HOUR_MS, until_ms.div_ceil(HOUR_MS));
    let mut total = Total::default();
    let mut series: BTreeMap<u64, Total> = BTreeMap::new();
    let mut at = since_ms;
    while at < until_ms {
        series.insert(at, Total::default());
        at += step_ms;
    }
    let mut groups: HashMap<String, (String, Total)> = HashMap::new();
    for hour in first..last {
        store.visit(ROWS, &hour.to_be_bytes(), |_, bytes| {
            // Of a newer build, or damaged: the others count all the same.
            let Ok(row) = codec::decode::<RollupRow>(bytes) else {
                return;
            };
            total.add(&row);
            series
                .entry(row.hour * HOUR_MS / step_ms * step_ms)
                .or_default()
                .add(&row);
            let (name, label) = match ask.by {
                RollupBy::Model => (&row.model, ""),
                RollupBy::Key => (&row.key, row.key_name.as_str()),
                RollupBy::Provider => (&row.provider, ""),
                RollupBy::Node => (&row.node, ""),
                RollupBy::Cause => (&row.cause.as_str().to_owned(), ""),
            };
            let group = groups.entry(name.clone()).or_default();
            // Keys are renamed: the latest name counts.
            label.clone_into(&mut group.0);
            group.1.add(&row);
        })?;
    }
    let mut groups: Vec<RollupGroup> = groups
        .into_iter()
        .map(|(name, (label, total))| RollupGroup {
            name,
            label,
            sums: total.view(),
        })
        .collect();
    groups.sort_by(|a, b| b.sums.requests.cmp(&a.sums.requests).then_with(|| a.name.cmp(&b.name)));
    groups.truncate(GROUPS);
    let series = series.into_iter().map(|(at_ms, total)| RollupPoint {
        at_ms,
        sums: total.view(),
    });
    Ok(RollupAnswer {
        since_ms,
        until_ms,
        total: total.view(),
        series: series.collect(),
        groups,
    })
}

/// Rows of some hours behind `after`, and where they end: empty = there are no more. Reads the store: call it where blocking
/// is allowed.
pub(super) fn stretch(
    store: &Store,
    hours: std::ops::Range<u64>,
    after: &[u8],
    most: usize,
) -> Result<(Vec<RollupRow>, Vec<u8>), StoreError> {
    let mut from = hours.start.to_be_bytes().to_vec();
    if after > from.as_slice() {
        from = after.to_vec();
        from.push(0);
    }
    let stored = store.scan_range(ROWS, &from, Some(&hours.end.to_be_bytes()), most)?;
    let next = match stored.last() {
        Some((key, _)) if stored.len() == most => key.to_vec(),
        _ => Vec::new(),
    };
    let rows = stored.iter().filter_map(|(_, bytes)| codec::decode(bytes).ok());
    Ok((rows.collect(), next))
}

/// Those of some rows that counted more than what is here.
pub(super) fn better(store: &Store, rows: impl Iterator<Item = RollupRow>) -> Result<Staged, StoreError> {
    let mut better = Staged::new();
    for row in rows {
        let key = key_of(&row);
        let known = store.get(ROWS, &key)?;
        let counted = known
            .and_then(|bytes| codec::decode::<RollupRow>(&bytes).ok())
            .map_or(0, |known| known.sums.requests);
        if row.sums.requests > counted {
            better.insert(key, row);
        }
    }
    Ok(better)
}

/// Rows that are too old, some at a time.
pub(super) fn too_old(store: &Store, now_ms: u64) -> Result<Vec<StoreWrite>, StoreError> {
    let end = (now_ms / HOUR_MS).saturating_sub(KEPT_HOURS).to_be_bytes();
    let rows = store.scan_range(ROWS, &[0], Some(&end), PRUNED)?;
    let gone = rows.into_iter().map(|(key, _)| StoreWrite {
        tree: ROWS,
        key,
        value: None,
    });
    Ok(gone.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_of_the_histogram() {
        let mut times = vec![0; TIME_BOUNDS_MS.len() + 1];
        assert_eq!(quantile(&times, 50), None);
        (times[1], times[5], times[20]) = (60, 35, 5);
        assert_eq!(
            (quantile(&times, 50), quantile(&times, 95), quantile(&times, 99)),
            (Some(10), Some(200), Some(300_000))
        );
    }
}
