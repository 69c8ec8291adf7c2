/** The commands that keys and buttons run: one table, name -> what it does. */

import { clampPoint, clickAt as clickUnder, fitBox, toScreen } from "./geometry.js";
import { doneAndNext, openNextUnfinished, stepImage } from "./images.js";
import { askFile, loadMaskFile } from "./files.js";
import {
  cancel,
  clean,
  clickAt,
  deleteObject,
  finish,
  pickLabel,
  redo,
  removeClick,
  removeLastClick,
  resetObject,
  selectNext,
  undo,
} from "./objects.js";
import { S } from "./strings.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {(app: App) => void} Perform
 */

/** @param {App} app @param {import("./types.js").Tool} tool */
export function setTool(app, tool) {
  app.stage.live.preview = null;
  app.store.set({ tool, batch: [], crosshair: app.state.crosshair && tool === "click" });
}

/** A second press of a tool's key goes back to clicking. @param {import("./types.js").Tool} tool @returns {Perform} */
const toggleTool = (tool) => (app) => setTool(app, app.state.tool === tool ? "click" : tool);

/** @param {number} factor @returns {Perform} */
const sizeBy = (factor) => (app) => {
  const size = app.state.settings.brushSize * factor;
  const brushSize = Math.min(500, Math.max(1, factor > 1 ? Math.ceil(size) : Math.floor(size)));
  app.store.setSettings({ brushSize });
};

/** @param {number} step @returns {Perform} */
const opacityBy = (step) => (app) => {
  const opacity = Math.round(Math.min(1, Math.max(0, app.state.settings.opacity + step)) * 100) / 100;
  app.store.setSettings({ opacity });
};

/** @param {number} n @returns {Perform} */
const label = (n) => (app) => {
  const labels = app.state.project?.labels ?? [];
  const found = labels.find((each) => each.key === String(n)) ?? labels[n - 1];
  if (found) pickLabel(app, found.name);
};

/** Clicks at the crosshair, or else under the pointer. @param {boolean} positive @returns {Perform} */
const clickHere = (positive) => (app) => {
  const { live } = app.stage;
  const point = app.state.crosshair ? live.crosshair : live.pointer && app.stage.imagePointAt(live.pointer);
  if (!point) return;
  const at = toScreen(app.stage.view, point.x, point.y);
  const clicks = app.active?.clicks ?? [];
  const under = clickUnder(clicks, app.stage.view, at.x, at.y, REACH_PX);
  if (under >= 0) removeClick(app, clicks[under]);
  else clickAt(app, { ...point, positive }, performance.now());
};

/** @param {App} app */
function toggleCrosshair(app) {
  const on = !app.state.crosshair;
  const { stage } = app;
  const image = app.state.image;
  if (on && image) {
    const middle = stage.live.pointer ?? { x: stage.size.width / 2, y: stage.size.height / 2 };
    stage.live.crosshair = wholePixel(clampPoint(image, stage.live.crosshair ?? stage.imagePointAt(middle)));
    stage.root.focus({ preventScroll: true });
  }
  app.store.set({ crosshair: on, ...(on ? { tool: /** @type {const} */ ("click") } : {}) });
  app.announce(on ? S.crosshairOn : S.crosshairOff);
}

/** @param {{x: number, y: number}} point */
const wholePixel = (point) => ({ x: Math.round(point.x), y: Math.round(point.y) });

const COARSE_PX = 12; // CSS px
const REACH_PX = 8; // as a mouse's

/**
 * Moves the keyboard's cursor.
 * @param {App} app
 * @param {number} dx
 * @param {number} dy
 * @param {boolean} fine one pixel
 */
export function moveCrosshair(app, dx, dy, fine) {
  const { stage } = app;
  const image = app.state.image;
  if (!image || !stage.live.crosshair) return;
  const step = fine ? 1 : Math.max(1, Math.round(COARSE_PX / stage.view.zoom));
  const at = stage.live.crosshair;
  stage.live.crosshair = wholePixel(clampPoint(image, { x: at.x + dx * step, y: at.y + dy * step }));
  stage.reveal(stage.live.crosshair);
  stage.paint("overlay");
}

/** @type {Readonly<Record<string, Perform>>} */
export const COMMANDS = Object.freeze({
  finish,
  cancel,
  removeLast: removeLastClick,
  clearClicks: resetObject,
  deleteObject: (app) => {
    if (app.state.active && deleteObject(app, app.state.active)) app.toast(S.objectDeleted, "info");
  },
  undo,
  redo,
  clickTool: (app) => setTool(app, "click"),
  brush: toggleTool("brush"),
  eraser: toggleTool("erase"),
  polygon: toggleTool("polygon"),
  swap: (app) => {
    const { tool, swapped } = app.state;
    if (tool === "brush" || tool === "erase") setTool(app, tool === "brush" ? "erase" : "brush");
    else app.store.set({ swapped: !swapped });
  },
  smaller: sizeBy(0.85),
  larger: sizeBy(1.18),
  preview: (app) => app.store.setSettings({ preview: !app.state.settings.preview }),
  loadMask: (app) => askFile("image/png,image/*", (file) => void loadMaskFile(app, file)),
  largest: (app) => clean(app, "largest"),
  fillHoles: (app) => clean(app, "fill"),
  label1: label(1),
  label2: label(2),
  label3: label(3),
  label4: label(4),
  label5: label(5),
  label6: label(6),
  label7: label(7),
  label8: label(8),
  label9: label(9),
  noLabel: (app) => pickLabel(app, ""),
  nextObject: (app) => selectNext(app, 1),
  previousObject: (app) => selectNext(app, -1),
  nextImage: (app) => stepImage(app, 1),
  previousImage: (app) => stepImage(app, -1),
  nextUnfinished: openNextUnfinished,
  doneAndNext,
  fit: (app) => app.stage.fit(),
  zoomIn: (app) => app.stage.zoom(1.25),
  zoomOut: (app) => app.stage.zoom(0.8),
  zoomFull: (app) => app.stage.zoom(1 / app.stage.view.zoom),
  zoomObject: (app) => {
    const box = app.active ? app.shapes.of(app.active).box : null;
    if (box?.w) app.stage.setView(fitBox(box, app.stage.size));
  },
  hide: (app) => app.store.set({ hidden: true }),
  moreOpaque: opacityBy(0.1),
  lessOpaque: opacityBy(-0.1),
  outline: (app) => app.store.setSettings({ outline: !app.state.settings.outline }),
  crosshair: toggleCrosshair,
  addHere: clickHere(true),
  excludeHere: clickHere(false),
  help: (app) => app.openHelp(),
});
