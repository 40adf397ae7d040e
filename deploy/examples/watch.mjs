// Prints what happens to tokens as it happens, and switches a token that rests for a cause of your choice off for a while.
//
//   npm install @nats-io/transport-node && NATS_URL=nats://127.0.0.1:4222 CAUSE=server_errors node watch.mjs
//
// Needs credentials that may subscribe to <prefix>.event.> and publish to <prefix>.admin.>.
import { connect } from "@nats-io/transport-node";

const { PREFIX = "grok2api", NATS_URL = "nats://127.0.0.1:4222", CAUSE, OFF_MS = "60000" } = process.env;
const nats = await connect({ servers: NATS_URL });

async function flip(id, word) {
  const change = JSON.stringify({ id, set: { switch: word } });
  const answer = await nats.request(`${PREFIX}.admin.tokens.patch`, change, { timeout: 15_000 });
  const failed = answer.headers?.get("Nats-Service-Error-Code");
  console.log(new Date().toISOString(), "switched", word, id, failed ? answer.json().error.message : "");
}

console.log("watching", `${PREFIX}.event.token`);
for await (const message of nats.subscribe(`${PREFIX}.event.token`)) {
  const happened = message.json();
  const { event, id = happened.token, masked, team, scope, cause, until_ms } = happened;
  const rest = until_ms ? `until ${new Date(until_ms).toISOString()}` : "";
  console.log(new Date().toISOString(), event, id, masked, team ?? "", scope ?? "", cause ?? "", rest);
  if (event !== "cooled" || cause !== CAUSE) continue;
  await flip(id, "off");
  setTimeout(() => flip(id, "on"), Number(OFF_MS));
}
