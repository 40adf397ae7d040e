// What each page must be able to do, against a real gateway.

import assert from 'node:assert/strict';
import { NASTY, RUN, id } from './marks.mjs';
import { COUNTED, pressed } from './twice.mjs';

export async function login({ page, password, expecting }) {
  await expecting(/401/, async () => {
    await page.fill('input[name=password]', 'not the password');
    await page.click('form button[type=submit]');
    await page.see(id('login-fault'));
  });
  assert.match(await page.text(id('login-fault')), /password/i);
  await page.until('!document.querySelector("form button[type=submit]").disabled', 'the form can be sent again');
  await page.fill('input[name=password]', password);
  await page.click('form button[type=submit]');
  await page.ready();
  assert.match(await page.evaluate('location.pathname'), /^\/admin\/requests$/, 'it goes where one wanted to go');
  assert.equal(await page.evaluate('Object.values({ ...localStorage, ...sessionStorage }).some((value) => value.includes("adm_"))'), false, 'no token of the session is kept');
  assert.equal(await page.evaluate('document.cookie'), '', 'scripts cannot read the cookie');
}

export async function keys({ page, base, expecting }) {
  await page.goto(`${base}/admin/keys`);
  await page.ready();
  await page.click(id('key-new'));
  await page.fill(id('key-name'), NASTY);
  await page.fill(id('key-rpm'), 'many');
  await expecting(/400/, async () => {
    await page.click(id('key-save'));
    await page.see(`${id('key-dialog')} .fault, ${id('key-dialog')} ${id('failure')}`);
  });
  assert.match(await page.text(id('key-dialog')), /rpm/);
  assert.equal(await page.evaluate(`document.querySelector('${id('key-name')}').value.length`), NASTY.length, 'the form keeps what was typed');
  await page.fill(id('key-rpm'), '60');
  await page.fill(id('key-chat_limit'), '10');
  await page.click(id('key-save'));
  await page.see(id('secret'));
  const secret = await page.text(id('secret'));
  assert.match(secret, /^sk-/);
  await page.press('Escape');
  await page.see(id('secret'));
  const answer = await fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${secret}` } });
  assert.equal(answer.status, 200, 'the key opens /v1');
  await page.click(id('secret-done'));
  await page.gone(id('key-secret'));
  assert.equal(await page.evaluate(`document.body.innerText.includes(${JSON.stringify(secret)})`), false, 'shown once');
  const row = `[...document.querySelectorAll('${id('keys')} .lines .line')].find((row) => row.innerText.includes('onerror'))`;
  await page.until(`!!(${row})`, 'the key is listed');
  assert.match(await page.evaluate(`(${row}).innerText`), /0 \/ 10/);
  await page.evaluate(`(${row}).querySelector('.open').click()`);
  await page.click(id('key-delete'));
  await page.click(id('confirm-yes'));
  await page.until(`!(${row})`, 'and is gone');
}

export async function chat({ page, base }) {
  await page.goto(`${base}/chat`);
  await page.ready();
  await page.until(`document.querySelectorAll('${id('model')} option').length > 2`, 'models are offered');
  await page.fill(id('message'), 'Say something about the number seven.');
  await page.press('Enter');
  await page.see(id('turn'));
  await page.until(`!document.querySelector('${id('turn-live')}')`, 'the answer ended');
  assert.ok((await page.text(`${id('turn')} .markdown`)).length > 5, 'there is an answer');
  await page.until(`/tokens/.test(document.querySelector('${id('turn')} .acts').innerText)`, 'with its usage');
  await page.until(`!!document.querySelector('${id('turn')} .acts a[href*="open=req_"]')`, 'and the token that served it');
  await page.click(id('again'));
  await page.until(`!document.querySelector('${id('turn-live')}') && document.querySelectorAll('${id('turn')}').length === 1`, 'it answers anew');
  await page.goto(await page.evaluate('location.href'));
  await page.see(id('turn'));
}

/** The ends of log files, by node, level and text. */
export async function logFiles({ page, base }) {
  await page.goto(`${base}/admin/datacenter`);
  await page.ready();
  await page.click(id('logs-files'));
  await page.until(`document.querySelectorAll('${id('logfile-lines')} .logline').length > 0`, 'lines of the newest file');
  await page.fill(id('logfile-text'), 'admin action');
  await page.until(`(() => { const lines = [...document.querySelectorAll('${id('logfile-lines')} .logline')]; return lines.length > 0 && lines.every((one) => one.innerText.includes('admin action')); })()`, 'only those with the text');
}

/** Who may only look sees no button that changes anything, and the backend lets none through. */
export async function viewer({ page, base, password, expecting }) {
  const made = await page.evaluate(`(async () => { const view = await (await fetch('/api/v1/admin/session')).json(); const post = (path, body) => fetch('/api/v1/admin' + path, { method: 'POST', headers: { 'x-csrf-token': view.csrf_token, 'content-type': 'application/json' }, body: JSON.stringify(body) }); const added = await (await post('/users', { username: 'looker-${RUN}', role: 'viewer' })).json(); await post('/logout', {}); localStorage.removeItem('grok2api.known'); return added.password; })()`);
  await page.goto(`${base}/login`);
  await page.goto(`${base}/login`);
  await page.fill('input[name=username]', `looker-${RUN}`);
  await page.fill('input[name=password]', made);
  await page.click('form button[type=submit]');
  await page.ready();
  const changing = ['add', 'export', 'key-new', 'job-start', 'user-add', 'drain', 'cache-clear', 'config-review', 'image-go'];
  for (const view of ['/admin/token', '/admin/keys', '/admin/jobs', '/admin/cluster', '/admin/cache', '/admin/config', '/admin/users']) {
    await page.goto(base + view);
    await page.ready();
    for (const name of changing) assert.equal(await page.evaluate(`!!document.querySelector('${id(name)}:not(:disabled)')`), false, `${name} on ${view} for a viewer`);
  }
  await page.goto(`${base}/admin/token`);
  await page.ready();
  await page.click(`${id('tokens')} .lines .open`);
  await page.see(id('quotas'));
  for (const name of ['disable', 'refresh', 'edit-save', 'token-delete']) assert.equal(await page.evaluate(`!!document.querySelector('${id(name)}')`), false, `${name} in the drawer`);
  // A key's limits and the configuration are there to be read.
  await page.goto(`${base}/admin/keys`);
  await page.ready();
  await page.click(`${id('keys')} .lines .open`);
  await page.see(id('key-dialog'));
  assert.equal(await page.evaluate(`[...document.querySelectorAll('${id('key-dialog')} input, ${id('key-dialog')} select, ${id('key-dialog')} textarea')].every((one) => one.disabled)`), true, 'no field of a key takes anything');
  for (const name of ['key-save', 'key-delete', 'key-rotate', 'key-flip']) assert.equal(await page.evaluate(`!!document.querySelector('${id(name)}')`), false, `${name} in the dialog`);
  await page.goto(`${base}/admin/config`);
  await page.ready();
  assert.equal(await page.evaluate("[...document.querySelectorAll('.setting .value [id]')].every((one) => one.disabled)"), true, 'no key of the configuration takes anything');
  await page.goto(`${base}/admin/jobs`);
  await page.ready();
  await page.click('.job .open');
  await page.see(id('job-drawer'));
  for (const name of ['job-pause', 'job-resume', 'job-retry', 'job-stop', 'job-revoke']) assert.equal(await page.evaluate(`!!document.querySelector('${id(name)}')`), false, `${name} in the drawer`);
  await expecting(/403/, async () => {
    const said = await page.evaluate(`(async () => { const view = await (await fetch('/api/v1/admin/session')).json(); const statuses = []; for (const [method, path] of [['POST', '/session/key'], ['POST', '/keys'], ['POST', '/cache/clear'], ['POST', '/tokens/delete'], ['POST', '/operations/cache.clear']]) statuses.push((await fetch('/api/v1/admin' + path, { method, headers: { 'x-csrf-token': view.csrf_token, 'content-type': 'application/json' }, body: '{}' })).status); return statuses; })()`);
    assert.deepEqual(said, [403, 403, 403, 403, 403]);
  });
}

export async function requests({ page, base }) {
  await page.goto(`${base}/admin/requests?outcome=success`);
  await page.ready();
  await page.click(`${id('requests')} .lines .open`);
  await page.see(`${id('request-drawer')} .timeline`);
  const text = await page.text(id('request-drawer'));
  for (const part of [/Attempts/, /Candidates/, /chosen/, /Usage/, /\/v1\/chat\/completions/]) assert.match(text, part);
  await page.press('Escape');
  await page.gone(id('request-drawer'));
  await page.choose(id('request-outcome'), 'internal');
  await page.see(id('empty'));
  await page.choose(id('request-outcome'), 'success');
  await page.see(`${id('requests')} .lines .open`);
  await page.until("location.search.includes('outcome=success')", 'and it stands in the address');
}

export async function datacenter({ page, base }) {
  await page.goto(`${base}/admin/datacenter`);
  await page.ready();
  await page.until('document.querySelectorAll(".chart canvas").length === 2', 'two charts');
  const asked = await page.evaluate("fetch('/api/v1/admin/requests?limit=1').then((answer) => answer.json()).then((answer) => answer.total)");
  const shown = await page.text('.cards .figure .value');
  assert.ok(Number(shown) > 0 && Number(shown) <= asked, `${shown} of ${asked}`);
  await page.click('.chart + *, .tabs button:nth-child(3)');
}

export async function cluster({ page, base }) {
  await page.goto(`${base}/admin/cluster`);
  await page.ready();
  assert.match(await page.text('main'), /stands alone|独立运行/);
  // What happens is told as it happens.
  await page.until(`/live/.test(document.querySelector('${id('feed')}').innerText)`, 'it listens');
  await page.evaluate(`(async () => { const view = await (await fetch('/api/v1/admin/session')).json(); const token = (await (await fetch('/api/v1/admin/tokens?limit=1')).json()).items[0].id; for (const to of ['off', 'on']) await fetch('/api/v1/admin/tokens/' + token, { method: 'PATCH', headers: { 'x-csrf-token': view.csrf_token, 'content-type': 'application/json' }, body: JSON.stringify({ switch: to }) }); })()`);
  await page.until(`/Switched off/.test(document.querySelector('${id('feed')}').innerText)`, 'a token was switched off');
}

/** A job of a list, live to its end; its failures have reasons; a retry, a pause and the history. */
export async function jobs({ page, base }) {
  await page.goto(`${base}/admin/jobs`);
  await page.ready();
  await page.click(id('job-start'));
  await page.fill(id('job-lines'), [...Array.from({ length: 30 }, (_, n) => `xai-job-${RUN}-${n}`), 'no credential', 'none either'].join('\n'));
  await page.click(id('job-go'));
  await page.see(id('job-drawer'));
  await page.until(`/Completed|Given up/.test(document.querySelector('${id('job-drawer')} .mark')?.innerText || '')`, 'the job ends', 60_000);
  await page.until(`/no credential|spaces/.test(document.querySelector('${id('job-reasons')}')?.innerText || '') && document.querySelectorAll('${id('job-items')} tbody tr').length > 10`, 'why items failed');
  await page.click(id('job-retry'));
  await page.until(`/Completed|Given up/.test(document.querySelector('${id('job-drawer')} .mark')?.innerText || '')`, 'the retry ends', 60_000);
  await page.press('Escape');
  await page.gone(id('job-drawer'));
  await page.until(`document.querySelectorAll('${id('job')}').length >= 1`, 'it stays in the history');
  // What is not configured is told in the dialog, and the form stays.
  await page.click(id('job-start'));
  await page.choose(id('job-kind'), 'provision');
  await page.fill(id('job-count'), '7');
}

export async function jobRefused({ page, expecting }) {
  await expecting(/400/, async () => {
    await page.click(id('job-go'));
    await page.see(`${id('job-dialog')} ${id('failure')}`);
  });
  assert.match(await page.text(`${id('job-dialog')} ${id('failure')}`), /provisioner_url/);
  assert.equal(await page.evaluate(`document.querySelector('${id('job-count')}').value`), '7');
  await page.press('Escape');
  await page.gone(id('job-dialog'));
}

/** Accounts: one is made, becomes an administrator, goes again; what was done is on record. */
export async function users({ page, base }) {
  await page.goto(`${base}/admin/users`);
  await page.ready();
  const name = `viewer-${RUN}`;
  await page.click(id('user-add'));
  await page.fill(id('user-name'), name);
  await page.click(id('user-save'));
  await page.see(id('user-told'));
  await page.click(id('user-saved'));
  await page.until(`document.querySelector('${id('users')}').innerText.includes('${name}')`, 'it is listed');
  await page.click(id('user-flip'));
  await page.until(`/administrator/.test([...document.querySelectorAll('${id('users')} tr')].find((one) => one.innerText.includes('${name}')).innerText)`, 'it is an administrator');
  await page.click(id('user-delete'));
  await page.click(id('confirm-yes'));
  await page.until(`!document.querySelector('${id('users')}').innerText.includes('${name}')`, 'it is gone');
  await page.fill(id('audit-search'), name);
  await page.until(`['users.add', 'users.patch', 'users.delete'].every((one) => document.querySelector('${id('audit')}')?.innerText.includes(one))`, 'all of it is on record', 20_000);
  assert.match(await page.text(id('audit')), /viewer → admin/);
}

/** Sums of days: what the log counts, they count. */
export async function long({ page, base }) {
  await page.goto(`${base}/admin/datacenter`);
  await page.ready();
  await page.click(id('long-7d'));
  await page.until(`Number(document.querySelector('${id('long-total')}')?.innerText) >= 14 && document.querySelectorAll('.hours g').length === 8`, 'a week, day by day');
}

/** The live log tells what is done meanwhile, and no more while it is paused. */
export async function liveLog({ page, base }) {
  await page.goto(`${base}/admin/datacenter`);
  await page.ready();
  await page.fill(id('log-text'), 'admin action');
  await page.until(`(async () => { const view = await (await fetch('/api/v1/admin/session')).json(); await fetch('/api/v1/admin/tokens/clear-cooling', { method: 'POST', headers: { 'x-csrf-token': view.csrf_token, 'content-type': 'application/json' }, body: JSON.stringify({ ids: [(await (await fetch('/api/v1/admin/tokens?limit=1')).json()).items[0].id] }) }); return /tokens.clear_cooling/.test(document.querySelector('${id('log-lines')}').innerText); })()`, 'a line of what was done');
  await page.click(id('log-pause'));
  await page.click(id('log-pause'));
}

export async function config({ page, base, expecting }) {
  await page.goto(`${base}/admin/config`);
  await page.ready();
  await page.fill(id('config-search'), 'max_wait_ms');
  const value = id('value-clients.max_wait_ms');
  await page.see(value);
  const before = await page.evaluate(`document.querySelector('${value}').value`);
  await page.fill(value, 'soon');
  await page.click(id('config-review'));
  await page.see('.setting [role=alert]');
  await page.fill(value, '12345');
  await page.click(id('config-review'));
  await page.see(id('config-diff'));
  assert.match(await page.text(id('config-diff')), /12345/);
  await page.click(id('config-save'));
  await page.gone(id('config-diff'));
  await page.until(`document.querySelector('${id('key-clients.max_wait_ms')}').innerText.includes('file')`, 'its source is the file');
  await page.goto(`${base}/admin/config?text=max_wait_ms`);
  await page.ready();
  assert.equal(await page.evaluate(`document.querySelector('${value}').value`), '12345');
  await page.fill(value, before);
  await page.click(id('config-review'));
  await page.click(id('config-save'));
  await page.gone(id('config-diff'));
  await expecting(/400|422/, async () => {
    await page.fill(id('config-search'), 'app_url');
    await page.fill(id('value-app.app_url'), 'no address');
    await page.click(id('config-review'));
    await page.click(id('config-save'));
    await page.see(`.setting [role=alert], ${id('failure')}`);
  });
}

export async function keyboard({ page, base }) {
  await page.goto(`${base}/admin/token`);
  await page.ready();
  await page.type('g');
  await page.type('k');
  await page.until('location.pathname === "/admin/keys"', 'g k goes to the keys');
  await page.ready();
  await page.type('/');
  await page.until('document.activeElement.matches("[data-search]")', '/ goes to the search');
  await page.evaluate('document.activeElement.blur()');
  await page.type('?');
  await page.see('[role=dialog]');
  await page.press('Escape');
  await page.gone('[role=dialog]');
}

export async function phone({ page, base }) {
  await page.size(390, 844);
  await page.goto(`${base}/admin/token`);
  await page.ready();
  await page.click(id('menu'));
  await page.see('.rail.open');
  await page.press('Escape');
  await page.gone('.rail.open');
  await page.click(id('menu'));
  await page.click('.rail-mask');
  await page.gone('.rail.open');
  await page.click(id('menu'));
  await page.click(id('nav-requests'));
  await page.until('location.pathname === "/admin/requests"', 'a link closes the drawer');
  await page.gone('.rail.open');
  await page.size(1280, 860);
}

/** A browser whose clock is three hours ahead: times are the server's. */
export async function skewed({ page, base }) {
  const { identifier } = await page.call('Page.addScriptToEvaluateOnNewDocument', { source: 'const real = Date.now.bind(Date); Date.now = () => real() + 3 * 3600 * 1000;' });
  await page.goto(`${base}/admin/token?sort=-last_used`);
  await page.ready();
  await page.until(`/(now|s|min) ago|just now/.test(document.querySelector('${id('tokens')} .lines .line').innerText.replace('\u2009', ' '))`, 'the last use was minutes ago, not hours');
  await page.goto(`${base}/admin/datacenter?window=15m`);
  await page.ready();
  assert.ok(Number(await page.text('.cards .figure .value')) > 0, 'the last quarter of an hour is the server\'s');
  await page.call('Page.removeScriptToEvaluateOnNewDocument', { identifier });
}

/** A session that ends under an open form: what was typed stays. */
export async function session({ page, base, password, expecting }) {
  await page.goto(`${base}/admin/keys?new=1`);
  await page.fill(id('key-name'), 'typed before the session ended');
  await expecting(/401/, async () => {
    await page.evaluate("fetch('/api/v1/admin/session').then((answer) => answer.json()).then((view) => fetch('/api/v1/admin/logout', { method: 'POST', headers: { 'x-csrf-token': view.csrf_token } }))");
    await page.click(id('key-save'));
    await page.see(id('login-again'));
    await page.fill(`${id('login-again')} input[name=password]`, password);
    await page.evaluate(COUNTED);
    await pressed(page)(`${id('login-again')} button[type=submit]`, ['POST /login'], () => page.gone(id('login-again')));
  });
  assert.equal(await page.evaluate(`document.querySelector('${id('key-name')}').value`), 'typed before the session ended');
  await page.click(id('key-save'));
  await page.see(id('secret'));
  await page.click(id('secret-done'));
}

export async function logout({ page }) {
  await page.click(id('logout'));
  await page.see(id('login'));
  assert.equal(await page.evaluate("JSON.stringify({ ...sessionStorage }).includes('sk-')"), false, 'no key is left behind');
}

/** Two nodes: both are seen, and one hands over. */
export async function nodes({ page, base, picture }) {
  await page.goto(`${base}/admin/cluster`);
  await page.ready();
  await page.until(`document.querySelectorAll('${id('node')}').length === 2 && document.querySelectorAll('.ring path').length === 16`, 'two nodes and a ring');
  await page.until(`/2 of 2/.test(document.querySelector('${id('health')}').innerText)`, 'the top bar counts them');
  await page.until('new Set([...document.querySelectorAll(".ring path")].map((one) => one.getAttribute("fill"))).size === 2', 'both own shards');
  const nearest = await page.evaluate(`import('/admin/ui/parts/ring.js').then(({ coloursOf }) => {
    const of = Array.from({ length: 12 }, (_, at) => 'node' + at).concat(Array.from({ length: 400 }, (_, at) => 'x' + at).filter((one) => coloursOf([one])[one] === coloursOf(['node0']).node0));
    const hues = Object.values(coloursOf(of)).map((colour) => Number(colour.match(/([0-9.]+)\\)$/)[1])).sort((a, b) => a - b);
    return Math.min(...hues.map((hue, at) => (at ? hue - hues[at - 1] : hue + 360 - hues.at(-1)))) / (180 / of.length);
  })`);
  assert.ok(nearest >= 1, `colours of nodes can be told apart: ${nearest}`);
  for (const scheme of ['light', 'dark']) for (const width of [1280, 390]) { await page.size(width, 860); await page.scheme(scheme); await picture(`cluster-nodes-${width}-${scheme}-en`); }
  await page.size(1280, 860);
  await page.scheme('light');
  const other = `[...document.querySelectorAll('${id('node')}')].find((one) => one.innerText.includes('node1'))`;
  await page.evaluate(`(${other}).querySelector('${id('drain')}').click()`);
  await page.see(id('confirm'));
  await page.evaluate(COUNTED);
  await pressed(page)(id('confirm-yes'), ['POST /cluster/drain'], () => page.gone(id('confirm')));
  await page.until(`!(${other}) || !(${other}).querySelector('${id('drain')}')`, 'it drains or is gone');
  await page.until('new Set([...document.querySelectorAll(".ring path")].map((one) => one.getAttribute("fill"))).size === 1', 'the other one owns every shard');
  await page.until(`/Shard \\d+/.test(document.querySelector('${id('feed')}').innerText)`, 'and the feed tells of it');
}
