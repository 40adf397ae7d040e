// What is told of a key: what it does, the keys of its rows, where its value comes from, in the language of the panel.

import { html } from '../vendor/mod.js';
import { t, word, docOf, everyDoc } from '../i18n.js';
import { num } from '../format.js';

/** A text in which `…` marks what is typed as it stands. */
export const Marked = ({ text }) => String(text).split('`').map((part, at) => (at % 2 ? html`<code>${part}</code>` : part));

const end = (value) => (value === null ? '…' : num(value));
export const range = ({ min, max }) => (min === null && max === null ? '' : `${end(min)} – ${end(max)}`);

const fieldsOf = (one) => one.fields || [];

/** How a field is written below its key; a name of the operator's choice stands between a map and what is in it. */
function below(field, one) {
  const map = fieldsOf(one).find((other) => other.type === 'table_map' && field.key.startsWith(`${other.key}.`));
  const name = field.key.slice(one.key.length + 1);
  return map ? name.replace(/\.(?=[^.]*$)/, '.*.') : name;
}

const says = (one, words) => `${one.key} ${everyDoc(one)}`.toLowerCase().includes(words);
const saysField = (one, words) => fieldsOf(one).some((field) => says(field, words));
/** Whether a key or a field of it speaks of that, in any language. */
export const speaksOf = (one, words) => says(one, words) || saysField(one, words);

export function Fields({ one, words }) {
  const fields = fieldsOf(one);
  if (!fields.length) return null;
  return html`<details class="fields" open=${Boolean(words) && saysField(one, words)}><summary class="small">${t('config.fields', { n: fields.length })}</summary>
    <dl class="small">${fields.map((field) => html`<div key=${field.key}><dt><code>${below(field, one)}</code> <span class="soft">${word('configtype', field.type)} ${range(field)}</span></dt><dd class="soft"><${Marked} text=${docOf(field)} /></dd></div>`)}</dl></details>`;
}

/** Where a value comes from: a file's place stays as it is, words around it are the panel's. */
export function placeOf({ source, place }) {
  if (source === 'cluster') return t('config.place.cluster');
  const found = /^(?:(.*): )?(environment variable|variable|flag) (\S+)$/.exec(place);
  if (!found) return place;
  const named = t(found[2] === 'flag' ? 'config.place.flag' : 'config.place.variable', { name: found[3] });
  return found[1] ? `${found[1]}: ${named}` : named;
}
