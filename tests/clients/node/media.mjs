// openai-node's images and videos against the gateway in front of the simulator.
// Environment: GATEWAY (…/v1), API_KEY, OTHER_KEY (another client's), LIMITED_KEY (one picture a day).

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { VERSION } from "openai/version";

const { GATEWAY, API_KEY, OTHER_KEY, LIMITED_KEY } = process.env;
const model = "grok-imagine-image";
const options = { baseURL: GATEWAY, apiKey: API_KEY, maxRetries: 0, timeout: 60_000 };
const client = new OpenAI(options);
const other = new OpenAI({ ...options, apiKey: OTHER_KEY });
const limited = new OpenAI({ ...options, apiKey: LIMITED_KEY });
const png = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);
const picture = () => toFile(png, "a.png", { type: "image/png" });
const isJpeg = (text) => Buffer.from(text, "base64").subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff]));

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

async function ended(id) {
  for (let at = 0; at < 100; at++) {
    const video = await client.videos.retrieve(id);
    if (!["queued", "in_progress"].includes(video.status)) return video;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.fail(`${id} does not end`);
}

const tests = {
  async a_picture_by_its_link() {
    const made = await client.images.generate({ model, prompt: "A lighthouse", n: 2, size: "1536x1024" });
    assert.equal(made.data.length, 2);
    assert.ok(Math.abs(made.created - Date.now() / 1000) < 60);
    const answer = await fetch(made.data[1].url);
    assert.equal(answer.headers.get("content-type"), "image/jpeg");
  },

  async a_picture_inline() {
    const made = await client.images.generate({ model: "dall-e-3", prompt: "A ship", response_format: "b64_json" });
    assert.ok(isJpeg(made.data[0].b64_json));
  },

  async events_of_a_picture() {
    const events = await collect(await client.images.generate({ model, prompt: "A ship", stream: true }));
    assert.deepEqual(events.map((event) => event.type), ["image_generation.completed"]);
    assert.ok(isJpeg(events[0].b64_json));
  },

  async a_picture_is_changed() {
    const one = await client.images.edit({ model, prompt: "Redder", image: await picture() });
    assert.ok(one.data[0].url);
    const image = [await picture(), await picture()];
    const several = await client.images.edit({ model, prompt: "Both", image, n: 2 });
    assert.equal(several.data.length, 2);
    const events = await collect(
      await client.images.edit({ model, prompt: "Redder", image: await picture(), stream: true }),
    );
    assert.deepEqual(events.map((event) => event.type), ["image_edit.completed"]);
  },

  async pictures_that_cannot_be_had() {
    const size = await thrown(OpenAI.BadRequestError, () => client.images.generate({ model, prompt: "A", size: "7x7" }));
    assert.deepEqual([size.param, size.code], ["size", "invalid_size"]);
    const prompt = "[[sim:answer=moderated]]";
    const withheld = await thrown(OpenAI.BadRequestError, () => client.images.generate({ model, prompt }));
    assert.equal(withheld.code, "content_policy_violation");
    await thrown(OpenAI.RateLimitError, () => limited.images.generate({ model, prompt: "A", n: 2 }));
  },

  async a_video_from_begin_to_end() {
    const made = await client.videos.create({
      model: "sora-2",
      prompt: "Waves",
      seconds: "4",
      size: "1280x720",
      input_reference: await picture(),
    });
    assert.deepEqual([made.object, made.status, made.seconds], ["video", "queued", "4"]);
    const done = await ended(made.id);
    assert.deepEqual([done.status, done.progress], ["completed", 100]);
    const content = Buffer.from(await (await client.videos.downloadContent(made.id)).arrayBuffer());
    assert.equal(content.subarray(4, 8).toString(), "ftyp");
    await thrown(OpenAI.NotFoundError, () => other.videos.retrieve(made.id));
    const remix = await client.videos.remix(made.id, { prompt: "At night" });
    assert.equal(remix.remixed_from_video_id, made.id);
    const ids = [];
    for await (const video of client.videos.list({ limit: 1 })) ids.push(video.id);
    assert.deepEqual(new Set(ids), new Set([made.id, remix.id]));
    assert.equal((await client.videos.delete(made.id)).deleted, true);
    await thrown(OpenAI.NotFoundError, () => client.videos.retrieve(made.id));
    assert.equal((await ended(remix.id)).status, "completed");
  },
};

for (const [name, run] of Object.entries(tests)) {
  const began = performance.now();
  await run();
  console.log(`ok ${name} (${((performance.now() - began) / 1000).toFixed(2)} s)`);
}
console.log(`openai-node ${VERSION}, images and videos: ${Object.keys(tests).length} passed`);
