// What is written next: Enter sends, Shift+Enter breaks the line; pictures by paste, drop or choice.

import { html, useState, useRef, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { toast } from '../store.js';
import { Icon } from '../parts/icons.js';

const LARGEST = 8 * 1024 * 1024;
const MOST = 6;
const asUrl = (file) => new Promise((done, fail) => { const reader = new FileReader(); reader.onload = () => done(reader.result); reader.onerror = fail; reader.readAsDataURL(file); });

export function Composer({ busy, stop, send, disabled }) {
  const [text, setText] = useState('');
  const [images, setImages] = useState([]);
  const box = useRef(null);
  const pick = useRef(null);
  useEffect(() => {
    box.current.style.height = 'auto';
    box.current.style.height = `${Math.min(240, box.current.scrollHeight + 2)}px`;
  }, [text]);
  const take = async (files) => {
    for (const file of [...files].slice(0, MOST - images.length)) {
      if (!file.type.startsWith('image/')) toast(t('chat.onlypictures'), 'bad');
      else if (file.size > LARGEST) toast(t('chat.toolarge', { name: file.name }), 'bad');
      else { const url = await asUrl(file); setImages((list) => [...list, url].slice(0, MOST)); }
    }
  };
  const go = () => {
    if (busy || disabled || (!text.trim() && !images.length)) return;
    send(text.trim(), images);
    setText('');
    setImages([]);
  };
  const keys = (event) => {
    // An input method's Enter ends a word, not the message.
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); go(); }
    if (event.key === 'Escape' && busy) stop();
  };
  return html`<div class="composer" onDragOver=${(e) => e.preventDefault()} onDrop=${(e) => { e.preventDefault(); take(e.dataTransfer.files); }}>
    ${images.length > 0 && html`<div class="row wrap">${images.map((url, at) => html`<button type="button" class="thumb" key=${at} onClick=${() => setImages(images.filter((_, i) => i !== at))} aria-label=${`${t('remove')} ${at + 1}`}><img src=${url} alt="" /></button>`)}</div>`}
    <div class="composerrow">
      <button type="button" class="button quiet icon" aria-label=${t('chat.attach')} title=${t('chat.attach')} onClick=${() => pick.current.click()}><${Icon} name="plus" /></button>
      <input type="file" accept="image/*" multiple hidden ref=${pick} onChange=${(e) => { take(e.target.files); e.target.value = ''; }} />
      <textarea ref=${box} rows="1" aria-label=${t('chat.message')} placeholder=${t('chat.placeholder')} value=${text} onInput=${(e) => setText(e.target.value)} onKeyDown=${keys}
        onPaste=${(e) => { if (e.clipboardData.files.length) { e.preventDefault(); take(e.clipboardData.files); } }} data-search data-testid="message"></textarea>
      ${busy ? html`<button type="button" class="button icon" onClick=${stop} aria-label=${t('stop')} data-testid="stop"><${Icon} name="stop" /></button>`
        : html`<button type="button" class="button main icon" onClick=${go} disabled=${disabled || (!text.trim() && !images.length)} aria-label=${t('chat.send')} data-testid="send"><${Icon} name="send" /></button>`}
    </div></div>`;
}
