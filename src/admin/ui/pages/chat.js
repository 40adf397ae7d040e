// A pleasant place to try a model.

import { html, useState, useEffect, useRef } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin, remember } from '../store.js';
import { asClient } from '../api.js';
import { param, setParams } from '../router.js';
import { cut, clock, plain } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Failure, usePoll } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { chats, find, put, update, dropChat, newId } from './chat_store.js';
import { held, playgroundKey, drop } from './chat_key.js';
import { streamChat } from './chat_stream.js';
import { Turn } from './chat_turn.js';
import { Composer } from './chat_composer.js';
import { KeyBar } from './chat_keybar.js';
import { ImageTab } from './chat_image.js';
import { VideoTab } from './chat_video.js';

/** The chat model of the highest number. */
function newest(names) {
  const number = (name) => Number(name.match(/^grok-(\d+(?:\.\d+)?)$/)?.[1] || 0);
  return names.reduce((best, name) => (number(name) > number(best) ? name : best), names[0]);
}
const lastModel = () => { try { return localStorage.getItem('grok2api.model') || ''; } catch { return ''; } };
const content = (turn) => (turn.images?.length ? [{ type: 'text', text: turn.text }, ...turn.images.map((url) => ({ type: 'image_url', image_url: { url } }))] : turn.text);

/** Models that the key may use. One refused key is thrown away and made anew. */
async function models() {
  let key = await playgroundKey();
  if (!key) return { none: true };
  try {
    return await (await asClient('GET', '/v1/models', key)).json();
  } catch (error) {
    if (error.status !== 401 || held.value?.own) throw error;
    drop();
    key = await playgroundKey();
    return (await asClient('GET', '/v1/models', key)).json();
  }
}

const MODES = ['text', 'image', 'video'];

/** What is made: text, pictures or videos. */
export function ChatPage() {
  const mode = MODES.includes(param('mode')) ? param('mode') : 'text';
  const tabs = html`<div class="tabs modes" role="tablist" aria-label=${t('chat.mode')}>${MODES.map((one) => html`<button type="button" role="tab" key=${one} aria-selected=${String(one === mode)} onClick=${() => setParams({ mode: one === 'text' ? '' : one, id: '' }, { push: true })} data-testid=${`mode-${one}`}>${t(`chat.mode.${one}`)}</button>`)}</div>`;
  if (mode === 'text') return html`<${TextChat} tabs=${tabs} />`;
  return html`<div class="page reading"><div class="row wrap"><h1 class="hidden-text">${t('page.chat')}</h1>${tabs}<span class="grow"></span><${KeyBar} /></div>
    ${!isAdmin() && !held.value && html`<div class="box warn">${t('chat.needskey')}</div>`}
    ${mode === 'image' ? html`<${ImageTab} />` : html`<${VideoTab} />`}</div>`;
}

