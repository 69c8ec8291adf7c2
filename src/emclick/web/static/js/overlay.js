/** What is drawn over the picture: masks, outlines, clicks, cursors. Functions of a context and what to draw. */

import { pathAt, ringsPath } from "./masks.js";
import { drawRaster } from "./raster.js";
import { toScreen } from "./geometry.js";

/**
 * @typedef {import("./geometry.js").Viewport} Viewport
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {import("./masks.js").Shape} Shape
 * @typedef {{opacity: number, outline: boolean}} Look
 * @typedef {{canvas: HTMLCanvasElement, x: number, y: number, value: 0 | 1}} Stroke pixels painted so far, image px
 */

const POINT_PX = 5.5;
const SEEN = 0.25; // least opacity of what has no outline
const CASING = "rgba(0, 0, 0, 0.65)";
const COLOURS = Object.freeze({ positive: "#12b76a", negative: "#f04438", ring: "#ffffff" });

/** Screen to image corner coordinates, from here on. @param {CanvasRenderingContext2D} context @param {Viewport} view
 * @param {number} dpr */
export function useImage(context, view, dpr) {
  context.setTransform(view.zoom * dpr, 0, 0, view.zoom * dpr, view.x * dpr, view.y * dpr);
}

/** @param {CanvasRenderingContext2D} context @param {number} dpr */
export const useScreen = (context, dpr) => context.setTransform(dpr, 0, 0, dpr, 0, 0);

/** Device px an image px. @param {CanvasRenderingContext2D} context in image coordinates */
export const scaleOf = (context) => context.getTransform().a;

/** Whether any of the box is on the stage. @param {import("./types.js").Box} box @param {Viewport} view
 * @param {{width: number, height: number}} stage */
export const isOnStage = (box, view, stage) =>
  box.w > 0 &&
  view.x + box.x * view.zoom < stage.width &&
  view.y + box.y * view.zoom < stage.height &&
  view.x + (box.x + box.w) * view.zoom > 0 &&
  view.y + (box.y + box.h) * view.zoom > 0;

/** @param {CanvasRenderingContext2D} context in image coordinates @param {Shape} shape @param {string} colour */
function fillShape(context, shape, colour) {
  if (shape.ragged) drawRaster(context, shape.raster(colour), shape.box);
  else {
    context.fillStyle = colour;
    context.fill(pathAt(shape, scaleOf(context)), "evenodd");
  }
}

/**
 * Fill and outline, a ragged mask without the outline, which would hide it; the context is in image coordinates.
 * @param {CanvasRenderingContext2D} context
 * @param {Shape} shape
 * @param {string} colour
 * @param {Viewport} view
 * @param {Look} look
 * @param {boolean} active
 */
export function drawMask(context, shape, colour, view, look, active) {
  const outlined = look.outline || active;
  context.globalAlpha = shape.ragged && outlined ? Math.max(look.opacity, SEEN) : look.opacity;
  fillShape(context, shape, colour);
  context.globalAlpha = 1;
  if (outlined && !shape.ragged) {
    drawOutline(context, pathAt(shape, scaleOf(context)), colour, view, active ? 2 : 1.25);
  }
}

/** A coloured line in a dark casing: seen on any background. @param {CanvasRenderingContext2D} context
 * @param {Path2D} path @param {string} colour @param {Viewport} view @param {number} width CSS px */
export function drawOutline(context, path, colour, view, width) {
  context.lineJoin = "bevel"; // round joins cost most of the time that an outline takes
  context.strokeStyle = CASING;
  context.lineWidth = (width + 1.75) / view.zoom;
  context.stroke(path);
  context.strokeStyle = colour;
  context.lineWidth = width / view.zoom;
  context.stroke(path);
}

/** The mask being brushed: the mask with the stroke added or cut out, then made as see-through as it will be.
 * @param {CanvasRenderingContext2D} context in image coordinates, holding nothing yet @param {Shape} shape
 * @param {Stroke} stroke @param {string} colour @param {Look} look */
export function drawBrushed(context, shape, stroke, colour, look) {
  fillShape(context, shape, colour);
  context.imageSmoothingEnabled = false;
  context.globalCompositeOperation = stroke.value ? "source-over" : "destination-out";
  context.drawImage(stroke.canvas, stroke.x, stroke.y);
  context.globalCompositeOperation = "destination-in";
  context.globalAlpha = Math.max(look.opacity, SEEN);
  context.fillRect(-1e5, -1e5, 4e5, 4e5);
  context.globalAlpha = 1;
  context.globalCompositeOperation = "source-over";
}

/** The polygon's corners. @param {CanvasRenderingContext2D} context in screen coordinates
 * @param {readonly ArrayLike<number>[]} rings @param {string} colour @param {Viewport} view
 * @param {{ring: number, corner: number} | null} held */
