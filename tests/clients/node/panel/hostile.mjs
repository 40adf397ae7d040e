// Names that nobody gives by mistake: markup, letters that turn the line round, five kilobytes. What the API takes is shown
// as text, in its place, and nothing stands beside the screen; what it does not take is refused with its bound.

import assert from 'node:assert/strict';
import { RUN, id } from './marks.mjs';

const MARKUP = '<img src=x onerror=console.error(1)><script>console.error(2)</script>';
const TURNED = 'invoice\u202Efdp.exe\u2066\u2069 שלום';
const HUGE = 'W'.repeat(5120);
/** As long as a name may be, without a place to break it. */
const upTo = (length, tail = '') => `${MARKUP}${TURNED}${HUGE}`.slice(0, length - tail.length) + tail;

const PAGES = ['/admin/token', '/admin/keys', '/admin/requests', '/admin/jobs', '/admin/datacenter', '/admin/cluster', '/admin/cache', '/admin/cache?tab=online', '/admin/config', '/admin/users', '/chat', '/chat?mode=image', '/chat?mode=video'];
const SIZES = [[1280, 860], [390, 844]];

/** Calls the admin API as the page does: [status, body]. */
const api = (page, method, path, body, type = 'application/json') => page.evaluate(`(async () => {
  const view = await (await fetch('/api/v1/admin/session')).json();
  const body = ${JSON.stringify(type === 'application/json' ? JSON.stringify(body ?? {}) : body)};
  const answer = await fetch('/api/v1/admin${path}', { method: '${method}', headers: { 'x-csrf-token': view.csrf_token, 'content-type': '${type}' }, body: ${method === 'GET' ? 'undefined' : 'body'} });
  return [answer.status, await answer.json().catch(() => null)];
})()`);

/** Faults of all pages: they are told together. */
const found = [];

/** What is on the screen: nothing made of a name's markup, nothing beside the page, nothing cut without its whole. What is
 * said in a conversation is no name: there the letters stand, apart from all else. */
async function standsFast(page, where) {
  const faults = await page.evaluate(`(() => {
    const faults = [];
    if (document.documentElement.scrollWidth > innerWidth) faults.push('the page scrolls sideways: ' + document.documentElement.scrollWidth);
    if (document.querySelector('img[src="x"], img[onerror], main script')) faults.push('markup of a name became an element');
    const scrolls = (one) => { for (let up = one; up && up !== document.body; up = up.parentElement) { const way = getComputedStyle(up).overflowX; if (up !== one && way !== 'visible') return true; } return false; };
    const walk = document.createTreeWalker(document.getElementById('app'), NodeFilter.SHOW_TEXT);
    for (let text = walk.nextNode(); text; text = walk.nextNode()) {
      if (/[\\u202a-\\u202e\\u2066-\\u2069]/.test(text.data) && !text.parentElement.closest('textarea, .turns')) faults.push('a letter that turns the line: ' + text.data.slice(0, 60));
    }
    for (const one of document.querySelectorAll('main *, [role=dialog] *, .toast *')) {
      const box = one.getBoundingClientRect();
      if (box.width && (box.right > innerWidth + 1 || box.left < -1) && !scrolls(one) && !one.closest('.hidden-text') && !one.matches('.hidden-text, .skip')) faults.push(one.tagName + '.' + one.className + ' stands beside the screen: ' + Math.round(box.right));
      const style = getComputedStyle(one);
      if (style.textOverflow === 'ellipsis' && one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1 && one.innerText && !one.matches('input, textarea')) {
        one.dispatchEvent(new MouseEvent('mouseover', { bubbles: true }));
        const told = one.title || one.querySelector('[title]') || one.closest('[title]');
        if (!told) faults.push(one.tagName + '.' + one.className + ' is cut and tells no more: ' + one.innerText.slice(0, 60));
      }
    }
    return [...new Set(faults)].slice(0, 8);
  })()`);
  for (const fault of faults) found.push(`${where}: ${fault}`);
}

