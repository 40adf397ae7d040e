// NATS's own client against the admin service: ping, info, stats, a token's life, errors, events.
import assert from "node:assert/strict";
import { connect } from "@nats-io/transport-node";
import { Svcm } from "@nats-io/services";

const { NATS, PREFIX, NODES } = process.env;
const nc = await connect({ servers: NATS });
const SERVICE = "grok2api-admin";

const all = async (answers) => {
  const found = [];
  for await (const answer of await answers) found.push(answer);
  return found;
};
const micro = new Svcm(nc).client({ maxWait: 1000, strategy: "stall" });

const pings = await all(micro.ping(SERVICE));
assert.equal(pings.length, Number(NODES), "every node answers a ping");
assert.equal(new Set(pings.map((ping) => ping.metadata.node)).size, Number(NODES), "with its own name");
assert(pings.every((ping) => ping.metadata.prefix === PREFIX && /^\d+\.\d+\.\d+$/.test(ping.version)));

const [info] = await all(micro.info(SERVICE));
const subjects = info.endpoints.map((endpoint) => endpoint.subject);
for (const name of process.env.OPERATIONS.split(","))
  assert(subjects.includes(`${PREFIX}.admin.${name}`), `${name} is offered`);
assert(info.endpoints.every((endpoint) => endpoint.metadata.description && endpoint.queue_group === "admin"));

// Answers a pair: the error's status or 0, and what the body says.
const ask = async (name, body = {}) => {
  const message = await nc.request(`${PREFIX}.admin.${name}`, JSON.stringify(body), { timeout: 20_000 });
  const code = Number(message.headers?.get("Nats-Service-Error-Code") || 0);
  if (code) assert(message.headers.get("Nats-Service-Error").length > 0);
  return [code, message.json()];
};
const done = async (name, body) => {
  const [code, answer] = await ask(name, body);
  assert.equal(code, 0, `${name}: ${JSON.stringify(answer)}`);
  return answer;
};

const heard = [];
const events = nc.subscribe(`${PREFIX}.event.>`);
(async () => {
  for await (const message of events) heard.push({ subject: message.subject, ...message.json() });
})();

const { added, token } = await done("tokens.add", { secret: process.env.SECRET, label: "over NATS" });
assert(added && token.id.startsWith("tok_") && token.pool === "apiKey");
assert(!JSON.stringify(token).includes(process.env.SECRET), "no answer holds the secret");
const listed = await done("tokens.list", { text: "over nats" });
assert.deepEqual(listed.items.map((item) => item.id), [token.id]);
const patched = await done("tokens.patch", { id: token.id, set: { switch: "off", note: "by a test" } });
assert.equal(patched.state, "disabled");
// The next call may be answered by another node: it sees the change within moments.
const settled = async () => (await done("tokens.get", { id: token.id })).note === "by a test";
for (let tries = 0; !(await settled()); tries++) {
  assert(tries < 40, "every node sees the change");
  await new Promise((wake) => setTimeout(wake, 50));
}
assert.equal((await done("tokens.delete", { ids: [token.id] })).deleted, 1);

const [missing, why] = await ask("tokens.get", { id: "tok_00000000000000000000000000000000" });
assert.deepEqual([missing, why.error.code], [404, "token_not_found"]);
const [wrong, which] = await ask("tokens.list", { limt: 3 });
assert.deepEqual([wrong, which.error.param], [400, "limt"]);

const stats = await all(micro.stats(SERVICE));
const counted = stats.flatMap((node) => node.endpoints);
const sum = (name, field) =>
  counted.filter((endpoint) => endpoint.name === name).reduce((total, endpoint) => total + endpoint[field], 0);
assert.equal(sum("tokens-add", "num_requests"), 1);
assert.deepEqual([sum("tokens-list", "num_requests"), sum("tokens-list", "num_errors")], [2, 1]);
assert(sum("tokens-add", "processing_time") > 0);
assert(heard.some((event) => event.subject === `${PREFIX}.event.token` && (event.id ?? event.token) === token.id), JSON.stringify(heard));
console.log(`a token lived and died over NATS; ${heard.length} events; ${subjects.length} endpoints on ${pings.length} nodes`);
await nc.drain();
