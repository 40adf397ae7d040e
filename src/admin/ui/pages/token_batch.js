// Many credentials at once: a few by themselves, more as a job, which goes on when this page is closed. Both with progress
// and a way to stop.

import { html, useState, useRef, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin, toast } from '../store.js';
import { get, post, patch } from '../api.js';
import { navigate } from '../router.js';
import { num } from '../format.js';
import { useDeed } from '../parts/deed.js';
import { Confirm } from '../parts/float.js';
import { toastError } from '../parts/bits.js';

/** More than so many are a job. */
const FEW = 20;
const LOOK_MS = 400;
const each = (change) => (ids) => Promise.all(ids.map((id) => patch(`/tokens/${id}`, change)));
const DEEDS = {
  refresh: { run: (ids) => post('/tokens/refresh', { ids }) },
  clear: { action: 'clear_cooling', run: (ids) => post('/tokens/clear-cooling', { ids }) },
  disable: { run: each({ switch: 'off' }), undo: 'enable' },
  enable: { run: each({ switch: 'on' }), undo: 'disable' },
  delete: { run: (ids) => post('/tokens/delete', { ids }) },
};
const isOver = (job) => ['stopped', 'completed', 'failed'].includes(job.status);

export function TokenBatch({ ids, clear, done }) {
  const [at, setAt] = useState(null);
  const [asking, setAsking] = useState(false);
  const [, begin] = useDeed();
  const [, halt] = useDeed();
  const job = useRef(null);
  const left = useRef(false);
  useEffect(() => () => { left.current = true; }, []);

  /** Follows a job to its end; what it did and what it could not. */
  const asJob = async (name, list) => {
    let { id, counts, ...one } = await post('/jobs', { batch: { action: DEEDS[name].action || name, ids: list } });
    job.current = id;
    setAt({ name, count: 0, of: list.length, id });
    while (!isOver(one) && !left.current) {
      await new Promise((next) => { setTimeout(next, LOOK_MS); });
      ({ job: { counts, ...one } } = await get(`/jobs/${id}?limit=0`));
      setAt({ name, count: counts.done + counts.failed, of: list.length, id });
    }
    return { id, did: counts.done, failed: counts.failed, isWhole: one.status === 'completed' };
  };
  const run = (name, list = ids, isUndo = false) => begin(async () => {
    const deed = DEEDS[name];
    job.current = null;
    setAsking(false);
    setAt({ name, count: 0, of: list.length });
    try {
      let became = { did: list.length, failed: 0, isWhole: true };
      if (list.length > FEW) became = await asJob(name, list);
      else await deed.run(list);
      if (left.current) return;
      const { id, did, failed, isWhole } = became;
      const open = id && { label: t('token.jobopen'), run: () => navigate(`/admin/jobs?open=${id}`) };
      const undo = deed.undo && !isUndo && { label: t('undo'), run: () => run(deed.undo, list, true) };
      if (failed) toast(t('token.jobfailed', { n: num(failed), of: num(list.length) }), 'bad', open || null);
      else toast(t(isWhole ? `token.batch.${name}` : 'token.stoppedat', { n: num(did), of: num(list.length) }), 'ok', undo || open || null);
      if (name === 'delete' && !failed && isWhole) clear();
    } catch (error) {
      if (!left.current) toastError(error);
    } finally {
      if (!left.current) { setAt(null); done(); }
    }
  });
  const stop = () => halt(() => post(`/jobs/${job.current}/stop`).catch(toastError));
  if (at) {
    return html`<div class="batch" role="status" data-testid="batch-progress"><span>${t(`token.doing.${at.name}`)} ${num(at.count)} / ${num(at.of)}</span><progress max=${at.of} value=${at.count} aria-label=${t('working')} />
      ${at.id && html`<button type="button" class="button small" onClick=${stop} data-testid="batch-stop">${t('stop')}</button><a class="small" href=${`/admin/jobs?open=${at.id}`} data-testid="batch-job">${t('token.jobopen')}</a>`}</div>`;
  }
  return html`<div class="batch" data-testid="batch"><strong>${t('token.chosen', { n: num(ids.length) })}</strong>
    ${isAdmin() && html`
      <button type="button" class="button small" onClick=${() => run('refresh')} data-testid="batch-refresh">${t('token.refresh')}</button>
      <button type="button" class="button small" onClick=${() => run('clear')} data-testid="batch-clear">${t('token.clear')}</button>
      <button type="button" class="button small" onClick=${() => run('enable')}>${t('enable')}</button>
      <button type="button" class="button small" onClick=${() => run('disable')} data-testid="batch-disable">${t('disable')}</button>
      <button type="button" class="button small bad" onClick=${() => setAsking(true)} data-testid="batch-delete">${t('delete')}</button>`}
    <button type="button" class="button small quiet" onClick=${clear}>${t('token.unchoose')}</button>
    ${asking && html`<${Confirm} title=${t('token.deletemany', { n: num(ids.length) })} action=${t('delete')} close=${() => setAsking(false)} run=${() => run('delete')}><p>${t('token.deletemanywhat', { n: num(ids.length) })}</p><p class="soft">${t('token.deleteorder')}</p><//>`}
  </div>`;
}
