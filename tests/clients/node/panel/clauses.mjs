// Clauses that the walks of the pages leave out, one after another.

import assert from 'node:assert/strict';
import { RUN, api, id } from './marks.mjs';

const shown = `Number((document.querySelector('${id('count')}')?.innerText || '0').replace(/(\\d)\\s(?=\\d)/g, '$1').match(/\\d+/)[0])`;

/** Types and states: either within a group, both between groups; a selection that is out of sight is still meant. */
export async function filters({ page, base }) {
  const tag = `filters${RUN}`;
  const lines = (kind, count) => Array.from({ length: count }, (_, n) => JSON.stringify({ token: `${kind}-${RUN}-${n}`, tags: [tag] })).join('\n');
  await api(page, 'POST', '/tokens/import?pool=apiKey', lines('xai-filter', 5), 'text/plain');
  await api(page, 'POST', '/tokens/import?pool=ssoBasic', lines('session', 3), 'text/plain');
  const { items } = await api(page, 'GET', `/tokens?limit=100&text=${tag}`);
  const off = [...items.filter((one) => one.pool === 'apiKey').slice(0, 2), ...items.filter((one) => one.pool === 'ssoBasic').slice(0, 1)];
  for (const one of off) await api(page, 'PATCH', `/tokens/${one.id}`, { switch: 'off' });
  await page.goto(`${base}/admin/token?text=${tag}`);
  await page.ready();
  const press = (words) => page.evaluate(`[...document.querySelectorAll('.filters button')].find((one) => one.innerText.startsWith(${JSON.stringify(words)})).click()`);
  const counts = async (count, what) => page.until(`${shown} === ${count}`, `${what}: ${count}`);
  await counts(8, 'all');
  await press('API key');
  await counts(5, 'of one type');
  await press('Basic session');
  await counts(8, 'of one type or the other');
  await page.click(id('state-disabled'));
  await counts(3, 'of either type, and off');
  await press('API key');
  await counts(1, 'of the other type, and off');
  const other = (await api(page, 'GET', `/tokens?limit=100&text=${tag}&pool=ssoBasic`)).items.filter((one) => one.state !== 'disabled').map((one) => one.state);
  await page.click(id(`state-${other[0]}`));
  await counts(1 + other.filter((one) => one === other[0]).length, 'of the other type, off or not');
  await page.until('location.search.includes("ssoBasic") && location.search.includes("disabled")', 'and it is all in the address');
  await page.goto(await page.evaluate('location.href'));
  await page.ready();
  await counts(1 + other.filter((one) => one === other[0]).length, 'as the address says');
  // Chosen by id: what is filtered away stays chosen, and is what the deed is done to.
  await page.goto(`${base}/admin/token?text=${tag}&state=disabled`);
  await page.ready();
  await counts(3, 'those that are off');
  await page.click(`${id('tokens')} .heads input[type=checkbox]`);
  await page.until(`/^3 /.test(document.querySelector('${id('batch')} strong')?.innerText || '')`, 'three are chosen');
  await page.fill(id('token-search'), 'nothing is called so');
  await page.see(id('empty'));
  await page.evaluate(`[...document.querySelectorAll('${id('batch')} button')].find((one) => one.innerText === 'Switch on').click()`);
  await page.see(id('toast-action'));
  assert.equal((await api(page, 'GET', `/tokens?text=${tag}&state=disabled`)).total, 0, 'those out of sight are on');
  // What changes elsewhere is seen without a press.
  await page.goto(`${base}/admin/token?text=${tag}`);
  await page.ready();
  await counts(8, 'all');
  await api(page, 'PATCH', `/tokens/${items[0].id}`, { switch: 'off' });
  await page.until(`document.querySelector('${id('tokens')} .lines').innerText.includes('Switched off')`, 'its row says that it is off');
  await api(page, 'POST', '/tokens/delete', { ids: items.map((one) => one.id) });
  await page.goto(`${base}/admin/token?add=1`);
  await page.ready();
  await page.click(id('to-job'));
  await page.see(id('job-dialog'));
  assert.equal(await page.evaluate('location.pathname'), '/admin/jobs', 'a job begins from here');
}

