// Markdown to elements, never to markup: what an answer says is text, whatever it looks like.

import { html } from '../vendor/mod.js';
import { Copy } from './bits.js';

const INLINE = /(`+)([\s\S]*?[^`])\1(?!`)|\*\*([^\s*](?:[\s\S]*?[^\s*])?)\*\*|(?<![\w*])\*([^\s*](?:[^*]*[^\s*])?)\*(?!\w)|(?<!\w)_([^\s_](?:[^_]*[^\s_])?)_(?!\w)|~~([^~]+)~~|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>()]+[^\s<>().,;:!?'"])/g;

function inline(text, depth = 0) {
  if (depth > 4) return [text];
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    if (found.index > at) parts.push(text.slice(at, found.index));
    const [whole, , code, strong, em, em2, gone, label, link, bare] = found;
    if (code !== undefined) parts.push(html`<code>${code.trim()}</code>`);
    else if (strong) parts.push(html`<strong>${inline(strong, depth + 1)}</strong>`);
    else if (em || em2) parts.push(html`<em>${inline(em || em2, depth + 1)}</em>`);
    else if (gone) parts.push(html`<s>${gone}</s>`);
    else parts.push(html`<a href=${link || bare} target="_blank" rel="noopener noreferrer nofollow">${label || bare}</a>`);
    at = found.index + whole.length;
  }
  if (at < text.length) parts.push(text.slice(at));
  return parts;
}

const Code = ({ lang, text }) => html`<figure class="code"><figcaption class="row"><span class="grow small soft">${lang || '\u00a0'}</span><${Copy} text=${text} /></figcaption><pre tabindex="0"><code>${text}</code></pre></figure>`;
const cells = (line) => line.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());

/** Blocks of lines, in one pass. */
export function Markdown({ text }) {
  const lines = text.split('\n');
  const blocks = [];
  let at = 0;
  const take = (test) => { const found = []; while (at < lines.length && test(lines[at])) { found.push(lines[at]); at += 1; } return found; };
  while (at < lines.length) {
    const line = lines[at];
    const fence = line.match(/^\s*(```+|~~~+)\s*([\w+#.-]*)/);
    const heading = line.match(/^(#{1,6})\s+(.*)/);
    const item = /^\s*([-*+]|\d{1,3}[.)])\s+/;
    if (fence) {
      at += 1;
      const body = take((one) => !one.trim().startsWith(fence[1]));
      at += 1;
      blocks.push(html`<${Code} lang=${fence[2]} text=${body.join('\n')} />`);
    } else if (heading) {
      at += 1;
      blocks.push(html`<p class="heading" role="heading" aria-level=${Math.min(6, heading[1].length + 2)}>${inline(heading[2])}</p>`);
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      at += 1;
      blocks.push(html`<hr />`);
    } else if (item.test(line)) {
      const ordered = /^\s*\d/.test(line);
      const items = [];
      for (const one of take((next) => item.test(next) || (/^\s{2,}\S/.test(next) && !/^\s*```/.test(next)))) {
        if (item.test(one)) items.push({ deep: Math.min(4, Math.floor(one.match(/^\s*/)[0].length / 2)), text: one.replace(item, '') });
        else items[items.length - 1].text += ` ${one.trim()}`;
      }
      const rows = items.map((one) => html`<li style=${{ marginLeft: `${one.deep * 18}px` }}>${inline(one.text)}</li>`);
      blocks.push(ordered ? html`<ol start=${Number(line.trim().match(/^\d+/)[0])}>${rows}</ol>` : html`<ul>${rows}</ul>`);
    } else if (/^\s*>/.test(line)) {
      blocks.push(html`<blockquote>${inline(take((one) => /^\s*>/.test(one)).map((one) => one.replace(/^\s*>\s?/, '')).join('\n'))}</blockquote>`);
    } else if (line.includes('|') && /^\s*\|?[\s:|-]+-[\s:|-]*$/.test(lines[at + 1] || '')) {
      const head = cells(line);
      at += 2;
      const body = take((one) => one.includes('|') && one.trim()).map(cells);
      blocks.push(html`<div class="over" tabindex="0"><table class="plain"><thead><tr>${head.map((cell) => html`<th>${inline(cell)}</th>`)}</tr></thead><tbody>${body.map((row) => html`<tr>${row.map((cell) => html`<td>${inline(cell)}</td>`)}</tr>`)}</tbody></table></div>`);
    } else if (!line.trim()) at += 1;
    else {
      const first = at;
      const body = take((one) => one.trim() && (at === first || !/^\s*(```|~~~|#{1,6}\s|>|[-*+]\s|\d{1,3}[.)]\s)/.test(one)));
      blocks.push(html`<p>${inline(body.join('\n'))}</p>`);
    }
  }
  return html`<div class="markdown">${blocks}</div>`;
}
