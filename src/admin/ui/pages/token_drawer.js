// One credential: why it is as it is, what it served, what can be done with it.

import { html, useState } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { isAdmin, toast } from '../store.js';
import { get, post, patch, remove, query } from '../api.js';
import { num, cut, duration, clock } from '../format.js';
import { Mark, Ago, Left, Failure, Waiting, Field, Copy, usePoll, toastError, Name } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Drawer, Confirm } from '../parts/float.js';
import { History, Quotas } from './token_history.js';
import { Changes } from './token_changes.js';

function Editor({ token, saved }) {
  const [form, setForm] = useState({ label: token.label, note: token.note, tags: token.tags.join(', '), proxy: '' });
  const [fault, setFault] = useState(null);
  const [busy, begin] = useDeed();
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const save = async () => {
    setFault(null);
    const change = { label: form.label, note: form.note, tags: form.tags.split(',').map((tag) => tag.trim()).filter(Boolean) };
    if (form.proxy.trim()) change.proxy = form.proxy.trim() === '-' ? '' : form.proxy.trim();
    try {
      saved(await patch(`/tokens/${token.id}`, change));
      toast(t('saved'));
      setForm({ ...form, proxy: '' });
    } catch (error) { setFault(error); }
  };
  const submit = (event) => { event.preventDefault(); begin(save); };
  const text = (name, extra) => html`<${Field} label=${t(`token.${name}`)} hint=${extra} fault=${fault?.param?.endsWith(name) ? fault.message : ''} control=${(about) => html`<input class="input" ...${about} value=${form[name]} onInput=${set(name)} data-testid=${`edit-${name}`} />`} />`;
  return html`<form class="stack" onSubmit=${submit}>
    ${text('label')}${text('note')}${text('tags', t('token.tagshint'))}
    ${text('proxy', token.proxy ? t('token.proxyis', { proxy: token.proxy }) : t('token.proxyhint'))}
    ${fault && html`<${Failure} error=${fault} />`}
    <div><button class="button" type="submit" disabled=${busy} data-testid="edit-save">${busy ? t('working') : t('save')}</button></div></form>`;
}

