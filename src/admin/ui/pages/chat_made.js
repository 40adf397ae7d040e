// What was made in the panel, in this browser only: links to pictures and videos, and which models make them.

import { signal } from '../vendor/mod.js';
import { asClient } from '../api.js';
import { playgroundKey } from './chat_key.js';

const MOST = 60;
const USUAL = { image: ['grok-imagine-image'], video: ['grok-imagine-video'] };
const name = (kind) => `grok2api.made.${kind}`;
const read = (kind) => { try { return JSON.parse(localStorage.getItem(name(kind))) || []; } catch { return []; } };
const kinds = {};

export const madeOf = (kind) => (kinds[kind] ||= signal(read(kind)));

export function keepMade(kind, list) {
  // Inline pictures would fill the browser's store: links are kept.
  const lean = list.filter((one) => !one.error && !one.url?.startsWith('data:')).slice(0, MOST).map(({ poster, ...one }) => one);
  madeOf(kind).value = lean;
  try { localStorage.setItem(name(kind), JSON.stringify(lean)); } catch { /* full: it lasts as long as the page */ }
}

/** A link of this gateway, without the address under which others reach it. */
export function ownPath(link) {
  const url = new URL(link, location.href);
  return url.pathname.startsWith('/v1/files/') ? url.pathname + url.search : link;
}

/** Models that make pictures or videos; where the upstream does not list them, the usual one. */
export async function modelsFor(kind) {
  const key = await playgroundKey();
  if (!key) return [];
  // Where no credential serves anything there is nobody to ask.
  const { data } = await (await asClient('GET', '/v1/models', key)).json();
  if (!data.length) return [];
  try {
    const { models } = await (await asClient('GET', `/v1/${kind}-generation-models`, key)).json();
    return models?.length ? models.map((one) => one.id) : USUAL[kind];
  } catch { return USUAL[kind]; }
}
