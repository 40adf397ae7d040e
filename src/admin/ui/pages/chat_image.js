// Pictures: one call each, so that they appear as they are ready; with pictures of one's own they are edits.

import { html, useState, useRef, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin } from '../store.js';
import { param } from '../router.js';
import { asClient, asClientForm, blobOf } from '../api.js';
import { num, cut, duration } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Failure, Field, usePoll } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Sources, dataOf } from './chat_sources.js';
import { playgroundKey } from './chat_key.js';
import { madeOf, keepMade, ownPath, modelsFor } from './chat_made.js';

const RATIOS = ['1:1', '16:9', '9:16', '4:3', '3:4', '3:2', '2:3'];
const AT_A_TIME = 3;
const MOST = 10;

async function make(form, sources, signal) {
  const key = await playgroundKey();
  const fields = { model: form.model, prompt: form.prompt.trim(), n: 1, response_format: 'url', ...(form.ratio ? { aspect_ratio: form.ratio } : {}) };
  let response;
  if (sources.length) {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) body.append(name, String(value));
    for (const one of sources) body.append(sources.length > 1 ? 'image[]' : 'image', one.file, one.file.name || 'picture.png');
    response = await asClientForm('/v1/images/edits', key, body, signal);
  } else response = await asClient('POST', '/v1/images/generations', key, fields, signal);
  const made = await response.json();
  const one = made.data?.[0];
  if (!one) throw Object.assign(new Error(t('made.nothing')), { status: 0 });
  return { url: one.url ? ownPath(one.url) : `data:image/png;base64,${one.b64_json}`, requestId: response.headers.get('x-request-id') };
}

function Shot({ one, again }) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (one.url || one.error) return undefined;
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, [one.url, one.error]);
  if (one.error) return html`<div class="slot bad small" role="alert"><strong>${t('made.failed')}</strong><span>${cut(one.error.message, 240)}</span>${one.error.requestId && html`<span class="mono soft">${one.error.requestId}</span>`}</div>`;
  if (!one.url) return html`<div class="slot soft small" aria-busy="true"><span>${t('made.under')}</span><span>${duration(Date.now() - one.at)}</span></div>`;
  return html`<figure class="made" data-testid="picture"><a href=${one.url} target="_blank" rel="noopener"><img src=${one.url} alt=${cut(one.prompt, 120)} loading="lazy" /></a>
    <figcaption class="row tight small"><span class="grow cut soft isolate" title=${cut(one.prompt, 1000)}>${cut(one.prompt, 80)}</span>
      <button type="button" class="button quiet icon small" onClick=${() => again(one)} aria-label=${t('image.edit')} title=${t('image.edit')}><${Icon} name="edit" size=${15} /></button>
      <a class="button quiet icon small" href=${one.url} download aria-label=${t('cache.download')} title=${t('cache.download')}><${Icon} name="download" size=${15} /></a></figcaption></figure>`;
}

export function ImageTab() {
  const offered = usePoll(() => modelsFor('image'), 0);
  const models = offered.data || [];
  const [form, setForm] = useState({ prompt: param('prompt'), model: '', count: 1, ratio: '' });
  const [sources, setSources] = useState([]);
  const [shots, setShots] = useState(() => madeOf('image').value);
  const [busy, begin] = useDeed();
  const [left, setLeft] = useState(0);
  const abort = useRef(null);
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const model = form.model || models[0] || '';
  useEffect(() => () => abort.current?.abort(), []);
  const change = (id, what) => setShots((list) => {
    const next = list.map((one) => (one.id === id ? { ...one, ...what } : one));
    keepMade('image', next.filter((one) => one.url));
    return next;
  });
  const makeAll = async () => {
    const count = Math.min(MOST, Math.max(1, Number(form.count) || 1));
    abort.current = new AbortController();
    const { signal } = abort.current;
    const slots = Array.from({ length: count }, (_, at) => ({ id: `${Date.now().toString(36)}-${at}`, prompt: form.prompt.trim(), at: Date.now() }));
    setShots((list) => [...slots, ...list]);
    setLeft(count);
    const waiting = [...slots];
    const worker = async () => {
      for (let slot = waiting.shift(); slot; slot = waiting.shift()) {
        if (signal.aborted) { setShots((list) => list.filter((one) => one.id !== slot.id)); continue; }
        try { change(slot.id, await make({ ...form, model }, sources, signal)); } catch (error) {
          if (error.name === 'AbortError') setShots((list) => list.filter((one) => one.id !== slot.id));
          else change(slot.id, { error });
        }
        setLeft((n) => n - 1);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  };
  const go = (event) => {
    event.preventDefault();
    if (form.prompt.trim() && model) begin(makeAll);
  };
  const again = async (one) => {
    const blob = await blobOf(one.url);
    const file = new File([blob], 'picture.png', { type: blob.type });
    setSources([{ file, url: await dataOf(file) }]);
    window.scrollTo({ top: 0 });
  };
  return html`<div class="maker" data-ready=${offered.data || offered.error ? 'true' : undefined}>
    ${offered.error && html`<${Failure} error=${offered.error} retry=${offered.reload} title=${t('chat.modelsfailed')} />`}
    ${offered.data && !models.length && isAdmin() && html`<div class="box warn">${t('chat.nomodelshint')} <a href="/admin/token">${t('page.token')}</a></div>`}
    <form class="card stack" onSubmit=${go}>
      <${Field} label=${t('made.prompt')} control=${(about) => html`<textarea class="input" ...${about} rows="3" placeholder=${t(sources.length ? 'image.edithint' : 'image.hint')} value=${form.prompt} onInput=${set('prompt')} onKeyDown=${(e) => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) go(e); }} data-search data-testid="image-prompt"></textarea>`} />
      <${Sources} list=${sources} change=${setSources} most=${5} label=${t('image.sources')} />
      <div class="knobs">
        <${Field} label=${t('chat.model')} control=${(about) => html`<select class="input" ...${about} value=${model} onChange=${set('model')} data-testid="image-model">${models.map((name) => html`<option key=${name} value=${name}>${cut(name, 60)}</option>`)}</select>`} />
        <${Field} label=${t('made.ratio')} control=${(about) => html`<select class="input" ...${about} value=${form.ratio} onChange=${set('ratio')}><option value="">${t('made.auto')}</option>${RATIOS.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select>`} />
        <${Field} label=${t('image.count')} control=${(about) => html`<input class="input" type="number" min="1" max=${MOST} ...${about} value=${form.count} onInput=${set('count')} data-testid="image-count" />`} /></div>
      <div class="row">${busy ? html`<button type="button" class="button" onClick=${() => abort.current.abort()} data-testid="image-stop"><${Icon} name="stop" size=${16} />${t('stop')}</button><span class="small soft" role="status">${t('image.left', { n: num(left) })}</span>`
        : html`<button type="submit" class="button main" disabled=${!form.prompt.trim() || !model} data-testid="image-go">${t(sources.length ? 'image.doedit' : 'image.do')}</button>`}</div></form>
    ${shots.length ? html`<div class="waterfall" data-testid="waterfall">${shots.map((one) => html`<${Shot} key=${one.id} one=${one} again=${again} />`)}</div>
      <p class="small soft">${t('made.kept')} <button type="button" class="button quiet small" onClick=${() => { setShots([]); keepMade('image', []); }}>${t('log.clear')}</button></p>` : html`<p class="empty">${t('image.none')}</p>`}
  </div>`;
}
