// The Vercel AI SDK's providers against the gateway in front of the simulator: text, streams, tools, objects.
// Environment: GATEWAY (…/v1), API_KEY.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createXai } from "@ai-sdk/xai";
import { generateImage, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { GATEWAY: baseURL, API_KEY: apiKey } = process.env;
const providers = {
  xai: createXai({ baseURL, apiKey })("grok-4.6"),
  "openai-compatible": createOpenAICompatible({ name: "grok2api", baseURL, apiKey, supportsStructuredOutputs: true, includeUsage: true })("grok-4.6"),
  anthropic: createAnthropic({ baseURL, apiKey })("claude-sonnet-4-5"),
};
const painters = {
  xai: createXai({ baseURL, apiKey }).image("grok-imagine-image"),
  "openai-compatible": createOpenAICompatible({ name: "grok2api", baseURL, apiKey }).imageModel("grok-imagine-image"),
};
const tools = {
  get_weather: tool({
    description: "The weather of a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sunny in ${city}`,
  }),
};

const tests = {
  async generate(model) {
    const { text, usage, finishReason } = await generateText({ model, prompt: "What is a gateway?", maxRetries: 0 });
    assert.ok(text.includes("gateway"), text);
    assert.ok(usage.totalTokens > 0);
    assert.equal(finishReason, "stop");
  },

  async stream(model) {
    let failure;
    const result = streamText({ model, prompt: "Count to ten", maxRetries: 0, onError: ({ error }) => (failure = error) });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    assert.equal(failure, undefined);
    assert.ok(pieces.length > 1, `${pieces.length} pieces`);
    assert.ok((await result.usage).totalTokens > 0);
  },

  async tools(model) {
    const result = await generateText({
      model, tools, maxRetries: 0, stopWhen: stepCountIs(3),
      prompt: '[[sim:call=get_weather{"city":"Oslo"}]] What is the weather?',
    });
    const called = result.steps.flatMap((step) => step.toolCalls);
    assert.deepEqual(called.map((call) => [call.toolName, call.input]), [["get_weather", { city: "Oslo" }]]);
    assert.equal(result.steps.length, 2);
    assert.ok(result.text.length > 0);
  },

  async objects(model) {
    const schema = z.object({ city: z.string(), population: z.number() });
    // The upstream's Messages know no output format: the schema travels as a tool.
    const providerOptions = { anthropic: { structuredOutputMode: "jsonTool" } };
    const { object } = await generateObject({ model, schema, providerOptions, prompt: "A city", maxRetries: 0 });
    assert.equal(typeof object.city, "string");
    assert.equal(typeof object.population, "number");
  },

  async errors(model) {
    const failing = generateText({ model, prompt: "[[sim:error=arg-invalid]] no", maxRetries: 0 });
    await assert.rejects(failing, (error) => error.statusCode === 400 && error.message.length > 0);
  },
};

async function images(model) {
  const { images } = await generateImage({ model, prompt: "A lighthouse", n: 2, maxRetries: 0 });
  assert.equal(images.length, 2);
  for (const image of images) assert.deepEqual([...image.uint8Array.subarray(0, 3)], [0xff, 0xd8, 0xff]);
}

let done = 0;
const runs = [
  ...Object.entries(providers).map(([name, model]) => [name, model, tests]),
  ...Object.entries(painters).map(([name, model]) => [name, model, { images }]),
];
for (const [name, model, tests] of runs) {
  for (const [what, run] of Object.entries(tests)) {
    try {
      await run(model);
    } catch (error) {
      console.error("failed:", name, what, error);
      process.exitCode = 1;
      continue;
    }
    console.log("ok", name, what);
    done += 1;
  }
}
console.log(done, "passed");
