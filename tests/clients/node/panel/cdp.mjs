// A browser over the DevTools protocol, through a pipe: no port, no library.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PATIENCE_MS = 20_000;

export async function openBrowser(program) {
  const profile = mkdtempSync(join(tmpdir(), 'panel-'));
  const child = spawn(program, ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--remote-debugging-pipe', '--no-first-run',
    '--disable-extensions', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--hide-scrollbars', `--user-data-dir=${profile}`, 'about:blank'],
  { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const [, , , to, from] = child.stdio;
  const waiting = new Map();
  const listeners = new Map();
  let last = 0;
  let rest = Buffer.alloc(0);
  from.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      const message = JSON.parse(rest.subarray(0, end).toString());
      rest = rest.subarray(end + 1);
      if (message.id) {
        const { done, fail, method } = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.error) fail(new Error(`${method}: ${message.error.message}`));
        else done(message.result);
      } else listeners.get(message.sessionId)?.(message.method, message.params);
    }
  });
  const send = (method, params = {}, sessionId = undefined) => new Promise((done, fail) => {
    last += 1;
    waiting.set(last, { done, fail, method });
    to.write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
  });
  const close = async () => {
    const gone = new Promise((done) => { child.once('exit', done); });
    await Promise.race([send('Browser.close').catch(() => {}), new Promise((done) => { setTimeout(done, 3000); })]);
    child.kill('SIGKILL');
    await gone;
    // Its helpers write for a moment longer.
    for (let tries = 0; tries < 20; tries += 1) {
      try { rmSync(profile, { recursive: true, force: true }); return; } catch { await new Promise((done) => { setTimeout(done, 100); }); }
    }
  };
  return { close, newPage: (options) => newPage(send, listeners, options) };
}

/** A tab of its own context: cookies and storage are nobody else's. */
async function newPage(send, listeners, { onFault }) {
  const { browserContextId } = await send('Target.createBrowserContext');
  const { targetId } = await send('Target.createTarget', { url: 'about:blank', browserContextId });
  const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
  const call = (method, params) => send(method, params, sessionId);
  const pending = new Set();
  listeners.set(sessionId, (method, params) => {
    if (method === 'Runtime.exceptionThrown') onFault(`exception: ${params.exceptionDetails.exception?.description || params.exceptionDetails.text}`);
    if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type)) onFault(`console.${params.type}: ${params.args.map((one) => one.value ?? one.description).join(' ')}`);
    if (method === 'Log.entryAdded' && ['error', 'warning'].includes(params.entry.level)) onFault(`log: ${params.entry.text} ${params.entry.url || ''}`);
    if (method === 'Audits.issueAdded' && params.issue.code === 'ContentSecurityPolicyIssue') onFault(`csp: ${JSON.stringify(params.issue.details.contentSecurityPolicyIssueDetails)}`);
    if (method === 'Page.javascriptDialogOpening') call('Page.handleJavaScriptDialog', { accept: true });
    for (const one of pending) one(method, params);
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'Audits', 'DOM']) await call(`${domain}.enable`);

  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${exceptionDetails.exception?.description || exceptionDetails.text}\n  in ${expression.slice(0, 200)}`);
    return result.value;
  };
  const until = async (expression, what = expression, patience = PATIENCE_MS) => {
    const end = Date.now() + patience;
    for (;;) {
      const value = await evaluate(expression).catch((error) => { if (/context|navigat/i.test(error.message)) return false; throw error; });
      if (value) return value;
      if (Date.now() > end) throw new Error(`not within ${patience} ms: ${what}\n${await evaluate('location.href + "\\n" + document.body.innerText.slice(0, 1500)').catch(() => '')}`);
      await new Promise((done) => { setTimeout(done, 40); });
    }
  };
  const q = (selector) => `document.querySelector(${JSON.stringify(selector)})`;
  const press = async (key, code = key, text = undefined) => {
    const params = { key, code, text, windowsVirtualKeyCode: { Enter: 13, Escape: 27, Tab: 9 }[key] };
    await call('Input.dispatchKeyEvent', { type: 'keyDown', ...params, text: text ?? (key === 'Enter' ? '\r' : undefined) });
    await call('Input.dispatchKeyEvent', { type: 'keyUp', ...params });
  };
  return {
    call, evaluate, until, press,
    goto: async (url) => { await call('Page.navigate', { url }); await until('document.readyState === "complete"'); },
    see: (selector, patience) => until(`!!${q(selector)}`, `${selector} is there`, patience),
    gone: (selector) => until(`!${q(selector)}`, `${selector} is gone`),
    ready: () => until(`!!${q('[data-ready]')}`, 'the page has its data'),
    text: (selector) => evaluate(`${q(selector)}?.innerText ?? ''`),
    click: async (selector) => {
      await until(`!!${q(selector)} && !${q(selector)}.disabled`, `${selector} can be pressed`);
      await evaluate(`${q(selector)}.click()`);
    },
    fill: async (selector, text) => {
      await until(`!!${q(selector)}`, `${selector} is there`);
      await evaluate(`(() => { const one = ${q(selector)}; one.focus(); one.select?.(); })()`);
      await call('Input.insertText', { text });
    },
    choose: (selector, value) => evaluate(`(() => { const one = ${q(selector)}; one.value = ${JSON.stringify(value)}; one.dispatchEvent(new Event('change', { bubbles: true })); })()`),
    type: async (key) => press(key, undefined, key),
    size: (width, height) => call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 }),
    scheme: (value) => call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] }),
    shot: async () => Buffer.from((await call('Page.captureScreenshot', { format: 'png' })).data, 'base64'),
    close: () => send('Target.disposeBrowserContext', { browserContextId }),
  };
}
