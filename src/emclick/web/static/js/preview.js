/** Hover preview: what a click here would give, asked for when the pointer rests. Nothing is stored. */

import { call } from "./api.js";
import { isInside } from "./geometry.js";
import { makeShape } from "./masks.js";

/** @typedef {import("./app.js").App} App */

const REST_MS = 45;
const BUSY_MS = 250;

/**
 * @param {App} app
 * @returns {{moved: (point: import("./geometry.js").Point, positive: boolean) => void, left: () => void}}
 */
export function makePreview(app) {
  let timer = 0;
  /** @type {AbortController | null} */
  let asked = null;
  const left = () => {
    clearTimeout(timer);
    asked?.abort();
    asked = null;
    if (app.stage.live.preview) {
      app.stage.live.preview = null;
      app.stage.paint("overlay");
    }
  };
  const ask = async (/** @type {import("./geometry.js").Point} */ point, /** @type {boolean} */ positive) => {
    const { image } = app.state;
    const object = app.active;
    if (!image || object?.locked || object?.id.startsWith("local:") || app.outbox.commands.length) return;
    const controller = new AbortController();
    asked = controller;
    try {
      const of = object ? `objects/${encodeURIComponent(object.id)}` : `images/${encodeURIComponent(image.id)}`;
      const answer = await call("POST", `api/${of}/preview`, {
        json: { ...point, positive },
        signal: controller.signal,
      });
      if (controller.signal.aborted || app.active?.seq !== object?.seq || app.active?.id !== object?.id) return;
      if (app.state.image?.id !== image.id || app.outbox.commands.length) return;
      // The model was busy, or the image not at hand yet.
      if (!answer) timer = window.setTimeout(() => void ask(point, positive), BUSY_MS);
      app.stage.live.preview = answer?.rle ? { shape: makeShape(answer.rle), positive } : null;
      app.stage.paint("overlay");
    } catch {
      // A preview that fails is no preview; the click itself will say what is wrong.
    }
  };
  const moved = (/** @type {import("./geometry.js").Point} */ point, /** @type {boolean} */ positive) => {
    const { image, settings, tool, loading } = app.state;
    clearTimeout(timer);
    asked?.abort();
    const wanted = settings.preview && tool === "click" && (positive || app.active !== null); // none begins beside itself
    if (!wanted || !image || loading || !isInside(image, point)) {
      left();
      return;
    }
    timer = window.setTimeout(() => void ask(point, positive), REST_MS);
  };
  return { moved, left };
}