/** Too long, everywhere where somebody names something. */
async function refused(page) {
  const token = `xai-hostile-${RUN}`;
  const [, list] = await api(page, 'GET', '/tokens?limit=1');
  const first = list.items[0].id;
  const asks = [
    ['POST', '/tokens/add', { secret: token, label: HUGE }, /label.*500/],
    ['POST', '/tokens/add', { secret: token, note: HUGE }, /note.*500/],
    ['POST', '/tokens/add', { secret: token, tags: [HUGE] }, /tag.*64/],
    ['POST', '/tokens/add', { secret: token, pool: MARKUP }, /pool|apiKey/],
    ['PATCH', `/tokens/${first}`, { label: HUGE }, /label.*500/],
    ['PATCH', `/tokens/${first}`, { note: HUGE }, /note.*500/],
    ['POST', '/keys', { name: HUGE }, /name.*200/],
    ['POST', '/keys', { name: 'x', allowed_models: [HUGE] }, /model.*200/],
    ['POST', '/jobs', { title: HUGE, list: { lines: 'xai-a' } }, /title.*100/],
    ['POST', '/users', { username: HUGE, role: 'viewer' }, /username.*64/],
    ['POST', '/users', { username: 'a\u202Eb', role: 'viewer' }, /username/],
    ['POST', '/users', { username: 'somebody', role: MARKUP }, /role/],
  ];
  for (const [method, path, body, says] of asks) {
    const [status, answer] = await api(page, method, path, body);
    assert.equal(status, 400, `${method} ${path}: ${JSON.stringify(answer).slice(0, 300)}`);
    assert.match(answer.error.message, says, `${method} ${path} ${JSON.stringify(body).slice(0, 60)}: ${answer.error.message.slice(0, 300)}`);
    assert.ok(answer.error.message.length < 1000, `${path}: the answer is short`);
  }
  // Of a list the lines that are too long are told, and the others are taken.
  const [, report] = await api(page, 'POST', '/tokens/import', [JSON.stringify({ token: `${token}-good`, label: 'good' }), JSON.stringify({ token: `${token}-bad`, label: HUGE })].join('\n'), 'text/plain');
  assert.deepEqual([report.added, report.invalid], [1, 1], JSON.stringify(report).slice(0, 500));
  assert.match(report.lines.find((line) => line.result === 'invalid').reason, /label/);
}

