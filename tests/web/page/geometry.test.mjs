import assert from "node:assert/strict";
import { test } from "node:test";

import {
  between,
  clickAt,
  devicePixels,
  fit,
  fitBox,
  isInside,
  keepVisible,
  panBy,
  toImage,
  toScreen,
  visibleBox,
  wheelFactor,
  zoomAt,
} from "../../../src/emclick/web/static/js/geometry.js";

const image = { width: 1000, height: 500 };
const stage = { width: 800, height: 600 };
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-9, `${a} is not ${b}`);

test("(0, 0) is the centre of the top-left pixel", () => {
  const view = { zoom: 10, x: 100, y: 50 };
  assert.deepEqual(toScreen(view, 0, 0), { x: 105, y: 55 });
  assert.deepEqual(toImage(view, 100, 50), { x: -0.5, y: -0.5 });
  assert.ok(isInside(image, { x: -0.5, y: 499.49 }));
  assert.ok(!isInside(image, { x: 999.5, y: 0 }));
});

test("to the screen and back, at every zoom", () => {
  for (const zoom of [0.07, 0.5, 1, 1.37, 8, 64]) {
    const view = { zoom, x: -33.3, y: 12.7 };
    for (const [x, y] of [
      [0, 0],
      [12.25, 499],
      [-0.5, 3],
    ]) {
      const at = toScreen(view, x, y);
      const back = toImage(view, at.x, at.y);
      near(back.x, x);
      near(back.y, y);
    }
  }
});

test("zooming keeps the point under the pointer", () => {
  let view = fit(image, stage);
  const before = toImage(view, 333, 222);
  for (const factor of [1.3, 2, 0.4, 9]) view = zoomAt(view, factor, 333, 222, 0.01);
  const after = toImage(view, 333, 222);
  near(after.x, before.x);
  near(after.y, before.y);
  assert.equal(zoomAt(view, 1e9, 0, 0, 0.01).zoom, 64);
  assert.equal(zoomAt(view, 1e-9, 0, 0, 0.01).zoom, 0.01);
});

test("fit shows all of the picture, in the middle", () => {
  const view = fit(image, stage, 16);
  near(view.zoom, 768 / 1000);
  near(view.x, 16);
  near(view.y + (500 * view.zoom) / 2, 300);
  const close = fitBox({ x: 490, y: 240, w: 20, h: 20 }, stage);
  const middle = toImage(close, 400, 300);
  near(middle.x, 499.5);
  near(middle.y, 249.5);
});

test("some of the picture stays on the stage", () => {
  const view = keepVisible(panBy(fit(image, stage), 1e6, -1e6), image, stage);
  assert.equal(view.x, stage.width - 64);
  assert.equal(view.y, 64 - image.height * view.zoom);
});

test("a layer drawn for one viewport is moved to another", () => {
  const [from, to] = [
    { zoom: 2, x: 10, y: 20 },
    { zoom: 3, x: -7, y: 9 },
  ];
  const { k, x, y } = between(from, to);
  const a = toScreen(from, 31, 17);
  const b = toScreen(to, 31, 17);
  near(a.x * k + x, b.x);
  near(a.y * k + y, b.y);
});

test("the visible part is whole pixels inside the picture", () => {
  assert.deepEqual(visibleBox({ zoom: 2, x: -101, y: 10 }, image, stage), { x: 50, y: 0, w: 401, h: 295 });
  assert.deepEqual(visibleBox({ zoom: 1, x: 900, y: 0 }, image, stage).w, 0);
});

test("the newest of two clicks in reach is the one under the pointer", () => {
  const view = { zoom: 1, x: 0, y: 0 };
  const clicks = [
    { x: 10, y: 10 },
    { x: 12, y: 10 },
    { x: 90, y: 90 },
  ];
  assert.equal(clickAt(clicks, view, 11, 10, 6), 1);
  assert.equal(clickAt(clicks, view, 50, 50, 6), -1);
});

test("turning the wheel up zooms in, down zooms out, and both undo each other", () => {
  const up = wheelFactor({ deltaY: -100, deltaMode: 0, ctrlKey: false });
  const down = wheelFactor({ deltaY: 100, deltaMode: 0, ctrlKey: false });
  assert.ok(up > 1.1 && up < 1.5);
  near(up * down, 1);
  assert.ok(wheelFactor({ deltaY: -3, deltaMode: 1, ctrlKey: false }) > 1.1); // lines
});

test("the browser's count of device pixels is taken only if it fits the size", () => {
  const size = { width: 801, height: 333 };
  const exact = { inlineSize: 1202, blockSize: 499 };
  assert.deepEqual(devicePixels(size, 1.5, exact), [1202, 499]);
  assert.deepEqual(devicePixels(size, 1.5, undefined), [1202, 500]);
  for (const wrong of [
    { inlineSize: 801, blockSize: 333 },
    { inlineSize: 1202, blockSize: 333 },
    { inlineSize: 1204, blockSize: 499 },
  ]) {
    assert.deepEqual(devicePixels(size, 1.5, wrong), [1202, 500]);
  }
});
