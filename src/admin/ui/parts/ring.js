// Who owns which shard: one arc a shard, one colour a node.

import { html } from '../vendor/mod.js';
import { t } from '../i18n.js';

/** A hue by identity, the same at every load. */
function hueOf(text) {
  let hash = 0;
  for (const letter of text || '') hash = (hash * 31 + letter.codePointAt(0)) % 3600;
  return hash % 360;
}

/** A colour for each of these, by identity too, but none so near another's that they are taken for each other. */
export function coloursOf(identities) {
  const all = [...new Set(identities)].sort();
  const apart = Math.min(40, 180 / Math.max(1, all.length));
  const taken = [];
  const near = (hue) => taken.some((other) => Math.abs(((hue - other + 540) % 360) - 180) < apart);
  return Object.fromEntries(all.map((one) => {
    let hue = hueOf(one);
    for (let step = 0; step < 360 && near(hue); step += 1) hue = (hue + 1) % 360;
    taken.push(hue);
    return [one, `oklch(0.66 0.13 ${hue})`];
  }));
}

export function Ring({ shards, nodes, colours }) {
  const names = Object.fromEntries(nodes.map((node) => [node.session, node.node]));
  const count = shards.length || 1;
  const at = (angle, radius) => `${(100 + radius * Math.sin(angle)).toFixed(2)} ${(100 - radius * Math.cos(angle)).toFixed(2)}`;
  const arc = (index) => {
    const gap = count > 1 ? Math.min(0.02, 1 / count) : 0;
    const from = (2 * Math.PI * index) / count + gap / 2;
    const to = (2 * Math.PI * (index + 1)) / count - gap / 2 - 1e-4;
    const large = to - from > Math.PI ? 1 : 0;
    return `M${at(from, 92)}A92 92 0 ${large} 1 ${at(to, 92)}L${at(to, 66)}A66 66 0 ${large} 0 ${at(from, 66)}Z`;
  };
  const owned = shards.filter((shard) => shard.owner).length;
  const owners = [...new Set(shards.map((shard) => shard.owner).filter(Boolean))];
  return html`<svg class="ring" viewBox="0 0 200 200" role="img" aria-label=${t('cluster.ringsays', { owned, total: shards.length })}>
      ${shards.map((shard, index) => html`<path key=${shard.shard} d=${arc(index)} fill=${shard.owner ? colours[shard.owner] : 'var(--off-wash)'} stroke=${shard.named && shard.named !== shard.owner ? 'var(--warn)' : 'none'} stroke-width="2">
        <title>${`${shard.shard}: ${shard.owner ? names[shard.owner] || shard.node || shard.owner : t('cluster.nobody')} · ${shard.grants}`}</title></path>`)}
      <text x="100" y="98" text-anchor="middle" class="ringvalue">${owned}</text><text x="100" y="116" text-anchor="middle" class="ringname">${t('cluster.ofshards', { total: shards.length })}</text></svg>
    <ul class="row wrap small">${owners.map((owner) => html`<li class="row tight" key=${owner}><i class="swatch" style=${{ background: colours[owner] }}></i><span class="isolate">${names[owner] || owner}</span> <span class="soft">${shards.filter((shard) => shard.owner === owner).length}</span></li>`)}</ul>`;
}
