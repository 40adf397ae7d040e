// What happened to this one?

import { html, useState, useEffect, useMemo, useRef } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { serverNow } from '../store.js';
import { get, query } from '../api.js';
import { param, paramList, setParams } from '../router.js';
import { num, cut, clock, ticks, span, short } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Mark, Empty, Failure, Waiting, Name } from '../parts/bits.js';
import { Table } from '../parts/table.js';
import { rowSource } from '../parts/rows.js';
import { RequestDrawer } from './request_drawer.js';

const OUTCOMES = ['success', 'client_gone', 'bad_request', 'unauthenticated', 'forbidden', 'client_limit', 'client_budget', 'pool_limit', 'pool_unusable', 'upstream_busy', 'upstream_failed', 'upstream_timeout', 'stream_broken', 'overloaded', 'shutting_down', 'not_offered', 'internal'];
const SINCE = { '15m': 900, '1h': 3600, '24h': 86_400, '7d': 604_800 };
const LIVE_MS = 2000;

const Ms = ({ ms, tone }) => { const [value, unit] = span(ms); return html`<span class=${tone || ''}>${value} <span class="unit">${unit}</span></span>`; };

const columns = () => [
  { name: 'time', width: '72px', label: t('req.time'), cell: (row) => html`<button type="button" class="open" title=${clock(row.time_ms, true)} onClick=${() => setParams({ open: row.id }, { push: true })}>${clock(row.time_ms)}</button>` },
  { name: 'outcome', width: 'minmax(140px, 1.1fr)', label: t('req.outcome'), cell: (row) => html`<${Mark} group="outcome" value=${row.outcome} />${row.error_code && html`<div class="sub mono cut">${row.error_code}</div>`}` },
  { name: 'status', width: '52px', end: true, label: t('req.status'), cell: (row) => row.status },
  { name: 'model', width: 'minmax(100px, 1fr)', label: t('req.model'), cell: (row) => html`<div>${row.model ? html`<${Name} text=${row.model} />` : '–'}</div>${row.upstream_model && row.upstream_model !== row.model && html`<div class="sub"><${Name} text=${row.upstream_model} /></div>`}` },
  { name: 'key', width: 'minmax(90px, 0.8fr)', label: t('req.key'), cell: (row) => (row.key_name ? html`<${Name} text=${row.key_name} />` : html`<span class="soft">${t('req.nokey')}</span>`) },
  { name: 'token', width: 'minmax(116px, 1fr)', label: t('req.token'), cell: (row) => (row.attempts.length ? html`<div class="mono cut">${row.attempts.at(-1).token}</div>${row.attempts.length > 1 && html`<div class="sub warn">${t('req.tries', { n: row.attempts.length })}</div>`}` : html`<span class="soft">–</span>`) },
  { name: 'first', width: '72px', end: true, label: t('req.first'), cell: (row) => html`<${Ms} ms=${row.timing.upstream_first_byte_ms} />` },
  { name: 'total', width: '64px', end: true, label: t('req.total'), cell: (row) => html`<${Ms} ms=${row.timing.total_ms} />` },
  { name: 'tokens', width: '60px', end: true, label: t('req.tokens'), cell: (row) => short(row.usage.total_tokens) },
  { name: 'cost', width: '72px', end: true, label: t('req.cost'), cell: (row) => html`${ticks(row.cost_ticks)}${row.presumed ? html`<span class="warn" title=${t('req.presumed')}>*</span>` : ''}` },
];

