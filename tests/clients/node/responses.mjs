// openai-node's Responses against the gateway in front of the simulator.
// Environment: GATEWAY (…/v1), API_KEY, OTHER_KEY (another client's), LIMITED_KEY (one call a day).

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { VERSION } from "openai/version";
import { z } from "zod";

const { GATEWAY, API_KEY, OTHER_KEY, LIMITED_KEY } = process.env;
const model = "grok-4.6";
const options = { baseURL: GATEWAY, apiKey: API_KEY, maxRetries: 0, timeout: 30_000 };
const client = new OpenAI(options);
const create = (input, more) => client.responses.create({ model, input, ...more });
const weather = {
  type: "function",
  name: "get_weather",
  description: "The weather of a city",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
  strict: true,
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

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const tests = {
  async create() {
    const answer = await create("What is a gateway?", { instructions: "Be brief." });
    assert.equal(answer.status, "completed");
    assert.ok(answer.output_text.includes("What is a gateway?"));
    assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
    assert.ok(answer._request_id);
  },

  async events() {
    const events = await collect(await create("Count to ten", { stream: true }));
    events.forEach((event, at) => assert.equal(event.sequence_number, at));
    assert.equal(events[0].type, "response.created");
    assert.equal(events.at(-1).type, "response.completed");
  },

  async stream_helper() {
    let deltas = "";
    const stream = client.responses.stream({ model, input: "Count to ten" });
    stream.on("response.output_text.delta", (event) => (deltas += event.delta));
    const final = await stream.finalResponse();
    assert.equal(final.output_text, deltas);
    assert.ok(deltas.includes("Count to ten"));
  },

  async structured() {
    const shape = z.object({ name: z.string(), day: z.string(), participants: z.array(z.string()) });
    const input = "Alice and Bob are going to a science fair on Friday.";
    const answer = await client.responses.parse({ model, input, text: { format: zodTextFormat(shape, "event") } });
    assert.ok(Array.isArray(answer.output_parsed.participants), answer.output_text);
  },

  async function_calling() {
    const input = [{ role: "user", content: "What is the weather in Paris?" }];
    const final = await client.responses.stream({ model, input, tools: [weather] }).finalResponse();
    const call = final.output.find((item) => item.type === "function_call");
    assert.deepEqual(JSON.parse(call.arguments), { city: "Paris" });
    const output = [{ type: "function_call_output", call_id: call.call_id, output: "22 degrees" }];
    const kept = await create(output, { previous_response_id: final.id, tools: [weather] });
    assert.ok(kept.output_text.includes("22 degrees"), kept.output_text);
    const replayed = await create([...input, ...final.output, ...output], { tools: [weather], store: false });
    assert.ok(replayed.output_text.includes("22 degrees"), replayed.output_text);
  },

  async kept_and_forgotten() {
    const made = await create("Keep this");
    assert.equal((await client.responses.retrieve(made.id)).output_text, made.output_text);
    const items = await client.responses.inputItems.list(made.id);
    assert.equal(items.data[0].content[0].text, "Keep this");
    const other = new OpenAI({ ...options, apiKey: OTHER_KEY });
    const error = await thrown(OpenAI.NotFoundError, () => other.responses.retrieve(made.id));
    assert.equal(error.code, "response_not_found");
    await thrown(OpenAI.NotFoundError, () => other.responses.delete(made.id));
    await client.responses.delete(made.id);
    await thrown(OpenAI.NotFoundError, () => client.responses.retrieve(made.id));
  },

  async errors() {
    const wrong = new OpenAI({ ...options, apiKey: "sk-nobody-has-this-key" });
    const unknown = await thrown(OpenAI.AuthenticationError, () => wrong.responses.create({ model, input: "Hello" }));
    assert.equal(unknown.code, "invalid_api_key");
    const missing = await thrown(OpenAI.NotFoundError, () => create("Hello", { model: "no-such-model" }));
    assert.equal(missing.code, "model_not_found");
    const bad = await thrown(OpenAI.UnprocessableEntityError, () => create([{ type: "nonsense" }]));
    assert.equal(bad.type, "invalid_request_error");
    const limited = new OpenAI({ ...options, apiKey: LIMITED_KEY });
    await limited.responses.create({ model, input: "The only one today" });
    await thrown(OpenAI.RateLimitError, () => limited.responses.create({ model, input: "One more" }));
  },

  async failures_in_the_stream() {
    const first = "[[sim:event_error=responses-error-event;times=1]] Hello";
    const spared = await collect(await create(first, { stream: true }));
    assert.equal(spared.at(-1).type, "response.completed");
    const later = "[[sim:event_error=responses-error-numeric;event_at=6]] Hello";
    const told = await collect(await create(later, { stream: true }));
    assert.equal(told.at(-1).type, "error");
    assert.ok(told.at(-1).message);
  },
};

for (const [name, run] of Object.entries(tests)) {
  const began = performance.now();
  await run();
  console.log(`ok ${name} (${((performance.now() - began) / 1000).toFixed(2)} s)`);
}
console.log(`openai-node ${VERSION}, Responses: ${Object.keys(tests).length} passed`);