function TextChat({ tabs }) {
  const key = held.value?.key;
  const offered = usePoll(models, 0, [key && held.value.own ? key : '']);
  const names = offered.data?.data?.map((one) => one.id) || [];
  const [model, setModel] = useState(lastModel());
  const id = param('id');
  const chat = find(id);
  const [system, setSystem] = useState('');
  const [showSystem, setShowSystem] = useState(false);
  const [listOpen, setListOpen] = useState(false);
  const [live, setLive] = useState(null);
  const [fault, setFault] = useState(null);
  const [, begin] = useDeed();
  const abort = useRef(null);
  const bottom = useRef(null);
  const stick = useRef(true);
  useEffect(() => { setSystem(chat?.system || ''); setFault(null); if (chat?.model) setModel(chat.model); }, [id]);
  useEffect(() => { if (names.length && !names.includes(model)) setModel(newest(names)); }, [names.join()]);
  useEffect(() => () => abort.current?.abort(), []);
  useEffect(() => {
    const watch = () => { stick.current = window.innerHeight + window.scrollY > document.body.scrollHeight - 120; };
    window.addEventListener('scroll', watch, { passive: true });
    return () => window.removeEventListener('scroll', watch);
  }, []);
  useEffect(() => { if (stick.current) bottom.current?.scrollIntoView({ block: 'end' }); }, [live?.text, chat?.turns.length]);

  async function answer(before) {
    const turns = before.turns;
    const began = performance.now();
    const got = { role: 'assistant', text: '', thought: '', meta: { model } };
    setFault(null);
    setLive(got);
    stick.current = true;
    abort.current = new AbortController();
    try {
      const secret = await playgroundKey();
      const messages = [...(before.system ? [{ role: 'system', content: before.system }] : []), ...turns.map((turn) => ({ role: turn.role, content: content(turn) }))];
      for await (const part of streamChat(secret, { model, messages }, abort.current.signal)) {
        if (part.text) { got.meta.first ??= performance.now() - began; got.text += part.text; }
        if (part.thought) got.thought += part.thought;
        if (part.usage) got.meta.usage = part.usage;
        if (part.requestId) got.meta.requestId = part.requestId;
        setLive({ ...got });
      }
    } catch (error) {
      if (error.name === 'AbortError') got.meta.stopped = true;
      else { setFault(error); got.meta.broken = true; }
    }
    got.meta.took = performance.now() - began;
    abort.current = null;
    setLive(null);
    if (got.text || got.thought) update(before.id, (one) => ({ turns: [...one.turns, got] }));
  }
  const say = (text, images) => begin(() => {
    remember('model', model);
    const turns = [...(chat?.turns || []), { role: 'user', text, images }];
    const next = { id: chat?.id || newId(), title: chat?.title || cut(text.split('\n')[0], 60), model, system, turns };
    put(next);
    if (next.id !== id) setParams({ id: next.id }, { push: true });
    return answer(next);
  });
  /** Asks again from the question before `at`; `text` replaces it. */
  const again = (at, text) => begin(() => {
    const user = chat.turns.slice(0, at + 1).findLastIndex((turn) => turn.role === 'user');
    const turns = chat.turns.slice(0, user + 1);
    if (text !== undefined) turns[user] = { ...turns[user], text };
    const next = { ...chat, model, system, turns };
    put(next);
    return answer(next);
  });
  const fresh = () => { abort.current?.abort(); setParams({ id: '' }, { push: true }); setListOpen(false); };
  const turns = chat?.turns || [];
  return html`<div class="chat" data-ready=${offered.data || offered.error ? 'true' : undefined}>
    <aside class=${`chats ${listOpen ? 'open' : ''}`} aria-label=${t('chat.history')}>
      <button type="button" class="button" onClick=${fresh} data-testid="chat-new"><${Icon} name="plus" size=${16} />${t('chat.new')}</button>
      <ul>${chats.value.map((one) => html`<li key=${one.id} class="row tight"><button type="button" class="button quiet small grow cut isolate" aria-current=${one.id === id ? 'true' : undefined} title=${clock(one.at, true)} onClick=${() => { abort.current?.abort(); setParams({ id: one.id }, { push: true }); setListOpen(false); }}>${plain(one.title) || t('chat.untitled')}</button>
        <button type="button" class="button quiet icon small" aria-label=${`${t('delete')}: ${one.title}`} onClick=${() => { dropChat(one.id); if (one.id === id) fresh(); }}><${Icon} name="trash" size=${14} /></button></li>`)}</ul>
      <p class="small soft">${t('chat.local')}</p></aside>
    <div class="talk">
      ${tabs}
      <div class="talkhead"><h1 class="hidden-text">${t('page.chat')}</h1>
        <button type="button" class="button quiet icon only-narrow" onClick=${() => setListOpen(!listOpen)} aria-label=${t('chat.history')} aria-expanded=${String(listOpen)}><${Icon} name="fold" /></button>
        <select class="input modelpick" aria-label=${t('chat.model')} value=${model} onChange=${(e) => setModel(e.target.value)} disabled=${!names.length} data-testid="model">${names.length ? names.map((name) => html`<option key=${name} value=${name}>${cut(name, 60)}</option>`) : html`<option value=${model}>${model || t('chat.nomodels')}</option>`}</select>
        <button type="button" class="button quiet small" aria-pressed=${String(Boolean(system) || showSystem)} onClick=${() => setShowSystem(!showSystem)}>${t('chat.system')}</button>
        <span class="grow"></span><${KeyBar} /></div>
      ${showSystem && html`<textarea class="input" aria-label=${t('chat.system')} rows="3" placeholder=${t('chat.systemhint')} value=${system} onInput=${(e) => setSystem(e.target.value)}></textarea>`}
      ${offered.error && html`<${Failure} error=${offered.error} retry=${offered.reload} title=${t('chat.modelsfailed')} />`}
      ${offered.data?.none && !key && html`<div class="box warn">${t('chat.needskey')}</div>`}
      ${offered.data?.data && !names.length && html`<div class="box warn">${t('chat.nomodelshint')} <a href="/admin/token">${t('page.token')}</a></div>`}
      <div class="turns" role="log" aria-label=${t('page.chat')} aria-live="off">
        ${!turns.length && !live && html`<div class="empty"><h2>${t('chat.hello')}</h2><div class="row wrap asks">${['a', 'b', 'c'].map((one) => html`<button type="button" class="button" key=${one} disabled=${!names.length} onClick=${() => say(t(`chat.try.${one}`), [])}>${t(`chat.try.${one}`)}</button>`)}</div></div>`}
        ${turns.map((turn, at) => html`<${Turn} key=${`${id}-${at}`} turn=${turn} busy=${Boolean(live)} again=${(text) => again(at, text)} canAgain=${at >= turns.length - 2} />`)}
        ${live && html`<${Turn} turn=${live} live />`}
        ${fault && html`<${Failure} error=${fault} retry=${turns.length ? () => again(turns.length - 1) : undefined} />`}
        <div ref=${bottom}></div></div>
      <${Composer} busy=${Boolean(live)} stop=${() => abort.current?.abort()} send=${say} disabled=${!names.length} admin=${isAdmin()} />
    </div>
  </div>`;
}
