// The address bar: path and query are the state that can be linked.

import { signal, batch } from './vendor/mod.js';

export const path = signal(location.pathname);
export const params = signal(new URLSearchParams(location.search));

const read = () => batch(() => {
  path.value = location.pathname.replace(/\/+$/, '') || '/';
  params.value = new URLSearchParams(location.search);
});
read();
/** The address bar follows a moment after what it names: a browser draws itself anew for it, and bounds how often. */
const FOLLOW_MS = 250;
let follows = 0;
const here = () => path.value + (params.value.size ? `?${params.value}` : '');
function follow() {
  if (!follows) return;
  clearTimeout(follows);
  follows = 0;
  history.replaceState(null, '', here());
}
window.addEventListener('pagehide', follow);

window.addEventListener('popstate', () => {
  clearTimeout(follows);
  follows = 0;
  read();
});

export function navigate(url, { replace = false } = {}) {
  follow();
  if (url === location.pathname + location.search) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', url);
  read();
}

/** Changes some of the query; empty values are taken out. */
export function setParams(changes, { push = false } = {}) {
  const next = new URLSearchParams(params.value);
  for (const [name, value] of Object.entries(changes)) {
    const text = Array.isArray(value) ? value.join(',') : value ?? '';
    if (text === '' || text === false) next.delete(name);
    else next.set(name, text);
  }
  if (next.toString() === params.value.toString()) return;
  if (push) {
    navigate(path.value + (next.size ? `?${next}` : ''));
    return;
  }
  params.value = next;
  clearTimeout(follows);
  follows = setTimeout(follow, FOLLOW_MS);
}

export const param = (name) => params.value.get(name) || '';
export const paramList = (name) => (params.value.get(name) || '').split(',').filter(Boolean);

// A link within the panel changes the view without a load.
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="/"]');
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || link.target || link.hasAttribute('download')) return;
  event.preventDefault();
  navigate(link.getAttribute('href'));
});
