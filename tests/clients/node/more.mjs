// openai-node's files, audio, embeddings and realtime against the gateway in front of the simulator.
// Environment: GATEWAY (…/v1), API_KEY, OTHER_KEY (another client's).

import assert from "node:assert/strict";
import net from "node:net";
import OpenAI, { toFile } from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { VERSION } from "openai/version";
import { WebSocket as WS } from "ws";

const { GATEWAY, API_KEY, OTHER_KEY } = process.env;
const model = "grok-4.6";
const options = { baseURL: GATEWAY, apiKey: API_KEY, maxRetries: 0, timeout: 30_000 };
const client = new OpenAI(options);
const other = new OpenAI({ ...options, apiKey: OTHER_KEY });

// The SDK speaks TLS to every address; here there is none.
const createConnection = ({ port, host }) => net.connect(port, host);
globalThis.WebSocket = class extends WS {
  constructor(address, protocols) {
    super(address, protocols, { createConnection });
  }
};

const tests = {
  async files() {
    const made = [];
    for (let at = 0; at < 5; at += 1) {
      made.push(await client.files.create({ file: await toFile(Buffer.from(`note ${at}`), `notes-${at}.txt`), purpose: "assistants" }));
    }
    assert.equal((await client.files.retrieve(made[0].id)).filename, "notes-0.txt");
    assert.equal(await (await client.files.content(made[3].id)).text(), "note 3");
    const listed = new Set();
    for await (const file of client.files.list({ limit: 2 })) listed.add(file.id);
    for (const file of made) assert.ok(listed.has(file.id));
    await assert.rejects(other.files.retrieve(made[0].id), OpenAI.NotFoundError);
    assert.ok((await client.files.delete(made[0].id)).deleted);
  },

  async speech() {
    const sound = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "Hello there" });
    assert.equal(Buffer.from(await sound.arrayBuffer()).subarray(0, 3).toString(), "ID3");
  },

  async transcriptions() {
    const file = await toFile(Buffer.alloc(32_000, 7), "talk.wav");
    const told = await client.audio.transcriptions.create({ model: "whisper-1", file });
    assert.equal(told.text, "talk.wav of 32000 bytes");
  },

  async embeddings() {
    const got = await client.embeddings.create({ model: "v1", input: ["one", "two words"] });
    assert.equal(got.data.length, 2);
    assert.equal(typeof got.data[0].embedding[0], "number");
  },

  // With the header, as servers send it; and with the key as a subprotocol, as browsers do.
  async realtime() {
    for (const Realtime of [OpenAIRealtimeWS, OpenAIRealtimeWebSocket]) {
      const extra = Realtime === OpenAIRealtimeWebSocket ? { dangerouslyAllowBrowser: true } : { options: { createConnection } };
      const talk = new Realtime({ model: "grok-voice-latest", ...extra }, client);
      const kinds = [];
      await new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`no answer; came: ${kinds}`)), 20_000);
        talk.on("event", (event) => {
          kinds.push(event.type);
          if (event.type === "session.created") talk.send({ type: "response.create" });
          if (event.type === "response.done") {
            clearTimeout(late);
            resolve();
          }
        });
        talk.on("error", reject);
      });
      assert.ok(kinds.includes("response.output_audio_transcript.delta"), kinds.join());
      talk.close();
    }
  },

  async a_response_reads_a_file() {
    const file = await client.files.create({ file: await toFile(Buffer.from("hello"), "a.txt"), purpose: "assistants" });
    const input = [{ role: "user", content: [{ type: "input_file", file_id: file.id }] }];
    assert.equal((await client.responses.create({ model, input })).status, "completed");
    await assert.rejects(other.responses.create({ model, input }), OpenAI.NotFoundError);
  },
};

for (const [name, run] of Object.entries(tests)) {
  await run();
  console.log("ok", name);
}
console.log(VERSION, Object.keys(tests).length, "passed");
process.exit(0);
