import assert from "node:assert/strict";
import { test } from "node:test";

import { Shapes } from "../../../src/emclick/web/static/js/masks.js";
import {
  cornerAt,
  dragCorner,
  dropCorner,
  releaseCorner,
  updatePolygon,
} from "../../../src/emclick/web/static/js/polygon.js";
import { area, decodeCounts, encodeMask } from "../../../src/emclick/web/static/js/rle.js";
import { localObject } from "../../../src/emclick/web/static/js/store.js";

const [H, W] = [8, 10];

/** A page on which a rectangle of 6 x 4 pixels is shown with its corners, a screen px to a pixel. */
function page() {
  const mask = new Uint8Array(H * W);
  for (let x = 2; x < 8; x++) mask.fill(1, x * H + 2, x * H + 6);
  const app = {
    active: localObject("o", "i", [H, W], { rle: encodeMask(mask, H, W) }),
    state: { tool: "polygon" },
    shapes: new Shapes(),
    stage: { live: { polygon: null }, view: { zoom: 100, x: 0, y: 0 }, paint: () => undefined },
    toast: () => undefined,
    sent: [],
    setObject: (object) => (app.active = object),
    change: (...what) => app.sent.push(what),
  };
  updatePolygon(app);
  return app;
}
const hold = (app, x, y) => {
  app.stage.live.polygon.held = cornerAt(app, { x: 100 * x, y: 100 * y });
  assert.ok(app.stage.live.polygon.held);
};

test("corners reach the picture's edges, and no further", () => {
  const app = page();
  for (const [from, to] of [
    [
      [2, 2],
      [-3, -9],
    ],
    [
      [8, 2],
      [99, -0.5],
    ],
    [
      [8, 6],
      [9.5, 7.5],
    ],
    [
      [2, 6],
      [-0.5, 50],
    ],
  ]) {
    hold(app, ...from);
    dragCorner(app, { x: to[0], y: to[1] });
    dropCorner(app);
  }
  assert.equal(area(decodeCounts(app.active.rle.counts)), H * W);
  assert.equal(app.sent.length, 4);
});

test("a corner that is let go is where it was, and nothing is sent", () => {
  const app = page();
  const before = app.stage.live.polygon.rings.map((ring) => [...ring]);
  hold(app, 8, 6);
  dragCorner(app, { x: 0, y: 0 });
  releaseCorner(app);
  assert.deepEqual(
    app.stage.live.polygon.rings.map((ring) => [...ring]),
    before,
  );
  assert.equal(app.stage.live.polygon.held, null);
  assert.deepEqual(app.sent, []);
});
