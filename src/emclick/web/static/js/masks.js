/** What of a mask is needed to draw it, made once per mask: its outline as a path, coarser ones for small zooms. */

import { countCorners, simplifyRing, traceRings } from "./contours.js";
import { makeRaster } from "./raster.js";
import { area, columnSpans, decodeCounts, spansBox } from "./rle.js";

/**
 * @typedef {import("./contours.js").Ring} Ring
 * @typedef {object} Shape
 * @property {string} counts which mask this is
 * @property {Uint32Array} runs
 * @property {number} height
 * @property {import("./types.js").Box} box
 * @property {number} area px
 * @property {boolean} ragged too many corners to be drawn as paths
 * @property {Ring[]} rings traced when first asked for
 * @property {Map<number, Path2D>} paths by tolerance
 * @property {(colour: string) => import("./raster.js").Raster} raster the newest one is kept
 */

const RAGGED_CORNERS = 20_000;

/** @param {import("./types.js").Rle} rle @returns {Shape} */
export function makeShape(rle) {
  const height = rle.size[0];
  const runs = decodeCounts(rle.counts);
  const spans = columnSpans(runs, height);
  const box = spansBox(spans);
  /** @type {Ring[] | null} */
  let rings = null;
  /** @type {import("./raster.js").Raster | null} */
  let raster = null;
  return {
    counts: rle.counts,
    runs,
    height,
    box,
    area: area(runs),
    ragged: countCorners(spans) > RAGGED_CORNERS,
    get rings() {
      return (rings ??= traceRings(spans, height));
    },
    paths: new Map(),
    raster: (colour) => {
      if (raster?.colour !== colour) raster = makeRaster(spans, box, colour);
      return raster;
    },
  };
}

const LEAST = 0.75; // px: less leaves nearly every corner

/** How far a drawn outline may be from the pixels' edges, image px: under a px of the screen, and not at all where that
 * is hardly more than a pixel. Steps of two, so that few paths are made. @param {number} scale device px an image px */
export function toleranceAt(scale) {
  const most = 1 / scale;
  return most < LEAST ? 0 : LEAST * 2 ** Math.floor(Math.log2(most / LEAST));
}

/** @param {Shape} shape @param {number} scale device px an image px @returns {Path2D} in corner coordinates, image px */
export function pathAt(shape, scale) {
  const tolerance = toleranceAt(scale);
  let path = shape.paths.get(tolerance);
  if (!path) {
    path = ringsPath(shape.rings, tolerance);
    shape.paths.set(tolerance, path);
  }
  return path;
}

/** @param {readonly Ring[]} rings @param {number} tolerance px */
export function ringsPath(rings, tolerance) {
  const path = new Path2D();
  for (const full of rings) {
    const ring = simplifyRing(full, tolerance);
    path.moveTo(ring[0], ring[1]);
    for (let i = 2; i < ring.length; i += 2) path.lineTo(ring[i], ring[i + 1]);
    path.closePath();
  }
  return path;
}

/** Shapes by object; made again only when the object's mask has changed. */
export class Shapes {
  constructor() {
    /** @type {Map<string, Shape>} */
    this.made = new Map();
  }

  /** The shape if it has been made. @param {import("./types.js").Obj} object @returns {Shape | null} */
  known(object) {
    const found = this.made.get(object.id);
    return found && found.counts === object.rle.counts ? found : null;
  }

  /** @param {import("./types.js").Obj} object @returns {Shape} */
  of(object) {
    const found = this.known(object);
    if (found) return found;
    const shape = makeShape(object.rle);
    this.made.set(object.id, shape);
    return shape;
  }

  /** @param {Map<string, unknown>} alive */
  forget(alive) {
    for (const id of this.made.keys()) if (!alive.has(id)) this.made.delete(id);
  }
}
