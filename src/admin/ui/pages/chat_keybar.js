// Says which key the playground uses, and lets one of the operator's own take its place.

import { html, useState } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin } from '../store.js';
import { clock } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Field } from '../parts/bits.js';
import { Dialog } from '../parts/float.js';
import { held, useOwn } from './chat_key.js';

export function KeyBar() {
  const [open, setOpen] = useState(false);
  const [key, setKey] = useState('');
  const one = held.value;
  const submit = (event) => {
    event.preventDefault();
    useOwn(key.trim());
    setKey('');
    setOpen(false);
  };
  const says = one?.own ? t('chat.ownkey') : one ? t('chat.tabkey', { time: clock(one.expires_at * 1000).slice(0, 5) }) : t('chat.key');
  return html`<button type="button" class="button quiet small soft" onClick=${() => setOpen(true)} data-testid="keybar" aria-label=${says}><${Icon} name="keys" size=${16} /><span class="keysays">${says}</span></button>
    ${open && html`<${Dialog} title=${t('chat.key')} close=${() => setOpen(false)} footer=${html`
        ${one?.own && isAdmin() && html`<button type="button" class="button" onClick=${() => { useOwn(''); setOpen(false); }}>${t('chat.usetab')}</button>`}
        <button type="button" class="button" onClick=${() => setOpen(false)}>${t('cancel')}</button><button type="submit" form="own-key" class="button main" disabled=${!key.trim()}>${t('chat.useown')}</button>`}>
      <p>${isAdmin() ? t('chat.keywhat') : t('chat.needskey')}</p>
      <form id="own-key" onSubmit=${submit}><${Field} label=${t('chat.own')} hint=${t('chat.ownhint')} control=${(about) => html`<input class="input mono" type="password" ...${about} autocomplete="off" value=${key} onInput=${(e) => setKey(e.target.value)} placeholder="sk-…" />`} /></form><//>`}`;
}
