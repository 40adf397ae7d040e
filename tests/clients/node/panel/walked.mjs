// What the other steps leave out: the rest of what each page must be able to do, and what is typed wrongly.

import assert from 'node:assert/strict';
import { NASTY, RUN, id } from './marks.mjs';

const shownCount = `Number((document.querySelector('${id('count')}')?.innerText || '').replace(/(\\d)\\s(?=\\d)/g, '$1').match(/\\d+/)?.[0])`;

/** The token page: sort, type filter, refresh of one, sealed export. */
export async function tokensMore({ page, base, password }) {
  await page.goto(`${base}/admin/token`);
  await page.ready();
  const all = await page.evaluate(shownCount);
  await page.evaluate(`[...document.querySelectorAll('${id('tokens')} .heads button')].find((one) => /^Calls|^Uses|^Used/.test(one.innerText)).click()`);
  await page.until('location.search.includes("sort=-use_count") && !!document.querySelector("[aria-sort=descending]")', 'sorted by uses, the most first');
  await page.evaluate(`[...document.querySelectorAll('.filters button')].find((one) => /API/i.test(one.innerText)).click()`);
  await page.until('location.search.includes("pool=apiKey")', 'a filter by type');
  // Of one group and of another: both must hold.
  await page.click(id('state-disabled'));
  await page.until(`${shownCount} === 0 || !!document.querySelector('${id('empty')}')`, 'none of this type is off');
  await page.click(id('reset'));
  await page.until(`${shownCount} === ${all}`, 'all are back');
  await page.click(`${id('tokens')} .lines .open`);
  await page.click(id('refresh'));
  await page.until('!!document.querySelector(".toast")', 'what the upstream says of it');
  await page.press('Escape');
  await page.gone(id('token-drawer'));
  await page.call('Page.setDownloadBehavior', { behavior: 'deny' });
  await page.click(id('export'));
  await page.fill(`${id('token-export')} input[autocomplete=current-password]`, password);
  await page.fill(`${id('token-export')} input[autocomplete=new-password]`, 'a passphrase of many letters');
  await page.click(`${id('token-export')} button[type=submit]`);
  await page.gone(id('token-export'));
}

