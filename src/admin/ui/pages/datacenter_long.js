// Hours and days, from sums that outlive the request log: up to 31 days, over all nodes.

import { html, useState } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { offers, serverNow } from '../store.js';
import { get, query } from '../api.js';
import { num, usd, percent, short, duration } from '../format.js';
import { Failure, Waiting, usePoll, Name } from '../parts/bits.js';

const SPANS = { '24h': [86_400_000, 'hour'], '7d': [604_800_000, 'day'], '30d': [2_592_000_000, 'day'] };
const BY = ['model', 'key', 'provider', 'node', 'cause'];
const TICKS = 1e10;

/** One bar a step: success and the rest, drawn by hand; the numbers in a tooltip. */
function Bars({ series, step }) {
  const most = Math.max(1, ...series.map((one) => one.sums.requests));
  const wide = 100 / Math.max(1, series.length);
  const when = (ms) => new Date(ms).toLocaleString([], step === 'day' ? { month: 'numeric', day: 'numeric' } : { hour: '2-digit', minute: '2-digit' });
  return html`<div class="stack tight"><svg class="hours" viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label=${t('data.traffic')}>${series.map((one, at) => {
    const all = (38 * one.sums.requests) / most;
    const ok = (38 * one.sums.success) / most;
    return html`<g key=${one.at_ms}><title>${`${when(one.at_ms)}: ${num(one.sums.requests)} · ${num(one.sums.failed)} ${t('data.others')}`}</title><rect x=${at * wide} y="0" width=${wide} height="40" class="blank" /><rect x=${at * wide + wide * 0.15} y=${40 - all} width=${wide * 0.7} height=${all} class="rest" /><rect x=${at * wide + wide * 0.15} y=${40 - ok} width=${wide * 0.7} height=${ok} class="fine" /></g>`;
  })}</svg><div class="row small soft"><span>${series.length ? when(series[0].at_ms) : ''}</span><span class="grow"></span><span>${t('data.most', { n: num(most) })}</span><span class="grow"></span><span>${series.length ? when(series.at(-1).at_ms) : ''}</span></div></div>`;
}

export function Long() {
  const [span, setSpan] = useState('24h');
  const [by, setBy] = useState('model');
  const may = offers('requests.rollups');
  const [length, step] = SPANS[span];
  const { data, error, reload } = usePoll(() => (may ? get(`/rollups${query({ since_ms: Math.floor(serverNow() - length), step, by })}`) : Promise.resolve(null)), 30_000, [span, by, may]);
  if (!may) return null;
  const name = (group) => (by === 'cause' ? word('outcome', group.name) : group.label || group.name || t('data.none'));
  return html`<section class="card stack" data-testid="long"><div class="row wrap"><h2 class="grow">${t('data.long')}</h2><span class="row tight" role="group" aria-label=${t('data.window')}>${Object.keys(SPANS).map((one) => html`<button type="button" key=${one} class="button small" aria-pressed=${String(span === one)} onClick=${() => setSpan(one)} data-testid=${`long-${one}`}>${t(`data.span.${one}`)}</button>`)}</span></div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}${!data && !error && html`<${Waiting} />`}
    ${data && html`<p class="small"><strong data-testid="long-total">${num(data.total.requests)}</strong> ${t('data.requests')} · ${percent(data.total.success, data.total.requests)} ${t('data.successful')} · ${short(data.total.prompt_tokens + data.total.completion_tokens)} ${t('req.tokens')} · ${usd(data.total.cost_ticks / TICKS)}</p>
      ${data.total.requests === 0 ? html`<p class="soft">${t('data.empty')}</p>` : html`<${Bars} series=${data.series} step=${step} />
      <div class="tabs" role="tablist">${BY.map((one) => html`<button type="button" role="tab" key=${one} aria-selected=${String(by === one)} onClick=${() => setBy(one)}>${t(`data.by.${one}`)}</button>`)}</div>
      <div class="over" tabindex="0" role="region" aria-label=${t('data.long')}><table class="plain"><thead><tr><th>${t(`data.by.${by}`)}</th><th class="end">${t('data.requests')}</th><th class="end">${t('data.success')}</th><th class="end">p50 ≤</th><th class="end">p95 ≤</th><th class="end">${t('req.tokens')}</th><th class="end">${t('req.cost')}</th></tr></thead><tbody>
        ${data.groups.slice(0, 20).map((group) => html`<tr key=${group.name}><td><${Name} text=${name(group)} kind="named" /></td><td class="end">${num(group.sums.requests)}</td><td class="end">${percent(group.sums.success, group.sums.requests)}</td><td class="end">${duration(group.sums.p50_ms)}</td><td class="end">${duration(group.sums.p95_ms)}</td><td class="end">${short(group.sums.prompt_tokens + group.sums.completion_tokens)}</td><td class="end">${usd(group.sums.cost_ticks / TICKS)}</td></tr>`)}</tbody></table></div>`}`}
  </section>`;
}
