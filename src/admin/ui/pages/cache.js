// Images and videos that nodes keep: what is there, how much room it takes, and what can go.

import { html, useState, useRef } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin, offers, toast } from '../store.js';
import { get, post, query } from '../api.js';
import { param, setParams } from '../router.js';
import { num, cut, bytes, clock, percent } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Ago, Copy, Empty, Failure, Figure, Waiting, usePoll, toastError } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Confirm, Dialog } from '../parts/float.js';
import { Meter } from '../parts/spark.js';
import { Table } from '../parts/table.js';
import { Online } from './cache_online.js';

const TABS = ['image', 'video', 'online'];
const PAGE = 60;
const MIB = 1024 * 1024;

/** A picture, or a film that plays while it is pointed at. A link of its own is kept: signed ones change at every look. */
function Thumb({ file, kind, url }) {
  const [broken, setBroken] = useState(false);
  if (broken) return html`<span class="gone soft"><${Icon} name=${kind === 'video' ? 'play' : 'cache'} size=${28} /></span>`;
  if (kind === 'image') return html`<img src=${url} alt="" loading="lazy" decoding="async" onError=${() => setBroken(true)} />`;
  return html`<video src=${url} preload="metadata" muted playsinline loop onMouseEnter=${(e) => e.currentTarget.play().catch(() => {})} onMouseLeave=${(e) => { e.currentTarget.pause(); e.currentTarget.currentTime = 0; }} onError=${() => setBroken(true)} aria-label=${file.name}></video>`;
}

function Preview({ file, kind, url, close, remove }) {
  const address = new URL(url, location.href).href;
  return html`<${Dialog} wide title=${cut(file.name, 80)} close=${close} testid="cache-preview" footer=${html`
      ${isAdmin() && html`<button type="button" class="button bad" onClick=${remove} data-testid="cache-delete">${t('delete')}</button><span class="grow"></span>`}
      <a class="button" href=${url} download=${file.name}><${Icon} name="download" size=${16} />${t('cache.download')}</a>
      <button type="button" class="button main" onClick=${close} data-first>${t('close')}</button>`}>
    <div class="preview">${kind === 'image' ? html`<img src=${url} alt=${file.name} />` : html`<video src=${url} controls playsinline></video>`}</div>
    <dl class="facts"><dt>${t('cache.size')}</dt><dd>${bytes(file.size_bytes)}</dd><dt>${t('cache.mime')}</dt><dd class="mono">${file.mime}</dd>
      <dt>${t('cache.came')}</dt><dd>${clock(file.mtime_ms, true)}</dd><dt>${t('cache.read')}</dt><dd><${Ago} ms=${file.read_ms} none=${t('time.never')} /></dd>
      ${file.nodes.length > 0 && html`<dt>${t('cache.nodes')}</dt><dd>${file.nodes.join(', ')}</dd>`}<dt>${t('cache.link')}</dt><dd class="row tight"><code class="cut">${address}</code><${Copy} text=${address} /></dd></dl>
  <//>`;
}

const Gallery = ({ files, kind, url, open }) => html`<ul class="gallery" data-testid="cache-gallery">${files.map((file) => html`<li key=${file.name}>
  <button type="button" class="shot" onClick=${() => open(file)} aria-label=${`${t('cache.open')} ${file.name}`}><${Thumb} file=${file} kind=${kind} url=${url(file)} /></button>
  <div class="row tight small soft"><span class="grow cut" title=${clock(file.mtime_ms, true)}><${Ago} ms=${file.mtime_ms} /></span><span>${bytes(file.size_bytes)}</span></div></li>`)}</ul>`;

