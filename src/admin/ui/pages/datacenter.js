// Is it healthy, is it fast, what does it cost? Counted from the request log: the page says how far back that reaches.

import { html, useState } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { serverNow } from '../store.js';
import { get, query } from '../api.js';
import { param, setParams } from '../router.js';
import { num, usd, percent, span, short, clock, duration } from '../format.js';
import { Failure, Waiting, Figure, Empty, Mark, usePoll, Name } from '../parts/bits.js';
import { Chart } from '../parts/chart.js';
import { summary, series, grouped, OURS } from './datacenter_sums.js';
import { Long } from './datacenter_long.js';
import { Logs } from './log_live.js';

const WINDOWS = { '15m': 900, '1h': 3600, '6h': 21_600, '24h': 86_400 };
const MOST = 5000;

async function recent(seconds, signal) {
  const since = serverNow() - seconds * 1000;
  const rows = [];
  let cursor = '';
  do {
    const page = await get(`/requests${query({ since, cursor, limit: 1000 })}`, { signal });
    rows.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && rows.length < MOST);
  return { rows, since, until: serverNow(), whole: !cursor };
}

function Groups({ rows, by }) {
  const list = grouped(rows, by).slice(0, 12);
  const most = Math.max(1, ...list.map((one) => one.count));
  return html`<div class="over"><table class="plain"><thead><tr><th>${t(`data.by.${by}`)}</th><th class="end">${t('data.requests')}</th><th></th><th class="end">${t('data.success')}</th><th class="end">p50</th><th class="end">p95</th><th class="end">${t('req.tokens')}</th><th class="end">${t('req.cost')}</th></tr></thead><tbody>
    ${list.map((one) => html`<tr key=${one.name}><td>${!one.name ? html`<span class="soft">${t('req.nokey')}</span>` : one.link ? html`<a href=${one.link}><${Name} text=${one.name} kind="named" /></a>` : html`<${Name} text=${one.name} kind="named" />`}</td><td class="end">${num(one.count)}</td><td class="barcell"><div class="meter" aria-hidden="true"><i style=${{ width: `${(100 * one.count) / most}%` }}></i></div></td><td class=${`end ${one.ok < one.counted ? 'warn' : ''}`}>${percent(one.ok, one.counted)}</td><td class="end">${duration(one.p50)}</td><td class="end">${duration(one.p95)}</td><td class="end">${short(one.tokens)}</td><td class="end">${usd(one.usd)}</td></tr>`)}</tbody></table></div>`;
}

export function DatacenterPage() {
  const window = WINDOWS[param('window')] ? param('window') : '1h';
  const by = param('by') || 'model';
  const { data, error, reload } = usePoll((signal) => recent(WINDOWS[window], signal), 5000, [window]);
  const [tab, setTab] = useState('latency');
  const rows = data?.rows || [];
  const sums = summary(rows);
  const from = data && !data.whole && rows.length ? rows.at(-1).time_ms : data?.since;
  // A log that began a moment ago is not drawn as an hour of nothing.
  const oldest = rows.length ? rows.at(-1).time_ms : 0;
  const lines = data ? series(rows, Math.max(from, oldest - Math.max(60_000, (data.until - oldest) / 10)), data.until) : null;
  const minutes = data ? Math.max(1 / 6, (data.until - from) / 60_000) : 1;
  const [p50, p50unit] = span(sums.p50);
  const failures = grouped(rows.filter((one) => one.outcome !== 'success'), 'outcome');
  return html`<div class="page" data-ready=${data ? 'true' : undefined}>
    <div class="head"><h1>${t('page.datacenter')}</h1><div class="row tight" role="group" aria-label=${t('data.window')}>${Object.keys(WINDOWS).map((one) => html`<button type="button" class="button small" key=${one} aria-pressed=${String(one === window)} onClick=${() => setParams({ window: one })}>${t(`data.window.${one}`)}</button>`)}</div></div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${!data && !error && html`<${Waiting} />`}
    ${data && !rows.length && html`<${Empty} title=${t('data.empty')}><p>${t('data.emptyhint')}</p><a class="button main" href="/chat">${t('page.chat')}</a><//>`}
    ${data && rows.length > 0 && html`
      <div class="cards">
        <${Figure} name=${t('data.requests')} value=${num(rows.length)} note=${t('data.permin', { n: short(rows.length / minutes) })} />
        <${Figure} name=${t('data.success')} value=${percent(sums.ok, sums.counted)} tone=${sums.counted && sums.ok / sums.counted < 0.99 ? 'warn' : ''} note=${t('data.failed', { n: num(sums.counted - sums.ok) })} />
        <${Figure} name=${t('data.p50')} value=${p50} unit=${p50unit} note=${`p95 ${duration(sums.p95)} · p99 ${duration(sums.p99)}`} />
        <${Figure} name=${t('data.tokens')} value=${short(sums.tokens)} note=${t('data.persec', { n: short(sums.tokens / minutes / 60) })} />
        <${Figure} name=${t('req.cost')} value=${usd(sums.usd)} note=${t('data.perhour', { usd: usd((sums.usd / minutes) * 60) })} /></div>
      <p class="small soft">${data.whole ? t('data.whole', { n: num(rows.length) }) : t('data.partial', { n: num(rows.length), time: clock(from, true) })}</p>
      <div class="charts"><section class="card stack"><h2>${t('data.traffic')}</h2><${Chart} kind="bars" x=${lines.x} lines=${[{ label: t('data.others'), values: lines.bad, role: 'bad' }, { label: t('data.successful'), values: lines.good, role: 'ok' }]} stack label=${t('data.traffic')} /></section>
        <section class="card stack"><div class="tabs" role="tablist">${['latency', 'first', 'tokens', 'usd'].map((one) => html`<button type="button" role="tab" key=${one} aria-selected=${String(tab === one)} onClick=${() => setTab(one)}>${t(`data.tab.${one}`)}</button>`)}</div>
          <${Chart} key=${tab} x=${lines.x} label=${t(`data.tab.${tab}`)} unit=${{ latency: 'ms', first: 'ms', usd: '$' }[tab] || ''} lines=${tab === 'latency' ? [{ label: 'p50', values: lines.p50, role: 'accent' }, { label: 'p95', values: lines.p95, role: 'warn' }]
            : tab === 'first' ? [{ label: 'p50', values: lines.first50, role: 'accent' }, { label: 'p95', values: lines.first95, role: 'warn' }] : [{ label: t(`data.tab.${tab}`), values: lines[tab], role: 'accent' }]} /></section></div>
      <section class="card stack"><div class="tabs" role="tablist">${['model', 'key', 'token', 'node'].map((one) => html`<button type="button" role="tab" key=${one} aria-selected=${String(by === one)} onClick=${() => setParams({ by: one })}>${t(`data.by.${one}`)}</button>`)}</div><${Groups} rows=${rows} by=${by} /></section>
      ${failures.length > 0 && html`<section class="card stack"><h2>${t('data.refusals')}</h2><table class="plain"><tbody>${failures.map((one) => html`<tr key=${one.name}><td><a href=${`/admin/requests?outcome=${one.name}`}><${Mark} group="outcome" value=${one.name} /></a></td><td>${OURS.has(one.name) ? t('data.origin.us') : word('data.origin', 'upstream')}</td><td class="end">${num(one.count)}</td></tr>`)}</tbody></table></section>`}`}
    <${Long} /><${Logs} />
  </div>`;
}
