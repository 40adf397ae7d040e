// Walks the panel in a headless browser: every page, one real round trip each, no console error, no CSP report, no
// serious fault that axe-core finds; pictures of each page in both themes, languages and widths.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openBrowser } from './cdp.mjs';
import * as clauses from './clauses.mjs';
import * as config from './config.mjs';
import { hostile } from './hostile.mjs';
import * as made from './made.mjs';
import * as others from './pages.mjs';
import * as tokens from './tokens.mjs';
import { twice } from './twice.mjs';
import * as walked from './walked.mjs';

// WHAT: `pages`, `clauses`, `pictures`, `empty`, `nodes`, `twice`, `hostile`, `dies` or `throttled`.
// ONLY: steps of `pages` or `clauses` to go, when one is being written.
const { GATEWAY, GATEWAY_PID, PASSWORD, OUT, CHROMIUM, AXE, WHAT, ONLY } = process.env;
const wanted = (name) => !ONLY || ONLY.split(',').includes(name);
const VIEWS = ['/admin/token', '/admin/keys', '/admin/requests', '/admin/jobs', '/admin/datacenter', '/admin/cluster', '/admin/cache', '/admin/cache?tab=video&view=list', '/admin/cache?tab=online', '/admin/config', '/admin/users', '/chat', '/chat?mode=image', '/chat?mode=video'];
const pages = { ...others, ...tokens, ...made, ...walked, ...clauses, ...config };
const SIZES = [[1280, 860], [390, 844]];
mkdirSync(OUT, { recursive: true });
const axe = readFileSync(AXE, 'utf8');

const faults = [];
/** What a step provokes on purpose: a refused call stands in the console, whatever a page does about it. */
let expected = null;
const browser = await openBrowser(CHROMIUM);
const page = await browser.newPage({ onFault: (text) => { if (!expected?.test(text)) faults.push(text); } });
const tools = {
  page, base: GATEWAY, password: PASSWORD,
  expecting: async (pattern, deed) => {
    expected = pattern;
    await deed();
    // The log's entry may come after the page has drawn what it tells.
    await new Promise((done) => { setTimeout(done, 300); });
    expected = null;
  },
};

async function step(name, deed) {
  const began = Date.now();
  try {
    await deed();
    assert.deepEqual(faults, [], 'the console');
    console.log(`ok ${name} ${Date.now() - began} ms`);
  } catch (error) {
    writeFileSync(join(OUT, 'failed.png'), await page.shot());
    console.log(`FAILED ${name}: ${error.stack}\nconsole: ${faults.join('\n')}`);
    await browser.close();
    process.exit(1);
  }
}

async function accessible(where) {
  // The page's policy is not for what the protocol evaluates.
  if (!await page.evaluate('!!window.axe')) await page.evaluate(`${axe}\n;undefined`);
  const found = await page.evaluate(`axe.run(document, { resultTypes: ['violations'] }).then((result) => result.violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => one.id + ': ' + one.nodes.slice(0, 3).map((node) => node.target.join(' ') + ' ' + node.failureSummary.split('\\n')[1]).join(' | ')))`);
  assert.deepEqual(found, [], `axe on ${where}`);
}

async function picture(name) {
  await new Promise((done) => { setTimeout(done, 200); });
  writeFileSync(join(OUT, `${name}.png`), await page.shot());
}

async function pictures(state) {
  for (const language of ['en', 'zh']) {
    await page.evaluate(`localStorage.setItem('grok2api.lang', '${language}')`);
    for (const [width, height] of SIZES) {
      await page.size(width, height);
      for (const view of VIEWS) {
        await page.goto(GATEWAY + view);
        await page.ready();
        assert.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, `${view} is wider than ${width} px`);
        for (const scheme of ['light', 'dark']) {
          await page.scheme(scheme);
          await picture(`${view.split('/').pop().replaceAll(/[^a-z]+/g, '_')}-${state}-${width}-${scheme}-${language}`);
          // What a language changes is words: once is enough.
          if (language === 'en' && (width > 500 || scheme === 'light')) await accessible(`${view} ${width} ${scheme}`);
        }
      }
    }
  }
  await page.evaluate("localStorage.setItem('grok2api.lang', 'en')");
  await page.scheme('light');
  await page.size(1280, 860);
}

const test = (name) => `[data-testid="${name}"]`;
/** What lies over the pages: where it is, what opens it, and what it is then. */
const FLOATS = [
  ['token_drawer', '/admin/token?sort=-use_count', `${test('tokens')} .lines .open`, `${test('token-drawer')} ${test('quotas')}`],
  ['token_add', '/admin/token?add=1', '', test('token-add')],
  ['key_dialog', '/admin/keys?new=1', '', test('key-dialog')],
  ['request_drawer', '/admin/requests?outcome=success', `${test('requests')} .lines .open`, `${test('request-drawer')} .timeline`],
  ['job_drawer', '/admin/jobs', '.job .open', test('job-drawer')],
  ['job_start', '/admin/jobs?start=1', '', test('job-dialog')],
  ['cache_preview', '/admin/cache', '.gallery .shot', `${test('cache-preview')} img`],
  ['user_dialog', '/admin/users', test('user-add'), test('user-dialog')],
  ['chat_answer', '/chat', '.chats li .button.grow', test('turn')],
  ['log_files', '/admin/datacenter', test('logs-files'), `${test('logfile-lines')} .logline`],
];

