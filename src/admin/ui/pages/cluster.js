// Who decides what, and is the bus well?

import { html, useState } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { isAdmin, toast, now, clockOff, offers } from '../store.js';
import { get, post } from '../api.js';
import { num, duration, rough, short, cut } from '../format.js';
import { Mark, Failure, Waiting, Figure, Empty, usePoll, toastError } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Confirm } from '../parts/float.js';
import { Ring, coloursOf } from '../parts/ring.js';
import { Feed } from './cluster_feed.js';

function Node({ node, shards, colour, drain }) {
  const mine = shards.filter((shard) => shard.owner === node.session);
  const sum = (name) => mine.reduce((total, shard) => total + (shard[name] || 0), 0);
  return html`<article class="card stack node" data-testid="node">
    <div class="row"><i class="swatch" style=${{ background: colour }}></i><h2 class="grow cut isolate" title=${cut(node.node, 300)}>${cut(node.node) || t('cluster.unnamed')}</h2>${node.is_self && html`<span class="chip info">${t('cluster.self')}</span>`}<${Mark} group="node" value=${node.state} /></div>
    <dl class="facts">
      <dt>${t('cluster.shards')}</dt><dd class="end">${num(node.shards?.length ?? mine.length)}</dd>
      <dt>${t('cluster.grants')}</dt><dd class="end">${num(sum('grants'))} <span class="unit">${t('cluster.units', { n: short(sum('outstanding')) })}</span></dd>
      <dt>${t('cluster.inflight')}</dt><dd class="end">${num(node.in_flight)}</dd>
      <dt>${t('cluster.heard')}</dt><dd class="end">${node.is_self ? '–' : t('time.ago', { span: duration(node.heard_ms_ago) })}</dd>
      <dt>${t('cluster.clock')}</dt><dd class=${`end ${Math.abs(node.clock_ahead_ms) > 500 ? 'warn' : ''}`}>${node.is_self ? '–' : `${node.clock_ahead_ms > 0 ? '+' : ''}${num(node.clock_ahead_ms)} ms`}</dd>
      <dt>${t('cluster.uptime')}</dt><dd class="end">${rough(Math.max(0, now.value - node.started_ms))}</dd>
      <dt>${t('cluster.version')}</dt><dd class="end">${node.version}</dd>
      ${node.advertise_url && html`<dt>${t('cluster.url')}</dt><dd class="end mono cut" title=${node.advertise_url}>${node.advertise_url}</dd>`}</dl>
    ${isAdmin() && node.state === 'live' && html`<div class="row end"><button type="button" class="button small" onClick=${() => drain(node)} data-testid="drain">${t('cluster.drain')}</button></div>`}
  </article>`;
}

export function ClusterPage() {
  const offered = offers('cluster.status');
  const { data, error, reload, at } = usePoll(() => (offered ? get('/cluster') : null), 2000, [offered]);
  const storage = usePoll(() => get('/storage'), 0);
  const [asking, setAsking] = useState(null);
  const [busy, begin] = useDeed();
  const absent = !offered;
  const drain = () => begin(async () => {
    try {
      await post('/cluster/drain', { node: asking.session });
      toast(t('cluster.draining', { node: asking.node }), 'info');
      reload();
    } catch (fault) { toastError(fault); } finally { setAsking(null); }
  });
  const alone = storage.data?.type === 'local';
  const shards = data?.shards || [];
  const colours = coloursOf([...(data?.nodes || []).map((node) => node.session), ...shards.map((shard) => shard.owner).filter(Boolean)]);
  const owned = shards.filter((shard) => shard.owner).length;
  const moving = shards.filter((shard) => shard.owner && shard.named && shard.named !== shard.owner).length;
  return html`<div class="page reading" data-ready=${(data || absent) && storage.data ? 'true' : undefined}>
    <div class="head"><h1>${t('page.cluster')}</h1>${data && error && html`<span class="chip warn">${t('stale', { span: rough(Math.max(0, now.value - clockOff.value - at)) })}</span>`}</div>
    ${error && !absent && html`<${Failure} error=${error} retry=${reload} />`}
    ${!data && !error && !absent && html`<${Waiting} />`}
    ${absent && storage.data && html`<${Empty} title=${t('cluster.absent')}><p>${alone ? t('cluster.absentalone') : t('cluster.absenthint')}</p><//>`}
    ${data && alone && html`<div class="box"><strong>${t('cluster.alone')}</strong> <span class="soft">${t('cluster.alonehint')}</span></div>`}
    ${data && html`
      <div class="cards">
        <${Figure} name=${t('cluster.nodes')} value=${`${data.nodes.filter((node) => node.state === 'live').length}`} unit=${`/ ${data.nodes.length}`} tone=${data.nodes.some((node) => node.state === 'silent' || node.state === 'clock_off') ? 'warn' : ''} note=${t('cluster.nodesnote')} />
        <${Figure} name=${t('cluster.owned')} value=${num(owned)} unit=${`/ ${num(shards.length)}`} tone=${owned < shards.length ? 'warn' : ''} note=${moving ? t('cluster.moving', { n: moving }) : ''} />
        <${Figure} name=${t('cluster.grants')} value=${num(shards.reduce((sum, shard) => sum + shard.grants, 0))} note=${t('cluster.units', { n: short(shards.reduce((sum, shard) => sum + shard.outstanding, 0)) })} />
        <${Figure} name=${t('cluster.bus')} value=${data.bus.connected ? (data.bus.latency_us === null ? '–' : duration(data.bus.latency_us / 1000)) : t('cluster.cut')} tone=${data.bus.connected && data.bus.lag_ms < 1500 ? '' : 'bad'} note=${word('buskind', data.bus.kind)} />
        <${Figure} name=${t('cluster.asked')} value=${short(data.bus.requests)} note=${t('cluster.lost', { n: num(data.bus.requests_lost), spooled: num(data.bus.spooled) })} tone=${data.bus.spooled > 1000 ? 'warn' : ''} /></div>
      <div class="clusterview"><section class="card stack"><h2>${t('cluster.ring')}</h2><${Ring} shards=${shards} nodes=${data.nodes} colours=${colours} /></section>
        <div class="nodes">${data.nodes.map((node) => html`<${Node} key=${node.session} node=${node} shards=${shards} colour=${colours[node.session]} drain=${setAsking} />`)}</div></div>
      <${Feed} nodes=${data.nodes} shards=${shards} />`}
    ${asking && html`<${Confirm} title=${t('cluster.draintitle', { node: asking.node })} action=${t('cluster.drain')} busy=${busy} close=${() => setAsking(null)} run=${drain}><p>${t('cluster.drainwhat', { n: num(asking.shards?.length || 0) })}</p>${asking.is_self && html`<p class="warn">${t('cluster.drainself')}</p>`}<//>`}
  </div>`;
}