/** Keys: their cards, filters, limits, models and an end. */
export async function keysOf({ page, base }) {
  const name = `limits-${RUN}`;
  await page.goto(`${base}/admin/keys?new=1`);
  await page.ready();
  await page.fill(id('key-name'), name);
  await page.fill(id('key-budget_usd'), '2.5');
  await page.fill(id('key-chat_limit'), '40');
  await page.fill(`${id('key-dialog')} textarea`, 'grok-4*\nno-such');
  await page.evaluate(`(() => { const one = document.querySelector('${id('key-expires')}'); one.value = '2099-01-02T03:04'; one.dispatchEvent(new Event('input', { bubbles: true })); })()`);
  await page.click(id('key-save'));
  const secret = await (async () => { await page.see(id('secret')); return page.text(id('secret')); })();
  await page.click(id('secret-done'));
  const call = (model) => fetch(`${base}/v1/chat/completions`, { method: 'POST', headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }, body: JSON.stringify({ model, messages: [{ role: 'user', content: 'count me' }] }) });
  assert.equal((await call('grok-4.7')).status, 200);
  assert.ok((await call('grok-3')).status >= 400, 'a model that it may not use');
  // Sums of days come a moment after the call.
  await page.until(`fetch('/api/v1/admin/rollups?step=day&by=key&since_ms=' + (Date.now() - 86400000)).then((answer) => answer.json()).then((sums) => sums.groups.some((one) => one.label === '${name}'))`, 'the sums have it');
  await page.goto(`${base}/admin/keys?text=${name}`);
  await page.ready();
  await page.until(`document.querySelectorAll('${id('keys')} .lines .line').length === 1 && /1 \\/ 40/.test(document.querySelector('${id('keys')} .lines .line').innerText)`, 'its use of today');
  const row = await page.text(`${id('keys')} .lines .line`);
  assert.match(row, /grok-4\*/);
  assert.match(row, /2099-01-02/);
  await page.until(`/1\\s+1/.test(document.querySelector('${id('keys')} .lines .line').innerText)`, 'calls today and of 30 days');
  assert.ok(Number(await page.text('.cards .figure:nth-child(2) .value')) >= 1, 'chat today');
  const state = (words) => page.evaluate(`[...document.querySelectorAll('.filters button')].find((one) => one.innerText.startsWith('${words}')).click()`);
  await state('Switched off');
  await page.see(id('empty'));
  await state('Active');
  await page.until(`document.querySelectorAll('${id('keys')} .lines .line').length === 1`, 'it is active');
}

const ended = (mark) => `new RegExp('${mark}').test(document.querySelector('${id('job-drawer')} .mark')?.innerText || '')`;

/** Jobs of the Management API: keys are minted, and taken back; a long list is held, goes on, and is stopped. */
export async function jobsMore({ page, base }) {
  const total = async () => (await api(page, 'GET', '/tokens/counts')).total;
  const before = await total();
  await page.goto(`${base}/admin/jobs?start=1`);
  await page.ready();
  await page.choose(id('job-kind'), 'mint');
  await page.fill(id('job-count'), '3');
  await page.fill(id('job-name'), `panel-${RUN}-{n}`);
  await page.click(id('job-go'));
  await page.see(id('job-drawer'));
  await page.until(ended('Completed'), 'three are minted', 60_000);
  assert.equal(await total(), before + 3, 'and are in the pool');
  await page.click(id('job-revoke'));
  await page.click(id('confirm-yes'));
  await page.until(`/3 (taken back|revoked)/i.test(document.querySelector('${id('job-drawer')}').innerText)`, 'they are taken back', 60_000);
  assert.equal(await total(), before, 'and out of the pool');
  await page.goto(`${base}/admin/jobs?start=1`);
  await page.ready();
  await page.evaluate(`(() => { const box = document.querySelector('${id('job-lines')}'); box.value = Array.from({ length: 4000 }, (_, n) => 'xai-long-${RUN}-' + n).join('\\n'); box.dispatchEvent(new Event('input', { bubbles: true })); })()`);
  await page.evaluate("document.querySelector('#job-form details').open = true");
  await page.fill(id('job-concurrency'), '1');
  await page.fill(id('job-errors'), '4000');
  await page.click(id('job-go'));
  await page.click(id('job-pause'));
  await page.until(ended('Paused'), 'it is held', 60_000);
  await page.until('location.search.includes("open=")', 'it stands in the address');
  const done = async () => (await api(page, 'GET', `/jobs/${await page.evaluate('new URLSearchParams(location.search).get("open")')}?limit=0`)).job.counts;
  const held = await done();
  await new Promise((wait) => { setTimeout(wait, 400); });
  assert.deepEqual(await done(), held, 'nothing is done meanwhile');
  await page.click(id('job-resume'));
  await page.until(ended('Running'), 'it goes on');
  await page.click(id('job-stop'));
  await page.click(id('confirm-yes'));
  await page.until(ended('Stopped'), 'it is stopped', 60_000);
  await page.see(id('job-resume'));
  await page.goto(`${base}/admin/jobs?status=stopped`);
  await page.ready();
  await page.see(id('job'));
}

