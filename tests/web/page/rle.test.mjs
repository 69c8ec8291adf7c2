import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  area,
  columnSpans,
  covers,
  decodeCounts,
  decodeMask,
  encodeCounts,
  encodeMask,
  maskToRuns,
  runsToMask,
  spansBox,
} from "../../../src/emclick/web/static/js/rle.js";

const known = JSON.parse(readFileSync(new URL("./rle_by_pycocotools.json", import.meta.url), "utf8"));

for (const { kind, size, counts, ones } of known) {
  test(`reads and writes what pycocotools writes: ${kind} ${size}`, () => {
    const [h, w] = size;
    const mask = decodeMask({ size, counts });
    assert.equal(mask.join(""), ones);
    assert.equal(encodeMask(mask, h, w).counts, counts);
    const runs = decodeCounts(counts);
    assert.equal(area(runs), [...ones].filter((each) => each === "1").length);
    for (let i = 0; i < Math.min(h * w, 200); i++) {
      assert.equal(covers(runs, h, Math.floor(i / h), i % h), ones[i] === "1");
    }
  });
}

test("long runs of a 12-megapixel picture survive", () => {
  const runs = [5_000_000, 7, 0, 6_999_993];
  assert.deepEqual([...decodeCounts(encodeCounts(runs))], runs);
});

test("no counts are an empty mask", () => {
  assert.equal(decodeMask({ size: [3, 4], counts: "" }).length, 12);
  assert.deepEqual(spansBox(columnSpans([], 3)), { x: 0, y: 0, w: 0, h: 0 });
});

test("broken runs are refused", () => {
  assert.throws(() => decodeCounts("P"), RangeError); // says that more follows
  assert.throws(() => decodeCounts("\u0000"), RangeError);
  assert.throws(() => runsToMask([3, 4], 12), RangeError);
});

test("spans and box are those of the mask", () => {
  const h = 4;
  const mask = Uint8Array.from([0, 0, 1, 1, /**/ 1, 1, 1, 1, /**/ 1, 0, 0, 0, /**/ 0, 0, 0, 0]);
  const spans = columnSpans(maskToRuns(mask), h);
  assert.equal(spans.n, 3);
  assert.deepEqual([...spans.xs.slice(0, 3)], [0, 1, 2]);
  assert.deepEqual([...spans.ys.slice(0, 6)], [2, 4, 0, 4, 0, 1]);
  assert.deepEqual(spansBox(spans), { x: 0, y: 0, w: 3, h: 4 });
});
