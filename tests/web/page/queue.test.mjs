import assert from "node:assert/strict";
import { test } from "node:test";

import { Denied, NotStored, Outbox, Unreachable, readStored } from "../../../src/emclick/web/static/js/queue.js";

function storage() {
  const kept = new Map();
  return {
    kept,
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => void kept.set(name, value),
    removeItem: (name) => void kept.delete(name),
  };
}

const command = (key, kind = "click", object = "o1") => ({
  key,
  kind,
  image: "i1",
  object,
  method: "POST",
  path: "api/objects/{object}/clicks",
  body: { x: Number(key) || 0 },
});

function setUp(send) {
  const store = storage();
  const seen = { sent: [], answers: [], refused: [], trouble: [], faults: [] };
  const outbox = new Outbox({
    storage: store,
    name: "box",
    sleep: () => Promise.resolve(),
    send: (each) => {
      seen.sent.push(`${each.key}@${each.object}`);
      return send(each, seen.sent.length);
    },
    onAnswer: (each, answer) => seen.answers.push([each.key, answer]),
    onRefused: (each, error) => seen.refused.push([each.key, error.message]),
    onFault: (error) => seen.faults.push(error.message),
    onChange: (trouble) => seen.trouble.push(trouble),
  });
  return { outbox, store, seen };
}

test("changes are sent one at a time, in order, and forgotten when answered", async () => {
  let inFlight = 0;
  const { outbox, store, seen } = setUp(async (each) => {
    inFlight++;
    assert.equal(inFlight, 1);
    await new Promise((resolve) => setTimeout(resolve, 1));
    inFlight--;
    return each.key;
  });
  for (const key of ["1", "2", "3"]) outbox.push(command(key));
  assert.equal(readStored(store.getItem("box")).length, 3);
  await outbox.settled(1000);
  assert.deepEqual(seen.answers, [
    ["1", "1"],
    ["2", "2"],
    ["3", "3"],
  ]);
  assert.equal(store.getItem("box"), null);
});

test("while the server is away changes are kept and sent again with the same key", async () => {
  const { outbox, store, seen } = setUp(async (each, n) => {
    if (n <= 3) throw new Unreachable("away");
    return each.key;
  });
  outbox.push(command("1"));
  outbox.push(command("2"));
  assert.deepEqual(
    readStored(store.getItem("box")).map((each) => each.key),
    ["1", "2"],
  );
  await outbox.settled(1000);
  assert.deepEqual(seen.sent, ["1@o1", "1@o1", "1@o1", "1@o1", "2@o1"]);
  assert.ok(seen.trouble.includes("offline"));
  assert.equal(seen.trouble.at(-1), "");
});

test("a page that is not known keeps its changes too", async () => {
  const { outbox, seen } = setUp(async (_, n) => {
    if (n === 1) throw new Denied("no");
    return 0;
  });
  outbox.push(command("1"));
  await outbox.settled(1000);
  assert.ok(seen.trouble.includes("denied"));
  assert.equal(seen.answers.length, 1);
});

test("a change that cannot be stored now is kept, and why is known at once", async () => {
  const said = [];
  const { outbox, seen } = setUp(async (each, n) => {
    if (n > 1) said.push(outbox.why);
    if (n <= 2) throw new NotStored("the disk is full");
    return each.key;
  });
  outbox.push(command("1"));
  await outbox.settled();
  assert.deepEqual(said, ["the disk is full", "the disk is full"]);
  assert.deepEqual(seen.trouble, ["", "storage", "storage", ""]);
  assert.equal(outbox.why, "");
  assert.equal(seen.answers.length, 1);
});

test("a refused change is dropped and told; the next goes on", async () => {
  const { outbox, seen } = setUp(async (each) => {
    if (each.key === "1") throw new Error("outside");
    return each.key;
  });
  outbox.push(command("1"));
  outbox.push(command("2"));
  await outbox.settled(1000);
  assert.deepEqual(seen.refused, [["1", "outside"]]);
  assert.deepEqual(seen.answers, [["2", "2"]]);
});

test("changes to an object that is being made go to the name the server gives it", async () => {
  const { outbox, seen } = setUp(async (each) => (each.kind === "create" ? { id: "o77" } : {}));
  outbox.push(command("1", "create", "local:1"));
  outbox.push(command("2", "click", "local:1"));
  await outbox.settled(1000);
  assert.deepEqual(seen.sent, ["1@local:1", "2@o77"]);
});

test("if an object cannot be made, the changes to it go with it", async () => {
  const { outbox, seen } = setUp(async (each) => {
    if (each.kind === "create") throw new Error("no");
    return {};
  });
  outbox.push(command("1", "create", "local:1"));
  outbox.push(command("2", "click", "local:1"));
  outbox.push(command("3", "click", "o1"));
  await outbox.settled(1000);
  assert.deepEqual(seen.sent, ["1@local:1", "3@o1"]);
});

