// One request: where its time went, who served it, who did not and why.

import { html } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { get } from '../api.js';
import { num, cut, clock, duration, bytes, ticks } from '../format.js';
import { Mark, Failure, Waiting, Copy, usePoll, TONE, Name } from '../parts/bits.js';
import { Drawer } from '../parts/float.js';

/** One lane for the gateway, one an attempt, over one axis of time. */
function Timeline({ record }) {
  const total = Math.max(1, record.timing.total_ms, ...record.attempts.map((one) => one.started_ms + one.took_ms));
  const place = (from, took) => ({ left: `${Math.min(99.4, (100 * from) / total)}%`, width: `max(3px, ${(100 * took) / total}%)` });
  const last = record.attempts.at(-1);
  // An attempt ends for the engine when its answer begins to flow; the stream goes on to the end of the request.
  const streamed = last?.outcome === 'success' || last?.outcome === 'client_gone' ? Math.max(0, total - last.started_ms - last.took_ms) : 0;
  const firstByte = record.timing.upstream_first_byte_ms;
  return html`<figure class="timeline" role="img" aria-label=${t('req.timeline')}>
    ${record.timing.queue_ms > 0 && html`<div class="lane"><span>${t('req.waited')}</span><div class="track"><i class="wait-part" style=${place(0, record.timing.queue_ms)}></i></div><span class="end">${duration(record.timing.queue_ms)}</span></div>`}
    ${record.attempts.map((one, at) => html`<div class="lane" key=${at}><span class="cut" title=${one.token}><span class="not-phone">${t('req.attempt', { n: at + 1 })}</span><span class="only-phone">#${at + 1}</span></span>
      <div class="track"><i class=${TONE[one.outcome]} style=${place(one.started_ms, one.took_ms)}></i>
        ${one === last && streamed > 0 && html`<i class=${`stream-part ${TONE[one.outcome]}`} style=${place(one.started_ms + one.took_ms, streamed)} title=${t('req.stream')}></i>`}
        ${one === last && firstByte !== null && html`<b style=${{ left: `${Math.min(99.6, (100 * (one.started_ms + firstByte)) / total)}%` }} title=${`${t('req.firstbyte')} ${duration(firstByte)}`}></b>`}</div>
      <span class="end">${duration(one.took_ms + (one === last ? streamed : 0))}</span></div>`)}
    <figcaption class="lane small soft"><span>${t('req.axis')}</span><span class="row"><span class="grow">0</span>${last && firstByte !== null && html`<span>▏${t('req.firstbyte')} ${duration(last.started_ms + firstByte)}</span>`}<span class="grow end">${duration(total)}</span></span><span></span></figcaption>
  </figure>`;
}

