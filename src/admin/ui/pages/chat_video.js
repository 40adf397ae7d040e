// Videos: begun, asked after until they are there; one that is under way is asked after again when the page is opened anew.

import { html, useState, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin } from '../store.js';
import { param } from '../router.js';
import { asClient } from '../api.js';
import { cut, duration } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Failure, Field, usePoll } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Sources } from './chat_sources.js';
import { playgroundKey } from './chat_key.js';
import { madeOf, keepMade, ownPath, modelsFor } from './chat_made.js';

const RATIOS = ['16:9', '9:16', '1:1', '4:3', '3:4', '3:2', '2:3'];
const EVERY = 1500;
const LONGEST = 15;

/** One video: asked after while it is made and somebody looks. */
function Film({ one, change, drop }) {
  const [now, setNow] = useState(Date.now());
  const going = !one.url && !one.error && !one.left;
  useEffect(() => {
    if (!going) return undefined;
    let over = false;
    let timer;
    const clock = setInterval(() => setNow(Date.now()), 500);
    const look = async () => {
      try {
        const said = await (await asClient('GET', `/v1/videos/${encodeURIComponent(one.id)}`, await playgroundKey())).json();
        if (over) return;
        if (said.status === 'done' && said.video?.url) { change({ url: ownPath(said.video.url), took: Date.now() - one.at }); return; }
        if (said.status === 'pending') change({ progress: said.progress || 0 });
        else { change({ error: { message: said.error?.message || t('film.withheld') } }); return; }
      } catch (error) {
        if (over) return;
        // A node that is away comes back; what the gateway refuses stays refused.
        if (error.status >= 400 && error.status < 500 && error.status !== 429) { change({ error: { message: error.message, requestId: error.requestId } }); return; }
      }
      timer = setTimeout(look, EVERY);
    };
    look();
    return () => { over = true; clearTimeout(timer); clearInterval(clock); };
  }, [one.id, going]);
  return html`<figure class="made film" data-testid="film">
    ${one.url ? html`<video src=${one.url} poster=${one.poster || undefined} controls playsinline preload="metadata"></video>`
      : one.error ? html`<div class="slot bad small" role="alert"><strong>${t('made.failed')}</strong><span>${cut(one.error.message, 240)}</span>${one.error.requestId && html`<span class="mono soft">${one.error.requestId}</span>`}</div>`
        : html`<div class="slot soft small">${one.poster && html`<img class="poster" src=${one.poster} alt="" />`}<span class="stack tight under"><progress max="100" value=${one.progress || 0} aria-label=${t('film.progress')}></progress>
            <span class="row"><span class="grow">${one.left ? t('film.left') : t('made.under')} ${one.progress ? `${one.progress} %` : ''}</span>${going && html`<span>${duration(now - one.at)}</span>`}</span></span></div>`}
    <figcaption class="row tight small"><span class="grow cut soft isolate" title=${cut(one.prompt, 1000)}>${cut(one.prompt, 90)}</span>${one.took ? html`<span class="soft">${duration(one.took)}</span>` : null}
      ${going && html`<button type="button" class="button small" onClick=${() => change({ left: true })}>${t('stop')}</button>`}
      ${one.left && html`<button type="button" class="button small" onClick=${() => change({ left: false })}>${t('film.look')}</button>`}
      ${one.url && html`<a class="button quiet icon small" href=${one.url} download aria-label=${t('cache.download')}><${Icon} name="download" size=${15} /></a>`}
      <button type="button" class="button quiet icon small" onClick=${drop} aria-label=${`${t('remove')}: ${cut(one.prompt, 40)}`}><${Icon} name="trash" size=${15} /></button></figcaption></figure>`;
}

export function VideoTab() {
  const offered = usePoll(() => modelsFor('video'), 0);
  const models = offered.data || [];
  const [form, setForm] = useState({ prompt: param('prompt'), model: '', seconds: 5, ratio: '', resolution: '480p' });
  const [sources, setSources] = useState([]);
  const [films, setFilms] = useState(() => madeOf('video').value);
  const [busy, begin] = useDeed();
  const [fault, setFault] = useState(null);
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const model = form.model || models[0] || '';
  useEffect(() => keepMade('video', films), [films]);
  const make = async () => {
    setFault(null);
    const body = { model, prompt: form.prompt.trim(), duration: Math.min(LONGEST, Math.max(1, Number(form.seconds) || 5)), resolution: form.resolution, ...(form.ratio ? { aspect_ratio: form.ratio } : {}) };
    if (sources.length) body.image = { url: sources[0].url };
    try {
      const begun = await (await asClient('POST', '/v1/videos/generations', await playgroundKey(), body)).json();
      setFilms((list) => [{ id: begun.request_id || begun.id, prompt: body.prompt, at: Date.now(), poster: sources[0]?.url }, ...list]);
    } catch (error) { setFault(error); }
  };
  const go = (event) => {
    event.preventDefault();
    if (form.prompt.trim() && model) begin(make);
  };
  const change = (id) => (what) => setFilms((list) => list.map((one) => (one.id === id ? { ...one, ...what } : one)));
  return html`<div class="maker" data-ready=${offered.data || offered.error ? 'true' : undefined}>
    ${offered.error && html`<${Failure} error=${offered.error} retry=${offered.reload} title=${t('chat.modelsfailed')} />`}
    ${offered.data && !models.length && isAdmin() && html`<div class="box warn">${t('chat.nomodelshint')} <a href="/admin/token">${t('page.token')}</a></div>`}
    <form class="card stack" onSubmit=${go}>
      <${Field} label=${t('made.prompt')} control=${(about) => html`<textarea class="input" ...${about} rows="3" placeholder=${t('film.hint')} value=${form.prompt} onInput=${set('prompt')} data-search data-testid="film-prompt"></textarea>`} />
      <${Sources} list=${sources} change=${setSources} most=${1} label=${t('film.source')} />
      <div class="knobs">
        <${Field} label=${t('chat.model')} control=${(about) => html`<select class="input" ...${about} value=${model} onChange=${set('model')}>${models.map((name) => html`<option key=${name} value=${name}>${cut(name, 60)}</option>`)}</select>`} />
        <${Field} label=${t('film.seconds')} control=${(about) => html`<input class="input" type="number" min="1" max=${LONGEST} ...${about} value=${form.seconds} onInput=${set('seconds')} />`} />
        <${Field} label=${t('made.ratio')} control=${(about) => html`<select class="input" ...${about} value=${form.ratio} onChange=${set('ratio')}><option value="">${t('made.auto')}</option>${RATIOS.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select>`} />
        <${Field} label=${t('film.resolution')} control=${(about) => html`<select class="input" ...${about} value=${form.resolution} onChange=${set('resolution')}><option value="480p">480p</option><option value="720p">720p</option></select>`} /></div>
      ${fault && html`<${Failure} error=${fault} />`}
      <div class="row"><button type="submit" class="button main" disabled=${busy || !form.prompt.trim() || !model} data-testid="film-go">${busy ? t('working') : t('film.do')}</button></div></form>
    ${films.length ? html`<div class="waterfall wide" data-testid="films">${films.map((one) => html`<${Film} key=${one.id} one=${one} change=${change(one.id)} drop=${() => setFilms((list) => list.filter((other) => other.id !== one.id))} />`)}</div><p class="small soft">${t('made.kept')}</p>` : html`<p class="empty">${t('film.none')}</p>`}
  </div>`;
}