/** A conversation that there is something to see of. */
async function asked() {
  await page.goto(`${GATEWAY}/chat`);
  await page.ready();
  await page.until(`document.querySelectorAll('${test('model')} option').length > 2`, 'models are offered');
  for (const text of ['What is a lighthouse for?', 'And at noon?']) {
    await page.fill(test('message'), text);
    await page.press('Enter');
    await page.until(`[...document.querySelectorAll('.turn.mine')].at(-1)?.innerText.includes(${JSON.stringify(text)}) && !document.querySelector('${test('turn-live')}') && !!document.querySelector('${test('again')}')`, 'it is answered');
  }
}

async function floats() {
  await asked();
  for (const [width, height] of SIZES) {
    await page.size(width, height);
    for (const [name, view, opener, shown] of FLOATS) {
      await page.goto(GATEWAY + view);
      await page.ready();
      if (opener) await page.click(opener);
      await page.see(shown);
      if (name === 'log_files') await page.evaluate(`document.querySelector('${test('logs')}').scrollIntoView()`);
      // A drawer slides in.
      await page.until("[...document.querySelectorAll('[role=dialog]')].every((one) => { const box = one.getBoundingClientRect(); return box.left >= 0 && box.top >= 0 && box.right <= innerWidth + 1 && box.bottom <= innerHeight + 1; })", `${name} is on the screen at ${width} px`, 3000);
      for (const scheme of ['light', 'dark']) { await page.scheme(scheme); await picture(`${name}-open-${width}-${scheme}-en`); }
      await accessible(`${name} ${width}`);
    }
  }
  await page.scheme('light');
  await page.size(1280, 860);
}

await page.size(1280, 860);
await page.scheme('light');
await step('login', async () => {
  await page.goto(`${GATEWAY}/admin/requests`);
  await page.see('[data-testid=login]');
  await page.evaluate("localStorage.setItem('grok2api.lang', 'en')");
  await page.goto(`${GATEWAY}/admin/requests`);
  await accessible('/login');
  for (const scheme of ['light', 'dark']) { await page.scheme(scheme); await picture(`login-1280-${scheme}`); }
  await page.scheme('light');
  await pages.login(tools);
});
if (WHAT === 'pages') {
  for (const name of ['tokens', 'batch', 'quotas', 'changes', 'tokensMore', 'keys', 'keysMore', 'chat', 'chatMore', 'requests', 'jobs', 'jobRefused', 'pictures', 'films', 'cache', 'online', 'users', 'long', 'liveLog', 'logFiles', 'datacenter', 'cluster', 'config', 'configTyped', 'keyboard', 'phone', 'skewed', 'session', 'viewer', 'logout'].filter(wanted)) await step(name, () => pages[name](tools));
} else if (WHAT === 'clauses') {
  for (const name of ['filters', 'keysOf', 'jobsMore', 'requestsMore', 'datacenterMore', 'configKeys', 'configChinese', 'configExpires', 'chatStreams', 'dialogs', 'narrow'].filter(wanted)) await step(name, () => pages[name](tools));
} else if (WHAT === 'throttled') {
  await step('throttled', () => pages.throttled(tools));
} else if (WHAT === 'dies') {
  // Whoever runs this starts it again, at the same address, when it stands in a file that the page has told of it.
  await step('a node that dies and comes back', () => pages.dies({ ...tools, picture, kill: () => process.kill(Number(GATEWAY_PID), 'SIGKILL'), told: () => writeFileSync(join(OUT, 'told-of-a-death'), GATEWAY) }));
} else if (WHAT === 'twice') {
  await step('twice', () => twice(tools));
} else if (WHAT === 'hostile') {
  await step('hostile names', () => hostile({ ...tools, picture }));
} else if (WHAT === 'nodes') {
  await step('cacheOfNodes', () => pages.cacheOfNodes(tools));
  await step('nodes', () => pages.nodes({ ...tools, picture }));
} else {
  await step('pictures', () => pictures(WHAT === 'empty' ? 'empty' : 'busy'));
}
if (WHAT === 'pictures') {
  await step('what lies over the pages', floats);
  await step('cooling', () => pages.cooling(tools));
}
if (WHAT === 'empty') {
  await step('bigImport', () => pages.bigImport(tools));
  await step('bigBatch', () => pages.bigBatch(tools));
  await step('longList', () => pages.longList(tools));
}
await browser.close();
