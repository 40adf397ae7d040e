// One job: how far it is, why items failed, what can be done about it.

import { html, useState, useEffect } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { isAdmin, toast } from '../store.js';
import { get, post, query } from '../api.js';
import { useEvents } from '../events.js';
import { num, cut, duration, clock, rough } from '../format.js';
import { Mark, Failure, Waiting, usePoll, toastError, Name } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Drawer, Confirm } from '../parts/float.js';
import { Progress, usePace, isOver, standing } from './jobs.js';

const STATES = ['failed', 'done', 'pending', 'skipped', 'revoked'];
const SHOWN = 100;

function Items({ id, at, counts }) {
  const [state, setState] = useState(counts.failed ? 'failed' : '');
  const { data, error, reload } = usePoll(() => get(`/jobs/${id}${query({ state: state === 'pending' ? 'pending,obtaining,obtained' : state, limit: SHOWN })}`), 0, [id, state, at]);
  return html`<section class="stack tight"><div class="row wrap"><h3 class="grow">${t('job.items')}</h3>
      <select class="input" aria-label=${t('job.items')} value=${state} onChange=${(e) => setState(e.target.value)} data-testid="job-items-state"><option value="">${t('job.allitems')}</option>${STATES.map((one) => html`<option value=${one} key=${one}>${word('itemstate', one)}</option>`)}</select></div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${data?.items.length === 0 && html`<p class="small soft">${t('nothing')}</p>`}
    ${data?.items.length > 0 && html`<div class="over report" tabindex="0" role="region" aria-label=${t('job.items')}><table class="plain" data-testid="job-items"><thead><tr><th class="end">${t('import.line')}</th><th>${t('token.state')}</th><th>${t('token.token')}</th><th>${t('import.why')}</th></tr></thead><tbody>
      ${data.items.map((item) => html`<tr key=${item.index}><td class="end">${num(item.line)}</td><td class="whole">${word('itemstate', item.state)}${item.tries > 0 && html` <span class="soft">×${item.tries}</span>`}</td>
        <td class="isolate whole">${item.token_id ? html`<a class="mono" href=${`/admin/token?open=${item.token_id}`}>${item.token || t('job.token')}</a>` : html`<span class="mono">${item.token}</span>`} ${item.name && html`<div class="sub"><${Name} text=${item.name} kind="named" /></div>`}</td>
        <td class="isolate">${item.step && html`<span class="chip">${word('jobstep', item.step)}</span> `}${cut(item.reason, 300)}</td></tr>`)}</tbody></table></div>
      ${data.next_cursor !== null && html`<p class="small soft">${t('job.first', { n: SHOWN })}</p>`}`}
  </section>`;
}

