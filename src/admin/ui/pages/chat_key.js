// The key that the playground calls with: the session's own, made by the backend, which ends with the session on every
// node. It is held in memory only: the backend tells it again. Or one of the operator's own. The session itself opens no
// /v1 route.

import { signal } from '../vendor/mod.js';
import { isAdmin, serverNow } from '../store.js';
import { post } from '../api.js';

const HELD = 'grok2api.ownkey';
const read = () => { try { return sessionStorage.getItem(HELD); } catch { return null; } };
const write = (value) => { try { if (value) sessionStorage.setItem(HELD, value); else sessionStorage.removeItem(HELD); } catch { /* lasts as long as the page */ } };
const own = (key) => (key ? { key, own: true } : null);

/** {key, id, expires_at} or {key, own: true}. */
export const held = signal(own(read()));

export function useOwn(key) {
  held.value = own(key);
  write(key);
}

/** Only what is over, or that the gateway knows no more; at a logout all of it. */
export function drop() {
  held.value = null;
  write(null);
}

let making = null;
export async function playgroundKey() {
  const now = serverNow() / 1000;
  if (held.value && (held.value.own || held.value.expires_at > now + 5)) return held.value.key;
  if (!isAdmin()) return null;
  // Two calls at once ask once.
  making ||= post('/session/key').then((made) => {
    held.value = made;
    return made.key;
  }).finally(() => { making = null; });
  return making;
}
