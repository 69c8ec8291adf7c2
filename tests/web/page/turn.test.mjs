import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { decodeMask, encodeMask } from "../../../src/emclick/web/static/js/rle.js";
import { localObject } from "../../../src/emclick/web/static/js/store.js";
import { clickNumber, onTurn } from "../../../src/emclick/web/static/js/turn.js";

const [H, W] = [1, 6];
const rle = (text) =>
  encodeMask(
    Uint8Array.from(text, (each) => Number(each === "#")),
    H,
    W,
  );
const text = (mask) => Array.from(decodeMask(mask), (each) => (each ? "#" : ".")).join("");
const object = (part) => localObject("o", "i", [H, W], { seq: 7, rle: rle("#....."), ...part });
const clicks = [1, 2, 3].map((x) => ({ x, y: 0, positive: true }));
const command = (kind, body = {}, part = {}) => ({
  key: "k",
  kind,
  image: "i",
  object: "o",
  method: "POST",
  path: "",
  body,
  ...part,
});
const history = (can_undo, can_redo) => ({ id: "i", can_undo, can_redo });

const fetched = globalThis.fetch;
let asked = [];
afterEach(() => (globalThis.fetch = fetched));
const serve = (detail) => {
  asked = [];
  globalThis.fetch = async (path) => {
    asked.push(path);
    return new Response(JSON.stringify(detail));
  };
};

/** The page, with an image open. */
function page(objects, image = history(true, false)) {
  serve(null);
  const app = {
    state: { image, objects: new Map(objects.map((each) => [each.id, each])) },
    saves: 0,
    said: [],
    toast: (words) => app.said.push(words),
    queued: [],
    outbox: { save: () => app.saves++, of: (id) => app.queued.filter((each) => each.object === id) },
  };
  return app;
}

const STROKE = { points: [3, 0, 4, 0], radius: 0.5, value: 1, keep: ["p"] };

test("a stroke is painted on the mask that the server has by then", async () => {
  const app = page([object({ base: rle("##...."), rle: rle("##.##.") })]);
  const given = command("stroke", STROKE, { method: "PUT" });
  const ready = await onTurn(app, given);
  assert.equal(ready.seq, 7);
  assert.deepEqual([ready.command.path, ready.command.key], ["api/objects/{object}/mask", "k"]);
  assert.equal(ready.command.body.kind, "brush");
  assert.equal(text(ready.command.body.rle), "##.##.");
  assert.deepEqual([given.path, given.body], ["", STROKE]); // sent again, it is painted again
  assert.deepEqual(asked, []);
});

test("a stroke goes to its own image, whichever is open", async () => {
  const app = page([], { id: "other", can_undo: true, can_redo: true });
  const taken = { ...object({ rle: rle("....#."), locked: true }), id: "p" };
  serve({ ...history(false, false), objects: [object({ seq: 9 }), taken] });
  const ready = await onTurn(app, command("stroke", STROKE));
  assert.deepEqual([ready.seq, text(ready.command.body.rle)], [9, "#..#.."]);
  assert.deepEqual(asked, ["./api/images/i"]);
});

test("a stroke on an object that is gone is refused", async () => {
  const app = page([]);
  serve({ ...history(false, false), objects: [] });
  await assert.rejects(onTurn(app, command("stroke", STROKE)), { name: "Error", status: 404 });
});

test("a click is removed by the number that it has by then, once", async () => {
  const app = page([object({ clicks: clicks.slice(1) })]);
  const given = command("remove", { click: clicks[1] });
  assert.equal((await onTurn(app, given)).command.path, "api/objects/{object}/clicks/0");
  // sent again, it is the same request, of the same state
  assert.deepEqual([given.path, given.seq], ["api/objects/{object}/clicks/0", 7]);
  assert.equal(app.saves, 1);
  assert.equal(await onTurn(app, command("remove", { click: clicks[0] })), null);
  assert.equal((await onTurn(app, command("remove"))).command.path, "api/objects/{object}/clicks/1");
  assert.equal(await onTurn(page([object({})]), command("remove")), null);
  assert.deepEqual(app.said, []);
});

test("a click is told by place and sign", () => {
  assert.equal(clickNumber(clicks, { ...clicks[1] }), 1);
  assert.equal(clickNumber(clicks, { ...clicks[1], positive: false }), -1);
  assert.equal(clickNumber([], undefined), -1);
});

test("undo goes through the object's steps, then the image's, and of no other image", async () => {
  const steps = command("undo");
  assert.deepEqual((await onTurn(page([object({ can_undo: true })]), steps)).command, {
    ...command("undo"),
    seq: 7,
    path: "api/objects/{object}/undo",
  });
  const ready = await onTurn(page([object({ can_undo: false })]), command("undo"));
  assert.deepEqual(
    ready.command,
    command("image-undo", {}, { object: "", seq: undefined, path: "api/images/i/undo" }),
  );
  const none = page([object({})], history(true, false));
  assert.equal(await onTurn(none, command("redo")), null);
  assert.equal(none.said.length, 1);
  const away = page([], { id: "other", can_undo: true, can_redo: true });
  serve({ ...history(true, true), objects: [object({ can_redo: true })] });
  assert.equal((await onTurn(away, command("redo"))).command.path, "api/objects/{object}/redo");
  assert.equal((await onTurn(away, command("undo"))).command.path, "api/images/i/undo");
  assert.deepEqual(asked, ["./api/images/i", "./api/images/i"]);
});

test("steps pressed with nothing in work go on with the object that the first has brought back", async () => {
  const back = object({ can_redo: true });
  const app = page([back], history(false, false));
  const redo = () => command("redo", {}, { object: "" });
  app.active = back;
  assert.equal((await onTurn(app, redo())).command.object, "o");
  app.queued = [{ kind: "click", object: "o" }]; // begun after the press
  assert.equal(await onTurn(app, redo()), null);
  app.queued = [];
  app.active = { ...back, image: "other" };
  assert.equal(await onTurn(app, redo()), null);
});
