// One card. Also as a dialog over a page whose session ended: what was typed there stays.

import { html, useState, useEffect } from '../vendor/mod.js';
import { t, LANGUAGES } from '../i18n.js';
import { session, lang } from '../store.js';
import { login } from '../api.js';
import { Field } from '../parts/bits.js';
import { useDeed } from '../parts/deed.js';
import { Dialog } from '../parts/float.js';

function LoginForm({ username: fixed }) {
  const [username, setUsername] = useState(fixed || 'admin');
  const [password, setPassword] = useState('');
  const [fault, setFault] = useState(null);
  const [busy, begin] = useDeed();
  const [wait, setWait] = useState(0);
  useEffect(() => {
    if (wait <= 0) return undefined;
    const timer = setTimeout(() => setWait(wait - 1), 1000);
    return () => clearTimeout(timer);
  }, [wait]);
  const enter = async () => {
    setFault(null);
    try {
      await login(username, password);
    } catch (error) {
      setFault(error);
      setWait(error.status === 429 ? error.retryAfter || 1 : 0);
      setPassword('');
    }
  };
  const submit = (event) => {
    event.preventDefault();
    if (wait <= 0) begin(enter);
  };
  const message = fault && (fault.unreachable ? t('error.unreachable') : fault.message);
  return html`<form class="stack" onSubmit=${submit} data-testid="login">
    <${Field} label=${t('login.username')} control=${(about) => html`<input class="input" ...${about} name="username" autocomplete="username" value=${username} readonly=${Boolean(fixed)} onInput=${(e) => setUsername(e.target.value)} required />`} />
    <${Field} label=${t('login.password')} control=${(about) => html`<input class="input" ...${about} type="password" name="password" autocomplete="current-password" value=${password} onInput=${(e) => setPassword(e.target.value)} required autofocus data-first />`} />
    ${fault && html`<div class="box bad" role="alert" data-testid="login-fault">${message}${fault.requestId && html`<div class="small soft mono">${fault.requestId}</div>`}</div>`}
    <button class="button main" type="submit" disabled=${busy || wait > 0}>${wait > 0 ? t('login.wait', { seconds: wait }) : busy ? t('working') : t('login.go')}</button>
  </form>`;
}

export function Login() {
  return html`<main class="login"><div class="card stack">
      <div class="row"><img src="/admin/ui/icon.svg" alt="" width="24" height="24" /><h1 class="grow">grok2api</h1>
        ${LANGUAGES.filter(([code]) => code !== lang.value).map(([code, name]) => html`<button type="button" class="button quiet small" lang=${code === 'zh' ? 'zh-CN' : 'en'} onClick=${() => { lang.value = code; }}>${name}</button>`)}</div>
      <${LoginForm} />
      <p class="small soft">${t('login.hint')}</p>
    </div></main>`;
}

export const LoginAgain = () => html`<${Dialog} title=${t('login.again')} testid="login-again">
  <p class="soft">${t('login.kept')}</p><${LoginForm} username=${session.value?.username} /><//>`;
