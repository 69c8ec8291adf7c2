/**
 * The stage: three canvases on top of each other (picture, masks at rest, the object being worked on with clicks and
 * cursors), each drawn only when something on it has changed.
 */

import { devicePixels, fit, keepVisible, minZoom, toImage, toScreen, zoomAt } from "./geometry.js";
import { attribute, context2d, h } from "./dom.js";
import {
  drawBrushCursor,
  drawBrushed,
  drawClick,
  drawCorners,
  drawCrosshair,
  drawMask,
  drawOutline,
  drawPolygon,
  drawPreview,
  scaleOf,
  useImage,
  useScreen,
} from "./overlay.js";
import { drawPicture } from "./picture.js";
import { pathAt } from "./masks.js";
import { RestingMasks } from "./resting.js";
import { colourOf } from "./store.js";

/**
 * @typedef {import("./geometry.js").Viewport} Viewport
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {"picture" | "masks" | "overlay"} Layer
 * @typedef {{ring: number, corner: number, x: number, y: number}} Corner x, y: where it was before it was dragged
 *
 * @typedef {object} Live What the pointer is doing; not part of the state
 * @property {Point | null} pointer on the stage, CSS px
 * @property {import("./overlay.js").Stroke | null} stroke
 * @property {boolean} adds the brush adds
 * @property {{shape: import("./masks.js").Shape, positive: boolean} | null} preview
 * @property {Point | null} crosshair image px
 * @property {number} hovered number of the click under the pointer, or -1
 * @property {{rings: Float64Array[], held: Corner | null} | null} polygon
 */

const MARK_MS = 60;

export class Stage {
  /** @param {HTMLElement} root @param {import("./store.js").Store} store @param {import("./masks.js").Shapes} shapes
   * @param {(id: string) => import("./types.js").Click[]} unsent clicks on their way for an object */
  constructor(root, store, shapes, unsent) {
    this.root = root;
    this.store = store;
    this.shapes = shapes;
    this.unsent = unsent;
    /** @type {Record<Layer, HTMLCanvasElement>} */
    this.canvas = {
      picture: /** @type {HTMLCanvasElement} */ (root.querySelector("#picture")),
      masks: /** @type {HTMLCanvasElement} */ (root.querySelector("#masks")),
      overlay: /** @type {HTMLCanvasElement} */ (root.querySelector("#overlay")),
    };
    this.context = {
      picture: context2d(this.canvas.picture, { alpha: false }),
      masks: context2d(this.canvas.masks),
      overlay: context2d(this.canvas.overlay),
    };
    /** @type {Viewport} */
    this.view = { zoom: 1, x: 0, y: 0 };
    this.size = { width: 1, height: 1 };
    this.dpr = 1;
    this.fitted = true;
    /** @type {import("./picture.js").Picture | null} */
    this.picture = null;
    /** @type {Live} */
    this.live = {
      pointer: null,
      stroke: null,
      adds: true,
      preview: null,
      crosshair: null,
      hovered: -1,
      polygon: null,
    };
    /** @type {Set<Layer>} */
    this.dirty = new Set();
    this.scheduled = false;
    this.resting = new RestingMasks(this.context.masks, store, shapes, () => this.paint("masks"));
    this.overlayEmpty = false;
    this.markTimer = 0;
    /** @type {HTMLElement[]} */
    this.marks = [];
    /** @type {(() => void)[]} */
    this.painted = [];
    /** @type {(() => void)[]} */
    this.moved = [];
    const observer = new ResizeObserver((entries) => this.resize(entries[entries.length - 1]));
    observer.observe(root);
    this.watchRatio(() => {
      observer.unobserve(root);
      observer.observe(root); // reports the size once more
    });
  }

  /** Calls back when the window comes to a screen with another number of device pixels to a CSS pixel: the stage's size
   * may stay the same. @param {() => void} changed */
  watchRatio(changed) {
    const now = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    const again = () => {
      changed();
      this.watchRatio(changed);
    };
    now.addEventListener("change", again, { once: true });
  }

