import assert from "node:assert/strict";
import { test } from "node:test";

import { toleranceAt } from "../../../src/emclick/web/static/js/masks.js";

test("an outline is under a pixel of the screen from the mask's edge, by few paths", () => {
  const seen = new Set();
  for (let scale = 0.02; scale < 70; scale *= 1.01) {
    const tolerance = toleranceAt(scale);
    seen.add(tolerance);
    assert.ok(tolerance * scale <= 1, `${tolerance} px at ${scale}`);
    assert.ok(tolerance === 0 || tolerance * scale > 0.5, `${tolerance} px at ${scale}: more corners than are seen`);
  }
  assert.ok(seen.size <= 8);
});

test("where pixels can be seen, so can every corner", () => {
  for (const scale of [1.34, 2, 8, 64]) assert.equal(toleranceAt(scale), 0);
  assert.equal(toleranceAt(1), 0.75);
});