export function drawCorners(context, rings, colour, view, held) {
  context.lineWidth = 1;
  rings.forEach((ring, r) => {
    for (let i = 0; i < ring.length; i += 2) {
      const at = { x: view.x + ring[i] * view.zoom, y: view.y + ring[i + 1] * view.zoom };
      const big = held?.ring === r && held.corner === i / 2;
      const half = big ? 4.5 : 3;
      context.fillStyle = big ? colour : "#ffffff";
      context.strokeStyle = "rgba(0, 0, 0, 0.8)";
      context.fillRect(at.x - half, at.y - half, 2 * half, 2 * half);
      context.strokeRect(at.x - half, at.y - half, 2 * half, 2 * half);
    }
  });
}

/** @param {CanvasRenderingContext2D} context in image coordinates @param {readonly ArrayLike<number>[]} rings
 * @param {string} colour @param {Viewport} view @param {Look} look */
export function drawPolygon(context, rings, colour, view, look) {
  const path = ringsPath(
    rings.map((ring) => Float64Array.from(ring)),
    0,
  );
  context.globalAlpha = look.opacity;
  context.fillStyle = colour;
  context.fill(path, "evenodd");
  context.globalAlpha = 1;
  drawOutline(context, path, colour, view, 1.5);
}

/** @param {CanvasRenderingContext2D} context in image coordinates @param {Shape} shape @param {boolean} positive
 * @param {Viewport} view */
export function drawPreview(context, shape, positive, view) {
  if (shape.ragged) {
    context.globalAlpha = 2 * SEEN;
    fillShape(context, shape, positive ? "#ffffff" : COLOURS.negative);
    context.globalAlpha = 1;
    return;
  }
  const path = pathAt(shape, scaleOf(context));
  context.save();
  context.lineWidth = 3 / view.zoom;
  context.strokeStyle = CASING;
  context.stroke(path);
  context.setLineDash([6 / view.zoom, 4 / view.zoom]);
  context.lineWidth = 1.5 / view.zoom;
  context.strokeStyle = positive ? "#ffffff" : COLOURS.negative;
  context.stroke(path);
  context.restore();
}

/** A click: a disc with + or -, told apart by sign as well as by colour. (One that the server does not have yet is hollow
 * and an element, see `Stage.markUnsent`.)
 * @param {CanvasRenderingContext2D} context in screen coordinates @param {import("./types.js").Click} click
 * @param {Viewport} view @param {boolean} hovered */
export function drawClick(context, click, view, hovered) {
  const { x, y } = toScreen(view, click.x, click.y);
  const radius = hovered ? POINT_PX + 2 : POINT_PX;
  const colour = click.positive ? COLOURS.positive : COLOURS.negative;
  context.beginPath();
  context.arc(x, y, radius + 1.5, 0, 2 * Math.PI);
  context.fillStyle = CASING;
  context.fill();
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = COLOURS.ring;
  context.stroke();
  const arm = radius * 0.5;
  context.beginPath();
  if (hovered) {
    context.moveTo(x - arm, y - arm);
    context.lineTo(x + arm, y + arm);
    context.moveTo(x + arm, y - arm);
    context.lineTo(x - arm, y + arm);
  } else {
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    if (click.positive) {
      context.moveTo(x, y - arm);
      context.lineTo(x, y + arm);
    }
  }
  context.stroke();
}

/** The brush's edge and its sign. The sign's casing goes round its ends too: two dark lines would be another sign.
 * @param {CanvasRenderingContext2D} context in screen coordinates @param {Point} at screen
 * @param {number} radius CSS px @param {boolean} adds */
export function drawBrushCursor(context, at, radius, adds) {
  const r = Math.max(radius, 2);
  for (const [colour, width, signWidth, arm] of /** @type {[string, number, number, number][]} */ ([
    [CASING, 3, 4, 5.5],
    ["#ffffff", 1.25, 2, 4.5],
  ])) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.arc(at.x, at.y, r, 0, 2 * Math.PI);
    context.stroke();
    context.lineWidth = signWidth;
    context.beginPath();
    context.moveTo(at.x - arm, at.y);
    context.lineTo(at.x + arm, at.y);
    if (adds) {
      context.moveTo(at.x, at.y - arm);
      context.lineTo(at.x, at.y + arm);
    }
    context.stroke();
  }
}

/** The keyboard's cursor. @param {CanvasRenderingContext2D} context in screen coordinates @param {Point} at screen */
export function drawCrosshair(context, at) {
  for (const [colour, width] of /** @type {[string, number][]} */ ([
    [CASING, 4],
    ["#ffffff", 1.5],
  ])) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      context.moveTo(at.x + 4 * dx, at.y + 4 * dy);
      context.lineTo(at.x + 16 * dx, at.y + 16 * dy);
    }
    context.stroke();
  }
}
