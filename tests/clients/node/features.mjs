// openai-node against the gateway in front of the simulator: what the SDK can do with chat, and what it throws.
// Environment: GATEWAY (…/v1), API_KEY, LIMITED_KEY (one chat call a day), SIMULATOR.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { VERSION } from "openai/version";
import { z } from "zod";

const { GATEWAY, API_KEY, LIMITED_KEY, SIMULATOR } = process.env;
const model = "grok-4.6";
const client = new OpenAI({ baseURL: GATEWAY, apiKey: API_KEY, maxRetries: 0, timeout: 30_000 });
const ask = (content) => [{ role: "user", content }];
const create = (more, options) => client.chat.completions.create({ model, messages: ask("Hello"), ...more }, options);
const simulator = async (path) => (await fetch(`${SIMULATOR}/__sim${path}`)).json();
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

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
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const text = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

const tests = {
  async chat() {
    const answer = await create({ messages: ask("What is a gateway?") });
    assert.equal(answer.object, "chat.completion");
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.ok(answer.choices[0].message.content.length > 20);
    assert.ok(answer.usage.total_tokens > answer.usage.prompt_tokens);
    assert.ok(answer._request_id, "no x-request-id");
    const { response } = await create({ messages: ask("Again") }).withResponse();
    assert.ok(Number(response.headers.get("x-grok2api-overhead-ms")) >= 0);
  },

  async stream() {
    const chunks = await collect(await create({ messages: ask("Count to ten"), stream: true }));
    assert.ok(chunks.length >= 20 && text(chunks).length > 20, `${chunks.length} chunks`);
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    assert.ok(chunks.every((chunk) => chunk.choices.length > 0), "a usage chunk came that nobody asked for");
    const asked = await collect(await create({ stream: true, stream_options: { include_usage: true } }));
    assert.deepEqual(asked.at(-1).choices, []);
    assert.ok(asked.at(-1).usage.completion_tokens > 0);
  },

  async "stream helper"() {
    const stream = client.chat.completions.stream({ model, messages: ask("Tell me more") });
    let pieces = 0;
    stream.on("content", () => (pieces += 1));
    const final = await stream.finalChatCompletion();
    assert.ok(pieces > 10 && final.choices[0].message.content, `${pieces} pieces`);
  },

  async tools() {
    const more = { messages: ask("What is the weather in Oslo?"), tools: [weather], tool_choice: "required" };
    const answer = await create(more);
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(answer.choices[0].finish_reason, "tool_calls");
    assert.equal(call.function.name, "get_weather");
    assert.ok("city" in JSON.parse(call.function.arguments));
    const history = [
      ...more.messages,
      answer.choices[0].message,
      { role: "tool", tool_call_id: call.id, content: "Rain, 7 degrees" },
    ];
    const told = await create({ messages: history, tools: [weather] });
    assert.ok(told.choices[0].message.content && !told.choices[0].message.tool_calls);
    const chunks = await collect(await create({ ...more, stream: true }));
    const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
    assert.equal(calls[0].function.name, "get_weather");
  },

  async "tool runner"() {
    const asked = [];
    const runner = client.chat.completions.runTools({
      model,
      messages: ask("What is the weather in Oslo?"),
      tools: [
        {
          type: "function",
          function: {
            ...weather.function,
            parse: JSON.parse,
            function: ({ city }) => {
              asked.push(city);
              return "Rain, 7 degrees";
            },
          },
        },
      ],
    });
    assert.ok(await runner.finalContent());
    assert.equal(asked.length, 1);
  },

  async "parsed structured output"() {
    const lesson = z.object({ title: z.string(), minutes: z.number().int(), steps: z.array(z.string()) });
    const more = { model, messages: ask("Teach me fractions"), response_format: zodResponseFormat(lesson, "lesson") };
    const answer = await client.chat.completions.parse(more);
    assert.ok(lesson.parse(answer.choices[0].message.parsed).title);
    const stream = client.chat.completions.stream(more);
    assert.ok(lesson.parse((await stream.finalChatCompletion()).choices[0].message.parsed).title);
  },

  async "parsed tool arguments"() {
    const answer = await client.chat.completions.parse({
      model,
      messages: ask("What is the weather in Oslo?"),
      tools: [zodFunction({ name: "get_weather", parameters: z.object({ city: z.string() }) })],
      tool_choice: "required",
    });
    assert.ok(answer.choices[0].message.tool_calls[0].function.parsed_arguments.city);
  },

  async models() {
    const listed = [];
    for await (const one of client.models.list()) listed.push(one.id);
    assert.ok(listed.includes(model), listed.join());
    assert.equal((await client.models.retrieve(model)).id, model);
    const error = await thrown(OpenAI.NotFoundError, () => client.models.retrieve("no-such-model"));
    assert.equal(error.code, "model_not_found");
  },

  async "two hundred at a time"() {
    const began = Date.now();
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, at) => {
        const messages = ask(`Say ${at}`);
        if (at % 2) return text(await collect(await create({ messages, stream: true })));
        return (await create({ messages })).choices[0].message.content;
      }),
    );
    assert.ok(answers.every((answer) => answer.length > 0));
    console.log(`   200 calls at a time took ${((Date.now() - began) / 1000).toFixed(1)} s`);
  },

  async "error 401"() {
    const wrong = client.withOptions({ apiKey: "sk-nobody-has-this-key" });
    const error = await thrown(OpenAI.AuthenticationError, () =>
      wrong.chat.completions.create({ model, messages: ask("Hello") }),
    );
    assert.equal(error.code, "invalid_api_key");
    assert.ok(error.requestID);
  },

  async "error 404"() {
    const error = await thrown(OpenAI.NotFoundError, () => create({ model: "no-such-model" }));
    assert.equal(error.code, "model_not_found");
    assert.equal(error.type, "invalid_request_error");
  },

  async "error 400"() {
    assert.equal((await thrown(OpenAI.BadRequestError, () => create({ n: -1 }))).param, "n");
    const long = await thrown(OpenAI.BadRequestError, () =>
      create({ messages: ask("[[sim:error=ctx-too-long]]") }),
    );
    assert.equal(long.code, "context_length_exceeded");
  },

  async "error 429"() {
    const limited = client.withOptions({ apiKey: LIMITED_KEY, maxRetries: 2 });
    const one = () => limited.chat.completions.create({ model, messages: ask("The only one today") });
    await one();
    const began = Date.now();
    const error = await thrown(OpenAI.RateLimitError, one);
    assert.ok(Date.now() - began < 5_000, "it slept");
    assert.equal(error.headers.get("x-grok2api-reason"), "client_limit");
    assert.equal(error.headers.get("x-should-retry"), "false");
    assert.ok(Number(error.headers.get("retry-after")) <= 120);
  },

  async "error 5xx"() {
    const error = await thrown(OpenAI.InternalServerError, () =>
      create({ messages: ask("[[sim:error=unavailable-503]]") }),
    );
    assert.ok([502, 503].includes(error.status) && error.code, `${error}`);
  },

  async "retries help"() {
    const patient = client.withOptions({ maxRetries: 2 });
    const messages = ask("[[sim:error=internal-500;times=3]] Hello from node");
    assert.ok((await patient.chat.completions.create({ model, messages })).choices[0].message.content);
  },

  async "error in the stream"() {
    const stream = await create({ messages: ask("[[sim:event_error=chat-midstream-flat;event_at=3]] Hello"), stream: true });
    const error = await thrown(OpenAI.APIError, () => collect(stream));
    assert.ok(error.code && error.message, `${error}`);
  },

  async timeouts() {
    const began = Date.now();
    await thrown(OpenAI.APIConnectionTimeoutError, () =>
      create({ messages: ask("[[sim:delay=5000]] Hello") }, { timeout: 500 }),
    );
    assert.ok(Date.now() - began < 3_000);
    await create({});
  },

  async disconnects() {
    const before = (await simulator("/stats")).cancelled;
    const stream = await create({ messages: ask("[[sim:pace=400]] Hello"), stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
    const end = Date.now() + 5_000;
    while ((await simulator("/stats")).cancelled === before) {
      assert.ok(Date.now() < end, "the upstream call goes on after the client has gone");
      await sleep(50);
    }
    await create({});
  },
};

for (const [name, test] of Object.entries(tests)) {
  const began = Date.now();
  try {
    await test();
  } catch (error) {
    console.error(`FAILED ${name}`);
    throw error;
  }
  console.log(`ok ${name} (${((Date.now() - began) / 1000).toFixed(2)} s)`);
}
console.log(`openai-node ${VERSION}: ${Object.keys(tests).length} passed`);
