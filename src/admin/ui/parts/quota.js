// How much of a quota is left: spent, held ready by nodes, and free, in one bar.

import { html } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { num, short, ticks, duration } from '../format.js';

const WINDOWS = { 1000: 'second', 60000: 'minute', 3600000: 'hour', 86400000: 'day' };
const amount = (meter, value) => (meter.kind === 'usd' ? ticks(value) : value > 99_999 ? short(value) : num(value));

/** "Requests a minute". */
export function meterName(meter) {
  const what = t(`meter.${meter.kind}`);
  if (meter.window_ms) return WINDOWS[meter.window_ms] ? t(`meter.per.${WINDOWS[meter.window_ms]}`, { what }) : t('meter.per.window', { what, span: duration(meter.window_ms) });
  return meter.kind === 'concurrency' ? what : t('meter.per.day', { what });
}

export const meterSays = (meter) => (meter.limit === null ? t('meter.nolimit', { used: amount(meter, meter.used) }) : `${amount(meter, meter.used)} / ${amount(meter, meter.limit)}`);

export function QuotaBar({ meter, label }) {
  // Without a limit there is no share of it.
  if (meter.limit === null) return html`<div class="meter" aria-hidden="true"></div>`;
  const { limit } = meter;
  const part = (value) => (limit > 0 ? Math.min(1, value / limit) : value > 0 ? 1 : 0);
  const spent = part(meter.used);
  const ready = Math.min(1 - spent, part(meter.reserved));
  const tone = spent >= 1 ? 'bad' : spent >= 0.8 ? 'warn' : '';
  return html`<div class="meter" role="meter" aria-valuemin="0" aria-valuemax=${limit} aria-valuenow=${Math.min(meter.used, limit)} aria-label=${label || meterName(meter)}
    title=${`${meterName(meter)}: ${meterSays(meter)}${meter.reserved ? ` · ${t('meter.ready', { n: amount(meter, meter.reserved) })}` : ''}`}><i class=${tone} style=${{ width: `${spent * 100}%` }}></i><i class="ready" style=${{ width: `${ready * 100}%` }}></i></div>`;
}

/** The last hour of one credential in a row: answered, and failed above. */
export function MiniSpark({ ok, failed, label, height = 24 }) {
  const all = ok.map((value, at) => value + failed[at]);
  const most = Math.max(1, ...all);
  const step = 90 / all.length;
  const tall = (value) => (value / most) * (height - 2);
  const says = `${label}: ${num(ok.reduce((a, b) => a + b, 0))}${failed.some(Boolean) ? ` · ${t('token.nfailed', { n: num(failed.reduce((a, b) => a + b, 0)) })}` : ''}`;
  return html`<svg class="minispark" viewBox=${`0 0 90 ${height}`} preserveAspectRatio="none" width="100%" height=${height} role="img" aria-label=${says}><title>${says}</title>
    <path d=${`M0 ${height - 0.5}H90`} stroke="var(--line)" />
    ${all.map((value, at) => (value ? html`<rect x=${at * step} width=${step * 0.8} y=${height - tall(ok[at])} height=${tall(ok[at])} fill="var(--accent)" /><rect x=${at * step} width=${step * 0.8} y=${height - tall(value)} height=${tall(failed[at])} fill="var(--bad)" />` : null))}</svg>`;
}
