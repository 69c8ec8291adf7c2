/** Brushing: pixels painted while the pointer moves, one change of the object's mask when it is lifted. */

import { context2d } from "./dom.js";
import { stampSegment, subtract } from "./brush.js";
import { visibleBox } from "./geometry.js";
import { createObject } from "./objects.js";
import { decodeMask, encodeMask } from "./rle.js";
import { colourOf, lockedNeighbours } from "./store.js";
import { S } from "./strings.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {{points: Point[], radius: number, value: 0 | 1, colour: number[], box: import("./types.js").Box,
 *   mask: Uint8Array, context: CanvasRenderingContext2D}} Running
 */

const SETTLE_MS = 2000;

/** @param {App} app @param {Point} point image px @param {0 | 1} value @returns {Running | null} null: not now */
export function beginStroke(app, point, value) {
  const { image, loading, settings, project } = app.state;
  const object = app.active;
  if (!image || loading || (!object && !value)) return null;
  if (object?.locked) {
    app.toast(S.lockedObject, "error");
    return null;
  }
  const box = visibleBox(app.stage.view, image, app.stage.size);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(box.w, 1);
  canvas.height = Math.max(box.h, 1);
  const colour = object ? colourOf(object, project?.labels ?? []) : labelColour(app);
  const running = {
    points: [point],
    radius: settings.brushSize / 2,
    value,
    colour: rgb(colour),
    box,
    mask: new Uint8Array(box.w * box.h),
    context: context2d(canvas),
  };
  app.stage.live.stroke = { canvas, x: box.x, y: box.y, value };
  extend(app, running, point, point);
  return running;
}

/** @param {App} app */
function labelColour(app) {
  const { project, settings } = app.state;
  return project?.labels.find((each) => each.name === settings.label)?.color ?? "#2f9bff";
}

/** @param {string} colour "#rrggbb" */
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) || 0);

/** @param {App} app @param {Running} running @param {Point} point */
export function continueStroke(app, running, point) {
  const last = running.points[running.points.length - 1];
  running.points.push(point);
  extend(app, running, last, point);
}

/** @param {App} app @param {Running} running @param {Point} from @param {Point} to */
function extend(app, running, from, to) {
  const { box, mask } = running;
  const inBox = (/** @type {Point} */ p) => ({ x: p.x - box.x, y: p.y - box.y });
  const changed = stampSegment(mask, box.h, box.w, inBox(from), inBox(to), running.radius, 1);
  if (changed.w && changed.h) {
    const pixels = running.context.createImageData(changed.w, changed.h);
    const [r, g, b] = running.colour;
    for (let y = 0; y < changed.h; y++) {
      for (let x = 0; x < changed.w; x++) {
        if (!mask[(changed.x + x) * box.h + changed.y + y]) continue;
        const at = 4 * (y * changed.w + x);
        pixels.data[at] = r;
        pixels.data[at + 1] = g;
        pixels.data[at + 2] = b;
        pixels.data[at + 3] = 255;
      }
    }
    running.context.putImageData(pixels, changed.x, changed.y);
  }
  app.stage.paint("overlay");
}

/** @param {App} app */
export function dropStroke(app) {
  app.stage.live.stroke = null;
  app.stage.paint("overlay");
}

/** The stroke becomes part of the object's newest mask. @param {App} app @param {Running} running */
export async function endStroke(app, running) {
  const image = app.state.image;
  if (!image) return;
  const made = app.active ? app.state.active : "";
  if (made && app.outbox.of(made).length && app.state.connection !== "offline") await app.outbox.settled(SETTLE_MS);
  const id = app.named.get(made) ?? made;
  const object = app.state.objects.get(id);
  if (app.state.image?.id !== image.id || (made && !object)) {
    dropStroke(app);
    return;
  }
  const [height, width] = [image.height, image.width];
  const mask = object ? decodeMask(object.rle) : new Uint8Array(height * width);
  running.points.forEach((point, i) => {
    stampSegment(mask, height, width, running.points[Math.max(i - 1, 0)], point, running.radius, running.value);
  });
  if (running.value) {
    const before = object ? decodeMask(object.rle) : null;
    for (const other of lockedNeighbours(app.state.objects, id)) {
      const theirs = decodeMask(other.rle);
      if (before) for (let i = 0; i < theirs.length; i++) if (before[i]) theirs[i] = 0; // what was ours stays
      subtract(mask, theirs);
    }
  }
  const rle = encodeMask(mask, height, width);
  app.stage.live.stroke = null;
  if (object) putMask(app, object, rle, "brush");
  else if (mask.includes(1)) createObject(app, { rle });
}

/** @param {App} app @param {import("./types.js").Obj} object @param {import("./types.js").Rle} rle
 * @param {"brush" | "polygon" | "load"} kind */
export function putMask(app, object, rle, kind) {
  app.setObject({ ...object, rle });
  app.change("mask", object.id, "PUT", "api/objects/{object}/mask", { rle, kind });
}
