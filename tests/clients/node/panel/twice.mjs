// What is pressed twice in one go, before the page can be drawn anew, is done once: on every form and in every dialog.

import assert from 'node:assert/strict';
import { RUN, id } from './marks.mjs';

/** What changes something is written down as it is sent. */
export const COUNTED = `window.sent = []; { const real = window.fetch; window.fetch = (path, options = {}) => { if ((options.method || 'GET') !== 'GET') window.sent.push(options.method + ' ' + String(path).replace('/api/v1/admin', '')); return real(path, options); }; }`;

export async function twice(tools) {
  const { page } = tools;
  const { identifier } = await page.call('Page.addScriptToEvaluateOnNewDocument', { source: COUNTED });
  for (const part of [login, tokens, many, keys, jobs, users, config, chat, made, kept]) await part(tools, pressed(page));
  await page.call('Page.removeScriptToEvaluateOnNewDocument', { identifier });
}

/** Two presses within one task; what was sent must be `sent` and no more. */
export const pressed = (page) => async (selector, sent, then) => {
  await page.until(`!!document.querySelector(${JSON.stringify(selector)}) && !document.querySelector(${JSON.stringify(selector)}).disabled`, `${selector} can be pressed`);
  await page.evaluate(`(() => { window.sent.length = 0; const one = document.querySelector(${JSON.stringify(selector)}); if (one.form) { one.click(); one.form.requestSubmit(); } else { one.click(); one.click(); } })()`);
  await then();
  // What a second press had begun would be on its way by now.
  await page.evaluate('new Promise((done) => setTimeout(done, 50))');
  const told = (await page.evaluate('window.sent')).map((one) => one.replaceAll(/(tok|key|job|req)_[0-9a-f]+/g, '$1').replace(/\?.*/, ''));
  assert.deepEqual(told, sent, `${selector}, pressed twice`);
};

const shownIn = (name, text) => `!!document.querySelector('${id(name)}')?.innerText.includes(${JSON.stringify(text)})`;

async function login({ page, base, password }, press) {
  await page.goto(`${base}/admin/token`);
  await page.ready();
  await press(id('logout'), ['POST /logout'], () => page.see(id('login')));
  await page.fill('input[name=password]', password);
  await press('form button[type=submit]', ['POST /login'], () => page.ready());
}

async function tokens({ page, base, password }, press) {
  await page.goto(`${base}/admin/token?add=1`);
  await page.ready();
  await page.fill(id('import-text'), `{"token": "xai-twice-${RUN}", "label": "twice-${RUN}"}`);
  await press(id('import-go'), ['POST /tokens/import'], () => page.see(id('import-report')));
  await page.goto(`${base}/admin/token?text=twice-${RUN}`);
  await page.ready();
  await page.click(`${id('tokens')} .lines .open`);
  await page.fill(id('edit-note'), 'noted once');
  await press(id('edit-save'), ['PATCH /tokens/tok'], () => page.until(shownIn('tokens', 'noted once')));
  await press(id('disable'), ['PATCH /tokens/tok'], () => page.see(`${id('enable')}:not(:disabled)`));
  await press(id('enable'), ['PATCH /tokens/tok'], () => page.see(`${id('disable')}:not(:disabled)`));
  await press(id('refresh'), ['POST /tokens/tok/refresh'], () => page.until(`!document.querySelector('${id('refresh')}').disabled`));
  await page.click(id('token-delete'));
  await press(id('confirm-yes'), ['DELETE /tokens/tok'], () => page.gone(id('token-drawer')));
  await page.call('Page.setDownloadBehavior', { behavior: 'deny' });
  await page.goto(`${base}/admin/token`);
  await page.ready();
  await page.click(id('export'));
  await page.fill(`${id('token-export')} input[autocomplete=current-password]`, password);
  await page.fill(`${id('token-export')} input[autocomplete=new-password]`, 'a passphrase of many letters');
  await press(id('export-go'), ['POST /tokens/export'], () => page.gone(id('token-export')));
}