/** What may be named so is named so, at its longest. */
async function named(page, base) {
  const ok = async (method, path, body) => {
    const [status, answer] = await api(page, method, path, body);
    assert.ok(status < 300, `${method} ${path}: ${status} ${JSON.stringify(answer).slice(0, 300)}`);
    return answer;
  };
  const names = [MARKUP, TURNED, upTo(500)];
  for (const [n, label] of names.entries()) await ok('POST', '/tokens/add', { secret: `xai-hostile-${RUN}-${n}`, label, note: label, tags: [label.slice(0, 64)] });
  const { data: key } = await ok('POST', '/keys', { name: upTo(200, RUN), allowed_models: [upTo(200), '*'] });
  await ok('POST', '/keys', { name: `${TURNED}${RUN}` });
  await ok('POST', '/jobs', { title: upTo(100), list: { lines: `xai-hostile-${RUN}-job\n${MARKUP}\n${TURNED}\n${'b d '.repeat(1200)}` } });
  await ok('POST', '/users', { username: `u-${RUN}-${'w'.repeat(64)}`.slice(0, 64), role: 'viewer' });
  await ok('POST', '/users', { username: `<img src=x onerror=console.error(4)>${RUN}`, role: 'viewer' });
  const text = `${MARKUP}\nsecond line\n[security]\nallow_anonymous = true\n${TURNED}`;
  await ok('POST', '/config', { xai: { rules: [{ status: 599, text }] } });
  const [, config] = await api(page, 'GET', '/config');
  assert.equal(config.xai.rules[0].text, text, 'a value keeps its line breaks');
  // What clients send: models, prompts, names of files.
  const bearer = { authorization: `Bearer ${key.key}` };
  const chat = (model) => fetch(`${base}/v1/chat/completions`, { method: 'POST', headers: { ...bearer, 'content-type': 'application/json' }, body: JSON.stringify({ model, messages: [{ role: 'user', content: MARKUP }] }) });
  for (const [model, status] of [[MARKUP, 404], [TURNED, 404], [upTo(200), 404], [HUGE, 400], ['grok-4.7', 200]]) {
    const answer = await chat(model);
    assert.equal(answer.status, status, `a model named ${model.slice(0, 40)}`);
    assert.ok((await answer.text()).length < 4000, 'and the answer is short');
  }
  for (const [name, takes] of [[MARKUP, true], [TURNED, true], [`${'f'.repeat(200)}.txt`, true], [HUGE, false]]) {
    const form = new FormData();
    form.append('purpose', 'assistants');
    form.append('file', new File(['content'], name, { type: 'text/plain' }));
    const answer = await fetch(`${base}/v1/files`, { method: 'POST', headers: bearer, body: form });
    if (takes) assert.equal(answer.status, 200, `a file named ${name.slice(0, 40)}`);
    else assert.ok(answer.status === 200 || answer.status === 400, `a file with a huge name: ${answer.status}`);
  }
  await fetch(`${base}/v1/images/generations`, { method: 'POST', headers: { ...bearer, 'content-type': 'application/json' }, body: JSON.stringify({ prompt: upTo(400), n: 1 }) });
  // A name that is tried at the door stands in the log.
  for (const username of [MARKUP, TURNED, HUGE]) {
    const answer = await fetch(`${base}/api/v1/admin/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username, password: 'wrong' }) });
    assert.ok([400, 401, 429].includes(answer.status), `a login as ${username.slice(0, 20)}: ${answer.status}`);
  }
}

/** What opens over a page with such a name in it. */
const FLOATS = [
  ['/admin/token?text=invoice', `${id('tokens')} .lines .open`, id('token-drawer')],
  ['/admin/token?text=onerror', `${id('tokens')} .lines .open`, `${id('token-drawer')} ${id('token-changes')}`],
  [`/admin/keys?text=${RUN}`, `${id('keys')} .lines .open`, id('key-dialog')],
  ['/admin/keys?text=onerror', `${id('keys')} .lines .open`, id('key-dialog')],
  ['/admin/requests?text=onerror', `${id('requests')} .lines .open`, `${id('request-drawer')} .timeline, ${id('request-drawer')} .facts`],
  ['/admin/requests?outcome=success', `${id('requests')} .lines .open`, `${id('request-drawer')} .timeline`],
  ['/admin/jobs', '.job .open', `${id('job-drawer')} ${id('job-items')}`],
  ['/admin/cache', '.gallery .shot', `${id('cache-preview')} img`],
];

export async function hostile({ page, base, expecting, picture }) {
  await expecting(/400/, async () => { await refused(page); });
  await expecting(/./, async () => { await named(page, base); });
  for (const [width, height] of SIZES) {
    await page.size(width, height);
    for (const view of PAGES) {
      await page.goto(base + view);
      await page.ready();
      if (view.endsWith('online')) { await page.click(id('online-go')); await page.see(`${id('online-list')} .lines .line`); }
      if (view === '/chat') {
        await page.until(`document.querySelectorAll('${id('model')} option').length > 2`, 'models are offered');
        await page.fill(id('message'), `${MARKUP} ${TURNED} ${HUGE}`);
        await page.click(id('send'));
        await page.until(`!!document.querySelector('${id('turn')}') && !document.querySelector('${id('turn-live')}')`, 'it is answered', 60_000);
      }
      if (view === '/chat?mode=image') {
        await page.fill(id('image-prompt'), upTo(600));
        await page.click(id('image-go'));
        await page.until(`!!document.querySelector('${id('picture')} img') && !!document.querySelector('${id('image-go')}')`, 'a picture');
      }
      if (view === '/admin/datacenter') {
        await page.click(id('logs-files'));
        await page.see(`${id('logfile-lines')} .logline`);
      }
      await standsFast(page, `${view} at ${width} px`);
      if (['/admin/token', '/admin/keys', '/admin/users', '/admin/requests'].includes(view)) await picture(`${view.split('/').pop()}-hostile-${width}-light-en`);
    }
    for (const [view, opener, shown] of FLOATS) {
      await page.goto(base + view);
      await page.ready();
      await page.click(opener);
      await page.see(shown);
      await page.until("[...document.querySelectorAll('.drawer')].every((one) => one.getAnimations().length === 0)", 'it stands');
      await standsFast(page, `${view}, opened, at ${width} px`);
      await page.press('Escape');
    }
  }
  // Named in a question and in what is told after it.
  await page.goto(`${base}/admin/keys?text=${RUN}`);
  await page.ready();
  await page.click(`${id('keys')} .lines .open`);
  await page.click(id('key-delete'));
  await page.see(id('confirm'));
  await standsFast(page, 'the question before deleting a key at 390 px');
  await page.click(id('confirm-yes'));
  await page.see('.toast');
  await standsFast(page, 'and what is told of it');
  await page.size(1280, 860);
  assert.deepEqual(found, []);
}
