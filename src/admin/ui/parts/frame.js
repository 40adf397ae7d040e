// The frame of every page: rail, top bar, banners, keyboard.

import { html, useState, useEffect, useLayoutEffect, useRef } from '../vendor/mod.js';
import { t, LANGUAGES } from '../i18n.js';
import { session, theme, lang, narrowRail, reach, now, clockOff, isAdmin, offers } from '../store.js';
import { navigate, path } from '../router.js';
import { logout, probe, get } from '../api.js';
import { duration, rough } from '../format.js';
import { Icon } from './icons.js';
import { usePoll, toastError } from './bits.js';
import { useDeed } from './deed.js';
import { Dialog, isOpen } from './float.js';
import { drop } from '../pages/chat_key.js';

const THEMES = ['auto', 'light', 'dark'];
const next = (list, value) => list[(list.indexOf(value) + 1) % list.length];

function Rail({ pages, current, open, close }) {
  return html`${open && html`<div class="rail-mask" onClick=${close}></div>`}
    <nav class=${`rail ${open ? 'open' : ''}`} aria-label=${t('nav')} id="rail">
      <a class="brand" href="/admin/token" onClick=${close}><img src="/admin/ui/icon.svg" alt="" /><span class="label">grok2api</span></a>
      ${pages.map((page) => html`<a class="item" key=${page.name} href=${page.path} onClick=${close} title=${narrowRail.value ? t(`page.${page.name}`) : undefined}
        aria-current=${page.name === current ? 'page' : undefined} data-testid=${`nav-${page.name}`}><${Icon} name=${page.name} /><span class="label">${t(`page.${page.name}`)}</span></a>`)}
      <div class="foot row wrap only-phone"><${Choices} /></div>
      <button type="button" class="button quiet icon foot not-phone" onClick=${() => { narrowRail.value = !narrowRail.value; }} aria-label=${t('nav.fold')} aria-expanded=${String(!narrowRail.value)}><${Icon} name="fold" /></button>
    </nav>`;
}

function Choices() {
  const other = next(LANGUAGES.map(([code]) => code), lang.value);
  const name = LANGUAGES.find(([code]) => code === other)[1];
  return html`
    <button type="button" class="button quiet small" onClick=${() => { lang.value = other; }} lang=${other === 'zh' ? 'zh-CN' : 'en'} aria-label=${t('language.to', { name })} data-testid="language">${name}</button>
    <button type="button" class="button quiet icon" onClick=${() => { theme.value = next(THEMES, theme.value); }} aria-label=${`${t('theme')}: ${t(`theme.${theme.value}`)}`} title=${`${t('theme')}: ${t(`theme.${theme.value}`)}`} data-testid="theme">
      <${Icon} name=${{ auto: 'auto', light: 'sun', dark: 'moon' }[theme.value]} /></button>`;
}

/** Name and health of what we look at: this node alone, or the cluster. */
function Health() {
  const { data } = usePoll(async () => {
    const [ready, storage] = await Promise.all([probe('/readyz'), get('/storage')]);
    let cluster = null;
    if (offers('cluster.status')) cluster = await get('/cluster');
    return { ready, storage, cluster };
  }, 5000);
  if (!data) return html`<span class="health"><span class="dot"></span></span>`;
  const why = (data.ready.body?.blockers || []).map((one) => `${one.name}: ${one.reason}`).join('\n');
  const nodes = data.cluster?.nodes || [];
  const up = nodes.filter((node) => node.state === 'live').length;
  const shared = data.storage.type === 'nats';
  const ok = reach.value.ok && data.ready.status === 200 && (!shared || up === nodes.length);
  const says = !reach.value.ok ? t('health.away') : data.ready.status !== 200 ? t('health.notready')
    : shared ? t('health.nodes', { up, total: nodes.length }) : t('health.alone');
  const latency = shared && data.cluster?.bus?.latency_us;
  return html`<a class="health small soft" href="/admin/cluster" title=${why || undefined} data-testid="health"><span class=${`dot ${ok ? 'ok' : reach.value.ok ? 'warn' : 'bad'}`}></span>
    <span class="cut">${says}${latency ? html`<span class="not-phone"> · ${t('health.bus')} ${duration(latency / 1000)}</span>` : ''}</span></a>`;
}

