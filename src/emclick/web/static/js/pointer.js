/**
 * Mouse, pen and touch on the stage. One gesture at a time; what it does depends on the button, the keys and the
 * tool.
 */

import { clickAt as clickUnder, isInside, panBy, wheelFactor } from "./geometry.js";
import { menuIsOpen } from "./dom.js";
import { clickAt, collect, pickAt, removeClick } from "./objects.js";
import { addCorner, cornerAt, dragCorner, dropCorner, releaseCorner, removeCorner } from "./polygon.js";
import { beginStroke, continueStroke, dropStroke, endStroke } from "./strokes.js";
import { makePreview } from "./preview.js";
import { S } from "./strings.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {{kind: "pan", last: Point} | {kind: "stroke", running: import("./strokes.js").Running}
 *   | {kind: "corner", from: Point, moved: boolean} | {kind: "pinch", last: Point, distance: number}
 *   | {kind: "tap", from: Point, at: number}} Gesture
 */

const POINT_REACH = Object.freeze({ mouse: 8, pen: 10, touch: 16 });
const TAP_PX = 10;
const STILL_PX = 2; // a hand that presses is not quite still
const DOUBLE_MS = 300; // a second press so soon, at the same place, is half of a double click
const DOUBLE_PX = 4;

/** @param {App} app @param {() => boolean} spaceHeld @param {() => void} spaceUsed */
export function connectPointer(app, spaceHeld, spaceUsed) {
  const { stage } = app;
  const root = stage.root;
  const preview = makePreview(app);
  /** @type {Map<number, Point>} */
  const fingers = new Map();
  /** @type {Gesture | null} */
  let gesture = null;
  let owner = -1; // the pointer whose gesture it is
  /** @type {{at: number, place: Point, point: Point, button: number} | null} */
  let clicked = null; // the last click that was made

  const reach = (/** @type {PointerEvent} */ event) =>
    POINT_REACH[/** @type {keyof typeof POINT_REACH} */ (event.pointerType)] ?? POINT_REACH.mouse;

  /** Left includes, right and Shift+left exclude; the swap turns both round. */
  const isPositive = (/** @type {PointerEvent | MouseEvent} */ event) =>
    (event.button !== 2 && !event.shiftKey && (event.buttons & 2) === 0) !== app.state.swapped;

  /** What the brush does with this button. */
  const brushValue = (/** @type {PointerEvent} */ event) => {
    const turned = event.button === 2 || event.shiftKey;
    return /** @type {0 | 1} */ ((app.state.tool === "brush") !== turned ? 1 : 0);
  };

  const press = (/** @type {PointerEvent} */ event) => {
    const at = stage.stagePoint(event);
    const point = stage.imagePoint(event);
    const { tool, image } = app.state;
    if (event.button === 1 || spaceHeld()) {
      if (spaceHeld()) spaceUsed();
      gesture = { kind: "pan", last: at };
      stage.setCursor("grab");
    } else if (event.altKey && event.button === 0) pickAt(app, point);
    else if (event.pointerType === "touch" && tool === "click") {
      gesture = { kind: "tap", from: at, at: event.timeStamp };
    } else if (tool === "click") click(event);
    else if (tool === "polygon") pressCorner(event, at);
    else if (image && (event.button === 0 || event.button === 2)) {
      const running = beginStroke(app, point, brushValue(event));
      if (running) gesture = { kind: "stroke", running };
    }
  };

  const click = (/** @type {PointerEvent} */ event, at = event.timeStamp) => {
    if (event.button !== 0 && event.button !== 2) return;
    const point = stage.imagePoint(event);
    const place = stage.stagePoint(event);
    const { image } = app.state;
    if (clicked && clicked.button === event.button && event.timeStamp - clicked.at < DOUBLE_MS) {
      // of the screen and of the image: the view may have changed
      const moved = Math.hypot(place.x - clicked.place.x, place.y - clicked.place.y);
      const { x, y } = clicked.point;
      if (Math.max(moved, Math.hypot(point.x - x, point.y - y) * stage.view.zoom) <= DOUBLE_PX) return;
    }
    clicked = null;
    const clicks = app.active?.clicks ?? [];
    const under = clickUnder(clicks, stage.view, place.x, place.y, reach(event));
    preview.left();
    if (under >= 0 && !event.ctrlKey && !event.metaKey) {
      removeClick(app, clicks[under]);
    } else if (image && isInside(image, point)) {
      const made = { x: tidy(point.x), y: tidy(point.y), positive: isPositive(event) };
      clicked = { at: event.timeStamp, place, point, button: event.button };
      if (event.ctrlKey || event.metaKey) collect(app, made);
      else clickAt(app, made, at);
    }
  };

  const pressCorner = (/** @type {PointerEvent} */ event, /** @type {Point} */ at) => {
    const held = cornerAt(app, at);
    if (!app.active) {
      pickAt(app, stage.imagePoint(event));
      if (!app.active) app.toast(S.hintPolygonEmpty, "info");
    } else if (held && app.active.locked) app.toast(S.lockedObject, "error");
    else if (held && event.button === 2) removeCorner(app, held);
    else if (held && stage.live.polygon) {
      stage.live.polygon.held = held;
      gesture = { kind: "corner", from: at, moved: false };
    } else if (event.button === 0) gesture = { kind: "pan", last: at };
  };

  root.addEventListener("pointerdown", (event) => {
    root.focus({ preventScroll: true });
    if (event.target instanceof Element && event.target.closest("[data-stage-ui]")) return;
    if (menuIsOpen()) return;
    event.preventDefault();
    root.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      fingers.set(event.pointerId, stage.stagePoint(event));
      if (fingers.size === 2) {
        if (gesture?.kind === "stroke") dropStroke(app);
        gesture = { kind: "pinch", ...pinch(fingers) };
        return;
      }
    }
    if (!gesture && fingers.size < 2) {
      owner = event.pointerId;
      press(event);
    }
  });

  root.addEventListener("pointermove", (event) => {
    const at = stage.stagePoint(event);
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, at);
    if (isOthers(event)) return;
    stage.live.pointer = at;
    if (gesture?.kind === "pan") {
      stage.setView(panBy(stage.view, at.x - gesture.last.x, at.y - gesture.last.y));
      gesture.last = at;
    } else if (gesture?.kind === "pinch" && fingers.size === 2) {
      const now = pinch(fingers);
      stage.setView(panBy(stage.view, now.last.x - gesture.last.x, now.last.y - gesture.last.y));
      stage.zoom(now.distance / gesture.distance, now.last.x, now.last.y);
      gesture = { kind: "pinch", ...now };
    } else if (gesture?.kind === "stroke") {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) {
        continueStroke(app, gesture.running, stage.imagePoint(each));
      }
    } else if (gesture?.kind === "corner") {
      gesture.moved ||= Math.hypot(at.x - gesture.from.x, at.y - gesture.from.y) > STILL_PX;
      if (gesture.moved) dragCorner(app, stage.imagePoint(event));
    } else if (gesture?.kind === "tap" && Math.hypot(at.x - gesture.from.x, at.y - gesture.from.y) > TAP_PX) {
      gesture = { kind: "pan", last: at };
    } else if (!gesture) hover(event, at);
  });

  const hover = (/** @type {PointerEvent} */ event, /** @type {Point} */ at) => {
    const { tool } = app.state;
    const under = tool === "click" ? clickUnder(app.active?.clicks ?? [], stage.view, at.x, at.y, reach(event)) : -1;
    if (under !== stage.live.hovered) {
      stage.live.hovered = under;
      stage.paint("overlay");
    }
    stage.live.adds = brushValue(event) === 1;
    if (tool === "brush" || tool === "erase") stage.paint("overlay");
    stage.setCursor(
      spaceHeld() ? "pan" : under >= 0 ? "remove" : tool === "click" ? "" : tool === "polygon" ? "pan" : "brush",
    );
    for (const each of stage.moved) each();
    if (under < 0 && event.pointerType !== "touch") preview.moved(stage.imagePoint(event), isPositive(event));
    else preview.left();
  };

  /** A palm beside the pen, a second pointer: what they do is no part of the gesture. */
  const isOthers = (/** @type {PointerEvent} */ event) =>
    gesture !== null && gesture.kind !== "pinch" && event.pointerId !== owner;

  const lift = (/** @type {PointerEvent} */ event) => {
    fingers.delete(event.pointerId);
    if (isOthers(event)) return;
    const ended = gesture;
    if (ended?.kind === "pinch") {
      if (!fingers.size) gesture = null;
      return;
    }
    if (ended && event.type === "pointerup" && event.buttons !== 0) return; // another button is still down
    gesture = null;
    if (ended?.kind === "pan") stage.setCursor(spaceHeld() ? "pan" : "");
    else if (ended?.kind === "stroke" || ended?.kind === "corner") finishDrawing(ended, event.type === "pointerup");
    else if (ended?.kind === "tap" && event.type === "pointerup") click(event, event.timeStamp);
  };
  const finishDrawing = (/** @type {Gesture} */ ended, /** @type {boolean} */ takes) => {
    if (ended.kind === "stroke" && takes) endStroke(app, ended.running);
    else if (ended.kind === "stroke") dropStroke(app);
    else if (ended.kind === "corner" && takes && ended.moved) dropCorner(app);
    else if (ended.kind === "corner") releaseCorner(app);
  };
  app.endGesture = () => {
    const ended = gesture;
    if (ended?.kind !== "stroke" && ended?.kind !== "corner") return;
    gesture = null;
    finishDrawing(ended, true);
  };
  root.addEventListener("pointerup", lift);
  root.addEventListener("pointercancel", lift);

  root.addEventListener("pointerleave", () => {
    stage.live.pointer = null;
    stage.live.hovered = -1;
    preview.left();
    stage.paint("overlay");
    for (const each of stage.moved) each();
  });
  root.addEventListener("dblclick", (event) => {
    if (app.state.tool === "polygon" && app.active && !app.active.locked) addCorner(app, stage.stagePoint(event));
  });
  root.addEventListener("contextmenu", (event) => event.preventDefault());
  root.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      // Wheel events name whole pixels; the pointer is known better.
      const rough = stage.stagePoint(event);
      const { pointer } = stage.live;
      const at = pointer && Math.hypot(pointer.x - rough.x, pointer.y - rough.y) < 2 ? pointer : rough;
      stage.zoom(wheelFactor(event), at.x, at.y);
    },
    { passive: false },
  );

  return {
    /** Drops a stroke or a corner's move that is being made; true if there was one. */
    abort() {
      const ended = gesture;
      if (ended?.kind !== "stroke" && ended?.kind !== "corner") return false;
      gesture = null;
      finishDrawing(ended, false);
      return true;
    },
  };
}

/**
 * Pointer positions are single-precision numbers: what is below a ten-thousandth of a pixel is noise.
 * @param {number} value
 */
const tidy = (value) => Math.round(value * 1e4) / 1e4;

/** The middle of two fingers and how far apart they are. @param {Map<number, Point>} fingers */
function pinch(fingers) {
  const [a, b] = [...fingers.values()];
  return {
    last: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 },
    distance: Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1),
  };
}
