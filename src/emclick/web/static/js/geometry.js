/**
 * Where image points are on the screen. Pure.
 *
 * Image points are emclick's: (0, 0) is the CENTRE of the top-left pixel, so that pixel covers [-0.5, 0.5).
 * Screen points are CSS px from the stage's top-left corner.
 */

/**
 * @typedef {{zoom: number, x: number, y: number}} Viewport
 *   zoom: CSS px per image px; x, y: where the image's top-left corner is on the stage, CSS px
 * @typedef {{width: number, height: number}} Size
 * @typedef {{x: number, y: number}} Point
 */

export const MAX_ZOOM = 64;
export const NEAREST_FROM = 2; // past 200 % pixels are shown as squares

/** @param {Viewport} view @param {number} x @param {number} y @returns {Point} */
export const toScreen = (view, x, y) => ({ x: view.x + (x + 0.5) * view.zoom, y: view.y + (y + 0.5) * view.zoom });

/** @param {Viewport} view @param {number} sx @param {number} sy @returns {Point} */
export const toImage = (view, sx, sy) => ({ x: (sx - view.x) / view.zoom - 0.5, y: (sy - view.y) / view.zoom - 0.5 });

/** Whether an image point lies on the picture. @param {Size} image @param {Point} point */
export const isInside = (image, point) =>
  point.x >= -0.5 && point.y >= -0.5 && point.x < image.width - 0.5 && point.y < image.height - 0.5;

/** The nearest point on the picture. @param {Size} image @param {Point} point @returns {Point} */
export const clampPoint = (image, point) => ({
  x: Math.min(Math.max(point.x, 0), image.width - 1),
  y: Math.min(Math.max(point.y, 0), image.height - 1),
});

/** The whole picture in the middle of the stage, never larger than 8 screen px a pixel.
 * @param {Size} image @param {Size} stage @param {number} [margin] CSS px @returns {Viewport} */
export function fit(image, stage, margin = 16) {
  const room = { width: Math.max(stage.width - 2 * margin, 16), height: Math.max(stage.height - 2 * margin, 16) };
  const zoom = Math.min(room.width / image.width, room.height / image.height, 8);
  return centred(zoom, image.width / 2, image.height / 2, stage);
}

/** A rectangle of the picture in the middle of the stage, with some of its surroundings.
 * @param {{x: number, y: number, w: number, h: number}} box @param {Size} stage @returns {Viewport} */
export function fitBox(box, stage) {
  const zoom = Math.min((0.7 * stage.width) / Math.max(box.w, 1), (0.7 * stage.height) / Math.max(box.h, 1), 16);
  return centred(zoom, box.x + box.w / 2, box.y + box.h / 2, stage);
}

/**
 * @param {number} zoom
 * @param {number} cx corner coordinates
 * @param {number} cy
 * @param {Size} stage
 * @returns {Viewport}
 */
const centred = (zoom, cx, cy, stage) => ({ zoom, x: stage.width / 2 - cx * zoom, y: stage.height / 2 - cy * zoom });

/**
 * The smallest useful zoom: the picture at a quarter of the stage, or all of it.
 * @param {Size} image
 * @param {Size} stage
 */
export const minZoom = (image, stage) => Math.min(fit(image, stage).zoom / 4, 1);

/** Zoom by `factor` with the image point under (sx, sy) staying there.
 * @param {Viewport} view @param {number} factor @param {number} sx @param {number} sy
 * @param {number} least @param {number} [most] @returns {Viewport} */
export function zoomAt(view, factor, sx, sy, least, most = MAX_ZOOM) {
  const zoom = Math.min(Math.max(view.zoom * factor, least), most);
  const k = zoom / view.zoom;
  return { zoom, x: sx - (sx - view.x) * k, y: sy - (sy - view.y) * k };
}

/** @param {Viewport} view @param {number} dx @param {number} dy @returns {Viewport} */
export const panBy = (view, dx, dy) => ({ zoom: view.zoom, x: view.x + dx, y: view.y + dy });

/** Keeps some of the picture on the stage. @param {Viewport} view @param {Size} image @param {Size} stage
 * @param {number} [keep] CSS px @returns {Viewport} */
export function keepVisible(view, image, stage, keep = 64) {
  const place = (/** @type {number} */ at, /** @type {number} */ long, /** @type {number} */ room) => {
    const edge = Math.min(keep, long, room);
    return Math.min(Math.max(at, edge - long), room - edge);
  };
  return {
    zoom: view.zoom,
    x: place(view.x, image.width * view.zoom, stage.width),
    y: place(view.y, image.height * view.zoom, stage.height),
  };
}

/** Wheel movement to a zoom factor. @param {{deltaY: number, deltaMode: number, ctrlKey: boolean}} event */
export function wheelFactor(event) {
  const px = event.deltaY * (event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 300 : 1);
  // A trackpad's pinch arrives as a wheel with Ctrl and small steps.
  const rate = event.ctrlKey && Math.abs(px) < 50 ? 0.01 : 0.0018;
  return Math.exp(-Math.max(-400, Math.min(400, px)) * rate);
}

/** How a layer drawn for `from` is moved to fit `to`: a CSS matrix. @param {Viewport} from @param {Viewport} to */
export function between(from, to) {
  const k = to.zoom / from.zoom;
  return { k, x: to.x - from.x * k, y: to.y - from.y * k };
}

/**
 * The part of the picture that is on the stage, whole px.
 * @param {Viewport} view
 * @param {Size} image
 * @param {Size} stage
 * @returns {import("./types.js").Box}
 */
export function visibleBox(view, image, stage) {
  const x0 = Math.max(0, Math.floor(-view.x / view.zoom));
  const y0 = Math.max(0, Math.floor(-view.y / view.zoom));
  const x1 = Math.min(image.width, Math.ceil((stage.width - view.x) / view.zoom));
  const y1 = Math.min(image.height, Math.ceil((stage.height - view.y) / view.zoom));
  return { x: x0, y: y0, w: Math.max(x1 - x0, 0), h: Math.max(y1 - y0, 0) };
}

/** The click under a screen point, the newest first; -1 if none.
 * @param {readonly Point[]} clicks image px @param {Viewport} view @param {number} sx @param {number} sy
 * @param {number} reach CSS px */
export function clickAt(clicks, view, sx, sy, reach) {
  for (let i = clicks.length - 1; i >= 0; i--) {
    const at = toScreen(view, clicks[i].x, clicks[i].y);
    if (Math.hypot(at.x - sx, at.y - sy) <= reach) return i;
  }
  return -1;
}

/**
 * An element's size in device px: as the browser counts them, unless its count is out of step with the size, as it is
 * for a moment after a move to another screen and in some embedded browsers.
 * @param {{width: number, height: number}} size CSS px @param {number} ratio device px per CSS px
 * @param {{inlineSize: number, blockSize: number} | undefined} exact the browser's count
 * @returns {[number, number]} width, height
 */
export function devicePixels({ width, height }, ratio, exact) {
  const near = (/** @type {number} */ a, /** @type {number} */ b) => Math.abs(a - b) <= 1;
  if (exact && near(exact.inlineSize, width * ratio) && near(exact.blockSize, height * ratio)) {
    return [exact.inlineSize, exact.blockSize];
  }
  return [Math.round(width * ratio), Math.round(height * ratio)];
}
