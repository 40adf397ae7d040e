//! Prices, for reserving before a call: what it did cost comes with its answer.

use grok2api_schemas::config::ModelEntry;

/// Ticks in a USD (`usage.cost_in_usd_ticks`).
pub const TICKS_PER_USD: f64 = 1e10;

/// USD as ticks, rounded up.
pub fn usd_to_ticks(usd: f64) -> u64 {
    // The cast saturates, and a price is never negative.
    (usd * TICKS_PER_USD).ceil() as u64
}

/// Ticks that a call costs by the table: `cached` of `input` tokens come from the cache; `output` includes thinking.
/// `None` where the table has no price.
pub(super) fn of_tokens(entry: &ModelEntry, input: u64, output: u64, cached: u64) -> Option<u64> {
    let long = entry.long_context_from.is_some_and(|from| input >= from);
    let pick = |long_price: Option<f64>, price: Option<f64>| long_price.filter(|_| long).or(price);
    let per_input = pick(entry.long_price_input, entry.price_input)?;
    let per_output = pick(entry.long_price_output, entry.price_output)?;
    let per_cached = pick(entry.long_price_cached, entry.price_cached).unwrap_or(per_input);
    let cached = cached.min(input);
    let ticks = |tokens: u64, usd_per_million: f64| {
        // A price per million tokens is a whole number of ticks per token for every price seen so far (1 USD = 10⁴).
        let per_token = (usd_per_million * TICKS_PER_USD / 1e6).round() as u64;
        tokens.saturating_mul(per_token)
    };
    Some(
        ticks(input - cached, per_input)
            .saturating_add(ticks(cached, per_cached))
            .saturating_add(ticks(output, per_output)),
    )
}
