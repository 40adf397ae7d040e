// Conversations, in this browser only.

import { signal, effect } from '../vendor/mod.js';
import { remember } from '../store.js';

const HELD = 'grok2api.chats';
const MOST = 60;
const read = () => { try { return JSON.parse(localStorage.getItem(HELD)) || []; } catch { return []; } };

/** [{id, title, model, system, at, turns: [{role, text, images?, thought?, meta?}]}], the newest first. */
export const chats = signal(read());
let timer = null;
function keep() {
  clearTimeout(timer);
  timer = null;
  // Pictures are not kept: a handful fills the browser's store.
  const lean = chats.value.slice(0, MOST).map((chat) => ({ ...chat, turns: chat.turns.map(({ images, ...turn }) => turn) }));
  for (let count = lean.length; count > 0; count = Math.floor(count / 2)) {
    try { localStorage.setItem(HELD, JSON.stringify(lean.slice(0, count))); return; } catch { /* full: keep fewer */ }
  }
  if (!lean.length) remember('chats', null);
}
effect(() => {
  chats.value;
  timer ??= setTimeout(keep, 300);
});
window.addEventListener('pagehide', () => { if (timer) keep(); });

export const find = (id) => chats.value.find((chat) => chat.id === id);
export function put(chat) {
  const rest = chats.value.filter((one) => one.id !== chat.id);
  chats.value = [{ ...chat, at: Date.now() }, ...rest].slice(0, MOST);
}
export const update = (id, change) => { chats.value = chats.value.map((one) => (one.id === id ? { ...one, ...change(one) } : one)); };
export const dropChat = (id) => { chats.value = chats.value.filter((one) => one.id !== id); };
export const newId = () => Math.random().toString(36).slice(2, 10);
