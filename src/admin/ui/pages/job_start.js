// A job begins: what it does, and its limits. The form stays when the backend refuses it.

import { html, useState, useEffect } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { handedOn } from '../store.js';
import { post } from '../api.js';
import { Field, Failure } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Dialog } from '../parts/float.js';

const KINDS = ['list', 'mint', 'rotate', 'revoke', 'provision'];
const whole = (text) => (text.trim() === '' ? undefined : Number(text));
const lines = (text) => text.split(/[\s,]+/).filter(Boolean);
const given = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined && value !== '' && !(Array.isArray(value) && !value.length)));

const ask = (kind, form) => given({
  title: form.title, pool: form.pool, concurrency: whole(form.concurrency), max_runtime_minutes: whole(form.minutes), max_errors: whole(form.errors),
  verify: form.verify ? undefined : false,
  [kind]: {
    list: () => ({ lines: form.lines }),
    mint: () => given({ count: whole(form.count), name: form.name, team: form.team, qps: whole(form.qps), qpm: whole(form.qpm), tpm: whole(form.tpm), expire_time: form.expires ? new Date(form.expires).toISOString() : undefined }),
    rotate: () => given({ keys: lines(form.keys), named: form.named, team: form.team, overlap_hours: whole(form.overlap) }),
    revoke: () => given({ keys: lines(form.keys), named: form.named, team: form.team }),
    provision: () => given({ count: whole(form.count) }),
  }[kind](),
});

export function JobStart({ close, done }) {
  const [kind, setKind] = useState('list');
  const [form, setForm] = useState({ title: '', pool: '', lines: '', count: '', name: '', team: '', qps: '', qpm: '', tpm: '', expires: '', keys: '', named: '', overlap: '', concurrency: '', minutes: '', errors: '', verify: true, ...handedOn.peek() });
  useEffect(() => { handedOn.value = null; }, []);
  const [busy, begin] = useDeed();
  const [fault, setFault] = useState(null);
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.type === 'checkbox' ? event.target.checked : event.target.value });
  const text = (name, hint, more = {}) => html`<${Field} label=${t(`job.field.${name}`)} hint=${hint} control=${(about) => html`<input class="input" ...${about} ...${more} value=${form[name]} onInput=${set(name)} data-testid=${`job-${name}`} />`} />`;
  const number = (name, hint) => text(name, hint, { inputmode: 'numeric', autocomplete: 'off' });
  const file = async (event) => { const one = event.target.files[0]; if (one) setForm({ ...form, lines: await one.text() }); };
  const submit = (event) => {
    event.preventDefault();
    begin(async () => {
      setFault(null);
      try { done(await post('/jobs', ask(kind, form))); } catch (error) { setFault(error); }
    });
  };
  return html`<${Dialog} title=${t('job.start')} close=${close} busy=${busy} wide testid="job-dialog" footer=${html`<button type="button" class="button" onClick=${close} disabled=${busy}>${t('cancel')}</button>
      <button type="submit" form="job-form" class="button main" disabled=${busy || (kind === 'list' && !form.lines.trim())} data-testid="job-go">${busy ? t('working') : t('job.go')}</button>`}>
    <form id="job-form" class="stack" onSubmit=${submit}>
      <${Field} label=${t('job.kind')} hint=${t(`job.about.${kind}`)} control=${(about) => html`<select class="input" ...${about} value=${kind} onChange=${(e) => setKind(e.target.value)} data-testid="job-kind">${KINDS.map((one) => html`<option value=${one} key=${one}>${word('jobkind', one)}</option>`)}</select>`} />
      ${kind === 'list' && html`<${Field} label=${t('job.field.lines')} hint=${t('job.lineshint')} control=${(about) => html`<textarea class="input mono" ...${about} rows="7" spellcheck=${false} autocomplete="off" value=${form.lines} onInput=${set('lines')} data-testid="job-lines"></textarea>`} />
        <div class="pair"><${Field} label=${t('token.pool')} control=${(about) => html`<select class="input" ...${about} value=${form.pool} onChange=${set('pool')}><option value="">${t('import.bylook')}</option>${['apiKey', 'ssoBasic', 'ssoSuper'].map((one) => html`<option value=${one} key=${one}>${word('pool', one)}</option>`)}</select>`} />
        <${Field} label=${t('import.file')} control=${(about) => html`<input class="input" type="file" ...${about} accept=".txt,.csv,.json,.jsonl,text/plain" onChange=${file} />`} /></div>`}
      ${kind === 'mint' && html`<div class="pair">${number('count')}${text('name', t('job.namehint'), { placeholder: 'grok2api-{n}' })}</div><div class="limits">${number('qps')}${number('qpm')}${number('tpm')}${text('expires', '', { type: 'datetime-local' })}</div>`}
      ${kind === 'provision' && number('count')}
      ${(kind === 'rotate' || kind === 'revoke') && html`<div class="pair">${text('keys', t('job.keyshint'))}${text('named')}</div>${kind === 'rotate' && number('overlap', t('job.overlaphint'))}`}
      ${(kind === 'mint' || kind === 'rotate' || kind === 'revoke') && text('team', t('job.teamhint'))}
      <details><summary class="small">${t('job.more')}</summary><div class="stack more">${text('title')}<div class="limits">${number('concurrency')}${number('minutes')}${number('errors')}</div>
        <label class="check"><input type="checkbox" checked=${form.verify} onChange=${set('verify')} />${t('job.verify')}</label></div></details>
    </form>
    ${fault && html`<${Failure} error=${fault} />`}
  <//>`;
}
