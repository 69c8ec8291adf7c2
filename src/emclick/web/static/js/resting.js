/** The masks at rest, which is all but the one being worked on: drawn anew only where something has changed. */

import { between } from "./geometry.js";
import { drawMask, isOnStage, useImage } from "./overlay.js";
import { colourOf, ordered } from "./store.js";

/**
 * @typedef {import("./geometry.js").Viewport} Viewport
 * @typedef {import("./geometry.js").Size} Size
 * @typedef {import("./types.js").Box} Box
 * @typedef {{counts: string, colour: string, box: Box}} Look what can be seen of a mask; the box in image px
 */

const CHEAP_RUNS = 3000; // masks of fewer runs are drawn anew in every frame of a movement
const REST_MS = 90;
const SHAPES_MS = 80; // shapes of hundreds of new masks are made over several frames
const MARGIN_PX = 3; // CSS px that an outline may reach out of its mask's box
const FEW = 12; // places; if there are more, everything is drawn

export class RestingMasks {
  /** @param {CanvasRenderingContext2D} context @param {import("./store.js").Store} store
   * @param {import("./masks.js").Shapes} shapes @param {() => void} repaint asks for a call of `draw` */
  constructor(context, store, shapes, repaint) {
    this.context = context;
    this.canvas = context.canvas;
    this.store = store;
    this.shapes = shapes;
    this.repaint = repaint;
    /** @type {Map<string, Look>} in drawing order */
    this.drawn = new Map();
    this.style = "";
    /** @type {Viewport} */
    this.view = { zoom: 1, x: 0, y: 0 };
    /** Runs of the masks on the stage: recording calls is quick whatever they cost, so time would not tell. */
    this.runs = 0;
    this.timer = 0;
  }

  /** The canvas is empty or shows another picture's masks. */
  forget() {
    this.style = "";
  }

  /** The picture has moved: few masks follow in the next frame; of many the canvas is moved as it is, and drawn when the
   * movement pauses. @param {Viewport} view */
  moved(view) {
    if (this.runs < CHEAP_RUNS) {
      this.repaint();
      return;
    }
    const { k, x, y } = between(this.view, view);
    this.canvas.style.transform = `matrix(${k}, 0, 0, ${k}, ${x}, ${y})`;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(this.repaint, REST_MS);
  }

  /** How masks are drawn, other than their colours. */
  get wantedStyle() {
    const { opacity, outline } = this.store.state.settings;
    return `${opacity} ${outline}`;
  }

  /** The objects to be seen, in drawing order. */
  get wanted() {
    const { objects, active, hidden } = this.store.state;
    if (hidden) return [];
    return ordered(objects).filter((each) => each.id !== active && each.visible && each.rle.counts);
  }

  /** @param {import("./types.js").Obj} object */
  colour(object) {
    return colourOf(object, this.store.state.project?.labels ?? []);
  }

  /** Whether something else is to be seen than what has been drawn; a click on the active object changes nothing. */
  get stale() {
    const wanted = this.wanted;
    const drawn = [...this.drawn];
    if (this.style !== this.wantedStyle || wanted.length !== drawn.length) return true;
    return wanted.some((each, i) => {
      const [id, look] = drawn[i];
      return id !== each.id || look.counts !== each.rle.counts || look.colour !== this.colour(each);
    });
  }

  /** @param {Viewport} view @param {Size} stage CSS px @param {number} dpr */
  draw(view, stage, dpr) {
    const began = performance.now();
    clearTimeout(this.timer);
    this.canvas.style.transform = "";
    const shapes = new Map();
    /** @type {Map<string, Look>} */
    const looks = new Map();
    this.runs = 0;
    for (const object of this.wanted) {
      const shape = performance.now() - began < SHAPES_MS ? this.shapes.of(object) : this.shapes.known(object);
      if (!shape) {
        this.repaint(); // the rest in the next frame
        continue;
      }
      shapes.set(object.id, shape);
      looks.set(object.id, { counts: shape.counts, colour: this.colour(object), box: shape.box });
      if (isOnStage(shape.box, view, stage)) this.runs += shape.runs.length;
    }
    const style = this.wantedStyle;
    const { width, height } = this.canvas;
    const shift = style === this.style ? wholeShift(this.view, view, dpr) : null;
    const boxes = differences(this.drawn, looks)?.map((box) => onCanvas(box, view, dpr, width, height));
    [this.drawn, this.style, this.view] = [looks, style, view];
    let places = [{ x: 0, y: 0, w: width, h: height }];
    if (shift && boxes && boxes.length <= FEW) {
      const stale = [...uncovered(shift, width, height), ...boxes].filter(({ w, h }) => w > 0 && h > 0);
      if (stale.reduce((area, { w, h }) => area + w * h, 0) < width * height) {
        if (shift.x || shift.y) this.shift(shift);
        places = stale;
      }
    }
    for (const place of places) this.drawPlace(place, looks, shapes, dpr);
  }

