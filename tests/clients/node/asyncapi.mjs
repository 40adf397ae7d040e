// The AsyncAPI document through AsyncAPI's own parser: no error and no warning.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import parsers from "@asyncapi/parser";

const { document, diagnostics } = await new parsers.Parser().parse(readFileSync(process.env.DOCUMENT, "utf8"));
// 0 = error, 1 = warning; below that it says, for one, that there is a newer version of AsyncAPI.
assert.deepEqual(diagnostics.filter((found) => found.severity <= 1), []);
assert(document, JSON.stringify(diagnostics));
const operations = document.operations().all();
assert.equal(operations.length, Number(process.env.OPERATIONS));
for (const operation of operations) {
  assert(operation.summary(), operation.id());
  for (const message of operation.messages().all()) assert(message.payload(), message.id());
  if (operation.isReceive()) assert(operation.reply(), operation.id());
}
console.log(`${operations.length} operations, ${document.channels().all().length} channels`);
