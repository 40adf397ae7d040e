// Who administers, and what did they do?

import { html, useState, useEffect } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { isAdmin, session, toast } from '../store.js';
import { get, post, query } from '../api.js';
import { param, setParams } from '../router.js';
import { num, cut, clock } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Ago, Copy, Empty, Failure, Field, Waiting, usePoll, toastError, Name } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Dialog, Confirm } from '../parts/float.js';

function Told({ password, close }) {
  return html`<${Dialog} title=${t('user.password')} close=${close} testid="user-told" footer=${html`<button type="button" class="button main" onClick=${close} data-testid="user-saved">${t('key.saved')}</button>`}>
    <div class="box ok stack secret"><code class="isolate">${password}</code><${Copy} text=${password} label=${t('copy')} main /></div><p class="small soft">${t('user.once')}</p><//>`;
}

function AddUser({ close, done }) {
  const [form, setForm] = useState({ username: '', role: 'viewer', password: '' });
  const [busy, begin] = useDeed();
  const [fault, setFault] = useState(null);
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const submit = (event) => {
    event.preventDefault();
    begin(async () => {
      setFault(null);
      try { done(await post('/users', { username: form.username, role: form.role, ...(form.password ? { password: form.password } : {}) })); } catch (error) { setFault(error); }
    });
  };
  return html`<${Dialog} title=${t('user.add')} close=${close} busy=${busy} testid="user-dialog" footer=${html`<button type="button" class="button" onClick=${close} disabled=${busy}>${t('cancel')}</button><button type="submit" form="user-form" class="button main" disabled=${busy || !form.username.trim()} data-testid="user-save">${busy ? t('working') : t('user.add')}</button>`}>
    <form id="user-form" class="stack" onSubmit=${submit}>
      <${Field} label=${t('user.name')} control=${(about) => html`<input class="input" ...${about} autocomplete="off" value=${form.username} onInput=${set('username')} data-testid="user-name" />`} />
      <${Field} label=${t('user.role')} hint=${t(`user.about.${form.role}`)} control=${(about) => html`<select class="input" ...${about} value=${form.role} onChange=${set('role')} data-testid="user-role"><option value="viewer">${t('role.viewer')}</option><option value="admin">${t('role.admin')}</option></select>`} />
      <${Field} label=${t('user.password')} hint=${t('user.passwordhint')} control=${(about) => html`<input class="input" type="password" ...${about} autocomplete="new-password" value=${form.password} onInput=${set('password')} />`} />
    </form>${fault && html`<${Failure} error=${fault} />`}<//>`;
}

function Audit() {
  const [text, setText] = useState(param('text'));
  useEffect(() => {
    if (text === param('text')) return undefined;
    const timer = setTimeout(() => setParams({ text }), 200);
    return () => clearTimeout(timer);
  }, [text]);
  const { data, error, reload } = usePoll(() => get(`/audit${query({ text: param('text'), limit: 200 })}`), 10000, [param('text')]);
  return html`<section class="card stack"><div class="row wrap"><h2 class="grow">${t('audit.title')}</h2><label class="search"><span class="hidden-text">${t('audit.search')}</span><${Icon} name="search" size=${16} /><input class="input" type="search" data-search placeholder=${t('audit.search')} value=${text} onInput=${(e) => setText(e.target.value)} data-testid="audit-search" /></label></div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${data?.items.length === 0 && html`<${Empty} title=${t('nothing')} />`}
    ${data?.items.length > 0 && html`<div class="over" tabindex="0" role="region" aria-label=${t('audit.title')}><table class="plain trail" data-testid="audit"><thead><tr><th>${t('req.time')}</th><th>${t('audit.who')}</th><th>${t('audit.what')}</th><th>${t('audit.on')}</th><th>${t('audit.change')}</th></tr></thead><tbody>
      ${data.items.map((one) => html`<tr key=${one.id}><td title=${clock(one.time_ms, true)}><${Ago} ms=${one.time_ms} /></td><td><${Name} text=${one.who} kind="named" /><div class="sub whole">${one.from || 'NATS'}${one.node ? ` · ${one.node}` : ''}</div></td><td class="mono">${one.action}</td>
        <td class="isolate">${one.count > 0 && html`<span class="mono">${cut(one.ids[0], 44)}</span>${one.count > 1 && html` <span class="soft">+${num(one.count - 1)}</span>`}`}${one.details && html`<div class="sub" title=${cut(one.details, 1000)}>${cut(one.details, 120)}</div>`}</td>
        <td class="isolate diff">${one.changes.map((change) => html`<div key=${change.field}><span class="soft">${change.field}</span> <span class="minus isolate" title=${cut(change.before, 1000)}>${cut(change.before, 60) || '∅'}</span> → <span class="plus isolate" title=${cut(change.after, 1000)}>${cut(change.after, 60) || '∅'}</span></div>`)}</td></tr>`)}</tbody></table></div>
      <p class="small soft">${t('audit.count', { n: num(data.total) })}</p>`}
  </section>`;
}

