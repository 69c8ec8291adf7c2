/**
 * Brush strokes and polygons on dense masks. Pure. Masks are column-major (index x * height + y), 0 and 1.
 *
 * @typedef {import("./types.js").Box} Box
 * @typedef {{x: number, y: number}} Point image px, origin at the top-left pixel's centre
 */

/** Sets every pixel whose centre is within `radius` of the segment a-b; up to a radius of 0.5 only the nearest
 * pixels.
 * @param {Uint8Array} mask @param {number} height @param {number} width @param {Point} a @param {Point} b
 * @param {number} radius px @param {0 | 1} value @returns {Box} what may have changed */
export function stampSegment(mask, height, width, a, b, radius, value) {
  if (radius <= 0.5) {
    [a, b, radius] = [{ x: Math.round(a.x), y: Math.round(a.y) }, { x: Math.round(b.x), y: Math.round(b.y) }, 0.5];
  }
  const x0 = Math.max(0, Math.ceil(Math.min(a.x, b.x) - radius));
  const x1 = Math.min(width - 1, Math.floor(Math.max(a.x, b.x) + radius));
  const y0 = Math.max(0, Math.ceil(Math.min(a.y, b.y) - radius));
  const y1 = Math.min(height - 1, Math.floor(Math.max(a.y, b.y) + radius));
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const squared = dx * dx + dy * dy;
  for (let x = x0; x <= x1; x++) {
    for (let y = y0; y <= y1; y++) {
      const along = squared ? Math.min(Math.max(((x - a.x) * dx + (y - a.y) * dy) / squared, 0), 1) : 0;
      if ((x - a.x - along * dx) ** 2 + (y - a.y - along * dy) ** 2 <= radius * radius) mask[x * height + y] = value;
    }
  }
  return { x: x0, y: y0, w: Math.max(x1 - x0 + 1, 0), h: Math.max(y1 - y0 + 1, 0) };
}

/** Fills rings by the even-odd rule: every pixel whose centre is inside.
 * @param {readonly ArrayLike<number>[]} rings corner coordinates, [x0, y0, x1, y1, ...]
 * @param {number} height @param {number} width @returns {Uint8Array} */
export function fillRings(rings, height, width) {
  const mask = new Uint8Array(height * width);
  for (let x = 0; x < width; x++) {
    const column = x + 0.5;
    /** @type {number[]} */
    const crossings = [];
    for (const ring of rings) {
      for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
        if (ring[i] > column !== ring[j] > column) {
          const share = (column - ring[j]) / (ring[i] - ring[j]);
          crossings.push(ring[j + 1] + share * (ring[i + 1] - ring[j + 1]));
        }
      }
    }
    crossings.sort((p, q) => p - q);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const from = Math.max(0, Math.ceil(crossings[i] - 0.5));
      const to = Math.min(height, Math.ceil(crossings[i + 1] - 0.5));
      if (to > from) mask.fill(1, x * height + from, x * height + to);
    }
  }
  return mask;
}

/** Takes away what lies on the 1s of another mask and was not there before, in place.
 * @param {Uint8Array} mask @param {Uint8Array} before @param {ArrayLike<number>} runs of the other mask
 * @param {number} from first place of `mask` that may have changed @param {number} to the one after the last
 * @param {number} [skipped] how many places of the other mask come before `mask` */
export function takeBack(mask, before, runs, from, to, skipped = 0) {
  let at = -skipped;
  for (let i = 0; i < runs.length && at < to; at += runs[i++]) {
    if (!(i & 1)) continue;
    const end = Math.min(at + runs[i], to);
    for (let place = Math.max(at, from); place < end; place++) if (!before[place]) mask[place] = 0;
  }
}

/** The box around two boxes. @param {Box} a @param {Box} b @returns {Box} */
export function unite(a, b) {
  if (!a.w || !a.h) return b;
  if (!b.w || !b.h) return a;
  const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  return { x, y, w: Math.max(a.x + a.w, b.x + b.w) - x, h: Math.max(a.y + a.h, b.y + b.h) - y };
}
