// The token page: one by one, many at once, and what happened to each.

import assert from 'node:assert/strict';
import { NASTY, RUN, id } from './marks.mjs';

export async function tokens({ page, base }) {
  await page.goto(`${base}/admin/token`);
  await page.ready();
  const before = Number((await page.text(id('count'))).match(/\d+/)[0]);
  // A list of which some are no credentials: every line is told.
  await page.click(id('add'));
  const list = [...Array.from({ length: 20 }, (_, n) => `xai-panel-${RUN}-${n}`), 'not a credential', 'also none', JSON.stringify({ token: `xai-panel-${RUN}-named`, label: NASTY, note: NASTY, tags: [`blue${RUN}`] })].join('\n');
  await page.fill(id('import-text'), list);
  await page.click(id('import-go'));
  await page.see(id('import-report'));
  const report = await page.text(id('import-report'));
  assert.match(report, /21 added/);
  assert.match(report, /2 not taken/);
  assert.equal(await page.evaluate(`document.querySelectorAll('${id('import-report')} tbody tr').length`), 2);
  await page.press('Escape');
  await page.gone(id('token-add'));
  await page.until(`Number(document.querySelector('${id('count')}').innerText.match(/\\d+/)[0]) === ${before + 21}`, 'the new ones are listed');
  // Search and the address bar.
  await page.fill(id('token-search'), `blue${RUN}`);
  await page.until(`/^1 /.test(document.querySelector('${id('count')}')?.innerText || '')`, 'the search finds one');
  await page.until("location.search.includes('text=blue')", 'and the address bar follows');
  assert.equal(await page.evaluate('document.querySelectorAll("main img").length'), 0, 'a hostile name is text');
  // The drawer: edit, switch off and on.
  await page.click(`${id('tokens')} .lines .open`);
  await page.see(id('edit-note'));
  await page.fill(id('edit-note'), 'noted by the test');
  await page.click(id('edit-save'));
  await page.until(`document.querySelector('${id('tokens')}').innerText.includes('noted by the test')`, 'the row shows the note');
  await page.click(id('disable'));
  await page.see(id('enable'));
  await page.click(id('enable'));
  await page.see(id('disable'));
  await page.press('Escape');
  await page.gone(id('token-drawer'));
  await page.click(id('reset'));
  await page.until(`Number(document.querySelector('${id('count')}')?.innerText.match(/\\d+/)[0]) === ${before + 21}`, 'all are there again');
  // Many at once: a selection survives a filter; switching off can be undone; deleting asks.
  await page.evaluate(`[...document.querySelectorAll('${id('tokens')} .lines input[type=checkbox]')].slice(-2).forEach((one) => one.click())`);
  await page.until(`/^2 /.test(document.querySelector('${id('batch')} strong')?.innerText || '')`, 'two are selected');
  await page.click(id('state-active'));
  await page.until('location.search.includes("state=active")', 'a filter by state');
  assert.match(await page.text(`${id('batch')} strong`), /^2 /);
  await page.click(id('state-active'));
  await page.click(id('batch-disable'));
  await page.until(`document.querySelector('${id('state-disabled')}').innerText.includes('2')`, 'two are off');
  await page.click(id('toast-action'));
  await page.until(`!document.querySelector('${id('state-disabled')}').innerText.includes('2')`, 'and on again');
  await page.click(id('batch-delete'));
  await page.click(id('confirm-yes'));
  await page.until(`Number(document.querySelector('${id('count')}')?.innerText.match(/\\d+/)[0]) === ${before + 19}`, 'two are gone');
}

/** Quotas and the last hour of a token that served. */
export async function quotas({ page, base }) {
  await page.goto(`${base}/admin/token?sort=-use_count`);
  await page.ready();
  await page.until(`!!document.querySelector('${id('tokens')} .minispark rect')`, 'the last hour is drawn in its row');
  await page.until(`!!document.querySelector('${id('tokens')} .line .meter')`, 'and its tightest quota');
  await page.click(`${id('tokens')} .lines .open`);
  await page.until(`document.querySelectorAll('${id('quotas')} .quota .meter').length > 0`, 'every meter has a bar');
  assert.match(await page.text(id('quotas')), /Requests a minute[\s\S]*\d+ \/ \d+/);
  await page.see(`${id('token-history')} .minispark rect`);
  await page.press('Escape');
  await page.gone(id('token-drawer'));
}

const countIs = (n) => `Number(document.querySelector('${id('count')}')?.innerText.match(/\\d+/)[0]) === ${n}`;

/** More than a few at once are a job: with progress, from the page that started it. */
export async function batch({ page, base }) {
  const tag = `many${RUN}`;
  const list = Array.from({ length: 30 }, (_, n) => JSON.stringify({ token: `xai-many-${RUN}-${n}`, tags: [tag] })).join('\n');
  await page.goto(`${base}/admin/token?add=1`);
  await page.ready();
  await page.fill(id('import-text'), list);
  await page.click(id('import-go'));
  await page.see(id('import-report'));
  await page.press('Escape');
  await page.gone(id('token-add'));
  await page.goto(`${base}/admin/token?text=${tag}`);
  await page.ready();
  await page.until(countIs(30), 'thirty are found');
  await page.click(`${id('tokens')} .heads input[type=checkbox]`);
  await page.until(`/^30 /.test(document.querySelector('${id('batch')} strong')?.innerText || '')`, 'all are chosen');
  await page.click(id('batch-disable'));
  await page.see(`${id('batch-progress')}, ${id('toast-action')}`);
  await page.see(id('toast-action'));
  const off = await page.evaluate(`fetch('/api/v1/admin/tokens?state=disabled&text=${tag}').then((answer) => answer.json()).then((list) => list.total)`);
  assert.equal(off, 30, 'every one is off');
  await page.goto(`${base}/admin/jobs`);
  await page.ready();
  assert.match(await page.text('.job'), /30 tokens switched off[\s\S]*30 of 30/, 'it is a job like others');
  await page.click('.job .open');
  await page.until(`/Switch off/.test(document.querySelector('${id('job-drawer')}')?.innerText || '')`, 'that says what was done');
  await page.goto(`${base}/admin/token?text=${tag}`);
  await page.ready();
  await page.until(countIs(30), 'thirty are found');
  await page.click(`${id('tokens')} .heads input[type=checkbox]`);
  await page.click(id('batch-delete'));
  await page.click(id('confirm-yes'));
  await page.see(id('empty'));
  const left = await page.evaluate(`fetch('/api/v1/admin/tokens?limit=1&text=${tag}').then((answer) => answer.json()).then((list) => list.total)`);
  assert.equal(left, 0, 'all are deleted');
}

/** What happened to a token: with its time and cause. */
export async function changes({ page, base }) {
  await page.goto(`${base}/admin/token?sort=-use_count`);
  await page.ready();
  await page.click(`${id('tokens')} .lines .open`);
  await page.click(id('disable'));
  await page.see(id('enable'));
  await page.until(`/switched off/.test(document.querySelector('${id('token-changes')}')?.innerText || '')`, 'it is told that it was switched off');
  await page.click(id('enable'));
  await page.see(id('disable'));
  await page.until(`/switched on/.test(document.querySelector('${id('token-changes')} li')?.innerText || '')`, 'and on again, the newest first');
  await page.press('Escape');
  await page.gone(id('token-drawer'));
}
