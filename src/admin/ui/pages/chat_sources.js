// Pictures that something is made of: by choice, drop or paste.

import { html, useRef } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { toast } from '../store.js';
import { Icon } from '../parts/icons.js';

const LARGEST = 8 * 1024 * 1024;
export const dataOf = (file) => new Promise((done, fail) => { const reader = new FileReader(); reader.onload = () => done(reader.result); reader.onerror = fail; reader.readAsDataURL(file); });

/** `list` is [{file, url}]; at most `most`. */
export function Sources({ list, change, most, label }) {
  const pick = useRef(null);
  const take = async (files) => {
    const taken = [...list];
    for (const file of files) {
      if (taken.length >= most) break;
      if (!file.type.startsWith('image/')) toast(t('chat.onlypictures'), 'bad');
      else if (file.size > LARGEST) toast(t('chat.toolarge', { name: file.name }), 'bad');
      else taken.push({ file, url: await dataOf(file) });
    }
    change(taken);
  };
  return html`<div class="row wrap sources" onDragOver=${(e) => e.preventDefault()} onDrop=${(e) => { e.preventDefault(); take(e.dataTransfer.files); }}>
    ${list.map((one, at) => html`<button type="button" class="thumb" key=${at} onClick=${() => change(list.filter((_, i) => i !== at))} aria-label=${`${t('remove')} ${at + 1}`} title=${t('remove')}><img src=${one.url} alt="" /></button>`)}
    ${list.length < most && html`<button type="button" class="button small" onClick=${() => pick.current.click()} data-testid="sources"><${Icon} name="upload" size=${15} />${label}</button>`}
    <input type="file" accept="image/*" multiple=${most > 1} hidden ref=${pick} onChange=${(e) => { take(e.target.files); e.target.value = ''; }} data-testid="source-files" /></div>`;
}
