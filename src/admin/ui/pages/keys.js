// Who uses us, how much is left for them?

import { html, useState, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin, offers, serverNow, toast } from '../store.js';
import { get, post, patch, query, remove } from '../api.js';
import { param, setParams } from '../router.js';
import { num, cut, usd, clock } from '../format.js';
import { Icon, Shape } from '../parts/icons.js';
import { Ago, Empty, Failure, Waiting, Figure, Copy, usePoll, toastError, Name } from '../parts/bits.js';
import { Table } from '../parts/table.js';
import { useDeed } from '../parts/deed.js';
import { Dialog, Confirm } from '../parts/float.js';
import { Meter } from '../parts/spark.js';
import { KeyDialog } from './key_dialog.js';

const stateOf = (key) => (key.expired ? 'expired' : key.is_active ? 'active' : 'disabled');
const TONES = { active: 'ok', expired: 'bad', disabled: 'off' };

/** The tightest of a key's daily limits, as a bar. */
function Today({ row }) {
  const used = row.usage_today;
  if (!used) return null;
  const limits = [['chat', used.chat_used, row.chat_limit], ['heavy', used.heavy_used, row.heavy_limit], ['image', used.image_used, row.image_limit], ['video', used.video_used, row.video_limit], ['usd', used.spent_usd, row.budget_usd]].filter(([, , limit]) => limit >= 0);
  if (!limits.length) return html`<span class="soft">${t('key.nolimit')}</span>`;
  const [name, spent, limit] = limits.reduce((worst, one) => (one[1] / (one[2] || 1) > worst[1] / (worst[2] || 1) ? one : worst));
  const show = name === 'usd' ? usd : num;
  return html`<div class="sub cut">${t(`key.per.${name}`)} ${show(spent)} / ${show(limit)}</div><${Meter} used=${spent} limit=${limit} label=${t(`key.per.${name}`)} />`;
}

const MONTH_MS = 30 * 86_400_000;
const TICKS = 1e10;

/** Today, and below it the last 30 days. */
const Both = ({ today, month }) => html`<div>${today}</div><div class="sub">${month}</div>`;

const columns = (month) => [
  { name: 'name', width: 'minmax(150px, 1.4fr)', label: t('key.name'), cell: (row) => html`<div class="cut isolate"><button type="button" class="open name" title=${cut(row.name, 1000)} onClick=${() => setParams({ open: row.id }, { push: true })}>${cut(row.name, 80)}</button></div><div class="sub mono cut">${row.display_key}</div>` },
  { name: 'state', width: '116px', label: t('key.state'), cell: (row) => html`<span class=${`mark ${TONES[stateOf(row)]}`}><${Shape} state=${stateOf(row)} />${t(`keystate.${stateOf(row)}`)}</span>` },
  { name: 'today', width: 'minmax(150px, 1fr)', label: t('key.tightest'), cell: (row) => html`<${Today} row=${row} />` },
  { name: 'chat', width: '96px', end: true, label: t('key.callsboth'), cell: (row) => html`<${Both} today=${num(row.usage_today?.chat_used)} month=${num(month[row.id]?.requests ?? 0)} />` },
  { name: 'usd', width: '96px', end: true, label: t('key.spentboth'), cell: (row) => html`<${Both} today=${usd(row.usage_today?.spent_usd)} month=${usd((month[row.id]?.cost_ticks ?? 0) / TICKS)} />` },
  { name: 'models', width: 'minmax(90px, 1fr)', label: t('key.models'), cell: (row) => (row.allowed_models.length ? html`<${Name} text=${row.allowed_models.join(', ')} />` : html`<span class="soft">${t('key.allmodels')}</span>`) },
  { name: 'expires', width: '90px', end: true, label: t('key.expires'), cell: (row) => (row.expires_at ? html`<span title=${clock(row.expires_at * 1000, true)}>${clock(row.expires_at * 1000, true).slice(0, 10)}</span>` : html`<span class="soft">${t('time.never')}</span>`) },
  { name: 'used', width: '84px', end: true, label: t('token.used'), cell: (row) => html`<${Ago} ms=${row.last_used_at && row.last_used_at * 1000} none=${t('time.never')} />` },
];

/** The secret, once: it closes only by its button. */
export const Secret = ({ made, close }) => html`<${Dialog} title=${t('key.madetitle')} testid="key-secret" footer=${html`<button type="button" class="button main" onClick=${close} data-testid="secret-done">${t('key.saved')}</button>`}>
  <p>${t('key.once')}</p>
  <div class="box ok row secret"><code class="grow" data-testid="secret">${made.key}</code><${Copy} text=${made.key} label=${t('copy')} main /></div>
  <p class="soft small"><${Name} text=${made.name} /></p><//>`;

