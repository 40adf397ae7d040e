// Files that a provider keeps for the teams whose tokens are here: looked up when somebody asks, team by team.

import { html, useState, useRef, useMemo, useEffect } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { isAdmin, toast } from '../store.js';
import { get, post, query } from '../api.js';
import { num, cut, bytes } from '../format.js';
import { Icon } from '../parts/icons.js';
import { Ago, Left, Empty, Failure, Name, toastError } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Confirm } from '../parts/float.js';
import { Table } from '../parts/table.js';

const TEAMS = 1000;
/** Files that one call deletes. */
const PIECE = 100;
/** Files that are held; who has more deletes some first. */
const MOST = 50_000;

const columns = (chosen, toggle, all) => [
  { name: 'choose', width: '20px', label: html`<input type="checkbox" aria-label=${t('online.chooseall')} checked=${all.checked} indeterminate=${all.some} onChange=${all.toggle} data-testid="online-all" />`, cell: (file) => html`<input type="checkbox" aria-label=${`${t('token.choose')} ${file.name}`} checked=${chosen.has(file.id)} onChange=${() => toggle(file.id)} />` },
  { name: 'name', width: 'minmax(180px, 2fr)', label: t('cache.name'), cell: (file) => html`<div>${file.name ? html`<${Name} text=${file.name} />` : '–'}</div><div class="sub cut mono">${file.id}</div>` },
  { name: 'team', width: 'minmax(120px, 1fr)', label: t('token.team'), cell: (file) => html`<${Name} text=${file.team} kind="mono" />` },
  { name: 'owner', width: 'minmax(110px, 1fr)', label: t('online.owner'), cell: (file) => (file.owner ? html`<${Name} text=${file.owner} kind="mono" />` : html`<span class="soft">${t('online.elsewhere')}</span>`) },
  { name: 'size', width: '90px', end: true, label: t('cache.size'), cell: (file) => bytes(file.size_bytes) },
  { name: 'came', width: '100px', end: true, label: t('cache.came'), cell: (file) => html`<${Ago} ms=${file.created_ms} />` },
  { name: 'ends', width: '100px', end: true, label: t('online.ends'), cell: (file) => (file.expires_ms ? html`<${Left} ms=${file.expires_ms} />` : html`<span class="soft">${t('online.never')}</span>`) },
];

let lastStamp = 0;

