// The ends of log files, of one node or of all of them.

import { html, useState, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { get, query } from '../api.js';
import { bytes, clock, num, plain } from '../format.js';
import { Failure, Waiting, usePoll } from '../parts/bits.js';

const LEVELS = ['error', 'warn', 'info', 'debug', 'trace'];
const COUNTS = [200, 500, 2000, 5000];
const TONE = { ERROR: 'bad', WARN: 'warn', DEBUG: 'soft', TRACE: 'soft' };
const ID = /(req_[0-9a-f]{32})/;

function Line({ text }) {
  const level = text.match(/\| (ERROR|WARN|INFO|DEBUG|TRACE) +\|/)?.[1];
  return html`<div class=${`logline ${TONE[level] || ''}`}>${text.split(ID).map((part) => (ID.test(part) ? html`<a href=${`/admin/requests?open=${part}`}>${part}</a>` : html`<span class="isolate">${plain(part)}</span>`))}</div>`;
}

export function LogFiles() {
  const [ask, setAsk] = useState({ node: '*', file: '', level: 'info', text: '', lines: 500 });
  const [sought, setSought] = useState('');
  useEffect(() => { const timer = setTimeout(() => setSought(ask.text.trim()), 250); return () => clearTimeout(timer); }, [ask.text]);
  const files = usePoll(() => get('/logs/files'), 15_000);
  const { data, error, reload } = usePoll(() => get(`/logs/tail${query({ node: ask.node, file: ask.file, level: ask.level, text: sought, lines: ask.lines })}`), 0, [ask.node, ask.file, ask.level, sought, ask.lines]);
  const set = (name) => (event) => setAsk({ ...ask, [name]: event.target.value, ...(name === 'node' ? { file: '' } : {}) });
  const nodes = [...new Set((files.data?.files || []).map((file) => file.node).filter(Boolean))];
  const names = (files.data?.files || []).filter((file) => ask.node === '*' || file.node === ask.node);
  const unique = names.filter((file, at) => names.findIndex((other) => other.name === file.name) === at);
  const away = [...new Set([...(files.data?.unanswered || []), ...(data?.unanswered || [])])];
  return html`<div class="stack tight" data-testid="log-files">
    <div class="row wrap filters">
      ${nodes.length > 0 && html`<select class="input" aria-label=${t('cluster.node')} value=${ask.node} onChange=${set('node')} data-testid="logfile-node"><option value="*">${t('log.everynode')}</option>${nodes.map((node) => html`<option key=${node} value=${node}>${node}</option>`)}</select>`}
      <select class="input" aria-label=${t('log.file')} value=${ask.file} onChange=${set('file')} data-testid="logfile-file"><option value="">${t('log.newest')}</option>${unique.map((file) => html`<option key=${file.name} value=${file.name}>${file.name} · ${bytes(file.size_bytes)} · ${clock(file.mtime_ms, true).slice(5, 16)}</option>`)}</select>
      <select class="input" aria-label=${t('log.level')} value=${ask.level} onChange=${set('level')}>${LEVELS.map((one) => html`<option value=${one} key=${one}>${one}</option>`)}</select>
      <select class="input" aria-label=${t('log.lines')} value=${ask.lines} onChange=${set('lines')}>${COUNTS.map((one) => html`<option value=${one} key=${one}>${t('log.nlines', { n: num(one) })}</option>`)}</select>
      <input class="input logtext" type="search" aria-label=${t('log.text')} placeholder=${t('log.text')} value=${ask.text} onInput=${set('text')} data-testid="logfile-text" />
      <button type="button" class="button" onClick=${() => { reload(); files.reload(); }}>${t('log.again')}</button></div>
    ${(error || files.error) && html`<${Failure} error=${error || files.error} retry=${reload} />`}
    ${!data && !error && html`<${Waiting} />`}
    ${data && html`<div class="loglines" tabindex="0" role="region" aria-label=${t('log.files')} data-testid="logfile-lines">${data.lines.length ? data.lines.map((line, at) => html`<${Line} key=${at} text=${line} />`) : html`<span class="soft">${t(data.file || data.node === '*' ? 'nothing' : 'log.nofiles')}</span>`}</div>
      <p class="small soft">${t('log.shown', { n: num(data.lines.length) })}</p>`}
    ${away.length > 0 && html`<p class="small warn">${t('log.unanswered', { nodes: away.join(', ') })}</p>`}</div>`;
}