/** Keys: a preset, a second press that does nothing, search, edit, a new secret. */
export async function keysMore({ page, base }) {
  const name = `walked-${RUN}`;
  await page.goto(`${base}/admin/keys?new=1`);
  await page.ready();
  await page.fill(id('key-name'), name);
  await page.evaluate(`document.querySelectorAll('${id('key-dialog')} [role=group] button')[1].click()`);
  await page.until(`document.querySelector('${id('key-rpm')}').value === '20'`, 'the preset fills in limits');
  await page.evaluate(`(() => { const go = document.querySelector('${id('key-save')}'); go.click(); setTimeout(() => { go.click(); }); })()`);
  await page.see(id('secret'));
  const first = await page.text(id('secret'));
  await page.click(`${id('key-secret')} ${id('copy')}`);
  await page.until(`/Copied/i.test(document.querySelector('${id('key-secret')}').innerText)`, 'copied with one press');
  await page.click(id('secret-done'));
  await page.fill('[data-search]', name);
  await page.until(`document.querySelectorAll('${id('keys')} .lines .line').length === 1`, 'pressed twice, made once, and found');
  await page.click(`${id('keys')} .lines .open`);
  await page.fill(id('key-rpm'), '33');
  await page.click(id('key-save'));
  await page.gone(id('key-dialog'));
  await page.goto(`${base}/admin/keys?text=${name}`);
  await page.ready();
  await page.click(`${id('keys')} .lines .open`);
  await page.until(`document.querySelector('${id('key-rpm')}')?.value === '33'`, 'the change is kept');
  await page.click(id('key-rotate'));
  await page.click(id('confirm-yes'));
  await page.see(id('secret'));
  const second = await page.text(id('secret'));
  assert.notEqual(second, first);
  await page.click(id('secret-done'));
  const answers = [];
  for (const secret of [first, second]) answers.push((await fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${secret}` } })).status);
  assert.deepEqual(answers, [401, 200], 'the new secret opens, the old one does not');
}

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFklEQVR4nGP8z8DAwMDAxMDAwMAAAA0LAQH1RVvJAAAAAElFTkSuQmCC';

/** Chat: a system prompt, a picture, Shift+Enter, a stop, a second conversation in the history. */
export async function chatMore({ page, base }) {
  await page.goto(`${base}/chat`);
  await page.ready();
  await page.click(id('chat-new'));
  await page.until(`document.querySelectorAll('${id('model')} option').length > 2`, 'models are offered');
  await page.evaluate(`[...document.querySelectorAll('.talkhead button')].find((one) => /System/i.test(one.innerText)).click()`);
  await page.fill('.talk > textarea', 'Be brief.');
  await page.evaluate(`(() => { const bytes = Uint8Array.from(atob('${PNG}'), (c) => c.charCodeAt(0)); const files = new DataTransfer(); files.items.add(new File([bytes], 'mine.png', { type: 'image/png' })); const box = document.querySelector('.composer input[type=file]'); box.files = files.files; box.dispatchEvent(new Event('change', { bubbles: true })); })()`);
  await page.see('.composer .thumb img');
  await page.fill(id('message'), `${NASTY} what is this?`);
  await page.click(id('send'));
  await page.see(id('turn'));
  await page.until(`!document.querySelector('${id('turn-live')}')`, 'the answer ended');
  const kept = await page.evaluate(`Object.values({ ...localStorage }).some((value) => value.includes('Be brief.'))`);
  assert.ok(kept, 'the system prompt stays with its conversation');
  assert.equal(await page.evaluate('[...document.querySelectorAll(".turns img")].every((one) => one.src.startsWith("data:"))'), true, 'a hostile text is text');
  await page.fill(id('message'), 'Count very slowly to one thousand.');
  await page.press('Enter');
  await page.until(`!!document.querySelector('${id('stop')}') || !document.querySelector('${id('turn-live')}')`, 'it can be stopped');
  await page.evaluate(`document.querySelector('${id('stop')}')?.click()`);
  await page.until(`!document.querySelector('${id('turn-live')}')`, 'it stands still');
  await page.until(`document.querySelectorAll('.chats li').length >= 2`, 'both conversations are in the history');
}

/** A value with line breaks, and one that is far too long. */
export async function configTyped({ page, base, expecting }) {
  await page.goto(`${base}/admin/config`);
  await page.ready();
  await expecting(/400/, async () => {
    const refused = await page.evaluate(`(async () => { const view = await (await fetch('/api/v1/admin/session')).json(); const set = async (value) => { const answer = await fetch('/api/v1/admin/config', { method: 'POST', headers: { 'x-csrf-token': view.csrf_token, 'content-type': 'application/json' }, body: JSON.stringify({ app: { app_url: value } }) }); return [answer.status, (await answer.json()).error?.message || '']; }; return [await set('http://a\\n[security]\\nallow_anonymous = true'), await set('http://a/' + 'x'.repeat(100000))]; })()`);
    assert.deepEqual(refused.map(([status]) => status), [400, 400], JSON.stringify(refused).slice(0, 500));
    assert.match(refused[0][1], /app_url/);
  });
  const config = await page.evaluate("fetch('/api/v1/admin/config').then((answer) => answer.text())");
  assert.doesNotMatch(config, /allow_anonymous":\s*true/, 'a line break opens no other section');
}

/** Ten thousand lines as a file, every thirty-third of them bad. */
const chooseMany = (page) => page.evaluate(`(() => { const lines = Array.from({ length: 10000 }, (_, n) => (n % 33 === 0 && n < 9900 ? 'bad line ' + n : 'xai-big-${RUN}-' + n)); const files = new DataTransfer(); files.items.add(new File([lines.join('\\n')], 'many.txt', { type: 'text/plain' })); const box = document.querySelector('${id('token-add')} input[type=file]'); box.files = files.files; box.dispatchEvent(new Event('change', { bubbles: true })); })()`);

/** Ten thousand lines, three hundred of them bad: from a file, every bad one told, and the page stays quick. */
export async function bigImport({ page, base }) {
  await page.goto(`${base}/admin/token?add=1`);
  await page.ready();
  await chooseMany(page);
  await page.see(id('import-many'));
  await page.click(id('import-go'));
  await page.see(id('import-report'), 120_000);
  const report = (await page.text(id('import-report'))).replaceAll(/(\d)\s(?=\d)/g, '$1');
  assert.match(report, /9700 added/);
  assert.match(report, /300 not taken/);
  assert.equal(await page.evaluate(`document.querySelectorAll('${id('import-report')} tbody tr').length`), 300, 'each bad line with its reason');
  await page.press('Escape');
  await page.gone(id('token-add'));
  await page.until(`${shownCount} === 9700`, 'all good ones are listed');
  assert.ok(await page.evaluate(`document.querySelectorAll('${id('tokens')} .lines .line').length`) < 60, 'only those in view are drawn');
  // What was scrolled past is let go, elements and all: about forty nodes a row would be left of each.
  await page.evaluate(`(async () => { const box = document.querySelector('${id('tokens')} .scroll'); for (let row = 0; row < 1500; row += 10) { box.scrollTop = row * 44; await new Promise(requestAnimationFrame); } })()`);
  await page.call('HeapProfiler.collectGarbage');
  const { nodes } = await page.call('Memory.getDOMCounters');
  assert.ok(nodes < 20_000, `${nodes} nodes are held`);
}

/** So many lines can be a job instead: its form opens with all of them. */
export async function longList({ page, base }) {
  await page.goto(`${base}/admin/token?add=1`);
  await page.ready();
  await chooseMany(page);
  await page.click(id('many-to-job'));
  await page.see(id('job-dialog'));
  assert.equal(await page.evaluate(`document.querySelector('${id('job-lines')}').value.split('\\n').length`), 10000, 'no line is lost');
  await page.press('Escape');
  await page.gone(id('job-dialog'));
  await page.click(id('job-start'));
  await page.see(id('job-dialog'));
  assert.equal(await page.evaluate(`document.querySelector('${id('job-lines')}').value`), '', 'the next form is empty');
  await page.press('Escape');
  await page.gone(id('job-dialog'));
}

/** A credential that rests says why and how long. */
export async function cooling({ page, base }) {
  await page.goto(`${base}/admin/token?state=cooling`);
  await page.ready();
  await page.see(`${id('tokens')} .lines .line time`);
  const row = await page.text(`${id('tokens')} .lines .line`);
  assert.match(row, /Cooling/i);
  assert.match(row, /\d/, 'with a countdown');
  await page.click(`${id('tokens')} .lines .open`);
  await page.see(`${id('token-changes')} li`);
  assert.match(await page.text(id('token-changes')), /rests/, 'and it stands in what happened to it');
  await page.click(id('clear'));
  await page.until(`/rest over/.test(document.querySelector('${id('token-changes')}')?.innerText || '')`, 'and that an operator ended it');
  await page.press('Escape');
  await page.gone(id('token-drawer'));
}