export function Online({ kinds }) {
  const [files, setFiles] = useState([]);
  const [at, setAt] = useState(null);
  const [looked, setLooked] = useState(null);
  const [faults, setFaults] = useState([]);
  const [fault, setFault] = useState(null);
  const [chosen, setChosen] = useState(new Set());
  const [text, setText] = useState('');
  const [asking, setAsking] = useState(false);
  const [, begin] = useDeed();
  const stop = useRef(false);
  useEffect(() => () => { stop.current = true; }, []);

  const lookUp = async () => {
    stop.current = false;
    setFault(null);
    setFaults([]);
    setChosen(new Set());
    setLooked(null);
    const found = [];
    const wrong = [];
    let done = 0;
    let teams = [];
    setAt({ what: 'look', done, of: 0 });
    try {
      let cursor = '';
      let without = 0;
      do {
        const page = await get(`/cache/online${query({ limit: TEAMS, cursor })}`);
        teams = teams.concat(page.teams);
        without = page.without_team;
        cursor = page.next_cursor || '';
      } while (cursor && !stop.current);
      for (const { team } of teams) {
        if (stop.current || found.length >= MOST) break;
        setAt({ what: 'look', done, of: teams.length });
        try {
          let after = '';
          do {
            const page = await get(`/cache/online${query({ team, cursor: after })}`);
            found.push(...page.files.map((file) => ({ ...file, team })));
            setFiles([...found]);
            after = page.next_cursor || '';
          } while (after && !stop.current && found.length < MOST);
        } catch (error) {
          if (error.unreachable || error.status === 401) throw error;
          wrong.push({ team, error });
          setFaults([...wrong]);
        }
        done += 1;
      }
      setFiles(found);
      setLooked({ teams: done, of: teams.length, without });
    } catch (error) { setFault(error); } finally { setAt(null); }
  };
  const look = () => begin(lookUp);

  const drop = async () => {
    setAsking(false);
    stop.current = false;
    const going = files.filter((file) => chosen.has(file.id));
    const gone = new Set();
    const left = [];
    setAt({ what: 'delete', done: 0, of: going.length });
    try {
      let done = 0;
      for (const team of new Set(going.map((file) => file.team))) {
        const ids = going.filter((file) => file.team === team).map((file) => file.id);
        for (let from = 0; from < ids.length && !stop.current; from += PIECE) {
          const piece = ids.slice(from, from + PIECE);
          const { results } = await post('/cache/online/delete', { team, ids: piece });
          for (const result of results) {
            if (result.reason) left.push({ team, error: { message: result.reason } });
            else gone.add(result.id);
          }
          done += piece.length;
          setAt({ what: 'delete', done, of: going.length });
        }
      }
      toast(t('online.deleted', { n: num(gone.size) }), left.length ? 'bad' : 'ok');
    } catch (error) { toastError(error); } finally {
      setFaults(left);
      setFiles((all) => all.filter((file) => !gone.has(file.id)));
      setChosen((all) => new Set([...all].filter((id) => !gone.has(id))));
      setAt(null);
    }
  };

  const shown = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    return wanted ? files.filter((file) => `${file.name}\n${file.team}\n${file.id}`.toLowerCase().includes(wanted)) : files;
  }, [files, text]);
  const stamp = useMemo(() => { lastStamp += 1; return lastStamp; }, [chosen]);
  const toggle = (id) => { const next = new Set(chosen); if (!next.delete(id)) next.add(id); setChosen(next); };
  const all = {
    checked: shown.length > 0 && shown.every((file) => chosen.has(file.id)),
    some: chosen.size > 0 && !shown.every((file) => chosen.has(file.id)),
    toggle: (event) => setChosen(event.target.checked ? new Set([...chosen, ...shown.map((file) => file.id)]) : new Set()),
  };
  const sum = files.reduce((size, file) => size + file.size_bytes, 0);
  return html`<div class="page" data-ready="true">
    <div class="head"><h1>${t('page.cache')}</h1></div>
    <div class="filters">${kinds}
      ${looked && html`<label class="search"><span class="hidden-text">${t('online.search')}</span><${Icon} name="search" size=${16} /><input class="input" type="search" data-search placeholder=${t('online.search')} value=${text} onInput=${(e) => setText(e.target.value)} /></label>`}
      <span class="grow"></span>
      ${isAdmin() && chosen.size > 0 && !at && html`<button type="button" class="button small bad" onClick=${() => setAsking(true)} data-testid="online-delete"><${Icon} name="trash" size=${15} />${t('online.delete', { n: num(chosen.size) })}</button>`}
      ${looked && !at && html`<button type="button" class="button small" onClick=${look} data-testid="online-again">${t('online.again')}</button>`}</div>
    ${at && html`<div class="row wrap box" role="status" data-testid="online-progress"><span>${t(at.what === 'look' ? 'online.looking' : 'online.deleting', { n: num(at.done), of: num(at.of), files: num(files.length) })}</span><progress class="grow" max=${at.of || 1} value=${at.done} aria-label=${t('working')} />
      <button type="button" class="button small" onClick=${() => { stop.current = true; }}>${t('stop')}</button></div>`}
    ${fault && html`<${Failure} error=${fault} retry=${look} />`}
    ${faults.length > 0 && html`<div class="box bad stack tight" role="alert"><strong>${t('online.faults', { n: num(faults.length) })}</strong>${faults.slice(0, 5).map((one) => html`<span class="small isolate"><span class="mono">${cut(one.team, 60)}</span> ${cut(one.error.message, 300)}</span>`)}</div>`}
    ${!looked && !at && !fault && html`<${Empty} title=${t('online.title')}><p>${t('online.about')}</p><button type="button" class="button main" onClick=${look} data-testid="online-go">${t('online.go')}</button><//>`}
    ${looked && !at && files.length === 0 && !faults.length && html`<${Empty} title=${t(looked.of ? 'online.none' : 'online.noteams')}><p>${t('online.nonehint')}</p><//>`}
    ${files.length > 0 && html`<${Table} testid="online-list" label=${t('online.title')} columns=${columns(chosen, toggle, all)} total=${shown.length} rowAt=${(n) => shown[n]} idOf=${(file) => file.id} minWidth="860px" above=${330} stamp=${stamp}
      foot=${html`<span data-testid="online-count">${t('online.count', { n: num(shown.length), size: bytes(sum) })}</span>${looked && html`<span>${t('online.lookedat', { n: num(looked.teams), of: num(looked.of) })}</span>`}`} />`}
    ${looked?.without > 0 && html`<p class="small soft">${t('online.without', { n: num(looked.without) })}</p>`}
    ${asking && html`<${Confirm} title=${t('online.deletetitle')} action=${t('delete')} close=${() => setAsking(false)} run=${() => begin(drop)}><p>${t('online.deletewhat', { n: num(chosen.size) })}</p><p class="soft">${t('online.deletenote')}</p><//>`}
  </div>`;
}