/** A selection, of a few and of many. */
async function many({ page, base }, press) {
  const add = async (tag, count) => {
    await page.goto(`${base}/admin/token?add=1`);
    await page.ready();
    await page.fill(id('import-text'), Array.from({ length: count }, (_, n) => JSON.stringify({ token: `xai-${tag}-${RUN}-${n}`, tags: [`${tag}${RUN}`] })).join('\n'));
    await page.click(id('import-go'));
    await page.see(id('import-report'));
    await page.goto(`${base}/admin/token?text=${tag}${RUN}`);
    await page.ready();
    await page.click(`${id('tokens')} .heads input[type=checkbox]`);
    await page.until(`document.querySelector('${id('batch')} strong')?.innerText.startsWith('${count} ')`, 'all are chosen');
  };
  await add('few', 2);
  const back = () => page.see(`${id('batch')} strong`);
  await press(id('batch-disable'), ['PATCH /tokens/tok', 'PATCH /tokens/tok'], () => page.see(id('toast-action')));
  await press(id('toast-action'), ['PATCH /tokens/tok', 'PATCH /tokens/tok'], back);
  await page.until(`document.querySelector('${id('batch-refresh')}')`);
  await press(id('batch-refresh'), ['POST /tokens/refresh'], back);
  await page.until(`document.querySelector('${id('batch-clear')}')`);
  await press(id('batch-clear'), ['POST /tokens/clear-cooling'], back);
  await page.click(id('batch-delete'));
  await press(id('confirm-yes'), ['POST /tokens/delete'], () => page.see(id('empty')));
  await add('lots', 25);
  await page.click(id('batch-delete'));
  await press(id('confirm-yes'), ['POST /jobs'], () => page.see(id('empty')));
}

async function keys({ page, base }, press) {
  const name = `twice-${RUN}`;
  await page.goto(`${base}/admin/keys?new=1`);
  await page.ready();
  await page.fill(id('key-name'), name);
  await press(id('key-save'), ['POST /keys'], () => page.see(id('secret')));
  await page.click(id('secret-done'));
  const open = async () => {
    await page.goto(`${base}/admin/keys?text=${name}`);
    await page.ready();
    await page.until(`document.querySelectorAll('${id('keys')} .lines .line').length === 1`, 'one key');
    await page.click(`${id('keys')} .lines .open`);
    await page.see(id('key-dialog'));
  };
  await open();
  await page.fill(id('key-rpm'), '12');
  await press(id('key-save'), ['PATCH /keys/key'], () => page.gone(id('key-dialog')));
  await open();
  await press(id('key-flip'), ['PATCH /keys/key'], () => page.see(id('toast-action')));
  await press(id('toast-action'), ['PATCH /keys/key'], () => page.until(shownIn('keys', 'Active')));
  await open();
  await page.click(id('key-rotate'));
  await press(id('confirm-yes'), ['POST /keys/key/rotate'], () => page.see(id('secret')));
  await page.click(id('secret-done'));
  await open();
  await page.click(id('key-delete'));
  await press(id('confirm-yes'), ['DELETE /keys/key'], () => page.gone(id('key-dialog')));
}

async function jobs({ page, base }, press) {
  await page.goto(`${base}/admin/jobs?start=1`);
  await page.ready();
  await page.fill(id('job-lines'), `xai-job-twice-${RUN}\nno credential`);
  await press(id('job-go'), ['POST /jobs'], () => page.see(id('job-drawer')));
  await press(id('job-retry'), ['POST /jobs/job/resume'], () => page.see('.toast'));
}

async function users({ page, base }, press) {
  const name = `twice-${RUN}`;
  await page.goto(`${base}/admin/users`);
  await page.ready();
  await page.click(id('user-add'));
  await page.fill(id('user-name'), name);
  await press(id('user-save'), ['POST /users'], () => page.see(id('user-told')));
  await page.click(id('user-saved'));
  await page.until(shownIn('users', name));
  await press(id('user-flip'), ['POST /users/patch'], () => page.see('.toast'));
  await page.click(id('user-password'));
  await press(id('confirm-yes'), ['POST /users/patch'], () => page.see(id('user-told')));
  await page.click(id('user-saved'));
  await page.click(id('user-delete'));
  await press(id('confirm-yes'), ['POST /users/delete'], () => page.until(`!${shownIn('users', name)}`));
}

