// What lies over the page: dialogs, drawers, toasts. Esc, the mask and a button close them; the focus stays inside and
// goes back to where it was.

import { html, useLayoutEffect, useRef } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { toasts, dropToast } from '../store.js';
import { cut } from '../format.js';
import { Icon } from './icons.js';

const FOCUSABLE = 'a[href],button:not(:disabled),input:not(:disabled),select:not(:disabled),textarea:not(:disabled),[tabindex]:not([tabindex="-1"])';
const open = [];

function Float({ kind, title, close, children, footer, wide, busy, testid }) {
  const box = useRef(null);
  const closing = useRef(close);
  closing.current = busy ? () => {} : close;
  // Before it is seen: an Esc that comes at once closes it too.
  useLayoutEffect(() => {
    const before = document.activeElement;
    const me = {};
    open.push(me);
    const first = box.current.querySelector('[data-first]') || box.current.querySelector('.body input:not([type=checkbox]),.body textarea,.body select') || box.current;
    first.focus({ preventScroll: true });
    const keys = (event) => {
      if (open.at(-1) !== me) return;
      if (event.key === 'Escape') {
        event.stopPropagation();
        closing.current?.();
      } else if (event.key === 'Tab') {
        const all = [...box.current.querySelectorAll(FOCUSABLE)].filter((one) => one.offsetParent !== null);
        if (!all.length) return;
        const at = all.indexOf(document.activeElement);
        if (event.shiftKey && at <= 0) { event.preventDefault(); all.at(-1).focus(); }
        else if (!event.shiftKey && at === all.length - 1) { event.preventDefault(); all[0].focus(); }
      }
    };
    document.addEventListener('keydown', keys, true);
    return () => {
      document.removeEventListener('keydown', keys, true);
      open.splice(open.indexOf(me), 1);
      if (before?.isConnected) before.focus({ preventScroll: true });
    };
  }, []);
  const onMask = (event) => { if (event.target === event.currentTarget) closing.current?.(); };
  return html`<div class="mask" onMouseDown=${onMask}>
    <div class=${`${kind} ${wide ? 'wide' : ''}`} role="dialog" aria-modal="true" aria-label=${title} tabindex="-1" ref=${box} data-testid=${testid}>
      <header><h2 class="cut" title=${title.length > 40 ? title : undefined}>${title}</h2>${close && html`<button type="button" class="button icon quiet" onClick=${() => closing.current()} aria-label=${t('close')}><${Icon} name="close" /></button>`}</header>
      <div class="body">${children}</div>
      ${footer && html`<footer>${footer}</footer>`}
    </div></div>`;
}
export const isOpen = () => open.length > 0;
export const Dialog = (props) => html`<${Float} kind="dialog" ...${props} />`;
export const Drawer = (props) => html`<${Float} kind="drawer" ...${props} />`;

/** Names what will go, and asks once. */
export const Confirm = ({ title, children, action, tone = 'bad', run, close, busy }) => html`
  <${Dialog} title=${title} close=${close} busy=${busy} testid="confirm"
    footer=${html`<button type="button" class="button" onClick=${close} disabled=${busy}>${t('cancel')}</button>
      <button type="button" class=${`button main ${tone}`} onClick=${run} disabled=${busy} data-first data-testid="confirm-yes">${busy ? t('working') : action}</button>`}>
    ${children}<//>`;

export const Toasts = () => html`<div class="toasts" role="status" aria-live="polite">
  ${toasts.value.map((one) => html`<div class=${`toast ${one.kind}`} key=${one.id}>
    <span class="grow isolate">${cut(one.text, 500)}</span>
    ${one.action && html`<button type="button" class="button small" data-testid="toast-action" onClick=${() => { if (dropToast(one.id)) one.action.run(); }}>${one.action.label}</button>`}
    <button type="button" class="button icon small quiet" aria-label=${t('close')} onClick=${() => dropToast(one.id)}><${Icon} name="close" size=${14} /></button>
  </div>`)}</div>`;
