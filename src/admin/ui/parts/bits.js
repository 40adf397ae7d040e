// Small things that every page uses.

import { html, useState, useEffect } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { now, toast } from '../store.js';
import { clock, rough, countdown, cut, plain } from '../format.js';
import { Icon, Shape } from './icons.js';

export const TONE = {
  active: 'ok', cooling: 'warn', exhausted: 'bad', expired: 'bad', disabled: 'off',
  success: 'ok', client_gone: 'off', bad_request: 'warn', unauthenticated: 'warn', forbidden: 'warn', client_limit: 'warn',
  client_budget: 'warn', pool_limit: 'warn', pool_unusable: 'bad', upstream_busy: 'warn', upstream_failed: 'bad', upstream_timeout: 'bad',
  stream_broken: 'bad', overloaded: 'bad', shutting_down: 'off', not_offered: 'off', internal: 'bad',
  running: 'ok', paused: 'off', stopping: 'warn', revoking: 'warn', stopped: 'off', completed: 'ok', faulty: 'warn', failed: 'bad',
  live: 'ok', draining: 'warn', clock_off: 'bad', silent: 'bad',
};
const OUTCOME_SHAPE = { ok: 'active', warn: 'cooling', bad: 'expired', off: 'disabled' };

export const Mark = ({ group, value }) => html`
  <span class=${`mark ${TONE[value] || 'off'}`}>
    <${Shape} state=${group === 'state' ? value : OUTCOME_SHAPE[TONE[value] || 'off']} />${word(group, value)}</span>`;

/** A name that somebody gave: one line, as long as there is room; more of it in a tooltip. */
export function Name({ text, most = 200, kind = '' }) {
  const whole = plain(text);
  return html`<span class=${`cut isolate ${kind}`} title=${whole.length > 24 ? cut(whole, 1000) : undefined}>${cut(whole, most)}</span>`;
}

/** "12 s ago", the date in a tooltip. */
export function Ago({ ms, none = '–' }) {
  if (!ms) return html`<span class="soft">${none}</span>`;
  const past = Math.max(0, now.value - ms);
  return html`<time dateTime=${new Date(ms).toISOString()} title=${clock(ms, true)}>${past < 2000 ? t('time.now') : t('time.ago', { span: rough(past) })}</time>`;
}

/** Time left until a moment. */
export function Left({ ms }) {
  if (!ms) return null;
  const left = ms - now.value;
  return html`<time title=${clock(ms, true)} dateTime=${new Date(ms).toISOString()}>${left > 0 ? countdown(left) : t('time.due')}</time>`;
}

export const LiveClock = () => html`<span>${t('live')} · ${clock(now.value)}</span>`;

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard outside of a secure context: the older way needs a selection.
    const box = document.createElement('textarea');
    box.value = text;
    box.className = 'hidden-text';
    document.body.append(box);
    box.select();
    document.execCommand('copy');
    box.remove();
  }
}

export function Copy({ text, label, main = false }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(false), 1600);
    return () => clearTimeout(timer);
  }, [done]);
  const press = async (event) => { event.stopPropagation(); await copyText(text); setDone(true); };
  return html`<button type="button" class=${`button small ${main ? 'main' : 'quiet'} ${label ? '' : 'icon'}`} onClick=${press}
    aria-label=${label ? undefined : t('copy')} title=${t('copy')} data-testid="copy">
    <${Icon} name=${done ? 'check' : 'copy'} size=${15} />${label && (done ? t('copied') : label)}</button>`;
}

/** The backend's words, its request id, and a way to try again. */
export function Failure({ error, retry, title }) {
  const text = error.unreachable ? t('error.unreachable') : error.message;
  return html`<div class="box bad stack tight" role="alert" data-testid="failure">
    ${title && html`<strong>${title}</strong>`}
    <span class="isolate">${cut(text, 1200)}</span>
    <span class="row wrap small soft">
      ${error.status ? html`<span class="mono">${error.status}${error.code ? ` ${error.code}` : ''}</span>` : null}
      ${error.requestId && html`<span class="mono">${error.requestId}</span><${Copy} text=${error.requestId} />`}
      ${retry && html`<button type="button" class="button small" onClick=${retry}>${t('retry')}</button>`}
    </span>
  </div>`;
}
export const toastError = (error) => toast(error.unreachable ? t('error.unreachable') : `${error.message}${error.requestId ? ` · ${error.requestId}` : ''}`, 'bad');

export const Waiting = () => html`<div class="wait" role="status">${t('loading')}</div>`;
export const Empty = ({ title, children }) => html`<div class="empty" data-testid="empty"><h2>${title}</h2>${children}</div>`;

export const Figure = ({ name, value, unit, note, tone }) => html`
  <div class="card figure"><span class="name">${name}</span>
    <span class=${`value ${tone || ''}`}>${value}${unit && html` <span class="unit">${unit}</span>`}</span>
    <span class="small soft">${note || '\u00a0'}</span></div>`;

let fieldNumber = 0;
/** A label, its control, what it is for and what is wrong with it. `control` gets ids for ARIA. */
export function Field({ label, hint, fault, control }) {
  const [id] = useState(() => `field-${fieldNumber++}`);
  const about = [hint && `${id}-hint`, fault && `${id}-fault`].filter(Boolean).join(' ') || undefined;
  return html`<div class="field"><label for=${id}>${label}</label>
    ${control({ id, 'aria-describedby': about, 'aria-invalid': fault ? 'true' : undefined })}
    ${hint && html`<span class="hint" id=${`${id}-hint`}>${hint}</span>`}
    ${fault && html`<span class="fault" id=${`${id}-fault`} role="alert">${fault}</span>`}</div>`;
}

/** Runs `load` now and every `everyMs` while the page is looked at; keeps the last answer when one fails. */
export function usePoll(load, everyMs, deps = []) {
  const [state, setState] = useState({ data: null, error: null, at: 0 });
  const [again, setAgain] = useState(0);
  useEffect(() => {
    let over = false;
    let timer;
    const abort = new AbortController();
    const round = async () => {
      if (!document.hidden) {
        try {
          const data = await load(abort.signal);
          if (!over) setState({ data, error: null, at: Date.now() });
        } catch (error) {
          if (!over && error.name !== 'AbortError') setState((last) => ({ ...last, error }));
        }
      }
      if (!over && everyMs) timer = setTimeout(round, everyMs);
    };
    round();
    return () => { over = true; clearTimeout(timer); abort.abort(); };
  }, [...deps, again]);
  return { ...state, reload: () => setAgain((n) => n + 1) };
}