  /** @param {ResizeObserverEntry} entry */
  resize(entry) {
    const { width, height } = entry.contentRect;
    if (!width || !height) return;
    const exact = entry.devicePixelContentBoxSize?.[0];
    const [wide, high] = devicePixels({ width, height }, devicePixelRatio, exact);
    const before = this.size;
    this.size = { width, height };
    this.dpr = wide / width;
    for (const canvas of Object.values(this.canvas)) {
      canvas.width = wide;
      canvas.height = high;
    }
    this.resting.forget();
    if (this.fitted) this.fit();
    else {
      this.setView({
        ...this.view,
        x: this.view.x + (width - before.width) / 2,
        y: this.view.y + (height - before.height) / 2,
      });
    }
    this.paint("picture", "masks", "overlay");
    this.frame(); // at once: a canvas that changes its size is empty
  }

  /** @param {import("./picture.js").Picture | null} picture @param {boolean} keepView */
  show(picture, keepView) {
    this.picture = picture;
    this.resting.forget();
    if (!keepView) this.fit();
    this.paint("picture", "masks", "overlay");
  }

  fit() {
    this.fitted = true;
    if (this.picture) this.setView(fit(this.picture, this.size), true);
  }

  /** @param {number} factor @param {number} [sx] CSS px @param {number} [sy] */
  zoom(factor, sx = this.size.width / 2, sy = this.size.height / 2) {
    if (this.picture) this.setView(zoomAt(this.view, factor, sx, sy, minZoom(this.picture, this.size)));
  }

  /** @param {Viewport} view @param {boolean} [fitted] */
  setView(view, fitted = false) {
    this.fitted = fitted;
    this.view = this.picture ? keepVisible(view, this.picture, this.size) : view;
    this.paint("picture", "overlay");
    this.resting.moved(this.view);
    for (const each of this.moved) each();
  }

  /** Image point of a pointer event. @param {{clientX: number, clientY: number}} event */
  imagePoint(event) {
    const at = this.stagePoint(event);
    return toImage(this.view, at.x, at.y);
  }

