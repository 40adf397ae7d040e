// openai-node while one of three keys answers every error of the table in turn: nothing of it may be seen.
// Every error gets a key and team of its own: what the gateway learns of a limit must not keep it from trying the next.
// Environment: GATEWAY (…/v1), API_KEY, ADMIN (…/api/v1/admin), ADMIN_TOKEN, UPSTREAM, SPARE_KEYS (with commas).

import assert from "node:assert/strict";
import OpenAI from "openai";
import { VERSION } from "openai/version";

const { GATEWAY, API_KEY, ADMIN, ADMIN_TOKEN, UPSTREAM, SPARE_KEYS } = process.env;
const spares = SPARE_KEYS.split(",");
const client = new OpenAI({ baseURL: GATEWAY, apiKey: API_KEY, maxRetries: 0, timeout: 30_000 });

async function call(url, body, token) {
  const response = await fetch(url, {
    method: body ? "POST" : "GET",
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    body: body && JSON.stringify(body),
  });
  assert.ok(response.ok, `${url}: ${response.status} ${response.ok ? "" : await response.text()}`);
  return response.json();
}
const upstream = (path, body) => call(`${UPSTREAM}/-/${path}`, body);
const admin = (path, body) => call(ADMIN + path, body, ADMIN_TOKEN);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

let at = 0;
async function oneCall(stream) {
  const content = `number ${(at += 1)} of many`;
  const answer = await client.chat.completions.create({
    model: "grok-4.6",
    messages: [{ role: "user", content }],
    stream,
  });
  let text = "";
  if (stream) for await (const chunk of answer) text += chunk.choices[0]?.delta.content ?? "";
  else text = answer.choices[0].message.content;
  assert.ok(text.includes(content), text);
}

// The pool is the two that are well, and one that has never been used.
async function anotherKey(last) {
  if (last) await admin("/tokens/delete", { tokens: [last] });
  const secret = spares.shift();
  await admin("/tokens", { apiKey: [{ token: secret }] });
  const end = Date.now() + 30_000;
  for (;;) {
    const { items } = await admin("/tokens?limit=100");
    if (items.length === 3 && items.every(({ state, team }) => state === "active" && team)) return secret;
    assert.ok(Date.now() < end, JSON.stringify(items));
    await sleep(20);
  }
}

let met = 0;
let bad;
for (const error of await upstream("errors")) {
  for (const stream of [false, true]) {
    bad = await anotherKey(bad);
    await upstream("fail", { key: bad, error });
    try {
      for (let tries = 0; !(await upstream("keys"))[bad]; tries += 1) {
        assert.ok(tries < 60, "the bad key was never tried in 60 calls");
        await oneCall(stream);
      }
      met += 1;
      for (let more = 0; more < 3; more += 1) await oneCall(stream);
    } catch (seen) {
      console.error(`${error} (stream=${stream}) was seen by the client`);
      throw seen;
    }
  }
}
console.log(`openai-node ${VERSION}: ${at} calls, ${met} of them met an error, none was seen`);
