// Sums over records of the request log. Pure.

import { percentile, TICKS_PER_USD } from '../format.js';

/** Outcomes that say nothing about how well we do: the client's own doing. */
const NOT_COUNTED = new Set(['client_gone', 'bad_request', 'unauthenticated', 'forbidden', 'client_limit', 'client_budget', 'not_offered']);
/** Refusals that are ours or the client's; the others come from upstream. */
export const OURS = new Set([...NOT_COUNTED, 'pool_limit', 'pool_unusable', 'overloaded', 'shutting_down', 'internal']);

const times = (rows) => rows.filter((one) => one.outcome === 'success').map((one) => one.timing.total_ms).sort((a, b) => a - b);
const sumOf = (rows, read) => rows.reduce((sum, one) => sum + (read(one) || 0), 0);

export function summary(rows) {
  const counted = rows.filter((one) => !NOT_COUNTED.has(one.outcome));
  const sorted = times(rows);
  return {
    count: rows.length,
    counted: counted.length,
    ok: counted.filter((one) => one.outcome === 'success').length,
    p50: percentile(sorted, 0.5), p95: percentile(sorted, 0.95), p99: percentile(sorted, 0.99),
    tokens: sumOf(rows, (one) => one.usage.total_tokens),
    usd: sumOf(rows, (one) => one.cost_ticks) / TICKS_PER_USD,
  };
}

const STEPS = [5, 10, 30, 60, 300, 600, 1800, 3600];

/** At most sixty steps of whole, round lengths; times in Unix seconds. */
export function series(rows, from, until) {
  const step = STEPS.find((one) => (until - from) / 1000 / one <= 60) || 3600;
  const first = Math.floor(from / 1000 / step);
  const count = Math.max(2, Math.floor(until / 1000 / step) - first + 1);
  const bins = Array.from({ length: count }, () => []);
  for (const one of rows) bins[Math.floor(one.time_ms / 1000 / step) - first]?.push(one);
  const firsts = (bin) => bin.map((one) => one.timing.upstream_first_byte_ms).filter((ms) => ms !== null).sort((a, b) => a - b);
  return {
    x: bins.map((_, at) => (first + at) * step),
    good: bins.map((bin) => bin.filter((one) => one.outcome === 'success').length),
    bad: bins.map((bin) => bin.filter((one) => one.outcome !== 'success').length),
    p50: bins.map((bin) => percentile(times(bin), 0.5)), p95: bins.map((bin) => percentile(times(bin), 0.95)),
    first50: bins.map((bin) => percentile(firsts(bin), 0.5)), first95: bins.map((bin) => percentile(firsts(bin), 0.95)),
    tokens: bins.map((bin) => sumOf(bin, (one) => one.usage.total_tokens) / step),
    usd: bins.map((bin) => sumOf(bin, (one) => one.cost_ticks) / TICKS_PER_USD),
  };
}

const NAMES = {
  model: (one) => [one.model, `/admin/requests?model=${encodeURIComponent(one.model)}`],
  key: (one) => [one.key_name || '', one.key_id && `/admin/requests?key=${one.key_id}`],
  token: (one) => [one.attempts.at(-1)?.token || '–', one.attempts.length ? `/admin/requests?token=${one.attempts.at(-1).token_id}` : ''],
  node: (one) => [one.node || '–', ''],
  outcome: (one) => [one.outcome, ''],
};

/** Groups by one of the names above, the largest first. */
export function grouped(rows, by) {
  const groups = new Map();
  for (const one of rows) {
    const [name, link] = NAMES[by](one);
    if (!groups.has(name)) groups.set(name, { name, link, rows: [] });
    groups.get(name).rows.push(one);
  }
  return [...groups.values()].map(({ name, link, rows: mine }) => ({ name, link, ...summary(mine) })).sort((a, b) => b.count - a.count);
}
