// Secrets go out only after the password, and sealed unless that is refused.

import { html, useState } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { admin } from '../api.js';
import { num } from '../format.js';
import { Field, Failure } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Dialog } from '../parts/float.js';

export function TokenExport({ ids, close }) {
  const [form, setForm] = useState({ password: '', passphrase: '', plain: false });
  const [fault, setFault] = useState(null);
  const [busy, begin] = useDeed();
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const save = async () => {
    setFault(null);
    try {
      const answer = await admin('POST', '/tokens/export', { ...form, passphrase: form.plain ? undefined : form.passphrase, ids: ids.length ? ids : undefined });
      const sealed = !(answer instanceof Response);
      const blob = sealed ? new Blob([JSON.stringify(answer)], { type: 'application/json' }) : await answer.blob();
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = sealed ? 'grok2api-export.json' : 'grok2api-export.ndjson';
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      close();
    } catch (error) { setFault(error); }
  };
  const submit = (event) => { event.preventDefault(); begin(save); };
  return html`<${Dialog} title=${t('export.title')} close=${close} busy=${busy} testid="token-export" footer=${html`<button type="button" class="button" onClick=${close}>${t('cancel')}</button><button type="submit" form="export" class="button main" disabled=${busy} data-testid="export-go">${busy ? t('working') : t('token.export')}</button>`}>
    <p>${ids.length ? t('export.some', { n: num(ids.length) }) : t('export.all')}</p>
    <form id="export" class="stack" onSubmit=${submit}>
      <${Field} label=${t('export.password')} fault=${fault?.param === 'password' ? fault.message : ''} control=${(about) => html`<input class="input" type="password" ...${about} autocomplete="current-password" required value=${form.password} onInput=${set('password')} />`} />
      <label class="check"><input type="checkbox" checked=${form.plain} onChange=${(e) => setForm({ ...form, plain: e.target.checked })} />${t('export.plain')}</label>
      ${form.plain ? html`<div class="box warn">${t('export.plainwarn')}</div>` : html`<${Field} label=${t('export.passphrase')} hint=${t('export.passphrasehint')} fault=${fault?.param === 'passphrase' ? fault.message : ''} control=${(about) => html`<input class="input" type="password" ...${about} autocomplete="new-password" required value=${form.passphrase} onInput=${set('passphrase')} />`} />`}
    </form>
    ${fault && html`<${Failure} error=${fault} />`}
  <//>`;
}
