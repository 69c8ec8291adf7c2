/** Brushing: pixels painted while the pointer moves, one change of the object's mask when it is lifted. */

import { context2d } from "./dom.js";
import { stampSegment } from "./brush.js";
import { paintStrokes } from "./edits.js";
import { visibleBox } from "./geometry.js";
import { createObject, patchObject } from "./objects.js";
import { area, decodeCounts } from "./rle.js";
import { colourOf, protectedObjects } from "./store.js";
import { S } from "./strings.js";
import { MASK_PATH } from "./turn.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {{object: string, points: Point[], radius: number, value: 0 | 1, colour: number[],
 *   box: import("./types.js").Box, mask: Uint8Array, context: CanvasRenderingContext2D}} Running
 */

/** @param {App} app @param {Point} point image px @param {0 | 1} value @returns {Running | null} null: not now */
export function beginStroke(app, point, value) {
  const { image, loading, settings, project } = app.state;
  const object = app.active;
  if (!image || loading) return null;
  if (!object && !value) {
    app.toast(S.noObject, "info");
    return null;
  }
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
    object: object?.id ?? "",
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

/** The stroke is shown at once, and becomes part of the object's newest mask when its turn comes.
 * @param {App} app @param {Running} running */
export function endStroke(app, running) {
  dropStroke(app);
  const { image, objects } = app.state;
  if (!image) return;
  const { radius, value } = running;
  const id = app.named.get(running.object) ?? running.object;
  const keep = protectedObjects(objects, id).map((each) => each.id);
  const stroke = { points: running.points.flatMap(({ x, y }) => [short(x), short(y)]), radius, value, keep };
  const object = objects.get(id);
  if (object) {
    show(app, object, paintStrokes(object.rle, [stroke], objects));
    app.change("stroke", id, "PUT", "", stroke);
    if (!object.visible) patchObject(app, id, { visible: true });
  } else if (!id) {
    const empty = { size: /** @type {[number, number]} */ ([image.height, image.width]), counts: "" };
    const rle = paintStrokes(empty, [stroke], objects);
    if (area(decodeCounts(rle.counts))) createObject(app, { rle });
  }
}

/** Enough for a pixel's edge, and short to keep. @param {number} value */
const short = (value) => Math.round(value * 100) / 100;

/** @param {App} app @param {import("./types.js").Obj} object @param {import("./types.js").Rle} rle on its way */
const show = (app, object, rle) => app.setObject({ ...object, base: object.base ?? object.rle, rle });

/** @param {App} app @param {import("./types.js").Obj} object @param {import("./types.js").Rle} rle
 * @param {"polygon" | "load"} kind */
export function putMask(app, object, rle, kind) {
  show(app, object, rle);
  app.change("mask", object.id, "PUT", MASK_PATH, { rle, kind });
}