  /** @param {{x: number, y: number}} by device px */
  shift({ x, y }) {
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalCompositeOperation = "copy"; // what nothing is moved to becomes empty
    context.drawImage(this.canvas, x, y);
    context.globalCompositeOperation = "source-over";
  }

  /** @param {Box} place device px @param {Map<string, Look>} looks @param {Map<string, import("./masks.js").Shape>} shapes
   * @param {number} dpr */
  drawPlace({ x, y, w, h }, looks, shapes, dpr) {
    const { context, view } = this;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.beginPath();
    context.rect(x, y, w, h);
    context.clip();
    context.clearRect(x, y, w, h);
    useImage(context, view, dpr);
    const around = { zoom: view.zoom, x: view.x - x / dpr + MARGIN_PX, y: view.y - y / dpr + MARGIN_PX };
    const size = { width: w / dpr + 2 * MARGIN_PX, height: h / dpr + 2 * MARGIN_PX };
    for (const [id, { colour, box }] of looks) {
      const shape = shapes.get(id);
      if (shape && isOnStage(box, around, size)) {
        drawMask(context, shape, colour, view, this.store.state.settings, false);
      }
    }
    context.restore();
  }
}

/** Boxes of the masks that look different or are on one side only; null: the order differs, so what lies over what.
 * @param {Map<string, Look>} before @param {Map<string, Look>} now @returns {Box[] | null} image px */
export function differences(before, now) {
  const after = [...now.keys()].filter((id) => before.has(id));
  if ([...before.keys()].filter((id) => now.has(id)).some((id, i) => id !== after[i])) return null;
  const differs = (/** @type {Look | undefined} */ a, /** @type {Look | undefined} */ b) =>
    a?.counts !== b?.counts || a?.colour !== b?.colour;
  return [
    ...[...before].filter(([id, look]) => differs(look, now.get(id))),
    ...[...now].filter(([id, look]) => differs(look, before.get(id))),
  ].map(([, look]) => look.box);
}

/** How far a drawing is to be moved if that can be done by whole pixels, which keeps every one of them as it is.
 * @param {Viewport} from @param {Viewport} to @param {number} dpr @returns {{x: number, y: number} | null} device px */
export function wholeShift(from, to, dpr) {
  if (from.zoom !== to.zoom) return null;
  const [dx, dy] = [(to.x - from.x) * dpr, (to.y - from.y) * dpr];
  const [x, y] = [Math.round(dx), Math.round(dy)];
  return Math.abs(dx - x) < 1e-6 && Math.abs(dy - y) < 1e-6 ? { x, y } : null;
}

/** What is empty after a drawing has been moved. @param {{x: number, y: number}} shift @param {number} width
 * @param {number} height @returns {Box[]} */
export function uncovered({ x, y }, width, height) {
  const [w, h] = [Math.min(Math.abs(x), width), Math.min(Math.abs(y), height)];
  return [
    { x: x > 0 ? 0 : width - w, y: 0, w, h: height },
    { x: 0, y: y > 0 ? 0 : height - h, w: width, h },
  ];
}

/** Whole device px of the canvas that hold a mask with its outline. @param {Box} box image px @param {Viewport} view
 * @param {number} dpr @param {number} width @param {number} height @returns {Box} */
export function onCanvas(box, view, dpr, width, height) {
  const place = (/** @type {number} */ at, /** @type {number} */ edge) =>
    Math.min(Math.max(Math.round(at * dpr), 0), edge);
  const x = place(view.x + box.x * view.zoom - MARGIN_PX, width);
  const y = place(view.y + box.y * view.zoom - MARGIN_PX, height);
  const right = place(view.x + (box.x + box.w) * view.zoom + MARGIN_PX, width);
  const bottom = place(view.y + (box.y + box.h) * view.zoom + MARGIN_PX, height);
  return { x, y, w: right - x, h: bottom - y };
}
