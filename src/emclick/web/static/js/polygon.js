/** Polygon view: the mask's outline as corners that can be dragged, added and removed. */

import { fillRings } from "./brush.js";
import { simplifyRing } from "./contours.js";
import { encodeMask } from "./rle.js";
import { S } from "./strings.js";
import { putMask } from "./strokes.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./geometry.js").Point} Point
 */

const TOLERANCE_PX = 1.2;
const REACH_PX = 8;

/** @type {WeakMap<App, {id: string, counts: string}>} which mask the corners were made from */
const sources = new WeakMap();

/** Makes the corners if the object or its mask is another one than they were made from. @param {App} app */
export function updatePolygon(app) {
  const object = app.active;
  const { live } = app.stage;
  if (app.state.tool !== "polygon" || !object) {
    live.polygon = null;
    return;
  }
  const source = sources.get(app);
  if (live.polygon && source?.id === object.id && source.counts === object.rle.counts) return;
  if (live.polygon?.held) return; // a drag goes on; its end decides
  const ragged = app.shapes.of(object).ragged;
  if (ragged && !(source?.id === object.id && source.counts === object.rle.counts)) app.toast(S.tooRagged, "info");
  sources.set(app, { id: object.id, counts: object.rle.counts });
  if (ragged) {
    live.polygon = null;
    return;
  }
  const rings = app.shapes.of(object).rings.map((ring) => Float64Array.from(simplifyRing(ring, TOLERANCE_PX)));
  live.polygon = { rings, held: null };
  app.stage.paint("overlay");
}

/**
 * The corner near a stage point.
 * @param {App} app
 * @param {Point} at
 * @returns {import("./stage.js").Corner | null}
 */
export function cornerAt(app, at) {
  const { view, live } = app.stage;
  let best = REACH_PX;
  let found = null;
  live.polygon?.rings.forEach((ring, r) => {
    for (let i = 0; i < ring.length; i += 2) {
      const d = Math.hypot(view.x + ring[i] * view.zoom - at.x, view.y + ring[i + 1] * view.zoom - at.y);
      if (d < best) {
        best = d;
        found = { ring: r, corner: i / 2, x: ring[i], y: ring[i + 1] };
      }
    }
  });
  return found;
}

/** @param {App} app @param {Point} point image px */
export function dragCorner(app, point) {
  const size = app.active?.rle.size;
  if (size) moveCorner(app, clamp(point.x + 0.5, size[1]), clamp(point.y + 0.5, size[0]));
}

/** Corners lie between pixels: from 0 to the picture's width or height. @param {number} value @param {number} most */
const clamp = (value, most) => Math.min(Math.max(value, 0), most);

/** @param {App} app @param {number} x corner coordinates @param {number} y */
function moveCorner(app, x, y) {
  const polygon = app.stage.live.polygon;
  if (!polygon?.held) return;
  polygon.rings[polygon.held.ring].set([x, y], 2 * polygon.held.corner);
  app.stage.paint("overlay");
}

/** Nothing comes of the drag: the corner is where it was. @param {App} app */
export function releaseCorner(app) {
  const polygon = app.stage.live.polygon;
  if (!polygon?.held) return;
  moveCorner(app, polygon.held.x, polygon.held.y);
  polygon.held = null;
  updatePolygon(app);
}

/** The polygon as it is now becomes the mask. @param {App} app */
export function dropCorner(app) {
  const polygon = app.stage.live.polygon;
  const object = app.active;
  if (!polygon) return;
  polygon.held = null;
  if (!object || object.locked || sources.get(app)?.id !== object.id) return;
  const [height, width] = object.rle.size;
  const rle = encodeMask(fillRings(polygon.rings, height, width), height, width);
  sources.set(app, { id: object.id, counts: rle.counts });
  putMask(app, object, rle, "polygon");
}

/** @param {App} app @param {{ring: number, corner: number}} which */
export function removeCorner(app, which) {
  const polygon = app.stage.live.polygon;
  if (!polygon) return;
  const ring = polygon.rings[which.ring];
  if (ring.length <= 6) polygon.rings.splice(which.ring, 1);
  else polygon.rings[which.ring] = ring.filter((_, i) => i >> 1 !== which.corner);
  dropCorner(app);
}

/** A new corner on the edge near a stage point. @param {App} app @param {Point} at */
export function addCorner(app, at) {
  const { view, live } = app.stage;
  if (!live.polygon) return;
  const point = { x: (at.x - view.x) / view.zoom, y: (at.y - view.y) / view.zoom };
  let best = REACH_PX / view.zoom;
  /** @type {{ring: number, after: number} | null} */
  let found = null;
  live.polygon.rings.forEach((ring, r) => {
    for (let i = 0; i < ring.length; i += 2) {
      const j = (i + 2) % ring.length;
      const [dx, dy] = [ring[j] - ring[i], ring[j + 1] - ring[i + 1]];
      const along = ((point.x - ring[i]) * dx + (point.y - ring[i + 1]) * dy) / (dx * dx + dy * dy || 1);
      if (along <= 0 || along >= 1) continue;
      const d = Math.hypot(point.x - ring[i] - along * dx, point.y - ring[i + 1] - along * dy);
      if (d < best) {
        best = d;
        found = { ring: r, after: i / 2 };
      }
    }
  });
  if (!found) return;
  const { ring: r, after } = /** @type {{ring: number, after: number}} */ (found);
  const ring = Array.from(live.polygon.rings[r]);
  ring.splice(2 * after + 2, 0, point.x, point.y);
  live.polygon.rings[r] = Float64Array.from(ring);
  dropCorner(app);
}
