// Log lines of every node as they are written: pausable, by level and text, linked to requests.

import { html, useState, useRef, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { offers } from '../store.js';
import { useEvents } from '../events.js';
import { query } from '../api.js';
import { num, cut, clock } from '../format.js';
import { Icon } from '../parts/icons.js';
import { LogFiles } from './log_files.js';

const LEVELS = ['error', 'warn', 'info', 'debug', 'trace'];
const KEPT = 500;
const TONE = { error: 'bad', warn: 'warn', info: '', debug: 'soft', trace: 'soft' };
const OWN = ['ts', 'level', 'message', 'target', 'node'];

function Line({ line }) {
  const level = String(line.level || '').toLowerCase();
  const rest = Object.entries(line).filter(([name]) => !OWN.includes(name));
  const at = Date.parse(line.ts);
  return html`<div class=${`logline ${TONE[level] || ''}`}><time title=${line.ts}>${at ? clock(at) : ''}</time> <b>${level.toUpperCase()}</b>${line.node ? html` <span class="soft">${line.node}</span>` : ''} <span class="isolate">${cut(line.message || line.target, 500)}</span>${rest.map(([name, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return html` <span class="soft" key=${name}>${name}=</span>${/^req_[0-9a-f]{32}$/.test(text) ? html`<a href=${`/admin/requests?open=${text}`}>${text}</a>` : html`<span class="isolate">${cut(text, 200)}</span>`}`;
  })}</div>`;
}

export function Logs() {
  const [tab, setTab] = useState('live');
  if (!offers('logs.tail')) return null;
  return html`<section class="card stack" data-testid="logs"><div class="tabs" role="tablist">${['live', 'files'].map((one) => html`<button type="button" role="tab" key=${one} aria-selected=${String(tab === one)} onClick=${() => setTab(one)} data-testid=${`logs-${one}`}>${t(`log.${one}`)}</button>`)}</div>
    ${tab === 'live' ? html`<${LiveLog} />` : html`<${LogFiles} />`}</div>`;
}

function LiveLog() {
  const [level, setLevel] = useState('info');
  const [text, setText] = useState('');
  const [sought, setSought] = useState('');
  const [paused, setPaused] = useState(false);
  const [lines, setLines] = useState([]);
  const [missed, setMissed] = useState(0);
  const box = useRef(null);
  const atEnd = useRef(true);
  const number = useRef(0);
  useEffect(() => { const timer = setTimeout(() => setSought(text.trim()), 250); return () => clearTimeout(timer); }, [text]);
  const open = useEvents(!paused ? `/logs/stream${query({ level, text: sought })}` : '', {
    line: (line) => { number.current += 1; const n = number.current; setLines((last) => [...last.slice(1 - KEPT), { ...line, n }]); },
    left_out: (count) => setMissed((last) => last + count),
  });
  // It stays at its end only if it was there.
  useEffect(() => { if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight; }, [lines]);
  return html`<div class="stack tight" data-testid="live-log"><div class="row wrap filters"><span class="small soft">${paused ? t('req.paused') : open ? t('live') : t('log.opening')}</span>
      <select class="input" aria-label=${t('log.level')} value=${level} onChange=${(e) => setLevel(e.target.value)} data-testid="log-level">${LEVELS.map((one) => html`<option value=${one} key=${one}>${one}</option>`)}</select>
      <input class="input" type="search" aria-label=${t('log.text')} placeholder=${t('log.text')} value=${text} onInput=${(e) => setText(e.target.value)} data-testid="log-text" />
      <button type="button" class="button" aria-pressed=${String(!paused)} onClick=${() => setPaused(!paused)} data-testid="log-pause"><${Icon} name=${paused ? 'play' : 'pause'} size=${16} />${paused ? t('req.follow') : t('req.pause')}</button>
      <button type="button" class="button quiet" onClick=${() => { setLines([]); setMissed(0); }}>${t('log.clear')}</button></div>
    <div class="loglines" ref=${box} tabindex="0" role="log" aria-label=${t('log.live')} data-testid="log-lines" onScroll=${(e) => { const one = e.currentTarget; atEnd.current = one.scrollHeight - one.scrollTop - one.clientHeight < 24; }}>
      ${lines.length === 0 && html`<span class="soft">${t('log.none')}</span>`}${lines.map((line) => html`<${Line} key=${line.n} line=${line} />`)}</div>
    ${missed > 0 && html`<span class="small warn">${t('log.missed', { n: num(missed) })}</span>`}
  </div>`;
}
