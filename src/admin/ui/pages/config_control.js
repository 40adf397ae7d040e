// The control that fits a key's type, and the way from what was typed to a value.

import { html } from '../vendor/mod.js';
import { t } from '../i18n.js';

const MASKED = '';
const isLines = (one) => one.type === 'texts' || one.type === 'ints';
const isJson = (one) => one.type === 'tables' || one.type === 'table_map';

/** A value as text. */
export function show(value, one) {
  if (value === null || value === undefined) return t('config.unset');
  if (isLines(one)) return Array.isArray(value) ? (value.length ? value.join(', ') : '[]') : String(value);
  if (typeof value === 'string') return value === '' ? '""' : value;
  return typeof value === 'object' ? JSON.stringify(value, null, 1) : String(value);
}

/** What stands in the control for a value. */
function typed(value, one) {
  if (value === null || value === undefined) return '';
  if (isLines(one)) return Array.isArray(value) ? value.join('\n') : String(value);
  if (isJson(one)) return JSON.stringify(value, null, 2);
  return value;
}

/** {value} or {fault}. */
export function parse(raw, one) {
  if (one.type === 'flag') return { value: Boolean(raw) };
  if (one.type === 'int' || one.type === 'number') {
    const text = String(raw).trim();
    if (text === '') return { value: null };
    const value = Number(text);
    if (Number.isNaN(value) || (one.type === 'int' && !Number.isInteger(value))) return { value: text, fault: t(one.type === 'int' ? 'config.needsint' : 'config.needsnumber') };
    if ((one.min !== null && value < one.min) || (one.max !== null && value > one.max)) return { value, fault: t('config.range', { min: one.min ?? '…', max: one.max ?? '…' }) };
    return { value };
  }
  if (isLines(one)) {
    const lines = String(raw).split('\n').map((line) => line.trim()).filter(Boolean);
    if (one.type === 'texts') return { value: lines };
    const numbers = lines.flatMap((line) => line.split(',')).map((line) => Number(line.trim()));
    return numbers.some((value) => !Number.isInteger(value)) ? { value: lines, fault: t('config.needsints') } : { value: numbers };
  }
  if (isJson(one)) {
    if (!String(raw).trim()) return { value: one.type === 'tables' ? [] : {} };
    try { return { value: JSON.parse(raw) }; } catch (error) { return { value: raw, fault: `${t('config.needsjson')} ${error.message}` }; }
  }
  return { value: raw };
}

export function ConfigControl({ one, draft, fault, change, disabled }) {
  const about = { id: `value-${one.key}`, 'aria-describedby': `doc-${one.key}`, 'aria-invalid': fault ? 'true' : undefined, disabled, 'data-testid': `value-${one.key}` };
  const current = draft === null ? one.default : draft === undefined ? typed(one.value, one) : draft;
  if (one.type === 'flag') {
    return html`<label class="check"><input type="checkbox" ...${about} checked=${Boolean(current)} onChange=${(e) => change(e.target.checked)} />${current ? t('config.on') : t('config.off')}</label>`;
  }
  if (one.type === 'choice') {
    return html`<select class="input" ...${about} value=${current ?? ''} onChange=${(e) => change(e.target.value)}>${one.choices.map((choice) => html`<option key=${choice} value=${choice}>${choice || t('config.unset')}</option>`)}</select>`;
  }
  if (one.secret) {
    return html`<input class="input mono" type="password" ...${about} autocomplete="new-password" placeholder=${one.value ? t('config.isset') : t('config.isunset')} value=${draft === undefined || draft === null ? MASKED : draft} onInput=${(e) => change(e.target.value)} />`;
  }
  const text = draft === null ? typed(one.default, one) : current;
  if (isLines(one) || isJson(one)) {
    const rows = Math.min(14, Math.max(2, String(text).split('\n').length));
    return html`<textarea class="input mono" ...${about} rows=${rows} spellcheck=${false} value=${text} onInput=${(e) => change(e.target.value)} placeholder=${isLines(one) ? t('config.perline') : ''}></textarea>`;
  }
  return html`<input class="input mono" ...${about} spellcheck=${false} autocomplete="off" inputmode=${one.type === 'int' || one.type === 'number' ? 'decimal' : undefined} value=${text} placeholder=${one.value === null ? t('config.unset') : ''} onInput=${(e) => change(e.target.value)} />`;
}
