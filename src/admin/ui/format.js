// Numbers, times and sums as people read them. Pure.

const THIN = '\u2009';

export function num(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  const [whole, rest] = String(Math.abs(value)).split('.');
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, THIN) : whole;
  return (value < 0 ? '−' : '') + grouped + (rest ? `.${rest.slice(0, 2)}` : '');
}

export function short(value) {
  if (value === null || value === undefined) return '–';
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (Math.abs(value) >= size) {
      const scaled = value / (unit === 'k' ? 1e3 : size);
      return `${scaled.toFixed(scaled < 100 ? 1 : 0)}${THIN}${unit}`;
    }
  }
  return num(Math.round(value * 100) / 100);
}

/** [number, unit] of a duration. */
export function span(ms) {
  if (ms === null || ms === undefined) return ['–', ''];
  if (ms < 1 && ms > 0) return [String(Math.round(ms * 1000)), 'µs'];
  if (ms < 1000) return [String(Math.round(ms)), 'ms'];
  if (ms < 60_000) return [(ms / 1000).toFixed(ms < 10_000 ? 1 : 0), 's'];
  const s = Math.round(ms / 1000);
  if (s < 3600) return [`${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`, 'min'];
  if (s < 86_400) return [`${Math.floor(s / 3600)}:${String(Math.floor((s % 3600) / 60)).padStart(2, '0')}`, 'h'];
  return [(s / 86_400).toFixed(1), 'd'];
}
export const duration = (ms) => span(ms).join(THIN).trim();

/** How long ago, as precisely as anybody reads it. */
export function rough(ms) {
  for (const [size, unit] of [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min']]) if (ms >= size) return `${Math.floor(ms / size)}${THIN}${unit}`;
  return `${Math.floor(ms / 1000)}${THIN}s`;
}

/** A countdown that does not change its width within a minute. */
export function countdown(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  if (s < 60) return `${s}${THIN}s`;
  if (s < 3600) return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
  if (s < 86_400) return `${Math.floor(s / 3600)}${THIN}h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')}`;
  return `${Math.floor(s / 86_400)}${THIN}d ${Math.floor((s % 86_400) / 3600)}${THIN}h`;
}

export function bytes(value) {
  if (value === null || value === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let at = 0;
  let rest = value;
  while (rest >= 1024 && at < units.length - 1) { rest /= 1024; at += 1; }
  return `${at && rest < 100 ? rest.toFixed(1) : Math.round(rest)}${THIN}${units[at]}`;
}

export const TICKS_PER_USD = 1e10;
export function usd(value) {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '$0';
  const size = Math.abs(value);
  if (size < 0.0000005) return '< $0.000001';
  const digits = size >= 100 ? 0 : size >= 0.1 ? 2 : size >= 0.01 ? 3 : size >= 0.0001 ? 4 : 6;
  return `$${value.toFixed(digits)}`;
}
export const ticks = (value) => (value === null || value === undefined ? '–' : usd(value / TICKS_PER_USD));
export const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(part === whole || part === 0 ? 0 : 1)}${THIN}%` : '–');

const two = (n) => String(n).padStart(2, '0');
export function clock(ms, withDate = false) {
  const d = new Date(ms);
  const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return withDate ? `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${time}` : time;
}
/** A local date and time as `<input type="datetime-local">` takes it. */
export const localInput = (ms) => clock(ms, true).slice(0, 16).replace(' ', 'T');

export function percentile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : null;
}
/** Characters that turn round or hide what stands beside them: where a name has one, it is seen. */
const TURNING = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]/g;
export const plain = (text) => String(text ?? '').replace(TURNING, '\ufffd');
/** Hostile names are cut, never shown whole in a row. */
export function cut(text, length = 120) {
  const shown = plain(text);
  return shown.length > length ? `${shown.slice(0, length).replace(/[\ud800-\udbff]$/, '')}…` : shown;
}