  /** @param {{clientX: number, clientY: number}} event @returns {Point} CSS px on the stage */
  stagePoint(event) {
    const rect = this.root.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top };
  }

  /** @param {Point} at CSS px on the stage */
  imagePointAt(at) {
    return toImage(this.view, at.x, at.y);
  }

  /** Moves the picture so that an image point is on the stage. @param {Point} point */
  reveal(point) {
    const margin = 40;
    const at = toScreen(this.view, point.x, point.y);
    const off = (/** @type {number} */ s, /** @type {number} */ room) =>
      s < margin ? margin - s : s > room - margin ? room - margin - s : 0;
    const [dx, dy] = [off(at.x, this.size.width), off(at.y, this.size.height)];
    if (dx || dy) this.setView({ ...this.view, x: this.view.x + dx, y: this.view.y + dy });
  }

  /** @param {...Layer} layers */
  paint(...layers) {
    for (const layer of layers) this.dirty.add(layer);
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => this.frame());
  }

  /** Paints the masks at rest if any of them, or how they are shown, has changed. */
  paintMasks() {
    if (this.resting.stale) this.paint("masks");
  }

  /** Calls back once what is dirty now has been painted. @param {() => void} done */
  afterPaint(done) {
    this.painted.push(done);
    this.paint("overlay");
  }

  frame() {
    this.scheduled = false;
    const dirty = this.dirty;
    this.dirty = new Set();
    if (dirty.has("picture")) this.drawPictureLayer();
    if (dirty.has("masks")) this.resting.draw(this.view, this.size, this.dpr);
    if (dirty.has("overlay")) this.drawOverlayLayer();
    const done = this.painted.splice(0);
    if (done.length) {
      // A message sent from a frame arrives after that frame has been handed over.
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        channel.port1.close();
        for (const each of done) each();
      };
      channel.port2.postMessage(0);
    }
  }

  drawPictureLayer() {
    const context = this.context.picture;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = getComputedStyle(this.root).backgroundColor || "#808080";
    context.fillRect(0, 0, this.canvas.picture.width, this.canvas.picture.height);
    if (this.picture) drawPicture(context, this.picture, this.view, this.dpr);
    const { brightness, contrast } = this.store.state.settings;
    const filter = brightness === 1 && contrast === 1 ? "" : `brightness(${brightness}) contrast(${contrast})`;
    if (this.canvas.picture.style.filter !== filter) this.canvas.picture.style.filter = filter;
  }

  /** @param {Layer} layer */
  clear(layer) {
    const context = this.context[layer];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas[layer].width, this.canvas[layer].height);
    return context;
  }

  drawOverlayLayer() {
    const { objects, active, hidden, crosshair, tool, settings } = this.store.state;
    this.markUnsent();
    const object = objects.get(active);
    const brushes = tool === "brush" || tool === "erase";
    const shows =
      ((object || this.live.stroke) && !hidden) ||
      (this.live.preview && tool === "click") ||
      (crosshair && this.live.crosshair) ||
      (brushes && this.live.pointer);
    const empty = !this.picture || !shows;
    if (empty && this.overlayEmpty) return; // a canvas drawn on is copied to the screen, whatever there is on it
    this.overlayEmpty = empty;
    const context = this.clear("overlay");
    if (empty) return;
    useImage(context, this.view, this.dpr);
    if (object && !hidden && object.visible) this.drawActive(context, object);
    else if (this.live.stroke && !hidden) this.drawNewStroke(context);
    if (this.live.preview && tool === "click") {
      drawPreview(context, this.live.preview.shape, this.live.preview.positive, this.view);
    }
    useScreen(context, this.dpr);
    const polygon = this.live.polygon;
    if (polygon && tool === "polygon" && object && !hidden) {
      drawCorners(context, polygon.rings, this.colour(object), this.view, polygon.held);
    }
    if (!hidden && tool !== "polygon") {
      object?.clicks.forEach((click, i) => drawClick(context, click, this.view, i === this.live.hovered));
    }
    if (crosshair && this.live.crosshair) {
      drawCrosshair(context, toScreen(this.view, this.live.crosshair.x, this.live.crosshair.y));
    }
    if (brushes && this.live.pointer) {
      drawBrushCursor(context, this.live.pointer, (settings.brushSize / 2) * this.view.zoom, this.live.adds);
    }
  }

  /** Shows the clicks on their way, unless their answers come first: a frame for each would only make these later. */
  markUnsentSoon() {
    if (this.clicksOnTheirWay().length <= this.marks.length) this.markUnsent();
    else this.markTimer ||= window.setTimeout(() => this.markUnsent(), MARK_MS);
  }

  clicksOnTheirWay() {
    const { active, hidden, batch, tool } = this.store.state;
    return this.picture && !hidden && tool !== "polygon" ? [...this.unsent(active), ...batch] : [];
  }

  /** Shows the clicks on their way. They are elements: a frame that draws on a canvas costs the browser several times as
   * much, just when the server wants the processor for the answer. */
  markUnsent() {
    clearTimeout(this.markTimer);
    this.markTimer = 0;
    const clicks = this.clicksOnTheirWay();
    while (this.marks.length > clicks.length) this.marks.pop()?.remove();
    clicks.forEach((click, i) => {
      const mark = (this.marks[i] ??= this.root.appendChild(
        h("div", { "data-testid": "unsent", "aria-hidden": "true" }),
      ));
      attribute(mark, "class", `unsent ${click.positive ? "positive" : "negative"}`);
      const { x, y } = toScreen(this.view, click.x, click.y);
      mark.style.transform = `translate(${x}px, ${y}px)`;
    });
  }

  /** @param {import("./types.js").Obj} object */
  colour(object) {
    return colourOf(object, this.store.state.project?.labels ?? []);
  }

  /** @param {CanvasRenderingContext2D} context @param {import("./types.js").Obj} object */
  drawActive(context, object) {
    const { settings, tool } = this.store.state;
    const shape = this.shapes.of(object);
    const colour = this.colour(object);
    if (this.live.stroke) {
      drawBrushed(context, shape, this.live.stroke, colour, settings);
      if (!shape.ragged) drawOutline(context, pathAt(shape, scaleOf(context)), colour, this.view, 1);
    } else if (tool === "polygon" && this.live.polygon) {
      drawPolygon(context, this.live.polygon.rings, colour, this.view, settings);
    } else drawMask(context, shape, colour, this.view, settings, true);
  }

  /** The first stroke of an object that does not exist yet. @param {CanvasRenderingContext2D} context */
  drawNewStroke(context) {
    const stroke = /** @type {import("./overlay.js").Stroke} */ (this.live.stroke);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = Math.max(this.store.state.settings.opacity, 0.25);
    context.drawImage(stroke.canvas, stroke.x, stroke.y);
    context.globalAlpha = 1;
  }

  /** @param {"" | "brush" | "pan" | "grab" | "remove"} cursor */
  setCursor(cursor) {
    attribute(this.root, "data-cursor", cursor || null);
  }
}
