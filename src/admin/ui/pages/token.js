// Which credentials can work right now, and what stops the others?

import { html, useState, useEffect, useLayoutEffect, useMemo, useRef, useSignal } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { isAdmin } from '../store.js';
import { get, query } from '../api.js';
import { param, paramList, setParams } from '../router.js';
import { num, cut } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Mark, Ago, Left, Empty, Failure, Waiting, LiveClock, usePoll, Name } from '../parts/bits.js';
import { Table } from '../parts/table.js';
import { rowSource } from '../parts/rows.js';
import { TokenDrawer } from './token_drawer.js';
import { TokenAdd } from './token_add.js';
import { TokenBatch } from './token_batch.js';
import { TokenExport } from './token_export.js';
import { PoolStrip } from './token_strip.js';
import { LastHour, useActivity } from './token_history.js';
import { QuotaBar, meterName, meterSays } from '../parts/quota.js';

/** A number that changes with the selection. */
const stamps = new WeakMap();
let lastStamp = 0;
const stampOf = (set) => stamps.get(set) ?? (stamps.set(set, lastStamp += 1), lastStamp);

const POOLS = ['apiKey', 'ssoBasic', 'ssoSuper'];
const LIVE_MS = 2000;

const columns = (chosen, toggle, all) => [
  { name: 'choose', width: '20px', label: html`<input type="checkbox" aria-label=${t('token.chooseall')} checked=${all.checked} indeterminate=${all.some} onChange=${all.toggle} />`, cell: (row) => html`<input type="checkbox" aria-label=${`${t('token.choose')} ${row.token}`} checked=${chosen.has(row.id)} onChange=${() => toggle(row.id)} />` },
  { name: 'token', width: 'minmax(140px, 1.3fr)', label: t('token.token'), sort: 'label', cell: (row) => html`<div class="cut"><button type="button" class="open" onClick=${() => setParams({ open: row.id }, { push: true })}>${row.token}</button></div>
    ${row.label && html`<div class="sub"><${Name} text=${row.label} /></div>`}` },
  { name: 'state', width: 'minmax(150px, 1.2fr)', label: t('token.state'), cell: (row) => html`<div class="row tight"><${Mark} group="state" value=${row.state} />${row.until_ms && html` <span class="soft"><${Left} ms=${row.until_ms} /></span>`}</div>
    ${(row.cause || row.model_cooling.length > 0) && html`<div class="sub cut" title=${cut(row.detail, 300)}>${row.cause ? word('cause', row.cause) : t('token.restsfor', { n: row.model_cooling.length })}</div>`}` },
  { name: 'pool', width: 'minmax(104px, 1fr)', label: t('token.pool'), cell: (row) => html`<div>${word('pool', row.pool)}</div><div class="sub">${row.team ? html`<${Name} text=${row.team} kind="mono" />` : t('token.noteam')}</div>` },
  { name: 'quota', width: '96px', label: t('token.tightest'), cell: (row) => (row.tightest ? html`<div class="sub cut" title=${`${row.tightest.model}: ${meterName(row.tightest)}`}>${meterSays(row.tightest)}</div><${QuotaBar} meter=${row.tightest} label=${`${row.tightest.model}: ${meterName(row.tightest)}`} />` : html`<span class="soft">–</span>`) },
  { name: 'hour', width: '80px', label: t('token.hour'), cell: (row) => html`<${LastHour} id=${row.id} />` },
  { name: 'uses', width: '72px', end: true, label: t('token.uses'), sort: 'use_count', cell: (row) => html`<div>${num(row.use_count)}</div>${row.in_flight > 0 && html`<div class="sub strong">${t('token.inflightn', { n: row.in_flight })}</div>`}` },
  { name: 'fails', width: '52px', end: true, label: t('token.fails'), sort: 'fail_count', cell: (row) => html`<span class=${row.fail_count ? 'bad' : 'soft'}>${num(row.fail_count)}</span>` },
  { name: 'used', width: '80px', end: true, label: t('token.used'), sort: 'last_used', cell: (row) => html`<${Ago} ms=${row.last_used_ms} none=${t('time.never')} />` },
  { name: 'note', width: 'minmax(80px, 1fr)', label: t('token.note'), cell: (row) => html`<span class="soft isolate" title=${cut([...row.tags, row.note].join(' · '), 1000)}>${row.tags.map((tag) => html`<span class="chip isolate">${cut(tag, 24)}</span> `)}${cut(row.note, 80)}</span>` },
];

function useRows(filters) {
  const key = JSON.stringify(filters);
  const source = useMemo(() => {
    const current = { filters };
    const made = rowSource((cursor, limit) => get(`/tokens${query({ ...current.filters, cursor, limit })}`), (row) => row.id);
    return Object.assign(made, { current });
  }, []);
  const view = useRef([0, 40]);
  // Before the next frame: what was pressed is asked for at once.
  useLayoutEffect(() => { source.current.filters = filters; source.reset(); }, [key]);
  useEffect(() => {
    // Not while rows pass by.
    let last = '';
    const timer = setInterval(() => {
      const key = view.current.join();
      if (!document.hidden && key === last) source.refresh(...view.current);
      last = key;
    }, LIVE_MS);
    return () => clearInterval(timer);
  }, []);
  return { source, view };
}

