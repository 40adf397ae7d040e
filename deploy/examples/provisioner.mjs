// A provisioner: hands out credentials that you own, one a request, to registration jobs of grok2api.
//
//   PROVISIONER_SECRET=… node provisioner.mjs credentials.txt [port]
//
// grok2api asks with
//   POST /  {"job": "job_…", "item": 7, "attempt": 1, "pool": "apiKey"}
//   x-grok2api-timestamp: <Unix seconds>
//   x-grok2api-signature: v1=<HMAC-SHA256 of "<timestamp>.<body>" with jobs.provisioner_secret, hexadecimal>
//   idempotency-key: <job>/<item>        the same whenever the same item is asked for: answer with the same credential
// and is answered with
//   200 {"credential": "xai-…", "label"?, "note"?, "tags"?, "proxy"?, "pool"?, "id"?}
//   204                                   there are no more: the job ends well
//   429, 408, 5xx [Retry-After: seconds]  later; it is asked again
//   401, 403                              the signature is wrong: the job is given up
//   any other 4xx {"error": "why"}        not this item

import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const secret = process.env.PROVISIONER_SECRET;
const [file, port = '8700'] = process.argv.slice(2);
if (!secret || !file) {
  console.error('usage: PROVISIONER_SECRET=… node provisioner.mjs credentials.txt [port]');
  process.exit(2);
}
const left = readFileSync(file, 'utf8').split('\n').map((line) => line.trim()).filter(Boolean);
// A real one keeps this where it survives a restart.
const given = new Map();
const AGE_SECONDS = 300;

function isSigned(request, body) {
  const timestamp = request.headers['x-grok2api-timestamp'] || '';
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= AGE_SECONDS)) return false;
  const right = Buffer.from(`v1=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`);
  const said = Buffer.from(request.headers['x-grok2api-signature'] || '');
  return said.length === right.length && timingSafeEqual(said, right);
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const answer = (status, body) => {
    response.writeHead(status, body ? { 'content-type': 'application/json' } : {});
    response.end(body ? JSON.stringify(body) : undefined);
  };
  if (request.method !== 'POST') return answer(405, { error: 'POST is what I take' });
  if (!isSigned(request, Buffer.concat(chunks).toString())) return answer(401, { error: 'the signature is wrong' });
  const key = request.headers['idempotency-key'];
  if (!key) return answer(400, { error: 'no idempotency-key' });
  if (!given.has(key)) {
    if (!left.length) return answer(204);
    given.set(key, left.shift());
  }
  return answer(200, { credential: given.get(key), note: `provisioned for ${key}` });
});
server.listen(Number(port), '127.0.0.1', () => console.log(`provisioning at http://127.0.0.1:${server.address().port}/`));
