// What happened to one credential and to its team, the newest first: when, what, why and how long.

import { html, useState } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { get } from '../api.js';
import { offers } from '../store.js';
import { num, cut, clock } from '../format.js';
import { Ago, Failure, Waiting, usePoll } from '../parts/bits.js';
import { Shape } from '../parts/icons.js';

const EVERY = 5000;
const FEW = 8;
const TONE = { added: 'ok', recovered: 'ok', cooled: 'warn', exhausted: 'bad', expired: 'bad', disabled: 'off', updated: 'off', deleted: 'off' };
const SHAPE = { added: 'active', recovered: 'active', cooled: 'cooling', exhausted: 'exhausted', expired: 'expired', disabled: 'disabled', updated: 'active', deleted: 'disabled' };
const scope = (change) => (change.scope && change.scope !== 'token' ? t(`token.change.scope.${change.scope}`, { model: cut(change.model || '', 60) }) : '');

/** `at` changes when something may have happened. */
export function Changes({ id, at }) {
  const { data, error, reload } = usePoll(() => (offers('tokens.history') ? get(`/tokens/${id}/history`) : Promise.resolve(null)), EVERY, [id, at]);
  const [isWhole, setWhole] = useState(false);
  if (!offers('tokens.history')) return null;
  const shown = data && (isWhole ? data.changes : data.changes.slice(0, FEW));
  return html`<section class="stack" data-testid="token-changes"><h2>${t('token.changes')}</h2>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${!data && !error && html`<${Waiting} />`}
    ${data && data.changes.length === 0 && html`<p class="soft">${t('token.nochanges')}</p>`}
    ${shown?.length > 0 && html`<ol class="changes">${shown.map((change) => html`<li key=${`${change.time_ms} ${change.event} ${change.version}`}>
      <span class=${`mark ${TONE[change.event] || 'off'}`}><${Shape} state=${SHAPE[change.event] || 'active'} />${change.event === 'updated' && change.state === 'active' ? t('token.change.on') : word('token.change', change.event)}</span>
      <span class="grow"><span>${change.cause ? word('cause', change.cause) : ''}</span> <span class="soft">${[scope(change), change.until_ms && t('token.change.until', { date: clock(change.until_ms, true) }), change.node].filter(Boolean).join(' · ')}</span>
        ${change.detail && html`<span class="sub isolate" title=${cut(change.detail, 1000)}>${cut(change.detail, 160)}</span>`}</span>
      <span class="small soft"><${Ago} ms=${change.time_ms} /></span></li>`)}</ol>`}
    ${data && !isWhole && data.changes.length > FEW && html`<div><button type="button" class="button small" onClick=${() => setWhole(true)}>${t('token.changesall', { n: num(data.changes.length) })}</button></div>`}
    ${data?.unanswered.length > 0 && html`<p class="small soft">${t('token.changesleft', { nodes: data.unanswered.join(', ') })}</p>`}
  </section>`;
}
