// What happens in the pool and among the nodes while somebody looks: rests of credentials with their causes, and shards that
// change hands.

import { html, useState, useEffect, useRef } from '../vendor/mod.js';
import { t, word } from '../i18n.js';
import { useEvents } from '../events.js';
import { num, cut, clock } from '../format.js';
import { Left, Name } from '../parts/bits.js';

const KEPT = 100;
const TONE = { cooled: 'warn', exhausted: 'bad', expired: 'bad', recovered: 'ok', added: 'ok', disabled: 'off', deleted: 'off' };

export function Feed({ nodes, shards }) {
  const [items, setItems] = useState([]);
  const number = useRef(0);
  const owners = useRef(null);
  const tell = (made) => setItems((last) => [...made.map((one) => ({ ...one, n: (number.current += 1), at: Date.now() })).reverse(), ...last].slice(0, KEPT));
  const open = useEvents('/events?kinds=token', { token: (event) => tell([{ kind: 'token', event }]) });
  const name = (session) => nodes.find((node) => node.session === session)?.node || session.slice(0, 12);
  const now = JSON.stringify(shards.map((shard) => shard.owner || ''));
  useEffect(() => {
    const before = owners.current;
    owners.current = shards.map((shard) => shard.owner || '');
    if (!before || before.length !== shards.length) return;
    const moved = shards.filter((shard, at) => before[at] !== (shard.owner || '')).map((shard) => ({ kind: 'shard', shard: shard.shard, to: shard.owner ? name(shard.owner) : '' }));
    if (moved.length) tell(moved);
  }, [now]);
  const line = (one) => {
    if (one.kind === 'shard') return html`<span class="mark info">${t('feed.shard', { n: one.shard })}</span> <span class="isolate">${one.to ? t('feed.to', { node: one.to }) : t('cluster.nobody')}</span>`;
    const { event } = one;
    const many = event.count > 1;
    return html`<span class=${`mark ${TONE[event.event] || 'off'}`}>${word('happened', event.event)}</span>
      ${many ? html`<span>${t('token.count', { n: num(event.count) })}</span>` : html`<a class="mono" href=${`/admin/token?open=${event.id}`}>${event.masked}</a>`}
      ${event.model && html`<${Name} text=${event.model} most=${60} />`}${event.cause && html`<span>${word('cause', event.cause)}</span>`}
      ${event.until_ms && html`<span class="soft"><${Left} ms=${event.until_ms} /></span>`}${nodes.length > 1 && html`<span class="soft isolate">${cut(name(event.node), 40)}</span>`}`;
  };
  return html`<section class="card stack" data-testid="feed"><div class="row"><h2 class="grow">${t('feed.title')}</h2><span class="small soft">${open ? t('live') : t('log.opening')}</span></div>
    ${items.length ? html`<ul class="feed" role="log" aria-label=${t('feed.title')} tabindex="0">${items.map((one) => html`<li key=${one.n} class="row wrap small"><time class="soft">${clock(one.at)}</time>${line(one)}</li>`)}</ul>` : html`<p class="soft small">${t('feed.none')}</p>`}</section>`;
}
