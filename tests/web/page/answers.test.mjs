import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { connectAnswers, refreshImage, takeImage } from "../../../src/emclick/web/static/js/answers.js";
import { Refused } from "../../../src/emclick/web/static/js/api.js";
import { localObject } from "../../../src/emclick/web/static/js/store.js";
import { S } from "../../../src/emclick/web/static/js/strings.js";

const object = (id, part) => ({
  ...localObject(id, "i", [2, 2], {}),
  id,
  rle: { size: [2, 2], counts: "4" },
  ...part,
});
const detail = (seq, objects, part) => ({
  id: "i",
  seq,
  status: "work",
  can_undo: false,
  can_redo: true,
  objects,
  ...part,
});
const command = (kind, id, body = {}) => ({
  key: `${kind}-${id}`,
  kind,
  image: "i",
  object: id,
  method: "POST",
  path: "p",
  body,
});

const fetched = globalThis.fetch;
afterEach(() => (globalThis.fetch = fetched));

/** A page with an image open. `answers` are given to its requests one after the other. */
function page(objects, queued = [], answers = []) {
  const said = [];
  const state = {
    image: detail(1, []),
    images: [],
    objects: new Map(objects.map((each) => [each.id, each])),
    active: "",
    settings: {},
  };
  const app = {
    said,
    state,
    answered: new Map(),
    made: new Set(),
    named: new Map(),
    asked: 0,
    store: { set: (part) => Object.assign(state, part) },
    setObject: (each) => state.objects.set(each.id, each),
    toast: (text) => said.push(text),
    announce: () => undefined,
    change: (kind, id) => app.outbox.commands.push(command(kind, id)),
    stage: { live: {}, afterPaint: () => undefined },
    shapes: { of: () => ({ area: 0 }) },
    outbox: {
      commands: queued,
      of: (id) => app.outbox.commands.filter((each) => each.object === id),
      again: (each) => app.outbox.commands.unshift(each),
    },
  };
  globalThis.fetch = async () => {
    app.asked++;
    return new Response(JSON.stringify(answers.length > 1 ? answers.shift() : answers[0]));
  };
  connectAnswers(app);
  return app;
}
const ids = (app) => [...app.state.objects.keys()];

test("an image that was asked for before the last answer is asked for again", async () => {
  const made = object("new", { seq: 6 });
  const app = page(
    [object("a", { seq: 3 })],
    [],
    [detail(5, [object("a", { seq: 3 })]), detail(6, [object("a", { seq: 3 }), made])],
  );
  const refreshed = refreshImage(app);
  app.onAnswer({ ...command("create", "local:k"), body: {} }, made);
  await refreshed;
  assert.equal(app.asked, 2);
  assert.deepEqual(ids(app), ["a", "new"]);
});

test("what is on its way lies over an image that is taken", () => {
  const queued = [command("patch", "a", { finished: true, label: "cup" }), command("delete", "b")];
  const app = page([object("a"), object("local:k")], [...queued, command("create", "local:k")]);
  takeImage(app, detail(4, [object("a", { seq: 4 }), object("b", { seq: 4 })]));
  assert.deepEqual(ids(app), ["a", "local:k"]);
  assert.deepEqual([app.state.objects.get("a").finished, app.state.objects.get("a").label], [true, "cup"]);
});

test("an object that is being finished is not taken up again by an answer about another", () => {
  const app = page([object("z", { finished: true, seq: 2 })], [command("patch", "z", { finished: true })]);
  app.onAnswer(command("delete", "d"), detail(4, [object("z", { seq: 3 })]));
  assert.equal(app.state.active, "");
});

test("a stroke refused as made for an older mask is made once more", () => {
  const app = page([object("a", { seq: 2 })]);
  const newer = object("a", { seq: 5, image: "i" });
  const stroke = command("stroke", "a", { points: [0, 0], radius: 0.5, value: 1, keep: [] });
  app.onRefused(stroke, new Refused(409, "stale", "", newer));
  assert.deepEqual([app.outbox.commands[0]?.key, app.state.objects.get("a").seq, app.said], [stroke.key, 5, []]);
  const again = app.outbox.commands.shift();
  app.onRefused(again, new Refused(409, "stale", "", newer));
  assert.deepEqual([app.outbox.commands, app.said], [[], [S.stale]]);
});

test("an object finished with nothing left of it is discarded", () => {
  const empty = object("a", { seq: 2, finished: true });
  const app = page([empty]);
  app.onAnswer(command("patch", "a", { finished: true }), { ...empty, seq: 3 });
  assert.deepEqual([ids(app), app.outbox.commands.map((each) => each.kind)], [[], ["delete"]]);
});

test("a new step of the image's history leaves nothing to redo, showing and hiding are none", () => {
  const app = page([object("a", { seq: 2 })]);
  app.onAnswer(command("patch", "a", { visible: false }), object("a", { seq: 3 }));
  assert.deepEqual([app.state.image.can_undo, app.state.image.can_redo], [false, true]);
  app.onAnswer(command("patch", "a", { label: "cup" }), object("a", { seq: 4 }));
  assert.deepEqual([app.state.image.can_undo, app.state.image.can_redo], [true, false]);
});

test("cleaning says when it did nothing, and when it left nothing", () => {
  const whole = object("a", { seq: 2, rle: { size: [2, 2], counts: "04" } });
  const app = page([whole]);
  app.onAnswer(command("clean", "a"), { ...whole, seq: 3 });
  app.onAnswer(command("clean", "a"), { ...whole, seq: 4, rle: { size: [2, 2], counts: "4" } });
  assert.deepEqual(app.said, [S.nothingToClean, S.cleanedAway]);
});
