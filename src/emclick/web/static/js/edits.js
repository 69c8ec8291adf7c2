/** Masks and brush strokes that are on their way, laid over the mask that the server has. Pure. */

import { stampSegment, takeBack, unite } from "./brush.js";
import { decodeCounts, decodeMask, encodeMask } from "./rle.js";
import { protectedObjects } from "./store.js";

/**
 * @typedef {import("./types.js").Obj} Obj
 * @typedef {import("./types.js").Rle} Rle
 * @typedef {{points: number[], radius: number, value: 0 | 1}} Stroke points: x and y by turns, image px
 */

/** A mask with a stroke on it. What it adds keeps out of the others' masks; what was there before stays.
 * @param {Rle} rle @param {Stroke} stroke @param {readonly Obj[]} others @returns {Rle} */
export function paintStroke(rle, { points, radius, value }, others) {
  const [height, width] = rle.size;
  const mask = decodeMask(rle);
  const before = value && others.length ? mask.slice() : null;
  let box = { x: 0, y: 0, w: 0, h: 0 };
  for (let i = 0; i < points.length; i += 2) {
    const from = Math.max(i - 2, 0);
    const [a, b] = [from, i].map((at) => ({ x: points[at], y: points[at + 1] }));
    box = unite(box, stampSegment(mask, height, width, a, b, radius, value));
  }
  if (before) {
    for (const other of others) {
      takeBack(mask, before, decodeCounts(other.rle.counts), box.x * height, (box.x + box.w) * height);
    }
  }
  return encodeMask(mask, height, width);
}

/** The object as it is to be shown: with what is on its way. `base` is the server's mask as long as there is any.
 * @param {Obj} object @param {readonly import("./types.js").Command[]} queued the changes of it on their way
 * @param {Map<string, Obj>} objects of the image @returns {Obj} */
export function layOver(object, queued, objects) {
  const { base, ...rest } = object;
  const edits = queued.filter(({ kind }) => kind === "mask" || kind === "stroke");
  if (!base && !edits.length) return object;
  const server = base ?? object.rle;
  if (!edits.length) return { ...rest, rle: server };
  const others = protectedObjects(objects, object.id);
  const rle = edits.reduce(
    (now, { kind, body }) =>
      kind === "mask" ? /** @type {Rle} */ (body.rle) : paintStroke(now, /** @type {any} */ (body), others),
    server,
  );
  return { ...rest, base: server, rle };
}
