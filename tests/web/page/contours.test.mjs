import assert from "node:assert/strict";
import { test } from "node:test";

import { fillRings } from "../../../src/emclick/web/static/js/brush.js";
import { countCorners, simplifyRing, traceRings } from "../../../src/emclick/web/static/js/contours.js";
import { columnSpans, maskToRuns } from "../../../src/emclick/web/static/js/rle.js";

/** Column-major mask of rows of text. */
function fromRows(rows) {
  const [h, w] = [rows.length, rows[0].length];
  const mask = new Uint8Array(h * w);
  for (let x = 0; x < w; x++) for (let y = 0; y < h; y++) mask[x * h + y] = rows[y][x] === "#" ? 1 : 0;
  return { mask, h, w };
}

const trace = ({ mask, h }) => traceRings(columnSpans(maskToRuns(mask), h), h);

/** Twice the signed area; positive for rings that run clockwise on the screen. */
function doubleArea(ring) {
  let sum = 0;
  for (let i = 0; i < ring.length; i += 2) {
    const j = (i + 2) % ring.length;
    sum += ring[i] * ring[j + 1] - ring[j] * ring[i + 1];
  }
  return sum;
}

/** A generator of numbers in [0, 1) that gives the same ones every time. */
function numbers(seed) {
  let state = seed;
  return () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
}

test("one pixel is a square of four corners", () => {
  const rings = trace(fromRows(["...", ".#.", "..."]));
  assert.equal(rings.length, 1);
  assert.equal(rings[0].length, 8);
  assert.equal(doubleArea(rings[0]), 2);
});

test("a hole runs the other way", () => {
  const rings = trace(fromRows(["####", "#..#", "####"]));
  assert.deepEqual(
    rings.map(doubleArea).sort((a, b) => a - b),
    [-4, 24],
  );
});

test("pixels that touch by a corner are two parts", () => {
  const rings = trace(fromRows(["#.", ".#"]));
  assert.deepEqual(
    rings.map((ring) => ring.length),
    [8, 8],
  );
});

test("a full picture is one rectangle", () => {
  const rings = trace(fromRows(["###", "###"]));
  assert.deepEqual(
    rings.map((ring) => ring.length),
    [8],
  );
  assert.equal(doubleArea(rings[0]), 12);
});

test("an empty mask has no outline", () => {
  assert.deepEqual(trace(fromRows(["..", ".."])), []);
});

test("filling the outline gives the mask back, whatever it looks like", () => {
  const next = numbers(7);
  for (let round = 0; round < 200; round++) {
    const [h, w] = [1 + Math.floor(next() * 12), 1 + Math.floor(next() * 12)];
    const share = next();
    const mask = Uint8Array.from({ length: h * w }, () => (next() < share ? 1 : 0));
    const rings = trace({ mask, h });
    assert.deepEqual(fillRings(rings, h, w), mask);
    const total = rings.reduce((sum, ring) => sum + doubleArea(ring), 0);
    assert.equal(total, 2 * mask.reduce((sum, each) => sum + each, 0));
  }
});

test("simplifying keeps within the tolerance and leaves fewer corners", () => {
  const [h, w] = [200, 200];
  const mask = new Uint8Array(h * w);
  for (let x = 0; x < w; x++) for (let y = 0; y < h; y++) if (Math.hypot(x - 100, y - 100) < 80) mask[x * h + y] = 1;
  const [ring] = trace({ mask, h });
  const simple = simplifyRing(ring, 1.2);
  assert.ok(simple.length < ring.length / 4, `${simple.length} of ${ring.length}`);
  for (let i = 0; i < simple.length; i += 2)
    assert.ok(Math.abs(Math.hypot(simple[i] - 100.5, simple[i + 1] - 100.5) - 80) < 1.5);
  const filled = fillRings([simple], h, w);
  const wrong = filled.reduce((sum, each, i) => sum + (each === mask[i] ? 0 : 1), 0);
  assert.ok(wrong < 0.02 * 80 * 80 * Math.PI, `${wrong} pixels differ`);
  assert.equal(simplifyRing(ring, 0), ring);
});

test("corners are counted as they are traced", () => {
  const random = numbers(11);
  for (let round = 0; round < 60; round++) {
    const [h, w] = [1 + Math.floor(9 * random()), 1 + Math.floor(9 * random())];
    const share = random();
    const mask = Uint8Array.from({ length: h * w }, () => (random() < share ? 1 : 0));
    const spans = columnSpans(maskToRuns(mask), h);
    const traced = traceRings(spans, h).reduce((sum, ring) => sum + ring.length / 2, 0);
    assert.equal(countCorners(spans), traced);
  }
});
