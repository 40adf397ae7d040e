// @anthropic-ai/sdk against the gateway in front of the simulator.
// Environment: ANTHROPIC (the gateway, without /v1), API_KEY, LIMITED_KEY (one call a day).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import Anthropic from "@anthropic-ai/sdk";

const { ANTHROPIC, API_KEY, LIMITED_KEY } = process.env;
const VERSION = JSON.parse(
  readFileSync(new URL("./node_modules/@anthropic-ai/sdk/package.json", import.meta.url), "utf8"),
).version;
const model = "grok-4.6";
const options = { baseURL: ANTHROPIC, apiKey: API_KEY, maxRetries: 0, timeout: 30_000 };
const client = new Anthropic(options);
const ask = (content) => [{ role: "user", content }];
const create = (text, more) => client.messages.create({ model, max_tokens: 500, messages: ask(text), ...more });
const textOf = (message) =>
  message.content
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("");
const weather = {
  name: "get_weather",
  description: "The weather of a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

async function thrown(kind, call) {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof kind, `${error.constructor.name} instead of ${kind.name}: ${error}`);
    return error;
  }
  assert.fail(`nothing was thrown instead of ${kind.name}`);
}

const tests = {
  async message() {
    const answer = await create("What is a gateway?", { system: "Be brief." });
    assert.equal(answer.stop_reason, "end_turn");
    assert.ok(textOf(answer).includes("What is a gateway?"));
    assert.ok(answer.usage.input_tokens > 0 && answer._request_id);
  },

  async stream_helper_and_thinking() {
    const stream = client.messages.stream({
      model,
      max_tokens: 2000,
      messages: ask("Why is the sky blue?"),
      thinking: { type: "enabled", budget_tokens: 1024 },
    });
    let text = "";
    stream.on("text", (delta) => (text += delta));
    const final = await stream.finalMessage();
    assert.equal(text, textOf(final));
    assert.equal(final.content[0].type, "thinking");
    assert.ok(final.content[0].signature);
  },

  async tools() {
    const messages = ask("What is the weather in Paris?");
    const first = await client.messages
      .stream({ model, max_tokens: 500, messages, tools: [weather] })
      .finalMessage();
    const call = first.content.find((block) => block.type === "tool_use");
    assert.deepEqual(call.input, { city: "Paris" });
    const second = await client.messages.create({
      model,
      max_tokens: 500,
      tools: [weather],
      messages: [
        ...messages,
        { role: "assistant", content: first.content },
        { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "22 degrees" }] },
      ],
    });
    assert.ok(textOf(second).includes("22 degrees"), textOf(second));
  },

  async counts_and_models() {
    const { input_tokens } = await client.messages.countTokens({ model, messages: ask("Hello ".repeat(100)) });
    assert.ok(input_tokens > 90 && input_tokens < 200, `${input_tokens}`);
    const seen = [];
    for await (const one of client.models.list({ limit: 3 })) seen.push(one.id);
    assert.ok(seen.includes(model) && new Set(seen).size === seen.length && seen.length > 4, seen.join());
    assert.equal((await client.models.retrieve(model)).type, "model");
  },

  async errors() {
    const kind = (error) => error.error.error.type;
    const wrong = new Anthropic({ ...options, apiKey: "sk-nobody-has-this-key" });
    const body = { model, max_tokens: 50, messages: ask("Hello") };
    const unknown = await thrown(Anthropic.AuthenticationError, () => wrong.messages.create(body));
    assert.equal(kind(unknown), "authentication_error");
    assert.ok(unknown.requestID);
    const missing = await thrown(Anthropic.NotFoundError, () => create("Hello", { model: "no-such-model" }));
    assert.equal(kind(missing), "not_found_error");
    const bad = await thrown(Anthropic.BadRequestError, () => create("Hello", { max_tokens: 0 }));
    assert.equal(kind(bad), "invalid_request_error");
    const busy = await thrown(Anthropic.InternalServerError, () => create("[[sim:error=capacity-429]]"));
    assert.equal(busy.status, 529);
    assert.equal(kind(busy), "overloaded_error");
    const limited = new Anthropic({ ...options, apiKey: LIMITED_KEY });
    await limited.messages.create(body);
    const refused = await thrown(Anthropic.RateLimitError, () => limited.messages.create(body));
    assert.equal(kind(refused), "rate_limit_error");
    assert.ok(Number(refused.headers.get("retry-after")) <= 120);
  },

  async failures_in_the_stream() {
    const spared = [];
    const first = "[[sim:event_error=messages-error-event;times=1]] Hello";
    for await (const event of await create(first, { stream: true })) spared.push(event.type);
    assert.equal(spared.at(-1), "message_stop");
    for (const magic of ["[[sim:event_error=messages-error-event;event_at=8]]", "[[sim:cut=8]]"]) {
      const seen = [];
      const error = await thrown(Anthropic.APIError, async () => {
        for await (const event of await create(`${magic} Hello`, { stream: true })) seen.push(event.type);
      });
      assert.equal(seen[0], "message_start");
      assert.equal(error.error.type, "error");
    }
  },
};

for (const [name, run] of Object.entries(tests)) {
  const began = performance.now();
  await run();
  console.log(`ok ${name} (${((performance.now() - began) / 1000).toFixed(2)} s)`);
}
console.log(`@anthropic-ai/sdk ${VERSION}: ${Object.keys(tests).length} passed`);
