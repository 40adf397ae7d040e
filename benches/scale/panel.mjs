// The token page of the panel over 100,000 tokens, in a headless browser: first paint, filters, frames while 10,000 rows
// are scrolled through, and what the page holds in memory while it is looked at.
//
//     benches/scale/run.sh --panel [--watch SECONDS]

import { openBrowser } from '../../tests/clients/node/panel/cdp.mjs';

const { GATEWAY, PASSWORD, CHROMIUM, WATCH_S } = process.env;
const LOADS = 9;
const ROWS = 10_000;
const ROW_PX = 44;
const ROWS_A_FRAME = 10;

const browser = await openBrowser(CHROMIUM);
const page = await browser.newPage({ onFault: (text) => console.log(`fault: ${text}`) });
const row = (what, value) => console.log(`| ${what} | ${value} |`);
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const says = (list) => `median ${median(list).toFixed(0)} ms, worst ${Math.max(...list).toFixed(0)} ms`;

await page.size(1280, 860);
await page.goto(`${GATEWAY}/login`);
await page.evaluate("localStorage.setItem('grok2api.lang', 'en')");
await page.goto(`${GATEWAY}/login`);
await page.fill('input[name=password]', PASSWORD);
await page.click('form button[type=submit]');
await page.ready();

// The moment after the frame that shows the first rows.
await page.call('Page.addScriptToEvaluateOnNewDocument', {
  source: `new MutationObserver((_, watch) => { if (document.querySelector('[data-testid=tokens] .lines .open')) { watch.disconnect(); requestAnimationFrame(() => setTimeout(() => { window.rowsAt = performance.now(); })); } }).observe(document, { childList: true, subtree: true });`,
});
const paints = [];
const rows = [];
for (let n = 0; n < LOADS; n += 1) {
  await page.goto(`${GATEWAY}/admin/token`);
  await page.until('window.rowsAt > 0');
  rows.push(await page.evaluate('window.rowsAt'));
  paints.push(await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"));
}
row('first contentful paint', says(paints.slice(1)));
row('… until the first rows are seen', `first ${rows[0].toFixed(0)} ms, then ${says(rows.slice(1))}`);

// A press of a filter, until the end of the frame that shows the rows of its answer: what is there before a frame's
// callbacks is drawn by that frame, and a timer set in them comes after it.
const filter = (press, shown) => page.evaluate(`(async () => {
  const began = performance.now();
  ${press};
  await new Promise((done) => { const look = () => (${shown} ? setTimeout(done) : requestAnimationFrame(look)); requestAnimationFrame(look); });
  return performance.now() - began;
})()`);
const count = "(document.querySelector('[data-testid=count]')?.innerText || '0')";
await page.until("!!document.querySelector('[data-testid=state-disabled]')", 'the counts are there');
const all = await page.evaluate(count);
const byState = [];
const byText = [];
for (let n = 0; n < 7; n += 1) {
  byState.push(await filter("document.querySelector('[data-testid=state-disabled]').click()", `${count} !== ${JSON.stringify(all)}`));
  byState.push(await filter("document.querySelector('[data-testid=state-disabled]').click()", `${count} === ${JSON.stringify(all)}`));
  const type = (text) => `const box = document.querySelector('[data-testid=token-search]'); box.value = '${text}'; box.dispatchEvent(new Event('input', { bubbles: true }))`;
  byText.push(await filter(type(`a${n}`), `${count} !== ${JSON.stringify(all)}`));
  await filter(type(''), `${count} === ${JSON.stringify(all)}`);
}
row('a filter by state, until its rows are seen', says(byState));
row('a search, until its rows are seen', says(byText));

const heap = async () => {
  await page.call('HeapProfiler.collectGarbage');
  const { usedSize } = await page.call('Runtime.getHeapUsage');
  return usedSize / 1024 / 1024;
};
const before = await heap();
const gaps = await page.evaluate(`(async () => {
  const box = document.querySelector('[data-testid=tokens] .scroll');
  const gaps = [];
  let last = 0;
  await new Promise((done) => {
    const step = (at) => {
      if (last) gaps.push(at - last);
      last = at;
      if (box.scrollTop >= ${ROWS * ROW_PX}) return done();
      box.scrollTop += ${ROWS_A_FRAME * ROW_PX};
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  });
  return gaps;
})()`);
const sorted = [...gaps].sort((a, b) => a - b);
row(`frames while ${ROWS.toLocaleString('en')} rows pass, ${ROWS_A_FRAME} a frame`, `${gaps.length} frames, p50 ${sorted[Math.floor(gaps.length / 2)].toFixed(0)} ms, p99 ${sorted[Math.floor(gaps.length * 0.99)].toFixed(0)} ms, longest ${sorted.at(-1).toFixed(0)} ms, over 50 ms: ${gaps.filter((gap) => gap > 50).length}`);
row('page\'s heap before and after', `${before.toFixed(1)} MB, ${(await heap()).toFixed(1)} MB with the rows held`);

if (Number(WATCH_S) > 0) {
  await page.goto(`${GATEWAY}/admin/token`);
  await page.ready();
  const held = [];
  for (let at = 0; at <= Number(WATCH_S); at += 60) {
    held.push((await heap()).toFixed(1));
    await new Promise((done) => { setTimeout(done, 60_000); });
  }
  row('heap while it is looked at, a figure a minute', `${held.join(', ')} MB`);
}
await browser.close();
