// Conversations, in this browser only.

import { signal, effect } from '../vendor/mod.js';

const HELD = 'grok2api.chats';
const MOST = 60;
const read = () => { try { return JSON.parse(localStorage.getItem(HELD)) || []; } catch { return []; } };

/** [{id, title, model, system, at, turns: [{role, text, images?, thought?, meta?}]}], the newest first. */
export const chats = signal(read());
let timer;
effect(() => {
  const value = chats.value;
  clearTimeout(timer);
  timer = setTimeout(() => {
    // Pictures are not kept: a handful fills the browser's store.
    const lean = value.slice(0, MOST).map((chat) => ({ ...chat, turns: chat.turns.map(({ images, ...turn }) => turn) }));
    for (let keep = lean.length; keep >= 0; keep = Math.floor(keep / 2) - (keep === 0 ? 1 : 0)) {
      try { localStorage.setItem(HELD, JSON.stringify(lean.slice(0, keep))); return; } catch { /* full: keep fewer */ }
    }
  }, 300);
});

export const find = (id) => chats.value.find((chat) => chat.id === id);
export function put(chat) {
  const rest = chats.value.filter((one) => one.id !== chat.id);
  chats.value = [{ ...chat, at: Date.now() }, ...rest].slice(0, MOST);
}
export const update = (id, change) => { chats.value = chats.value.map((one) => (one.id === id ? { ...one, ...change(one) } : one)); };
export const dropChat = (id) => { chats.value = chats.value.filter((one) => one.id !== id); };
export const newId = () => Math.random().toString(36).slice(2, 10);
