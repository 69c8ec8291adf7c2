/** Changes that are on their way, laid over what the server has. Pure. */

import { stampSegment, takeBack, unite } from "./brush.js";
import { decodeCounts, decodeMask, encodeMask } from "./rle.js";

/**
 * @typedef {import("./types.js").Command} Command
 * @typedef {import("./types.js").Obj} Obj
 * @typedef {import("./types.js").Rle} Rle
 * @typedef {{points: number[], radius: number, value: 0 | 1, keep: string[]}} Stroke points: x and y by turns, image px;
 *   keep: ids of the objects that it keeps out of
 */

/** A mask with strokes on it, one after the other. What they add keeps out of others' masks; what was there before stays.
 * @param {Rle} rle @param {readonly Stroke[]} strokes @param {ReadonlyMap<string, Obj>} objects of the image
 * @returns {Rle} */
export function paintStrokes(rle, strokes, objects) {
  const [height, width] = rle.size;
  const mask = decodeMask(rle);
  for (const stroke of strokes) paint(mask, height, width, stroke, objects);
  return encodeMask(mask, height, width);
}

/** @param {Uint8Array} mask column by column @param {number} height @param {number} width @param {Stroke} stroke
 * @param {ReadonlyMap<string, Obj>} objects */
function paint(mask, height, width, { points, radius, value, keep = [] }, objects) {
  const segments = [];
  for (let i = 0; i < points.length; i += 2) {
    const [a, b] = [Math.max(i - 2, 0), i].map((at) => ({ x: points[at], y: points[at + 1] }));
    segments.push({ a, b });
  }
  const others = value ? keep.flatMap((id) => objects.get(id) ?? []) : [];
  const left = Math.max(0, Math.floor(Math.min(...segments.map(({ b }) => b.x)) - radius - 1));
  const before = others.length ? mask.slice(left * height) : mask;
  let box = { x: 0, y: 0, w: 0, h: 0 };
  for (const { a, b } of segments) box = unite(box, stampSegment(mask, height, width, a, b, radius, value));
  for (const { rle } of others) {
    const changed = mask.subarray(left * height);
    const [from, to] = [box.x - left, box.x + box.w - left].map((column) => column * height);
    takeBack(changed, before, decodeCounts(rle.counts), from, to, left * height);
  }
}

/** The object as it is to be shown: with what is on its way. `base` is the server's mask as long as there is any.
 * @param {Obj} object @param {readonly Command[]} queued the changes of it on their way
 * @param {ReadonlyMap<string, Obj>} objects of the image @returns {Obj} */
export function layOver(object, queued, objects) {
  const shown = withFields(object, queued);
  const edits = queued.filter(({ kind }) => kind === "mask" || kind === "stroke");
  if (!object.base && !edits.length) return shown;
  const { base, ...rest } = shown;
  const server = base ?? object.rle;
  if (!edits.length) return { ...rest, rle: server };
  const whole = edits.findLastIndex(({ kind }) => kind === "mask");
  const start = whole < 0 ? server : /** @type {Rle} */ (edits[whole].body.rle);
  const strokes = edits.slice(whole + 1).map(({ body }) => /** @type {any} */ (body));
  return { ...rest, base: server, rle: strokes.length ? paintStrokes(start, strokes, objects) : start };
}

/** The object with the fields that are set and on their way. @param {Obj} object
 * @param {readonly Command[]} queued @returns {Obj} */
function withFields(object, queued) {
  const set = queued.filter(({ kind }) => kind === "patch").map(({ body }) => body);
  return set.length ? Object.assign({}, object, ...set) : object;
}