export function RequestDrawer({ id, close }) {
  const { data: record, error, reload } = usePoll(() => get(`/requests/${encodeURIComponent(id)}`), 0, [id]);
  return html`<${Drawer} title=${record ? `${clock(record.time_ms, true)} · ${cut(record.model, 40)}` : t('req.one')} close=${close} wide testid="request-drawer">
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${!record && !error && html`<${Waiting} />`}
    ${record && html`
      <section class="stack"><div class="row wrap"><${Mark} group="outcome" value=${record.outcome} /><span class="mono">${record.status}</span>${record.error_code && html`<code class="chip">${record.error_code}</code>`}<span class="grow"></span><code class="small cut">${record.id}</code><${Copy} text=${record.id} /></div>
        ${record.error_message && html`<div class="box bad isolate">${cut(record.error_message, 1200)}</div>`}
        <${Timeline} record=${record} /></section>
      ${record.attempts.length > 0 && html`<section class="stack"><h2>${t('req.attempts')}</h2><div class="over"><table class="plain"><thead><tr><th>#</th><th>${t('req.token')}</th><th>${t('req.outcome')}</th><th class="end">${t('req.status')}</th><th class="end">${t('req.took')}</th></tr></thead><tbody>
        ${record.attempts.map((one, at) => html`<tr key=${at}><td>${at + 1}</td><td><a class="mono" href=${`/admin/token?open=${one.token_id}`}>${one.token}</a><div class="sub team">${one.team && html`<${Name} text=${one.team} kind="mono" />`}</div></td>
          <td><${Mark} group="outcome" value=${one.outcome} />${one.message && html`<div class="sub isolate">${cut(one.message, 300)}</div>`}</td><td class="end">${one.status ?? '–'}</td><td class="end">${duration(one.took_ms)}</td></tr>`)}</tbody></table></div></section>`}
      <section class="stack"><h2>${t('req.candidates')} <span class="unit">${num(record.candidates.length + record.candidates_left_out)}</span></h2>
        ${record.candidates.length === 0 ? html`<p class="soft">${t('req.nocandidates')}</p>` : html`<div class="over"><table class="plain"><thead><tr><th>${t('req.token')}</th><th>${t('req.reason')}</th><th>${t('req.detail')}</th></tr></thead><tbody>
        ${record.candidates.map((one, at) => html`<tr key=${at}><td><a class="mono" href=${`/admin/token?open=${one.token_id}`}>${one.token}</a></td><td class=${one.reason === 'chosen' ? 'ok strong' : ''}>${word('passed', one.reason)}</td><td class="soft isolate">${cut(one.detail, 200)}</td></tr>`)}</tbody></table></div>`}
        ${record.candidates_left_out > 0 && html`<p class="small soft">${t('req.leftout', { n: num(record.candidates_left_out) })}</p>`}</section>
      <div class="two"><section class="stack"><h2>${t('req.usage')}</h2><dl class="facts">
          ${['prompt_tokens', 'cached_tokens', 'completion_tokens', 'reasoning_tokens', 'total_tokens'].map((name) => html`<dt key=${name}>${t(`usage.${name}`)}</dt><dd class="end">${num(record.usage[name])}</dd>`)}
          <dt>${t('req.cost')}</dt><dd class="end">${ticks(record.cost_ticks)}${record.presumed ? html` <span class="chip warn">${t('req.presumed')}</span>` : ''}</dd></dl></section>
        <section class="stack"><h2>${t('req.times')}</h2><dl class="facts">
          <dt>${t('req.waited')}</dt><dd class="end">${duration(record.timing.queue_ms)}</dd>
          <dt>${t('req.firstbyte')}</dt><dd class="end">${duration(record.timing.upstream_first_byte_ms)}</dd>
          <dt>${t('req.total')}</dt><dd class="end">${duration(record.timing.total_ms)}</dd>
          <dt>${t('req.overhead')}</dt><dd class="end">${duration(record.timing.overhead_us / 1000)}</dd></dl></section></div>
      <section class="stack"><h2>${t('req.client')}</h2><dl class="facts">
        <dt>${t('req.key')}</dt><dd class="isolate">${record.key_id ? html`<a href=${`/admin/keys?open=${record.key_id}`}><${Name} text=${record.key_name} /></a>` : record.key_name ? html`<${Name} text=${record.key_name} />` : t('req.nokey')}</dd>
        <dt>${t('req.route')}</dt><dd><code>${record.route}</code>${record.stream ? html` <span class="chip">${t('req.stream')}</span>` : ''}</dd>
        <dt>${t('req.model')}</dt><dd><${Name} text=${record.model} />${record.upstream_model && record.upstream_model !== record.model && html` → <${Name} text=${record.upstream_model} />`}</dd>
        <dt>${t('req.address')}</dt><dd class="mono">${record.client_ip}</dd>
        ${record.node && html`<dt>${t('cluster.node')}</dt><dd><${Name} text=${record.node} /></dd>`}
        <dt>${t('req.bytes')}</dt><dd>${bytes(record.bytes_in)} ↑ · ${bytes(record.bytes_out)} ↓</dd></dl></section>`}
  <//>`;
}
