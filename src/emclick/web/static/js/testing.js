/**
 * What tests and benchmarks see of the page: `window.emclickTest`.
 *
 * - imageToClient(x, y): client CSS px of an image point (0, 0 is the centre of the top-left pixel).
 * - state(): image, object, tool, seq, zoom, pan, waiting, connection, objects, preview (one is shown), samples (the last 200 clicks:
 *   {object, seq, ms: press to painted mask, server_ms}).
 * - painted(seq): resolves with the newest sample once the mask of the active object with that seq (or a later one)
 *   has been painted.
 */

import { toScreen } from "./geometry.js";

/** @param {import("./app.js").App} app */
export function exposeForTests(app) {
  const api = Object.freeze({
    imageToClient(/** @type {number} */ x, /** @type {number} */ y) {
      const rect = app.stage.root.getBoundingClientRect();
      const at = toScreen(app.stage.view, x, y);
      return { x: at.x + rect.left, y: at.y + rect.top };
    },
    state() {
      const { image, active, tool, connection, objects, loading, settings } = app.state;
      const { zoom, x, y } = app.stage.view;
      return {
        image: image?.id ?? null,
        loading,
        object: active,
        seq: app.active?.seq ?? null,
        tool,
        zoom,
        pan: { x, y },
        connection,
        waiting: app.outbox.commands.length,
        settings: { ...settings },
        objects: [...objects.values()].map((each) => ({ ...each })),
        samples: app.samples.slice(),
        preview: app.stage.live.preview !== null,
        dpr: app.stage.dpr,
      };
    },
    painted(/** @type {number} */ seq) {
      return new Promise((resolve) => {
        const look = () => {
          if (app.active && app.active.seq >= seq && !app.outbox.of(app.active.id).length) {
            app.stage.afterPaint(() => resolve(app.samples.at(-1) ?? null));
          } else setTimeout(look, 4);
        };
        look();
      });
    },
  });
  /** @type {any} */ (window).emclickTest = api;
}
