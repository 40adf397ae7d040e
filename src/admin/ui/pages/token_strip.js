// The pool in one bar: pressing a part filters by it.

import { html } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { paramList, setParams } from '../router.js';
import { num, short } from '../format.js';
import { Shape } from '../parts/icons.js';
import { TONE } from '../parts/bits.js';

const STATES = ['active', 'cooling', 'exhausted', 'expired', 'disabled'];

export function PoolStrip({ counts }) {
  const chosen = paramList('state');
  const flip = (state) => setParams({ state: chosen.includes(state) ? chosen.filter((one) => one !== state) : [...chosen, state] });
  return html`<section class="card" aria-label=${t('token.pool')}>
    <div class="row wrap poolfacts"><span class=${`headline ${counts.active ? '' : 'bad'}`}><strong>${num(counts.active)}</strong> <span class="soft">${t('token.ofusable', { total: num(counts.total) })}</span></span>
      <span class="grow"></span><span class="small soft">${t('token.summary', { calls: short(counts.total_calls), teams: num(counts.teams) })}</span></div>
    <div class=${`strip ${chosen.length ? 'dimmed' : ''}`} aria-hidden="true">
      ${STATES.filter((state) => counts[state] > 0).map((state) => html`<button type="button" tabindex="-1" key=${state} class=${state} aria-pressed=${String(chosen.includes(state))} style=${{ flexGrow: counts[state], flexBasis: 0 }} title=${`${word('state', state)} ${num(counts[state])}`} onClick=${() => flip(state)}></button>`)}</div>
    <div class="legend">
      ${STATES.map((state) => html`<button type="button" class="button small quiet" key=${state} aria-pressed=${String(chosen.includes(state))} onClick=${() => flip(state)} data-testid=${`state-${state}`}>
        <span class=${`mark ${TONE[state]}`}><${Shape} state=${state} /></span>${word('state', state)} <span class="strong">${num(counts[state])}</span></button>`)}</div>
  </section>`;
}
