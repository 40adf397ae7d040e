// Small pictures by hand: a sparkline of bars, and a bar of parts.

import { html } from '../vendor/mod.js';
import { num } from '../format.js';

export function Spark({ values, label, height = 36 }) {
  const most = Math.max(1, ...values);
  const width = 300;
  const step = width / values.length;
  return html`<figure class="spark"><svg viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" height=${height} width="100%" role="img" aria-label=${`${label}: ${num(values.reduce((a, b) => a + b, 0))}`}>
    <path d=${`M0 ${height - 0.5}H${width}`} stroke="var(--line)" />
    ${values.map((value, at) => (value ? html`<rect x=${at * step} width=${Math.max(1, step - 1.5)} y=${height - (value / most) * (height - 2)} height=${(value / most) * (height - 2)} fill="var(--accent)" />` : null))}
  </svg><figcaption class="small soft row"><span class="grow">${label}</span><span>max ${num(most)}</span></figcaption></figure>`;
}

/** How much of a limit is used; the words beside it say the numbers. */
export function Meter({ used, limit, label }) {
  const share = limit > 0 ? Math.min(1, used / limit) : used > 0 ? 1 : 0;
  return html`<div class="meter" role="meter" aria-valuemin="0" aria-valuemax=${limit} aria-valuenow=${used} aria-label=${label} title=${`${label} ${num(used)} / ${num(limit)}`}>
    <i class=${share >= 1 ? 'bad' : share >= 0.8 ? 'warn' : ''} style=${{ width: `${share * 100}%` }}></i></div>`;
}
