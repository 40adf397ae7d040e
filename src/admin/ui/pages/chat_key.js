// The key that the playground calls with: made for this tab, over when the session is, deleted at logout. Or one of
// the operator's own. The session itself opens no /v1 route.

import { signal } from '../vendor/mod.js';
import { session, isAdmin, serverNow } from '../store.js';
import { get, post, remove } from '../api.js';

const HELD = 'grok2api.playground';
const read = () => { try { return JSON.parse(sessionStorage.getItem(HELD)); } catch { return null; } };
const write = (value) => { try { if (value) sessionStorage.setItem(HELD, JSON.stringify(value)); else sessionStorage.removeItem(HELD); } catch { /* lasts as long as the page */ } };

/** {key, id, expires_at} or {key, own: true}. */
export const held = signal(read());

export function useOwn(key) {
  held.value = key ? { key, own: true } : null;
  write(held.value);
}

/** Only what this tab made and is over, or that the gateway knows no more. */
export function drop() {
  held.value = null;
  write(null);
}

const nameOf = () => `playground · ${session.value.username}`;

/** Keys of tabs that were closed without a logout are over by themselves; here they go. */
async function sweep() {
  const { data } = await get('/keys');
  await Promise.all(data.filter((one) => one.expired && one.name === nameOf()).map((one) => remove(`/keys/${one.id}`).catch(() => {})));
}

let making = null;
export async function playgroundKey() {
  const now = serverNow() / 1000;
  if (held.value && (held.value.own || held.value.expires_at > now + 5)) return held.value.key;
  if (!isAdmin()) return null;
  // Two calls at once share one key.
  making ||= sweep().then(() => post('/keys', {
    name: nameOf(),
    expires_at: Math.min(session.value.expires_at, Math.floor(now) + 12 * 3600),
    concurrency: 4,
  })).then(({ data }) => {
    held.value = { key: data.key, id: data.id, expires_at: data.expires_at };
    write(held.value);
    return data.key;
  }).finally(() => { making = null; });
  return making;
}

export async function forgetPlayground() {
  const one = held.value;
  drop();
  if (one?.id) await remove(`/keys/${one.id}`).catch(() => { /* it ends by itself */ });
}
