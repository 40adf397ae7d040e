// The configuration, key by key: its words in both languages, the control of its type, a draft that a session's end does not cost.

import assert from 'node:assert/strict';
import { api, id } from './marks.mjs';

/** Every key of the configuration, with its words and the control of its type. */
export async function configKeys({ page, base }) {
  await page.goto(`${base}/admin/config`);
  await page.ready();
  const { keys } = await api(page, 'GET', '/config?view=full');
  const seen = await page.evaluate(`[...document.querySelectorAll('.setting')].map((one) => { const value = one.querySelector('.value [id]'); return { key: one.id.slice(4), doc: one.querySelector('p').innerText.length, control: value.tagName + ':' + value.type, restart: one.innerText.includes('restart') }; })`);
  assert.equal(seen.length, keys.length);
  const controls = { flag: 'INPUT:checkbox', choice: 'SELECT:select-one', texts: 'TEXTAREA:textarea', ints: 'TEXTAREA:textarea', tables: 'TEXTAREA:textarea', table_map: 'TEXTAREA:textarea' };
  for (const one of keys) {
    const mine = seen.find((other) => other.key === one.key);
    assert.ok(mine.doc > 10, `${one.key} says what it is`);
    assert.equal(mine.control, one.secret ? 'INPUT:password' : controls[one.type] || 'INPUT:text', `${one.key} is ${one.type}`);
    assert.equal(mine.restart || !one.restart, true, `${one.key} says that it needs a restart`);
  }
  // A change is marked, can be taken back, and a session that ends does not cost it.
  const value = id('value-clients.max_wait_ms');
  await page.fill(value, '7777');
  await page.see(`${id('key-clients.max_wait_ms')}.dirty`);
  await page.evaluate(`[...document.querySelectorAll('${id('config-bar')} button')][0].click()`);
  await page.gone('.setting.dirty');
}

/** In Chinese everything that is told of the configuration is Chinese, and words of both languages find a key. */
export async function configChinese({ page, base }) {
  await page.goto(`${base}/admin/config`);
  await page.ready();
  const told = () => page.evaluate("[...document.querySelectorAll('.over-settings p, .setting .about > p:first-of-type, .setting .fields dd')].map((one) => one.textContent)");
  const { keys, sections } = await api(page, 'GET', '/config?view=full');
  const english = await told();
  const fields = keys.reduce((sum, one) => sum + one.fields.length, 0);
  assert.ok(fields > 10, 'rows have keys of their own');
  assert.equal(english.length, keys.length + sections.length + fields, 'each has its text');
  const finds = async (words, key) => {
    await page.fill(id('config-search'), words);
    await page.until(`[...document.querySelectorAll('.setting')].map((one) => one.id).join() === 'key-${key}'`, `${words} finds ${key} alone`);
  };
  await finds('等待配额', 'clients.max_wait_ms');
  await page.click(id('language'));
  await finds('waits for quota', 'clients.max_wait_ms');
  await page.until("document.querySelector('.setting .about p').innerText.includes('等待配额')", 'it is told in Chinese');
  await finds('xai.teams.limits.rpm', 'xai.teams');
  await page.until("document.querySelector('.setting .fields').open", 'a field that is found is seen');
  await page.goto(`${base}/admin/config`);
  await page.ready();
  const texts = await told();
  assert.equal(texts.length, english.length);
  assert.deepEqual(texts.filter((text) => !/\p{Script=Han}/u.test(text) || english.includes(text)), [], 'nothing is left in English');
  await page.click(id('language'));
  await page.until(`document.documentElement.lang === 'en'`, 'English again');
}

export async function configExpires({ page, base, password, expecting }) {
  await page.goto(`${base}/admin/config?text=max_wait_ms`);
  await page.ready();
  const value = id('value-clients.max_wait_ms');
  const before = await page.evaluate(`document.querySelector('${value}').value`);
  await page.fill(value, '7777');
  await expecting(/401/, async () => {
    await page.evaluate("fetch('/api/v1/admin/session').then((answer) => answer.json()).then((view) => fetch('/api/v1/admin/logout', { method: 'POST', headers: { 'x-csrf-token': view.csrf_token } }))");
    await page.click(id('config-review'));
    await page.click(id('config-save'));
    await page.see(id('login-again'));
    await page.fill(`${id('login-again')} input[name=password]`, password);
    await page.click(`${id('login-again')} button[type=submit]`);
    await page.gone(id('login-again'));
  });
  assert.equal(await page.evaluate(`document.querySelector('${value}').value`), '7777', 'the draft is kept');
  await page.click(id('config-save'));
  await page.gone(id('config-diff'));
  await page.fill(value, before);
  await page.click(id('config-review'));
  await page.click(id('config-save'));
  await page.gone(id('config-diff'));
}
