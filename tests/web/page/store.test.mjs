import assert from "node:assert/strict";
import { test } from "node:test";

import {
  DEFAULT_SETTINGS,
  PALETTE,
  Store,
  applyAnswer,
  colourOf,
  countStatus,
  filterImages,
  localObject,
  neighbour,
  nextUnfinished,
  ordered,
  readSettings,
} from "../../../src/emclick/web/static/js/store.js";
import { DEFAULT_KEYS } from "../../../src/emclick/web/static/js/keys.js";
import { S } from "../../../src/emclick/web/static/js/strings.js";

const object = (part) => localObject("o", "i", [4, 4], part);
const image = (id, status, name = `${id}.jpg`) => ({
  id,
  name,
  status,
  width: 1,
  height: 1,
  objects: 0,
  version: "1",
  problem: null,
});

test("a late answer changes nothing", () => {
  const now = object({ seq: 5, rle: { size: [4, 4], counts: "new" } });
  assert.equal(applyAnswer(now, { seq: 4, rle: { size: [4, 4], counts: "old" } }), now);
  const next = applyAnswer(now, {
    seq: 6,
    rle: { size: [4, 4], counts: "newer" },
    clicks: [],
    can_undo: true,
    ms: 3,
    box: [0, 0, 1, 1],
  });
  assert.equal(next.rle.counts, "newer");
  assert.equal(next.seq, 6);
  assert.ok(!("ms" in next) && !("box" in next));
});

test("an answer is the server's word: nothing on its way is in it", () => {
  const mine = object({ seq: 1, rle: { size: [4, 4], counts: "mine" }, base: { size: [4, 4], counts: "old" } });
  const next = applyAnswer(mine, { seq: 2, rle: { size: [4, 4], counts: "theirs" } });
  assert.deepEqual([next.rle.counts, next.seq, "base" in next], ["theirs", 2, false]);
  assert.equal(applyAnswer(mine, { seq: 2, label: "cat" }).rle.counts, "old");
});

test("colours: own, then the label's, then by place", () => {
  const labels = [{ id: 1, name: "cat", color: "#111111" }];
  assert.equal(colourOf(object({ color: "#222222", label: "cat" }), labels), "#222222");
  assert.equal(colourOf(object({ label: "cat" }), labels), "#111111");
  assert.equal(colourOf(object({ order: 13 }), labels), PALETTE[1]);
  assert.match(colourOf(object({}), []), /^#[0-9a-f]{6}$/);
});

test("listeners hear of their parts only, once per turn", async () => {
  const store = new Store();
  const heard = [];
  store.on(["tool"], () => heard.push("tool"));
  store.on([], () => heard.push("all"));
  store.set({ tool: "brush" });
  store.set({ tool: "erase", active: "x" });
  await Promise.resolve();
  assert.deepEqual(heard, ["tool", "all"]);
  store.set({ active: "y" });
  await Promise.resolve();
  assert.deepEqual(heard, ["tool", "all", "all"]);
});

test("the list: filter, count, neighbours, next unfinished", () => {
  const images = [image("a", "done"), image("b", "todo", "x/Katze.png"), image("c", "work"), image("d", "done")];
  assert.deepEqual(
    filterImages(images, "done", "").map((each) => each.id),
    ["a", "d"],
  );
  assert.deepEqual(
    filterImages(images, "all", " kAt").map((each) => each.id),
    ["b"],
  );
  assert.deepEqual(countStatus(images), { todo: 1, work: 1, done: 2 });
  assert.equal(neighbour(images, "a", 1)?.id, "b");
  assert.equal(neighbour(images, "a", -1), null);
  assert.equal(neighbour(images, "gone", 1)?.id, "a");
  assert.equal(neighbour([], "a", 1), null);
  assert.equal(nextUnfinished(images, "c")?.id, "b");
  assert.equal(nextUnfinished([images[0]], "a"), null);
  assert.deepEqual(
    ordered(
      new Map([
        ["p", object({ order: 2 })],
        ["q", object({ order: 1 })],
      ]),
    ).map((each) => each.order),
    [1, 2],
  );
});

test("stored settings that cannot be used are replaced", () => {
  assert.deepEqual(readSettings(null), DEFAULT_SETTINGS);
  const read = readSettings({ opacity: 7, brushSize: "big", theme: "dark", other: 1, keys: { undo: ["Q"] } });
  assert.equal(read.opacity, 1);
  assert.equal(read.brushSize, DEFAULT_SETTINGS.brushSize);
  assert.equal(read.theme, "dark");
  assert.ok(!("other" in read));
});

test("every command has a name and a place on the shortcut sheet", () => {
  const listed = S.groups.flatMap(([, commands]) => commands);
  assert.deepEqual([...listed].sort(), Object.keys(DEFAULT_KEYS).sort());
  for (const command of listed) assert.ok(S.command[command] || /^label\d$/.test(command), command);
});
