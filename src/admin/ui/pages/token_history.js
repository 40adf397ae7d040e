// What credentials served in the last hour, and how much of their quotas is used.

import { html, signal, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { offers } from '../store.js';
import { get, query } from '../api.js';
import { countdown, num } from '../format.js';
import { Failure, Waiting, usePoll, Name } from '../parts/bits.js';
import { MiniSpark, QuotaBar, meterName, meterSays } from '../parts/quota.js';

const EVERY = 6000;
const SETTLE = 250;
/** As many as one call may ask for. */
const MOST = 100;
const NONE = new Array(30).fill(0);

/** By id, as far as somebody looked. */
const activity = signal(new Map());

/** Asks for the rows in view, a moment after they came into view and every few seconds; `rows()` answers them. */
export function useActivity(rows) {
  useEffect(() => {
    if (!offers('tokens.activity')) return undefined;
    let over = false;
    let last = '';
    let seen = '';
    let at = 0;
    const round = async () => {
      const ids = rows().slice(0, MOST).map((row) => row.id);
      const key = ids.join();
      // Not while rows pass by.
      const moves = key !== seen;
      seen = key;
      if (document.hidden || moves || !ids.length || (key === last && Date.now() - at < EVERY)) return;
      last = key;
      at = Date.now();
      try {
        const { items } = await get(`/tokens/activity${query({ ids })}`);
        if (!over) activity.value = new Map(items.map((one) => [one.id, one]));
      } catch { /* the list itself says what is wrong */ }
    };
    const timer = setInterval(round, SETTLE);
    return () => { over = true; clearInterval(timer); };
  }, []);
}

export function LastHour({ id }) {
  const one = activity.value.get(id);
  return one ? html`<${MiniSpark} ok=${one.ok} failed=${one.failed} label=${t('token.lasthour')} />` : html`<span class="soft">–</span>`;
}

export function History({ id }) {
  const { data, error } = usePoll(() => (offers('tokens.activity') ? get(`/tokens/activity${query({ ids: [id] })}`) : Promise.resolve({ items: [] })), EVERY, [id]);
  if (error || !data) return null;
  const one = data.items[0] || { ok: NONE, failed: NONE };
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  return html`<figure class="spark" data-testid="token-history"><${MiniSpark} ok=${one.ok} failed=${one.failed} label=${t('token.lasthour')} height=${44} />
    <figcaption class="small soft row"><span class="grow">${t('token.lasthour')}</span><span>${t('token.nok', { n: num(sum(one.ok)) })}</span>${sum(one.failed) > 0 && html`<span class="bad">${t('token.nfailed', { n: num(sum(one.failed)) })}</span>`}</figcaption></figure>`;
}

/** Every meter of its team, model by model. */
export function Quotas({ id }) {
  const { data, error } = usePoll(() => (offers('tokens.quotas') ? get(`/tokens/${id}/quotas`) : Promise.resolve(null)), 3000, [id]);
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<${Waiting} />`;
  if (!data.meters.length) return html`<p class="soft">${t(data.team ? 'token.noquotas' : 'token.noquotasyet')}</p>`;
  const models = [...new Set(data.meters.map((meter) => meter.model))];
  return html`<div class="quotas" data-testid="quotas">${models.map((model) => html`<section key=${model}><h3><${Name} text=${model} /></h3>
    ${data.meters.filter((meter) => meter.model === model).map((meter) => html`<div class="quota" key=${`${meter.kind}${meter.window_ms}`}><span>${meterName(meter)}</span><${QuotaBar} meter=${meter} label=${`${model}: ${meterName(meter)}`} /><span class="end">${meterSays(meter)}${meter.next_release_ms && meter.used >= meter.limit ? html` <span class="soft">${countdown(meter.next_release_ms)}</span>` : null}</span></div>`)}</section>`)}
    ${data.left_out > 0 && html`<p class="small soft">${t('token.moremeters', { n: num(data.left_out) })}</p>`}</div>`;
}