async function config({ page, base }, press) {
  await page.goto(`${base}/admin/config?text=max_wait_ms`);
  await page.ready();
  const value = id('value-clients.max_wait_ms');
  const before = await page.evaluate(`document.querySelector('${value}').value`);
  for (const now of ['4321', before]) {
    await page.fill(value, now);
    await page.click(id('config-review'));
    await press(id('config-save'), ['POST /config'], () => page.gone(id('config-diff')));
  }
}

const CALL = 'POST /v1/chat/completions';

async function chat({ page, base }, press) {
  await page.goto(`${base}/chat`);
  await page.ready();
  await page.until(`document.querySelectorAll('${id('model')} option').length > 2`, 'models are offered');
  const turns = (n) => () => page.until(`document.querySelectorAll('${id('turn')}').length === ${n} && !document.querySelector('${id('turn-live')}')`, 'it is answered');
  await press('.asks .button', [CALL], turns(1));
  await page.fill(id('message'), 'once');
  await press(id('send'), [CALL], turns(2));
  assert.equal(await page.evaluate("document.querySelectorAll('.turn.mine').length"), 2, 'and said once');
  await page.fill(id('message'), 'by Enter');
  await page.evaluate(`(() => { window.sent.length = 0; const box = document.querySelector('${id('message')}'); for (const n of [1, 2]) box.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true })); })()`);
  await turns(3)();
  assert.deepEqual(await page.evaluate('window.sent'), [CALL], 'Enter, pressed twice');
  await press(id('again'), [CALL], turns(3));
  await page.evaluate("[...document.querySelectorAll('.turn.mine')].at(-1).querySelector('.acts .icon:last-child').click()");
  await press('form.bubble button[type=submit]', [CALL], turns(3));
}

/** Pictures and videos. */
async function made({ page, base }, press) {
  await page.goto(`${base}/chat?mode=image`);
  await page.ready();
  const shots = await page.evaluate(`document.querySelectorAll('${id('picture')}').length`);
  await page.fill(id('image-prompt'), 'one picture');
  await press(id('image-go'), ['POST /v1/images/generations'], () => page.until(`document.querySelectorAll('${id('picture')} img').length === ${shots + 1} && !!document.querySelector('${id('image-go')}')`, 'one more picture'));
  await page.goto(`${base}/chat?mode=video`);
  await page.ready();
  await page.fill(id('film-prompt'), 'one film');
  await press(id('film-go'), ['POST /v1/videos/generations'], () => page.until(`!document.querySelector('${id('film-go')}').disabled && !!document.querySelector('${id('film')}')`, 'it is begun'));
}

async function kept({ page, base }, press) {
  await page.goto(`${base}/admin/cache`);
  await page.ready();
  await page.click(`${id('cache-gallery')} .shot`);
  await page.click(id('cache-delete'));
  await press(id('confirm-yes'), ['POST /cache/item/delete'], () => page.gone(id('cache-preview')));
  await page.evaluate(`(async () => { const view = await (await fetch('/api/v1/admin/session')).json(); const { key } = await (await fetch('/api/v1/admin/session/key', { method: 'POST', headers: { 'x-csrf-token': view.csrf_token, 'content-type': 'application/json' }, body: '{}' })).json(); const form = new FormData(); form.append('purpose', 'assistants'); form.append('file', new File(['content'], 'twice.txt', { type: 'text/plain' })); await fetch('/v1/files', { method: 'POST', headers: { authorization: 'Bearer ' + key }, body: form }); })()`);
  await page.click(id('cache-online'));
  await press(id('online-go'), [], () => page.see(id('online-again')));
  await page.click(`${id('online-list')} .lines input[type=checkbox]`);
  await page.click(id('online-delete'));
  await press(id('confirm-yes'), ['POST /cache/online/delete'], () => page.see('.toast'));
}