export function RequestsPage() {
  const since = param('since');
  const filters = { outcome: param('outcome'), text: param('text'), model: param('model'), key: param('key'), token: param('token'), since };
  const key = JSON.stringify(filters);
  const view = useRef([0, 40]);
  const [paused, setPaused] = useState(false);
  const [text, setText] = useState(filters.text);
  const source = useMemo(() => {
    const current = { filters };
    const made = rowSource((cursor, limit) => {
      const { since: window, ...rest } = current.filters;
      return get(`/requests${query({ ...rest, since: SINCE[window] ? serverNow() - SINCE[window] * 1000 : '', cursor, limit })}`);
    }, (row) => row.id);
    return Object.assign(made, { current });
  }, []);
  useEffect(() => { source.current.filters = filters; source.reset(); }, [key]);
  useEffect(() => {
    if (paused) return undefined;
    // Newest first: the list can only be followed at its top, elsewhere rows would run away under the eye.
    const timer = setInterval(() => { if (!document.hidden && view.current[0] === 0) source.refresh(0, view.current[1]); }, LIVE_MS);
    return () => clearInterval(timer);
  }, [paused]);
  useEffect(() => {
    if (text === param('text')) return undefined;
    const timer = setTimeout(() => setParams({ text }), 200);
    return () => clearTimeout(timer);
  }, [text]);
  const { life, total, loaded, error } = source.state.value;
  const chosen = paramList('outcome');
  const reset = () => { setText(''); setParams({ outcome: '', text: '', model: '', key: '', token: '', since: '' }); };
  const opened = param('open');
  return html`<div class="page" data-ready=${loaded ? 'true' : undefined}>
    <div class="head"><h1>${t('page.requests')}</h1>
      <button type="button" class="button" aria-pressed=${String(!paused)} onClick=${() => setPaused(!paused)} data-testid="pause"><${Icon} name=${paused ? 'play' : 'pause'} size=${16} />${paused ? t('req.follow') : t('req.pause')}</button></div>
    <div class="filters">
      <label class="search"><span class="hidden-text">${t('req.search')}</span><${Icon} name="search" size=${16} /><input class="input" type="search" data-search placeholder=${t('req.search')} value=${text} onInput=${(e) => setText(e.target.value)} data-testid="request-search" /></label>
      <select class="input" aria-label=${t('req.outcome')} value=${chosen.length === 1 ? chosen[0] : chosen.length ? 'some' : ''} onChange=${(e) => setParams({ outcome: e.target.value === 'bad' ? OUTCOMES.slice(1) : e.target.value })} data-testid="request-outcome">
        <option value="">${t('req.anyoutcome')}</option><option value="bad">${t('req.notsuccess')}</option>${chosen.length > 1 && html`<option value="some">${t('req.someoutcomes', { n: chosen.length })}</option>`}
        ${OUTCOMES.map((one) => html`<option value=${one} key=${one}>${word('outcome', one)}</option>`)}</select>
      <select class="input" aria-label=${t('req.since')} value=${since} onChange=${(e) => setParams({ since: e.target.value })}><option value="">${t('req.alltime')}</option>${Object.keys(SINCE).map((one) => html`<option value=${one} key=${one}>${t(`req.since.${one}`)}</option>`)}</select>
      ${['model', 'key', 'token'].filter((name) => filters[name]).map((name) => html`<button type="button" class="chip info button small" key=${name} onClick=${() => setParams({ [name]: '' })} title=${t('remove')}>${t(`req.${name}`)}: ${cut(filters[name], 28)} ✕</button>`)}
      ${Object.values(filters).some(Boolean) && html`<button type="button" class="button small quiet" onClick=${reset}>${t('reset')}</button>`}
    </div>
    ${error && html`<${Failure} error=${error} retry=${() => source.reset()} />`}
    ${!loaded && html`<${Waiting} />`}
    ${loaded && total === 0 && !error && (Object.values(filters).some(Boolean) ? html`<${Empty} title=${t('nothing')}><button type="button" class="button" onClick=${reset}>${t('reset')}</button><//>`
      : html`<${Empty} title=${t('req.empty')}><p>${t('req.emptyhint')}</p><a class="button main" href="/chat">${t('page.chat')}</a><//>`)}
    ${loaded && total > 0 && html`<${Table} testid="requests" label=${t('page.requests')} columns=${columns()} total=${total} rowAt=${source.at} idOf=${(row) => row.id} opened=${opened} life=${life}
      open=${(row) => setParams({ open: row.id }, { push: true })} needs=${(from, to) => { view.current = [from, to]; source.need(to); }} minWidth="1000px"
      foot=${html`<span>${t('req.count', { n: num(total) })}</span><span>${paused ? t('req.paused') : t('live')}</span>`} />`}
    ${opened && html`<${RequestDrawer} id=${opened} key=${opened} close=${() => setParams({ open: '' })} />`}
  </div>`;
}
