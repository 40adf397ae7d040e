// Every key: what it does, what counts now, where that comes from. Nothing is written before the diff was seen.

import { html, useState, useEffect, useRef } from '../vendor/mod.js';
import { t, word, docOf } from '../i18n.js';
import { isAdmin, toast } from '../store.js';
import { get, post } from '../api.js';
import { param, setParams } from '../router.js';
import { num, cut } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Failure, Waiting, Empty, usePoll } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Dialog } from '../parts/float.js';
import { ConfigControl, parse, show } from './config_control.js';
import { Fields, Marked, placeOf, range, speaksOf } from './config_docs.js';

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function Key({ one, draft, fault, change, undo, words }) {
  const dirty = draft !== undefined;
  const fixed = one.source === 'environment' || one.source === 'flag';
  return html`<div class=${`setting ${dirty ? 'dirty' : ''}`} data-testid=${`key-${one.key}`} id=${`key-${one.key}`}>
    <div class="about"><label class="mono strong" for=${`value-${one.key}`}>${one.key.split('.').slice(1).join('.') || one.key}</label>
      <p class="soft medium" id=${`doc-${one.key}`}><${Marked} text=${docOf(one)} /></p>
      <p class="row wrap small soft"><span class=${`chip ${fixed ? 'warn' : one.source === 'default' ? '' : 'info'}`} title=${placeOf(one)}>${word('source', one.source)}</span>
        ${one.restart && html`<span class="chip">${t('config.restart')}</span>`}${one.per_node && html`<span class="chip">${t('config.pernode')}</span>`}${one.pending && html`<span class="chip warn">${t('config.pending')}</span>`}${one.secret && html`<span class="chip">${t('config.secret')}</span>`}
        <span>${t('config.default')} <code>${cut(show(one.default, one), 60)}</code></span>
        ${range(one) && html`<span>${range(one)}</span>`}</p>
      <${Fields} one=${one} words=${words} />
      ${fixed && html`<p class="small warn">${t('config.fixed', { place: placeOf(one) })}</p>`}</div>
    <div class="value stack tight"><${ConfigControl} one=${one} draft=${draft} fault=${fault} change=${change} disabled=${!isAdmin()} />
      ${fault && html`<span class="small bad" role="alert" id=${`fault-${one.key}`}>${fault}</span>`}
      ${isAdmin() && html`<span class="row small">${dirty && html`<button type="button" class="button small quiet" onClick=${undo}>${t('config.undo')}</button>`}
        ${!dirty && one.source !== 'default' && !fixed && html`<button type="button" class="button small quiet" onClick=${() => change(null)}>${t('config.todefault')}</button>`}</span>`}</div>
  </div>`;
}

function Diff({ keys, drafts, close, save, busy, fault }) {
  return html`<${Dialog} title=${t('config.review')} close=${close} busy=${busy} wide testid="config-diff" footer=${html`<button type="button" class="button" onClick=${close} disabled=${busy}>${t('cancel')}</button><button type="button" class="button main" onClick=${save} disabled=${busy} data-first data-testid="config-save">${busy ? t('working') : t('config.save')}</button>`}>
    ${keys.map((one) => html`<div key=${one.key} class="diff"><code class="strong">${one.key}</code>${one.restart && html` <span class="chip warn">${t('config.restart')}</span>`}
      <pre class="minus">− ${cut(one.secret ? t('config.hidden') : show(one.value, one), 400)}</pre><pre class="plus">+ ${cut(drafts[one.key] === null ? `${t('config.default')}: ${show(one.default, one)}` : one.secret ? t('config.newsecret') : show(drafts[one.key], one), 400)}</pre></div>`)}
    ${fault && html`<${Failure} error=${fault} />`}<//>`;
}

