// The only fetch of the panel. Errors carry the backend's words and the request id.

import { session, expired, clockOff, reach, operations, remember, remembered } from './store.js';

export class ApiError extends Error {
  constructor(status, error, requestId, retryAfter) {
    super(error?.message || `HTTP ${status}`);
    this.status = status;
    this.code = error?.code || '';
    this.param = error?.param || '';
    this.requestId = requestId || '';
    this.retryAfter = Number(retryAfter) || 0;
  }
}

/** A node that does not answer has neither status nor request id. */
export class Unreachable extends Error {
  constructor() {
    super('unreachable');
    this.status = 0;
    this.unreachable = true;
  }
}

const ADMIN = '/api/v1/admin';

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: 'same-origin', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    if (reach.value.ok) reach.value = { ok: false, since: Date.now(), why: String(error.message || error) };
    throw new Unreachable();
  }
  if (!reach.value.ok) reach.value = { ok: true, since: Date.now(), why: '' };
  const date = Date.parse(response.headers.get('date') || '');
  if (date) {
    const off = date - Date.now();
    // The header has whole seconds: less than two are no skew.
    clockOff.value = Math.abs(off) < 2000 ? 0 : off;
  }
  return response;
}

export async function failure(response) {
  let error = null;
  try { error = (await response.json()).error; } catch { /* not ours: a proxy answered */ }
  return new ApiError(response.status, error, response.headers.get('x-request-id'), response.headers.get('retry-after'));
}

/** One admin call. `body` is JSON, or text with `type`. */
export async function admin(method, path, body, { type, signal, csrf = session.value?.csrf_token } = {}) {
  const headers = {};
  if (method !== 'GET' && csrf) headers['x-csrf-token'] = csrf;
  let payload;
  if (body !== undefined) {
    headers['content-type'] = type || 'application/json';
    payload = type ? body : JSON.stringify(body);
  }
  const response = await send(ADMIN + path, { method, headers, body: payload, signal });
  if (response.ok) return (response.headers.get('content-type') || '').startsWith('application/json') ? response.json() : response;
  const error = await failure(response);
  if (response.status === 401 && session.value && path !== '/login') expired.value = true;
  throw error;
}

export const get = (path, options) => admin('GET', path, undefined, options);
export const post = (path, body = {}, options) => admin('POST', path, body, options);
export const patch = (path, body) => admin('PATCH', path, body);
export const remove = (path) => admin('DELETE', path);

/** A call of the public surface with a client key. */
export async function asClient(method, path, key, body, abort) {
  const headers = { authorization: `Bearer ${key}` };
  if (body) headers['content-type'] = 'application/json';
  const response = await send(path, { method, headers, body: body && JSON.stringify(body), signal: abort, credentials: 'omit' });
  if (!response.ok) throw await failure(response);
  return response;
}

export async function probe(path) {
  const response = await send(path, {});
  let body = null;
  try { body = await response.json(); } catch { /* no body */ }
  return { status: response.status, body };
}

/** The same with a form: files go as they are. */
export async function asClientForm(path, key, form, abort) {
  const response = await send(path, { method: 'POST', headers: { authorization: `Bearer ${key}` }, body: form, signal: abort, credentials: 'omit' });
  if (!response.ok) throw await failure(response);
  return response;
}

/** The bytes behind a link of this gateway. */
export async function blobOf(path) {
  const response = await send(path, {});
  if (!response.ok) throw await failure(response);
  return response.blob();
}

/** A query string of what is set; lists with commas. */
export function query(parts) {
  const pairs = Object.entries(parts)
    .map(([name, value]) => [name, Array.isArray(value) ? value.join(',') : value])
    .filter(([, value]) => value !== '' && value !== null && value !== undefined && value !== false);
  return pairs.length ? `?${new URLSearchParams(pairs)}` : '';
}

const opened = async (value, known = admin('GET', '/operations')) => {
  operations.value = new Set((await known).items.map((one) => one.name));
  remember('known', '1');
  session.value = value;
  expired.value = false;
};

export async function loadSession() {
  // The cookie is not ours to see. Where nobody ever logged in there is nothing to ask about.
  if (!remembered('known', '')) {
    session.value = null;
    return;
  }
  try {
    // Both at once: one round trip less until the page is seen.
    const [session, known] = await Promise.all([admin('GET', '/session'), admin('GET', '/operations')]);
    await opened(session, known);
  } catch (error) {
    if (error.status !== 401) throw error;
    remember('known', null);
    session.value = null;
  }
}

export async function login(username, password) {
  const answer = await admin('POST', '/login', { username, password });
  // The token itself is in an HttpOnly cookie; nothing secret stays here.
  await opened({ username: answer.username, role: answer.role, csrf_token: answer.csrf_token, expires_at: answer.expires_at });
}

export async function logout() {
  const mine = session.value;
  // What asks every few seconds stops first: nothing is asked without a session.
  session.value = null;
  try {
    await admin('POST', '/logout', {}, { csrf: mine.csrf_token });
  } catch (error) {
    if (error.status !== 401) session.value = mine;
    throw error;
  }
  remember('known', null);
}

/** The API's document, for whoever asks. */
export async function openapi() {
  const response = await send('/openapi.json');
  if (!response.ok) throw await failure(response);
  return response.json();
}
