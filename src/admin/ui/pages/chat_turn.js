import { html, useState } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin } from '../store.js';
import { get } from '../api.js';
import { num, duration, ticks } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Copy, usePoll } from '../parts/bits.js';
import { Markdown } from '../parts/markdown.js';

/** Which credential served it and what it cost: from the request log, which knows a moment after the answer. */
function Served({ id }) {
  const { data } = usePoll(async () => {
    for (let tries = 0; tries < 4; tries += 1) {
      try { return await get(`/requests/${id}`); } catch (error) { if (error.status !== 404) throw error; }
      await new Promise((done) => setTimeout(done, 400));
    }
    return null;
  }, 0, [id]);
  if (!data) return null;
  const last = data.attempts.at(-1);
  return html`${data.cost_ticks ? html`<span>${ticks(data.cost_ticks)}</span>` : null}${last && html`<a class="mono" href=${`/admin/requests?open=${id}`}>${last.token}</a>`}`;
}

export function Turn({ turn, live, again, canAgain, busy }) {
  const [draft, setDraft] = useState(null);
  const meta = turn.meta || {};
  if (turn.role === 'user') {
    return html`<article class="turn mine" aria-label=${t('chat.you')}>
      ${draft === null ? html`<div class="bubble isolate">${turn.images?.map((url) => html`<img src=${url} alt=${t('chat.picture')} key=${url} />`)}${turn.text}</div>
        <div class="acts row tight"><${Copy} text=${turn.text} />${canAgain && !busy && html`<button type="button" class="button quiet icon small" aria-label=${t('edit')} onClick=${() => setDraft(turn.text)}><${Icon} name="edit" size=${15} /></button>`}</div>`
        : html`<form class="stack bubble" onSubmit=${(event) => { event.preventDefault(); setDraft(null); again(draft); }}><textarea class="input" aria-label=${t('edit')} rows="3" value=${draft} onInput=${(e) => setDraft(e.target.value)}></textarea>
          <div class="row end"><button type="button" class="button small" onClick=${() => setDraft(null)}>${t('cancel')}</button><button type="submit" class="button small main" disabled=${!draft.trim()}>${t('chat.resend')}</button></div></form>`}
    </article>`;
  }
  return html`<article class="turn" aria-label=${meta.model || ''} aria-busy=${String(Boolean(live))} data-testid=${live ? 'turn-live' : 'turn'}>
    ${turn.thought && html`<details class="thought small soft"><summary>${t('chat.thought')}</summary><div class="isolate">${turn.thought}</div></details>`}
    ${turn.text ? html`<${Markdown} text=${turn.text} />` : live && html`<span class="soft" role="status">${t('chat.thinking')}</span>`}
    ${!live && html`<div class="acts row wrap small soft"><${Copy} text=${turn.text} />
      ${canAgain && !busy && html`<button type="button" class="button quiet icon small" aria-label=${t('chat.again')} title=${t('chat.again')} onClick=${() => again()} data-testid="again"><${Icon} name="refresh" size=${15} /></button>`}
      <span>${meta.model}</span>${meta.stopped && html`<span class="chip warn">${t('chat.stopped')}</span>`}${meta.broken && html`<span class="chip bad">${t('outcome.stream_broken')}</span>`}
      ${meta.took ? html`<span title=${`${t('req.firstbyte')} ${duration(meta.first)}`}>${duration(meta.took)}</span>` : null}
      ${meta.usage && html`<span>${t('chat.tokens', { n: num(meta.usage.total_tokens) })}</span>`}
      ${meta.requestId && isAdmin() && html`<${Served} id=${meta.requestId} />`}</div>`}
  </article>`;
}
