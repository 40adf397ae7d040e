// What is made and kept: pictures, films, the cache page, and files at the provider.

import assert from 'node:assert/strict';
import { NASTY, id } from './marks.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFklEQVR4nGP8z8DAwMDAxMDAwMAAAA0LAQH1RVvJAAAAAElFTkSuQmCC';
const attach = (selector) => `(() => { const bytes = Uint8Array.from(atob('${PNG}'), (c) => c.charCodeAt(0)); const files = new DataTransfer(); files.items.add(new File([bytes], 'mine.png', { type: 'image/png' })); const box = document.querySelector('${selector}'); box.files = files.files; box.dispatchEvent(new Event('change', { bubbles: true })); })()`;

/** Pictures: three at once, then one that is made of another. */
export async function pictures({ page, base }) {
  await page.goto(`${base}/chat?mode=image`);
  await page.ready();
  await page.fill(id('image-prompt'), NASTY);
  await page.fill(id('image-count'), '3');
  await page.click(id('image-go'));
  await page.until(`document.querySelectorAll('${id('picture')} img').length === 3 && [...document.querySelectorAll('${id('picture')} img')].every((one) => one.complete && one.naturalWidth > 0)`, 'three pictures are seen');
  await page.evaluate(attach(id('source-files')));
  await page.see('.sources .thumb img');
  await page.fill(id('image-prompt'), 'now at night');
  await page.fill(id('image-count'), '1');
  await page.click(id('image-go'));
  await page.until(`document.querySelectorAll('${id('picture')} img').length === 4`, 'the edited one is there as well');
  await page.goto(`${base}/chat?mode=image`);
  await page.until(`document.querySelectorAll('${id('picture')} img').length === 4`, 'and all are after a reload');
}

export async function films({ page, base }) {
  await page.goto(`${base}/chat?mode=video`);
  await page.ready();
  await page.fill(id('film-prompt'), 'waves against a pier');
  await page.click(id('film-go'));
  await page.see(`${id('film')} progress, ${id('film')} video`);
  await page.until(`!!document.querySelector('${id('film')} video[src^="/v1/files/video/"]')`, 'the video is there', 60_000);
}

/** What was made is kept: looked at, deleted, and cleared. */
export async function cache({ page, base }) {
  await page.goto(`${base}/admin/cache`);
  await page.ready();
  await page.until(`document.querySelectorAll('${id('cache-gallery')} .shot').length === 4`, 'four pictures');
  assert.match(await page.text(id('cache-stats')), /Images\s+4/);
  await page.click(`${id('cache-gallery')} .shot`);
  await page.see(`${id('cache-preview')} .preview img`);
  await page.click(id('cache-delete'));
  await page.see(id('confirm'));
  await page.click(id('confirm-yes'));
  await page.gone(id('cache-preview'));
  await page.until(`document.querySelectorAll('${id('cache-gallery')} .shot').length === 3`, 'it is gone');
  await page.click(id('cache-as-list'));
  await page.until(`document.querySelectorAll('${id('cache-list')} .lines .line').length === 3`, 'the same as a list');
  await page.click(id('cache-video'));
  await page.until(`document.querySelectorAll('${id('cache-list')} .lines .line').length === 1 && location.search.includes('tab=video')`, 'the video');
  await page.click(id('cache-clear'));
  await page.see(id('confirm'));
  await page.click(id('confirm-yes'));
  await page.see(id('empty'));
  await page.click(id('cache-image'));
  await page.until(`document.querySelectorAll('${id('cache-list')} .lines .line').length === 3`, 'pictures stay');
}

/** Files that a client uploaded: looked up when asked, and deleted at the provider. */
export async function online({ page, base }) {
  const kept = await page.evaluate(`(async () => {
    const view = await (await fetch('/api/v1/admin/session')).json();
    const { key } = await (await fetch('/api/v1/admin/session/key', { method: 'POST', headers: { 'x-csrf-token': view.csrf_token, 'content-type': 'application/json' }, body: '{}' })).json();
    const statuses = [];
    for (const name of ['one.txt', 'two.txt', ${JSON.stringify(NASTY)}]) {
      const form = new FormData();
      form.append('purpose', 'assistants');
      form.append('file', new File(['content'], name, { type: 'text/plain' }));
      statuses.push((await fetch('/v1/files', { method: 'POST', headers: { authorization: 'Bearer ' + key }, body: form })).status);
    }
    return statuses;
  })()`);
  assert.deepEqual(kept, [200, 200, 200], 'three are uploaded');
  await page.goto(`${base}/admin/cache`);
  await page.ready();
  await page.click(id('cache-online'));
  await page.see(id('online-go'));
  assert.equal(await page.evaluate(`!!document.querySelector('${id('online-list')}')`), false, 'nothing is asked before somebody asks');
  await page.click(id('online-go'));
  await page.until(`document.querySelectorAll('${id('online-list')} .lines .line').length === 3`, 'the three files');
  await page.see(id('online-again'));
  assert.match(await page.text(id('online-count')), /^3 files/);
  assert.match(await page.text(id('online-list')), /one\.txt/);
  assert.equal(await page.evaluate('document.querySelectorAll("main img").length'), 0, 'a hostile name is text');
  await page.click(`${id('online-list')} .lines input[type=checkbox]`);
  await page.click(id('online-delete'));
  await page.click(id('confirm-yes'));
  await page.until(`document.querySelectorAll('${id('online-list')} .lines .line').length === 2`, 'one is gone');
  await page.click(id('online-again'));
  await page.see(id('online-again'));
  await page.until(`document.querySelectorAll('${id('online-list')} .lines .line').length === 2`, 'and stays so at the provider');
  await page.click(id('online-all'));
  await page.click(id('online-delete'));
  await page.click(id('confirm-yes'));
  await page.see(id('empty'));
}

/** Pictures of both nodes of a cluster are one gallery, and go from both. */
export async function cacheOfNodes({ page, base }) {
  await page.goto(`${base}/admin/cache`);
  await page.ready();
  await page.until(`/node0: 2 · node1: 1/.test(document.querySelector('${id('cache-nodes')}')?.innerText || '')`, 'each node says what it keeps');
  await page.until(`document.querySelectorAll('${id('cache-gallery')} .shot').length === 3`, 'three pictures');
  await page.until(`[...document.querySelectorAll('${id('cache-gallery')} img')].every((one) => one.complete && one.naturalWidth > 0)`, 'all are seen, whoever keeps them');
  await page.click(id('cache-clear'));
  await page.click(id('confirm-yes'));
  await page.see(id('empty'));
  const left = await page.evaluate("fetch('/api/v1/admin/cache/local').then((answer) => answer.json()).then((all) => all.nodes.map((one) => one.local_image.count))");
  assert.deepEqual(left, [0, 0], 'on neither is anything left');
}