test("a dragged slider sends its newest value only", async () => {
  const { outbox, seen } = setUp(async (each) => each.body);
  outbox.push(command("1"));
  for (const value of [0.3, 0.4, 0.5])
    outbox.pushLatest({ ...command(`p${value}`, "patch"), body: { threshold: value } });
  await outbox.settled(1000);
  assert.deepEqual(
    seen.answers.map(([, body]) => body.threshold),
    [undefined, 0.5],
  );
});

test("changes of an earlier page go first, and none twice", async () => {
  const { outbox, seen } = setUp(async () => 0);
  outbox.commands = [command("3")];
  outbox.adopt([command("1"), command("2"), command("3")]);
  await outbox.settled(1000);
  assert.deepEqual(seen.sent, ["1@o1", "2@o1", "3@o1"]);
});

test("a full storage does not stop the sending", async () => {
  const { outbox, store, seen } = setUp(async () => 0);
  store.setItem = () => {
    throw new Error("quota");
  };
  outbox.push(command("1"));
  await outbox.settled(1000);
  assert.equal(seen.answers.length, 1);
});

test("unreadable leftovers count as nothing", () => {
  assert.deepEqual(readStored("{"), []);
  assert.deepEqual(readStored('{"a": 1}'), []);
  assert.deepEqual(readStored("[1, null, {}]"), []);
  assert.deepEqual(readStored(null), []);
});

test("a file is kept beside the changes until it has been answered", async () => {
  let away = true;
  const { outbox, store, seen } = setUp(async (each) => {
    if (each.file && away) {
      away = false;
      assert.equal(store.getItem(each.file), "data:image/png;base64,AAAA");
      throw new Unreachable();
    }
    return 0;
  });
  assert.ok(outbox.pushFile({ ...command("1", "masks", ""), body: {} }, "data:image/png;base64,AAAA"));
  assert.equal(readStored(store.getItem("box"))[0].file, "emclick-file:1");
  await outbox.settled(1000);
  assert.deepEqual(seen.sent, ["1@", "1@"]);
  assert.equal(store.kept.size, 0);
});

test("a file that there is no room for is not taken, and nothing else is lost", async () => {
  const { outbox, store, seen } = setUp(async () => 0);
  const { setItem } = store;
  store.setItem = (name, value) => {
    if (value.length > 1000) throw new Error("quota");
    setItem(name, value);
  };
  assert.equal(outbox.pushFile(command("1", "masks", ""), "x".repeat(2000)), false);
  assert.equal(outbox.commands.length, 0);
  outbox.push(command("2"));
  await outbox.settled(1000);
  assert.deepEqual(seen.sent, ["2@o1"]);
});

test("a fault of what listens does not hold up the changes behind, and is no refusal", async () => {
  const { outbox, seen } = setUp(async (each) => {
    if (each.key === "2") throw new Error("no");
    return each.key;
  });
  const { onAnswer } = outbox.options;
  outbox.options.onAnswer = (each, answer) => {
    if (each.key === "1") throw new Error("answer");
    onAnswer(each, answer);
  };
  outbox.options.onRefused = () => {
    throw new Error("refusal");
  };
  for (const key of ["1", "2", "3"]) outbox.push(command(key));
  await outbox.settled(1000);
  assert.deepEqual(seen.faults, ["answer", "refusal"]);
  assert.deepEqual(seen.answers, [["3", "3"]]);
  assert.deepEqual(outbox.commands, []);
});

test("only what cannot have been sent is withdrawn", async () => {
  let go = () => {};
  const { outbox, store, seen } = setUp((each) => new Promise((resolve) => (go = () => resolve(each.key))));
  for (const key of ["1", "2", "3"]) outbox.push(command(key));
  assert.ok(!outbox.withdraw(outbox.commands[0]));
  assert.ok(outbox.withdraw(outbox.commands[1]));
  assert.ok(!outbox.withdraw(command("2")));
  assert.deepEqual(
    readStored(store.getItem("box")).map((each) => each.key),
    ["1", "3"],
  );
  while (outbox.commands.length) {
    go();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.deepEqual(seen.sent, ["1@o1", "3@o1"]);
});

test("what a stroke keeps out of gets the server's name too", async () => {
  const { outbox } = setUp(async () => new Promise(() => undefined));
  outbox.push({ ...command("1", "stroke"), body: { keep: ["local:a", "b"] } });
  outbox.resolve("local:a", "a");
  assert.deepEqual(outbox.commands[0].body.keep, ["a", "b"]);
});

test("what was stored is used only if it is a change", () => {
  const whole = command("1");
  const broken = [null, 3, { ...whole, body: undefined }, { ...whole, kind: 1 }, { ...whole, path: null }, {}];
  assert.deepEqual(readStored(JSON.stringify([...broken, whole])), [whole]);
});
