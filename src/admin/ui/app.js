// Which page stands where, and the frame around it.

import { html, render, useEffect, useErrorBoundary } from './vendor/mod.js';
import { path, navigate } from './router.js';
import { session, expired, lang } from './store.js';
import { loadSession } from './api.js';
import { t } from './i18n.js';
import { cut } from './format.js';
import { Frame } from './parts/frame.js';
import { Toasts } from './parts/float.js';
import { Failure, Waiting } from './parts/bits.js';
import { Login, LoginAgain } from './pages/login.js';
import { TokenPage } from './pages/token.js';
import { KeysPage } from './pages/keys.js';
import { RequestsPage } from './pages/requests.js';
import { DatacenterPage } from './pages/datacenter.js';
import { ClusterPage } from './pages/cluster.js';
import { ConfigPage } from './pages/config.js';
import { ChatPage } from './pages/chat.js';
import { JobsPage } from './pages/jobs.js';
import { UsersPage } from './pages/users.js';
import { CachePage } from './pages/cache.js';

/** `letter` after `g` goes there. */
export const PAGES = [
  { name: 'token', path: '/admin/token', letter: 't', page: TokenPage },
  { name: 'keys', path: '/admin/keys', letter: 'k', page: KeysPage },
  { name: 'requests', path: '/admin/requests', letter: 'r', page: RequestsPage },
  { name: 'jobs', path: '/admin/jobs', letter: 'j', page: JobsPage },
  { name: 'datacenter', path: '/admin/datacenter', letter: 'd', page: DatacenterPage },
  { name: 'cluster', path: '/admin/cluster', letter: 'l', page: ClusterPage },
  { name: 'cache', path: '/admin/cache', letter: 'm', page: CachePage },
  { name: 'config', path: '/admin/config', letter: 'c', page: ConfigPage },
  { name: 'users', path: '/admin/users', letter: 'u', page: UsersPage },
  { name: 'chat', path: '/chat', also: '/admin/chat', letter: 'h', page: ChatPage },
];

/** A fault of one page leaves the frame standing. */
function Guard({ children }) {
  const [error, reset] = useErrorBoundary((fault) => console.error(fault));
  return error ? html`<div class="page"><${Failure} error=${error} title=${t('error.panel')} retry=${reset} /></div>` : children;
}

function App() {
  const where = path.value;
  const who = session.value;
  const found = PAGES.find((page) => page.path === where || page.also === where);
  useEffect(() => {
    if (who && (where === '/login' || where === '/' || where === '/admin')) {
      const after = new URLSearchParams(location.search).get('next') || '';
      navigate(/^\/(admin|chat)(\/|\?|$)/.test(after) ? after : '/admin/token', { replace: true });
    } else if (who === null && where !== '/login') {
      const here = location.pathname + location.search;
      navigate(`/login${here.length > 1 && here !== '/admin' ? `?${new URLSearchParams({ next: here })}` : ''}`, { replace: true });
    }
  }, [who, where]);
  useEffect(() => {
    document.title = `${who === null ? t('login.title') : found ? t(`page.${found.name}`) : t('error.page')} · grok2api`;
  }, [where, who, lang.value]);
  if (who === undefined) return html`<${Waiting} />`;
  if (who === null) return html`<${Login} /><${Toasts} />`;
  return html`<${Frame} pages=${PAGES} current=${found?.name}>
      <${Guard} key=${where}>${found ? html`<${found.page} />` : html`<div class="page"><div class="empty"><h1>${t('error.page')}</h1><a href="/admin/token">${t('page.token')}</a></div></div>`}<//>
    <//>
    ${expired.value && html`<${LoginAgain} />`}
    <${Toasts} />`;
}

// What is cut for want of room tells the whole of it where it is pointed at.
document.addEventListener('mouseover', (event) => {
  const one = event.target.closest?.('.cut, .table .line > *');
  if (!one || (one.title && !one.dataset.told) || one.querySelector('[title]')) return;
  const isCut = one.scrollWidth > one.clientWidth;
  if (isCut) one.title = cut(one.innerText, 1000);
  else if (one.dataset.told) one.removeAttribute('title');
  if (isCut) one.dataset.told = '1';
});

async function start() {
  const root = document.getElementById('app');
  try {
    await loadSession();
  } catch (error) {
    // The node does not answer, or not as it should: say so, and try until it does.
    render(html`<div class="page"><${Failure} error=${error} retry=${start} /></div>`, root);
    setTimeout(start, 3000);
    return;
  }
  render(null, root);
  render(html`<${App} />`, root);
}
start();
