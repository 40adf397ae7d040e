// Credentials come in: pasted, or as a file. Every line that was not taken is told, with the reason.

import { html, useState, useMemo } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { handedOn } from '../store.js';
import { admin, query } from '../api.js';
import { navigate } from '../router.js';
import { num, cut } from '../format.js';
import { Field, Failure } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Dialog } from '../parts/float.js';

const SHOWN = 300;
/** A list that takes long enough for somebody to want to see how far it is. */
const MANY = 2000;
const counted = (text) => text.split('\n').filter((line) => line.trim() && !line.trim().startsWith('#')).length;

function Report({ report }) {
  const problems = report.lines.filter((line) => line.result !== 'added');
  const invalid = problems.filter((line) => line.result === 'invalid');
  const asText = () => URL.createObjectURL(new Blob([invalid.map((line) => `${line.line}\t${line.reason || ''}\n`).join('')], { type: 'text/plain' }));
  return html`<div class="stack" data-testid="import-report" role="status">
    <div class="row wrap"><span class="chip ok">${t('import.n.added', { n: num(report.added) })}</span><span class="chip">${t('import.n.existing', { n: num(report.existing) })}</span><span class=${`chip ${report.invalid ? 'bad' : ''}`}>${t('import.n.invalid', { n: num(report.invalid) })}</span>
      ${invalid.length > 0 && html`<a class="small" href=${asText()} download="grok2api-import-faults.txt">${t('import.save')}</a>`}</div>
    ${problems.length > 0 && html`<div class="over report"><table class="plain"><thead><tr><th class="end">${t('import.line')}</th><th>${t('import.what')}</th><th>${t('import.why')}</th></tr></thead><tbody>
      ${[...invalid, ...problems.filter((line) => line.result === 'existing')].slice(0, SHOWN).map((line) => html`<tr key=${line.line}><td class="end">${num(line.line)}</td><td>${word('import', line.result)}</td><td class="isolate">${cut(line.reason || line.token, 200)}</td></tr>`)}</tbody></table></div>
      ${problems.length > SHOWN && html`<p class="small soft">${t('import.more', { n: num(problems.length - SHOWN) })}</p>`}`}
  </div>`;
}

export function TokenAdd({ close, done }) {
  const [text, setText] = useState('');
  const [{ file, inFile }, setChosen] = useState({ file: null, inFile: '' });
  const [pool, setPool] = useState('');
  const [busy, begin] = useDeed();
  const [fault, setFault] = useState(null);
  const [report, setReport] = useState(null);
  const lines = counted(text);
  const many = useMemo(() => (file ? counted(inFile) : 0), [inFile]) || lines;
  const choose = async (one) => {
    setChosen({ file: one || null, inFile: '' });
    // A file that cannot be read says so when it is added.
    const text = await one?.text().catch(() => '');
    if (text) setChosen((now) => (now.file === one ? { file: one, inFile: text } : now));
  };
  const take = async () => {
    setFault(null);
    setReport(null);
    try {
      setReport(await admin('POST', `/tokens/import${query({ pool })}`, file || text, { type: 'text/plain' }));
      setText('');
      choose(null);
      done();
    } catch (error) { setFault(error); }
  };
  const submit = (event) => {
    event.preventDefault();
    if (file || lines) begin(take);
  };
  const asJob = () => { handedOn.value = { lines: file ? inFile : text, pool }; navigate('/admin/jobs?start=1'); };
  const drop = (event) => { event.preventDefault(); const one = event.dataTransfer?.files?.[0]; if (one) choose(one); };
  return html`<${Dialog} title=${t('token.add')} close=${close} busy=${busy} wide testid="token-add" footer=${html`
      <button type="button" class="button" onClick=${close} disabled=${busy}>${report ? t('close') : t('cancel')}</button>
      <button type="submit" form="token-add" class="button main" disabled=${busy || (!file && !lines)} data-testid="import-go">${busy ? t('working') : file ? t('import.gofile') : lines ? t('import.go', { n: num(lines) }) : t('token.add')}</button>`}>
    <form id="token-add" class="stack" onSubmit=${submit} onDragOver=${(e) => e.preventDefault()} onDrop=${drop}>
      ${file ? html`<div class="box row"><span class="grow cut isolate">${file.name}</span><span class="soft">${num(file.size)} B</span><button type="button" class="button small" onClick=${() => choose(null)}>${t('remove')}</button></div>`
        : html`<${Field} label=${t('import.paste')} hint=${t('import.hint')} control=${(about) => html`<textarea class="input mono" ...${about} rows="7" spellcheck=${false} autocomplete="off" placeholder="xai-…" value=${text} onInput=${(e) => setText(e.target.value)} data-testid="import-text"></textarea>`} />`}
      <div class="pair">
        <${Field} label=${t('token.pool')} control=${(about) => html`<select class="input" ...${about} value=${pool} onChange=${(e) => setPool(e.target.value)}><option value="">${t('import.bylook')}</option>${['apiKey', 'ssoBasic', 'ssoSuper'].map((one) => html`<option value=${one}>${word('pool', one)}</option>`)}</select>`} />
        <${Field} label=${t('import.file')} control=${(about) => html`<input class="input" type="file" ...${about} accept=".txt,.csv,.json,.jsonl,.ndjson,text/plain" onChange=${(e) => choose(e.target.files[0])} />`} />
      </div>
    </form>
    ${many > MANY && html`<p class="box row wrap" role="status" data-testid="import-many"><span class="grow">${t('import.many', { n: num(many) })}</span>${!busy && html`<button type="button" class="button small" onClick=${asJob} data-testid="many-to-job">${t('import.asjob')}</button>`}</p>`}
    <p class="small soft">${t('import.orjob')} <a href="/admin/jobs?start=1" data-testid="to-job">${t('job.start')}</a></p>
    ${fault && html`<${Failure} error=${fault} />`}
    ${report && html`<${Report} report=${report} />`}
  <//>`;
}