/** The log of requests is searched; a model's and a key's are a link away. */
export async function requestsMore({ page, base }) {
  await page.goto(`${base}/admin/requests`);
  await page.ready();
  await page.fill(id('request-search'), 'no-such-model');
  await page.until(`[...document.querySelectorAll('${id('requests')} .lines .line')].length > 0 && [...document.querySelectorAll('${id('requests')} .lines .line')].every((one) => one.innerText.includes('no-such-model'))`, 'only that one');
  await page.click(`${id('requests')} .lines .open`);
  await page.until(`/model_not_found/.test(document.querySelector('${id('request-drawer')}')?.innerText || '')`, 'and why it was refused');
  await page.press('Escape');
  await page.gone(id('request-drawer'));
}

/** Sums by what one likes, over as long as one likes. */
export async function datacenterMore({ page, base }) {
  await page.goto(`${base}/admin/datacenter`);
  await page.ready();
  const figures = await page.text('.cards');
  for (const part of ['Requests', 'Success', 'p95', 'p99', 'Tokens', 'Cost', '$']) assert.ok(figures.includes(part), `${part} in ${figures}`);
  for (const window of ['15m', '1h', '6h', '24h']) {
    await page.goto(`${base}/admin/datacenter?window=${window}`);
    await page.ready();
    assert.ok(Number((await page.text('.cards .figure .value')).replace(/\s/g, '')) > 0, window);
  }
  for (const by of ['key', 'token', 'node', 'model']) {
    await page.evaluate(`[...document.querySelectorAll('main > .page > section .tabs button')].filter((one) => !one.closest('${id('long')}')).find((one) => one.innerText.toLowerCase().includes('${by}')).click()`);
    await page.until(`location.search.includes('by=${by}')`, `by ${by}`);
  }
  await page.click(id('long-30d'));
  await page.until("document.querySelectorAll('.hours g').length >= 30", 'thirty days');
  for (const by of ['Key', 'Provider', 'Node', 'Outcome', 'Model']) {
    await page.evaluate(`[...document.querySelectorAll('${id('long')} [role=tab]')].find((one) => one.innerText.includes('${by}')).click()`);
    await page.until(`document.querySelector('${id('long')} th').innerText.includes('${by}') && document.querySelectorAll('${id('long')} tbody tr').length > 0`, `sums by ${by}`);
  }
}

