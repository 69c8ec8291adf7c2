import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { Refused, call } from "../../../src/emclick/web/static/js/api.js";
import { NotStored, Outbox, Unreachable } from "../../../src/emclick/web/static/js/queue.js";

/** What the server does with the next requests, one after the other; the last for all that follow. */
let behaviours = [];
let requests = 0;
const server = createServer((_, response) => {
  requests++;
  const behave = behaviours.length > 1 ? behaviours.shift() : behaviours[0];
  behave(response);
});
const BODY = JSON.stringify({ seq: 1 });
const dies = (sent) => (response) => {
  response.writeHead(200, { "Content-Type": "application/json", "Content-Length": String(BODY.length) });
  response.write(BODY.slice(0, sent));
  setTimeout(() => response.destroy(), 20);
};
const answers = (response) => response.end(BODY);
const says = (status, body) => (response) => {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(body);
};

const fetched = globalThis.fetch;
before(async () => {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  globalThis.fetch = (path, init) => fetched(new URL(path, `http://127.0.0.1:${port}/`), init);
});
after(() => {
  globalThis.fetch = fetched;
  server.closeAllConnections();
  server.close();
});

test("an answer that breaks off is no answer, wherever it breaks", async () => {
  for (const sent of [0, 1, BODY.length - 1]) {
    behaviours = [dies(sent)];
    await assert.rejects(call("POST", "api/objects/o1/clicks", { json: {} }), Unreachable);
  }
  behaviours = [(response) => response.destroy()];
  await assert.rejects(call("POST", "api/objects/o1/clicks", { json: {} }), Unreachable);
  behaviours = [says(200, "<html>a proxy's page</html>")];
  await assert.rejects(call("POST", "api/objects/o1/clicks", { json: {} }), Unreachable);
});

test("a request that is called off says so", async () => {
  const stop = new AbortController();
  behaviours = [
    (response) => {
      response.writeHead(200, { "Content-Length": String(BODY.length) });
      response.write(BODY.slice(0, 2));
      setTimeout(() => stop.abort(), 20);
    },
  ];
  await assert.rejects(call("GET", "api/images", { signal: stop.signal }), { name: "AbortError" });
});

test("a refusal is told, also one without words", async () => {
  behaviours = [says(409, '{"error": {"code": "stale", "message": "changed", "object": {"id": "o1"}}}')];
  await assert.rejects(call("POST", "api/x", { json: {} }), (error) => {
    assert.ok(error instanceof Refused);
    assert.deepEqual(
      [error.status, error.code, error.message, error.object],
      [409, "stale", "changed", { id: "o1" }],
    );
    return true;
  });
  behaviours = [says(400, "")];
  await assert.rejects(call("POST", "api/x", { json: {} }), Refused);
});

test("a server that cannot store says why; one that is away says nothing", async () => {
  behaviours = [says(503, '{"error": {"code": "storage", "message": "the disk is full"}}')];
  await assert.rejects(call("POST", "api/x", { json: {} }), (error) => {
    assert.ok(error instanceof NotStored);
    assert.equal(error.message, "the disk is full");
    return true;
  });
  for (const [status, body] of [
    [503, "<html>a proxy's page</html>"],
    [504, ""],
  ]) {
    behaviours = [says(status, body)];
    await assert.rejects(
      call("POST", "api/x", { json: {} }),
      (error) => error instanceof Unreachable && !(error instanceof NotStored),
    );
  }
});

test("a click whose answer broke off is sent again, with its key", async () => {
  behaviours = [dies(4), answers];
  requests = 0;
  const seen = [];
  const outbox = new Outbox({
    storage: { getItem: () => null, setItem: () => undefined, removeItem: () => undefined },
    name: "box",
    sleep: () => Promise.resolve(),
    send: (command) => {
      seen.push(command.key);
      return call(command.method, command.path, { json: {} });
    },
    onAnswer: (_, answer) => seen.push(answer),
    onRefused: (_, error) => seen.push(error),
    onChange: () => undefined,
  });
  outbox.push({ key: "k1", kind: "click", image: "i1", object: "o1", method: "POST", path: "api/x", body: {} });
  await outbox.settled(1000);
  assert.deepEqual(seen, ["k1", "k1", { seq: 1 }]);
  assert.equal(requests, 2);
});
