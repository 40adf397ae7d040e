// A table that draws only the rows in view: a hundred thousand cost as much as twenty.

import { Component, html, useEffect, useLayoutEffect, useRef, useState, useCallback } from '../vendor/mod.js';
import { t } from '../i18n.js';
import { lang } from '../store.js';

const HEIGHT = 44;
const AHEAD = 8;
/** Drawn anew only when so many rows came into view. */
const STEP = 4;
/** Of other rows those in view are drawn at once, the others so much later. */
const SETTLE_MS = 80;

/**
 * One row. It is drawn anew only when what it shows is another: an element that is kept for the next time would do as well,
 * but each holds the list that it was made in, and by it every row that ever came by.
 */
class Line extends Component {
  /** What was drawn keeps a way up to the list it was in, and that to rows that were drawn later, and so on: it is cut. */
  cut() { if (this.former) this.former.__ = null; }

  componentDidMount() { this.now = this.__v; }

  componentDidUpdate() { this.cut(); }

  componentWillUnmount() {
    this.cut();
    if (this.now) this.now.__ = null;
  }

  shouldComponentUpdate(next) {
    this.cut();
    [this.former, this.now] = [this.now, this.__v];
    return ['row', 'index', 'selected', 'template', 'stamp'].some((name) => next[name] !== this.props[name]);
  }

  render({ row, index, selected, template, columns, open }) {
    return html`<div class="line" role="row" style=${{ top: `${index * HEIGHT}px`, gridTemplateColumns: template }} aria-rowindex=${index + 2} aria-selected=${selected ? 'true' : undefined}
      onClick=${(event) => { if (!event.target.closest('button,a,input,label')) open?.(row); }}>
      ${columns.map((column) => html`<div role="cell" class=${column.end ? 'end' : ''} key=${column.name}>${column.cell(row)}</div>`)}</div>`;
  }
}

/**
 * columns: {name, label, width, end, sort, cell(row)}; total rows; rowAt(index) or undefined while it loads;
 * needs(from, to) is told what is in view; open(row) on a click or Enter; stamp changes when cells do while their row
 * does not; life when the rows are those of another question.
 */
export function Table({ label, columns, total, rowAt, needs, idOf, open, opened, sort, onSort, foot, testid, minWidth, above = 250, stamp, life = 0 }) {
  const box = useRef(null);
  const [view, setView] = useState({ first: 0, height: 640 });
  const measure = useCallback(() => {
    const el = box.current;
    if (!el) return;
    const first = Math.floor(el.scrollTop / HEIGHT / STEP) * STEP;
    setView((last) => (last.first === first && last.height === el.clientHeight ? last : { first, height: el.clientHeight }));
  }, []);
  useLayoutEffect(() => {
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const [settled, setSettled] = useState(life);
  const drawn = useRef(new Map());
  useEffect(() => {
    if (settled === life) return undefined;
    const timer = setTimeout(() => setSettled(life), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [life, settled]);
  const from = Math.max(0, view.first - AHEAD);
  const to = Math.min(total, view.first + STEP + Math.ceil(view.height / HEIGHT) + AHEAD);
  useLayoutEffect(() => { needs?.(from, to); });
  const template = columns.map((column) => column.width).join(' ');
  const rows = [];
  // Places, not rows: what comes into view takes over what a row that left it was drawn with.
  const places = STEP + Math.ceil(view.height / HEIGHT) + 2 * AHEAD + 1;
  const stampNow = `${stamp}${lang.value}`;
  const cells = columns.map(({ name, end, cell }) => ({ name, end, cell }));
  const seenTo = view.first + STEP + Math.ceil(view.height / HEIGHT);
  const before = drawn.current;
  drawn.current = new Map();
  for (let index = from; index < to; index += 1) {
    const isSeen = index >= view.first && index < seenTo;
    const row = (!isSeen && settled !== life && before.get(index)) || rowAt(index);
    if (row) drawn.current.set(index, row);
    if (!row) rows.push(html`<div class="line soft" role="row" key=${`gap-${index % places}`} style=${{ top: `${index * HEIGHT}px`, gridTemplateColumns: template }} aria-rowindex=${index + 2}><span role="cell">…</span></div>`);
    else {
      const id = idOf(row);
      rows.push(html`<${Line} key=${index % places} row=${row} index=${index} selected=${opened === id} template=${template} stamp=${stampNow} columns=${cells} open=${open} />`);
    }
  }
  const keys = (event) => {
    if (event.target.closest('input,select,textarea')) return;
    const step = event.key === 'ArrowDown' || event.key === 'j' ? 1 : event.key === 'ArrowUp' || event.key === 'k' ? -1 : 0;
    if (!step) return;
    const buttons = [...box.current.querySelectorAll('.lines .open')];
    const at = buttons.indexOf(document.activeElement);
    if (at < 0 && event.target !== box.current) return;
    event.preventDefault();
    const next = buttons[at < 0 ? 0 : at + step];
    next?.focus();
    next?.scrollIntoView({ block: 'nearest' });
  };
  const head = (column) => {
    if (!column.sort) return column.label;
    const mine = sort?.replace(/^-/, '') === column.sort;
    const down = sort?.startsWith('-');
    return html`<button type="button" onClick=${() => onSort(mine && down ? column.sort : `-${column.sort}`)}>${column.label}${mine ? (down ? ' ↓' : ' ↑') : ''}</button>`;
  };
  const state = (column) => (column.sort && sort?.replace(/^-/, '') === column.sort ? (sort.startsWith('-') ? 'descending' : 'ascending') : undefined);
  const tall = Math.min(total, 8) * HEIGHT + 36;
  return html`<div class="table" data-testid=${testid}>
    <div class="scroll" ref=${box} onScroll=${measure} onKeyDown=${keys} tabindex="0" role="table" aria-label=${label} aria-rowcount=${total + 1}
      style=${{ height: `max(${tall}px, min(${total * HEIGHT + 36}px, calc(100dvh - ${above}px)))` }}>
      <div style=${{ minWidth }}>
        <div class="line heads" role="row" aria-rowindex="1" style=${{ gridTemplateColumns: template }}>
          ${columns.map((column) => html`<div role="columnheader" class=${column.end ? 'end' : ''} key=${column.name} aria-sort=${state(column)}>${head(column)}</div>`)}</div>
        <div class="lines" role="rowgroup" style=${{ height: `${total * HEIGHT}px` }}>${rows}</div>
      </div>
    </div>
    ${foot && html`<div class="foot">${foot}</div>`}
    <span class="hidden-text">${t('table.keys')}</span>
  </div>`;
}