export function UsersPage() {
  const users = usePoll(() => get('/users'), 10000);
  const [adding, setAdding] = useState(false);
  const [told, setTold] = useState('');
  const [asking, setAsking] = useState(null);
  const [busy, begin] = useDeed();
  const act = (path, body, words) => begin(async () => {
    try { const answer = await post(path, body); if (answer.password) setTold(answer.password); else toast(words); setAsking(null); users.reload(); } catch (error) { toastError(error); }
  });
  return html`<div class="page" data-ready=${users.data ? 'true' : undefined}>
    <div class="head"><h1>${t('page.users')}</h1>${isAdmin() && html`<button type="button" class="button main" onClick=${() => setAdding(true)} data-testid="user-add"><${Icon} name="plus" size=${16} />${t('user.add')}</button>`}</div>
    ${users.error && html`<${Failure} error=${users.error} retry=${users.reload} />`}
    ${!users.data && !users.error && html`<${Waiting} />`}
    ${users.data && html`<section class="card over" tabindex="0" role="region" aria-label=${t('page.users')}><table class="plain people" data-testid="users"><thead><tr><th>${t('user.name')}</th><th>${t('user.role')}</th><th class="end">${t('user.sessions')}</th><th>${t('user.since')}</th><th><span class="hidden-text">${t('user.actions')}</span></th></tr></thead><tbody>
      ${users.data.items.map((user) => html`<tr key=${user.username}><td class="isolate"><strong><${Name} text=${user.username} kind="named" /></strong>${user.is_first && html` <span class="chip">${t('user.configured')}</span>`}${user.username === session.value.username && html` <span class="chip info">${t('user.you')}</span>`}</td>
        <td class="whole">${word('role', user.role)}</td><td class="end">${num(user.sessions)}</td><td class="whole"><${Ago} ms=${user.created_ms} /></td>
        <td class="end">${isAdmin() && !user.is_first && html`<span class="row tight">
          <button type="button" class="button small" disabled=${busy} onClick=${() => act('/users/patch', { username: user.username, role: user.role === 'admin' ? 'viewer' : 'admin' }, t('user.changed'))} data-testid="user-flip">${t(user.role === 'admin' ? 'user.toviewer' : 'user.toadmin')}</button>
          <button type="button" class="button small" disabled=${busy} onClick=${() => setAsking({ user, what: 'password' })} data-testid="user-password">${t('user.newpassword')}</button>
          <button type="button" class="button small bad" disabled=${busy} onClick=${() => setAsking({ user, what: 'delete' })} data-testid="user-delete">${t('delete')}</button></span>`}</td></tr>`)}</tbody></table></section>`}
    <${Audit} />
    ${adding && html`<${AddUser} close=${() => setAdding(false)} done=${(saved) => { setAdding(false); if (saved.password) setTold(saved.password); users.reload(); }} />`}
    ${told && html`<${Told} password=${told} close=${() => setTold('')} />`}
    ${asking?.what === 'password' && html`<${Confirm} title=${t('user.newpassword')} action=${t('user.newpassword')} busy=${busy} close=${() => setAsking(null)} run=${() => act('/users/patch', { username: asking.user.username, new_password: true })}><p>${t('user.passwordwhat', { name: cut(asking.user.username, 40) })}</p><//>`}
    ${asking?.what === 'delete' && html`<${Confirm} title=${t('user.deletetitle')} action=${t('delete')} busy=${busy} close=${() => setAsking(null)} run=${() => act('/users/delete', { username: asking.user.username }, t('user.deleted'))}><p>${t('user.deletewhat', { name: cut(asking.user.username, 40), n: num(asking.user.sessions) })}</p><//>`}
  </div>`;
}