function Banner() {
  const { data } = usePoll(() => get('/tokens/counts'), 10000);
  if (!reach.value.ok) {
    return html`<div class="banner bad" role="alert" data-testid="away">${t('banner.away', { span: rough(Math.max(0, now.value - clockOff.value - reach.value.since)) })}</div>`;
  }
  if (!data || path.value === '/admin/token') return null;
  if (data.total === 0) return html`<div class="banner">${t('banner.empty')} <a href="/admin/token?add=1">${t('token.add')}</a></div>`;
  if (data.active === 0) return html`<div class="banner bad">${t('banner.none')} <a href="/admin/token">${t('banner.look')}</a></div>`;
  return null;
}

function Help({ pages, close }) {
  const keys = [['/', t('help.search')], ['j k ↑ ↓', t('help.rows')], ['Enter', t('help.open')], ['Esc', t('help.close')], ['?', t('help.help')],
    ...pages.map((page) => [`g ${page.letter}`, t(`page.${page.name}`)])];
  return html`<${Dialog} title=${t('help.title')} close=${close}><dl class="facts">${keys.map(([key, what]) => html`<dt>${key.split(' ').map((one) => html`<kbd>${one}</kbd> `)}</dt><dd>${what}</dd>`)}</dl><//>`;
}

function useKeyboard(pages, showHelp) {
  const gone = useRef(0);
  useEffect(() => {
    const keys = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isOpen() || event.target.closest?.('input,textarea,select,[contenteditable]')) return;
      if (event.key === '/') {
        const box = document.querySelector('main [data-search]');
        if (box) { event.preventDefault(); box.focus(); box.select?.(); }
      } else if (event.key === '?') showHelp();
      else if (event.key === 'g') gone.current = Date.now();
      else if (Date.now() - gone.current < 1500) {
        const page = pages.find((one) => one.letter === event.key);
        gone.current = 0;
        if (page) { event.preventDefault(); navigate(page.path); }
      }
    };
    document.addEventListener('keydown', keys);
    return () => document.removeEventListener('keydown', keys);
  }, []);
}

export function Frame({ pages, current, children }) {
  const [drawer, setDrawer] = useState(false);
  const [help, setHelp] = useState(false);
  const [, begin] = useDeed();
  useKeyboard(pages, () => setHelp(true));
  useLayoutEffect(() => {
    if (!drawer) return undefined;
    document.querySelector('#rail .item')?.focus();
    const esc = (event) => { if (event.key === 'Escape') setDrawer(false); };
    document.addEventListener('keydown', esc);
    return () => document.removeEventListener('keydown', esc);
  }, [drawer]);
  const leave = () => begin(async () => {
    try { await logout(); drop(); } catch (error) { if (error.status !== 401) toastError(error); }
  });
  return html`<div class=${`frame ${narrowRail.value ? 'narrow' : ''}`}>
    <a class="skip button" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById('main').focus(); }}>${t('skip')}</a>
    <${Rail} pages=${pages} current=${current} open=${drawer} close=${() => setDrawer(false)} />
    <div class="view">
      <header class="top">
        <button type="button" class="button quiet icon only-phone" onClick=${() => setDrawer(true)} aria-label=${t('nav.open')} aria-controls="rail" data-testid="menu"><${Icon} name="menu" /></button>
        <${Health} /><span class="grow"></span>
        <span class="row tight not-phone"><${Choices} />
          <button type="button" class="button quiet icon" onClick=${() => setHelp(true)} aria-label=${t('help.title')} title="?"><${Icon} name="help" /></button></span>
        <span class="row tight small soft" title=${session.value.username}><${Icon} name="user" size=${16} /><span class="cut isolate not-phone">${session.value.username}</span>${!isAdmin() && html`<span class="chip info">${t('role.viewer')}</span>`}</span>
        <button type="button" class="button quiet icon" onClick=${leave} aria-label=${t('logout')} title=${t('logout')} data-testid="logout"><${Icon} name="exit" /></button>
      </header>
      <${Banner} />
      <main id="main" tabindex="-1">${children}</main>
    </div>
    ${help && html`<${Help} pages=${pages} close=${() => setHelp(false)} />`}
  </div>`;
}
