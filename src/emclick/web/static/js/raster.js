/** Masks with too many corners for paths, drawn from their pixels: what that costs does not grow with the corners. */

import { context2d } from "./dom.js";

/** @typedef {{colour: string, levels: HTMLCanvasElement[]}} Raster levels[k] is 1/2^k in size */

/**
 * @param {import("./rle.js").Spans} spans
 * @param {import("./types.js").Box} box around them
 * @param {string} colour "#rrggbb"
 * @returns {Raster}
 */
export function makeRaster({ n, xs, ys }, box, colour) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(box.w, 1);
  canvas.height = Math.max(box.h, 1);
  const context = context2d(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) || 0);
  const [pixel] = new Uint32Array(new Uint8Array([r, g, b, 255]).buffer); // in this machine's order of bytes
  for (let i = 0; i < n; i++) {
    const end = (ys[2 * i + 1] - box.y) * box.w;
    for (let at = (ys[2 * i] - box.y) * box.w; at < end; at += box.w) pixels[at + xs[i] - box.x] = pixel;
  }
  context.putImageData(image, 0, 0);
  return { colour, levels: [canvas] };
}

/** The level that has just enough pixels, made when it is first wanted. @param {Raster} raster
 * @param {number} scale device px per image px */
function levelAt(raster, scale) {
  const wanted = Math.max(0, Math.floor(Math.log2(1 / Math.min(scale, 1))));
  while (raster.levels.length <= wanted) {
    const last = raster.levels[raster.levels.length - 1];
    const half = document.createElement("canvas");
    half.width = Math.ceil(last.width / 2);
    half.height = Math.ceil(last.height / 2);
    context2d(half).drawImage(last, 0, 0, half.width, half.height);
    raster.levels.push(half);
  }
  return raster.levels[wanted];
}

/** @param {CanvasRenderingContext2D} context in image coordinates @param {Raster} raster
 * @param {import("./types.js").Box} box */
export function drawRaster(context, raster, box) {
  const scale = context.getTransform().a;
  context.imageSmoothingEnabled = scale < 1;
  context.imageSmoothingQuality = "low";
  context.drawImage(levelAt(raster, scale), box.x, box.y, box.w, box.h);
}