export function JobDrawer({ id, close, changed }) {
  const { data, error, reload } = usePoll(() => get(`/jobs/${id}?limit=0`), 5000, [id]);
  const [told, setTold] = useState(null);
  const [asking, setAsking] = useState('');
  const [busy, begin] = useDeed();
  useEvents('/events?kinds=job', { job: (event) => { if (event.id === id) setTold(event); } }, [id]);
  useEffect(() => { setTold(null); }, [data]);
  const job = data && { ...data.job, ...(told ? { status: told.status, reason: told.reason, counts: told.counts, node: told.node } : {}) };
  const pace = usePace(job);
  const act = (verb, body, words) => begin(async () => {
    try { await post(`/jobs/${id}/${verb}`, body); toast(words); setAsking(''); reload(); changed(); } catch (fault) { toastError(fault); }
  });
  if (!job) return html`<${Drawer} title=${t('job.one')} close=${close} wide testid="job-drawer">${error ? html`<${Failure} error=${error} retry=${reload} />` : html`<${Waiting} />`}<//>`;
  const over = isOver(job);
  const retries = job.counts.failed > 0 && (over || job.status === 'paused' || job.status === 'running');
  const footer = isAdmin() && html`
    ${job.status === 'running' && html`<button type="button" class="button" disabled=${busy} onClick=${() => act('pause', {}, t('job.paused'))} data-testid="job-pause">${t('job.pause')}</button>`}
    ${(job.status === 'paused' || job.status === 'stopped' || job.status === 'failed') && html`<button type="button" class="button main" disabled=${busy} onClick=${() => act('resume', {}, t('job.resumed'))} data-testid="job-resume">${t('job.resume')}</button>`}
    ${retries && html`<button type="button" class="button" disabled=${busy} onClick=${() => act('resume', { failed: true }, t('job.retried'))} data-testid="job-retry">${t('job.retry', { n: num(job.counts.failed) })}</button>`}
    ${!over && job.status !== 'revoking' && html`<button type="button" class="button" disabled=${busy} onClick=${() => setAsking('stop')} data-testid="job-stop">${t('job.stop')}</button>`}
    ${job.can_revoke && job.counts.done + job.counts.failed > job.counts.revoked && html`<button type="button" class="button bad" disabled=${busy} onClick=${() => setAsking('revoke')} data-testid="job-revoke">${t('job.revoke')}</button>`}`;
  return html`<${Drawer} title=${cut(job.title, 80)} close=${close} wide testid="job-drawer" footer=${footer || undefined}>
    <section class="stack tight"><div class="row wrap"><${Mark} group="jobstatus" value=${standing(job)} /><span>${t('job.progress', { n: num(job.counts.done), of: num(job.total) })}</span>${pace && html`<span class="soft">${t('job.pace', { n: pace.pace.toFixed(pace.pace < 10 ? 1 : 0), left: rough(pace.left) })}</span>`}</div>
      <${Progress} job=${job} />
      ${job.reason && html`<div class="box ${job.status === 'failed' ? 'bad' : ''} isolate" role=${job.status === 'failed' ? 'alert' : undefined}>${cut(job.reason, 300)}</div>`}</section>
    <dl class="facts"><dt>${t('job.kind')}</dt><dd>${word('jobkind', job.kind)}${job.action ? ` · ${word('job.action', job.action)}` : ''}</dd><dt>${t('job.result')}</dt><dd>${t('job.results', { added: num(job.counts.added), existing: num(job.counts.existing), failed: num(job.counts.failed), skipped: num(job.counts.skipped) })}${job.counts.revoked > 0 ? ` · ${t('job.nrevoked', { n: num(job.counts.revoked) })}` : ''}</dd>
      <dt>${t('job.errors')}</dt><dd>${t('job.errorsof', { n: num(job.counts.errors), of: num(job.max_errors) })}</dd><dt>${t('job.ran')}</dt><dd>${duration(job.ran_ms)}${job.max_runtime_ms ? ` · ${t('job.atmost', { span: rough(job.max_runtime_ms) })}` : ''}</dd>
      <dt>${t('job.by')}</dt><dd class="isolate"><${Name} text=${job.created_by} />, ${clock(job.created_ms, true)}</dd>${job.node && html`<dt>${t('cluster.node')}</dt><dd><${Name} text=${job.node} /></dd>`}${job.epoch > 1 && html`<dt>${t('job.owners')}</dt><dd>${job.epoch}</dd>`}</dl>
    ${job.counts.reasons.length > 0 && html`<section class="stack tight"><h3>${t('job.reasons')}</h3><ul class="reasons" data-testid="job-reasons">${job.counts.reasons.map((one) => html`<li class="row" key=${one.step + one.reason}><strong>${num(one.items)}</strong><span class="chip">${word('jobstep', one.step)}</span><span class="isolate">${cut(one.reason, 300)}</span></li>`)}</ul></section>`}
    <${Items} id=${id} at=${`${job.counts.done}/${job.counts.failed}/${job.status}`} counts=${job.counts} />
    ${asking === 'stop' && html`<${Confirm} title=${t('job.stoptitle')} action=${t('job.stop')} busy=${busy} close=${() => setAsking('')} run=${() => act('stop', {}, t('job.stopped'))}><p>${t('job.stopwhat')}</p><//>`}
    ${asking === 'revoke' && html`<${Confirm} title=${t('job.revoketitle')} action=${t('job.revoke')} busy=${busy} close=${() => setAsking('')} run=${() => act('stop', { revoke: true }, t('job.revoking'))}><p>${t('job.revokewhat', { n: num(job.counts.done) })}</p><//>`}
  <//>`;
}