export function KeysPage() {
  const { data, error, reload } = usePoll(() => get('/keys'), 5000);
  // Sums of days change slowly: groups of at most 100 keys, the busiest.
  const sums = usePoll(() => (offers('requests.rollups') ? get(`/rollups${query({ since_ms: Math.floor(serverNow() - MONTH_MS), step: 'day', by: 'key' })}`) : Promise.resolve({ groups: [] })), 60_000);
  const month = Object.fromEntries((sums.data?.groups || []).map((group) => [group.name, group.sums]));
  const [made, setMade] = useState(null);
  const [asking, setAsking] = useState(null);
  const [busy, begin] = useDeed();
  const [text, setText] = useState(param('text'));
  useEffect(() => { setParams({ text }); }, [text]);
  const all = data?.data || [];
  const state = param('state');
  const words = text.toLowerCase();
  const rows = all.filter((row) => (!state || stateOf(row) === state) && (!words || `${row.name} ${row.display_key} ${row.id} ${row.allowed_models.join(' ')}`.toLowerCase().includes(words)));
  const opened = all.find((row) => row.id === param('open'));
  const count = (name) => all.filter((row) => stateOf(row) === name).length;
  const sum = (name) => all.reduce((total, row) => total + (row.usage_today?.[name] || 0), 0);
  const close = () => setParams({ open: '', new: '' });
  const act = (run) => begin(async () => {
    try { await run(); reload(); } catch (fault) { toastError(fault); } finally { setAsking(null); }
  });
  const flip = (row) => act(async () => {
    await patch(`/keys/${row.id}`, { is_active: !row.is_active });
    toast(t(row.is_active ? 'key.isoff' : 'key.ison', { name: cut(row.name, 40) }), 'ok', { label: t('undo'), run: () => act(() => patch(`/keys/${row.id}`, { is_active: row.is_active })) });
  });
  return html`<div class="page" data-ready=${data ? 'true' : undefined}>
    <div class="head"><h1>${t('page.keys')}</h1>${isAdmin() && html`<button type="button" class="button main" onClick=${() => setParams({ new: '1' }, { push: true })} data-testid="key-new"><${Icon} name="plus" size=${16} />${t('key.new')}</button>`}</div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${!data && !error && html`<${Waiting} />`}
    ${data && html`
      <div class="cards"><${Figure} name=${t('key.total')} value=${num(all.length)} note=${t('key.totalnote', { active: num(count('active')), off: num(count('disabled')), expired: num(count('expired')) })} />
        <${Figure} name=${t('key.chattoday')} value=${num(sum('chat_used'))} note=${all[0]?.day || ''} />
        <${Figure} name=${t('key.imagestoday')} value=${num(sum('image_used') + sum('video_used'))} />
        <${Figure} name=${t('key.spent')} value=${usd(sum('spent_usd'))} /></div>
      <div class="filters"><label class="search"><span class="hidden-text">${t('key.search')}</span><${Icon} name="search" size=${16} /><input class="input" type="search" data-search placeholder=${t('key.search')} value=${text} onInput=${(e) => setText(e.target.value)} /></label>
        ${['active', 'disabled', 'expired'].map((one) => html`<button type="button" key=${one} class="button small" aria-pressed=${String(state === one)} onClick=${() => setParams({ state: state === one ? '' : one })}>${t(`keystate.${one}`)} <span class="unit">${num(count(one))}</span></button>`)}
        ${(text || state) && html`<button type="button" class="button small quiet" onClick=${() => { setText(''); setParams({ state: '' }); }}>${t('reset')}</button>`}</div>
      ${rows.length ? html`<${Table} testid="keys" label=${t('page.keys')} columns=${columns(month)} stamp=${sums.at} total=${rows.length} rowAt=${(at) => rows[at]} idOf=${(row) => row.id} open=${(row) => setParams({ open: row.id }, { push: true })} opened=${opened?.id} minWidth="1010px" above=${380} foot=${html`<span>${t('key.count', { n: num(rows.length) })}</span>`} />`
        : html`<${Empty} title=${all.length ? t('nothing') : t('key.empty')}>${!all.length && html`<p>${t('key.emptyhint')}</p>${isAdmin() && html`<button type="button" class="button main" onClick=${() => setParams({ new: '1' }, { push: true })}>${t('key.new')}</button>`}`}<//>`}`}
    ${(param('new') || opened) && html`<${KeyDialog} key=${opened?.id || 'new'} row=${opened} close=${close} busy=${busy}
      saved=${(row, isNew) => { reload(); close(); if (isNew) setMade(row); else toast(t('saved')); }} flip=${flip} ask=${setAsking} />`}
    ${asking && html`<${Confirm} title=${t(`key.${asking.what}title`)} action=${t(asking.what === 'delete' ? 'delete' : 'key.rotate')} busy=${busy} close=${() => setAsking(null)}
      run=${() => act(async () => {
        if (asking.what === 'delete') { await remove(`/keys/${asking.row.id}`); toast(t('key.deleted', { name: cut(asking.row.name, 40) })); }
        else setMade((await post(`/keys/${asking.row.id}/rotate`, {})).data);
        close();
      })}><p>${t(`key.${asking.what}what`, { name: cut(asking.row.name, 60), key: asking.row.display_key })}</p>${asking.what === 'delete' && html`<p class="soft">${t('key.deleteorder')}</p>`}<//>`}
    ${made && html`<${Secret} made=${made} close=${() => setMade(null)} />`}
  </div>`;
}
