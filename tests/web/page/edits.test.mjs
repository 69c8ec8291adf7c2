import assert from "node:assert/strict";
import { test } from "node:test";

import { layOver, paintStrokes } from "../../../src/emclick/web/static/js/edits.js";
import { decodeMask, encodeMask } from "../../../src/emclick/web/static/js/rle.js";
import { localObject, protectedObjects } from "../../../src/emclick/web/static/js/store.js";

const [H, W] = [5, 12];
const columns = (from, to) => {
  const mask = new Uint8Array(H * W);
  mask.fill(1, from * H, to * H);
  return encodeMask(mask, H, W);
};
/** Row 2, left to right. */
const row = (rle) => Array.from({ length: W }, (_, x) => (decodeMask(rle)[x * H + 2] ? "#" : ".")).join("");
const object = (part) => localObject("o", "i", [H, W], part);
const along = (from, to, value = 1, keep = []) => ({ points: [from, 2, to, 2], radius: 0.5, value, keep });
const paintStroke = (rle, strokes, objects = new Map()) => paintStrokes(rle, [strokes].flat(), objects);
const stroke = (from, to, value) => ({ kind: "stroke", body: along(from, to, value) });

test("a stroke adds, keeps out of the others, and leaves what was there", () => {
  const others = new Map([
    ["a", object({ rle: columns(4, 7) })],
    ["b", object({ rle: { size: [H, W], counts: "" } })],
  ]);
  const keep = ["a", "b", "gone"];
  assert.equal(row(paintStroke({ size: [H, W], counts: "" }, along(2, 9), others)), "..########..");
  assert.equal(row(paintStroke(columns(0, 5), along(2, 9, 1, keep), others)), "#####..###..");
  assert.equal(row(paintStroke(columns(0, 12), along(2, 5, 0, keep), others)), "##....######");
  // one after the other: what the first adds is there before the second
  const both = [along(2, 5), along(1, 9, 1, keep)];
  assert.equal(row(paintStroke({ size: [H, W], counts: "" }, both, others)), ".#####.###..");
  assert.equal(row(paintStroke({ size: [H, W], counts: "" }, along(6, 30, 1, keep), others)), ".......#####");
  assert.equal(
    row(paintStroke({ size: [H, W], counts: "" }, { points: [3, 2], radius: 0.5, value: 1 })),
    "...#........",
  );
});

test("others are those finished or locked", () => {
  const objects = new Map([
    ["a", { ...object({ finished: true }), id: "a" }],
    ["b", { ...object({ locked: true }), id: "b" }],
    ["c", { ...object({}), id: "c" }],
    ["me", { ...object({ finished: true, locked: true }), id: "me" }],
  ]);
  assert.deepEqual(
    protectedObjects(objects, "me").map((each) => each.id),
    ["a", "b"],
  );
});

test("what is on its way lies over the server's mask, in the order made", () => {
  const mine = object({ seq: 1, rle: columns(0, 2) });
  const objects = new Map([["o", mine]]);
  const shown = layOver(mine, [stroke(4, 6), { kind: "click", body: {} }, stroke(5, 8, 0)], objects);
  assert.equal(row(shown.rle), "##..#.......");
  assert.equal(row(shown.base), "##..........");
  // an answer changes what lies below
  const later = layOver({ ...shown, base: columns(9, 12) }, [stroke(5, 8)], objects);
  assert.equal(row(later.rle), ".....#######");
  // a whole mask covers what was before it
  const masks = [stroke(0, 3), { kind: "mask", body: { rle: columns(6, 7) } }, stroke(9, 9)];
  assert.equal(row(layOver(mine, masks, objects).rle), "......#..#..");
  // and when all is answered there is nothing left of it
  const rests = layOver(shown, [], objects);
  assert.equal(row(rests.rle), "##..........");
  assert.ok(!("base" in rests));
  assert.equal(layOver(mine, [], objects), mine);
});

test("fields that are set and on their way lie over the server's", () => {
  const mine = object({ seq: 1, rle: columns(0, 2) });
  const objects = new Map([["o", mine]]);
  const queued = [
    { kind: "patch", body: { label: "cup", locked: true } },
    { kind: "patch", body: { label: "pot" } },
  ];
  const shown = layOver(mine, queued, objects);
  assert.deepEqual([shown.label, shown.locked, row(shown.rle), mine.label], ["pot", true, "##..........", ""]);
  assert.equal(layOver(mine, [...queued, stroke(4, 6)], objects).label, "pot");
});