export function ConfigPage() {
  const { data, error, reload } = usePoll(() => get('/config?view=full'), 0);
  const [raw, setRaw] = useState({});
  const [faults, setFaults] = useState({});
  const [reviewing, setReviewing] = useState(false);
  const [busy, begin] = useDeed();
  const [fault, setFault] = useState(null);
  const [text, setText] = useState(param('text'));
  const warned = useRef(null);
  useEffect(() => { setParams({ text }); }, [text]);
  const dirty = Object.keys(raw);
  useEffect(() => {
    if (!dirty.length) return undefined;
    const ask = (event) => event.preventDefault();
    window.addEventListener('beforeunload', ask);
    return () => window.removeEventListener('beforeunload', ask);
  }, [dirty.length]);
  if (!data) return html`<div class="page reading"><div class="head"><h1>${t('page.config')}</h1></div>${error ? html`<${Failure} error=${error} retry=${reload} />` : html`<${Waiting} />`}</div>`;
  const without = (object, key) => { const { [key]: gone, ...rest } = object; return rest; };
  const change = (one) => (value) => {
    setFaults(without(faults, one.key));
    if (value === null ? one.source === 'default' : same(parse(value, one).value, one.value)) setRaw(without(raw, one.key));
    else setRaw({ ...raw, [one.key]: value });
  };
  const changed = data.keys.filter((one) => one.key in raw);
  const drafts = Object.fromEntries(changed.map((one) => [one.key, raw[one.key] === null ? null : parse(raw[one.key], one).value]));
  const review = () => {
    const wrong = Object.fromEntries(changed.filter((one) => raw[one.key] !== null).map((one) => [one.key, parse(raw[one.key], one).fault]).filter(([, says]) => says));
    setFaults(wrong);
    setFault(null);
    if (Object.keys(wrong).length) document.getElementById(`key-${Object.keys(wrong)[0]}`)?.scrollIntoView({ block: 'center' });
    else setReviewing(true);
  };
  const save = () => begin(async () => {
    setFault(null);
    try {
      const answer = await post('/config', { revision: data.revision, values: drafts });
      toast(answer.pending.length ? t('config.savedpending', { n: answer.pending.length }) : t('config.savedn', { n: answer.changed.length }));
      if (answer.overruled.length) toast(t('config.overruled', { keys: answer.overruled.join(', ') }), 'info');
      setRaw({});
      setReviewing(false);
      reload();
    } catch (problem) {
      setFault(problem);
      const named = data.keys.find((one) => problem.param && (problem.param === one.key || problem.param.startsWith(`${one.key}.`) || problem.param.startsWith(`${one.key}[`)));
      if (named) {
        setFaults({ [named.key]: problem.message });
        setReviewing(false);
        setTimeout(() => document.getElementById(`key-${named.key}`)?.scrollIntoView({ block: 'center' }), 50);
      }
    }
  });
  const words = text.toLowerCase();
  const only = param('only');
  const rows = data.keys.filter((one) => (!words || speaksOf(one, words)) && (only !== 'set' || one.source !== 'default') && (only !== 'changed' || one.key in raw));
  const sections = [...new Set(rows.map((one) => one.key.split('.')[0]))];
  const about = (name) => (data.sections || []).find((section) => section.name === name);
  return html`<div class="page reading" data-ready="true" ref=${warned}>
    <div class="head"><h1>${t('page.config')}</h1><span class="small soft">${data.shared ? t('config.shared') : t('config.local')}</span></div>
    ${data.problem && html`<div class="box bad" role="alert"><strong>${t('config.problem')}</strong><pre class="small">${data.problem}</pre></div>`}
    ${data.warnings.map((line) => html`<div class="box warn small" key=${line}>${line}</div>`)}
    <div class="filters"><label class="search"><span class="hidden-text">${t('config.search')}</span><${Icon} name="search" size=${16} /><input class="input" type="search" data-search placeholder=${t('config.search')} value=${text} onInput=${(e) => setText(e.target.value)} data-testid="config-search" /></label>
      <button type="button" class="button small" aria-pressed=${String(only === 'set')} onClick=${() => setParams({ only: only === 'set' ? '' : 'set' })}>${t('config.onlyset')} <span class="unit">${num(data.keys.filter((one) => one.source !== 'default').length)}</span></button>
      ${dirty.length > 0 && html`<button type="button" class="button small" aria-pressed=${String(only === 'changed')} onClick=${() => setParams({ only: only === 'changed' ? '' : 'changed' })}>${t('config.onlychanged')} <span class="unit">${dirty.length}</span></button>`}</div>
    ${!rows.length && html`<${Empty} title=${t('nothing')} />`}
    ${sections.map((section) => html`<section class="card settings" key=${section}><div class="over-settings"><h2 class="mono">[${section}]</h2>${about(section) && html`<p class="soft medium">${docOf(about(section))}</p>`}</div>
      ${rows.filter((one) => one.key.split('.')[0] === section).map((one) => html`<${Key} key=${one.key} one=${one} words=${words} draft=${raw[one.key]} fault=${faults[one.key]} change=${change(one)} undo=${() => { setRaw(without(raw, one.key)); setFaults(without(faults, one.key)); }} />`)}</section>`)}
    ${dirty.length > 0 && html`<div class="batch" data-testid="config-bar"><strong>${t('config.changes', { n: dirty.length })}</strong><button type="button" class="button small" onClick=${() => { setRaw({}); setFaults({}); }}>${t('config.discard')}</button><button type="button" class="button small main" onClick=${review} data-testid="config-review">${t('config.review')}</button></div>`}
    ${reviewing && html`<${Diff} keys=${changed} drafts=${drafts} close=${() => setReviewing(false)} save=${save} busy=${busy} fault=${fault} />`}
    ${fault && !reviewing && html`<${Failure} error=${fault} />`}
  </div>`;
}
