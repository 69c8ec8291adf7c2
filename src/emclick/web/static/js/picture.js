/**
 * The picture: loaded once, kept with half, quarter, ... sizes, so that a large one moves as fluently as a small
 * one.
 */

import { request } from "./api.js";
import { NEAREST_FROM } from "./geometry.js";

/**
 * @typedef {import("./geometry.js").Viewport} Viewport
 * @typedef {{id: string, width: number, height: number, levels: ImageBitmap[]}} Picture levels[k] is 1/2^k in size
 */

const KEPT = 3; // the open picture and its neighbours
const SMALLEST_PX = 512;

/** @param {{id: string, version: string}} image @returns {Promise<Picture>} */
async function load({ id, version }) {
  const response = await request(
    "GET",
    `api/images/${encodeURIComponent(id)}/pixels?v=${encodeURIComponent(version)}`,
  );
  const full = await createImageBitmap(await response.blob());
  return { id, width: full.width, height: full.height, levels: [full] };
}

/** Adds the smaller sizes, each made from the one before. @param {Picture} picture */
async function addLevels(picture) {
  for (;;) {
    const last = picture.levels[picture.levels.length - 1];
    if (Math.max(last.width, last.height) < 2 * SMALLEST_PX) return;
    const [resizeWidth, resizeHeight] = [Math.ceil(last.width / 2), Math.ceil(last.height / 2)];
    picture.levels.push(await createImageBitmap(last, { resizeWidth, resizeHeight, resizeQuality: "medium" }));
  }
}

/** The last few pictures. */
export class Pictures {
  constructor() {
    /** @type {Map<string, Promise<Picture>>} */
    this.kept = new Map();
    this.shown = ""; // never thrown away
  }

  /** @param {{id: string, version: string}} image @returns {Promise<Picture>} */
  get(image) {
    const { id } = image;
    const found = this.kept.get(id) ?? load(image);
    this.kept.delete(id);
    this.kept.set(id, found); // newest last
    found.catch(() => this.kept.delete(id));
    for (const old of [...this.kept.keys()].slice(0, -KEPT)) {
      if (old === this.shown) continue;
      const gone = this.kept.get(old);
      this.kept.delete(old);
      gone?.then((picture) => picture.levels.forEach((each) => each.close())).catch(() => undefined);
    }
    return found;
  }

  /** Gets a picture ready that is likely to be wanted next. @param {{id: string, version: string}} image */
  async prefetch(image) {
    if (!this.kept.has(image.id)) await this.get(image).catch(() => undefined);
  }
}

/** Makes the smaller sizes; resolves when they are there. @param {Picture} picture */
export async function prepareLevels(picture) {
  if (picture.levels.length === 1) await addLevels(picture);
}

/** Draws a picture: the size that is just enough; squares for pixels past 200 %.
 * @param {CanvasRenderingContext2D} context @param {Picture} picture @param {Viewport} view @param {number} dpr */
export function drawPicture(context, picture, view, dpr) {
  const scale = view.zoom * dpr;
  const level = Math.min(picture.levels.length - 1, Math.max(0, Math.floor(Math.log2(1 / Math.min(scale, 1)))));
  context.imageSmoothingEnabled = view.zoom < NEAREST_FROM;
  context.imageSmoothingQuality = "low";
  context.drawImage(picture.levels[level], view.x * dpr, view.y * dpr, picture.width * scale, picture.height * scale);
}
