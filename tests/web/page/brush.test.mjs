import assert from "node:assert/strict";
import { test } from "node:test";

import { fillRings, stampSegment, takeBack, unite } from "../../../src/emclick/web/static/js/brush.js";

const rows = (mask, h, w) =>
  Array.from({ length: h }, (_, y) => Array.from({ length: w }, (_, x) => (mask[x * h + y] ? "#" : ".")).join(""));

test("a brush of one pixel paints the pixel under it", () => {
  for (const radius of [0.4, 0.5]) {
    const mask = new Uint8Array(5 * 6);
    const box = stampSegment(mask, 5, 6, { x: 2.4, y: 1.6 }, { x: 2.4, y: 1.6 }, radius, 1);
    assert.deepEqual(rows(mask, 5, 6), ["......", "......", "..#...", "......", "......"]);
    assert.deepEqual([box.x <= 2, box.y <= 2], [true, true]);
  }
});

test("a stroke is all pixels whose centre is near the line, and erasing undoes it", () => {
  const [h, w] = [9, 12];
  const mask = new Uint8Array(h * w);
  const [a, b] = [
    { x: 3, y: 4 },
    { x: 8, y: 4 },
  ];
  const box = stampSegment(mask, h, w, a, b, 2, 1);
  assert.deepEqual(box, { x: 1, y: 2, w: 10, h: 5 });
  for (let x = 0; x < w; x++) {
    for (let y = 0; y < h; y++) {
      const near = Math.hypot(x - Math.min(Math.max(x, 3), 8), y - 4) <= 2;
      assert.equal(mask[x * h + y], near ? 1 : 0, `${x}, ${y}`);
    }
  }
  stampSegment(mask, h, w, a, b, 2, 0);
  assert.ok(!mask.includes(1));
});

test("a stroke that leaves the picture is cut at its edge", () => {
  const mask = new Uint8Array(4 * 4);
  const box = stampSegment(mask, 4, 4, { x: -5, y: 0 }, { x: 9, y: 0 }, 1, 1);
  assert.deepEqual(box, { x: 0, y: 0, w: 4, h: 2 });
  assert.deepEqual(rows(mask, 4, 4), ["####", "####", "....", "...."]);
  assert.equal(stampSegment(mask, 4, 4, { x: 50, y: 50 }, { x: 60, y: 60 }, 2, 1).w, 0);
});

test("polygons with a hole are filled by the even-odd rule", () => {
  const outer = [1, 1, 6, 1, 6, 5, 1, 5];
  const hole = [3, 2, 3, 4, 5, 4, 5, 2];
  assert.deepEqual(rows(fillRings([outer, hole], 6, 7), 6, 7), [
    ".......",
    ".#####.",
    ".##..#.",
    ".##..#.",
    ".#####.",
    ".......",
  ]);
});

test("a mask loses what another covers, but for what it had before", () => {
  const others = [1, 3, 1, 2]; // .###.##
  const taken = (from, to) => {
    const mask = Uint8Array.from([1, 1, 1, 0, 1, 1, 1]);
    takeBack(mask, Uint8Array.from([0, 0, 1, 0, 0, 0, 0]), others, from, to);
    return mask.join("");
  };
  assert.equal(taken(0, 7), "1010100");
  assert.equal(taken(2, 6), "1110101");
  assert.equal(taken(0, 0), "1110111");
});

test("the box around two boxes; an empty one counts for nothing", () => {
  assert.deepEqual(unite({ x: 2, y: 3, w: 1, h: 1 }, { x: 5, y: 1, w: 2, h: 2 }), { x: 2, y: 1, w: 5, h: 3 });
  assert.deepEqual(unite({ x: 0, y: 0, w: 0, h: 0 }, { x: 5, y: 1, w: 2, h: 2 }), { x: 5, y: 1, w: 2, h: 2 });
});