const columns = (kind, url, open) => [
  { name: 'look', width: '44px', label: html`<span class="hidden-text">${t('cache.look')}</span>`, cell: (file) => html`<span class="mini"><${Thumb} key=${file.name} file=${file} kind=${kind} url=${url(file)} /></span>` },
  { name: 'name', width: 'minmax(180px, 2fr)', label: t('cache.name'), cell: (file) => html`<button type="button" class="open" title=${cut(file.name, 1000)} onClick=${() => open(file)}>${cut(file.name, 120)}</button>` },
  { name: 'mime', width: '110px', label: t('cache.mime'), cell: (file) => html`<span class="mono soft">${file.mime}</span>` },
  { name: 'size', width: '90px', end: true, label: t('cache.size'), cell: (file) => bytes(file.size_bytes) },
  { name: 'came', width: '100px', end: true, label: t('cache.came'), cell: (file) => html`<${Ago} ms=${file.mtime_ms} />` },
  { name: 'read', width: '100px', end: true, label: t('cache.read'), cell: (file) => html`<${Ago} ms=${file.read_ms} none=${t('time.never')} />` },
];

/** Images, videos, and what a provider keeps. */
const Kinds = ({ tab, count }) => html`<div class="row tight" role="group" aria-label=${t('cache.kind')}>${TABS.filter((one) => one !== 'online' || offers('cache.online')).map((one) => html`<button type="button" class="button small" key=${one} aria-pressed=${String(one === tab)} onClick=${() => setParams({ tab: one === 'image' ? '' : one, page: '' })} data-testid=${`cache-${one}`}>${t(one === 'online' ? 'online.tab' : `cache.${one}s`)} ${count && one !== 'online' ? html`<span class="unit">${num(count(one))}</span>` : null}</button>`)}</div>`;

function Pager({ page, pages }) {
  if (pages < 2) return null;
  const go = (to) => setParams({ page: to > 1 ? String(to) : '' });
  return html`<nav class="row pager" aria-label=${t('cache.pages')}><button type="button" class="button small" disabled=${page <= 1} onClick=${() => go(page - 1)}>${t('cache.newer')}</button>
    <span class="small soft">${t('cache.page', { n: num(page), of: num(pages) })}</span><button type="button" class="button small" disabled=${page >= pages} onClick=${() => go(page + 1)}>${t('cache.older')}</button></nav>`;
}

function Stats({ status }) {
  const both = status.local_image.size_mb + status.local_video.size_mb;
  const limit = status.limit_mb;
  // To two decimals of a MiB: a few small files are not nothing.
  const size = (one) => (one.count && !one.size_mb ? `< ${bytes(0.01 * MIB)}` : bytes(one.size_mb * MIB));
  const all = size({ count: status.local_image.count + status.local_video.count, size_mb: both });
  const sum = (one, name) => html`<${Figure} name=${t(`cache.${name}s`)} value=${num(one.count)} note=${size(one)} />`;
  return html`<div class="cards" data-testid="cache-stats">${sum(status.local_image, 'image')}${sum(status.local_video, 'video')}
    <div class="card figure"><span class="name">${t('cache.room')}</span><span class="value">${all}</span>
      <${Meter} used=${both} limit=${limit} label=${t('cache.room')} /><span class="small soft">${t('cache.roomnote', { limit: bytes(limit * MIB), share: percent(both, limit) })}</span></div>
    <${Figure} name=${t('cache.downloads')} value=${num(status.downloads)} note=${t('cache.downloadsnote')} /></div>`;
}

