// A whole cluster driven over NATS by an operator, with NATS's own client: every family of operations, answered by whichever
// node takes it, with the words of the HTTP API where something is wrong.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { connect } from "@nats-io/transport-node";
import { Svcm } from "@nats-io/services";

const { NATS, USER, PREFIX, ADMIN_PASSWORD, SECRETS, MODEL, DRAINED } = process.env;
const nodes = process.env.NODES.split(",");
const nc = await connect({ servers: NATS, user: USER, pass: USER });

const ask = async (name, body = {}) => {
  const message = await nc.request(`${PREFIX}.admin.${name}`, JSON.stringify(body), { timeout: 20_000 });
  return [Number(message.headers?.get("Nats-Service-Error-Code") || 0), message.json()];
};
const done = async (name, body) => {
  const [code, answer] = await ask(name, body);
  assert.equal(code, 0, `${name} ${JSON.stringify(body)}: ${JSON.stringify(answer)}`);
  return answer;
};
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));
// Whichever node answers: so many times in a row.
const everywhere = async (what, check, times = 12) => {
  let last;
  for (let tries = 0, right = 0; right < times; tries++) {
    assert(tries < 400, `${what}: ${last}`);
    last = await check().then(() => null, (error) => error.message);
    right = last === null ? right + 1 : 0;
    if (last !== null) await sleep(50);
  }
};
const http = async (node, path, { bearer, method = "GET", body } = {}) => {
  const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/json" };
  const got = await fetch(node + path, { method, headers, body: body && JSON.stringify(body) });
  return { status: got.status, id: got.headers.get("x-request-id"), body: await got.json() };
};
const chat = (node, bearer, more = {}) =>
  http(node, "/v1/chat/completions", {
    bearer, method: "POST", body: { model: MODEL, messages: [{ role: "user", content: "hello" }], ...more },
  });
// By status alone: on every node, in time.
const onEveryNode = async (what, call, status) => {
  for (const node of nodes)
    for (let tries = 0; ; tries++) {
      const got = await call(node);
      if (got.status === status) break;
      assert(tries < 400, `${what} at ${node}: ${got.status} ${JSON.stringify(got.body)}`);
      await sleep(50);
    }
};

const heard = [];
(async () => {
  for await (const message of nc.subscribe(`${PREFIX}.event.>`))
    heard.push({ subject: message.subject.slice(PREFIX.length + 1), ...message.json() });
})();
const micro = new Svcm(nc).client({ maxWait: 1000, strategy: "stall" });
const pings = [];
for await (const ping of await micro.ping("grok2api-admin")) pings.push(ping);
assert.equal(new Set(pings.map((ping) => ping.metadata.node)).size, nodes.length, "every node answers a ping");

// The cluster, the same from all.
const seenFrom = new Set();
await everywhere("one view of the cluster", async () => {
  const view = await done("cluster.status");
  assert.deepEqual(view.nodes.map((node) => node.state), nodes.map(() => "live"));
  assert(view.nodes.every((node) => /^\d+\.\d+\.\d+$/.test(node.version)));
  assert(view.shards.length > 0 && view.shards.every((shard) => shard.owner && shard.owner === shard.named && shard.epoch > 0));
  assert(view.shards.every((shard) => Number.isInteger(shard.outstanding)));
  assert(view.bus.kind === "nats" && view.bus.connected && view.bus.latency_us > 0 && view.bus.lag_ms < 5_000);
  seenFrom.add(view.nodes.find((node) => node.is_self).node);
}, 30);
assert.equal(seenFrom.size, nodes.length, `asked thirty times, ${[...seenFrom]} answered`);

// A client key.
const made = await done("keys.create", { set: { name: "over NATS", rpm: 600 } });
await onEveryNode("a new key", (node) => chat(node, made.key), 200);
await everywhere("the key", async () => assert.equal((await done("keys.get", { id: made.id })).name, "over NATS"));
await done("keys.update", { id: made.id, set: { allowed_models: ["no-such-model"] } });
await onEveryNode("a key that may not", (node) => chat(node, made.key), 403);
await done("keys.update", { id: made.id, set: { allowed_models: [] } });
const rotated = await done("keys.rotate", { id: made.id });
await onEveryNode("the new secret", (node) => chat(node, rotated.key), 200);
await onEveryNode("the old secret", (node) => chat(node, made.key), 401);

// A request, from whichever node it came.
for (const node of nodes) {
  const got = await chat(node, rotated.key);
  await everywhere(`the record of ${node}`, async () => {
    const record = await done("requests.get", { id: got.id });
    assert.equal(record.id, got.id);
    assert.equal(record.candidates.at(-1).reason, "chosen");
  });
  const page = await done("requests.list", { limit: 50 });
  assert(page.items.some((item) => item.id === got.id));
}

// What is wrong is said as over HTTP.
const login = await http(nodes[0], "/api/v1/admin/login", {
  method: "POST", body: { username: "admin", password: ADMIN_PASSWORD },
});
const bearer = login.body.token;
const nobody = "0".repeat(32);
for (const [name, body, path, status] of [
  ["requests.get", { id: `req_${nobody}` }, `/requests/req_${nobody}`, 404],
  ["requests.get", { id: "nonsense" }, "/requests/nonsense", 400],
  ["tokens.get", { id: `tok_${nobody}` }, `/tokens/tok_${nobody}`, 404],
  ["keys.get", { id: `key_${nobody}` }, `/keys/key_${nobody}`, 404],
  ["requests.list", { outcomes: ["fine"] }, "/requests?outcome=fine", 400],
  ["tokens.list", { limit: 100_000 }, "/tokens?limit=100000", 400],
]) {
  const [code, overNats] = await ask(name, body);
  const overHttp = await http(nodes[1], `/api/v1/admin${path}`, { bearer });
  assert.equal(overHttp.status, status, `${path}: ${JSON.stringify(overHttp.body)}`);
  assert.equal(code, status, `${name}: ${JSON.stringify(overNats)}`);
  const { type, code: word } = overNats.error;
  assert.deepEqual({ type, code: word }, { type: overHttp.body.error.type, code: overHttp.body.error.code }, name);
}

