// Many credentials at once: in pieces, with progress, and a way to stop between pieces.

import { html, useState, useRef } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin, toast } from '../store.js';
import { post, patch } from '../api.js';
import { num } from '../format.js';
import { Confirm } from '../parts/float.js';
import { toastError } from '../parts/bits.js';

const piece = (list, size) => Array.from({ length: Math.ceil(list.length / size) }, (_, at) => list.slice(at * size, (at + 1) * size));

const each = (change) => (ids) => Promise.all(ids.map((id) => patch(`/tokens/${id}`, change)));
const DEEDS = {
  refresh: { size: 20, run: (ids) => post('/tokens/refresh', { ids }) },
  clear: { size: 1000, run: (ids) => post('/tokens/clear-cooling', { ids }) },
  disable: { size: 8, run: each({ switch: 'off' }), undo: 'enable' },
  enable: { size: 8, run: each({ switch: 'on' }), undo: 'disable' },
  delete: { size: 1000, run: (ids) => post('/tokens/delete', { ids }) },
};

export function TokenBatch({ ids, clear, done }) {
  const [at, setAt] = useState(null);
  const [asking, setAsking] = useState(false);
  const stop = useRef(false);
  const run = async (name, list = ids, isUndo = false) => {
    const deed = DEEDS[name];
    stop.current = false;
    let count = 0;
    setAt({ name, count, of: list.length });
    try {
      for (const part of piece(list, deed.size)) {
        if (stop.current) break;
        await deed.run(part);
        count += part.length;
        setAt({ name, count, of: list.length });
      }
      const undo = deed.undo && !isUndo ? { label: t('undo'), run: () => run(deed.undo, list.slice(0, count), true) } : null;
      toast(t(stop.current ? 'token.stoppedat' : `token.batch.${name}`, { n: num(count), of: num(list.length) }), 'ok', undo);
      if (name === 'delete') clear();
    } catch (error) {
      toastError(error);
    } finally {
      setAt(null);
      setAsking(false);
      done();
    }
  };
  if (at) {
    return html`<div class="batch" role="status"><span>${t(`token.doing.${at.name}`)} ${num(at.count)} / ${num(at.of)}</span><progress max=${at.of} value=${at.count} aria-label=${t('working')} />
      <button type="button" class="button small" onClick=${() => { stop.current = true; }}>${t('stop')}</button></div>`;
  }
  return html`<div class="batch" data-testid="batch"><strong>${t('token.chosen', { n: num(ids.length) })}</strong>
    ${isAdmin() && html`
      <button type="button" class="button small" onClick=${() => run('refresh')}>${t('token.refresh')}</button>
      <button type="button" class="button small" onClick=${() => run('clear')}>${t('token.clear')}</button>
      <button type="button" class="button small" onClick=${() => run('enable')}>${t('enable')}</button>
      <button type="button" class="button small" onClick=${() => run('disable')} data-testid="batch-disable">${t('disable')}</button>
      <button type="button" class="button small bad" onClick=${() => setAsking(true)} data-testid="batch-delete">${t('delete')}</button>`}
    <button type="button" class="button small quiet" onClick=${clear}>${t('token.unchoose')}</button>
    ${asking && html`<${Confirm} title=${t('token.deletemany', { n: num(ids.length) })} action=${t('delete')} close=${() => setAsking(false)} run=${() => run('delete')}><p>${t('token.deletemanywhat', { n: num(ids.length) })}</p><p class="soft">${t('token.deleteorder')}</p><//>`}
  </div>`;
}
