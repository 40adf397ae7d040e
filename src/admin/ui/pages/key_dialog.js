// Makes a key, or changes one. Blank limits are unlimited.

import { html, useState } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin } from '../store.js';
import { post, patch } from '../api.js';
import { cut, localInput } from '../format.js';
import { Field, Failure } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Dialog } from '../parts/float.js';

const LIMITS = ['chat_limit', 'heavy_limit', 'image_limit', 'video_limit', 'rpm', 'tpm', 'concurrency', 'budget_usd'];
const PRESETS = {
  open: {},
  person: { chat_limit: '500', rpm: '20', concurrency: '4', budget_usd: '5' },
  service: { rpm: '600', concurrency: '64', budget_usd: '100' },
  trial: { chat_limit: '20', heavy_limit: '2', image_limit: '5', video_limit: '0', rpm: '5', concurrency: '1', budget_usd: '0.5' },
};
const fromRow = (row) => ({
  name: row?.name || '', models: (row?.allowed_models || []).join('\n'), strict: Boolean(row?.strict), on_disconnect: row?.on_disconnect || 'cancel',
  expires: row?.expires_at ? localInput(row.expires_at * 1000) : '', key: '',
  ...Object.fromEntries(LIMITS.map((name) => [name, row && row[name] >= 0 ? String(row[name]) : ''])),
});

export function KeyDialog({ row, close, saved, flip, ask, busy: outer }) {
  const [first] = useState(() => fromRow(row));
  const [form, setForm] = useState(first);
  const [fault, setFault] = useState(null);
  const [busy, begin] = useDeed();
  const may = isAdmin();
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.type === 'checkbox' ? event.target.checked : event.target.value });
  const save = async () => {
    setFault(null);
    const body = {};
    const changed = (name) => !row || form[name] !== first[name];
    if (changed('name')) body.name = form.name;
    for (const name of LIMITS) {
      if (!changed(name)) continue;
      const text = form[name].trim();
      body[name] = text === '' ? -1 : Number.isNaN(Number(text)) ? text : Number(text);
    }
    if (changed('models')) body.allowed_models = form.models.split(/[\n,]/).map((one) => one.trim()).filter(Boolean);
    if (changed('strict')) body.strict = form.strict;
    if (changed('on_disconnect')) body.on_disconnect = form.on_disconnect;
    if (changed('expires')) body.expires_at = form.expires ? Math.floor(new Date(form.expires).getTime() / 1000) : null;
    if (!row && form.key.trim()) body.key = form.key.trim();
    try {
      const answer = row ? await patch(`/keys/${row.id}`, body) : await post('/keys', body);
      saved(answer.data, !row);
    } catch (error) { setFault(error); }
  };
  const submit = (event) => {
    event.preventDefault();
    if (may) begin(save);
  };
  const faultOf = (name) => (fault && (fault.param === name || fault.param?.endsWith(`.${name}`)) ? fault.message : '');
  const input = (name, label, extra = {}, hint) => html`<${Field} label=${label} hint=${hint} fault=${faultOf(name)} control=${(about) => html`<input class="input" ...${about} ...${extra} value=${form[name]} onInput=${set(name)} disabled=${!may} data-testid=${`key-${name}`} />`} />`;
  const number = (name) => input(name, t(`key.limit.${name}`), { inputmode: 'decimal', placeholder: t('key.unlimited'), autocomplete: 'off' });
  return html`<${Dialog} title=${row ? cut(row.name, 60) : t('key.new')} close=${close} busy=${busy} wide testid="key-dialog" footer=${html`
    ${row && may && html`<button type="button" class="button bad" disabled=${outer} onClick=${() => ask({ what: 'delete', row })} data-testid="key-delete">${t('delete')}</button>
      <button type="button" class="button" disabled=${outer} onClick=${() => ask({ what: 'rotate', row })} data-testid="key-rotate">${t('key.rotate')}</button>
      <button type="button" class="button" disabled=${outer} onClick=${() => flip(row)} data-testid="key-flip">${row.is_active ? t('disable') : t('enable')}</button><span class="grow not-phone"></span>`}
    <button type="button" class="button" onClick=${close}>${may ? t('cancel') : t('close')}</button>
    ${may && html`<button type="submit" form="key-form" class="button main" disabled=${busy} data-testid="key-save">${busy ? t('working') : row ? t('save') : t('key.make')}</button>`}`}>
    <form id="key-form" class="stack" onSubmit=${submit}>
      ${!row && html`<div class="row wrap" role="group" aria-label=${t('key.preset')}>${Object.keys(PRESETS).map((name) => html`<button type="button" class="button small" key=${name} onClick=${() => setForm({ ...first, name: form.name, models: form.models, expires: form.expires, ...PRESETS[name] })}>${t(`key.preset.${name}`)}</button>`)}</div>`}
      ${input('name', t('key.name'), { maxlength: 200, autocomplete: 'off' }, row ? '' : t('key.namehint'))}
      <h3>${t('key.limits')}</h3>
      <div class="limits">${LIMITS.map(number)}</div>
      <label class="check"><input type="checkbox" checked=${form.strict} onChange=${set('strict')} disabled=${!may} />${t('key.strict')}</label>
      <div class="pair">${input('expires', t('key.expires'), { type: 'datetime-local' }, t('key.expireshint'))}
        <${Field} label=${t('key.disconnect')} control=${(about) => html`<select class="input" ...${about} value=${form.on_disconnect} onChange=${set('on_disconnect')} disabled=${!may}>
          ${[...new Set(['cancel', 'drain', form.on_disconnect])].map((one) => html`<option value=${one}>${one === 'cancel' || one === 'drain' ? t(`key.on.${one}`) : one}</option>`)}</select>`} /></div>
      <${Field} label=${t('key.models')} hint=${t('key.modelshint')} fault=${faultOf('allowed_models')} control=${(about) => html`<textarea class="input mono" ...${about} rows="2" value=${form.models} onInput=${set('models')} disabled=${!may}></textarea>`} />
      ${!row && input('key', t('key.own'), { autocomplete: 'off', placeholder: t('key.ownnone') }, t('key.ownhint'))}
    </form>
    ${fault && html`<${Failure} error=${fault} />`}
  <//>`;
}
