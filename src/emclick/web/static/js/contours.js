/**
 * Outlines of masks, along the pixels' edges. Pure; the work grows with the outline, not with the area.
 *
 * A ring is a closed line [x0, y0, x1, y1, ...] in corner coordinates (the image's top-left corner is (0, 0)). Outer
 * rings run clockwise on the screen, holes the other way, so both fill rules paint the mask exactly.
 */

/**
 * @typedef {Int32Array | Float64Array} Ring
 * @param {import("./rle.js").Spans} spans
 * @param {number} height
 * @returns {Int32Array[]}
 */
export function traceRings(spans, height) {
  const edges = collectEdges(spans);
  const stride = height + 1;
  /** @type {Map<number, number>} */
  const first = new Map();
  /** @type {Map<number, number>} */
  const second = new Map(); // where two pixels touch by a corner, two edges start
  const count = edges.length / 4;
  for (let i = 0; i < count; i++) {
    const vertex = edges[4 * i] * stride + edges[4 * i + 1];
    (first.has(vertex) ? second : first).set(vertex, i);
  }
  const used = new Uint8Array(count);
  /** @type {Int32Array[]} */
  const rings = [];
  for (let start = 0; start < count; start++) {
    if (used[start]) continue;
    /** @type {number[]} */
    const ring = [];
    let at = start;
    while (!used[at]) {
      used[at] = 1;
      const [x0, y0, x1, y1] = [edges[4 * at], edges[4 * at + 1], edges[4 * at + 2], edges[4 * at + 3]];
      addPoint(ring, x0, y0);
      const vertex = x1 * stride + y1;
      const a = /** @type {number} */ (first.get(vertex));
      const b = second.get(vertex);
      if (b === undefined) at = a;
      else {
        // Turn right: stay with the same pixel, so that pixels touching by a corner are two parts.
        const [dx, dy] = [Math.sign(x1 - x0), Math.sign(y1 - y0)];
        const right = Math.sign(edges[4 * a + 2] - x1) === -dy && Math.sign(edges[4 * a + 3] - y1) === dx;
        at = right ? a : b;
      }
    }
    rings.push(closeRing(ring));
  }
  return rings;
}

/**
 * How many corners `traceRings` would give, without tracing: every span has an upper and a lower edge, and an edge that
 * goes on at the same height in the next column has no corner there.
 * @param {import("./rle.js").Spans} spans
 */
export function countCorners({ n, xs, ys }) {
  let joined = 0;
  for (let side = 0; side < 2; side++) {
    let before = 0; // a span of the column on the left
    for (let i = 0; i < n; i++) {
      while (
        before < i &&
        (xs[before] < xs[i] - 1 || (xs[before] < xs[i] && ys[2 * before + side] < ys[2 * i + side]))
      ) {
        before++;
      }
      if (xs[before] === xs[i] - 1 && ys[2 * before + side] === ys[2 * i + side]) joined++;
    }
  }
  return 2 * (2 * n - joined);
}

/** Directed edges [x0, y0, x1, y1, ...] with the mask on their right hand. @param {import("./rle.js").Spans} spans */
function collectEdges({ n, xs, ys }) {
  /** @type {number[]} */
  const edges = [];
  for (let i = 0; i < n; i++) {
    edges.push(xs[i], ys[2 * i], xs[i] + 1, ys[2 * i]);
    edges.push(xs[i] + 1, ys[2 * i + 1], xs[i], ys[2 * i + 1]);
  }
  let left = [0, 0]; // spans [from, to) of the column before
  let column = -2;
  let i = 0;
  while (i < n) {
    let end = i;
    while (end < n && xs[end] === xs[i]) end++;
    if (xs[i] !== column + 1) {
      addVertical(edges, ys, column + 1, left, [0, 0]);
      left = [0, 0];
    }
    addVertical(edges, ys, xs[i], left, [i, end]);
    column = xs[i];
    left = [i, end];
    i = end;
  }
  addVertical(edges, ys, column + 1, left, [0, 0]);
  return edges;
}