/** Code is code, an answer is seen as it comes, and is stopped for good. */
export async function chatStreams({ page, base }) {
  await page.goto(`${base}/chat`);
  await page.ready();
  await page.click(id('chat-new'));
  await page.until(`document.querySelectorAll('${id('model')} option').length > 2`, 'models are offered');
  const models = await page.evaluate(`[...document.querySelectorAll('${id('model')} option')].map((one) => one.value)`);
  await page.choose(id('model'), models.find((one) => one === 'grok-4.7'));
  // The simulator says no code: a conversation that is kept has some.
  const said = '# Title\n\nSome **bold** and `inline`.\n\n```js\nlet a = "<b>";\n```\n\n<b>no markup</b>';
  const { identifier } = await page.call('Page.addScriptToEvaluateOnNewDocument', { source: `localStorage.setItem('grok2api.chats', JSON.stringify([{ id: 'kept', title: 'kept', model: 'grok-4.7', at: 1, turns: [{ role: 'user', text: 'code' }, { role: 'assistant', text: ${JSON.stringify(said)}, meta: { model: 'grok-4.7' } }] }]))` });
  await page.goto(`${base}/chat?id=kept`);
  await page.ready();
  await page.call('Page.removeScriptToEvaluateOnNewDocument', { identifier });
  await page.see('.turn .markdown pre code');
  assert.equal((await page.text('.turn .markdown pre code')).trim(), 'let a = "<b>";', 'code is shown as code');
  assert.ok(await page.evaluate("!!document.querySelector('.turn .markdown strong') && !document.querySelector('.turn .markdown b') && !!document.querySelector('.turn .markdown .code button')"), 'bold is bold, markup is text, code can be copied');
  await page.until(`document.querySelectorAll('${id('model')} option').length > 2`, 'models are offered');
  await page.fill(id('message'), 'slowly please [[sim:first_token=50;pace=400]]');
  await page.press('Enter');
  await page.see(`${id('turn-live')} .markdown`);
  const length = () => page.evaluate(`document.querySelector('${id('turn-live')} .markdown')?.innerText.length ?? -1`);
  const first = await length();
  await page.until(`(document.querySelector('${id('turn-live')} .markdown')?.innerText.length ?? 1e9) > ${first}`, 'it grows as it comes');
  await page.click(id('stop'));
  await page.gone(id('turn-live'));
  await page.until("[...document.querySelectorAll('.turn')].at(-1).innerText.includes('stopped')", 'it says that it was stopped');
}

/** Every dialog closes by its mask and by Esc; Enter sends a form; every page has its letters. */
export async function dialogs({ page, base }) {
  const floats = [['/admin/token?add=1', '', 'token-add'], ['/admin/token', id('export'), 'token-export'], ['/admin/token', `${id('tokens')} .lines .open`, 'token-drawer'], ['/admin/keys?new=1', '', 'key-dialog'],
    ['/admin/requests', `${id('requests')} .lines .open`, 'request-drawer'], ['/admin/jobs', '.job .open', 'job-drawer'], ['/admin/jobs?start=1', '', 'job-dialog'], ['/admin/users', id('user-add'), 'user-dialog'], ['/admin/cache', '.gallery .shot', 'cache-preview']];
  for (const [view, opener, name] of floats) {
    for (const way of ['mask', 'Esc']) {
      await page.goto(base + view);
      await page.ready();
      if (opener) await page.click(opener);
      await page.see(id(name));
      assert.equal(await page.evaluate(`document.querySelector('${id(name)}').contains(document.activeElement)`), true, `the focus is in ${name}`);
      if (way === 'Esc') await page.press('Escape');
      else await page.evaluate("document.querySelector('.mask').dispatchEvent(new MouseEvent('mousedown', { bubbles: true }))");
      await page.gone(id(name));
    }
  }
  await page.goto(`${base}/admin/users`);
  await page.ready();
  await page.click(id('user-add'));
  await page.fill(id('user-name'), `enter-${RUN}`);
  await page.press('Enter');
  await page.see(id('user-told'));
  await page.click(id('user-saved'));
  await page.until(`document.querySelector('${id('users')}').innerText.includes('enter-${RUN}')`, 'Enter sent the form');
  for (const [letter, path] of [['t', '/admin/token'], ['k', '/admin/keys'], ['r', '/admin/requests'], ['j', '/admin/jobs'], ['d', '/admin/datacenter'], ['l', '/admin/cluster'], ['m', '/admin/cache'], ['c', '/admin/config'], ['u', '/admin/users'], ['h', '/chat']]) {
    await page.type('g');
    await page.type(letter);
    await page.until(`location.pathname === '${path}'`, `g ${letter} goes to ${path}`);
    await page.ready();
    await page.evaluate('document.activeElement.blur()');
  }
}

