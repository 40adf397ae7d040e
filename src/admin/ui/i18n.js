// Strings by key; `{name}` stands for a value, `{n:token|tokens}` for the form that goes with it. A key that a language lacks shows itself, and fails a test.

import { lang } from './store.js';
import { plain } from './format.js';
import en from './strings/en.js';
import zh from './strings/zh.js';
import zhConfig from './strings/zh_config.js';

const tables = { en, zh };
/** The configuration's documentation, by path. English comes with the keys, from the backend. */
const docs = { zh: zhConfig };
export const LANGUAGES = [['en', 'English'], ['zh', '中文']];

export function t(key, values) {
  const text = (tables[lang.value] || en)[key] ?? en[key] ?? key;
  if (!values) return text;
  const counted = text.replace(/\{(\w+):([^|}]*)\|([^}]*)\}/g, (whole, name, one, many) => (String(values[name]) === '1' ? one : many));
  return counted.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? plain(values[name]) : whole));
}
export const has = (key) => key in en;
/** The word for a value of a closed set of the backend; one that is newer than the panel shows as it is. */
export const word = (group, value) => (value === null || value === undefined || value === '' ? '' : has(`${group}.${value}`) ? t(`${group}.${value}`) : String(value).replaceAll('_', ' '));
/** What a section, key or field of the configuration does; one that is newer than the panel says it in English. */
export const docOf = (one) => docs[lang.value]?.[one.key ?? one.name] ?? one.doc;
/** The same in every language, for the search. */
export const everyDoc = (one) => [one.doc, ...Object.values(docs).map((table) => table[one.key ?? one.name] ?? '')].join(' ');