/** Edges on the line x between two columns: where exactly one of them is in the mask.
 * @param {number[]} edges @param {Int32Array} ys @param {number} x @param {number[]} left @param {number[]} right */
function addVertical(edges, ys, x, left, right) {
  let a = 2 * left[0];
  let b = 2 * right[0];
  const [aEnd, bEnd] = [2 * left[1], 2 * right[1]];
  let from = 0;
  while (a < aEnd || b < bEnd) {
    const y = Math.min(a < aEnd ? ys[a] : Infinity, b < bEnd ? ys[b] : Infinity);
    const [inLeft, inRight] = [(a & 1) === 1, (b & 1) === 1];
    if (inLeft && !inRight) edges.push(x, from, x, y);
    if (inRight && !inLeft) edges.push(x, y, x, from);
    if (a < aEnd && ys[a] === y) a++;
    if (b < bEnd && ys[b] === y) b++;
    from = y;
  }
}

/**
 * Adds a corner; the one before goes if it lies on a straight line.
 * @param {number[]} ring
 * @param {number} x
 * @param {number} y
 */
function addPoint(ring, x, y) {
  const n = ring.length;
  if (n >= 4 && ((ring[n - 2] === x && ring[n - 4] === x) || (ring[n - 1] === y && ring[n - 3] === y))) {
    ring[n - 2] = x;
    ring[n - 1] = y;
  } else ring.push(x, y);
}

/** @param {number[]} ring @returns {Int32Array} */
function closeRing(ring) {
  addPoint(ring, ring[0], ring[1]); // drops a last corner on the closing line
  ring.length -= 2;
  const n = ring.length;
  const straight =
    (ring[0] === ring[2] && ring[0] === ring[n - 2]) || (ring[1] === ring[3] && ring[1] === ring[n - 1]);
  return Int32Array.from(straight ? ring.slice(2) : ring);
}

/** Corners no farther than `tolerance` px from the line through the rest are left out (Douglas-Peucker).
 * @param {Ring} ring @param {number} tolerance px @returns {Ring} at least 3 corners, or the ring itself */
export function simplifyRing(ring, tolerance) {
  const n = ring.length / 2;
  if (n <= 4 || tolerance <= 0) return ring;
  let far = 0;
  let best = -1;
  for (let i = 1; i < n; i++) {
    const d = (ring[2 * i] - ring[0]) ** 2 + (ring[2 * i + 1] - ring[1]) ** 2;
    if (d > best) [best, far] = [d, i];
  }
  const keep = new Uint8Array(n);
  keep[0] = keep[far] = 1;
  const stack = [0, far, far, n];
  while (stack.length) {
    const to = /** @type {number} */ (stack.pop());
    const from = /** @type {number} */ (stack.pop());
    const middle = farthest(ring, from, to, tolerance);
    if (middle > 0) {
      keep[middle] = 1;
      stack.push(from, middle, middle, to);
    }
  }
  /** @type {number[]} */
  const out = [];
  for (let i = 0; i < n; i++) if (keep[i]) out.push(ring[2 * i], ring[2 * i + 1]);
  return out.length >= 6 ? Float64Array.from(out) : ring;
}

/** @param {Ring} ring @param {number} from @param {number} to may be n, meaning corner 0 @param {number} tolerance */
function farthest(ring, from, to, tolerance) {
  const n = ring.length / 2;
  const [ax, ay] = [ring[2 * from], ring[2 * from + 1]];
  const [dx, dy] = [ring[2 * (to % n)] - ax, ring[2 * (to % n) + 1] - ay];
  const squared = dx * dx + dy * dy;
  let worst = tolerance * tolerance;
  let found = -1;
  for (let i = from + 1; i < to; i++) {
    const [px, py] = [ring[2 * i] - ax, ring[2 * i + 1] - ay];
    const along = squared ? Math.min(Math.max((px * dx + py * dy) / squared, 0), 1) : 0;
    const d = (px - along * dx) ** 2 + (py - along * dy) ** 2;
    if (d > worst) [worst, found] = [d, i];
  }
  return found;
}