// The configuration: one truth, no edit lost in silence, what is a node's own stays its own.
const valueOf = (config, key) => config.keys.find((one) => one.key === key);
const before = await done("config.get");
const edit = { "clients.max_wait_ms": 2_345 };
const saved = await done("config.set", { revision: before.revision, values: edit });
assert.deepEqual(saved.changed, Object.keys(edit));
await everywhere("the edit", async () => {
  const now = await done("config.get");
  assert.deepEqual([valueOf(now, "clients.max_wait_ms").value, now.revision], [2_345, saved.revision]);
});
const [late, conflict] = await ask("config.set", { revision: before.revision, values: { "clients.max_wait_ms": 1 } });
assert.deepEqual([late, conflict.error.code], [409, "config_conflict"]);
assert(conflict.error.message.includes(saved.revision));
for (const [key, value] of [["clients.max_wait_ms", "long"], ["clients.max_wait", 1], ["server.port", 4], ["nats.url", "nats://x"]]) {
  const [code, why] = await ask("config.set", { values: { "clients.drain_max_secs": 9, [key]: value } });
  assert.deepEqual([code, why.error.code, why.error.param], [400, "invalid_config", key], JSON.stringify(why));
  if (valueOf(before, key)?.per_node) assert(why.error.message.includes("each node has its own"), why.error.message);
}
const kept = await done("config.get");
for (const key of ["clients.max_wait_ms", "clients.drain_max_secs"])
  assert.equal(valueOf(kept, key).value, { ...edit }[key] ?? valueOf(before, key).value, "an edit is taken whole or not at all");
assert(valueOf(kept, "server.port").per_node && valueOf(kept, "nats.url").per_node && valueOf(kept, "cluster.node_id").per_node);
const overHttp = await http(nodes[1], "/api/v1/admin/config", { bearer, method: "POST", body: { clients: { max_wait_ms: 2_000 } } });
assert.equal(overHttp.status, 200, JSON.stringify(overHttp.body));
await everywhere("an edit over HTTP", async () =>
  assert.equal(valueOf(await done("config.get"), "clients.max_wait_ms").value, 2_000));

// Credentials in bulk.
const [first, second] = SECRETS.split(",");
const report = await done("tokens.import", {
  lines: `${JSON.stringify({ token: first, label: "one" })}\n${second}\n${first}\n`, pool: "apiKey",
});
assert.deepEqual([report.total, report.added, report.existing], [3, 2, 1]);
const ids = [];
await everywhere("two more", async () => {
  const page = await done("tokens.list", { limit: 10 });
  assert.equal(page.total, 3);
  ids.splice(0, ids.length, ...page.items.map((item) => item.id));
});
const refreshed = await done("tokens.refresh", { ids });
assert(refreshed.results.length === 3 && refreshed.results.every((result) => result.ok), JSON.stringify(refreshed));
assert.equal((await done("tokens.clear-cooling", { ids })).cleared, 0);
const reader = generateKeyPairSync("x25519").publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("base64");
const sealed = await done("tokens.export", { public_key: reader, password: ADMIN_PASSWORD });
assert(sealed.sealed && ![first, second].some((secret) => JSON.stringify(sealed).includes(secret)));
const [barred] = await ask("tokens.export", { public_key: reader, password: "a guess" });
assert.equal(barred, 403);

// Conversations. Calls that began alike so far were taken for one.
await done("affinity.clear", { all: true });
await everywhere("none yet", async () => assert.equal((await done("affinity.list")).total, 0));
assert.equal((await chat(nodes[0], rotated.key, { prompt_cache_key: "a talk" })).status, 200);
await everywhere("a conversation", async () => assert.equal((await done("affinity.list")).total, 1));
const turn = await chat(nodes[1], rotated.key, { prompt_cache_key: "a talk" });
await everywhere("its second turn", async () => {
  const record = await done("requests.get", { id: turn.id });
  assert.match(record.candidates.at(-1).detail, /bound/);
}, 1);
const [none, which] = await ask("affinity.clear", {});
assert.deepEqual([none, which.error.type], [400, "invalid_request_error"]);
await done("affinity.clear", { all: true });
await everywhere("no conversation", async () => assert.equal((await done("affinity.list")).total, 0));

await done("keys.delete", { id: made.id });
await onEveryNode("a deleted key", (node) => chat(node, rotated.key), 401);

// One node is sent away; the others go on answering.
const [unknown, noNode] = await ask("cluster.drain", { node: "nobody" });
assert.deepEqual([unknown, noNode.error.code], [404, "node_not_found"], JSON.stringify(noNode));
await done("cluster.drain", { node: DRAINED });
await everywhere("one node less", async () => {
  const view = await done("cluster.status");
  const live = view.nodes.filter((node) => node.state === "live").map((node) => node.node);
  assert(live.length === nodes.length - 1 && !live.includes(DRAINED), live.join());
  assert(view.shards.every((shard) => shard.owner && shard.owner === shard.named));
});
for (const subject of ["event.key", "event.config", "event.token"])
  assert(heard.some((event) => event.subject === subject), `${subject} in ${JSON.stringify(heard.slice(0, 5))}`);
assert(!heard.some((event) => JSON.stringify(event).includes(first)), "no secret in an event");
console.log(`${pings.length} nodes, ${heard.length} events`);
await nc.drain();