/** On the narrowest phones: what is told fits, and what many are chosen for spans the screen. */
export async function narrow({ page, base }) {
  const within = (selector, width) => page.evaluate(`[...document.querySelectorAll('${selector}')].every((one) => { const box = one.getBoundingClientRect(); return box.width > 0 && box.left >= 0 && box.right <= ${width}; })`);
  await page.size(320, 640);
  for (const view of ['/admin/token', '/admin/keys', '/admin/requests', '/admin/jobs', '/admin/datacenter', '/admin/cluster', '/admin/cache', '/admin/config', '/admin/users', '/chat']) {
    await page.goto(base + view);
    await page.ready();
    assert.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, `${view} at 320 px`);
  }
  await page.goto(`${base}/admin/token`);
  await page.ready();
  await page.click(`${id('tokens')} .lines .open`);
  await page.click(id('disable'));
  await page.see('.toast');
  assert.equal(await within('.toast', 320), true, 'a toast at 320 px');
  await page.click(id('enable'));
  await page.see(`${id('disable')}:not(:disabled)`);
  await page.press('Escape');
  await page.size(390, 844);
  await page.goto(`${base}/admin/token`);
  await page.ready();
  await page.click(`${id('tokens')} .lines input[type=checkbox]`);
  await page.see(id('batch'));
  assert.ok(await page.evaluate(`document.querySelector('${id('batch')}').getBoundingClientRect().width > 390 - 32`), 'the bar spans the phone');
  assert.equal(await within(`${id('batch')} button`, 390), true, 'with all its buttons');
  await page.size(1280, 860);
}

/** Ten thousand at once: with progress, and a stop. */
export async function bigBatch({ page, base }) {
  await page.goto(`${base}/admin/token`);
  await page.ready();
  await page.click(`${id('tokens')} .heads input[type=checkbox]`);
  await page.until(`/^9.?700 /.test(document.querySelector('${id('batch')} strong')?.innerText || '')`, 'all are chosen', 60_000);
  await page.click(id('batch-disable'));
  await page.see(`${id('batch-progress')} progress`);
  await page.click(id('batch-stop'));
  await page.until("/Stopped after \\d+/.test((document.querySelector('.toast')?.innerText || '').replace(/\\u2009/g, ''))", 'it is stopped, and says where', 120_000);
  const { total } = await api(page, 'GET', '/tokens?limit=1&state=disabled');
  assert.ok(total < 9700, `${total} are off`);
}

/** Too many wrong passwords: the door says how long, and the form waits. */
export async function throttled({ page, base, expecting }) {
  await page.click(id('logout'));
  await page.see(id('login'));
  await expecting(/401|429/, async () => {
    for (let tries = 0; tries < 40; tries += 1) {
      await page.until('!document.querySelector("form button[type=submit]").disabled || /Wait/.test(document.querySelector("form button[type=submit]").innerText)', 'an answer');
      if (/Wait/.test(await page.text('form button[type=submit]'))) break;
      await page.fill('input[name=password]', `wrong ${tries}`);
      await page.evaluate("document.querySelector('form').requestSubmit()");
      await page.until('document.querySelector("form button[type=submit]").disabled === false || /Wait/.test(document.querySelector("form button[type=submit]").innerText)', 'it is refused');
    }
  });
  await page.until('/Wait \\d+ s/.test(document.querySelector("form button[type=submit]").innerText)', 'the form says how long');
  assert.match(await page.text(id('login-fault')), /wait|many|again/i);
  assert.equal(await page.evaluate('document.querySelector("form button[type=submit]").disabled'), true);
  await page.goto(`${base}/login`);
}

/** A node that dies under an open form, and comes back: both are said, and the form is still there. */
export async function dies({ page, base, expecting, kill, told, picture }) {
  await page.goto(`${base}/admin/keys?new=1`);
  await page.ready();
  await page.fill(id('key-name'), `typed-before-${RUN}`);
  await expecting(/./, async () => {
    kill();
    await page.see(id('away'));
    assert.match(await page.text(id('away')), /not answered/);
    await page.click(id('key-save'));
    await page.see(`${id('key-dialog')} ${id('failure')}`);
    for (const width of [1280, 390]) { await page.size(width, 860); await picture(`keys-broken-${width}-light-en`); }
    await page.size(1280, 860);
    told();
    await page.until(`!document.querySelector('${id('away')}')`, 'it is back', 120_000);
  });
  assert.equal(await page.evaluate(`document.querySelector('${id('key-name')}').value`), `typed-before-${RUN}`);
  await page.click(id('key-save'));
  await page.see(id('secret'));
  await page.click(id('secret-done'));
  await page.until(`document.querySelector('${id('health')}').innerText.includes('one node')`, 'and the top bar says so');
}
