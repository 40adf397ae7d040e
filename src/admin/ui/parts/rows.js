// Rows of a list that the backend pages by cursor, held as far as somebody scrolled.

import { signal } from '../vendor/mod.js';

/** Of a first page: more than a screen. */
const FIRST = 40;
/** Of those that follow while somebody scrolls: a page is read between two frames. */
const NEXT = 200;
/** Where all are wanted. */
const FAR = 1000;
/** Rows that are held ahead of those in view. */
const LEAD = 300;

/** `load(cursor, limit)` answers {items, next_cursor, total}. */
export function rowSource(load, idOf) {
  let items = [];
  let marks = [{ at: 0, cursor: '' }];
  let next = '';
  let more = true;
  let wanted = FIRST;
  let busy = false;
  let life = 0;
  let resetting = false;
  let again = false;
  const state = signal({ version: 0, life: 0, total: 0, loaded: false, error: null });
  const tell = (change) => { state.value = { ...state.value, ...change, version: state.value.version + 1 }; };

  async function fill() {
    if (busy) return;
    busy = true;
    const mine = life;
    try {
      while (mine === life && more && items.length < wanted) {
        const limit = wanted === Infinity ? FAR : NEXT;
        const page = await load(next, limit);
        if (mine !== life) return;
        if (items.length) marks.push({ at: items.length, cursor: next });
        items = items.concat(page.items);
        next = page.next_cursor || '';
        more = Boolean(page.next_cursor);
        tell({ total: more ? Math.max(page.total, items.length) : items.length, loaded: true, error: null });
      }
    } catch (error) {
      if (mine === life && error.name !== 'AbortError') tell({ error, loaded: true });
    } finally {
      if (mine === life) busy = false;
    }
  }

  return {
    state,
    at: (index) => items[index],
    held: () => items,
    /** Starts anew, for other filters; what was seen stays until the answer comes. Who asks while an answer is on its way
     * asks once more, when it is there: a letter typed waits for nothing, and no letters pile up. */
    reset() {
      if (resetting) { again = true; return; }
      life += 1;
      busy = true;
      resetting = true;
      const mine = life;
      const isOver = () => {
        resetting = false;
        if (!again) return mine !== life;
        again = false;
        this.reset();
        return true;
      };
      load('', FIRST).then((page) => {
        if (isOver()) return;
        items = page.items;
        marks = [{ at: 0, cursor: '' }];
        next = page.next_cursor || '';
        more = Boolean(page.next_cursor);
        wanted = FIRST;
        busy = false;
        tell({ life, total: more ? page.total : items.length, loaded: true, error: null });
      }, (error) => {
        if (isOver() || error.name === 'AbortError') return;
        busy = false;
        tell({ error, loaded: true });
      });
    },
    /** Loads until this row is held. */
    need(to) {
      // The first page is enough until somebody scrolls.
      if (to <= FIRST && items.length >= to) return;
      wanted = Math.max(wanted, to + LEAD);
      if (more && items.length < wanted && !state.value.error) fill();
    },
    async all() {
      wanted = Infinity;
      while (more && !state.value.error) { await fill(); if (busy) await new Promise((done) => setTimeout(done, 50)); }
      wanted = items.length;
      return items;
    },
    /** Asks again for the rows around `from`; those behind are dropped if they do not follow any more. */
    async refresh(from, to) {
      if (busy || !state.value.loaded) return;
      const mine = life;
      const mark = marks.findLast((one) => one.at <= from) || marks[0];
      const limit = Math.min(FAR, Math.max(FIRST, to - mark.at));
      busy = true;
      try {
        const page = await load(mark.cursor, limit);
        if (mine !== life) return;
        const count = page.items.length;
        // A row that says the same is the same: what is drawn of it stays.
        page.items = page.items.map((row, at) => {
          const known = items[mark.at + at];
          return mark.at + at >= from && mark.at + at < to && known && JSON.stringify(known) === JSON.stringify(row) ? known : row;
        });
        const last = page.items.at(-1);
        const old = items[mark.at + count - 1];
        const follows = last && old && idOf(last) === idOf(old) && page.next_cursor;
        if (follows) items = [...items.slice(0, mark.at), ...page.items, ...items.slice(mark.at + count)];
        else {
          items = [...items.slice(0, mark.at), ...page.items];
          marks = marks.filter((one) => one.at <= mark.at);
          next = page.next_cursor || '';
          more = Boolean(page.next_cursor);
        }
        tell({ total: more ? Math.max(page.total, items.length) : items.length, error: null });
      } catch (error) {
        if (mine === life && error.name !== 'AbortError') tell({ error });
      } finally {
        if (mine === life) busy = false;
      }
    },
    patch(row) {
      const at = items.findIndex((one) => idOf(one) === idOf(row));
      if (at >= 0) { items = items.with(at, row); tell({}); }
    },
  };
}
