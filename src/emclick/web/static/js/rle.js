/**
 * COCO run-length masks: runs of 0 and 1 by turns, 0 first, down the columns. Pure.
 *
 * Dense masks here are column-major too (index x * height + y), so that reading and writing runs is a memory fill.
 */

/** Run lengths of COCO's compressed counts. @param {string} counts @returns {Uint32Array} */
export function decodeCounts(counts) {
  const runs = new Uint32Array(counts.length);
  let n = 0;
  let at = 0;
  while (at < counts.length) {
    let value = 0;
    let shift = 0;
    let code = 32;
    while (code & 32) {
      if (at >= counts.length) throw new RangeError("mask runs end in the middle of a number");
      code = counts.charCodeAt(at++) - 48;
      if (code < 0 || code > 63 || shift > 30) throw new RangeError("mask runs hold a character that is not allowed");
      value |= (code & 31) << shift;
      shift += 5;
    }
    if (code & 16 && shift < 32) value |= -1 << shift;
    if (n > 2) value += runs[n - 2];
    if (value < 0) throw new RangeError("mask runs hold a negative length");
    runs[n++] = value;
  }
  return runs.slice(0, n);
}

/** COCO's compressed counts. @param {ArrayLike<number>} runs @returns {string} */
export function encodeCounts(runs) {
  /** @type {number[]} */
  const codes = [];
  for (let i = 0; i < runs.length; i++) {
    let value = i > 2 ? runs[i] - runs[i - 2] : runs[i];
    let more = true;
    while (more) {
      let code = value & 31;
      value >>= 5;
      more = code & 16 ? value !== -1 : value !== 0;
      if (more) code |= 32;
      codes.push(code + 48);
    }
  }
  let text = "";
  for (let i = 0; i < codes.length; i += 8192) text += String.fromCharCode(...codes.slice(i, i + 8192));
  return text;
}

/** Dense column-major mask of 0 and 1. @param {ArrayLike<number>} runs @param {number} size height * width */
export function runsToMask(runs, size) {
  const mask = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < runs.length; i++) {
    if (i & 1) mask.fill(1, at, at + runs[i]);
    at += runs[i];
  }
  if (at !== size) throw new RangeError(`mask runs cover ${at} pixels, not ${size}`);
  return mask;
}

/** @param {Uint8Array} mask column-major, 0 and 1 @returns {number[]} */
export function maskToRuns(mask) {
  /** @type {number[]} */
  const runs = [];
  let at = 0;
  let value = 0;
  while (at < mask.length) {
    const next = mask.indexOf(1 - value, at);
    const end = next < 0 ? mask.length : next;
    runs.push(end - at);
    at = end;
    value = 1 - value;
  }
  return runs;
}

/** @param {Uint8Array} mask column-major @param {number} height @param {number} width
 * @returns {import("./types.js").Rle} */
export const encodeMask = (mask, height, width) => ({
  size: [height, width],
  counts: encodeCounts(maskToRuns(mask)),
});

/** Dense column-major mask; no counts at all mean an empty mask. @param {import("./types.js").Rle} rle */
export function decodeMask(rle) {
  const size = rle.size[0] * rle.size[1];
  return rle.counts ? runsToMask(decodeCounts(rle.counts), size) : new Uint8Array(size);
}

/** Number of 1s. @param {ArrayLike<number>} runs */
export function area(runs) {
  let sum = 0;
  for (let i = 1; i < runs.length; i += 2) sum += runs[i];
  return sum;
}

/**
 * The columns' spans of 1s: for span i, column xs[i], rows ys[2 i] to ys[2 i + 1] (not included).
 * @typedef {{n: number, xs: Int32Array, ys: Int32Array}} Spans
 * @param {ArrayLike<number>} runs @param {number} height @returns {Spans}
 */
export function columnSpans(runs, height) {
  let room = 1;
  for (let i = 1; i < runs.length; i += 2) room += 2 + Math.floor(runs[i] / height);
  const xs = new Int32Array(room);
  const ys = new Int32Array(2 * room);
  let n = 0;
  let at = 0;
  for (let i = 0; i < runs.length; i++) {
    let left = runs[i];
    if (i & 1) {
      let x = Math.floor(at / height);
      let y = at - x * height;
      while (left > 0) {
        const take = Math.min(left, height - y);
        if (n && xs[n - 1] === x && ys[2 * n - 1] === y) {
          ys[2 * n - 1] = y + take; // a zero-length gap between two runs
        } else {
          xs[n] = x;
          ys[2 * n] = y;
          ys[2 * n + 1] = y + take;
          n++;
        }
        left -= take;
        x++;
        y = 0;
      }
    }
    at += runs[i];
  }
  return { n, xs, ys };
}

/** The smallest box that holds all 1s; all zero if there are none. @param {Spans} spans
 * @returns {import("./types.js").Box} */
export function spansBox(spans) {
  if (!spans.n) return { x: 0, y: 0, w: 0, h: 0 };
  let top = Infinity;
  let bottom = 0;
  for (let i = 0; i < spans.n; i++) {
    top = Math.min(top, spans.ys[2 * i]);
    bottom = Math.max(bottom, spans.ys[2 * i + 1]);
  }
  const x = spans.xs[0];
  return { x, y: top, w: spans.xs[spans.n - 1] + 1 - x, h: bottom - top };
}

/**
 * Whether the pixel (x, y) is 1.
 * @param {ArrayLike<number>} runs
 * @param {number} height
 * @param {number} x
 * @param {number} y
 */
export function covers(runs, height, x, y) {
  const want = x * height + y;
  let at = 0;
  for (let i = 0; i < runs.length; i++) {
    at += runs[i];
    if (want < at) return (i & 1) === 1;
  }
  return false;
}
