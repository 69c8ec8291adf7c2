import assert from "node:assert/strict";
import { test } from "node:test";

import { differences, onCanvas, uncovered, wholeShift } from "../../../src/emclick/web/static/js/resting.js";

const look = (x, counts = "c", colour = "#ff0000") => ({ counts, colour, box: { x, y: 0, w: 4, h: 4 } });
const looks = (...entries) => new Map(entries);
const placesOf = (boxes) => boxes?.map(({ x }) => x) ?? null;

test("a mask is drawn anew where it was and where it is, the others not at all", () => {
  const before = looks(["a", look(0)], ["b", look(10)], ["c", look(20)]);
  const cases = [
    [before, []],
    [looks(["a", look(0)], ["b", look(15, "other")], ["c", look(20)]), [10, 15]],
    [looks(["a", look(0)], ["b", look(10, "c", "#00ff00")], ["c", look(20)]), [10, 10]],
    [looks(["a", look(0)], ["c", look(20)]), [10]],
    [looks(["a", look(0)], ["b", look(10)], ["n", look(30)], ["c", look(20)]), [30]],
    [looks(["c", look(20)], ["a", look(0)]), null], // another one lies on top
  ];
  for (const [now, places] of cases) assert.deepEqual(placesOf(differences(before, now)), places);
});

test("a drawing is moved only by whole device pixels and without a zoom", () => {
  const from = { zoom: 1.18, x: 16.3, y: -4.1 };
  const to = (dx, dy, zoom = 1.18) => ({ zoom, x: from.x + dx, y: from.y + dy });
  assert.deepEqual(wholeShift(from, to(30, -20), 1), { x: 30, y: -20 });
  assert.deepEqual(wholeShift(from, to(0.5, 1), 2), { x: 1, y: 2 });
  assert.deepEqual(wholeShift(from, to(2 / 3, 0), 1.5), { x: 1, y: 0 });
  assert.equal(wholeShift(from, to(0.5, 1), 1), null);
  assert.equal(wholeShift(from, to(30, -20, 1.2), 1), null);
});

test("what a moved drawing leaves empty is found to the pixel", () => {
  const [width, height] = [7, 5];
  for (const [dx, dy] of [
    [2, 1],
    [-3, 2],
    [0, -4],
    [9, 0],
    [-1, -20],
  ]) {
    const places = uncovered({ x: dx, y: dy }, width, height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const from = { x: x - dx, y: y - dy };
        const empty = from.x < 0 || from.y < 0 || from.x >= width || from.y >= height;
        const found = places.some((each) => x >= each.x && y >= each.y && x < each.x + each.w && y < each.y + each.h);
        assert.equal(found, empty, `${dx} ${dy}: ${x} ${y}`);
      }
    }
  }
});

test("a mask's place on the canvas holds its outline and ends with the canvas", () => {
  const view = { zoom: 2, x: 10, y: 20 };
  assert.deepEqual(onCanvas({ x: 5, y: 6, w: 4, h: 3 }, view, 1.5, 600, 400), { x: 26, y: 44, w: 21, h: 18 });
  const { x, y, w, h } = onCanvas({ x: -50, y: 0, w: 1000, h: 1000 }, view, 1, 600, 400);
  assert.deepEqual([x, y, w, h], [0, 17, 600, 383]);
  assert.equal(onCanvas({ x: 500, y: 0, w: 9, h: 9 }, view, 1, 600, 400).w, 0);
});