function Served({ id }) {
  const { data, error } = usePoll(() => get(`/requests${query({ token: id, limit: 12 })}`), 5000, [id]);
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<${Waiting} />`;
  if (!data.items.length) return html`<p class="soft">${t('token.noserved')}</p>`;
  return html`
    <div class="over"><table class="plain"><thead><tr><th>${t('req.time')}</th><th>${t('req.model')}</th><th>${t('req.outcome')}</th><th class="end">${t('req.total')}</th></tr></thead><tbody>
    ${data.items.map((one) => html`<tr key=${one.id}><td><a href=${`/admin/requests?open=${one.id}`}>${clock(one.time_ms)}</a></td><td><${Name} text=${one.model} kind="named" /></td><td><${Mark} group="outcome" value=${one.outcome} /></td><td class="end">${duration(one.timing.total_ms)}</td></tr>`)}</tbody></table></div>
    <a href=${`/admin/requests?token=${id}`} class="small">${t('token.allserved')}</a>`;
}

export function TokenDrawer({ id, close, changed }) {
  const { data: token, error, reload } = usePoll(() => get(`/tokens/${id}`), 2000, [id]);
  const [asking, setAsking] = useState(false);
  const [busy, begin] = useDeed();
  const act = (name, run, says) => begin(async () => {
    try {
      const answer = await run();
      if (says) toast(says(answer), answer?.result?.ok === false ? 'bad' : 'ok');
      changed(answer?.token || (answer?.id ? answer : null));
      reload();
    } catch (fault) { toastError(fault); }
  }, name);
  const flip = (to) => act('switch', () => patch(`/tokens/${id}`, { switch: to }), () => t(to === 'off' ? 'token.isoff' : 'token.ison'));
  const gone = () => begin(async () => {
    try { await remove(`/tokens/${id}`); toast(t('token.deleted', { n: 1 })); close(); changed(null); } catch (fault) { toastError(fault); }
  }, 'delete');
  const footer = token && isAdmin() && html`
    <button type="button" class="button" disabled=${busy} onClick=${() => act('refresh', () => post(`/tokens/${id}/refresh`), (answer) => (answer.result.ok ? t('token.fresh') : answer.result.detail || t('token.notfresh')))} data-testid="refresh">${busy === 'refresh' ? t('working') : t('token.refresh')}</button>
    ${token.clearable && html`<button type="button" class="button" disabled=${busy} onClick=${() => act('clear', () => post(`/tokens/${id}/clear-cooling`), () => t('token.cleared'))} data-testid="clear">${t('token.clear')}</button>`}
    ${token.state === 'disabled' ? html`<button type="button" class="button" disabled=${busy} onClick=${() => flip('on')} data-testid="enable">${t('enable')}</button>` : html`<button type="button" class="button" disabled=${busy} onClick=${() => flip('off')} data-testid="disable">${t('disable')}</button>`}
    <span class="grow"></span><button type="button" class="button bad" disabled=${busy} onClick=${() => setAsking(true)} data-testid="token-delete">${t('delete')}</button>`;
  return html`<${Drawer} title=${token ? token.token : t('page.token')} close=${close} footer=${footer} testid="token-drawer">
    ${error && !token && html`<${Failure} error=${error} retry=${reload} />`}
    ${!token && !error && html`<${Waiting} />`}
    ${token && html`
      <section class="stack"><div class="row wrap"><${Mark} group="state" value=${token.state} />${token.cause && html`<span>${word('cause', token.cause)}</span>`}${token.until_ms && html`<strong><${Left} ms=${token.until_ms} /></strong>`}${token.since_ms && html`<span class="soft small">${t('token.since')} <${Ago} ms=${token.since_ms} /></span>`}</div>
        ${token.detail && html`<div class="box isolate">${cut(token.detail, 400)}</div>`}
        ${token.model_cooling.length > 0 && html`<table class="plain"><thead><tr><th>${t('req.model')}</th><th>${t('token.cause')}</th><th class="end">${t('token.until')}</th></tr></thead><tbody>${token.model_cooling.map((one) => html`<tr><td><${Name} text=${one.model} kind="named" /></td><td>${word('cause', one.cause)}</td><td class="end">${one.until_ms ? html`<${Left} ms=${one.until_ms} />` : t('token.untilcleared')}</td></tr>`)}</tbody></table>`}</section>
      <dl class="facts">
        <dt>${t('token.id')}</dt><dd class="row tight"><code class="cut">${token.id}</code><${Copy} text=${token.id} /></dd>
        <dt>${t('token.pool')}</dt><dd>${word('pool', token.pool)}</dd>
        <dt>${t('token.team')}</dt><dd class="mono">${token.team ? html`<a href=${`/admin/token?team=${encodeURIComponent(token.team)}`}><${Name} text=${token.team} /></a>` : t('token.noteam')}</dd>
        <dt>${t('token.models')}</dt><dd>${num(token.models)}</dd>
        ${token.quota_known && html`<dt>${t('token.quota')}</dt><dd>${num(token.quota)}</dd>`}
        ${token.heavy_quota_known && html`<dt>${t('token.heavy')}</dt><dd>${num(token.heavy_quota)}</dd>`}
        <dt>${t('token.uses')}</dt><dd>${num(token.use_count)} <span class="unit">${t('token.inflightn', { n: token.in_flight })}</span></dd>
        <dt>${t('token.fails')}</dt><dd class=${token.fail_count ? 'bad' : ''}>${num(token.fail_count)}</dd>
        <dt>${t('token.used')}</dt><dd><${Ago} ms=${token.last_used_ms} none=${t('time.never')} /></dd>
        <dt>${t('token.probed')}</dt><dd><${Ago} ms=${token.probed_ms} none=${t('time.never')} /></dd>
        <dt>${t('token.created')}</dt><dd>${clock(token.created_ms, true)}</dd>
        ${token.proxy && html`<dt>${t('token.proxy')}</dt><dd class="mono"><${Name} text=${token.proxy} /></dd>`}</dl>
      <section class="stack"><h2>${t('token.quotas')}</h2><${Quotas} id=${id} /></section>
      <${Changes} id=${id} at=${`${token.state} ${token.since_ms} ${token.model_cooling.length}`} />
      <section class="stack"><h2>${t('token.served')}</h2><${History} id=${id} /><${Served} id=${id} /></section>
      ${isAdmin() && html`<section class="stack"><h2>${t('edit')}</h2><${Editor} token=${token} saved=${(row) => { changed(row); reload(); }} /></section>`}`}
    ${asking && html`<${Confirm} title=${t('token.deleteone')} action=${t('delete')} busy=${busy === 'delete'} close=${() => setAsking(false)} run=${gone}><p>${t('token.deletewhat', { token: token.token })}</p><p class="soft">${t('token.deleteorder')}</p><//>`}
  <//>`;
}
