// How far is it, what failed and why?

import { html, useState, useEffect, useRef } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { isAdmin, offers, now } from '../store.js';
import { get, query } from '../api.js';
import { useEvents } from '../events.js';
import { param, setParams } from '../router.js';
import { num, cut, rough } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Mark, Ago, Empty, Failure, Waiting, LiveClock, usePoll, Name } from '../parts/bits.js';
import { JobDrawer } from './job_drawer.js';
import { JobStart } from './job_start.js';

const STATUSES = ['running', 'paused', 'stopping', 'revoking', 'stopped', 'completed', 'failed'];
/** What a job's end is called: one with failures is no success. */
export const standing = (job) => (job.status === 'completed' && job.counts.failed > 0 ? 'faulty' : job.status);
export const isOver = (job) => ['stopped', 'completed', 'failed'].includes(job.status);

/** Done, failed and left out of all, in one bar. */
export function Progress({ job }) {
  const { counts, total } = job;
  const part = (count) => `width:${total ? Math.min(100, (100 * count) / total) : 0}%`;
  const past = counts.done + counts.failed + counts.skipped;
  return html`<div class="meter progressbar" role="progressbar" aria-valuemin="0" aria-valuemax=${total} aria-valuenow=${past} aria-label=${t('job.progress', { n: num(past), of: num(total) })}>
    <i class="ok" style=${part(counts.done - Math.min(counts.done, counts.revoked))}></i><i class="bad" style=${part(counts.failed)}></i><i class="off" style=${part(counts.skipped)}></i></div>`;
}

/** Items a second over the last looks, and the time left by that. */
export function usePace(job) {
  const seen = useRef([]);
  const past = job ? job.counts.done + job.counts.failed + job.counts.skipped : 0;
  useEffect(() => {
    if (!job) return;
    seen.current = [...seen.current.slice(-12), [Date.now(), past]];
  }, [past]);
  if (!job || job.status !== 'running' || seen.current.length < 2) return null;
  const [[from, first]] = seen.current;
  const seconds = (now.value - from) / 1000;
  const pace = seconds > 1 ? (past - first) / seconds : 0;
  return pace > 0 ? { pace, left: ((job.total - past) / pace) * 1000 } : null;
}

function Card({ job, open }) {
  const pace = usePace(job);
  const { counts } = job;
  return html`<li class="card job stack tight" data-testid="job">
    <div class="row wrap"><button type="button" class="open name cut isolate" title=${cut(job.title, 1000)} onClick=${open} data-testid="job-open">${cut(job.title, 80)}</button><${Mark} group="jobstatus" value=${standing(job)} /><span class="grow"></span>
      <span class="small soft">${word('jobkind', job.kind)} · <${Ago} ms=${job.created_ms} /></span></div>
    <${Progress} job=${job} />
    <div class="row wrap small"><span>${t('job.progress', { n: num(counts.done), of: num(job.total) })}</span>
      ${counts.failed > 0 && html`<span class="bad">${t('job.nfailed', { n: num(counts.failed) })}</span>`}
      ${counts.skipped > 0 && html`<span class="soft">${t('job.nskipped', { n: num(counts.skipped) })}</span>`}
      ${counts.revoked > 0 && html`<span class="soft">${t('job.nrevoked', { n: num(counts.revoked) })}</span>`}
      ${pace && html`<span class="soft">${t('job.pace', { n: pace.pace.toFixed(pace.pace < 10 ? 1 : 0), left: rough(pace.left) })}</span>`}
      <span class="grow"></span>${job.node && html`<${Name} text=${job.node} kind="soft" />`}</div>
    ${job.reason && html`<div class="small isolate ${job.status === 'failed' ? 'bad' : 'soft'}">${cut(job.reason, 300)}</div>`}
  </li>`;
}

export function JobsPage() {
  const status = param('status');
  const list = usePoll(() => get(`/jobs${query({ status, limit: 100 })}`), 5000, [status]);
  const [told, setTold] = useState({});
  const live = useEvents(offers('jobs.list') ? '/events?kinds=job' : '', {
    job: (event) => setTold((last) => ({ ...last, [event.id]: event })),
  });
  const known = list.data?.items || [];
  const isNew = Object.keys(told).some((id) => !known.some((job) => job.id === id));
  useEffect(() => { if (isNew && list.data && !status) list.reload(); }, [isNew]);
  useEffect(() => { setTold({}); }, [list.at]);
  const jobs = known.map((job) => (told[job.id] ? { ...job, status: told[job.id].status, reason: told[job.id].reason, counts: told[job.id].counts, node: told[job.id].node } : job));
  const opened = param('open');
  const start = () => setParams({ start: '1' }, { push: true });
  return html`<div class="page" data-ready=${list.data ? 'true' : undefined}>
    <div class="head"><h1>${t('page.jobs')}</h1>${isAdmin() && html`<button type="button" class="button main" onClick=${start} data-testid="job-start"><${Icon} name="plus" size=${16} />${t('job.start')}</button>`}</div>
    <div class="filters"><select class="input" aria-label=${t('job.status')} value=${status} onChange=${(e) => setParams({ status: e.target.value })} data-testid="job-status"><option value="">${t('job.any')}</option>${STATUSES.map((one) => html`<option value=${one} key=${one}>${word('jobstatus', one)}</option>`)}</select>
      <span class="small soft">${live ? html`<${LiveClock} />` : t('job.polled')}</span></div>
    ${list.error && html`<${Failure} error=${list.error} retry=${list.reload} />`}
    ${!list.data && !list.error && html`<${Waiting} />`}
    ${list.data && jobs.length === 0 && (status ? html`<${Empty} title=${t('nothing')}><button type="button" class="button" onClick=${() => setParams({ status: '' })}>${t('reset')}</button><//>`
      : html`<${Empty} title=${t('job.empty')}><p>${t('job.emptyhint')}</p>${isAdmin() && html`<button type="button" class="button main" onClick=${start}>${t('job.start')}</button>`}<code class="box">grok2api job start list.lines=@keys.txt</code><//>`)}
    ${jobs.length > 0 && html`<ul class="joblist" aria-label=${t('page.jobs')}>${jobs.map((job) => html`<${Card} key=${job.id} job=${job} open=${() => setParams({ open: job.id }, { push: true })} />`)}</ul>`}
    ${opened && html`<${JobDrawer} id=${opened} key=${opened} close=${() => setParams({ open: '' })} changed=${list.reload} />`}
    ${param('start') && isAdmin() && html`<${JobStart} close=${() => setParams({ start: '' })} done=${(job) => { list.reload(); setParams({ start: '', open: job.id }); }} />`}
  </div>`;
}