function Filters({ counts }) {
  const pools = paramList('pool');
  const flip = (pool) => setParams({ pool: pools.includes(pool) ? pools.filter((one) => one !== pool) : [...pools, pool] });
  const filtered = paramList('state').length || pools.length || param('text') || param('team');
  return html`<div class="filters">
    <label class="search"><span class="hidden-text">${t('token.search')}</span><${Icon} name="search" size=${16} />
      <input class="input" type="search" data-search placeholder=${t('token.search')} value=${param('text')} onInput=${(e) => setParams({ text: e.target.value })} data-testid="token-search" /></label>
    ${POOLS.filter((pool) => pools.includes(pool) || counts?.pools.some((one) => one.pool === pool && one.total)).map((pool) => html`
      <button type="button" class="button small" aria-pressed=${String(pools.includes(pool))} onClick=${() => flip(pool)}>${word('pool', pool)} <span class="unit">${num(counts?.pools.find((one) => one.pool === pool)?.total)}</span></button>`)}
    ${param('team') && html`<span class="chip info" title=${cut(param('team'), 300)}>${t('token.team')} ${cut(param('team'), 20)}</span>`}
    ${filtered ? html`<button type="button" class="button small quiet" onClick=${() => setParams({ state: '', pool: '', text: '', team: '' })} data-testid="reset">${t('reset')}</button>` : null}
  </div>`;
}

export function TokenPage() {
  const filters = { state: param('state'), pool: param('pool'), text: param('text'), team: param('team'), sort: param('sort') || 'created' };
  const { source, view } = useRows(filters);
  const { version, life, total, loaded, error } = source.state.value;
  const counts = usePoll(() => get('/tokens/counts'), LIVE_MS);
  useActivity(() => source.held().slice(...view.current));
  const chosen = useSignal(new Set());
  const [exporting, setExporting] = useState(false);
  const toggle = (id) => { const next = new Set(chosen.value); if (!next.delete(id)) next.add(id); chosen.value = next; };
  const held = source.held();
  const all = {
    checked: held.length > 0 && total === held.length && held.every((row) => chosen.value.has(row.id)),
    get some() { return chosen.value.size > 0 && !this.checked; },
    toggle: async (event) => {
      if (!event.target.checked) { chosen.value = new Set(); return; }
      const rows = await source.all();
      chosen.value = new Set([...chosen.value, ...rows.map((row) => row.id)]);
    },
  };
  const opened = param('open');
  const none = counts.data?.total === 0;
  return html`<div class="page" data-ready=${loaded && counts.data ? 'true' : undefined} data-version=${version}>
    <div class="head"><h1>${t('page.token')}</h1>
      ${isAdmin() && !none && html`<button type="button" class="button" onClick=${() => setExporting(true)} aria-label=${t('token.export')} data-testid="export"><${Icon} name="download" size=${16} /><span class="not-phone">${t('token.export')}</span></button>`}
      ${isAdmin() && html`<button type="button" class="button main" onClick=${() => setParams({ add: '1' }, { push: true })} data-testid="add"><${Icon} name="plus" size=${16} />${t('token.add')}</button>`}</div>
    ${counts.data && !none && html`<${PoolStrip} counts=${counts.data} />`}
    ${!none && html`<${Filters} counts=${counts.data} />`}
    ${error && html`<${Failure} error=${error} retry=${() => source.reset()} />`}
    ${!loaded && !error && html`<${Waiting} />`}
    ${loaded && none && html`<${Empty} title=${t('token.empty')}><p>${t('token.emptyhint')}</p>
      ${isAdmin() && html`<button type="button" class="button main" onClick=${() => setParams({ add: '1' })}>${t('token.add')}</button>`}
      <code class="box">XAI_API_KEY=xai-… grok2api</code><//>`}
    ${loaded && !none && total === 0 && !error && html`<${Empty} title=${t('nothing')}><button type="button" class="button" onClick=${() => setParams({ state: '', pool: '', text: '', team: '' })}>${t('reset')}</button><//>`}
    ${loaded && total > 0 && html`<${Table} testid="tokens" label=${t('page.token')} columns=${columns(chosen.value, toggle, all)} total=${total} minWidth="1020px" above=${400} stamp=${stampOf(chosen.value)} life=${life}
      rowAt=${source.at} idOf=${(row) => row.id} opened=${opened} open=${(row) => setParams({ open: row.id }, { push: true })}
      needs=${(from, to) => { view.current = [from, to]; source.need(to); }} sort=${filters.sort} onSort=${(sort) => setParams({ sort })}
      foot=${html`<span data-testid="count">${t('token.count', { n: num(total) })}</span><${LiveClock} />`} />`}
    ${chosen.value.size > 0 && html`<${TokenBatch} ids=${[...chosen.value]} clear=${() => { chosen.value = new Set(); }} done=${() => { source.reset(); counts.reload(); }} />`}
    ${opened && html`<${TokenDrawer} id=${opened} key=${opened} close=${() => setParams({ open: '' })} changed=${(row) => { if (row) source.patch(row); else source.reset(); counts.reload(); }} />`}
    ${param('add') && isAdmin() && html`<${TokenAdd} close=${() => setParams({ add: '' })} done=${() => { source.reset(); counts.reload(); }} />`}
    ${exporting && html`<${TokenExport} ids=${[...chosen.value]} close=${() => setExporting(false)} />`}
  </div>`;
}
