// How steps find what they press, and names that nobody else gives.

export const id = (name) => `[data-testid="${name}"]`;
export const RUN = Date.now().toString(36);
export const NASTY = '<img src=x onerror=console.error(1)>\u202E' + 'Ω'.repeat(60);
/** Calls the admin API as the page does. */
export const api = (page, method, path, body, type = 'application/json') => page.evaluate(`(async () => {
  const view = await (await fetch('/api/v1/admin/session')).json();
  const answer = await fetch('/api/v1/admin${path}', { method: '${method}', headers: { 'x-csrf-token': view.csrf_token, 'content-type': '${type}' }, body: ${method === 'GET' ? 'undefined' : JSON.stringify(typeof body === 'string' ? body : JSON.stringify(body ?? {}))} });
  return answer.json();
})()`);
