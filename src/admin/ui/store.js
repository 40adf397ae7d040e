// State that outlives a page: who is logged in, preferences, the time, toasts.

import { signal, effect } from './vendor/mod.js';

export const remembered = (name, otherwise) => {
  try { return localStorage.getItem(`grok2api.${name}`) ?? otherwise; } catch { return otherwise; }
};
export const remember = (name, value) => {
  try {
    if (value === null) localStorage.removeItem(`grok2api.${name}`);
    else localStorage.setItem(`grok2api.${name}`, value);
  } catch { /* storage is off: the preference lasts as long as the page */ }
};

/** `undefined` before the first answer, `null` for nobody. */
export const session = signal(undefined);
/** Set when a session ended under an open page: the page stays, a dialog asks for the password. */
export const expired = signal(false);
/** Operations that the backend has: a panel may be newer or older than a node of its cluster. */
export const operations = signal(new Set());
export const offers = (name) => operations.value.has(name);
export const isAdmin = () => session.value?.role === 'admin';

export const theme = signal(remembered('theme', 'auto'));
export const lang = signal(remembered('lang', (navigator.language || 'en').startsWith('zh') ? 'zh' : 'en'));
export const narrowRail = signal(remembered('rail', '') === 'narrow');
effect(() => {
  document.documentElement.dataset.theme = theme.value;
  remember('theme', theme.value);
});
effect(() => {
  document.documentElement.lang = lang.value === 'zh' ? 'zh-CN' : 'en';
  remember('lang', lang.value);
});
effect(() => remember('rail', narrowRail.value ? 'narrow' : ''));

/** The server's clock minus ours, milliseconds: a browser whose clock is off still counts down rightly. */
export const clockOff = signal(0);
/** Server time, where a moment is asked of the backend or compared with one of its own. */
export const serverNow = () => Date.now() + clockOff.value;
/** The same, once a second. */
export const now = signal(Date.now());
const tick = () => { if (!document.hidden) now.value = serverNow(); };
setInterval(tick, 1000);
document.addEventListener('visibilitychange', tick);

/** When the node last answered, and what stands between us and it. */
export const reach = signal({ ok: true, since: Date.now(), why: '' });

/** A long list that is not added at once but becomes a job: {lines, pool}, for the form that opens next. */
export const handedOn = signal(null);

export const toasts = signal([]);
let nextToast = 1;
export function toast(text, kind = 'ok', action = null) {
  const id = nextToast++;
  toasts.value = [...toasts.value.slice(-2), { id, text, kind, action }];
  setTimeout(() => dropToast(id), kind === 'bad' ? 12000 : action ? 10000 : 4000);
}
/** Answers whether it was there. */
export function dropToast(id) {
  const left = toasts.value.filter((one) => one.id !== id);
  const was = left.length < toasts.value.length;
  toasts.value = left;
  return was;
}