function Local({ kind }) {
  const page = Math.max(1, Number(param('page')) || 1);
  const view = param('view') === 'list' ? 'list' : 'gallery';
  const status = usePoll(() => get('/cache/local'), 5000);
  const list = usePoll(() => get(`/cache/list${query({ type: kind, page, page_size: PAGE })}`), 5000, [kind, page]);
  const [opened, setOpened] = useState(null);
  const [asking, setAsking] = useState(null);
  const [busy, begin] = useDeed();
  const links = useRef(new Map());
  const url = (file) => links.current.get(file.name) ?? (links.current.set(file.name, file.view_url), file.view_url);
  const sum = status.data?.[`local_${kind}`];
  const files = list.data?.items || [];
  const act = (run) => begin(async () => {
    try { await run(); setAsking(null); setOpened(null); list.reload(); status.reload(); } catch (error) { toastError(error); }
  });
  const drop = (file) => act(async () => {
    const { result } = await post('/cache/item/delete', { type: kind, name: file.name });
    toast(t(result.deleted ? 'cache.deleted' : 'cache.wasgone', { name: cut(file.name, 40) }));
  });
  const clear = () => act(async () => {
    const { result } = await post('/cache/clear', { type: kind });
    setParams({ page: '' });
    toast(t('cache.cleared', { n: num(result.count), size: bytes(result.size_mb * MIB) }));
  });
  const ready = list.data && status.data;
  return html`<div class="page" data-ready=${ready ? 'true' : undefined}>
    <div class="head"><h1>${t('page.cache')}</h1></div>
    ${status.data && html`<${Stats} status=${status.data} />`}
    <div class="filters"><${Kinds} tab=${kind} count=${(one) => status.data?.[`local_${one}`].count} />
      <div class="row tight" role="group" aria-label=${t('cache.view')}>${['gallery', 'list'].map((one) => html`<button type="button" class="button small" key=${one} aria-pressed=${String(one === view)} onClick=${() => setParams({ view: one === 'list' ? 'list' : '' })} data-testid=${`cache-as-${one}`}>${t(`cache.as.${one}`)}</button>`)}</div>
      <span class="grow"></span>
      ${isAdmin() && sum?.count > 0 && html`<button type="button" class="button small bad" onClick=${() => setAsking({ all: true })} data-testid="cache-clear"><${Icon} name="trash" size=${15} />${t(`cache.clear.${kind}`)}</button>`}</div>
    ${(list.error || status.error) && html`<${Failure} error=${list.error || status.error} retry=${() => { list.reload(); status.reload(); }} />`}
    ${!ready && !list.error && !status.error && html`<${Waiting} />`}
    ${list.data && files.length === 0 && html`<${Empty} title=${t(`cache.none.${kind}`)}><p>${t('cache.nonehint')}</p><a class="button main" href=${`/chat?mode=${kind}`}>${t('cache.make')}</a><//>`}
    ${files.length > 0 && (view === 'gallery' ? html`<${Gallery} files=${files} kind=${kind} url=${url} open=${setOpened} />`
      : html`<${Table} testid="cache-list" label=${t(`cache.${kind}s`)} columns=${columns(kind, url, setOpened)} total=${files.length} rowAt=${(at) => files[at]} idOf=${(file) => file.name} open=${setOpened} minWidth="720px" above=${400} />`)}
    ${list.data && html`<${Pager} page=${page} pages=${Math.ceil(list.data.total / PAGE)} />`}
    ${status.data?.unanswered.length > 0 && html`<div class="box warn" role="status">${t('cache.unanswered', { nodes: status.data.unanswered.join(', ') })}</div>`}
    ${status.data?.nodes.length > 1 && html`<p class="small soft" data-testid="cache-nodes">${t('cache.allnodes')} ${status.data.nodes.map((node) => `${node.node}: ${num(node[`local_${kind}`].count)}`).join(' · ')}</p>`}
    ${opened && html`<${Preview} file=${opened} kind=${kind} url=${url(opened)} close=${() => setOpened(null)} remove=${() => setAsking({ file: opened })} />`}
    ${asking && html`<${Confirm} title=${t(asking.all ? 'cache.cleartitle' : 'cache.deletetitle')} action=${t(asking.all ? 'cache.clear' : 'delete')} busy=${busy} close=${() => setAsking(null)} run=${() => (asking.all ? clear() : drop(asking.file))}>
      <p>${asking.all ? t('cache.clearwhat', { n: num(sum.count), kind: t(`cache.${kind}s`), size: bytes(sum.size_mb * MIB) }) : t('cache.deletewhat', { name: cut(asking.file.name, 60) })}</p><p class="soft">${t('cache.gonenote')}</p><//>`}
  </div>`;
}

export function CachePage() {
  const tab = param('tab');
  if (tab === 'online' && offers('cache.online')) return html`<${Online} kinds=${html`<${Kinds} tab="online" />`} />`;
  const kind = tab === 'video' ? 'video' : 'image';
  return html`<${Local} key=${kind} kind=${kind} />`;
}
