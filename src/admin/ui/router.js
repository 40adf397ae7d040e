// The address bar: path and query are the state that can be linked.

import { signal, batch } from './vendor/mod.js';

export const path = signal(location.pathname);
export const params = signal(new URLSearchParams(location.search));

const read = () => batch(() => {
  path.value = location.pathname.replace(/\/+$/, '') || '/';
  params.value = new URLSearchParams(location.search);
});
read();
window.addEventListener('popstate', read);

export function navigate(url, { replace = false } = {}) {
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
  const text = next.toString();
  navigate(location.pathname + (text ? `?${text}` : ''), { replace: !push });
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
